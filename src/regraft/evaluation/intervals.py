"""Bootstrap intervals: how far a metric would move on other examples of the same kind.

Percentile bootstrap (Efron 1979; Efron and Tibshirani 1993, chapter 13) over examples, or over
groups of examples (patients, scenes, recordings) when they are given: the examples of one group
are not independent, and an interval over examples would be too narrow (Field and Welsh 2007).

What it cannot tell: the spread over training runs, and mistakes that the examples do not show.
Where every answer is right the interval of the accuracy is the point 1, however few the examples.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from regraft.errors import UsageError
from regraft.evaluation.metrics import (
    PER_CLASS,
    ZERO_WITHOUT,
    class_count,
    name_mistakes,
    select,
)
from regraft.evaluation.weighted import Array, Examples, FloatArray, IntArray, Weighted

CHUNK = 2**19  # weights held at a time: 4 MiB, about what a second-level cache keeps
FEWEST = 16  # resamples in a chunk however many the examples: the sums need rows to work on
COUNTED = ("accuracy", "top5_accuracy")  # plain shares of the examples

Statistics = Callable[[Weighted], FloatArray]


@dataclass(frozen=True)
class Interval:
    """A value and the ends of its confidence interval; NaN where unknown."""

    value: float
    low: float
    high: float

    def to_dict(self) -> dict[str, float | None]:
        """Plain data for JSON: None where unknown."""
        return {name: None if math.isnan(end) else end for name, end in asdict(self).items()}


@dataclass(frozen=True, eq=False)
class Resampling:
    """Which resamples are drawn, and which share of them an interval spans.

    units  (n,) the number of the unit that each example belongs to; units are drawn whole
    """

    units: IntArray
    resamples: int
    confidence: float
    seed: int

    def weights(self) -> Iterator[FloatArray]:
        """Chunks (b, n): how often each example is drawn. The chunk size does not change them."""
        n, count = len(self.units), int(self.units.max()) + 1
        rng = np.random.default_rng(self.seed)
        chunk = max(FEWEST, CHUNK // n)
        for start in range(0, self.resamples, chunk):
            b = min(chunk, self.resamples - start)
            drawn = rng.integers(0, count, (b, count))
            cells = drawn * b + np.arange(b)[:, None]
            times = np.bincount(cells.ravel(), minlength=count * b).reshape(count, b)
            yield times[self.units].astype(np.float64).T

    def draws(self, examples: Examples, statistics: Statistics) -> FloatArray:
        """(resamples, m) the m statistics on every resample."""
        return np.concatenate([statistics(Weighted(examples, w)) for w in self.weights()])


def bootstrap(
    labels: npt.ArrayLike,
    probabilities: npt.ArrayLike,
    *,
    metrics: Sequence[str] | None = None,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int,
    groups: npt.ArrayLike | None = None,
    decided: npt.ArrayLike | None = None,
) -> dict[str, Interval]:
    """Metrics by name, each with its interval.

    labels         (n,) class numbers
    probabilities  (n, c), rows add up to one
    metrics        names from `METRICS`; None: all that apply to c classes
    resamples      how many: at least 2 / (1 - confidence), so that the tails hold one each
    confidence     share of the resamples that the interval spans, in (0, 1)
    seed           same seed, same resamples, whatever the metrics
    groups         (n,) what each example belongs to; whole groups are drawn
    decided        (n,) classes that were answered; None: the most probable ones

    Resamples on which a metric is not defined are left out. The interval always holds the value:
    where resampling shifts a metric (it raises the calibration error and lowers the worst-class
    recall) the near end is the value. A share of none or of all examples gets the exact binomial
    end. Both ends are NaN with one example or one group.
    Takes seconds per 10⁹ n c resamples, and 4 n c bytes and some tens of MiB beside the arguments.
    Raises `UsageError`.
    """
    mistakes = name_mistakes(metrics, class_count(probabilities))
    mistakes += _mistakes(np.size(labels), resamples, confidence, seed, groups)
    examples = Examples.of(labels, probabilities, *mistakes, decided=decided)
    rows = select(metrics, examples.classes)
    plan = Resampling(_units(groups, len(examples.labels)), resamples, confidence, seed)

    def statistics(s: Weighted) -> FloatArray:
        return np.stack([row.function(s) for row in rows], axis=1)

    points = statistics(Weighted.plain(examples))[0]
    found = _intervals(points, plan.draws(examples, statistics), plan)
    named = {row.name: interval for row, interval in zip(rows, found, strict=True)}
    units = int(plan.units.max()) + 1
    return named | {n: _exact(named[n], units, plan) for n in COUNTED if n in named}


def bootstrap_share(
    flags: npt.NDArray[np.bool_],
    *,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int,
    groups: npt.ArrayLike | None = None,
) -> Interval:
    """The share of examples for which something holds (n,), with its interval; see `bootstrap`.

    A share is the accuracy of the claim that it holds.
    """
    claims = np.stack([1.0 - flags, flags.astype(float)], 1)
    plan: dict[str, Any] = {"resamples": resamples, "confidence": confidence, "seed": seed}
    ones = np.ones(len(flags), int)
    return bootstrap(ones, claims, metrics=["accuracy"], groups=groups, **plan)["accuracy"]


def bootstrap_per_class(
    labels: npt.ArrayLike,
    probabilities: npt.ArrayLike,
    *,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int,
    groups: npt.ArrayLike | None = None,
    decided: npt.ArrayLike | None = None,
) -> list[dict[str, Interval]]:
    """A row per class: the metrics of PER_CLASS, each with its interval; see `bootstrap`.

    The values are those of `metrics.per_class`. Resamples without anything to divide by are left
    out, so a class that is absent has unknown (NaN) ends. A share of none or of all of what it
    divides by gets the exact binomial end, over the groups where there are some.
    """
    mistakes = _mistakes(np.size(labels), resamples, confidence, seed, groups)
    examples = Examples.of(labels, probabilities, *mistakes, decided=decided)
    plan = Resampling(_units(groups, len(examples.labels)), resamples, confidence, seed)
    names = list(PER_CLASS)

    def statistics(s: Weighted) -> FloatArray:  # (B, m c), classes in the outer order
        return np.stack([PER_CLASS[name](s) for name in names], axis=2).reshape(len(s.total), -1)

    points = statistics(Weighted.plain(examples))[0].reshape(-1, len(names))
    for column in map(names.index, ZERO_WITHOUT):
        points[:, column] = np.nan_to_num(points[:, column])
    found = iter(_intervals(points.ravel(), plan.draws(examples, statistics), plan))
    rows = [{name: next(found) for name in names} for _ in range(examples.classes)]
    return [row | _exact_shares(row, examples, k, plan) for k, row in enumerate(rows)]


# Per-class shares → which examples they are shares of: by whether each is the class (m,) and was
# predicted as it (p,).
SHARES_OF: Mapping[str, Callable[[Array, Array], Array]] = {
    "precision": lambda m, p: p,
    "recall": lambda m, p: m,
    "specificity": lambda m, p: ~m,
    "npv": lambda m, p: ~p,
}


def _exact_shares(
    row: dict[str, Interval], examples: Examples, k: int, plan: Resampling
) -> dict[str, Interval]:
    member, predicted = examples.labels == k, examples.predicted == k
    counted = {name: of(member, predicted) for name, of in SHARES_OF.items()}
    return {
        name: _exact(row[name], len(np.unique(plan.units[some])), plan)
        for name, some in counted.items()
        if some.any()
    }


def resampled(
    examples: Examples,
    statistics: Statistics,
    *,
    resamples: int,
    confidence: float,
    seed: int,
    groups: npt.ArrayLike | None,
) -> list[Interval]:
    """An interval for each of the m statistics (B, m) of examples; see `bootstrap`."""
    n = len(examples.labels)
    if mistakes := _mistakes(n, resamples, confidence, seed, groups):
        raise UsageError(*mistakes)
    plan = Resampling(_units(groups, n), resamples, confidence, seed)
    points = statistics(Weighted.plain(examples))[0]
    return _intervals(points, plan.draws(examples, statistics), plan)


def bootstrap_ratios(
    above: FloatArray,
    below: FloatArray,
    *,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int,
    groups: npt.ArrayLike | None = None,
) -> list[Interval]:
    """m ratios of sums over n examples, such as errors per word, each with its interval.

    above, below  (n, m)
    See `bootstrap` for the others. A ratio with nothing below is NaN. Raises UsageError.
    """
    if mistakes := _mistakes(len(above), resamples, confidence, seed, groups):
        raise UsageError(*mistakes)
    plan = Resampling(_units(groups, len(above)), resamples, confidence, seed)

    def ratios(weights: FloatArray) -> FloatArray:
        whole = weights @ below
        return np.divide(weights @ above, whole, out=np.full(whole.shape, np.nan), where=whole > 0)

    points = ratios(np.ones((1, len(above))))[0]
    return _intervals(points, np.concatenate([ratios(w) for w in plan.weights()]), plan)


def _intervals(points: FloatArray, draws: FloatArray, plan: Resampling) -> list[Interval]:
    """An interval per statistic, from their values (m,) and their values on resamples (B, m)."""
    low, high = _percentiles(draws, plan.confidence)
    if plan.units.max() == 0:  # one unit shows no spread, which would look like certainty
        low, high = np.full_like(low, np.nan), np.full_like(high, np.nan)
    ends = points, np.minimum(low, points), np.maximum(high, points)
    return [Interval(*map(float, row)) for row in zip(*ends, strict=True)]


def _exact(interval: Interval, n: int, plan: Resampling) -> Interval:
    """Clopper and Pearson's end for a share of none or of all n, where resamples cannot differ."""
    if n == 1 or interval.value not in (0.0, 1.0):
        return interval
    far = ((1 - plan.confidence) / 2) ** (1 / n)
    return Interval(1.0, far, 1.0) if interval.value else Interval(0.0, 0.0, 1 - far)


def _percentiles(draws: FloatArray, confidence: float) -> FloatArray:
    """(B, m) → (2, m) ends that leave the same share out on either side; NaN without any draw."""
    ends = np.full((2, draws.shape[1]), np.nan)
    drawn = ~np.isnan(draws).all(axis=0)
    tail = (1 - confidence) / 2
    ends[:, drawn] = np.nanquantile(draws[:, drawn], [tail, 1 - tail], axis=0)
    return ends


def _units(groups: npt.ArrayLike | None, n: int) -> IntArray:
    """(n,) unit numbers from 0: every example its own, or those of the groups as they appear."""
    if groups is None:
        return np.arange(n)
    numbers: dict[object, int] = {}
    return np.array([numbers.setdefault(g, len(numbers)) for g in np.asarray(groups).tolist()])


def _mistakes(
    n: int, resamples: int, confidence: float, seed: int, groups: npt.ArrayLike | None
) -> list[str]:
    """What is wrong with the options of a bootstrap, in words."""
    if not 0 < confidence < 1:
        mistakes = [f"confidence: expected a number between 0 and 1, got {confidence}"]
    else:
        fewest = math.ceil(round(2 / (1 - confidence), 6))
        few = resamples < fewest
        mistakes = [f"resamples: expected {fewest} or more, got {resamples}"] if few else []
    if seed < 0:
        mistakes.append(f"seed: expected a whole number from 0, got {seed}")
    return mistakes if groups is None else mistakes + _group_mistakes(np.asarray(groups), n)


def _group_mistakes(groups: Array, n: int) -> list[str]:
    if groups.shape != (n,):
        return [f"groups: expected one per example, ({n},), got {groups.shape}"]
    without = [row for row, group in enumerate(groups.tolist()) if group is None or group != group]
    return [f"groups: row {without[0]} has none"] if without else []
