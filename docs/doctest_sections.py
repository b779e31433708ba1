"""Griffe knows the section "Examples:", docstrings here say "Example:": without this they are no code."""

import re
from typing import Any

from griffe import Extension, Object

HEAD = re.compile(r"^( *)Example:$", re.MULTILINE)


class DoctestSections(Extension):
    """Give the sections with doctests the name by which they are parsed."""

    def on_object(self, *, obj: Object, **kwargs: Any) -> None:
        """Rename the section in the docstring of a module, class or function."""
        if obj.docstring is not None:
            obj.docstring.value = HEAD.sub(r"\1Examples:", obj.docstring.value)
