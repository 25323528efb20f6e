"""Novelty: does an example look unlike those that the model learned from?

Half of the examples give a subspace of their main directions; an example's score is its squared
Mahalanobis distance within it plus its energy outside of it, each relative to what is usual. The
other half gives the threshold: 99 of 100 examples like them lie below. Energy outside the subspace
is what betrays other kinds of pictures (ViM, Wang et al. 2203.10807).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

DIRECTIONS = 64
MOST_ROWS = 1000  # of each half
FEWEST = 20  # examples: below, nothing is ever called unlike
USUAL = 0.99  # share of examples like the learned ones that stay below the threshold


@dataclass(frozen=True)
class Novelty:
    """A detector on normalised features.

    mean        (d,) float32
    basis       (d, k) float32, the main directions, orthonormal
    spread      (k,) float32, standard deviation along each
    residual    usual energy outside the subspace
    threshold   scores above are called unlike; infinite where too few examples were learned from
    """

    mean: npt.NDArray[np.float32]
    basis: npt.NDArray[np.float32]
    spread: npt.NDArray[np.float32]
    residual: float
    threshold: float

    @classmethod
    def fit(cls, rows: npt.NDArray[np.floating], seed: int = 0) -> "Novelty":
        """From the normalised rows (n, d) of the examples learned from."""
        order = np.random.default_rng([seed, 0x0DD]).permutation(len(rows))
        if len(rows) < FEWEST:
            empty = np.zeros((rows.shape[1], 0), np.float32)
            mean = rows.mean(0).astype(np.float32)
            return cls(mean, empty, np.zeros(0, np.float32), 1.0, np.inf)
        half = len(order) // 2
        first, second = rows[order[:half][:MOST_ROWS]], rows[order[half:][:MOST_ROWS]]
        mean = first.mean(0)
        basis, spread = (a.astype(np.float32) for a in _directions(first - mean))
        made = cls(mean.astype(np.float32), basis, spread, 1.0, np.inf)
        residual = float(np.median([made._parts(row)[1] for row in second])) or 1.0
        made = cls(made.mean, made.basis, made.spread, residual, np.inf)
        rank = min(len(second) - 1, int(np.ceil(USUAL * (len(second) + 1))) - 1)
        threshold = float(np.sort(made.score(second))[rank])
        return cls(made.mean, made.basis, made.spread, residual, threshold)

    def score(self, rows: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
        """(n,) how unusual each row (n, d) is; each is computed by itself."""
        return np.array([self._score(row) for row in rows], np.float64)

    def unlike(self, rows: npt.NDArray[np.floating]) -> npt.NDArray[np.bool_]:
        """(n,) whether each row (n, d) looks unlike the examples learned from."""
        if np.isinf(self.threshold):
            return np.zeros(len(rows), bool)
        return np.asarray(self.score(rows) > self.threshold)

    def _score(self, row: npt.NDArray[np.floating]) -> float:
        inside, outside = self._parts(row)
        return inside + outside / self.residual

    def _parts(self, row: npt.NDArray[np.floating]) -> tuple[float, float]:
        centred = row.astype(np.float32) - self.mean
        along = centred @ self.basis
        inside = float(np.mean((along / self.spread) ** 2)) if len(along) else 0.0
        return inside, max(float(centred @ centred - along @ along), 0.0)

    def tensors(self) -> dict[str, npt.NDArray[Any]]:
        """Arrays for the bundle; `from_tensors` reads them back bit for bit."""
        limits = np.array([self.residual, self.threshold])
        return {"mean": self.mean, "basis": self.basis, "spread": self.spread, "limits": limits}

    @classmethod
    def from_tensors(cls, tensors: dict[str, npt.NDArray[Any]]) -> "Novelty":
        residual, threshold = map(float, tensors["limits"])
        return cls(tensors["mean"], tensors["basis"], tensors["spread"], residual, threshold)


def _directions(
    centred: npt.NDArray[np.floating],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Orthonormal main directions (d, k) and the standard deviation along each (k,)."""
    values, vectors = np.linalg.eigh(centred @ centred.T)
    keep = np.argsort(-values)[: min(DIRECTIONS, len(centred) // 4)]
    keep = keep[values[keep] > max(values.max(), 0.0) * 1e-9]
    root = np.sqrt(values[keep])
    return centred.T @ (vectors[:, keep] / root), root / np.sqrt(len(centred))
