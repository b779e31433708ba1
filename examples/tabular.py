"""Tabular data: which rows of a table have a wrong label?

A scikit-learn data set, a perceptron with a plain training loop, and five lines of attribution. Every
twentieth label is flipped before training; self-influence puts the flipped rows first.
"""

import torch
import torch.nn.functional as F
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from headwater import AttributionTask
from headwater.attributors import InfluenceFunction
from headwater.curvature import EKFAC
from headwater.solvers import Eigenbasis

torch.manual_seed(0)
features, labels = load_breast_cancer(return_X_y=True)
x_train, x_test, y_train, y_test = train_test_split(features, labels, random_state=0)
scaler = StandardScaler().fit(x_train)
x_train, x_test = (torch.tensor(scaler.transform(x)).float() for x in (x_train, x_test))
y_train, y_test = torch.tensor(y_train), torch.tensor(y_test)
wrong = torch.randperm(len(y_train))[: len(y_train) // 20]
y_train[wrong] = 1 - y_train[wrong]

model = torch.nn.Sequential(torch.nn.Linear(30, 16), torch.nn.ReLU(), torch.nn.Linear(16, 2))
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
for _ in range(10):
    for rows in torch.randperm(len(x_train)).split(32):
        optimizer.zero_grad()
        F.cross_entropy(model(x_train[rows]), y_train[rows]).backward()
        optimizer.step()


def loss(model, batch):
    """Return the training loss of each sample, (batch,)."""
    x, y = batch
    return F.cross_entropy(model(x), y, reduction="none")


train, test = [(x_train, y_train)], [(x_test, y_test)]
task = AttributionTask(model, loss)
attributor = InfluenceFunction(task, Eigenbasis(damping="auto"), EKFAC()).cache(train)
scores = attributor.attribute(train, test)  # (n_train, n_test), in the unit of the loss
suspects = attributor.self_influence(train).argsort(descending=True)

found = torch.isin(suspects[: len(wrong)], wrong).sum()
worst = loss(model, test[0]).argmax()
harmful = scores[:, worst].topk(5).indices  # they raise the loss of this test row
print(f"{found} of the {len(wrong)} flipped labels are among the first {len(wrong)} suspects")
print(f"Test row {worst}, the worst mistake, is made worse most by rows {harmful.tolist()}")
