"""Random changes of training inputs, drawn from a generator that the run seeds for each step."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

__all__ = ["Augment", "crop_and_flip"]

Augment = Callable[[Tensor, Generator], Tensor]
"""augment(inputs, generator) -> inputs (b, ...) of the same shape; the generator is on the CPU."""


def crop_and_flip(padding: int = 4) -> Augment:
    """Return an augmentation of images (b, C, H, W): shifted by up to `padding`, mirrored by chance.

    Each image is shifted by whole pixels, uniform on [-padding, padding] along both sides with zeros
    around it, and mirrored left to right with probability 1/2.
    """

    def augment(images: Tensor, generator: Generator) -> Tensor:
        (b, _, height, width), device = images.shape, images.device
        corner = torch.randint(0, 2 * padding + 1, (2, b, 1), generator=generator).to(device)
        mirrored = torch.rand(b, 1, generator=generator).to(device) < 0.5
        rows = corner[0] + torch.arange(height, device=device)
        columns = torch.arange(width, device=device).expand(b, width)
        columns = corner[1] + torch.where(mirrored, columns.flip(1), columns)
        padded = F.pad(images, (padding,) * 4)
        of_image = torch.arange(b, device=device)[:, None, None]
        return padded[of_image, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)

    return augment
