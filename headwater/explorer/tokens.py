"""Scores of single tokens, for the pairs of samples at the top of the lists."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from headwater.explorer.evidence import TokenScores
from headwater.explorer.lists import NONE, Lists
from headwater.pages import Files

__all__ = ["pack_tokens"]

FIRST = 10
"""So many of each list, plain and diverse, have scores of their tokens."""


def pack_tokens(lists: Lists, tokens: TokenScores, files: Files, prefix: str) -> dict[str, Any]:
    """Return references to the token scores of the first pairs of each list, positive = better.

    Raises:
        ValueError: If there are none, or their shape is not that of the scores.
    """
    pairs = _pairs(lists)
    record: dict[str, Any] = {"pairs": files.add_array(f"{prefix}.pairs", pairs)}
    for side, given in (("test", tokens.test), ("train", tokens.train)):
        if given is not None:
            scores = np.asarray(given)
            if side == "train":
                scores = np.moveaxis(scores, 1, -1)
            record[side] = _packed(lists, scores, pairs, side, files, f"{prefix}.{side}")
    if len(record) == 1:
        raise ValueError("token scores must be of test or training tokens, got none: pass one")
    return record


def _pairs(lists: Lists) -> NDArray[np.uint8]:
    """Return places in the lists (n_test, 2, 2 · FIRST), 255 where there is none."""
    pairs = np.full((*lists.rows.shape[:2], 2 * FIRST), NONE, np.uint8)
    for j, side in np.ndindex(*lists.rows.shape[:2]):
        plain = np.flatnonzero(lists.rows[j, side] >= 0)[:FIRST]
        picks = lists.diverse[j, side][:FIRST]
        chosen = np.union1d(plain, picks[picks != NONE])
        pairs[j, side, : len(chosen)] = chosen
    return pairs


def _packed(
    lists: Lists,
    scores: NDArray[Any],
    pairs: NDArray[np.uint8],
    side: str,
    files: Files,
    name: str,
) -> dict[str, Any]:
    if scores.ndim != 3 or scores.shape[:2] != lists.scores.shape:
        raise ValueError(
            f"scores of {side} tokens must have the shape of `attribute(per_token={side!r})` for "
            f"{lists.scores.shape} samples, got another: pass what it returns"
        )
    columns = np.arange(len(pairs))[:, None, None]
    places = np.where(pairs == NONE, 0, pairs).astype(np.int64)
    rows = np.take_along_axis(lists.rows, places, axis=2)
    known = (pairs != NONE)[..., None]
    values = np.where(known, lists.scores.sign * scores[np.maximum(rows, 0), columns], 0)
    largest = np.abs(values).max(axis=3).astype(np.float32)
    unit = np.where(largest > 0, largest, 1)[..., None]
    return {
        "values": files.add_array(name, np.round(values / unit * 127).astype(np.int8)),
        "scale": files.add_array(f"{name}.scale", largest / 127),
    }
