"""Methods that follow a training run from its end back to its start."""

import sys
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Reversible, Sequence, Sized
from dataclasses import dataclass

import torch
from torch import Tensor

from headwater.attributors.attributor import Attributor
from headwater.batches import Batch, SampleTable, batch_size, tensors_of
from headwater.checks import check_finite
from headwater.gradients import GradientCapture, Gradients
from headwater.gradients.source import GradientSource
from headwater.memory import Cost, Sizes, check_memory
from headwater.progress import track
from headwater.solvers import State
from headwater.task import AttributionTask, BoundModel, SampleFunction
from headwater.trajectory import Step

COPIES = 4
"""Of u, or of its size, that are held at a time."""


@dataclass(frozen=True)
class Passage:
    """A step of the run, with its g_i in the space of u, (b, k), and (η/|B|) ⟨g_i, u_j⟩, (b, m)."""

    step: Step
    model: BoundModel
    batches: list[Batch]
    gradients: Tensor
    products: Tensor


class TrajectoryAttributor(Attributor):
    """Add up what the steps that saw a sample have left in the targets at the end of the run.

    scores[i, j] = -Σ_t (η_t/|B_t|) ⟨∇ℓ_i(θ_t), u_{j,t+1}⟩ over the steps whose batch B_t holds i,
    u_{j,T} = ∇f_j(θ_T), and u_{j,t} what a method makes of u_{j,t+1} (`carried`). Self-influence: minus
    the score of a sample for its own loss.

    The training samples are held in memory, whatever the budget, so that their loader is read once, in
    `cache`. Where u does not fit into a quarter of the budget, test samples follow the run in blocks.

    Args:
        task: the ends of the runs.
        runs: one per checkpoint, anything that `reversed` takes: a list, or a `TrainingRun`.

    Raises:
        ValueError: if there is not one run per checkpoint, or a step names samples that do not exist.
    """

    def __init__(self, task: AttributionTask, runs: Sequence[Reversible[Step]]) -> None:
        super().__init__(task)
        if len(runs) != len(task.checkpoints):
            raise ValueError(
                f"{type(self).__name__} needs one run per checkpoint, got {len(runs)} for "
                f"{len(task.checkpoints)} checkpoints; see headwater.benchmark.training"
            )
        self.runs = list(runs)
        self.data_budget = sys.maxsize  # all are kept: every step asks for some of their samples

    @abstractmethod
    def carried(self, u: Tensor, passage: Passage) -> Tensor:
        """Return u before a step from u after it, (m, k); u may be changed in place."""

    def vectors(self, gradients: Gradients) -> Tensor:
        """Return gradients in the space of u, (n, k); default: all parameters."""
        return gradients.dense()

    embeds = False  # whether all k directions of the space of u follow the run in `cache`
    passes = 0  # through the model, there and back, for each sample of a step and each u_j

    def cost(self, sizes: Sizes) -> Cost:
        """Return that of all copies of u, and of the passes and products of all steps."""
        m = sizes.p if self.embeds else sizes.m
        work = sizes.seen * (sizes.pass_ * (1 + self.passes * m) + 4 * m * sizes.p)
        return Cost(4 * COPIES * m * sizes.p, work, 4 * sizes.n * sizes.m)

    def solved_width(self, source: GradientSource) -> int:
        """Return the size of u and its copies, or with embeddings that of the effects."""
        return source.n if self.embeds else COPIES * self.task.layout.size

    def prepare(self, source: GradientSource) -> State:
        """Check the data and the steps, and return {"embedding": (n, k)} where there is one."""
        done, run = 0, self.runs[source.index]
        for batch in source.batches:
            for tensor in tensors_of(batch):
                check_finite("the data", tensor, done)
            done += batch_size(batch)
        for step in run if isinstance(run, Sequence) else ():
            _rows_of(step, done)
        return {"embedding": self._effects(source, None)} if self.embeds else {}

    def solve(self, source: GradientSource, state: State) -> State:
        """Return {"scores": minus what the steps took from the targets, (n, m)}."""
        u = self._at_end(source, self.task.target, source.test_batches, "test gradients")
        embedded = "embedding" in state
        effects = state["embedding"] @ u.T if embedded else self._effects(source, u)
        return {"scores": effects.neg_()}

    def self_score(self, source: GradientSource, state: State) -> Tensor:
        """Return what the steps that saw a sample took from its own loss."""
        u = self._at_end(source, self.task.loss, source.batches, "gradients")
        if "embedding" in state:
            return (state["embedding"] * u).sum(1)
        effects = u.new_zeros(len(u))
        for rows, products in self._back(source, u):
            effects.index_add_(0, rows, products.gather(1, rows[:, None])[:, 0])
        return effects

    def _effects(self, source: GradientSource, u: Tensor | None) -> Tensor:
        """Return Σ_t (η_t/|B_t|) ⟨∇ℓ_i(θ_t), u_{j,t+1}⟩, (n, m), see `_back`."""
        effects = torch.zeros(0) if u is None else u.new_zeros(source.n, len(u))
        for rows, products in self._back(source, u):
            if not len(effects):
                effects = products.new_zeros(source.n, products.shape[1])
            effects.index_add_(0, rows, products)
        return effects

    def _back(self, source: GradientSource, u: Tensor | None) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield (rows, (η/|B|) ⟨g_i, u_j⟩ (b, m)) of each step, from the last to the first.

        It starts from u (m, k), which is changed; from all k unit vectors if that is None.
        """
        samples = SampleTable(source.batches)
        capture, run = GradientCapture(source.model, self.task.loss), self.runs[source.index]
        total = len(run) if isinstance(run, Sized) else None
        for step in track(reversed(run), "steps of the run", total):
            rows = _rows_of(step, samples.n)
            batches = samples.select(rows)
            capture = capture.at(source.model.at(step.parameters))
            g = torch.cat([self.vectors(capture(batch)) for batch in batches])
            if u is None:
                u = torch.eye(g.shape[1], dtype=g.dtype, device=g.device)
            products = (g @ u.T).mul_(step.learning_rate / len(rows))
            u = self.carried(u, Passage(step, capture.model, batches, g, products))
            yield rows.to(g.device), products

    def _at_end(
        self, source: GradientSource, function: SampleFunction, batches: Iterable[Batch], what: str
    ) -> Tensor:
        """Return the gradients at the end of the run, in the space of u, (m, k), if they fit."""
        capture = GradientCapture(source.model, function)
        parts: list[Tensor] = []
        for batch in track(batches, what):
            parts.append(self.vectors(capture(batch, sum(map(len, parts)))))
            if len(parts) == 1:
                m, k = sum(batch_size(batch) for batch in batches), parts[0].shape[1]
                advice = "pass a projection, or fewer samples at a time"
                needed = COPIES * m * k * parts[0].element_size()
                check_memory(f"{m} {what} of {k:,} numbers", needed, advice, source.device)
        return torch.cat(parts)


def _rows_of(step: Step, n: int) -> Tensor:
    if step.rows is None:
        return torch.arange(n)
    rows = step.rows.to("cpu", torch.int64).sort().values
    if int(rows[0]) < 0 or int(rows[-1]) >= n:
        raise ValueError(
            f"the rows of a step must lie in 0..{n - 1}, the training data, got "
            f"{int(rows[0])}..{int(rows[-1])}; pass the loader of the samples of the run"
        )
    return rows
