"""What is out of date, why, and how long it takes: ``python -m pipelines.status [TARGET ...]``."""

import argparse
import hashlib
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from dvc.dependency.param import ParamsDependency
from dvc.exceptions import DvcException
from dvc.repo import Repo, lock_repo
from dvc.repo.reproduce import plan_repro
from dvc.utils.flatten import flatten
from rich.console import Console

from pipelines import durations, environment
from pipelines.display import minutes, short

_CODE = "artifacts/code/"  # what stage `code` makes: the sources of each stage, with their hashes
_WORDS = {"modified": "changed", "deleted": "is missing", "new": "is new"}


class StatusError(RuntimeError):
    """DVC cannot tell what is out of date; one line that says why."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Say it; return 0 if everything is up to date, 1 if not, 2 if DVC cannot tell."""
    about = "Say what is out of date, why, and how long it takes; exit with 0 if nothing is."
    parser = argparse.ArgumentParser(prog="python -m pipelines.status", description=about)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="as `dvc repro` takes it")
    parser.add_argument("-v", "--verbose", action="store_true", help="name the stages that follow")
    options = parser.parse_args(arguments)
    say = Console(soft_wrap=True, highlight=False, markup=False).print
    try:
        stages = look(options.targets)
    except StatusError as error:
        say(str(error))
        return 2
    for line in lines(stages, verbose=options.verbose):
        say(line)
    return 1 if out_of_date(stages) else 0


def look(targets: Sequence[str] = ()) -> dict[str, Any]:
    """Return the stages of the targets by address, each after what it needs.

    Each has `needs`, `alone`, `why` (what changed for it) and `follows` (the stale stages before it);
    those with neither of the last two are up to date.

    Raises:
        StatusError: DVC cannot tell.
    """
    environment.quiet_dvc()
    try:
        with Repo() as repo, lock_repo(repo):
            return _stages(repo, targets or ["dvc.yaml"])
    except DvcException as error:
        raise StatusError(" ".join(f"{error} {error.__cause__ or ''}".split())) from error


def out_of_date(stages: Mapping[str, Any]) -> dict[str, Any]:
    """Return the stages that changed or follow others that did."""
    return {name: stage for name, stage in stages.items() if stage.why or stage.follows}


def seconds_left(stages: Mapping[str, Any]) -> float:
    """Return how long it takes to bring them up to date here, from the seconds of earlier runs."""
    estimate = durations.Estimate(stages, durations.load(durations.PATH))
    return estimate.left([*out_of_date(stages)], {}, environment.workers())


def lines(stages: Mapping[str, Any], *, verbose: bool = False) -> Iterator[str]:
    """Yield what is out of date, a line for each stage, and how long it takes in all."""
    stale = out_of_date(stages)
    for name, stage in stale.items():
        if stage.why or verbose:
            follows = f"follows {', '.join(map(short, stage.follows))}"
            yield f"{short(name)}: {'; '.join(stage.why) or follows}"
    if not stale:
        yield "Everything is up to date."
        return
    slots, own = environment.workers(), sum(bool(stage.why) for stage in stale.values())
    time = f"about {minutes(seconds_left(stages))} on {slots} slots (from {durations.PATH})"
    yield f"{len(stale)} stages, {len(stale) - own} of them only follow others: {time}"


def _stages(repo: Any, targets: Sequence[str]) -> dict[str, Any]:
    """Return the stages by address, each after what it needs, with what makes it stale."""
    picked = [info.stage for target in targets for info in repo.stage.collect_granular(target)]
    graph, hashes, found = repo.index.graph, _hashes(), dict[str, Any]()
    for node in plan_repro(graph, picked):
        needs = {need.addressing: need for need in graph.successors(node)}
        stale = [name for name in sorted(needs) if found[name].why or found[name].follows]
        made = [out.fs_path for name in stale for out in needs[name].outs]
        found[node.addressing] = SimpleNamespace(
            needs=tuple(needs),
            alone=(node.meta or {}).get("cores") == "all",
            why=list(dict.fromkeys(_why(node, made, hashes))),
            follows=[name for name in stale if name != "code"],  # whose every file counts alone
        )
    return found


def _hashes() -> dict[str, tuple[str, str]]:
    """Return two hashes of each source: when stage `code` ran, and now."""
    files = [_read(path) for path in Path(_CODE).rglob("*.json")]
    then = {path: old for file in files for path, old in file.items()}
    now = {p: _hash(Path(p)) for p in then if Path(p).is_file()}
    return {p: (old, now.get(p, "" if p.endswith(".py") else old)) for p, old in then.items()}


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def _read(path: Path) -> dict[str, str]:
    return dict(json.loads(path.read_text())) if path.is_file() else {}


def _why(node: Any, made: Sequence[str], hashes: Mapping[str, tuple[str, str]]) -> Iterator[str]:
    """Yield what changed for a stage, apart from what stale stages make."""
    if not any(out.hash_info for out in node.outs):
        yield "never ran"
        return
    if node.changed_stage():
        yield "command changed"
    for entry in [*node.deps, *node.outs]:
        path, how = entry.fs_path, entry.status().get(str(entry))
        if isinstance(entry, ParamsDependency):
            yield from _values(entry) if how else ()
        elif sources := _sources(entry, hashes):
            yield from (f"source {source} changed" for source in sources)
        elif how and not any(os.path.commonpath([path, out]) in (path, out) for out in made):
            yield f"{entry} {_WORDS.get(how, how)}"


def _sources(entry: Any, hashes: Mapping[str, tuple[str, str]]) -> list[str]:
    """Return the changed sources behind a dependency: a file of stage `code`, or a folder of them."""
    name = str(entry)
    if not name.startswith(_CODE):
        return [p for p, (old, now) in hashes.items() if p.startswith(f"{name}/") and old != now]
    old, now = _read(Path(entry.cache_path)), {p: hashes[p][1] for p in _read(Path(name))}
    return sorted({p for p, _ in old.items() ^ now.items()}) if old and now else []


def _values(entry: ParamsDependency) -> Iterator[str]:
    old, now = flatten(entry.hash_info.value or {}), flatten(entry.read_params())
    for name in sorted(old.keys() | now.keys()):
        if old.get(name, "none") != now.get(name, "none"):
            yield f"parameter {name}: {old.get(name, 'none')} -> {now.get(name, 'none')}"


if __name__ == "__main__":
    sys.exit(main())
