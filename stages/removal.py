"""Stage removal: models trained without the samples that methods rank highest for single queries."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from headwater.benchmark.removal.design import most_helpful, next_count, without_first
from headwater.benchmark.training import derive_seed
from stages.bank import COLUMNS, Bank
from stages.device import resolve_device
from stages.files import atomic, kept_folder, load_json, save_array, save_json
from stages.manifest import Model, manifest_of
from stages.params import Device, Removal
from stages.problem import file_hash, load_split
from stages.row import At, Count, Row

log = logging.getLogger(__name__)


class RemovalRow(Row):
    """Which methods, queries and shares; how often each model is trained."""

    seed: Annotated[int, At("seed")]
    setting: Annotated[str, At("settings.{setting}.setting")]
    removal: Annotated[Removal, At("settings.{setting}.removal")]
    n_tune: Annotated[Count, At("settings.{setting}.n_tune")]
    device: Annotated[Device, At("settings.{setting}.device")]


def main(row: RemovalRow, setting: str, *, code: Path, data: Path, scores: Path, out: Path) -> None:
    """Write which models were trained (manifest.json, masks.npy), and what they say of the test samples.

    COLUMN.npy (n_models, n_test) for loss, margin and right; design.json says which model is which. Only
    an empty manifest where nothing is asked for.
    """
    with atomic(out) as partial:
        partial.mkdir(parents=True)
        if not row.removal.queries:
            save_json(partial / "manifest.json", {"models": []})
            return
        files = {split: data / f"{split}.safetensors" for split in ("train", "test")}
        hashes = {split: file_hash(path) for split, path in files.items()}
        device = resolve_device(row.device)
        samples = {split: load_split(path, device) for split, path in files.items()}
        identity = "".join([file_hash(code), *hashes.values(), device.type])
        with kept_folder(out, hashlib.sha256(identity.encode()).hexdigest()[:16]) as folder:
            bank = Bank(folder, row.setting, samples["train"], samples["test"])
            design = _Design(row, scores, samples["test"][1].shape[0], bank)
            record = design.record()
        models = list(design.models.values())
        manifest = manifest_of(row.setting, files["train"], models)
        save_json(partial / "manifest.json", {**manifest, "test": hashes["test"]})
        save_json(partial / "design.json", record)
        save_array(partial / "masks.npy", np.stack([model.subset for model in models]))
        outputs = np.stack([design.found[key] for key in design.models])
        for name, values in zip(COLUMNS, outputs.transpose(1, 0, 2), strict=True):
            kept = values > 0 if name == "right" else np.ascontiguousarray(values)
            save_array(partial / f"{name}.npy", kept)


class _Design:
    """Which models are trained, for whom; each one once."""

    def __init__(self, row: RemovalRow, scores: Path, n_test: int, bank: Bank) -> None:
        self.row, self.bank, self.n = row, bank, len(bank.train[1])
        self.models: dict[str, Model] = {}
        self.found: dict[str, NDArray[np.float32]] = {}
        self.seeds = [derive_seed(row.seed, "removal", r) for r in range(row.removal.repeats)]
        rng = np.random.default_rng(derive_seed(row.seed, "removal", "queries"))
        drawn = rng.permutation(np.arange(row.n_tune, n_test))[: row.removal.queries]
        self.queries = [int(j) for j in np.sort(drawn)]
        self.functions, self.orders = {}, {}
        for name in row.removal.methods:
            choice = load_json(scores / name / "choice.json")
            if "left_out" in choice:
                log.warning("removal goes on without %s: %s", name, choice["left_out"])
                continue
            matrix = np.load(scores / name / "scores.npy", mmap_mode="r")
            self.functions[name] = choice["function"]
            self.orders[name] = [
                most_helpful(matrix[:, j], choice["function"]) for j in self.queries
            ]

    def record(self) -> dict[str, Any]:
        """Train everything, and return the design: for whom each model is, by its place in the arrays."""
        counts = [round(share * self.n) for share in self.row.removal.fractions]
        full = [self._place(seed, np.ones(self.n, bool)) for seed in self.seeds]
        shuffled = [
            np.random.default_rng(derive_seed(seed, "random")).permutation(self.n)
            for seed in self.seeds
        ]
        random = [[self._without(s, r, k) for s, r in enumerate(shuffled)] for k in counts]
        top = {
            name: [
                [[self._without(s, order, k) for order in orders] for s in range(len(self.seeds))]
                for k in counts
            ]
            for name, orders in self.orders.items()
        }
        self._train("retraining without the samples ranked highest")
        steps = {
            name: [
                {
                    0: full[0],
                    **{k: places[0][q] for k, places in zip(counts, top[name], strict=True)},
                }
                for q in range(len(self.queries))
            ]
            for name in self.orders
        }
        self._bisect(steps)
        methods = {
            name: {"function": self.functions[name], "top": top[name], "steps": steps[name]}
            for name in self.orders
        }
        return {
            "queries": self.queries, "seeds": self.seeds, "n_train": self.n, "counts": counts,
            "largest": self.largest, "full": full, "random": random, "methods": methods,
        }  # fmt: skip

    @property
    def largest(self) -> int:
        """The most samples that are removed to flip a prediction; 0: nobody tries."""
        return round(self.row.removal.largest * self.n)

    def _bisect(self, steps: dict[str, list[dict[int, int]]]) -> None:
        """Add to the steps of every query, count -> model, until its prediction has flipped or cannot."""
        precision, right = round(self.row.removal.precision * self.n), COLUMNS.index("right")
        while self.largest:
            keys, asked = list(self.models), False
            for name, orders in self.orders.items():
                for j, order, tried in zip(self.queries, orders, steps[name], strict=True):
                    known = {k: self.found[keys[m]][right, j] > 0 for k, m in tried.items()}
                    count = next_count(known, self.largest, precision)
                    if count is not None:
                        tried[count], asked = self._without(0, order, count), True
            if not asked:
                return
            self._train("bisecting for the smallest removal that flips a prediction")

    def _without(self, repeat: int, order: NDArray[Any], count: int) -> int:
        return self._place(self.seeds[repeat], without_first(order, count))

    def _place(self, seed: int, subset: NDArray[np.bool_]) -> int:
        """Return where the model is among those to train; a new one comes last."""
        model = Model(seed, subset)
        self.models.setdefault(model.key, model)
        return list(self.models).index(model.key)

    def _train(self, why: str) -> None:
        """Train the models that are new."""
        new = [key for key in self.models if key not in self.found]
        if new:
            outputs = self.bank.outputs([self.models[key] for key in new], why)
            self.found.update(zip(new, outputs, strict=True))
