"""Methods of the formula itself: they work on the gradients of all training samples."""

import weakref
from collections.abc import Sequence

from headwater.attributors.attributor import Attributor
from headwater.gradients import Gradients
from headwater.gradients.captured import CapturedGradients, capture_together
from headwater.gradients.source import CapturedSource
from headwater.gradients.spill import Allowance
from headwater.loader import LoadedData
from headwater.task import SampleFunction


class GradientAttributor(Attributor):
    """Capture the gradients at all checkpoints in one pass over the data, and work on them."""

    @property
    def train_function(self) -> SampleFunction:
        """The function whose gradients are taken at the training samples; default: the loss."""
        return self.task.loss

    @property
    def takes_projected(self) -> bool:
        """Whether it works on gradients that are projected already, as a store may hold them."""
        return True

    def represent(self, gradients: Gradients, checkpoint: int) -> Gradients:
        """Return the gradients in the form this method works on; default: as captured."""
        return gradients

    @property
    def splits_training_samples(self) -> bool:
        """Whether the score of a sum of losses is the sum of their scores; default: it is not."""
        return False

    def check_tokens(self, side: str) -> None:
        """Refuse tokens of training samples, unless their scores add up to those of the samples."""
        if side == "train" and not self.splits_training_samples:
            raise ValueError(
                "per_token='train' needs scores that are sums over the tokens of a training sample, got "
                f"{type(self).__name__} with these choices; use GradDot, TracInCP, or InfluenceFunction "
                "of the loss with a solver such as ConjugateGradient or Eigenbasis"
            )

    def open(self, data: LoadedData) -> list[CapturedSource]:
        """Return one source per checkpoint; they share the data and the memory for gradients."""
        allowance = Allowance(self.task.memory_budget // 2)
        # Weak: in a circle with its sources, an attributor would keep the memory of their gradients
        # until Python looks for circles.
        method = weakref.proxy(self)

        def represent(gradients: Gradients, checkpoint: int) -> Gradients:
            return method.represent(gradients, checkpoint)

        more = self.train_function, represent, allowance, self.one_pass
        count = len(self.task.checkpoints)
        return [CapturedSource(self.task, index, data, *more) for index in range(count)]

    def capture(self, gradients: Sequence[CapturedGradients], what: str) -> None:
        """Capture the gradients at all checkpoints in one pass, but those that are never kept."""
        capture_together([part for part in gradients if not part.streams], what)
