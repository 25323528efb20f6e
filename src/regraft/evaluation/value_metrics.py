"""Metrics of numbers: pure functions in weighted form, of each column and as means over them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from regraft.errors import UsageError
from regraft.evaluation.vectors import Figure, Measured, mean_of, measured
from regraft.evaluation.weighted import FloatArray, ratio


@dataclass(frozen=True, eq=False)
class ValueExamples:
    """labels (n, k) numbers that are right, answers (n, k) that were given."""

    labels: FloatArray
    answers: FloatArray

    @classmethod
    def of(cls, truth: npt.ArrayLike, answers: npt.ArrayLike) -> "ValueExamples":
        """Checked examples. Raises UsageError."""
        y, a = np.asarray(truth, np.float64), np.asarray(answers, np.float64)
        if y.ndim != 2 or not y.size or a.shape != y.shape or not np.isfinite([y, a]).all():
            raise UsageError(
                f"truth, answers: expected (n, k) finite numbers, got {y.shape} and {a.shape}"
            )
        return cls(y, a)


@dataclass(frozen=True, eq=False)
class ValueSums:
    """Sums under B weightings (B, n) of examples."""

    examples: ValueExamples
    weights: FloatArray

    def mean(self, values: FloatArray) -> FloatArray:
        """(n, k) → (B, k)"""
        return np.asarray(self.weights @ values / self.weights.sum(1)[:, None])

    @cached_property
    def absolute(self) -> FloatArray:
        """(B, k) mean absolute errors."""
        return self.mean(np.abs(self.examples.answers - self.examples.labels))

    @cached_property
    def squared(self) -> FloatArray:
        """(B, k) mean squared errors."""
        return self.mean(np.square(self.examples.answers - self.examples.labels))

    @cached_property
    def explained(self) -> FloatArray:
        """(B, k) coefficients of determination; NaN where the truth does not vary."""
        centred = self.examples.labels - self.examples.labels.mean(0)
        variance = self.mean(np.square(centred)) - self.mean(centred) ** 2
        floor = 1e-12 * np.square(centred).mean(0)
        return 1 - ratio(self.squared, np.where(variance > floor, variance, 0))

    @cached_property
    def ranked(self) -> FloatArray:
        """(B, k) Spearman's correlations; NaN where a side does not vary."""
        pairs = zip(self.examples.labels.T, self.examples.answers.T, strict=True)
        return np.stack([self._spearman(y, a) for y, a in pairs], 1)

    def _spearman(self, y: FloatArray, a: FloatArray) -> FloatArray:
        one, other = self._ranks(y), self._ranks(a)
        return ratio(self._covariance(one, other), np.sqrt(self._variance(one, other)))

    def _ranks(self, values: FloatArray) -> FloatArray:
        """(B, n) mean ranks of each example among all copies of all, ties sharing theirs."""
        place = np.unique(values, return_inverse=True)[1]
        groups = np.zeros((int(place.max()) + 1, len(self.weights)))
        np.add.at(groups, place, self.weights.T)
        return np.asarray((groups.cumsum(0) - (groups - 1) / 2)[place].T)

    def _covariance(self, one: FloatArray, other: FloatArray) -> FloatArray:
        w, total = self.weights, self.weights.sum(1)
        means = [(w * r).sum(1) / total for r in (one, other)]
        return np.asarray((w * (one - means[0][:, None]) * (other - means[1][:, None])).sum(1))

    def _variance(self, one: FloatArray, other: FloatArray) -> FloatArray:
        return self._covariance(one, one) * self._covariance(other, other)


# fmt: off
_ROWS: tuple[Figure[ValueSums], ...] = (
    Figure("r2", "R²", lambda s: mean_of(s.explained), True,
           "share of the variance that is explained; 0: no better than the mean, below 0: worse"),
    Figure("mae", "Mean absolute error", lambda s: s.absolute.mean(1), False,
           "mean distance from the right number, in its unit; of several numbers the mean"),
    Figure("rmse", "Root mean squared error", lambda s: np.sqrt(s.squared).mean(1), False,
           "root of the mean squared distance; large errors count more"),
    Figure("spearman", "Spearman’s correlation", lambda s: mean_of(s.ranked), True,
           "correlation of the ranks: 1 where the order is right"),
)
# fmt: on
METRICS: Mapping[str, Figure[ValueSums]] = MappingProxyType({row.name: row for row in _ROWS})
PER_VALUE: Mapping[str, Callable[[ValueSums], FloatArray]] = MappingProxyType(
    {
        "r2": lambda s: s.explained,
        "mae": lambda s: s.absolute,
        "rmse": lambda s: np.sqrt(s.squared),
        "spearman": lambda s: s.ranked,
    }
)


def measure(truth: npt.ArrayLike, answers: npt.ArrayLike) -> dict[str, float]:
    """Metrics by name of numbers (n, k). NaN where one is not defined. Raises UsageError."""
    examples = ValueExamples.of(truth, answers)
    s = ValueSums(examples, np.ones((1, len(examples.labels))))
    return {name: float(row.function(s)[0]) for name, row in METRICS.items()}


def bootstrap(truth: npt.ArrayLike, answers: npt.ArrayLike, **settings: Any) -> Measured:
    """Metrics and a row for each number with intervals; settings as in `intervals.bootstrap`."""
    examples = ValueExamples.of(truth, answers)
    return measured(examples, ValueSums, METRICS, PER_VALUE, **settings)
