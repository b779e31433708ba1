"""What a method computes of the training data alone, kept from one query to the next."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from headwater.attributors.attributor import Attributor
from headwater.progress import track
from headwater.solvers import State
from pipelines.query.made import Made
from pipelines.query.source import NewSource
from stages.files import WORK, kept_folder
from stages.problem import load_state, save_state

__all__ = ["FOLDER", "prepared"]

FOLDER = WORK / "query"
"""Where it is kept; whoever needs the space removes it."""


@contextmanager
def prepared(
    made: Made, method: str, attributor: Attributor, sources: Sequence[NewSource]
) -> Iterator[Iterator[State]]:
    """Yield the states of a method at all checkpoints: the first time they are computed, then read."""
    with kept_folder(Path("query", made.name, method), _identity(made, method)) as folder:
        yield _states(folder, attributor, sources)


def _states(folder: Path, attributor: Attributor, sources: Sequence[NewSource]) -> Iterator[State]:
    for source in track(sources, "preparing", len(sources)):
        file = folder / f"{source.index:02d}.safetensors"
        if file.exists():
            yield load_state(file, source.device)
        else:
            state = attributor.prepare(source)
            save_state(file, state)
            yield state


def _identity(made: Made, method: str) -> str:
    """Return a hash of all that the states follow from: the recipe, its choice, code, data, gradients."""
    store = made.gradients(method) / "train"
    data = made.data / "train.safetensors"
    files = [made.code(method), made.models / "record.json", *sorted(store.glob("*/zarr.json"))]
    record = {
        "recipe": made.method(method).model_dump(mode="json"),
        "choice": made.choice(method)["arguments"],
        "files": [hashlib.sha256(path.read_bytes()).hexdigest() for path in files],
        "data": [data.stat().st_size, data.stat().st_mtime_ns],
    }
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()[:16]
