"""Kinds of samples: what each is packed as for a page, whose module of the same name shows it.

A new kind is a class here, and a file `assets/kind_NAME.js` beside this package's pages.
"""

from headwater.explorer.kinds.images import Images
from headwater.explorer.kinds.kind import Kind, kind_of
from headwater.explorer.kinds.music import Music
from headwater.explorer.kinds.text import Text

__all__ = ["Images", "Kind", "Music", "Text", "kind_of"]
