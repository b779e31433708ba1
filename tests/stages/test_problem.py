"""What stages save, they load again."""

import torch

from stages.problem import load_state, save_state


def test_tensors_that_share_memory_are_saved_each(tmp_path):
    both = torch.arange(6.0)
    state = {"first": both[:2], "second": both[2:], "same": both, "turned": both.view(2, 3).T}
    save_state(tmp_path / "state.safetensors", state)
    found = load_state(tmp_path / "state.safetensors", torch.device("cpu"))
    assert found.keys() == state.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in state.items())
