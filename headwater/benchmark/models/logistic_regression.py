"""Multinomial logistic regression."""

from torch import Tensor, nn

__all__ = ["LogisticRegression"]


class LogisticRegression(nn.Module):
    """Map inputs (n, n_features) to logits (n, n_classes) by one affine layer.

    Args:
        n_features: Length of an input row.
        n_classes: Number of classes.
    """

    def __init__(self, n_features: int = 784, n_classes: int = 10) -> None:
        super().__init__()
        self.linear = nn.Linear(n_features, n_classes)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits (n, n_classes) of inputs (n, n_features)."""
        logits: Tensor = self.linear(inputs)
        return logits
