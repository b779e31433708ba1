"""Files outside of docs/ as pages of the site, at their place in the repository.

Pages in docs/ are at the root of the site, others below it: `../results/x.md` in a page of docs/, which
is right in the repository, is `results/x.md` in the site. Links are changed accordingly.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
PATTERNS = (
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "data/README.md",
    "benchmarks/README.md",
    "benchmarks/results/*.md",
    "examples/**/*.md",
    "examples/**/*.py",
    "examples/**/*.yaml",
    "results/*/leaderboard.md",
    "results/*/figures/*.png",
)
LINK = re.compile(r"(\]\()([^)#:\s]+)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the files that `PATTERNS` name."""
    for pattern in PATTERNS:
        for path in sorted(ROOT.glob(pattern)):
            place = path.relative_to(ROOT).as_posix()
            files.append(File.generated(config, _place(place), abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead links between files of the repository to their pages."""
    here = page.file.src_uri
    if page.file.generated_by is None:
        repository = posixpath.join("docs", here)
    else:
        repository = Path(page.file.abs_src_path or "").relative_to(ROOT).as_posix()

    def lead(match: re.Match[str]) -> str:
        goal = posixpath.normpath(posixpath.join(posixpath.dirname(repository), match[2]))
        return match[1] + posixpath.relpath(_place(goal), posixpath.dirname(here) or ".")

    return LINK.sub(lead, markdown)


def _place(path: str) -> str:
    """Return where a file of the repository is in the site."""
    return path.removeprefix("docs/")
