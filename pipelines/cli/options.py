"""Arguments and options that commands share, with what the shell completes."""

from pathlib import Path
from typing import Annotated, Any

import typer

__all__ = [
    "Debug",
    "Json",
    "Method",
    "OneSetting",
    "Settings",
    "Targets",
    "complete_any",
    "targets",
]


def _names(group: str, start: str) -> list[str]:
    """Return the settings or methods of params.yaml that begin so; none where it cannot be read."""
    import yaml

    try:
        params: Any = yaml.load(Path("params.yaml").read_text(), yaml.CSafeLoader)
        return [str(name) for name in params[group] if str(name).startswith(start)]
    except (OSError, yaml.YAMLError, LookupError, TypeError):
        return []  # a shell that completes shows no errors


def complete_setting(incomplete: str) -> list[str]:
    """Return the settings that begin so."""
    return _names("settings", incomplete)


def complete_method(incomplete: str) -> list[str]:
    """Return the methods that begin so."""
    return _names("methods", incomplete)


def complete_any(incomplete: str) -> list[str]:
    """Return the methods, and the folders and files here, that begin so."""
    folders = [str(path) for path in Path().glob(f"{incomplete}*") if path.is_dir()]
    return [*complete_method(incomplete), *sorted(folders)]


def targets(names: list[str]) -> list[str]:
    """Return targets as DVC takes them: a setting's name stands for its graph."""
    graphs = {name: f"settings/{name}/dvc.yaml" for name in names}
    return [graphs[name] if Path(graphs[name]).is_file() else name for name in names]


Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout, and nothing else there.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
Targets = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[TARGET]...",
        help="A setting, or a stage, an out or a dvc.yaml as `dvc repro` takes it; by default the "
        "settings under `benchmark` in params.yaml.",
        autocompletion=complete_setting,
        show_default=False,
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[SETTING]...", autocompletion=complete_setting, show_default=False,
        help="Settings of params.yaml.",
    ),
]  # fmt: skip
OneSetting = Annotated[
    str,
    typer.Argument(
        metavar="SETTING", autocompletion=complete_setting, show_default=False,
        help="A setting of params.yaml.",
    ),
]  # fmt: skip
Method = Annotated[
    str | None,
    typer.Option(
        "--method", "-m", metavar="METHOD", autocompletion=complete_method, show_default=False,
        help="A method of params.yaml.",
    ),
]  # fmt: skip
