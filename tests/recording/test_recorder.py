"""Checkpoints of a training loop are whole files that say their step and learning rate."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import nn
from torch.optim.lr_scheduler import LinearLR

from headwater import AttributionTask, targets
from headwater.attributors import TracInCP
from headwater.recording import CheckpointRecorder, recorded, recorder


def _train(recorder, model, steps=6):
    """Return the states and the learning rates of all steps."""
    inputs, labels = torch.randn(12, 4), torch.randint(3, (12,))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2)
    scheduler = LinearLR(optimizer, start_factor=1.0, end_factor=0.1, total_iters=steps)
    states, rates = [], []
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(model(inputs), labels).backward()
        optimizer.step()
        recorder.after_step(model, optimizer)
        rates.append(optimizer.param_groups[0]["lr"])
        scheduler.step()
        states.append({name: t.clone() for name, t in model.state_dict().items()})
    return states, rates


def test_a_run_is_attributed_from_its_recorded_files(tmp_path) -> None:
    model = nn.Linear(4, 3)
    states, rates = _train(CheckpointRecorder(tmp_path / "run", every=2), model)
    records = recorded(tmp_path / "run")
    assert [record.step for record in records] == [2, 4, 6]
    assert [record.learning_rate for record in records] == rates[1::2]
    train = [(torch.randn(5, 4), torch.randint(3, (5,)))]

    def scores(checkpoints, learning_rates):
        task = AttributionTask(model, targets.cross_entropy, checkpoints=checkpoints)
        return TracInCP(task, learning_rates).cache(train).attribute(train, train)

    found = scores([r.path for r in records], [r.learning_rate for r in records])
    assert torch.equal(found, scores(states[1::2], rates[1::2]))


def test_tied_weights_are_written_once_and_read_under_both_names(tmp_path) -> None:
    model = nn.ModuleDict({"embedding": nn.Embedding(7, 4), "head": nn.Linear(4, 7, bias=False)})
    model["head"].weight = model["embedding"].weight
    path = CheckpointRecorder(tmp_path, every=1).record(model, step=3, learning_rate=1e-3)
    assert len(load_file(path)) == 1
    task = AttributionTask(model, targets.cross_entropy, checkpoints=[path])
    assert torch.equal(next(iter(task.bind().parameters.values())), model["head"].weight)


def test_a_write_that_fails_leaves_no_checkpoint(tmp_path, monkeypatch) -> None:
    run = CheckpointRecorder(tmp_path, every=1)
    first = run.record(nn.Linear(2, 2), 1, 0.1)
    before = first.read_bytes()

    def half(model, path, metadata):
        with open(path, "wb") as file:
            file.write(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(recorder, "save_model", half)
    for step in (1, 2):
        with pytest.raises(OSError, match="no space"):
            run.record(nn.Linear(2, 2), step, 0.1)
    assert [record.path for record in recorded(tmp_path)] == [first]
    assert first.read_bytes() == before


def test_a_run_goes_on_in_its_folder_and_a_new_one_does_not(tmp_path) -> None:
    model = nn.Linear(4, 3)
    _train(CheckpointRecorder(tmp_path, every=2), model, steps=5)
    with pytest.raises(FileExistsError, match="folder of a new run must hold no checkpoints"):
        CheckpointRecorder(tmp_path, every=2)
    _train(CheckpointRecorder(tmp_path, every=2, done=3), model, steps=5)
    assert [record.step for record in recorded(tmp_path)] == [2, 4, 6, 8]


def test_several_learning_rates_are_refused_unless_one_is_said(tmp_path) -> None:
    model = nn.Linear(4, 3)
    groups = [{"params": [model.weight], "lr": 0.1}, {"params": [model.bias], "lr": 0.2}]
    recorder = CheckpointRecorder(tmp_path, every=1)
    with pytest.raises(ValueError, match=r"must have one learning rate .* got \[0.1, 0.2\]"):
        recorder.after_step(model, torch.optim.SGD(groups))
    recorder.after_step(model, 0.2)
    assert [record.learning_rate for record in recorded(tmp_path)] == [0.2]


@pytest.mark.parametrize(("every", "done"), [(0, 0), (-1, 0), (1, -1)])
def test_numbers_of_steps_are_checked(every, done, tmp_path) -> None:
    with pytest.raises(ValueError, match="needs every >= 1 and done >= 0 steps"):
        CheckpointRecorder(tmp_path, every, done)


def test_an_empty_folder_and_a_foreign_file_are_refused(tmp_path) -> None:
    with pytest.raises(FileNotFoundError, match="must hold recorded checkpoints, found none"):
        recorded(tmp_path)
    for metadata in (None, {"format": "pt"}):
        save_file({"weight": torch.zeros(2)}, tmp_path / "other.safetensors", metadata)
        with pytest.raises(ValueError, match="must have been written by a CheckpointRecorder"):
            recorded(tmp_path)


def test_files_sort_by_name_as_by_step(tmp_path) -> None:
    recorder = CheckpointRecorder(tmp_path, every=1)
    paths = [recorder.record(nn.Linear(1, 1), step, 0.1) for step in (9, 10, 1000, 99_999)]
    assert all(a < b for a, b in itertools.pairwise(paths))
