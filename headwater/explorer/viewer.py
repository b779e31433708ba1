"""The lists as JSON lines that the viewer of `pretraining-tda` opens.

Format: https://github.com/PAIR-code/pretraining-tda#tda-method-results (Chang et al. 2024).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from headwater.explorer.lists import Lists
from headwater.explorer.split import Split

__all__ = ["save_viewer_lines"]

FIRST = 20
SIDES = ("proponent", "opponent")


def save_viewer_lines(
    path: Path, lists: Lists, train: Split, test: Split, classes: list[str] | None
) -> None:
    """Write a line for each test sample, with the first twenty samples of each side.

    Scores are positive where a sample helps, as that viewer takes them.
    """
    values = lists.scores.sign * lists.values
    with open(path, "w", encoding="utf-8") as file:
        for j, listed in enumerate(lists.rows):
            line: dict[str, Any] = {
                "example_id": str(lists.scores.test_ids[j]),
                "query_set": lists.scores.setting,
                "inputs_plaintext": test.kind.describe(j),
                "targets_plaintext": _label(test, j, classes),
            }
            for side, name in enumerate(SIDES):
                rows = [int(i) for i in listed[side][:FIRST] if i >= 0]
                line |= {
                    f"{name}s": [
                        " ".join(filter(None, [train.kind.describe(i), _label(train, i, classes)]))
                        for i in rows
                    ],
                    f"{name}_ids": [str(lists.scores.train_ids[i]) for i in rows],
                    f"{name}_scores": [float(v) for v in values[j, side][: len(rows)]],
                }
            file.write(json.dumps(line, allow_nan=False) + "\n")


def _label(split: Split, row: int, classes: list[str] | None) -> str:
    if split.labels is None or classes is None:
        return ""
    label = split.labels[row]
    plain = label.item() if hasattr(label, "item") else label
    return classes[plain] if isinstance(plain, int) else str(plain)
