"""Lightning's Trainer: checkpoints are recorded, and its modules are attributed as they are."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch import LightningModule, Trainer
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from headwater import AttributionTask, targets
from headwater.attributors import TracInCP
from headwater.recording import recorded
from headwater.recording.lightning import LightningRecorder

pytestmark = [  # Lightning's own: advice, and how it calls PyTorch
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*logging interval"),
    pytest.mark.filterwarnings("ignore:.isinstance.treespec, LeafSpec:FutureWarning"),
]


class Classifier(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(4, 3)

    def forward(self, inputs):
        return self.net(inputs)

    def training_step(self, batch, index):
        return F.cross_entropy(self(batch[0]), batch[1])

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=0.8)
        halved = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": halved, "interval": "step"}}


class TwoOptimizers(Classifier):
    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False

    def configure_optimizers(self):
        return [torch.optim.SGD(self.parameters(), lr=0.8) for _ in range(2)]


def _fit(folder, module, accumulated=2) -> None:
    data = TensorDataset(torch.randn(12, 4), torch.randint(3, (12,)))
    trainer = Trainer(
        max_epochs=2, accumulate_grad_batches=accumulated, accelerator="cpu", logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        callbacks=[LightningRecorder(folder, every=2)],
    )  # fmt: skip
    trainer.fit(module, DataLoader(data, batch_size=2))


def test_checkpoints_are_recorded_with_the_rate_of_their_step(tmp_path) -> None:
    module = Classifier()
    _fit(tmp_path, module)
    records = recorded(tmp_path)
    assert [record.step for record in records] == [2, 4, 6]
    rates = [record.learning_rate for record in records]
    assert rates == pytest.approx([0.8 / 2, 0.8 / 8, 0.8 / 32])
    paths = [record.path for record in records]
    task = AttributionTask(module, targets.cross_entropy, checkpoints=paths)
    batch = [(torch.randn(5, 4), torch.randint(3, (5,)))]
    assert TracInCP(task, rates).cache(batch).attribute(batch, batch).shape == (5, 5)
    assert torch.equal(task.bind(2).parameters["net.weight"], module.net.weight)


def test_several_optimizers_are_refused(tmp_path) -> None:
    with pytest.raises(ValueError, match="needs one optimizer, got 2"):
        _fit(tmp_path, TwoOptimizers(), accumulated=1)
