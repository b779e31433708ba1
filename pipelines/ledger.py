"""DVC's side of a run: what is out of date, what the run-cache can restore, and what was made.

One process holds the repository for the length of a run. A stage that ends goes at once into the
cache and the run-cache, and each ``dvc.lock`` is written once, at the end, as plain ``dvc repro``
would have written it. A run that is killed loses nothing: the run-cache has every stage that ended.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Self

import networkx as nx
from dvc.exceptions import DvcException
from dvc.lock import LockError
from dvc.repo import Repo, lock_repo
from dvc.repo.reproduce import get_active_graph, plan_repro
from dvc.rwlock import rwlock
from dvc.stage.cache import RunCacheNotFoundError

from pipelines import environment, fresh
from pipelines.schedule import Stage, stale

opened: "tuple[Ledger, dict[str, Stage]] | None" = None  # for the flow, with what is to do
_OTHERS = "another run is at work in this repository, wait for it to end: "


class LedgerError(RuntimeError):
    """DVC cannot read, restore or record something; one line that says what to do."""


class Busy(LedgerError):
    """Another run holds the repository."""


class Ledger:
    """The repository of the current folder, locked until the end of the block.

    Attributes:
        stages: The targets' stages and all that these need, in the order of plain ``dvc repro``.
        known: The names of all stages of the repository.
        ended: How each stage ended that was brought up to date: ``ran`` or ``restored``.
        failed: Why each stage failed; a run says it at its end.
        not_run: The failed stages for lack of which each other one was not run.

    Args:
        targets: Stages, groups, outs or ``dvc.yaml`` files; none means ``./dvc.yaml``, as in DVC.
    """

    def __init__(self, targets: Sequence[str] = ()) -> None:
        self._targets = targets
        self.ended: dict[str, str] = {}
        self.failed: dict[str, str] = {}
        self.not_run: dict[str, list[str]] = {}
        self._seen: dict[str, list[Any]] = {}

    def __enter__(self) -> Self:
        environment.quiet_dvc()
        with _in_one_line(), ExitStack() as opening:
            self._repo = opening.enter_context(Repo())
            _lock(opening, self._repo)
            graph = get_active_graph(self._repo.index.graph)
            self.known = {node.addressing for node in graph}
            collect = self._repo.stage.collect_granular
            found = [info.stage for target in self._targets for info in collect(target)]
            picked = plan_repro(graph, found or self._repo.stage.collect("dvc.yaml"))
            self._nodes = {node.addressing: node for node in picked}
            known: dict[tuple[str, str], str] = {}
            self.stages = {node.addressing: _stage(node, graph, known) for node in picked}
            opening.callback(self._flush)
            self._open = opening.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        with _in_one_line():
            self._open.close()

    def todo(self) -> dict[str, Stage]:
        """Run the stages that come first, and return those that may have to run then.

        Raises:
            LedgerError: One of the first failed.
        """
        for stage in self.stages.values():
            if stage.first and self.is_changed(stage.name) and not self.restore(stage.name):
                why = fresh.run(stage.command, stage.folder, forked=False)
                if why:
                    raise LedgerError(f"{stage.name} failed: {why}")
                self.record(stage.name)
        return stale(self.stages.values(), self.changed())

    def changed(self) -> set[str]:
        """Return the stages that ``dvc status`` names: they changed, or what they read or made did."""
        with _in_one_line():
            return {name for name, node in self._nodes.items() if node.status()}

    def is_changed(self, name: str) -> bool:
        """Whether plain ``dvc repro`` would run a stage now that what it needs is up to date."""
        with _in_one_line():
            return bool(self._nodes[name].changed())

    def restore(self, name: str) -> bool:
        """Make room for what a stage makes; return whether the run-cache could bring it back."""
        node = self._nodes[name]
        with _in_one_line():
            if node.cmd and not node.frozen:
                node.remove_outs(ignore_remove=False, force=False)
                try:
                    self._repo.stage_cache.restore(node)
                except RunCacheNotFoundError:
                    node.save_deps()
                    self._seen[name] = [dependency.hash_info for dependency in node.deps]
                    return False
        self.record(name, "restored")
        return True

    def record(self, name: str, how: str = "ran") -> None:
        """Take a stage that ended well into the cache and the run-cache.

        Raises:
            LedgerError: It did not make its outs, or what it reads was edited while it ran.
        """
        node = self._nodes[name]
        with _in_one_line():
            node.save(run_cache=False)
            seen = self._seen.pop(name, None)
            if seen is not None and seen != [dependency.hash_info for dependency in node.deps]:
                raise LedgerError("what it reads was edited while it ran: run it again")
            node.commit()  # first: an entry of the run-cache says that its outs are in the cache
            if all(out.use_cache or out.is_metric or out.is_plot for out in node.outs):
                self._repo.stage_cache.save(node)
        self.ended[name] = how

    def _flush(self) -> None:
        """Write each ``dvc.lock`` that has news."""
        by_file: dict[str, list[Any]] = {}
        for name, node in self._nodes.items():
            if name in self.ended:
                by_file.setdefault(node.path, []).append(node)
        for nodes in by_file.values():
            nodes[0].dvcfile.dump_stages(nodes, update_pipeline=False)


def _lock(opening: ExitStack, repo: Repo) -> None:
    """Lock the repository; what runs a stage there holds the locks of its files only."""
    try:
        opening.enter_context(lock_repo(repo))
    except LockError:
        pid = Path(repo.lock.lockfile).read_text().strip()
        raise Busy(f"{_OTHERS}PID {pid}") from None
    with rwlock(repo.tmp_dir, repo.fs, "headwater", [], [repo.root_dir], hardlink=False):
        pass


@contextmanager
def _in_one_line() -> Iterator[None]:
    try:
        yield
    except LockError as error:
        raise Busy(_OTHERS + " ".join(str(error).split())) from None
    except (DvcException, OSError) as error:
        cause = f": {error.__cause__}" if error.__cause__ else ""
        raise LedgerError(" ".join(f"DVC: {error}{cause}".split())) from None


def _stage(node: Any, graph: nx.DiGraph, devices: dict[tuple[str, str], str]) -> Stage:
    needs = list(graph.successors(node))
    made = [out.fs_path for need in needs for out in need.outs]
    for dependency in () if node.frozen else node.deps:
        overlap = partial(dependency.fs.overlaps, dependency.fs_path)
        if not dependency.exists and not any(map(overlap, made)):
            raise LedgerError(
                f"{node.addressing} needs {dependency}, which no stage makes and which is not on "
                "disk: add it, or correct the path in dvc.yaml"
            )
    meta = node.meta or {}
    return Stage(
        name=node.addressing,
        needs=tuple(sorted(need.addressing for need in needs)),
        command="\n".join(node.cmd) if isinstance(node.cmd, list) else node.cmd or "",
        folder=node.wdir,
        device=_device(node, devices),
        alone=meta.get("cores") == "all",
        retries=int(meta.get("retries", 0)),
        deadline=float(meta.get("deadline", 0)),
        tags=tuple(meta.get("tags", ())),
        first=bool(meta.get("first", False)),
    )


def _device(node: Any, known: dict[tuple[str, str], str]) -> str:
    """The value of the stage's parameter whose name ends in `.device`, if it has one."""
    for dependency in node.params:
        for key in dependency.params:
            if f".{key}".endswith(".device"):
                place = dependency.fs_path, key
                if place not in known:  # it would be parsed for each stage
                    known[place] = str(dependency.read_params().get(key))
                return known[place]
    return ""
