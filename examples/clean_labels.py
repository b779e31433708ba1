"""Cleaning labels: how much accuracy do the most suspicious samples cost?

A tenth of the labels of 1,000 MNIST images are wrong. Samples are ranked by self-influence, and the
first tenth of them is dropped, or given the label that a model trained without them predicts; the same is
done to as many random samples. What counts is the accuracy of the next model on test images.
"""

from pathlib import Path

import torch
import torch.nn.functional as F

from headwater import AttributionTask
from headwater.attributors import ExactTRAK
from headwater.benchmark.datasets.mnist import load_samples
from headwater.benchmark.retraining import flip_labels
from headwater.targets import cross_entropy, margin

DATA = Path(__file__).parents[1] / "data"
COUNT, SHARE = 1000, 0.1


def train(x, y, seed, epochs):
    """Return a perceptron trained on images and labels."""
    torch.manual_seed(seed)
    model = torch.nn.Sequential(torch.nn.Linear(784, 32), torch.nn.ReLU(), torch.nn.Linear(32, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    for _ in range(epochs):
        for rows in torch.randperm(len(x)).split(32):
            optimizer.zero_grad()
            F.cross_entropy(model(x[rows]), y[rows]).backward()
            optimizer.step()
    return model


def accuracy(x, y):
    """Return the share of test images that three models trained on x and y get right."""
    hits = [train(x, y, seed, epochs=10)(x_test).argmax(1) == y_test for seed in range(3)]
    return float(torch.stack(hits).float().mean())


x, labels, x_test, y_test = load_samples(DATA)
x, labels = x[:COUNT], labels[:COUNT]
noisy, flipped = flip_labels(labels.numpy(), SHARE, n_classes=10, seed=0)
y, flipped = torch.from_numpy(noisy), torch.from_numpy(flipped)

# Models that stopped early have not yet learned the wrong labels by heart.
early = [train(x, y, seed, epochs=3).state_dict() for seed in range(5)]
task = AttributionTask(train(x, y, 0, epochs=0), cross_entropy, target=margin, checkpoints=early)
suspicion = ExactTRAK(task, damping="auto").cache([(x, y)]).self_influence([(x, y)])

chosen = {
    "the most suspicious": suspicion.argsort(descending=True)[: int(SHARE * COUNT)],
    "random": torch.randperm(COUNT, generator=torch.Generator().manual_seed(0))[
        : int(SHARE * COUNT)
    ],
}
before = accuracy(x, y)
after = {}
print(f"{before:.1%} with {int(flipped.sum())} wrong labels of {COUNT}")
for name, rows in chosen.items():
    kept = torch.ones(COUNT, dtype=torch.bool).index_fill_(0, rows, False)
    relabelled = y.clone()
    relabelled[rows] = train(x[kept], y[kept], 0, epochs=3)(x[rows]).argmax(1)
    after[name, "dropped"] = accuracy(x[kept], y[kept])
    after[name, "relabelled"] = accuracy(x, relabelled)
    print(
        f"{after[name, 'dropped']:.1%} with {name} {len(rows)} dropped, "
        f"{after[name, 'relabelled']:.1%} relabelled; {int(flipped[rows].sum())} of them were wrong"
    )
