"""The stage graph, read from DVC: ``dvc.yaml`` is the only place where it is written."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import networkx as nx
import yaml

from pipelines import fast_yaml, lock_file

# A run that was just killed takes a moment to give its locks back.
_SECONDS_TO_UNLOCK = 5.0


class GraphError(RuntimeError):
    """The graph cannot be read or run; the message is one line that says what to do."""


@dataclass(frozen=True)
class Stage:
    """One DVC stage.

    Attributes:
        name: Its address in DVC.
        needs: The stages whose outs it depends on.
        tags: ``meta.tags`` of the stage, Prefect's tags of its task.
        retries: ``meta.retries``.
        alone: ``meta.cores`` is ``all``: no other stage runs beside it.
        priority: ``meta.priority``: of the stages that can start, the highest does; default 0.
        changed: DVC would run it, for a change of its own.
        stale: It is changed, or a stage that it needs is stale.
    """

    name: str
    needs: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    retries: int = 0
    alone: bool = False
    priority: int = 0
    changed: bool = True
    stale: bool = True


def load(targets: Sequence[str] = ()) -> dict[str, Stage]:
    """Read the current folder's stages, in an order in which each comes after what it needs.

    Args:
        targets: Stages, groups or outs; with all that they need. None means everything.

    Returns:
        The stages by name.

    Raises:
        GraphError: A target is unknown, a dependency is missing, ``dvc.yaml`` is wrong, or
            another run is at work in this repository.
    """
    from dvc.exceptions import DvcException
    from dvc.lock import LockError
    from dvc.repo import Repo

    fast_yaml.install()
    lock_file.install()
    try:
        with Repo() as repo:
            graph = _picked(repo, targets)
            _check_dependencies(graph)
            return _stages(graph, _changed(repo, graph))
    except LockError as error:
        raise GraphError(
            f"another run is at work in this repository: wait for it to end ({_line(error)})"
        ) from None
    except DvcException as error:
        raise GraphError(f"DVC cannot read the graph: {_line(error)}") from None


def recorded_outs(name: str) -> list[tuple[str, str]] | None:
    """Return path and hash of each out of a stage as ``dvc.lock`` has them; None if it does not."""
    try:
        entry = lock_file.read("dvc.lock")["stages"][name]
        return [(out["path"], out["md5"]) for out in entry["outs"]]
    except (OSError, yaml.YAMLError, KeyError, TypeError):  # absent, or just being written
        return None


def _changed(repo: Any, graph: nx.DiGraph) -> set[str]:
    """The stages with a changed or missing dependency, parameter, out or command."""
    from dvc.lock import LockError

    deadline = time.monotonic() + _SECONDS_TO_UNLOCK
    while True:
        try:
            # Of everything: DVC would read dvc.yaml again for each target that is named.
            return set(repo.status()) & {node.addressing for node in graph}
        except LockError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def _line(error: Exception) -> str:
    cause = f": {error.__cause__}" if error.__cause__ else ""
    return " ".join(f"{error}{cause}".split())


def _picked(repo: Any, targets: Sequence[str]) -> nx.DiGraph:
    """The part of DVC's graph (edges: stage -> what it needs) that the targets ask for."""
    graph: nx.DiGraph = repo.index.graph
    if not targets:
        return graph
    picked = {stage for target in targets for stage in repo.stage.collect(target)}
    return graph.subgraph(picked.union(*(nx.descendants(graph, stage) for stage in picked)))


def _check_dependencies(graph: nx.DiGraph) -> None:
    for node in graph:
        made = [out for upstream in graph.successors(node) for out in upstream.outs]
        for dependency in () if node.frozen else node.deps:
            if not dependency.exists and not any(_overlap(dependency, out) for out in made):
                raise GraphError(
                    f"{node.addressing} needs {dependency}, which no stage makes and which is not "
                    "on disk: add it, or correct the path in dvc.yaml"
                )


def _overlap(dependency: Any, out: Any) -> bool:
    """Whether a stage's out is the dependency, lies in it, or contains it."""
    a, b = dependency.fs_path, out.fs_path
    return bool(dependency.fs.isin_or_eq(a, b) or dependency.fs.isin_or_eq(b, a))


def _stages(graph: nx.DiGraph, changed: set[str]) -> dict[str, Stage]:
    stages: dict[str, Stage] = {}
    for node in nx.lexicographical_topological_sort(graph.reverse(), key=lambda s: s.addressing):
        needs = tuple(sorted(upstream.addressing for upstream in graph.successors(node)))
        upstream_stale = not node.frozen and any(stages[name].stale for name in needs)
        meta = node.meta or {}
        stages[node.addressing] = Stage(
            name=node.addressing,
            needs=needs,
            tags=tuple(meta.get("tags", ())),
            retries=int(meta.get("retries", 0)),
            alone=meta.get("cores") == "all",
            priority=int(meta.get("priority", 0)),
            changed=node.addressing in changed,
            stale=node.addressing in changed or upstream_stale,
        )
    return stages
