"""What every stage shares: its typed row, its log, its exit code."""

from __future__ import annotations

import argparse
import json
import logging
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

__all__ = ["Row", "describe", "read_row", "run"]

log = logging.getLogger("stage")
ROWS = Path("runs.yaml")


class Row(BaseModel):
    """The parameters of one run of a stage; unknown keys and wrong types are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


R = TypeVar("R", bound=BaseModel)


def read_row(stage: str, key: str, model: type[R]) -> R:
    """Read and check one row of ``runs.yaml``.

    Raises:
        ValueError: if there is no such row, or it does not fit the stage.
    """
    rows = yaml.load(ROWS.read_text(), yaml.CSafeLoader)["runs"].get(stage, {})
    if key not in rows:
        raise ValueError(f"{ROWS} must have a row {stage}.{key}, got none; run `make plan`")
    try:
        return model.model_validate(rows[key])
    except ValidationError as error:
        raise ValueError(f"{ROWS}, {stage}.{key}: {describe(error)}; run `make plan`") from None


def describe(error: ValidationError) -> str:
    """Say in one line what is wrong with which keys."""
    return "; ".join(
        f"{'.'.join(str(part) for part in e['loc'])}: {_reason(e)}".removeprefix(": ")
        for e in error.errors()
    )


def _reason(error: Any) -> str:
    if error["type"] == "extra_forbidden":
        return "unknown key"
    if error["type"] == "value_error":  # a rule over several keys: it says itself what came
        return str(error["msg"]).removeprefix("Value error, ")
    return f"{error['msg']}, got {error['input']!r}"


def run(stage: str, model: type[R], main: Callable[..., None], *paths: str) -> None:
    """Run a stage: ``python -m stages.STAGE ROW --PATH … [--cost FILE]``.

    Args:
        stage: the stage's name.
        model: the type of its row.
        main: called with the row, and each path by name.
        paths: names of the path arguments; ``--cost`` is there for every stage.
    """
    parser = argparse.ArgumentParser(
        prog=f"python -m stages.{stage}",
        description=(main.__doc__ or "").strip().splitlines()[0],
        epilog="Run through `make benchmark` or `dvc repro`; dvc.yaml gives the paths.",
    )
    parser.add_argument("row", help=f"a row of runs.{stage} in runs.yaml")
    for path in paths:
        parser.add_argument(f"--{path}", type=Path, required=True)
    parser.add_argument("--cost", type=Path, help="where to write seconds and peak memory")
    arguments = vars(parser.parse_args())
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr, force=True)
    cost, key = arguments.pop("cost"), arguments.pop("row")
    start = time.perf_counter()
    try:
        row = read_row(stage, key, model)
        for name in paths:
            if name != "out":
                log.info("%s %s: reads %s", stage, key, arguments[name])
        main(row, **arguments)
    except (ValueError, FloatingPointError, FileNotFoundError, MemoryError, TypeError) as error:
        notes = "".join(f" ({note})" for note in getattr(error, "__notes__", []))
        sys.exit(f"{stage} {key}: {error}{notes}")
    seconds = time.perf_counter() - start
    if cost is not None:
        _write_cost(cost, seconds)
    log.info("%s %s: made %s in %.1f s", stage, key, arguments.get("out", "nothing"), seconds)


def _write_cost(path: Path, seconds: float) -> None:
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    workers = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    unit = 1 if sys.platform == "darwin" else 1024
    record: dict[str, Any] = {
        "seconds": round(seconds, 2),
        "peak_memory_mb": round(max(own, workers) * unit / 2**20),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, sort_keys=True) + "\n")
