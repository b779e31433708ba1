"""Where to compute, by name."""

from __future__ import annotations

import torch

__all__ = ["resolve_device"]


def resolve_device(name: str) -> torch.device:
    """Return the device with a name.

    Args:
        name: "auto" (the first CUDA device if there is one, else the CPU), or any name that PyTorch
            knows: "cpu", "cuda", "cuda:1", "mps".

    Raises:
        ValueError: if PyTorch knows no such name, or the device is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ValueError(
            f"device must be auto, cpu, cuda or another name that PyTorch knows, got {name!r}"
        ) from None
    if not _is_there(device):
        raise ValueError(
            f"device {name!r} must be there, got {torch.cuda.device_count()} CUDA devices; "
            "use auto or cpu"
        )
    return device


def _is_there(device: torch.device) -> bool:
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        return (device.index or 0) < count
    return device.type != "mps" or torch.backends.mps.is_available()
