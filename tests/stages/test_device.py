"""Where to compute, by name."""

from __future__ import annotations

import pytest
import torch

from stages.device import resolve_device


@pytest.mark.parametrize(("available", "wanted"), [(True, "cuda"), (False, "cpu")])
def test_auto_is_a_gpu_where_there_is_one(available, wanted, monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: available)
    assert resolve_device("auto") == torch.device(wanted)
    assert resolve_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize(("name", "count"), [("cuda", 0), ("cuda:0", 0), ("cuda:2", 2)])
def test_a_gpu_that_is_not_there_is_refused(name, count, monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    with pytest.raises(ValueError, match=f"'{name}' must be there, got {count} CUDA devices; use"):
        resolve_device(name)


@pytest.mark.parametrize("name", ["gpu", "", "cuda:x"])
def test_unknown_names_are_refused(name) -> None:
    with pytest.raises(ValueError, match=f"device must be auto, cpu, .* got '{name}'"):
        resolve_device(name)
