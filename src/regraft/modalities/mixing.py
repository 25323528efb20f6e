"""Augmentations of a batch: each example is mixed with a partner, and so are their targets."""

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from torch import Tensor


def mixup(
    pixels: "Tensor", targets: "Tensor", strength: float, rng: np.random.Generator
) -> tuple["Tensor", "Tensor"]:
    """Each example fades into another; how far is drawn from Beta(`strength`, `strength`).

    pixels (n, size, size, 3) uint8, targets (n, classes) float → the same, mixed. Zhang et al. 2018
    (arXiv 1710.09412), with a share of its own for each example.
    """
    partners, shares = _drawn(len(pixels), strength, rng)
    by = pixels.new_tensor(shares, dtype=targets.dtype)
    near, far = pixels.to(targets.dtype), pixels[partners].to(targets.dtype)
    mixed = (far + (near - far) * by[:, None, None, None]).round_().to(pixels.dtype)
    return mixed, _blended(targets, partners, shares)


def cutmix(
    pixels: "Tensor", targets: "Tensor", strength: float, rng: np.random.Generator
) -> tuple["Tensor", "Tensor"]:
    """A rectangle of each example shows another; its share is from Beta(`strength`, `strength`).

    pixels (n, size, size, 3) uint8, targets (n, classes) float → the same, mixed by the share of
    the area that is seen. Yun et al. 2019 (arXiv 1905.04899), with a box of its own for each.
    """
    partners, shares = _drawn(len(pixels), strength, rng)
    size = np.array(pixels.shape[1:3])
    middles = rng.integers(size, size=(len(pixels), 2))
    halves = (np.sqrt(1 - shares)[:, None] * size).astype(int) // 2
    starts, ends = np.maximum(middles - halves, 0), np.minimum(middles + halves, size)
    mixed = pixels.clone()
    for i, ((top, left), (bottom, right)) in enumerate(zip(starts, ends, strict=True)):
        mixed[i, top:bottom, left:right] = pixels[partners[i], top:bottom, left:right]
    kept = 1 - (ends - starts).prod(axis=1) / size.prod()
    return mixed, _blended(targets, partners, kept)


def _drawn(
    n: int, alpha: float, rng: np.random.Generator
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """(n,) partners, all different, and the share that each example keeps of itself.

    It keeps the larger share: over a batch that gives the same mixtures (the distribution is
    symmetric), and each example is the main part of one of them.
    """
    shares = rng.beta(alpha, alpha, n)
    return rng.permutation(n), np.maximum(shares, 1 - shares)


def _blended(
    targets: "Tensor", partners: npt.NDArray[np.int64], shares: npt.NDArray[np.float64]
) -> "Tensor":
    by = targets.new_tensor(shares)[:, None]
    return by * targets + (1 - by) * targets[partners]
