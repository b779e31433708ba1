"""Metrics of two sides, row by row, with their intervals."""

from __future__ import annotations

from typing import Any

from headwater.benchmark.leaderboard import labels, seconds_of

__all__ = ["of_methods", "of_records"]


def of_methods(record: dict[str, Any], first: str, second: str) -> list[dict[str, Any]]:
    """Return the metrics of two methods of a setting.

    Raises:
        ValueError: if one of them has no results there.
    """
    for name in (first, second):
        found = record["methods"].get(name)
        if found is None or "infeasible" in found:
            why = "has no results" if found is None else f"is left out: {found['infeasible']}"
            known = ", ".join(n for n, f in record["methods"].items() if "infeasible" not in f)
            raise ValueError(f"method {name} {why}; methods with results: {known}")
    return _rows(record, record["methods"][first], record["methods"][second])


def of_records(first: dict[str, Any], second: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the metrics of all methods of a setting on two sides, those that one side lacks too."""
    names = list(dict.fromkeys([*first["methods"], *second["methods"]]))
    titles = {"labels": {**labels(first), **labels(second)}}
    return [
        {"method": name, **row}
        for name in names
        for row in _rows(
            {"removal": titles}, first["methods"].get(name, {}), second["methods"].get(name, {})
        )
    ]


def _rows(
    record: dict[str, Any], first: dict[str, Any], second: dict[str, Any]
) -> list[dict[str, Any]]:
    """Return a row for each metric that either side has, and one for the seconds."""
    rows = []
    for metric, title in labels(record).items():
        one, other = first.get(metric), second.get(metric)
        if one or other:
            rows.append(
                {
                    "metric": metric,
                    "title": title,
                    "first": one,
                    "second": other,
                    **_difference(one, other),
                }
            )
    seconds = [seconds_of(side) if "method_seconds" in side else None for side in (first, second)]
    if any(s is not None for s in seconds):
        rows.append({"metric": "seconds", "title": "seconds", "first": seconds[0],
                     "second": seconds[1]})  # fmt: skip
    return rows


def _difference(one: dict[str, float] | None, other: dict[str, float] | None) -> dict[str, Any]:
    """Return by how much the second is higher, and whether the intervals do not overlap."""
    if not (one and other):
        return {"difference": None, "apart": False}
    apart = one["low"] > other["high"] or other["low"] > one["high"]
    return {"difference": round(other["value"] - one["value"], 4), "apart": apart}
