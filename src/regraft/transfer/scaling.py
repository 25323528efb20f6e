"""Block normalisation: features of very different blocks on one footing.

Within block b every column becomes (x - mean) / sqrt(var + mean(var)) / sqrt(d_b). Adding the
block's mean variance keeps columns that hardly vary from being blown up into noise when examples
are few; the last factor lets a block of 1,280 columns count as much as one of 16.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating]
Integers = npt.NDArray[np.integer]

CONSTANT = 1e-12  # relative to the largest value: a smaller deviation is rounding


@dataclass(frozen=True)
class BlockScaling:
    """Affine map of raw features to block-normalised ones.

    shift   (d,) what is subtracted
    factor  (d,) what the difference is multiplied by
    widths  columns of each block, in order; they add up to d
    """

    shift: npt.NDArray[np.float64]
    factor: npt.NDArray[np.float64]
    widths: tuple[int, ...]

    @classmethod
    def of(cls, mean: Array, variance: Array, widths: Sequence[int]) -> "BlockScaling":
        """From the columns' mean and variance, both (d,).

        A block that does not vary at all gets factor 0: it tells nothing.
        """
        per_block = np.array([np.mean(v) for v in np.split(variance, np.cumsum(widths)[:-1])])
        spread = np.sqrt(variance + np.repeat(per_block, widths))
        size = np.sqrt(np.repeat(np.asarray(widths, float), widths))
        varies = spread > CONSTANT * np.maximum(np.abs(mean), CONSTANT)
        factor = np.divide(1.0, spread * size, out=np.zeros_like(spread), where=varies)
        return cls(np.asarray(mean, np.float64), factor, tuple(int(w) for w in widths))

    def weighted(self, weights: Sequence[float] | Array) -> "BlockScaling":
        """The same map with each block's kernel multiplied by its weight, (blocks,) >= 0."""
        root = np.sqrt(np.asarray(weights, float))
        return BlockScaling(self.shift, self.factor * np.repeat(root, self.widths), self.widths)

    def __call__(self, features: Array) -> npt.NDArray[np.float64]:
        """(n, d) raw features → (n, d) float64 normalised ones, row after row in memory."""
        rows = np.subtract(features, self.shift, dtype=np.float64, order="C")
        rows *= self.factor
        return rows

    def blocks(self) -> list[slice]:
        """The columns of each block."""
        ends = np.cumsum(self.widths)
        return [slice(int(e) - w, int(e)) for e, w in zip(ends, self.widths, strict=True)]


def mean_and_variance(features: Array) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Of the columns of (n, d), both (d,) float64; in chunks, so that there is no second copy."""
    mean = np.asarray(np.mean(features, 0, dtype=np.float64))
    squares = np.zeros_like(mean)
    for start in range(0, len(features), 1024):
        part = np.subtract(features[start : start + 1024], mean, dtype=np.float64)
        squares += np.einsum("nd,nd->d", part, part)
    return mean, squares / len(features)
