"""The page of results/peers.json."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from benchmarks.methods import METHODS, PROBLEMS, Contender, Method, Problem
from benchmarks.operations import floor_seconds, operations
from benchmarks.tables import describe_machine, seconds, table

__all__ = ["page", "verdict"]

NONE = "–"
HEADER = (
    "", "Headwater", "memory", "peer", "time", "memory", "faster", "target", "met",
    "difference", "correlation",
)  # fmt: skip


@dataclass(frozen=True)
class Pair:
    """Our side of a method beside one contender.

    Args:
        method: the row of `METHODS`.
        contender: the peer's call.
        ours: what was measured of us.
        theirs: what was measured of the peer.
    """

    method: Method
    contender: Contender
    ours: dict[str, Any]
    theirs: dict[str, Any]

    @property
    def ratio(self) -> float | None:
        """How many times longer the peer takes, at least; None where it failed."""
        time = self.theirs.get("seconds", self.theirs.get("limit"))
        return None if time is None else time / self.ours["seconds"]

    @property
    def met(self) -> str:
        """Whether the target is met."""
        return verdict(self.ratio, self.contender.target, self.theirs["finished"])


def verdict(ratio: float | None, target: float | None, finished: bool) -> str:
    """Return "yes" or "no", "open" where a lower bound leaves it so, or a dash without a target."""
    if target is None or ratio is None:
        return NONE
    if ratio >= target:
        return "yes"
    return "no" if finished else "open"


def page(record: dict[str, Any]) -> list[str]:
    """Return the parts of the page of results."""
    parts = [
        "# Headwater beside its peers",
        f"{_versions(record)}; float32. Time from the task and its loaders to the scores, capture of "
        "all gradients included, in a cold process (imports are not timed): the median of "
        f"{record['repetitions']} runs, or fewer where a side takes long (all are in `peers.json`). "
        "Memory is the peak of the whole process.",
        "Faster: how many times longer the peer takes; > marks a side that was stopped, so that it "
        "is a lower bound. Difference: max |ours - theirs| / max |ours| over all scores, where the "
        "definitions coincide, after the conversion of sign and unit (`benchmarks/README.md`); "
        "correlation: over all scores.",
    ]
    for problem in PROBLEMS:
        found = record["problems"].get(problem.key)
        if found is not None and found["rows"]:
            parts += _section(problem, found, record["gemm_gflops"])
    return [*parts, describe_machine(record["machine"])]


def _section(problem: Problem, found: dict[str, Any], gflops: float) -> list[str]:
    methods = [m for m in METHODS if m.problem == problem.key and m.key in found["rows"]]
    pairs = [pair for method in methods for pair in _pairs(method, found["rows"][method.key])]
    parts = [
        f"## {problem.key}",
        f"{problem.title[0].upper()}{problem.title[1:]}: {_parameters(found)}; "
        f"{found['n_train']:,} training × {found['n_test']:,} test samples.",
        table(HEADER, _rows(methods, found, pairs)),
    ]
    notes = _notes(pairs)
    if notes:
        parts += ["### Where a peer gives no scores", "\n".join(notes)]
    floors = _floors(problem, found, pairs, gflops)
    if floors:
        parts += [
            "### Targets that are not met",
            "Our floor: the operations that the method cannot do without, at the "
            f"{gflops:,.0f} GFLOP/s that torch.mm reached in this run (float32, 2,048 × 2,048).",
            table(("", "peer", "target", "measured", "our time", "floor", "at the floor"), floors),
        ]
    return parts


def _parameters(found: dict[str, Any]) -> str:
    every, attributed = found["parameters"], found["attributed"]
    if attributed == every:
        return f"{every:,} parameters"
    return f"{every:,} parameters, scores are of the {attributed:,} in Linear and Conv2d layers"


def _pairs(method: Method, row: dict[str, Any]) -> Iterator[Pair]:
    for contender, theirs in zip(method.contenders, row["contenders"], strict=True):
        yield Pair(method, contender, row["headwater"], theirs)


def _rows(methods: list[Method], found: dict[str, Any], pairs: list[Pair]) -> list[list[str]]:
    rows = []
    for method in methods:
        ours = found["rows"][method.key]["headwater"]
        own = [method.title, seconds(ours["seconds"]), _memory(ours)]
        beside = [pair for pair in pairs if pair.method is method]
        rows += [[*(own if i == 0 else ["", "", ""]), *_peer(p)] for i, p in enumerate(beside)]
        if not beside:
            rows.append([*own, "no peer can", *[NONE] * 7])
    return rows


def _peer(pair: Pair) -> list[str]:
    found, contender = pair.theirs, pair.contender
    label = contender.side + (f", {contender.note}" if contender.note else "")
    target = NONE if contender.target is None else f"{contender.target:.0f} ×"
    if "error" in found:
        return [label, "failed", *[NONE] * 2, target, *[NONE] * 3]
    more = "" if found["finished"] else "> "
    ratio = f"{more}{_times(pair.ratio)}"
    if not found["finished"]:
        time = f"did not finish in {found['limit'] / 60:.0f} min"
        return [label, time, NONE, ratio, target, pair.met, NONE, NONE]
    agreement = found["agreement"]
    difference = agreement["difference"] if contender.agreement.exact else None
    correlation = agreement["correlation"]
    return [
        label,
        seconds(found["seconds"]),
        _memory(found),
        ratio,
        target,
        pair.met,
        NONE if difference is None else f"{difference:.1e}",
        NONE if correlation is None else f"{correlation:.4f}",
    ]


def _notes(pairs: list[Pair]) -> list[str]:
    notes = []
    for pair in pairs:
        title, found = f"{pair.method.title}, {pair.contender.side}", pair.theirs
        agreement = found.get("agreement") or {}
        if "error" in found:
            notes.append(f"- {title}: `{found['error']}`")
        elif agreement.get("not_finite"):
            notes.append(f"- {title}: {agreement['not_finite']:,} scores are NaN or infinite.")
    return notes


def _floors(
    problem: Problem, found: dict[str, Any], pairs: list[Pair], gflops: float
) -> list[list[str]]:
    rows = []
    for pair in pairs:
        if pair.met not in ("no", "open"):
            continue
        work = (problem.key, pair.method.key, found["n_train"], found["n_test"])
        floor, count = floor_seconds(*work, gflops), operations(*work)
        time = pair.theirs.get("seconds", pair.theirs.get("limit"))
        more = "" if pair.theirs["finished"] else "> "
        known = floor is not None and count is not None
        rows.append([
            pair.method.title,
            pair.contender.side,
            f"{pair.contender.target:.0f} ×",
            f"{more}{_times(pair.ratio)}",
            seconds(pair.ours["seconds"]),
            f"{count / 1e9:,.3g} GFLOP, {seconds(floor)}" if known else "not counted",
            f"{more}{_times(time / floor)}" if known else NONE,
        ])  # fmt: skip
    return rows


def _times(ratio: float | None) -> str:
    if ratio is None:
        return NONE
    return f"{ratio:,.0f} ×" if ratio >= 100 else f"{ratio:.3g} ×"


def _memory(side: dict[str, Any]) -> str:
    return f"{side['peak_mb']:,.0f} MB"


def _versions(record: dict[str, Any]) -> str:
    return ", ".join(f"{package} {version}" for package, version in record["versions"].items())
