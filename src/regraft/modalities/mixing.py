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

    pixels (n, size, size, 3) uint8 or sounds (n, ..., longest) float with NaN behind their ends,
    targets (n, classes) float → the same, mixed. Zhang et al. 2018 (arXiv 1710.09412), with a share
    of its own for each example. A sound is as long as before; its partner ends where it ends.
    """
    partners, shares = _drawn(len(pixels), strength, rng)
    by = pixels.new_tensor(shares, dtype=targets.dtype).view(-1, *[1] * (pixels.ndim - 1))
    near, far = pixels.to(targets.dtype), pixels[partners].to(targets.dtype)
    far = far.where(far == far, near)  # NaN alone differs from itself
    mixed = far + (near - far) * by
    rounded = mixed if pixels.is_floating_point() else mixed.round_()
    return rounded.to(pixels.dtype), _blended(targets, partners, shares)


def cutmix(
    pixels: "Tensor", targets: "Tensor", strength: float, rng: np.random.Generator
) -> tuple["Tensor", "Tensor"]:
    """A rectangle of each example shows another; its share is from Beta(`strength`, `strength`).

    pixels (n, size, size, 3) uint8, targets (n, classes) float → the same, mixed by the share of
    the area that is seen. Yun et al. 2019 (arXiv 1905.04899), with a box of its own for each. Of
    sounds (n, ..., longest), with NaN behind their ends, it is a stretch of time.
    """
    if pixels.is_floating_point():
        return _cut_in_time(pixels, targets, strength, rng)
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


def _cut_in_time(
    sounds: "Tensor", targets: "Tensor", strength: float, rng: np.random.Generator
) -> tuple["Tensor", "Tensor"]:
    partners, shares = _drawn(len(sounds), strength, rng)
    heard = (sounds == sounds).flatten(1, -2).all(1) if sounds.ndim > 2 else sounds == sounds
    lengths = heard.sum(1).tolist()
    mixed, kept = sounds.clone(), np.ones(len(sounds))
    for i, partner in enumerate(partners):
        most = min(lengths[i], lengths[partner])
        length = min(most, round((1 - shares[i]) * lengths[i]))
        start = int(rng.integers(most - length + 1))
        stretch = slice(start, start + length)
        mixed[i, ..., stretch] = sounds[partner, ..., stretch]
        kept[i] = 1 - length / lengths[i]
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
