"""The steps of a training run, for methods that follow it back from its end to its start."""

from dataclasses import dataclass

from torch import Tensor

from headwater.checkpoints import Checkpoint
from headwater.checks import check_positive


@dataclass(frozen=True)
class Step:
    """One step of gradient descent: θ ← θ - η ((1/|B|) Σ_{i∈B} ∇ℓ_i(θ) + wd θ).

    With momentum β, of which one gradient moves the parameters by η(1 + β + β² + …) in the end, the
    step has η/(1-β). A run is a list of steps, or any object whose ``__reversed__`` yields them one at a
    time from the last, as `headwater.benchmark.training.Replay` does.

    Args:
        parameters: θ before the step: a state dict, a path, or a callable that returns a state dict.
        learning_rate: η > 0.
        rows: B, the places of its samples in the training data, int64 (b,); None: all samples.
        weight_decay: wd ≥ 0.

    Raises:
        ValueError: if the rate is not positive, the decay is negative, or there are no samples.
    """

    parameters: Checkpoint
    learning_rate: float
    rows: Tensor | None = None
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        check_positive("learning_rate", self.learning_rate)
        check_positive("weight_decay", self.weight_decay, allow_zero=True)
        rows = self.rows
        if rows is not None and (rows.ndim != 1 or len(rows) == 0 or rows.is_floating_point()):
            raise ValueError(
                f"rows must be the places of at least one sample, int64 (b,), got {rows.dtype} of "
                f"shape {tuple(rows.shape)}; pass None for all samples"
            )
