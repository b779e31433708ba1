"""dvc.yaml names the sources that each stage runs: all of them, and no others."""

from __future__ import annotations

from collections import defaultdict
from functools import cache
from pathlib import Path

import pytest
import yaml

from tests.architecture.imports import ROOT, closure

LAZY = {
    "module": "headwater.settings.{}",
    "model": "headwater.models.{}",
    "dataset": "headwater.datasets.{}",
    "attributor_module": "headwater.attributors.{}",
}
"""Modules that a stage imports by name at run time, from fields of its row."""


@pytest.fixture(scope="module")
def sources() -> dict[str, set[str]]:
    """Return the source files among the dependencies of each stage of the real graph."""
    from dvc.repo import Repo

    found = {}
    with Repo(str(ROOT)) as repo:
        for stage in repo.index.stages:
            paths = [Path(d.fs_path).relative_to(ROOT) for d in stage.deps]
            found[stage.addressing] = {
                str(file)
                for path in paths
                for file in files_of(path)
                if file.parts[0] in ("headwater", "stages")
            }
    return found


def files_of(path: Path) -> list[Path]:
    """Return a source file, or the source files of a folder."""
    if path.suffix == ".py":
        return [path]
    if path.parts[0] in ("headwater", "stages"):
        return [file.relative_to(ROOT) for file in (ROOT / path).rglob("*.py")]
    return []


@cache
def planned_rows() -> dict[str, dict[str, dict[str, str]]]:
    """Return the rows of runs.yaml: stage -> key -> parameters."""
    return yaml.safe_load((ROOT / "runs.yaml").read_text())["runs"]  # type: ignore[no-any-return]


def imported(addressing: str) -> frozenset[str]:
    """Return the source files that one run of a stage imports."""
    stage, _, key = addressing.partition("@")
    row = planned_rows().get(stage, {}).get(key, {})
    dynamic = [pattern.format(row[field]) for field, pattern in LAZY.items() if field in row]
    dynamic += [path[:-3].replace("/", ".") for path in row.get("code", ()) if path.endswith(".py")]
    return closure(f"stages.{stage}", *dynamic)


def test_every_stage_depends_on_all_that_it_imports(sources: dict[str, set[str]]) -> None:
    assert len(sources) > 50
    for addressing, listed in sources.items():
        missing = imported(addressing) - listed
        assert not missing, f"{addressing} imports {sorted(missing)}, which dvc.yaml does not list"


def test_no_stage_depends_on_what_none_of_its_runs_imports(sources: dict[str, set[str]]) -> None:
    used, listed = defaultdict(set), defaultdict(set)
    for addressing, files in sources.items():
        stage = addressing.partition("@")[0]
        used[stage] |= imported(addressing)
        listed[stage] |= files
    for stage, files in listed.items():
        extra = files - used[stage]
        assert not extra, f"{stage} lists {sorted(extra)}, which it never imports"


def test_a_method_depends_on_its_own_attributor_only(sources: dict[str, set[str]]) -> None:
    score = sources["score@mnist-lr_grad-dot"]
    assert "headwater/attributors/gradient_similarity.py" in score
    assert "headwater/attributors/trak.py" not in score


def test_training_does_not_depend_on_attribution(sources: dict[str, set[str]]) -> None:
    for addressing, files in sources.items():
        if addressing.split("@")[0] in ("train", "retrain"):
            packages = {Path(file).parts[1] for file in files if file.startswith("headwater/")}
            assert not packages & {"attributors", "solvers", "curvature", "gradients", "task.py"}
