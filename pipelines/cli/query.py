"""``headwater query``: the training samples that a prediction flows from."""

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from pipelines.cli.errors import CliError, need_project
from pipelines.cli.options import Debug, Json, Method, OneSetting, complete_method
from pipelines.cli.output import console, estimate, print_json, table

_NUMBERS = re.compile(r"(\d+)(?:-(\d+))?")


def query(
    setting: OneSetting,
    sample: Annotated[
        list[str],
        typer.Argument(
            metavar="SAMPLE...",
            help="Test samples by number (7) or range (0-9); or one file with a new sample: an image, "
            "a text, a .mid, or .safetensors with inputs and labels.",
        ),
    ],
    method: Method = None,
    top: Annotated[int, typer.Option("--top", "-k", min=1, help="How many on each side.")] = 10,
    label: Annotated[
        str | None,
        typer.Option(
            help="The class that is explained of a new image; by default the predicted one.",
            show_default=False,
        ),
    ] = None,
    shortlist: Annotated[
        int,
        typer.Option(min=2, help="Training samples that the method scores for a new sample."),
    ] = 1000,
    first: Annotated[
        str | None,
        typer.Option(
            metavar="METHOD", autocompletion=complete_method, show_default=False,
            help="The method that chooses these; by default the cheapest on projected gradients.",
        ),
    ] = None,
    json: Json = False,
    debug: Debug = False,
) -> None:  # fmt: skip
    """Show the proponents and opponents of test samples, or of a new one.

    Test samples are answered from the scores that the workflow made, by default those with the highest
    LDS. A new sample is answered from the stores: a cheap method on projected gradients
    scores all training samples, and the chosen method the best of these.
    """
    need_project()
    tests, file = _parse(sample)
    from pipelines.query.made import Made
    from pipelines.query.records import default_method, of_file, of_tests
    from stages.check import load_params

    made = Made(setting, load_params(Path("params.yaml")))
    chosen = method or default_method(made, new=file is not None)
    if file is None:
        record = of_tests(made, tests, chosen, top)
    else:
        _use_all_cores()
        record = of_file(made, file, chosen, top, label, shortlist, first)
    if json:
        print_json(record)
    else:
        _show(record)


def _parse(samples: list[str]) -> tuple[list[int], Path | None]:
    """Return the numbers of test samples, or the file of a new one."""
    ranges = [_NUMBERS.fullmatch(sample) for sample in samples]
    if not any(ranges):
        if len(samples) == 1:
            return [], Path(samples[0])
        raise CliError(f"SAMPLE must be one new sample, got {len(samples)}: ask for each by itself")
    if not all(ranges):
        raise CliError(
            "SAMPLE must be numbers of test samples or one file, got both: ask separately"
        )
    found = [(int(r[1]), int(r[2] or r[1])) for r in ranges if r]
    numbers = [number for low, high in found for number in range(low, high + 1)]
    if not numbers:
        raise CliError(f"a range must ascend, got {samples[0]}: write it the other way round")
    return list(dict.fromkeys(numbers)), None


def _use_all_cores() -> None:
    """Let this process compute as a stage does not: its last bits are nobody's dependency."""
    import torch

    from pipelines import environment

    torch.set_num_threads(environment.cores())


def _show(record: dict[str, Any]) -> None:
    say = console().print
    say(f"{record['setting']}, {_method(record)}, explains the {record['explains']}")
    if "scored" in record:
        first = record["first"]
        how = f"scored {record['scored']:,} of {record['train_samples']:,} training samples"
        if first:
            how += f", chosen by {_method(first)} on store {first['store']} ({first['seconds']} s)"
        say(f"{how}, in {record['seconds']} s")
    for found in record["queries"]:
        if "file" in found:
            say(f"\n{found['file']}: {found['shown']} ({found['label']}), "
                f"{record['explains']} {found['value']:.4g}")  # fmt: skip
        else:
            say(f"\ntest sample {found['test']}: {found['shown']}")
        for side in ("proponents", "opponents"):
            rows = [(str(r["train"]), r["shown"], f"{r['score']:+.4g}") for r in found[side]]
            table(f"{side} ({_meaning(side, record['explains'])})", ["train", "shows", "score"],
                  rows, left=2)  # fmt: skip


def _method(record: dict[str, Any]) -> str:
    count = record["checkpoints"]
    models = "1 checkpoint" if count == 1 else f"{count} checkpoints"
    lds = f", LDS {estimate(record['lds'])}" if record["lds"] else ""
    return f"{record['method']} ({models}{lds})"


def _meaning(side: str, function: str) -> str:
    raises = (side == "proponents") != (function == "loss")
    return f"they {'raise' if raises else 'lower'} the {function}"
