"""KNN-Shapley: the exact Shapley values of a nearest-neighbour classifier on the model's features."""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from headwater.attributors.feature_attributor import Describe, DirectedAttributor
from headwater.attributors.features import FeatureReader
from headwater.batches import Batch, sample_tensors
from headwater.checks import check_positive
from headwater.gradients.source import GradientSource
from headwater.labels import labels_of
from headwater.memory import row_blocks
from headwater.solvers import State
from headwater.task import AttributionTask

__all__ = ["KNNShapley", "neighbour_shapley"]


class KNNShapley(DirectedAttributor):
    """Share the probability that the k nearest neighbours give the right label among the samples.

    v(i, j) is the Shapley value of i in the game ν_j(S) = (1/k) Σ_{r ≤ min(k, |S|)} 1[y_(r) = y_j],
    (r) the r-th nearest of S to x_j: Σ_i v(i, j) is the share of right labels among the k nearest of
    all samples. Scores have the sign of `DirectedAttributor`; their unit is a probability. Between
    equal distances the sample that comes first is the nearer.

    Batches are (inputs, labels). Cost: one forward pass; O(n m d) for distances and O(n m log n) to
    sort them; memory for the features of the training samples and one value per pair.

    Args:
        neighbours: k.
        layer: the Linear layer whose inputs are the features; default: the one that is called last.
        inputs: whether distances are those of the flattened inputs; the model only shows the sign then.

    Raises:
        ValueError: if k < 1, or both a layer and the inputs are asked for.

    Reference:
        Jia et al., Efficient Task-Specific Data Valuation for Nearest Neighbor Algorithms, VLDB 2019.

    Example:
        >>> from headwater import targets
        >>> task = AttributionTask(torch.nn.Linear(2, 3), targets.cross_entropy, targets.margin)
        >>> train = [(torch.tensor([[3.0, 0.0], [0.0, 2.0]]), torch.tensor([0, 1]))]
        >>> KNNShapley(task, neighbours=1, inputs=True).cache(train).attribute(train, train).tolist()
        [[1.0, 0.0], [0.0, 1.0]]
    """

    def __init__(
        self, task: AttributionTask, neighbours: int, layer: str | None = None, inputs: bool = False
    ) -> None:
        super().__init__(task)
        check_positive("neighbours", neighbours)
        if inputs and layer is not None:
            raise ValueError(
                f"features come from a layer or are the inputs, got layer={layer!r} and inputs=True; "
                "drop one of them"
            )
        self.neighbours, self.layer, self.inputs = neighbours, layer, inputs

    def describer(self, source: GradientSource) -> Describe:
        """Keep {"feature": x (n, d), "label": y (n,)}."""
        if self.inputs:
            return lambda batch: {"feature": _flat_inputs(batch), "label": labels_of(batch)}
        read = FeatureReader(source.model, self.task.loss, self.layer)
        return lambda batch: {"feature": read(batch).inputs, "label": labels_of(batch)}

    def solve(self, source: GradientSource, state: State) -> State:
        """Return {"scores": d · v (n, m)}, in the dtype of the features."""
        sign, dtype = float(state["direction"]), state["feature"].dtype
        blocks = [v.T.to(dtype) for _, v in self._blocks(state, self.tests(source))]
        return {"scores": torch.cat(blocks, 1).mul_(sign)}

    def solved_width(self, source: GradientSource) -> int:
        """Return n: the scores of all training samples."""
        return source.n

    def self_score(self, source: GradientSource, state: State) -> Tensor:
        """Return v(i, i)."""
        return torch.cat([v[:, rows].diagonal() for rows, v in self._blocks(state, state)])

    def _blocks(
        self, train: Mapping[str, Tensor], test: Mapping[str, Tensor]
    ) -> Iterator[tuple[slice, Tensor]]:
        centre = train["feature"].to(torch.float64).mean(0)
        x, tests = (side["feature"].to(torch.float64) - centre for side in (train, test))
        for rows in row_blocks(len(tests), len(x), x.device):
            # ‖a - b‖² = ‖a‖² + ‖b‖² - 2⟨a, b⟩, and ‖b‖² is the same for all neighbours of b.
            distance = x.square().sum(1) - 2.0 * tests[rows] @ x.T
            matches = test["label"][rows, None] == train["label"]
            yield rows, neighbour_shapley(distance, matches, self.neighbours)


def neighbour_shapley(distance: Tensor, matches: Tensor, neighbours: int) -> Tensor:
    """Return the Shapley values of all training samples in each test sample's game, float64 (m, n).

    With samples sorted by distance, m_(r) = 1[label right] and m_(n+1) = 0:
    s_(i) = Σ_{r ≥ i} (m_(r) - m_(r+1)) min(k, r) / (r k). Cost: one sort and one sum per row of
    `distance` (m, n), or of anything that sorts alike; `matches` (m, n) says whose labels are the same.
    """
    order = distance.argsort(dim=1, stable=True)
    found = matches.gather(1, order).to(torch.float64)
    rank = torch.arange(1, found.shape[1] + 1, dtype=torch.float64, device=found.device)
    found[:, :-1] -= found[:, 1:].clone()
    found *= rank.clamp_max(neighbours) / (rank * neighbours)
    values = found.flip(1).cumsum(1).flip(1)
    return torch.empty_like(values).scatter_(1, order, values)


def _flat_inputs(batch: Batch) -> Tensor:
    labels, dtype = labels_of(batch), torch.get_default_dtype()
    inputs = [t for t in sample_tensors(batch) if t is not labels]
    kept = [t if t.is_floating_point() else t.to(dtype) for t in inputs]
    return torch.cat([t.reshape(len(t), -1) for t in kept], 1)
