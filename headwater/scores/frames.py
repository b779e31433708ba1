"""Tables of pandas, where it is installed."""

from __future__ import annotations

from typing import Any

__all__ = ["frame"]


def frame(data: Any, **arguments: Any) -> Any:
    """Return a DataFrame; ImportError, with what to do, where pandas is not installed."""
    try:
        import pandas  # noqa: PLC0415 - optional
    except ImportError:
        raise ImportError("tables need pandas, got none: pip install pandas") from None
    return pandas.DataFrame(data, **arguments)
