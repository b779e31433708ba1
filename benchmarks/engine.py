"""How close the engine comes to PyTorch's own speed: capture, scoring, memory, a ResNet.

python -m benchmarks.engine
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.capture_speed import measure_capture
from benchmarks.environment import ROOT
from benchmarks.measure import machine, save_record
from benchmarks.problem import train
from benchmarks.resnet_speed import BUDGET, MEMORY_TARGET_MB, TARGETS, measure_resnet
from benchmarks.scoring_memory import measure_memory
from benchmarks.scoring_speed import (
    measure_factored,
    measure_projected,
    write_factored,
    write_projected,
)
from benchmarks.tables import describe_machine, seconds, table, write_page

__all__ = ["Sizes", "measure", "page", "page_of_resnet"]

RESULTS = ROOT / "benchmarks" / "results"


@dataclass(frozen=True)
class Sizes:
    """How large the measurements are.

    Args:
        n_train: training samples of mnist-mlp.
        n_test: test samples of mnist-mlp.
        batches: samples a batch of the capture, one measurement each.
        projected: (n_train, dimension) of the projected store that is timed.
        memory: numbers of training samples in the stores whose scoring memory is measured.
        memory_shape: (n_test, dimension) of these.
        resnet: (n_train, n_test, dimension) of the ResNet's section.
        repetitions: of every timing.
        resnet_repetitions: of those of the ResNet, which take long.
    """

    n_train: int = 5000
    n_test: int = 500
    batches: Sequence[int] = (500, 1000)
    projected: tuple[int, int] = (50_000, 2048)
    memory: Sequence[int] = (50_000, 100_000, 200_000, 400_000)
    memory_shape: tuple[int, int] = (100, 512)
    resnet: tuple[int, int, int] = (1000, 100, 4096)
    repetitions: int = 15
    resnet_repetitions: int = 3


def measure(sizes: Sizes, threads: int, scratch: Path) -> dict[str, Any]:
    """Make all measurements; what they need on disk is under the scratch folder."""
    torch.set_num_threads(threads)
    samples, state = train(sizes.n_train, sizes.n_test)
    inputs, labels = samples.train_inputs, samples.train_labels
    factored, projected = scratch / "factored", scratch / "projected"
    write_factored(factored, samples, state)
    write_projected(projected, sizes.projected[0], sizes.n_test, sizes.projected[1])
    return {
        "capture": [
            measure_capture(inputs, labels, state, batch, sizes.repetitions)
            for batch in sizes.batches
        ],
        "scoring": {
            "factored": measure_factored(factored, sizes.repetitions),
            "projected": measure_projected(projected, sizes.repetitions),
        },
        "memory": [
            measure_memory(scratch / "memory", n, *sizes.memory_shape, threads)
            for n in sizes.memory
        ],
        "resnet": measure_resnet(*sizes.resnet, threads, sizes.resnet_repetitions),
        "machine": machine(threads),
    }


def page(record: dict[str, Any]) -> list[str]:
    """Return the parts of the page of results."""
    return [
        "# The engine beside PyTorch itself",
        describe_machine(record["machine"]),
        "## Capture of all per-sample gradients",
        _table(CAPTURE, record["capture"]),
        "mnist-mlp. Plain: forward and `loss.sum().backward()` with gradients of all parameters, on "
        "the same batches. Medians, the two in turn in one process. The check of the layers on two "
        "samples, once a checkpoint, comes on top.",
        "## Scoring a store",
        _table(SCORING, [{"store": k, **v} for k, v in record["scoring"].items()]),
        "Grad-Dot from gradients on disk (reading, checksums, inner products, writing the scores), "
        "in the page cache, beside `torch.mm` on the same shapes with operands and result in memory: for "
        "factors the products of inputs and of output gradients of every layer, and nothing else. "
        "GFLOP/s count these products only.",
        "## Memory of scoring",
        _table(MEMORY, record["memory"]),
        "Peak resident memory of the process that scores a projected store into a .npy file. Two "
        "blocks of the store and their scores are held at a time; the C library's allocator keeps "
        "some freed scores back, up to tens of MB, whatever the number of samples.",
        *page_of_resnet(record["resnet"]),
    ]


def page_of_resnet(found: dict[str, Any]) -> list[str]:
    """Return the section about the ResNet: heading, table, explanation."""
    n, m, batch = (found[key] for key in ("n_train", "n_test", "batch"))
    peak = found["peak_mb"] - found["peak_mb_before"]
    rows = [
        {
            "title": title.format(k=found["dimension"]),
            "value": seconds(found["seconds"][name]),
            **_beside(found["ratios"].get(name), TARGETS.get(name), " ×"),
        }
        for name, title in RESNET_ROWS.items()
    ]
    memory = {"title": "Grad-Dot, memory", "value": f"{peak:,.0f} MB"}
    rows.append({**memory, **_beside(peak, MEMORY_TARGET_MB, " MB"), "found": NONE})
    return [
        "## ResNet",
        _table(RESNET, rows),
        f"A ResNet-9 with {found['parameters']:,} parameters, batch norms in evaluation mode, random "
        f"images of 3 × 32 × 32, {n:,} training × {m:,} test samples in batches of {batch}. Plain: "
        "forward and `loss.sum().backward()` over the same samples; medians of "
        f"{found['repetitions']}, in turn in one process. Of what is captured or projected nothing is "
        f"kept. Grad-Dot has a memory budget of {BUDGET}; memory: the peak of its own process, above "
        "what it was before. A dense projection to as many dimensions takes 2 n p k operations, some "
        "hundred times those of the plain passes, whoever computes it.",
    ]


def _beside(found: float | None, target: float | None, unit: str) -> dict[str, str]:
    """Return the cells of a number that is to be at most its target."""
    if found is None or target is None:
        return {"found": NONE, "target": NONE, "met": NONE}
    return {
        "found": f"{found:.2f}{unit}",
        "target": f"{target:,.4g}{unit}",
        "met": "yes" if found <= target else "no",
    }


Column = tuple[str, Callable[[dict[str, Any]], str]]

CAPTURE: tuple[Column, ...] = (
    ("batch", lambda r: f"{r['batch']:,}"),
    ("samples", lambda r: f"{r['samples']:,}"),
    ("plain", lambda r: seconds(r["plain"])),
    ("capture", lambda r: seconds(r["capture"])),
    ("ratio", lambda r: f"{r['ratio']:.2f}"),
    ("check of the layers", lambda r: seconds(r["probe"])),
)
SCORING: tuple[Column, ...] = (
    ("store", lambda r: r["store"]),
    ("shape", lambda r: f"{r['n_train']:,} × {r['n_test']:,} × {r['width']:,}"),
    ("torch.mm", lambda r: f"{seconds(r['mm'])}, {r['mm_gflops']:.0f} GFLOP/s"),
    ("scoring", lambda r: f"{seconds(r['scoring'])}, {r['scoring_gflops']:.0f} GFLOP/s"),
    ("part of torch.mm's rate", lambda r: f"{r['ratio']:.2f}"),
    ("opening", lambda r: seconds(r["opening"])),
)
MEMORY: tuple[Column, ...] = (
    ("training samples", lambda r: f"{r['n_train']:,}"),
    ("store", lambda r: f"{r['store_mb']:,.0f} MB"),
    ("scores", lambda r: f"{r['scores_mb']:,.0f} MB"),
    ("peak", lambda r: f"{r['peak_mb']:,.0f} MB"),
    ("before scoring", lambda r: f"{r['peak_mb_before']:,.0f} MB"),
)
RESNET_ROWS = {
    "plain": "plain",
    "capture": "capture",
    "grad-dot": "Grad-Dot",
    "sparse": "projected gradients, SparseJL, k = {k:,}",
}
RESNET: tuple[Column, ...] = (
    ("", lambda r: r["title"]),
    ("measured", lambda r: r["value"]),
    ("beside plain", lambda r: r["found"]),
    ("at most", lambda r: r["target"]),
    ("met", lambda r: r["met"]),
)
NONE = "–"


def _table(columns: Sequence[Column], records: Sequence[dict[str, Any]]) -> str:
    rows = [[cell(record) for _, cell in columns] for record in records]
    return table([name for name, _ in columns], rows)


def main() -> None:
    """Measure, and write results/engine.json and results/engine.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--repetitions", type=int, default=Sizes.repetitions)
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        sizes = Sizes(repetitions=options.repetitions)
        record = measure(sizes, options.threads, Path(scratch))
    save_record(options.results / "engine.json", record)
    write_page(options.results / "engine.md", page(record))
    print((options.results / "engine.md").read_text())


if __name__ == "__main__":
    main()
