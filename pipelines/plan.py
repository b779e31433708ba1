"""What everything takes, before anything runs: ``python -m pipelines.plan [SETTING ...] [--json]``."""

import argparse
import json
import math
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from headwater.benchmark.probe import Captured, Rates, probe
from pipelines import environment
from pipelines.display import minutes
from stages.budget import Needs, plan_setting, size
from stages.check import check_params, load_params
from stages.code import sources_of_plan
from stages.device import resolve_device
from stages.params import Params
from stages.task import make_projection

SOURCES = [Path("headwater"), Path("stages")]
START = 1.0
"""Seconds in which a stage starts."""
WRITTEN = 5e8
"""Bytes that are written in a second."""
TRAINING = ("train", "retrain")
"""The stages that use all cores."""


@dataclass(frozen=True)
class Planned:
    """What a run of a stage takes on this machine."""

    needs: Needs
    seconds: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the plans of some settings; return 0, or 1 if params.yaml or a name is wrong."""
    about = (
        "Print what the stages of settings take before anything runs: bytes on disk, peak memory "
    )
    about += "and time (after a probe of seconds), what the budget leaves out, and what to change."
    parser = argparse.ArgumentParser(prog="python -m pipelines.plan", description=about)
    what = "of params.yaml (default: those of `benchmark`)"
    parser.add_argument("settings", nargs="*", metavar="SETTING", help=what)
    parser.add_argument(
        "--json", action="store_true", help="print the figures of every run as JSON"
    )
    options = parser.parse_args(arguments)
    try:
        plans = plan_all(options.settings)
    except (ValueError, OSError, ImportError) as error:
        sys.stderr.write(" ".join(str(error).split()) + "\n")
        return 1
    if options.json:
        sys.stdout.write(json.dumps(records(plans), indent=1) + "\n")
    else:
        show(plans, Console(highlight=False))
    return 0


def plan_all(names: Sequence[str] = ()) -> dict[str, list[Planned]]:
    """Return the plan of each setting; by default of those under `benchmark` in params.yaml.

    Raises:
        ValueError: params.yaml or a name is wrong.
    """
    params = load_params(Path("params.yaml"))
    check_params(params, {path.parent.name for path in Path("settings").glob("*/dvc.yaml")})
    known = _known(list(names) or params.benchmark, params)
    return {name: plan(name, params) for name in known}


def records(plans: Mapping[str, Iterable[Planned]]) -> dict[str, list[dict[str, object]]]:
    """Return the figures of every run, as JSON has them."""
    return {name: [_record(run) for run in runs] for name, runs in plans.items()}


def plan(name: str, params: Params) -> list[Planned]:
    """Return what each run of a setting takes, in seconds of this machine too."""
    setting = params.settings[name]
    found = plan_setting(name, params, sources_of_plan(setting.setting, SOURCES))
    made = {needs.key for needs in found if needs.stage == "gradients" and not needs.left_out}
    stores = {
        key: Captured(params.stores[key].function, make_projection(params.stores[key], key))
        for key in sorted(made)
    }
    device = resolve_device(setting.device)
    rates = probe(setting.setting, device, stores)
    cores = environment.cores() if device.type == "cpu" else 1
    return [Planned(needs, _seconds(needs, rates, cores)) for needs in found]


def wall(runs: Iterable[Planned], cores: int) -> float:
    """Return how long runs take together: training uses all cores, the others run side by side."""
    runs = list(runs)
    alone = sum(run.seconds for run in runs if run.needs.stage in TRAINING)
    return alone + sum(run.seconds for run in runs if run.needs.stage not in TRAINING) / cores


def _known(names: list[str], params: Params) -> list[str]:
    for name in names:
        if name not in params.settings:
            known = ", ".join(params.settings)
            raise ValueError(f"SETTING must be one of {known}, got {name!r}; correct the name")
    return list(dict.fromkeys(names))


def _seconds(needs: Needs, rates: Rates, cores: int) -> float:
    """Return the seconds of a run; NaN where training is a loop of its own."""
    if needs.left_out:
        return START
    found = START + needs.disk / WRITTEN
    found += (needs.operations - needs.passes) * rates.operation + needs.passes * rates.passed
    if needs.steps or needs.stage == "train":
        found += needs.steps * rates.step / cores
    if needs.captures != (0, 0):
        (checkpoints, samples), (first, each) = needs.captures, rates.captures[needs.key]
        found += checkpoints * (first + samples * each)
    return found


def _record(run: Planned) -> dict[str, object]:
    seconds = None if math.isnan(run.seconds) else round(run.seconds, 2)
    return {**asdict(run.needs), "seconds": seconds}


def show(plans: dict[str, list[Planned]], console: Console) -> None:
    """Print a table for each setting, what does not fit, and all together."""
    cores, disk, seconds = environment.workers(), 0.0, 0.0
    for name, runs in plans.items():
        made = [run for run in runs if not run.needs.left_out]
        table = Table(title=name, title_justify="left", show_footer=True)
        for column, foot in (
            ("stage", "in all"),
            ("runs", str(len(made))),
            ("on disk", size(sum(run.needs.disk for run in made))),
            ("peak memory", size(max(run.needs.memory for run in made))),
            ("time", _time(wall(made, cores))),
            ("left out", str(len(runs) - len(made))),
        ):
            table.add_column(column, foot, justify="left" if column == "stage" else "right")
        for stage in dict.fromkeys(run.needs.stage for run in runs):
            table.add_row(*_row(stage, [run for run in runs if run.needs.stage == stage], cores))
        console.print(table)
        if over := _not_fitting(run.needs for run in runs):
            console.print(over)
        disk, seconds = disk + sum(r.needs.disk for r in made), seconds + wall(made, cores)
    free = shutil.disk_usage(".").free
    console.print(
        f"{size(disk)} on disk, of {size(free)} that are free, and {_time(seconds)} on {cores} cores.",
        style="red" if disk > free else "",
    )
    if disk > free:
        console.print("Fewer settings, stores or checkpoints, or more disk.", style="red")


def _row(stage: str, runs: list[Planned], cores: int) -> list[str]:
    made = [run for run in runs if not run.needs.left_out]
    out = len(runs) - len(made)
    if not made:
        return [stage, "0", "", "", "", str(out)]
    disk, memory = sum(run.needs.disk for run in made), max(run.needs.memory for run in made)
    left = str(out) if out else ""
    return [stage, str(len(made)), size(disk), size(memory), _time(wall(made, cores)), left]


def _not_fitting(runs: Iterable[Needs]) -> Table | None:
    """Return what the budget leaves out, and what to change; None if all fits."""
    table = Table("left out", "why", "what to change", title="Does not fit", title_justify="left")
    seen = set()
    for needs in runs:
        if (
            needs.over
            and (where := (needs.stage, needs.key)) not in seen
            and needs.stage != "score"
        ):
            seen.add(where)
            kind = "store" if needs.stage == "gradients" else "method"
            table.add_row(f"{kind} {needs.key}", needs.over, needs.advice)
    return table if table.row_count else None


def _time(seconds: float) -> str:
    return "not known" if math.isnan(seconds) else minutes(seconds)


if __name__ == "__main__":
    sys.exit(main())
