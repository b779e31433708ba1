"""What recording checkpoints adds to training.

python -m benchmarks.recording [--repetitions 7]

The same training with and without a recorder, in turn in one process: a plain loop over a perceptron
that records each epoch, and Hugging Face's Trainer over a small GPT-2 that records ten times.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments

from benchmarks.environment import ROOT
from benchmarks.measure import machine, ratio_of_medians, save_record
from benchmarks.tables import describe_machine, seconds, table, write_page
from headwater.recording import CheckpointRecorder, recorded
from headwater.recording.hugging_face import TrainerRecorder

__all__ = ["main", "page", "plain_loop", "trainer"]

RESULTS = ROOT / "benchmarks" / "results"
AIM = 0.05
Training = Callable[[Path | None], None]
"""Trains, and records into a folder if there is one."""


def plain_loop(folder: Path | None, epochs: int = 5, n: int = 5000) -> None:
    """Train a perceptron of 109,386 parameters in batches of 64; a checkpoint each epoch."""
    torch.manual_seed(0)
    inputs, labels = torch.randn(n, 784), torch.randint(10, (n,))
    layers = [nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10)]
    model = nn.Sequential(*layers)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    recorder = None if folder is None else CheckpointRecorder(folder, every=-(-n // 64))
    for _ in range(epochs):
        for batch in torch.randperm(n).split(64):
            optimizer.zero_grad()
            F.cross_entropy(model(inputs[batch]), labels[batch]).backward()
            optimizer.step()
            if recorder is not None:
                recorder.after_step(model, optimizer)


def trainer(folder: Path | None, steps: int = 50) -> None:
    """Train a GPT-2 of 4 layers of 128 on sequences of 128 tokens with Trainer; ten checkpoints."""
    torch.manual_seed(0)
    size = {"n_layer": 4, "n_head": 4, "n_embd": 128, "n_positions": 128, "vocab_size": 1000}
    model = GPT2LMHeadModel(GPT2Config(**size, bos_token_id=None, eos_token_id=None))
    tokens = torch.randint(0, 1000, (steps * 8, 128))
    data = [{"input_ids": row, "labels": row} for row in tokens]
    with tempfile.TemporaryDirectory() as scratch:
        arguments = TrainingArguments(
            scratch, max_steps=steps, per_device_train_batch_size=8, use_cpu=True, report_to=[],
            save_strategy="no", disable_tqdm=True, dataloader_pin_memory=False,
        )  # fmt: skip
        callbacks = [] if folder is None else [TrainerRecorder(folder, every=steps // 10)]
        Trainer(model, arguments, train_dataset=data, callbacks=callbacks).train()


ROWS: dict[str, Training] = {
    "plain loop, a perceptron": plain_loop,
    "Hugging Face's Trainer, a GPT-2": trainer,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and write recording.json and recording.md into the folder of results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    rows = {name: _measure(train, options.repetitions) for name, train in ROWS.items()}
    record = {"machine": machine(options.threads), "rows": rows}
    save_record(options.results / "recording.json", record)
    parts = page(record)
    write_page(options.results / "recording.md", parts)
    print(parts[-1])


def page(record: Mapping[str, Any]) -> list[str]:
    """Return the table of a record as Markdown."""
    rows = []
    for name, row in record["rows"].items():
        added = [ratio_of_medians(row["with"][k], row["without"][k]) - 1 for k in ("cpu", "wall")]
        middle = sorted(row["without"]["cpu"])[len(row["without"]["cpu"]) // 2]
        size = f"{row['checkpoints']} of {row['megabytes']:.2g} MB"
        rows.append([name, seconds(middle), size, *(f"{100 * part:.1f} %" for part in added)])
    return [
        "# Recording checkpoints",
        "The same training with and without a recorder, in turn in one process; medians. Aim: at most "
        f"{100 * AIM:.0f} % more.",
        describe_machine(record["machine"]),
        table(["", "CPU without", "checkpoints", "more CPU", "more wall time"], rows),
    ]


def _measure(train: Training, repetitions: int) -> dict[str, Any]:
    row: dict[str, Any] = {side: {"cpu": [], "wall": []} for side in ("without", "with")}
    for repetition in range(repetitions + 1):
        for side in ("without", "with"):
            with tempfile.TemporaryDirectory() as folder:
                cpu, wall = time.process_time(), time.perf_counter()
                train(Path(folder) if side == "with" else None)
                taken = time.process_time() - cpu, time.perf_counter() - wall
                if side == "with":
                    records = recorded(folder)
                    row["checkpoints"] = len(records)
                    row["megabytes"] = records[0].path.stat().st_size / 1e6
            if repetition > 0:  # the first warms up
                row[side]["cpu"].append(taken[0])
                row[side]["wall"].append(taken[1])
    return row


if __name__ == "__main__":
    main()
