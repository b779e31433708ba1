"""Random training subsets and flipped labels."""

import numpy as np
from numpy.typing import NDArray

from headwater.benchmark.training.seeds import derive_seed

__all__ = ["draw_subsets", "flip_labels"]


def draw_subsets(n: int, fraction: float, count: int, seed: int) -> NDArray[np.bool_]:
    """Draw subset masks with round(n · fraction) samples each, without replacement.

    Row i depends on the seed and i alone, so more subsets can be added later.

    Args:
        n: Number of training samples.
        fraction: Size of a subset relative to n, 0 < fraction <= 1.
        count: Number of subsets.
        seed: Base seed.

    Returns:
        Subset masks, bool (count, n).

    Raises:
        ValueError: If a subset would be empty, or fraction or count is out of range.
    """
    size = round(n * fraction)
    if not 0 < fraction <= 1 or size < 1 or count < 1:
        raise ValueError(
            "subsets need 0 < fraction <= 1, at least one sample each and count >= 1, got "
            f"n={n}, fraction={fraction}, count={count}: choose larger values"
        )
    masks = np.zeros((count, n), dtype=bool)
    for i, mask in enumerate(masks):
        generator = np.random.default_rng(derive_seed(seed, "subset", i))
        mask[generator.permutation(n)[:size]] = True
    return masks


def flip_labels(
    labels: NDArray[np.integer], fraction: float, n_classes: int, seed: int
) -> tuple[NDArray[np.integer], NDArray[np.bool_]]:
    """Give round(fraction · n) samples other labels, uniform over the other classes.

    Args:
        labels: class indices (n, ...) in [0, n_classes), left as they are; where a sample has several,
            all of them change, but for negative ones, which a loss ignores.
        fraction: share of the samples to flip, 0 <= fraction <= 1.
        n_classes: number of classes, at least 2.
        seed: base seed.

    Returns:
        New labels of the same shape and type, and the mask (n,) of the flipped samples.

    Raises:
        ValueError: if an argument is out of range.
    """
    labels = np.asarray(labels)
    valid = labels.ndim >= 1 and np.issubdtype(labels.dtype, np.integer)
    if not valid or np.any(labels >= n_classes):
        raise ValueError(
            f"labels must be integers below {n_classes} of shape (n, ...), got {labels.dtype} of "
            f"shape {labels.shape}; pass class indices and the right n_classes"
        )
    if not 0 <= fraction <= 1 or n_classes < 2:
        raise ValueError(
            f"flipping needs 0 <= fraction <= 1 and n_classes >= 2, got fraction={fraction}, "
            f"n_classes={n_classes}; correct the value"
        )
    generator = np.random.default_rng(derive_seed(seed, "flip"))
    flipped = np.zeros(len(labels), dtype=bool)
    flipped[generator.permutation(len(labels))[: round(fraction * len(labels))]] = True
    # A shift by 1 .. n_classes - 1 reaches every other class once.
    shift = generator.integers(1, n_classes, size=labels.shape)
    changed = flipped.reshape(-1, *(1 for _ in labels.shape[1:])) & (labels >= 0)
    noisy = np.where(changed, (labels.astype(np.int64) + shift) % n_classes, labels)
    return noisy.astype(labels.dtype), flipped
