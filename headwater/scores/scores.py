"""Scores with what they are of: samples, method, setting and function."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from safetensors import safe_open
from safetensors.numpy import save_file

from headwater.helpful import Helpful, helpful_direction
from headwater.scores.explanation import Explanation, Ranking
from headwater.scores.similarity import Similarity, diverse_order

__all__ = ["Scores"]

CANDIDATES = 100
"""How many of the strongest samples of a side `diverse` chooses from."""


class Scores:
    """Scores (n_train, n_test) of one method, and the names of what they are of.

    `values[i, j]` estimates how the function of test sample j changes because training sample i is in
    the training set, in the unit of the function. A *proponent* makes the prediction better (it lowers a
    loss, it raises a margin), an *opponent* worse.

    Args:
        values: (n_train, n_test), a tensor, array or memory map.
        method: the name of what made them, such as "ek-fac".
        function: what was explained: loss, margin, logit, log_probability; any other with `helpful`.
        setting: the data and model.
        train_ids: names of the training samples, in order; default: their numbers.
        test_ids: names of the test samples, in order; default: their numbers.
        helpful: whether a prediction is better when the function is "lower" or "higher"; known for the
            functions above.
        thumbnails: what notebooks show of each training sample: images or texts, in order.

    Raises:
        ValueError: If shapes or numbers of names do not match, a score is not finite, or nobody said
            which way an unknown function is helpful.

    Example:
        >>> scores = Scores([[-2.0, 0.1], [1.0, 0.0], [-0.5, 0.3]], method="grad-dot")
        >>> scores.top(0, 2).proponents
        Ranking(0: -2, 2: -0.5)
    """

    def __init__(
        self,
        values: ArrayLike,
        method: str = "scores",
        function: str = "loss",
        setting: str = "",
        train_ids: Sequence[Any] | None = None,
        test_ids: Sequence[Any] | None = None,
        helpful: Helpful | None = None,
        thumbnails: Sequence[Any] | None = None,
    ) -> None:
        self.values = _matrix(values)
        self.method, self.function, self.setting = method, function, setting
        self.helpful = helpful_direction(function, helpful)
        self.train_ids = _names(train_ids, self.values.shape[0], "train_ids", "training")
        self.test_ids = _names(test_ids, self.values.shape[1], "test_ids", "test")
        self.thumbnails = thumbnails
        if thumbnails is not None:
            _names(thumbnails, self.values.shape[0], "thumbnails", "training")

    @property
    def shape(self) -> tuple[int, int]:
        """(n_train, n_test)."""
        return self.values.shape[0], self.values.shape[1]

    @property
    def sign(self) -> int:
        """What makes of a score how much a sample helps: -1 where lower is better, else 1."""
        return -1 if self.helpful == "lower" else 1

    def help(self, j: int) -> NDArray[np.float32]:
        """Return how much each training sample helps test sample j, (n_train,): positive = better."""
        if not -self.shape[1] <= j < self.shape[1]:
            raise ValueError(
                f"j must name one of {self.shape[1]} test samples, got {j}: use 0 … n-1"
            )
        return self.sign * np.asarray(self.values[:, j], dtype=np.float32)

    def top(self, j: int, k: int = 10) -> Explanation:
        """Return the k strongest proponents and opponents of test sample j, or as many as there are.

        Args:
            j: the place of the test sample.
            k: how many of each side.
        """
        return self._explanation(j, *(self.strongest(j, side, k) for side in (1, -1)))

    def diverse(
        self, j: int, k: int = 10, similarity: Similarity | ArrayLike | None = None
    ) -> Explanation:
        """Return k proponents and opponents that are strong and not alike.

        Each is chosen from the strongest hundred of its side, see `diverse_order`.

        Args:
            j: the place of the test sample.
            k: how many of each side.
            similarity: of the training samples: a `Similarity`, or the Gram matrix (n_train, n_train) of
                their gradients; default: by the rows of these scores, samples that act alike.

        Raises:
            ValueError: If the similarity is of another number of samples.
        """
        alike = self.similarity(similarity)
        sides = []
        for side in (1, -1):
            rows = self.strongest(j, side, max(k, CANDIDATES))
            weights = np.abs(self.values[rows, j])
            sides.append(rows[diverse_order(weights, alike.among(rows), k)])
        return self._explanation(j, *sides)

    def strongest(self, j: int, side: Literal[1, -1] | int, k: int) -> NDArray[np.int64]:
        """Return at most k rows that help (1) or harm (-1) test sample j, the strongest first."""
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}: ask for some samples")
        pull = side * self.help(j)
        count = min(k, len(pull))
        rows = np.sort(np.argpartition(-pull, count - 1)[:count])
        rows = rows[np.argsort(-pull[rows], kind="stable")]
        return rows[pull[rows] > 0].astype(np.int64)

    def similarity(self, given: Similarity | ArrayLike | None = None) -> Similarity:
        """Return what was given as a `Similarity`; where nothing was, that of the rows of scores."""
        if given is None:
            return Similarity.of_vectors(self.values)
        found = given if isinstance(given, Similarity) else Similarity.of_gram(given)
        if len(found) != self.shape[0]:
            raise ValueError(
                f"similarity must be of {self.shape[0]} training samples, got {len(found)}: pass that of "
                "the samples with scores"
            )
        return found

    def plot(self, j: int, k: int = 10) -> Any:
        """Draw proponents and opponents of test sample j as bars; return matplotlib's axes."""
        from headwater.scores.plots import draw_bars  # noqa: PLC0415 - matplotlib is optional

        return draw_bars(self.top(j, k))

    def to_pandas(self) -> Any:
        """Return a table (n_train, n_test) with the names of samples as index and columns."""
        from headwater.scores.frames import frame  # noqa: PLC0415 - pandas is optional

        return frame(self.values, index=list(self.train_ids), columns=list(self.test_ids))

    def save(self, path: str | Path) -> Path:
        """Write a safetensors file, with all names as JSON in its header; return its path.

        Thumbnails are not saved.
        """
        about = {
            "method": self.method,
            "function": self.function,
            "setting": self.setting,
            "helpful": self.helpful,
            "train_ids": _plain(self.train_ids),
            "test_ids": _plain(self.test_ids),
        }
        file = Path(path)
        values = np.ascontiguousarray(self.values)
        save_file({"scores": values}, file, {"headwater": json.dumps(about, sort_keys=True)})
        return file

    @classmethod
    def load(cls, path: str | Path) -> Scores:
        """Read what `save` wrote; ValueError if the file is another one."""
        with safe_open(path, framework="numpy") as file:
            about = (file.metadata() or {}).get("headwater")
            if about is None or "scores" not in file.keys():
                raise ValueError(f"{path} must be a file of Scores.save, got another: choose it")
            return cls(file.get_tensor("scores"), **json.loads(about))

    def __repr__(self) -> str:
        setting = f" on {self.setting}" if self.setting else ""
        return (
            f"Scores of {self.method}{setting}: {self.function}, {self.shape[0]} training x "
            f"{self.shape[1]} test samples, {self.helpful} is better"
        )

    def _repr_html_(self) -> str:
        """Return the explanation of the first test sample, for notebooks."""
        first = self.top(0, 8)._repr_html_() if min(self.shape) else ""
        return f"<div><code>{_escaped(repr(self))}</code>{first}</div>"

    def _explanation(self, j: int, *sides: NDArray[np.int64]) -> Explanation:
        proponents, opponents = (
            Ranking(rows, [self.train_ids[i] for i in rows], np.asarray(self.values[rows, j]))
            for rows in sides
        )
        return Explanation(
            self.test_ids[j], self.method, self.function, proponents, opponents, self.thumbnails
        )


def _matrix(values: Any) -> NDArray[np.float32]:
    if hasattr(values, "detach"):  # a tensor
        values = values.detach().cpu().float().numpy()
    matrix = values if isinstance(values, np.ndarray) else np.asarray(values)
    if matrix.dtype != np.float32:
        matrix = matrix.astype(np.float32)
    if matrix.ndim != 2:
        raise ValueError(f"scores must be (n_train, n_test), got {matrix.shape}: reshape them")
    if not np.isfinite(matrix).all():
        raise ValueError("scores must be finite, got NaN or infinity: correct them")
    return matrix


def _names(given: Sequence[Any] | None, n: int, name: str, what: str) -> Sequence[Any]:
    names = range(n) if given is None else given
    if len(names) != n:
        raise ValueError(
            f"{name} must be one for each of {n} {what} samples, got {len(names)}: pass all of them"
        )
    return names


def _plain(names: Sequence[Any]) -> list[Any] | None:
    if isinstance(names, range):
        return None  # the default
    return [name.item() if hasattr(name, "item") else name for name in names]


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;")
