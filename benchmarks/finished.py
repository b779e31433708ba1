"""Which settings of a finished run a command is asked for."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

__all__ = ["chosen"]


def chosen(
    arguments: Sequence[str] | None,
    prog: str,
    about: str | None,
    find: Callable[[Path], list[str]],
    words: tuple[str, str],
) -> tuple[Path, list[str]]:
    """Return the repository in which settings ran, and those that the command line names.

    Args:
        arguments: of the command line; None: those of the process.
        prog: the command.
        about: what it does.
        find: returns the settings that can be named, which are the default.
        words: what a setting "must have" done, and what those that did are called.

    Raises:
        SystemExit: with one line and status 1, if there is none or another one is named.
    """
    done, called = words
    parser = argparse.ArgumentParser(prog=prog, description=about)
    default = f"default: all that are {called}"
    parser.add_argument("settings", nargs="*", metavar="SETTING", help=default)
    root = "the repository in which they ran (default: this one)"
    parser.add_argument("--root", type=Path, default=Path(), metavar="FOLDER", help=root)
    options = parser.parse_args(arguments)
    known = find(options.root)
    names = options.settings or known
    if not names or not set(names) <= set(known):
        wrong = sorted(set(names) - set(known)) or "none"
        raise SystemExit(f"SETTING must have {done}, got {wrong}; {called} are {known or 'none'}")
    return options.root, names
