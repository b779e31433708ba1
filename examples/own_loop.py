"""Your own training loop: how well do scores predict what retraining would give?

A generator of about ten lines is a `TrainingRun`: it trains from a seed on a subset and yields a
checkpoint after each epoch. With it come retraining on random halves and the linear datamodeling score
(LDS), which compares the sums of scores with what the retrained models say.
"""

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits

from headwater import AttributionTask
from headwater.attributors import GradDot, InfluenceFunction
from headwater.benchmark.datasets.samples import Samples
from headwater.benchmark.recipes import Checkpoint
from headwater.benchmark.retraining import draw_subsets, evaluate_targets
from headwater.benchmark.settings.setting import Setting
from headwater.benchmark.training import train_model
from headwater.curvature import MarginGaussNewton
from headwater.metrics import linear_datamodeling_score, noise_ceiling
from headwater.solvers import Relative, Woodbury
from headwater.targets import cross_entropy, margin


def make_model():
    """Return a fresh model."""
    return torch.nn.Linear(64, 10)


def train(inputs, labels, seed, subset):
    """Train on some of the samples, and yield a checkpoint after each epoch."""
    torch.manual_seed(seed)
    model, rows = make_model(), subset.nonzero()[:, 0]
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for epoch in range(1, 9):
        for batch in rows[torch.randperm(len(rows))].split(32):
            optimizer.zero_grad()
            F.cross_entropy(model(inputs[batch]), labels[batch]).backward()
            optimizer.step()
        state = {name: t.clone() for name, t in model.state_dict().items()}
        yield Checkpoint(epoch, 0.01, state)


def load(_folder):
    """Return 400 training and 100 test images of 8 × 8 pixels."""
    x, y = load_digits(return_X_y=True)
    x, y = torch.tensor(x).float() / 16, torch.tensor(y)
    return Samples(x[:400], y[:400], x[400:500], y[400:500])


SETTING = Setting("digits", make_model, load, cross_entropy, {"margin": margin}, train)

if __name__ == "__main__":
    x, y, x_test, y_test = load(None)
    n_subsets, n_repeats = 16, 2
    masks = draw_subsets(len(x), 0.5, n_subsets, seed=0)
    outputs = np.stack(
        [
            evaluate_targets(SETTING, checkpoint.state, x_test, y_test)["margin"].numpy()
            for number, mask in enumerate(masks)
            for repeat in range(n_repeats)
            for checkpoint in train_model(SETTING, x, y, 100 + number * n_repeats + repeat, mask)
        ]
    ).reshape(n_subsets, n_repeats, -1)

    checkpoints = [train_model(SETTING, x, y, seed)[0].state for seed in range(3)]
    task = AttributionTask(make_model(), cross_entropy, target=margin, checkpoints=checkpoints)
    solver = Woodbury(damping=Relative(3))
    attributors = {
        "gradient dot products": GradDot(task),
        "influence functions": InfluenceFunction(task, solver, MarginGaussNewton()),
    }
    lds = {}
    for name, attributor in attributors.items():
        scores = attributor.cache([(x, y)]).attribute([(x, y)], [(x_test, y_test)])
        lds[name] = linear_datamodeling_score(scores, masks, outputs)
        print(f"LDS of {name}: {lds[name].value:.3f} [{lds[name].low:.3f}, {lds[name].high:.3f}]")
    ceiling = noise_ceiling(outputs)
    print(f"A perfect method would reach {ceiling.value:.3f}")
