"""One side of the explorer: the training or the test samples, with what is known of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headwater.explorer.kinds import Kind, kind_of

__all__ = ["Split", "class_names"]


@dataclass(frozen=True)
class Split:
    """Samples, with their labels and what the model says of them.

    Args:
        samples: images, texts or music, see `headwater.explorer.kinds`.
        labels: a class for each, as a number or a name; or none.
        predictions: what the model predicts, like labels.
        losses: of each sample; they order mistakes, the worst first.
    """

    samples: Any
    labels: Any = None
    predictions: Any = None
    losses: Any = None

    @classmethod
    def of(cls, given: Any) -> Split:
        """Return a split itself, or (samples, labels, …) as one; samples alone have no labels."""
        if isinstance(given, Split):
            return given
        return cls(*given) if isinstance(given, tuple) else cls(given)

    @cached_property
    def kind(self) -> Kind:
        """The samples as something that can be shown."""
        return kind_of(self.samples)

    def __len__(self) -> int:
        return len(self.kind)

    def check(self, n: int, what: str) -> None:
        """Raise ValueError unless everything is there for n samples."""
        parts = {
            "samples": self.kind, "labels": self.labels, "predictions": self.predictions,
            "losses": self.losses,
        }  # fmt: skip
        for name, part in parts.items():
            if part is not None and len(part) != n:
                raise ValueError(
                    f"{name} of the {what} split must be {n}, one for each row or column of the scores, "
                    f"got {len(part)}: pass them all"
                )

    def record(self, rows: NDArray[np.int64], classes: list[str] | None) -> dict[str, Any]:
        """Return labels and predictions (places in classes) and losses, None where unknown."""
        return {
            "labels": places(self.labels, rows, classes),
            "predictions": places(self.predictions, rows, classes),
            "losses": None if self.losses is None else _rounded(self.losses, rows),
        }


def class_names(splits: Sequence[Split], given: Sequence[str] | None) -> list[str] | None:
    """Return the names of the classes: those given, those that labels are, or their numbers.

    Raises:
        ValueError: If a label is not among those that were given.
    """
    found = [
        _plain(label)
        for split in splits
        for part in (split.labels, split.predictions)
        if part is not None
        for label in part
    ]
    if not found:
        return None
    numbers = all(isinstance(label, int) for label in found)
    if given is None:
        if numbers:
            return [str(i) for i in range(max(found) + 1)]
        return sorted({str(label) for label in found})
    names = [str(name) for name in given]
    wrong = [f for f in found if not (0 <= f < len(names) if numbers else str(f) in names)]
    if wrong:
        raise ValueError(
            f"labels must be among {len(names)} classes, got {wrong[0]!r}: name all classes"
        )
    return names


def places(
    labels: Sequence[Any] | None, rows: NDArray[np.int64], classes: list[str] | None
) -> list[int] | None:
    """Return of each of these samples the place of its label among the classes."""
    if labels is None or classes is None:
        return None
    plain = [_plain(labels[int(row)]) for row in rows]
    if all(isinstance(label, int) for label in plain):
        return plain
    order = {name: place for place, name in enumerate(classes)}
    return [order[str(label)] for label in plain]


def _plain(label: Any) -> Any:
    return label.item() if hasattr(label, "item") else label


def _rounded(values: Sequence[float], rows: NDArray[np.int64]) -> list[float]:
    return [float(f"{float(values[int(row)]):.4g}") for row in rows]
