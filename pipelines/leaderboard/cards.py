"""A method's card: what its classes and docs/methods.md say of it, and its recipe."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping
from typing import Any

import yaml
from markdown_it import MarkdownIt
from markdown_it.token import Token

from headwater.attributors.attributor import Attributor
from stages.params import Method
from stages.recipes import classes, find

__all__ = ["describe_class", "describe_recipe", "documented", "parts_of"]

SECTION = re.compile(r"^(Args|Raises|Reference|Example|Returns):$", re.MULTILINE)


def parts_of(method: Method, where: str) -> list[type]:
    """Return the classes that a recipe names, its attributor first, each once."""
    kind = find(method.attributor, (Attributor,), f"{where}.attributor")
    return list(dict.fromkeys(classes(kind, dict(method.model_extra or {}), where)))


def describe_recipe(method: Method) -> str:
    """Return a recipe as params.yaml says it, without where it is left out."""
    row = method.model_dump(exclude_defaults=True, exclude={"only", "infeasible"})
    return yaml.safe_dump(row, sort_keys=False, default_flow_style=None, width=60)


def describe_class(kind: type, rows: Mapping[str, Iterable[tuple[str, str]]]) -> dict[str, Any]:
    """Return what a card says of a class.

    Args:
        kind: the class.
        rows: class -> what the documentation says of it, as of `documented`.

    Returns:
        {"name", "text": the paragraphs of its docstring, "papers", "documented": [[title, text]]}.
    """
    name = kind.__name__
    text, *sections = SECTION.split(inspect.getdoc(kind) or "")
    found = dict(zip(sections[::2], sections[1::2], strict=True))
    papers = re.split(r"\n(?=    \S)(?<=\.\n)", found.get("Reference", "").strip("\n"))
    return {
        "name": name,
        "text": [_unwrapped(paragraph) for paragraph in re.split(r"\n{2,}", text.strip())],
        "papers": [_unwrapped(paper) for paper in papers if paper.strip()],
        "documented": [list(pair) for pair in rows.get(name, ())],
    }


def _unwrapped(paragraph: str) -> str:
    """Return a paragraph in one line, but for the items of a list."""
    return re.sub(r"\s*\n\s*(?!- )", " ", paragraph.strip())


def documented(markdown: str) -> dict[str, list[tuple[str, str]]]:
    """Return, for each class that begins a row of a table, the other cells with their titles."""
    found: dict[str, list[tuple[str, str]]] = {}
    for head, *body in _tables(MarkdownIt("commonmark").enable("table").parse(markdown)):
        for row in body:
            cells = [(t, text) for t, text in zip(head[1:], row[1:], strict=True) if text]
            for code in re.findall(r"`(\w+)", row[0]):
                found.setdefault(code, cells)
    return found


def _tables(tokens: Iterable[Token]) -> Iterable[list[list[str]]]:
    """Yield the tables of a text, cells as their source."""
    table: list[list[str]] = []
    for before, token in zip([None, *tokens], tokens, strict=False):
        if token.type == "table_open":
            table = []
        elif token.type == "tr_open":
            table.append([])
        elif (
            token.type == "inline" and before is not None and before.type in ("th_open", "td_open")
        ):
            table[-1].append(token.content)
        elif token.type == "table_close":
            yield table
