"""ResNet-9 for images of 32 x 32 pixels."""

from torch import Tensor, nn

from headwater.benchmark.models.dropout import StatelessDropout

__all__ = ["ResNet9", "ResidualBlock"]


class ResNet9(nn.Module):
    """Map images (n, 3, 32, 32) to logits (n, n_classes) through seven 3 x 3 convolutions.

    With w channels: convolution, batch norm, ReLU to (n, w, 32, 32); residual blocks to
    (n, 2w, 32, 32), (n, 4w, 16, 16) and (n, 8w, 8, 8); mean over the places; one affine layer.
    Convolutions have no bias. 4,825,154 parameters at the default sizes, 303,122 at a width of 16.

    Args:
        width: Channels w of the first convolution.
        n_classes: Number of classes.
        dropout: Probability that an element is dropped in train mode.
        n_channels: Channels of an image.

    Reference:
        He et al., Deep Residual Learning for Image Recognition, CVPR 2016.
    """

    def __init__(
        self, width: int = 64, n_classes: int = 2, dropout: float = 0.1, n_channels: int = 3
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(n_channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()
        )
        self.blocks = nn.Sequential(
            ResidualBlock(width, 2 * width, 1, dropout),
            ResidualBlock(2 * width, 4 * width, 2, dropout),
            ResidualBlock(4 * width, 8 * width, 2, dropout),
        )
        self.head = nn.Linear(8 * width, n_classes)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits (n, n_classes) of images (n, n_channels, height, width)."""
        features: Tensor = self.blocks(self.stem(inputs))
        logits: Tensor = self.head(features.mean((2, 3)))
        return logits


class ResidualBlock(nn.Module):
    """Map x (n, d_in, h, w) to relu(f(x) + g(x)), (n, d_out, h / stride, w / stride).

    f is twice a 3 x 3 convolution, batch norm, ReLU and dropout; g, the shortcut, is a 1 x 1
    convolution, batch norm and dropout. The first convolution of each has the stride.

    Args:
        d_in: Channels of the input.
        d_out: Channels of the output.
        stride: Step from one place to the next.
        dropout: Probability that an element is dropped in train mode.
    """

    def __init__(self, d_in: int, d_out: int, stride: int, dropout: float) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            nn.Conv2d(d_in, d_out, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(d_out),
            nn.ReLU(),
            StatelessDropout(dropout),
            nn.Conv2d(d_out, d_out, 3, padding=1, bias=False),
            nn.BatchNorm2d(d_out),
            nn.ReLU(),
            StatelessDropout(dropout),
        )
        self.shortcut = nn.Sequential(
            nn.Conv2d(d_in, d_out, 1, stride, bias=False),
            nn.BatchNorm2d(d_out),
            StatelessDropout(dropout),
        )

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the block's output (n, d_out, h / stride, w / stride)."""
        output: Tensor = self.residual(inputs) + self.shortcut(inputs)
        return output.relu()
