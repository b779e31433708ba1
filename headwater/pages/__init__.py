"""Pages that are one file: HTML, style, modules and data together, without server and network."""

from headwater.pages.arrays import Files
from headwater.pages.assembly import assemble

__all__ = ["Files", "assemble"]
