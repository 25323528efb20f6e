"""Parity: how far an engine's features may lie from those of PyTorch."""

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float32]  # features: (d,) of one example, (n, d) of several

PARITY = 1e-3  # largest difference from PyTorch, relative to the largest feature of the block


def difference(truth: Vector, other: Vector, widths: tuple[int, ...]) -> float:
    """Largest difference of two feature vectors, each block relative to its largest feature.

    NaN where either holds NaN or infinity, infinite where their lengths differ.
    """
    if truth.shape != other.shape:
        return float("inf")
    edges = np.cumsum(widths)[:-1]
    pairs = zip(np.split(truth, edges), np.split(other, edges), strict=True)
    with np.errstate(invalid="ignore"):
        return float(np.max([np.abs(a - b).max() / max(np.abs(a).max(), 1e-6) for a, b in pairs]))
