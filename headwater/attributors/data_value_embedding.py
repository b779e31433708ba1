"""Data Value Embedding: what each step of training has left in the final model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Reversible, Sequence, Sized

import torch
from torch import Tensor

from headwater.attributors.attributor import Attributor, Rows
from headwater.attributors.source import GradientSource
from headwater.batches import Batch, batch_size, map_tensors, tensors_of, to_device, with_tensors
from headwater.checks import check_finite
from headwater.gradients import GradientCapture
from headwater.memory import check_memory
from headwater.progress import track
from headwater.projections import GradientProjection
from headwater.solvers import State
from headwater.task import AttributionTask, BoundModel, SampleFunction
from headwater.trajectory import Step, model_at

__all__ = ["DataValueEmbedding"]

WORKSPACE = 2**24
"""Pairs that one block of scores may hold (64 MiB in float32)."""


class DataValueEmbedding(Attributor):
    """Follow the training run back from its last step to its first, all samples at once.

    For θ_{t+1} = θ_t - (η_t/|B_t|) Σ_{i∈B_t} ∇ℓ_i(θ_t) the effect of sample i on f_j through step t is
    -(η_t/|B_t|) ⟨∇ℓ_i(θ_t), u_{j,t+1}⟩, u_{j,T} = ∇f_j(θ_T) and u_{j,t} = (I - η_t H_t)₊ u_{j,t+1}.
    scores[i, j] is the sum over the steps that saw i, the change of f_j because they did, in its
    unit. Self-influence: minus the score of a sample for its own loss; not always ≥ 0.

    The Hessian H_t of the batch is its empirical Fisher matrix (1/|B_t|) Σ g_i g_iᵀ, good where residuals
    have the size that the loss expects. (·)₊ sets negative eigenvalues to zero: a step that would
    overshoot along a direction (η_t λ > 1) forgets what was there before. It changes nothing where
    I - η_t H_t is positive; elsewhere, as with momentum, products of I - η_t H_t grow beyond all bounds.

    Without a projection u is carried in the space of parameters, (m, p), and every call of
    `attribute` goes back through the run: O(T |B| p m). With one of dimension k the embeddings
    Σ_t (η_t/|B_t|) (…) P∇ℓ_i(θ_t) (n, k) are made in `cache`, O(T |B| k²) beside the gradients, and
    new test samples cost one product. The training samples are held in memory. Momentum is taken as
    the rate η/(1-β), see `Step`; dropout is off.

    Args:
        task: one checkpoint, the end of the run.
        steps: the run in its order, anything that `reversed` takes: a list, or a `TrainingRun`.
        projection: k ≪ p numbers of a gradient, the same for all steps; None: all parameters.

    Raises:
        ValueError: if the task has several checkpoints, or a step names samples that do not exist.

    Reference:
        Wang et al., Capturing the Temporal Dependence of Training Data Influence, ICLR 2025.

    Example:
        >>> from headwater import targets
        >>> model = torch.nn.Linear(2, 3)
        >>> task = AttributionTask(model, targets.cross_entropy)
        >>> train = [(torch.eye(2), torch.tensor([0, 1]))]
        >>> attributor = DataValueEmbedding(task, [Step(model.state_dict(), learning_rate=0.1)])
        >>> attributor.cache(train).attribute(train, train).shape
        torch.Size([2, 2])
    """

    def __init__(
        self,
        task: AttributionTask,
        steps: Reversible[Step],
        projection: GradientProjection | None = None,
    ) -> None:
        super().__init__(task)
        if len(task.checkpoints) != 1:
            raise ValueError(
                "DataValueEmbedding follows one run to its end, got "
                f"{len(task.checkpoints)} checkpoints; pass the last one, and the others as steps"
            )
        if isinstance(steps, Sized) and len(steps) == 0:
            raise ValueError("steps must hold the steps of the run, got none; see TrainingRun")
        self.steps, self.projection = steps, projection

    @property
    def train_function(self) -> None:
        """No gradients are taken at the end of the run but the target's."""
        return None

    def check(self, source: GradientSource, batch: Batch) -> None:
        """Refuse a loss that is reduced."""
        source.model.values(self.task.loss, to_device(batch, source.model.device))

    def prepare(self, source: GradientSource) -> State:
        """Return {"embedding": (n, k)} where there is a projection."""
        n, run = _check_data(source.batches), self._run(source)
        for step in run if isinstance(run, Sequence) else ():
            _rows_of(step, n)
        if self.projection is None:
            return {}
        embedding: Tensor | None = None
        for rows, products in self._back(source, None):
            if embedding is None:
                embedding = products.new_zeros(n, products.shape[1])
            embedding.index_add_(0, rows, products)
        assert embedding is not None
        return {"embedding": embedding}

    def solve(self, source: GradientSource, state: State) -> State:
        """Return the embeddings and P∇f_j (m, k); or without a projection {"effects": (n, m)}."""
        test = self._gradients(source, self.task.target, source.test_batches, "test gradients")
        if "embedding" in state:
            return {"embedding": state["embedding"], "test": test}
        n = sum(batch_size(batch) for batch in source.batches)
        effects = test.new_zeros(n, len(test))
        for rows, products in self._back(source, test):
            effects.index_add_(0, rows, products)
        return {"effects": effects}

    def score(self, source: GradientSource, solved: State) -> Iterator[Rows]:
        """Yield minus the effects of following the gradients."""
        rows, columns = (
            (solved["effects"], None)
            if "effects" in solved
            else (solved["embedding"], solved["test"])
        )
        width = rows.shape[1] if columns is None else len(columns)
        step = max(1, WORKSPACE // width)
        for start in range(0, len(rows), step):
            block = rows[start : start + step]
            yield (
                slice(start, start + len(block)),
                -(block if columns is None else block @ columns.T),
            )

    def self_score(self, source: GradientSource, state: State) -> Tensor:
        """Return what the steps that saw a sample took from its own loss."""
        own = self._gradients(source, self.task.loss, source.batches, "gradients")
        if "embedding" in state:
            return (state["embedding"] * own).sum(1)
        effects = own.new_zeros(len(own))
        for rows, products in self._back(source, own):
            effects.index_add_(0, rows, products.gather(1, rows[:, None])[:, 0])
        return effects

    def _back(
        self, source: GradientSource, adjoint: Tensor | None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield (rows, (η/|B|) ⟨g_i, u_j⟩ (b, m)) of each step, from the last to the first.

        Args:
            source: the training data and the model.
            adjoint: u_T, (m, k); default: all k unit vectors, which makes embeddings.
        """
        samples = _joined(source.batches)
        n, capture = batch_size(samples), GradientCapture(source.model, self.task.loss)
        run = self._run(source)
        total = len(run) if isinstance(run, Sized) else None
        u = None if adjoint is None else adjoint.clone()
        for step in track(reversed(run), "steps of the run", total):
            rows = _rows_of(step, n)
            capture.model = model_at(source.model, step.parameters)
            batch = map_tensors(samples, lambda t, rows=rows: t[rows])  # type: ignore[misc]
            g = self._represented(capture, batch)
            if u is None:
                u = torch.eye(g.shape[1], dtype=g.dtype, device=g.device)
            products = (g @ u.T).mul_(step.learning_rate / len(rows))
            u = self._before(u, step, capture.model, batch, products, g)
            yield rows.to(g.device), products

    def _run(self, source: GradientSource) -> Reversible[Step]:
        """Return the run that ends at a checkpoint."""
        return self.steps

    def _before(
        self, u: Tensor, step: Step, model: BoundModel, batch: Batch, products: Tensor, g: Tensor
    ) -> Tensor:
        """Return u_t = ((1 - η wd) I - η H)₊ u_{t+1}, from (η/|B|) ⟨g_i, u_j⟩ and the gradients g."""
        kept = max(0.0, 1.0 - step.learning_rate * step.weight_decay)
        gram = (g @ g.T).mul_(step.learning_rate / len(g))  # has the eigenvalues x of ηH
        if float(gram.abs().sum(1).max()) > kept:  # Gershgorin: else no eigenvalue is larger
            x, vectors = torch.linalg.eigh(gram)
            # On an eigenvector ηH is x, and here min(x, 1 - η wd).
            share = kept / x.clamp_min(max(kept, torch.finfo(x.dtype).tiny))
            products = vectors @ (share[:, None] * (vectors.T @ products))
        return u.mul_(kept).addmm_(products.T, g, alpha=-1.0)

    def _gradients(
        self, source: GradientSource, function: SampleFunction, batches: Iterable[Batch], what: str
    ) -> Tensor:
        """Return the gradients at the end of the run, represented as in the steps, (m, k)."""
        capture, parts, done = GradientCapture(source.model, function), [], 0
        if self.projection is None:
            m, p = sum(batch_size(batch) for batch in batches), source.model.layout.size
            advice = "pass a projection, or fewer samples at a time"
            check_memory(f"{m} {what} of {p:,} parameters", 16 * m * p, advice, source.model.device)
        for batch in track(batches, what):
            parts.append(self._represented(capture, batch, done))
            done += len(parts[-1])
        return torch.cat(parts)

    def _represented(self, capture: GradientCapture, batch: Batch, first_row: int = 0) -> Tensor:
        gradients = capture(batch, first_row)
        if self.projection is None:
            return gradients.dense()
        return gradients.project(self.projection).dense()


def _check_data(batches: Iterable[Batch]) -> int:
    """Refuse samples that are not finite, and return their number."""
    done = 0
    for batch in batches:
        for tensor in tensors_of(batch):
            check_finite("the data", tensor, done)
        done += batch_size(batch)
    return done


def _joined(batches: Iterable[Batch]) -> Batch:
    """Return all samples of a loader as one batch."""
    whole = list(batches)
    columns = zip(*(tensors_of(batch) for batch in whole), strict=True)
    return with_tensors(whole[0], [torch.cat(parts) for parts in columns])


def _rows_of(step: Step, n: int) -> Tensor:
    """Return the samples of a step, int64 (b,)."""
    if step.rows is None:
        return torch.arange(n)
    rows = step.rows.to("cpu", torch.int64)
    if int(rows.min()) < 0 or int(rows.max()) >= n:
        raise ValueError(
            f"the rows of a step must lie in 0..{n - 1}, the training data, got "
            f"{int(rows.min())}..{int(rows.max())}; pass the loader of the samples of the run"
        )
    return rows
