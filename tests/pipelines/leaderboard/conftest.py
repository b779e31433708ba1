"""Pages are tested in one browser a file, whose console stays empty."""

from tests.explorer.chromium import driver, no_complaints  # noqa: F401
