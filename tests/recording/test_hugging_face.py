"""Hugging Face's Trainer: checkpoints are recorded, and its own are read as they are."""

from __future__ import annotations

import warnings

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch.utils.data import Dataset
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments

from headwater import AttributionTask, targets
from headwater.attributors import GradDot, TracInCP
from headwater.checkpoints import load_checkpoint
from headwater.recording import recorded
from headwater.recording.hugging_face import TrainerRecorder

LOSS = targets.causal(targets.cross_entropy)
ADAPTED = "base_model.model.transformer.h.0.attn.c_attn.lora_B.default.weight"


class Tokens(Dataset):
    def __init__(self) -> None:
        self.tokens = torch.randint(0, 20, (12, 8))

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, i: int) -> dict[str, torch.Tensor]:
        return {"input_ids": self.tokens[i], "labels": self.tokens[i]}


def _model() -> GPT2LMHeadModel:
    size = {"n_layer": 1, "n_head": 2, "n_embd": 8, "n_positions": 8, "vocab_size": 20}
    return GPT2LMHeadModel(GPT2Config(**size, bos_token_id=None, eos_token_id=None))


def _trainer(folder, model, steps: int = 6) -> Trainer:
    arguments = TrainingArguments(
        str(folder / "out"), max_steps=steps, per_device_train_batch_size=2, save_steps=3,
        gradient_accumulation_steps=2, learning_rate=0.01, lr_scheduler_type="linear",
        report_to=[], disable_tqdm=True, use_cpu=True, dataloader_pin_memory=False,
    )  # fmt: skip
    recorder = TrainerRecorder(folder / "run", every=3)
    return Trainer(model, arguments, train_dataset=Tokens(), callbacks=[recorder])


@pytest.fixture
def trained(tmp_path):
    model = _model()
    _trainer(tmp_path, model).train()
    return tmp_path, model


def test_checkpoints_are_recorded_with_the_rate_of_their_step(trained) -> None:
    folder, model = trained
    records = recorded(folder / "run")
    assert [record.step for record in records] == [3, 6]
    # Linear from 0.01 to 0 in six steps: the third is made with 4/6 of it, the last with 1/6.
    rates = [record.learning_rate for record in records]
    assert rates == pytest.approx([0.01 * 4 / 6, 0.01 / 6])
    last = load_checkpoint(records[-1].path, model)
    assert all(torch.equal(last[name], tensor) for name, tensor in model.state_dict().items())
    task = AttributionTask(model, LOSS, checkpoints=[record.path for record in records])
    batch = [{"input_ids": torch.randint(0, 20, (3, 8))}]
    assert TracInCP(task, rates).cache(batch).attribute(batch, batch).shape == (3, 3)


def test_the_trainers_own_checkpoints_are_those_that_were_recorded(trained) -> None:
    folder, model = trained
    for record in recorded(folder / "run"):
        own = load_checkpoint(folder / "out" / f"checkpoint-{record.step}", model)
        ours = load_checkpoint(record.path, model)
        assert own.keys() == ours.keys()
        assert all(torch.equal(own[name], ours[name]) for name in own)


def test_a_resumed_run_goes_on_in_its_folder(trained) -> None:
    folder, _ = trained
    trainer = _trainer(folder, _model(), steps=9)
    trainer.train(resume_from_checkpoint=str(folder / "out" / "checkpoint-6"))
    assert [record.step for record in recorded(folder / "run")] == [3, 6, 9]
    with pytest.raises(FileExistsError, match="new run must hold no checkpoints"):
        _trainer(folder, _model()).train()


def test_sharded_checkpoints_are_read(tmp_path) -> None:
    model = _model()
    model.save_pretrained(tmp_path / "sharded", max_shard_size="2KB")
    shards = sorted((tmp_path / "sharded").glob("model-*.safetensors"))
    assert len(shards) > 1
    batch = [{"input_ids": torch.randint(0, 20, (3, 8))}]

    def scores(checkpoint):
        task = AttributionTask(model, LOSS, checkpoints=[checkpoint])
        return GradDot(task).cache(batch).attribute(batch, batch)

    assert torch.equal(scores(tmp_path / "sharded"), scores(model.state_dict()))
    shards[0].unlink()
    with pytest.raises(FileNotFoundError, match=f"must hold the shard '{shards[0].name}'"):
        load_checkpoint(tmp_path / "sharded", model)


def test_an_adapter_alone_is_put_into_the_model(tmp_path) -> None:
    config = LoraConfig(
        r=2, target_modules=["c_attn"], modules_to_save=["ln_f"], fan_in_fan_out=True
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft asks transformers in an old way
        trained, other = get_peft_model(_model(), config), get_peft_model(_model(), config)
    torch.nn.init.ones_(trained.get_parameter(ADAPTED))
    trained.save_pretrained(tmp_path)
    assert not (tmp_path / "model.safetensors").exists()
    other.base_model.load_state_dict(trained.base_model.state_dict())
    torch.nn.init.zeros_(other.get_parameter(ADAPTED))
    found = load_checkpoint(tmp_path, other)
    assert all(torch.equal(found[key], value) for key, value in trained.state_dict().items())
    with pytest.raises(ValueError, match=r"unexpected \['base_model.model.transformer.h.0"):
        load_checkpoint(tmp_path, _model())


def test_a_folder_without_a_model_is_refused(tmp_path) -> None:
    (tmp_path / "weights.safetensors").touch()
    with pytest.raises(FileNotFoundError, match=r"found \['weights.safetensors'\]"):
        load_checkpoint(tmp_path, _model())
