"""Novelty: does an example look unlike those that the model learned from?

Half of the examples give a subspace of their main directions. An example's energy is its squared
Mahalanobis distance inside of it plus its squared distance from it, which is what betrays other
kinds of pictures (ViM, Wang et al. 2203.10807), in units of what is usual. The logarithm of the
energy, standardised with the other half, is the score; the other half gives the threshold too:
examples like them lie above it in about 1 of 100 cases.

This is a statistical hint, not a safeguard: an example can be novel in ways that the network's
features do not show.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from regraft.transfer.scaling import Array

Matrix = npt.NDArray[np.float64]

DIRECTIONS = 64
MOST_ROWS = 1000  # of each half
FEWEST = 20  # examples: below, nothing is ever called unlike
USUAL = 0.99  # share of examples like the learned ones that stay below the threshold
FLOOR = 1e-6  # of the usual energy: less is rounding


@dataclass(frozen=True)
class Novelty:
    """A detector on normalised features; below 1 MB for 3,088 columns.

    mean          (d,) float32
    basis         (d, k) float32, the main directions, orthonormal
    variance      (k,) float32, along each
    outside       mean squared distance from the subspace
    centre        mean of log(energy)
    scale         and its standard deviation
    threshold     scores above are called unlike; infinite where too few examples were learned from
    false_alarms  expected share of examples like the learned ones that are called unlike; with
                  fewer than 198 examples to learn from up to three times as many were seen
    """

    mean: npt.NDArray[np.float32]
    basis: npt.NDArray[np.float32]
    variance: npt.NDArray[np.float32]
    outside: float
    centre: float = 0.0
    scale: float = 1.0
    threshold: float = np.inf
    false_alarms: float = 0.0

    @classmethod
    def fit(cls, rows: Array, seed: int = 0) -> "Novelty":
        """From the normalised rows (n, d) of the examples learned from: `head.scaling(features)`.

        seed  of the halves. Of many rows 1,000 are drawn for each.
        """
        order = np.random.default_rng([seed, 0x0DD]).permutation(len(rows))
        half = len(order) // 2
        first, second = rows[order[:half][:MOST_ROWS]], rows[order[half:][:MOST_ROWS]]
        if len(rows) < FEWEST:
            return cls._never(rows.shape[1])
        mean = first.mean(0)
        whole = np.sum((second - mean) ** 2, 1)
        if whole.mean() <= FLOOR**2 * (mean @ mean):  # they do not differ: what is unusual then?
            return cls._never(rows.shape[1])
        basis, variance = (part.astype(np.float32) for part in _directions(first - mean))
        outside = whole - np.sum(((second - mean) @ basis) ** 2, 1)
        usual = max(float(outside.mean()), FLOOR * float(whole.mean()))
        draft = cls(mean.astype(np.float32), basis, variance, usual)
        logs = np.log(draft._energy(second))
        centre, scale = float(logs.mean()), max(float(logs.std(ddof=1)), FLOOR)
        threshold, false_alarms = _threshold((logs - centre) / scale)
        return replace(
            draft, centre=centre, scale=scale, threshold=threshold, false_alarms=false_alarms
        )

    @classmethod
    def _never(cls, width: int) -> "Novelty":
        """The detector that calls nothing unlike."""
        none = np.zeros((width, 0), np.float32)
        return cls(np.zeros(width, np.float32), none, np.zeros(0, np.float32), 1.0)

    def score(self, rows: Array) -> Matrix:
        """(n,) how unusual each normalised row (n, d) is, whatever rows come with it.

        Standard deviations from the usual.
        """
        return np.asarray((np.log(self._energy(rows)) - self.centre) / self.scale)

    def unlike(self, rows: Array) -> npt.NDArray[np.bool_]:
        """(n,) whether each normalised row (n, d) looks unlike the examples learned from."""
        return np.asarray(self.score(rows) > self.threshold)

    def _energy(self, rows: Array) -> Matrix:
        """(n,) above 0. A product for each row: one of many may differ in the last bit."""
        centred = np.subtract(rows, self.mean, dtype=np.float64, order="C")[:, None]
        along = np.matmul(centred, self.basis.astype(np.float64))[:, 0] ** 2
        whole = np.matmul(centred, centred.transpose(0, 2, 1))[:, 0, 0]
        outside = np.maximum(whole - np.sum(along, 1), 0.0)
        unit = self.outside / DIRECTIONS  # as if it were that of as many directions more
        return np.asarray(np.sum(along / (self.variance + unit), 1) + outside / unit + FLOOR)

    def tensors(self) -> dict[str, npt.NDArray[Any]]:
        """Arrays for the bundle; `from_tensors` reads them back bit for bit."""
        limits = (self.outside, self.centre, self.scale, self.threshold, self.false_alarms)
        matrices = {"mean": self.mean, "basis": self.basis, "variance": self.variance}
        return {**matrices, "limits": np.array(limits)}

    @classmethod
    def from_tensors(cls, tensors: dict[str, npt.NDArray[Any]]) -> "Novelty":
        """The detector whose `tensors` these are."""
        limits = map(float, tensors["limits"])
        return cls(tensors["mean"], tensors["basis"], tensors["variance"], *limits)


def _directions(centred: Matrix) -> tuple[Matrix, Matrix]:
    """Orthonormal main directions (d, k) and the variance along each (k,)."""
    from scipy.linalg import eigh

    rows = len(centred)
    most = min(DIRECTIONS, rows // 4)  # more would describe these rows and not their kind
    values, vectors = eigh(centred @ centred.T, subset_by_index=[rows - most, rows - 1])
    keep = values > max(values[-1], 0.0) * 1e-9
    return centred.T @ (vectors[:, keep] / np.sqrt(values[keep])), values[keep] / rows


def _threshold(scores: Matrix) -> tuple[float, float]:
    """From the scores (m,) of examples that made no subspace: threshold, expected false alarms.

    The smallest score that bounds USUAL of new ones in the mean over samples (split conformal, Vovk
    2005). That needs 99 examples; of fewer the bound is that of a new value from a normal sample.
    """
    count = len(scores)
    rank = int(np.ceil(USUAL * (count + 1)))
    if rank <= count:
        return float(np.sort(scores)[rank - 1]), 1 - rank / (count + 1)
    from scipy.special import stdtrit

    bound = stdtrit(count - 1, USUAL) * np.sqrt(1 + 1 / count)
    return float(max(bound, scores.max())), 1 - USUAL
