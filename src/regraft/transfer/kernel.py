"""A Gaussian kernel to some of the examples learned from, beside the linear head.

A linear head on few columns cannot use all that many examples say. So the last block of each
network is compared with up to MOST of the examples (landmarks), by exp((cos - 1) / SPREAD) of its
normalised features, and these similarities, whitened, are one more block for the closed-form head:
the Nyström method (Williams and Seeger 2001, "Using the Nyström method to speed up kernel
machines"). Leave-one-out, λ and block weights stay as they are, and exact for these features.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Matrix = npt.NDArray[np.float64]
Tensors = dict[str, npt.NDArray[Any]]

MOST = 1024  # landmarks of a network
SPREAD = 1.0
JITTER = 1e-5  # on the diagonal of the landmarks' kernel, which is 1: equal ones may be among them
SLICE = 2048  # rows whose similarities are computed at once


@dataclass(frozen=True)
class Landmarks:
    """Examples that others are compared with.

    first          column of the raw features at which the block begins
    shift, factor  (e,) raw → normalised columns; then each row is brought to unit length
    points         (e, m) the landmarks so, side by side

    Numbers are those of single precision, so that they are kept in half the space, and all that is
    computed from them is in double precision: it gives the same on every run.
    """

    first: int
    shift: Matrix
    factor: Matrix
    points: Matrix

    @classmethod
    def of(cls, features: Array, first: int, width: int, seed: int) -> "Landmarks":
        """Some rows of raw features (n, d), by a seed; a block of `width` columns from `first`."""
        block = features[:, first : first + width].astype(np.float64)
        variance = block.var(0)
        spread = np.sqrt(variance + variance.mean())
        factor = _rounded(np.divide(1, spread, out=np.zeros_like(spread), where=spread > 0))
        some = np.sort(np.random.default_rng(seed).permutation(len(block))[:MOST])
        plain = cls(first, _rounded(block.mean(0)), factor, np.zeros((width, 0)))
        points = np.ascontiguousarray(_rounded(plain._units(features[some])).T)
        return cls(first, plain.shift, factor, points)

    def halved(self) -> "Landmarks":
        """The landmarks in half precision: half the space, and cosines that differ by 1e-4."""
        return replace(self, points=self.points.astype(np.float16).astype(np.float64))

    def similarities(self, features: Array) -> Matrix:
        """(n, d) raw → (n, m), many rows at once: for fitting."""
        parts = [features[i : i + SLICE] for i in range(0, len(features), SLICE)]
        return np.concatenate([_gaussian(self._units(part) @ self.points) for part in parts])

    def each(self, features: Array) -> Matrix:
        """The same, each row by itself: its last bits do not depend on what is beside it."""
        return _gaussian(np.matmul(self._units(features)[:, None], self.points)[:, 0])

    def _units(self, features: Array) -> Matrix:
        block = features[:, self.first : self.first + len(self.shift)].astype(np.float64)
        rows = (block - self.shift) * self.factor
        length = np.sqrt(np.matmul(rows[:, None], rows[:, :, None])[:, 0])
        return np.asarray(rows / np.maximum(length, 1e-12))

    def whitening(self) -> Matrix:
        """(m, m) W with W Wᵀ = K⁻¹, so that similarities times W have the kernel's own products."""
        from scipy.linalg import cholesky, solve_triangular

        kernel = _gaussian(self.points.T @ self.points)
        kernel[np.diag_indices_from(kernel)] += JITTER
        unit = np.eye(len(kernel))
        return np.asarray(solve_triangular(cholesky(kernel, lower=True), unit, lower=True).T)


def _rounded(values: Array) -> Matrix:
    return values.astype(np.float32).astype(np.float64)


def _smallest(values: Matrix) -> Array:
    """In half precision where that says the same, else in single."""
    half = values.astype(np.float16)
    return half if (half == values).all() else values.astype(np.float32)


def _gaussian(cosines: Matrix) -> Matrix:
    return np.exp((cosines - 1) / SPREAD)


@dataclass(frozen=True)
class KernelPart:
    """What similarities to landmarks add to the scores of a head.

    coefficients  (m, c)
    """

    landmarks: Landmarks
    coefficients: Matrix

    def scores(self, features: Array) -> Matrix:
        """(n, d) raw → (n, c), each row by itself."""
        similar = self.landmarks.each(features)
        return np.matmul(similar[:, None], self.coefficients)[:, 0]

    def times(self, factor: float | Matrix, later: int = 0) -> "KernelPart":
        """The part with its scores multiplied, and its block `later` columns further on.

        factor  of all scores, or (c,) of each
        """
        at = self.landmarks
        moved = Landmarks(at.first + later, at.shift, at.factor, at.points)
        return KernelPart(moved, factor * self.coefficients)

    def tensors(self) -> Tensors:
        """Arrays for the bundle."""
        at = self.landmarks
        return {
            "first": np.array([at.first], np.int64),
            "shift": at.shift.astype(np.float32),
            "factor": at.factor.astype(np.float32),
            "points": _smallest(at.points),
            "coefficients": self.coefficients,
        }

    @classmethod
    def from_tensors(cls, tensors: Tensors) -> "KernelPart":
        """The part whose `tensors` these are."""
        first = int(tensors["first"][0])
        at = Landmarks(
            first, *(tensors[name].astype(np.float64) for name in ("shift", "factor", "points"))
        )
        return cls(at, tensors["coefficients"])


def last_blocks(widths: Sequence[int], lasts: Sequence[int]) -> Iterator[tuple[int, int]]:
    """First column and width of blocks by their numbers."""
    ends = np.cumsum(widths)
    for block in lasts:
        yield int(ends[block]) - widths[block], widths[block]
