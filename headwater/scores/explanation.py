"""What explains one test sample: its strongest proponents and opponents."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headwater.pictures import as_pixels, data_uri

__all__ = ["Explanation", "Ranking"]


@dataclass(frozen=True)
class Ranking:
    """Training samples, the strongest first.

    Args:
        rows: their places among the training samples, (k,).
        ids: what they are called, (k,).
        values: their scores, in the unit of the function, (k,).
    """

    rows: NDArray[np.int64]
    ids: Sequence[Any]
    values: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        shown = ", ".join(
            f"{i}: {v:+.3g}" for i, v in zip(self.ids[:5], self.values[:5], strict=True)
        )
        return f"Ranking({shown}{', …' if len(self) > 5 else ''})"


@dataclass(frozen=True)
class Explanation:
    """The training samples that help one test sample most, and those that harm it most.

    Args:
        test_id: what the test sample is called.
        method: that made the scores.
        function: what the scores are of, such as "loss".
        proponents: samples with which the prediction is better.
        opponents: samples with which it is worse.
        thumbnails: what notebooks show of each training sample: an image, or text; none: ids alone.
    """

    test_id: Any
    method: str
    function: str
    proponents: Ranking
    opponents: Ranking
    thumbnails: Sequence[Any] | None = None

    def __repr__(self) -> str:
        return (
            f"Explanation of {self.function} of test sample {self.test_id} by {self.method}\n"
            f"  proponents {self.proponents!r}\n  opponents  {self.opponents!r}"
        )

    def _repr_html_(self) -> str:
        """Return a strip of each side, for notebooks."""
        title = f"{self.function} of test sample {self.test_id} by {self.method}"
        sides = {"proponents": self.proponents, "opponents": self.opponents}
        strips = "".join(
            f"<div><b>{name}</b><div style='display:flex;flex-wrap:wrap;gap:8px'>"
            f"{''.join(self._cards(ranking))}</div></div>"
            for name, ranking in sides.items()
        )
        return f"<div><div>{html.escape(title)}</div>{strips}</div>"

    def to_pandas(self) -> Any:
        """Return a table with one row per training sample: side, rank, sample, score."""
        from headwater.scores.frames import frame  # noqa: PLC0415 - pandas is optional

        return frame(
            [
                {"side": side, "rank": rank, "sample": i, "score": float(value)}
                for side, ranking in (
                    ("proponent", self.proponents),
                    ("opponent", self.opponents),
                )
                for rank, (i, value) in enumerate(
                    zip(ranking.ids, ranking.values, strict=True), start=1
                )
            ]
        )

    def _cards(self, ranking: Ranking) -> list[str]:
        return [
            f"<div style='text-align:center;font-size:11px'>{self._picture(row)}"
            f"<div>{html.escape(str(name))}</div><div>{value:+.3g}</div></div>"
            for row, name, value in zip(ranking.rows, ranking.ids, ranking.values, strict=True)
        ]

    def _picture(self, row: int) -> str:
        if self.thumbnails is None:
            return ""
        shown = self.thumbnails[row]
        if isinstance(shown, str):
            return f"<div style='max-width:16em'>{html.escape(shown[:120])}</div>"
        uri = data_uri(as_pixels(shown))
        return f"<img alt='' src='{uri}' style='height:48px;image-rendering:pixelated'>"
