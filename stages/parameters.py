"""Trained parameters on disk."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from stages.files import atomic

__all__ = ["save_parameters"]


def save_parameters(
    path: Path, arrays: Mapping[str, NDArray[np.generic]], prefix: str = ""
) -> None:
    """Write the arrays whose names have a prefix as a state dict."""
    state = {
        name.removeprefix(prefix): torch.from_numpy(array.copy())
        for name, array in sorted(arrays.items())
        if name.startswith(prefix)
    }
    with atomic(path) as partial:
        save_file(state, partial)
