"""A LightningModule without edits: trained by Lightning's Trainer, attributed as it is.

Nothing of the module changes: the attribution calls its `forward`, as `training_step` does, and takes the
checkpoint that Lightning wrote. The training images that most support a test image show its digit.
"""

import tempfile
from pathlib import Path

import lightning
import torch
import torch.nn.functional as F
from lightning.pytorch.callbacks import ModelCheckpoint
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset

from headwater import AttributionTask
from headwater.attributors import InfluenceFunction
from headwater.curvature import EKFAC
from headwater.solvers import Eigenbasis
from headwater.targets import cross_entropy, log_probability


class Digits(lightning.LightningModule):
    """A perceptron for images of 8 × 8 pixels, as any Lightning project has one."""

    def __init__(self):
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Dropout(0.1), torch.nn.Linear(32, 10)
        )

    def forward(self, x):
        """Return the logits of images."""
        return self.layers(x)

    def training_step(self, batch, _):
        """Return the loss of a batch."""
        x, y = batch
        loss = F.cross_entropy(self(x), y)
        self.log("loss", loss)
        return loss

    def configure_optimizers(self):
        """Return the optimizer."""
        return torch.optim.Adam(self.parameters(), lr=0.01)


lightning.seed_everything(0, verbose=False)
images, digits = load_digits(return_X_y=True)
samples = TensorDataset(torch.tensor(images).float() / 16, torch.tensor(digits))
train_set = torch.utils.data.Subset(samples, range(600))
test_set = torch.utils.data.Subset(samples, range(600, 700))

with tempfile.TemporaryDirectory() as folder:
    callback = ModelCheckpoint(dirpath=folder, filename="last")
    trainer = lightning.Trainer(
        max_epochs=8, accelerator="cpu", callbacks=[callback], logger=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(Digits(), DataLoader(train_set, batch_size=32, shuffle=True))
    checkpoint = torch.load(Path(folder) / "last.ckpt", weights_only=True)["state_dict"]

train_loader, test_loader = (DataLoader(split, batch_size=100) for split in (train_set, test_set))
task = AttributionTask(Digits(), cross_entropy, target=log_probability, checkpoints=[checkpoint])
attributor = InfluenceFunction(task, Eigenbasis(damping="auto"), EKFAC()).cache(train_loader)
scores = attributor.attribute(train_loader, test_loader)  # (n_train, n_test)

labels = torch.tensor(digits)
best = scores.topk(5, dim=0).indices  # (5, n_test)
same = (labels[:600][best] == labels[600:700]).float().mean()
print(f"{same:.0%} of the five best supporters of a test image show its digit")
