"""What the explorer's page holds: samples, lists, groups, suspects, as a record and arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headwater.explorer.evidence import Evidence, Suspects, TokenScores
from headwater.explorer.kinds import Text
from headwater.explorer.lists import Lists
from headwater.explorer.split import Split, places
from headwater.explorer.tokens import pack_tokens
from headwater.pages import Files
from headwater.scores import ALIKE, Similarity

__all__ = ["Contents"]

MOST_ALIKE = 8
MOST_SUSPECTS = 300
MOST_GROUPS = 50


@dataclass(frozen=True)
class Contents:
    """All that a page is made of.

    Args:
        lists: of each method.
        train: all training samples.
        test: all test samples.
        classes: their names; None where there are no labels.
        similarity: of the training samples.
        evidence: method -> what it is worth.
        suspects: training samples that may have a wrong label.
    """

    lists: list[Lists]
    train: Split
    test: Split
    classes: list[str] | None
    similarity: Similarity
    evidence: Mapping[str, Evidence]
    suspects: Suspects | None

    def pack(
        self,
        title: str,
        per_model: Mapping[str, Sequence[Any]],
        tokens: Mapping[str, TokenScores],
    ) -> Files:
        """Return the files of the page; the record is named "record"."""
        files = Files()
        orders = self._suspects_by_method()
        shown = self._shown(orders)
        place = np.full(len(self.train), -1, np.int64)
        place[shown] = np.arange(len(shown))
        all_tests = np.arange(len(self.test))
        record = {
            "title": title,
            "kind": self.train.kind.name,
            "classes": self.classes,
            "alike": {"threshold": ALIKE, "samples": self._alike(shown, place)},
            "n_train": len(self.train),
            "train": self._samples(self.train, shown, "train", files)
            | {"ids": _ids(self.lists[0].scores.train_ids, shown)},
            "test": self._samples(self.test, all_tests, "test", files)
            | {"ids": _ids(self.lists[0].scores.test_ids, all_tests)},
            "methods": [
                self._method(number, lists, place, per_model, tokens, files)
                for number, lists in enumerate(self.lists)
            ],
            "suspects": self._suspects(orders, place),
        }
        files.add_record("record", record)
        return files

    def _shown(self, orders: Mapping[str, NDArray[np.int64]]) -> NDArray[np.int64]:
        """Return the training samples that some list names."""
        listed = [lists.rows[lists.rows >= 0] for lists in self.lists]
        return np.unique(np.concatenate([*listed, *orders.values()])).astype(np.int64)

    def _samples(
        self, split: Split, rows: NDArray[np.int64], name: str, files: Files
    ) -> dict[str, Any]:
        content = split.kind.pack(rows, files, name)
        return {"content": content, **split.record(rows, self.classes)}

    def _alike(
        self, shown: NDArray[np.int64], place: NDArray[np.int64]
    ) -> dict[int, list[list[float]]]:
        """Return, by place in the page, what each could be exchanged for there, with cosines."""
        found = {}
        for row, others in zip(shown, self.similarity.alike(shown, ALIKE, MOST_ALIKE), strict=True):
            kept = [
                [int(place[other]), round(cosine, 3)]
                for other, cosine in others
                if place[other] >= 0
            ]
            if kept:
                found[int(place[row])] = kept
        return found

    def _method(
        self,
        number: int,
        lists: Lists,
        place: NDArray[np.int64],
        per_model: Mapping[str, Sequence[Any]],
        tokens: Mapping[str, TokenScores],
        files: Files,
    ) -> dict[str, Any]:
        scores, prefix = lists.scores, f"method{number}"
        record: dict[str, Any] = {
            "name": scores.method,
            "function": scores.function,
            "helpful": scores.helpful,
            "evidence": self.evidence.get(scores.method, Evidence()).record(),
            **lists.pack(place, files, prefix),
        }
        if scores.method in per_model:
            models = per_model[scores.method]
            record["stability"] = files.add_array(f"{prefix}.stability", lists.stability(models))
            record["stability_models"] = len(models)
        if self._has_groups():
            every = np.arange(len(self.train))
            labels = np.asarray(places(self.train.labels, every, self.classes))
            sums = lists.groups(labels, len(self.classes or ()))
            record["groups"] = files.add_array(f"{prefix}.groups", sums)
        if scores.method in tokens:
            kinds = self.train.kind, self.test.kind
            if any(isinstance(kind, Text) and kind.whole for kind in kinds):
                raise ValueError(
                    "tokens= needs samples as lists of tokens, got whole strings: pass Text.of_tokens"
                )
            record["tokens"] = pack_tokens(lists, tokens[scores.method], files, f"{prefix}.tokens")
        return record

    def _has_groups(self) -> bool:
        few = self.classes is not None and len(self.classes) <= MOST_GROUPS
        return few and self.train.labels is not None

    def _suspects_by_method(self) -> dict[str, NDArray[np.int64]]:
        if self.suspects is None:
            return {}
        found, lengths = {}, set()
        for name, given in self.suspects.self_influence.items():
            values = np.asarray(given)
            found[name] = np.argsort(-values, kind="stable")[:MOST_SUSPECTS].astype(np.int64)
            lengths.add(len(values))
        n = max(lengths, default=0)
        if len(lengths) != 1 or n > len(self.train):
            raise ValueError(
                f"self-influence must be of the first training samples, as many of every method and at "
                f"most {len(self.train)}, got {sorted(lengths)}: pass those of the same samples"
            )
        for part in (self.suspects.labels, self.suspects.flipped, self.suspects.predictions):
            if part is not None and len(part) != n:
                raise ValueError(
                    f"what is said of suspects must be of {n} samples, got {len(part)}: pass all of them"
                )
        return found

    def _suspects(
        self, orders: Mapping[str, NDArray[np.int64]], place: NDArray[np.int64]
    ) -> dict[str, Any] | None:
        if self.suspects is None:
            return None
        labels = self.suspects.labels if self.suspects.labels is not None else self.train.labels
        flipped = self.suspects.flipped
        methods = []
        for name, rows in orders.items():
            values = np.asarray(self.suspects.self_influence[name])
            methods.append(
                {
                    "name": name,
                    "places": place[rows].tolist(),
                    "values": [float(f"{value:.4g}") for value in values[rows]],
                    "labels": places(labels, rows, self.classes),
                    "predictions": places(self.suspects.predictions, rows, self.classes),
                    "flipped": None if flipped is None else [bool(flipped[i]) for i in rows],
                }
            )
        n = len(np.asarray(next(iter(self.suspects.self_influence.values()))))
        total = None if flipped is None else int(np.asarray(flipped).sum())
        return {"methods": methods, "total": n, "wrong": total}


def _ids(names: Sequence[Any], rows: NDArray[np.int64]) -> list[Any]:
    found = [names[int(row)] for row in rows]
    return [
        i if isinstance(i, str | int) else i.item() if hasattr(i, "item") else str(i) for i in found
    ]
