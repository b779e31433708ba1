"""One HTML file of style sheets, JavaScript modules and data.

Modules stay modules: an import map gives each its name, `headwater/NAME`, and its text as an address. The
page may load nothing else: its content security policy names the hashes of its scripts, so that no
other one runs, nor a handler in an attribute, and no address outside the file is reached.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from headwater.pages.arrays import Files

__all__ = ["ASSETS", "assemble"]

ASSETS = Path(__file__).parent / "assets"
"""What all pages share: look.css, and modules for elements, files and the theme."""


def assemble(
    title: str, folders: Iterable[Path], files: Files, libraries: Mapping[str, str] | None = None
) -> str:
    """Return a page that runs `main.js`.

    Args:
        title: of the window.
        folders: with style sheets and modules, beside those that all pages share; one has main.js.
        files: the data, which `headwater/files` finds.
        libraries: further modules, name -> source.

    Raises:
        ValueError: If two folders have a file of one name, or none has main.js.
    """
    sources = _sources([ASSETS, *folders])
    modules = {name.removesuffix(".js"): s for name, s in sources.items() if name.endswith(".js")}
    modules |= libraries or {}
    if "main" not in modules:
        raise ValueError("a page must have a module main.js, got none: add it to its folder")
    style = "\n".join(source for name, source in sources.items() if name.endswith(".css"))
    imports = {
        f"headwater/{name}": _address(name, source) for name, source in sorted(modules.items())
    }
    map_text = json.dumps({"imports": imports})
    start = 'import "headwater/main";'
    policy = "; ".join(
        [
            "default-src 'none'",
            f"script-src data: {_hash(map_text)} {_hash(start)}",  # data: the modules themselves
            f"style-src {_hash(style)}",
            "img-src data: blob:",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )
    data = "\n".join(
        f'<script type="application/octet-stream" id="file:{html.escape(name)}">'
        f"{base64.b64encode(content).decode('ascii')}</script>"
        for name, content in files.content.items()
    )
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<title>{html.escape(title)}</title>
<style>{style}</style>
</head>
<body>
<noscript>This page needs JavaScript. It loads nothing from anywhere.</noscript>
<main id="page" aria-busy="true"></main>
{data}
<script type="importmap">{map_text}</script>
<script type="module">{start}</script>
</body>
</html>
"""


def _sources(folders: Iterable[Path]) -> dict[str, str]:
    found: dict[str, str] = {}
    for folder in folders:
        for path in sorted(folder.glob("*.css")) + sorted(folder.glob("*.js")):
            if path.name in found:
                raise ValueError(f"a page must have one file {path.name}, got two: rename one")
            found[path.name] = path.read_text(encoding="utf-8")
    return found


def _address(name: str, source: str) -> str:
    text = f"{source}\n//# sourceURL=headwater/{name}.js\n"
    return f"data:text/javascript;base64,{base64.b64encode(text.encode()).decode('ascii')}"


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode('ascii')}'"
