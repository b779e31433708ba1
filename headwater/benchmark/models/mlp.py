"""Multi-layer perceptron with two hidden layers and reproducible dropout."""

from torch import Tensor, nn

from headwater.benchmark.models.dropout import StatelessDropout

__all__ = ["MLP"]


class MLP(nn.Module):
    """Map inputs (n, 784) to logits (n, 10) through hidden layers of 128 and 64 units.

    Each hidden layer is affine, ReLU, dropout. 109,386 parameters at the default sizes.

    Args:
        n_features: Length of an input row.
        hidden: Widths of the two hidden layers.
        n_classes: Number of classes.
        dropout: Probability that a hidden unit is dropped in train mode.
    """

    def __init__(
        self,
        n_features: int = 784,
        hidden: tuple[int, int] = (128, 64),
        n_classes: int = 10,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(n_features, hidden[0]),
            nn.ReLU(),
            StatelessDropout(dropout),
            nn.Linear(hidden[0], hidden[1]),
            nn.ReLU(),
            StatelessDropout(dropout),
            nn.Linear(hidden[1], n_classes),
        )

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits (n, n_classes) of inputs (n, n_features)."""
        logits: Tensor = self.layers(inputs)
        return logits
