"""Text, as sequences of tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headwater.pages import Files

__all__ = ["Text"]


class Text:
    """Texts, each a string or its tokens as strings; tokens can be linked by scores of their own.

    Args:
        samples: strings, or sequences of strings.
        separator: between tokens, such as " " where they are words.
    """

    name = "text"

    def __init__(
        self, samples: Sequence[str] | Sequence[Sequence[str]], separator: str = ""
    ) -> None:
        self._samples, self._separator = samples, separator

    @classmethod
    def of_tokens(
        cls,
        tokens: Any,
        decode: Callable[[int], str],
        separator: str = "",
        padding: int | None = None,
    ) -> Text:
        """Take numbers of tokens (n, T), and what each is as text.

        Args:
            tokens: a tensor or array, or sequences of different lengths.
            decode: such as `lambda i: tokenizer.decode([i])`.
            separator: between tokens, such as " " where `decode` gives words without their spaces.
            padding: the token that is not shown.
        """
        known: dict[int, str] = {}

        def text(token: int) -> str:
            if token not in known:
                known[token] = "" if token == padding else decode(token)
            return known[token]

        return cls([[text(int(token)) for token in sample] for sample in tokens], separator)

    def __len__(self) -> int:
        return len(self._samples)

    def pack(self, rows: NDArray[np.int64], files: Files, prefix: str) -> dict[str, Any]:
        """Return the tokens that occur, and of each sample their places in that list."""
        places: dict[str, int] = {}
        samples = [
            [places.setdefault(token, len(places)) for token in self._tokens(int(row))]
            for row in rows
        ]
        record = {"vocabulary": list(places), "samples": samples}
        return {"file": files.add_record(f"{prefix}.text", record)}

    def describe(self, row: int) -> str:
        """Return the text."""
        return "".join(self._tokens(row)).removesuffix(self._separator)

    @property
    def whole(self) -> bool:
        """Whether samples are strings, whose tokens nobody said."""
        return any(isinstance(sample, str) for sample in self._samples)

    def _tokens(self, row: int) -> Sequence[str]:
        sample = self._samples[row]
        if isinstance(sample, str):
            return [sample]
        return [token and token + self._separator for token in sample]
