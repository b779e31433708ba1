"""Ground truth that is committed with the project, in place of retraining: truth/SETTING/KIND."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from stages.files import load_json, save_json
from stages.problem import file_hash

__all__ = ["publish", "take"]

DIGITS = 16
"""Of the hash of manifest.json, which params.yaml says; it has the hashes of all other files."""


def publish(made: Path, committed: Path) -> str:
    """Copy what retrained models say from an artifact, and return the digest that params.yaml takes.

    Raises:
        ValueError: if nothing was retrained there.
    """
    kinds = sorted(p.parent for p in made.glob("*/manifest.json") if load_json(p)["models"])
    if not kinds:
        raise ValueError(f"{made} must hold what retrained models say, got none: make stage truth")
    shutil.rmtree(committed, ignore_errors=True)
    for kind in kinds:
        shutil.copytree(kind, committed / kind.name, ignore=shutil.ignore_patterns("*.partial"))
    files = sorted(path for path in committed.rglob("*") if path.is_file())
    hashes = {path.relative_to(committed).as_posix(): file_hash(path) for path in files}
    save_json(committed / "manifest.json", {"files": hashes})
    return file_hash(committed / "manifest.json")[:DIGITS]


def take(committed: Path, kind: str, wanted: dict[str, Any], digest: str, out: Path) -> None:
    """Copy the arrays of one kind of ground truth, after a check that they are what would be made.

    Args:
        committed: the folder of a setting.
        kind: a folder in it.
        wanted: the manifest of the models that are asked for: setting, recipe, training samples, and the
            seed and subset of each.
        digest: of the folder's manifest.
        out: where the arrays go, with a manifest that says where they are from.

    Raises:
        ValueError: if the folder is another one, or holds other models, or a file is damaged.
    """
    retrain = "remove `committed` from params.yaml to retrain"
    path = committed / "manifest.json"
    got = file_hash(path)[:DIGITS] if path.exists() else "nothing"
    if got != digest:
        raise ValueError(f"{committed} must have the digest {digest}, got {got}: {retrain}")
    hashes = {n: h for n, h in load_json(path)["files"].items() if Path(n).parts[0] == kind}
    for name, expected in hashes.items():
        file = committed / name
        if not file.exists() or file_hash(file) != expected:
            raise ValueError(f"{file} must be as it was published, got other bytes: {retrain}")
    found = load_json(committed / kind / "manifest.json") if hashes else {"models": []}
    models = [{key: model[key] for key in ("seed", "subset")} for model in found["models"]]
    for key, value in wanted.items():
        if {**found, "models": models}.get(key) != value:
            raise ValueError(
                f"{committed / kind} must hold the {key} that params.yaml and the code ask for, got "
                f"another: {retrain}"
            )
    for name in hashes:
        shutil.copyfile(committed / name, out / Path(name).name)
    save_json(out / "manifest.json", {**found, "committed": digest})
