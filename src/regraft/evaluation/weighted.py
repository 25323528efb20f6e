"""Labelled predictions under weights, and the sums that the metrics are made of.

`Examples` holds what does not depend on the weights and is computed at most once; `Weighted` holds
the sums for B weightings at a time, which is how a bootstrap costs a few matrix products.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from regraft.errors import UsageError

Array = npt.NDArray[Any]
FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

ROUNDING = 1e-9  # of a sum of weights: what floating-point numbers take from it
SUM_TOLERANCE = 1e-2  # half-precision probabilities of many classes add up to one only so far


class Ranking(NamedTuple):
    """The examples in ascending order of one class's probability, cut around its positives.

    positives    (p,)    the examples of the class
    order        (m,)    examples by ascending probability, up to the last cut
    starts       (s+1,)  bounds of the segments between neighbouring cuts, in `order`
    below, upto  (p,)    the segment that ends just before, and just after, the ties of a positive
    """

    positives: IntArray
    order: npt.NDArray[np.int32]
    starts: npt.NDArray[np.int32]
    below: IntArray
    upto: IntArray


@dataclass(frozen=True, eq=False)
class Examples:
    """Labelled predictions, and what the metrics need of them whatever the weights.

    labels         (n,) class numbers
    probabilities  (n, c), rows add up to one
    resolution     smallest probability the log loss believes in: the epsilon of the dtype given
    decided        (n,) class that was answered; None: the most probable one
    """

    labels: IntArray
    probabilities: FloatArray
    resolution: float = float(np.finfo(np.float64).eps)
    decided: IntArray | None = None

    @classmethod
    def of(
        cls,
        labels: npt.ArrayLike,
        probabilities: npt.ArrayLike,
        *others: str,
        decided: npt.ArrayLike | None = None,
    ) -> "Examples":
        """Checked examples.

        Raises `UsageError` telling what is wrong with the arrays, and the other mistakes of the
        call that the caller has found.
        """
        y, p = np.asarray(labels), np.asarray(probabilities)
        d = None if decided is None else np.asarray(decided)
        mistakes = score_mistakes(y, p, "probabilities") or _probability_mistakes(p)
        mistakes = mistakes or ([] if d is None else _decision_mistakes(d, p))
        if mistakes or others:
            raise UsageError(*mistakes, *others)
        given = p.dtype if p.dtype.kind == "f" else np.dtype(np.float64)
        resolution = float(np.finfo(given).eps)
        return cls(y.astype(np.int64), np.asarray(p, np.float64), resolution, d)

    @property
    def classes(self) -> int:
        """Number of classes c."""
        return self.probabilities.shape[1]

    @cached_property
    def predicted(self) -> IntArray:
        """(n,) the answer: the class with the highest probability, the first one among equals, or
        what was decided otherwise.
        """
        return self.probabilities.argmax(axis=1) if self.decided is None else self.decided

    @cached_property
    def correct(self) -> npt.NDArray[np.bool_]:
        """(n,) whether the prediction is the label."""
        return self.predicted == self.labels

    @cached_property
    def confidence(self) -> FloatArray:
        """(n,) probability of the predicted class."""
        return np.take_along_axis(self.probabilities, self.predicted[:, None], axis=1)[:, 0]

    @cached_property
    def of_label(self) -> FloatArray:
        """(n,) probability of the true class."""
        return np.take_along_axis(self.probabilities, self.labels[:, None], axis=1)[:, 0]

    @cached_property
    def squared_error(self) -> FloatArray:
        """(n,) squared distance of the probabilities from the one-hot label."""
        one_hot = np.arange(self.classes) == self.labels[:, None]
        return ((self.probabilities - one_hot) ** 2).sum(axis=1)

    @cached_property
    def place(self) -> IntArray:
        """(n,) how many classes come before the true one; ties go to the first, as in argmax."""
        p, target = self.probabilities, self.of_label[:, None]
        earlier = np.arange(self.classes) < self.labels[:, None]
        return ((p > target) | ((p == target) & earlier)).sum(axis=1)

    @cached_property
    def rankings(self) -> list[Ranking]:
        """One per class, sorted once for all resamples: 4 n c bytes."""
        return [_ranking(self.probabilities[:, k], self.labels == k) for k in range(self.classes)]


@dataclass(frozen=True, eq=False)
class Weighted:
    """Examples under B weightings, and the sums that several metrics share.

    weights  (B, n), not negative; a transposed view of a contiguous (n, B) array, the order in
             which every sum reads, is taken without a copy
    """

    examples: Examples
    weights: FloatArray

    @classmethod
    def plain(cls, examples: Examples) -> "Weighted":
        """The examples as they are: one weighting, of ones."""
        return cls(examples, np.ones((1, len(examples.labels))))

    @cached_property
    def columns(self) -> FloatArray:
        """(n, B) the weights, one contiguous row per example."""
        return np.ascontiguousarray(self.weights.T)

    @cached_property
    def total(self) -> FloatArray:
        """(B,) sum of the weights."""
        return self.columns.sum(axis=0)

    @cached_property
    def support(self) -> FloatArray:
        """(B, c) weight of each true class."""
        return self.sum_by(self.examples.labels, self.examples.classes)

    @cached_property
    def predicted(self) -> FloatArray:
        """(B, c) weight of each predicted class."""
        return self.sum_by(self.examples.predicted, self.examples.classes)

    @cached_property
    def hits(self) -> FloatArray:
        """(B, c) weight of the correct predictions of each class."""
        return self.sum_by(self.examples.labels, self.examples.classes, self.examples.correct)

    @cached_property
    def areas(self) -> FloatArray:
        """(B, c) one-vs-rest area under the ROC curve, NaN without positives or negatives."""
        return np.stack([self._area(ranking) for ranking in self.examples.rankings], axis=1)

    @cached_property
    def average_precisions(self) -> FloatArray:
        """(B, c) one-vs-rest mean of the precisions at each positive, NaN without positives."""
        return np.stack([self._precisions(ranking) for ranking in self.examples.rankings], axis=1)

    def mean(self, values: Array) -> FloatArray:
        """(n,) → (B,) weighted means."""
        return values.astype(np.float64) @ self.columns / self.total

    def sum_by(self, groups: Array, count: int, values: Array | None = None) -> FloatArray:
        """Weighted sum of `values` (n,), or of ones, in each of `count` groups → (B, count)."""
        groups = groups.astype(np.min_scalar_type(count))  # short integers are sorted by radix
        order = np.argsort(groups, kind="stable")
        starts = np.searchsorted(groups[order], np.arange(count + 1))
        return self._segment_sums(order, starts, None if values is None else values[order]).T

    def _area(self, r: Ranking) -> FloatArray:
        """(B,) the Mann-Whitney statistic from mid-ranks (Hanley and McNeil 1982), ties exact.

        A positive's mid-rank is the weight below its score and half of that at its score. That
        counts the positives too: over all pairs of them, half of the square of their weight.
        """
        own = self.columns[r.positives]
        positive = own.sum(axis=0)
        so_far = self._segment_sums(r.order, r.starts).cumsum(axis=0)
        midrank = (so_far[r.below] + so_far[r.upto]) / 2
        won = np.einsum("pb,pb->b", own, midrank) - positive**2 / 2
        return ratio(won, positive * (self.total - positive))

    def _precisions(self, r: Ranking) -> FloatArray:
        """(B,) the sum of precision times the step in recall, over thresholds at the positives."""
        own = self.columns[r.positives]
        positive = own.sum(axis=0)
        member = np.isin(r.order, r.positives)
        below = self._segment_sums(r.order, r.starts).cumsum(axis=0)[r.below]
        missed = self._segment_sums(r.order, r.starts, member).cumsum(axis=0)[r.below]
        precisions = ratio(positive - missed, self.total - below, otherwise=0.0)
        return ratio(np.einsum("pb,pb->b", own, precisions), positive)

    def _segment_sums(self, order: Array, starts: Array, values: Array | None = None) -> FloatArray:
        """Sums of the rows columns[order], times `values`, between neighbouring starts → (s, B).

        A sparse product: five times as fast as np.add.reduceat on the gathered rows, without the
        copy of them, and a segment may be empty.
        """
        from scipy.sparse import csr_array

        factors = np.ones(len(order)) if values is None else values.astype(np.float64)
        rows = csr_array((factors, order, starts), shape=(len(starts) - 1, len(self.columns)))
        return rows @ self.columns


def ratio(above: FloatArray, below: FloatArray, otherwise: float = np.nan) -> FloatArray:
    """above / below, and `otherwise` where below is 0."""
    return np.divide(above, below, out=np.full(below.shape, otherwise), where=below != 0)


def label_mistakes(labels: Array, classes: int, name: str = "labels") -> list[str]:
    """What is wrong with class numbers (n,), in words."""
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        return [f"{name}: expected (n,) integers, got {labels.shape} of {labels.dtype}"]
    wrong = np.flatnonzero((labels < 0) | (labels >= classes))
    if not len(wrong):
        return []
    return [f"{name}: expected 0 to {classes - 1}, got {labels[wrong[0]]} in row {wrong[0]}"]


def _decision_mistakes(decided: Array, probabilities: Array) -> list[str]:
    """What is wrong with the classes that were answered, in words."""
    if decided.shape != probabilities.shape[:1]:
        return [f"decided: expected one per row, ({len(probabilities)},), got {decided.shape}"]
    return label_mistakes(decided, probabilities.shape[1], "decided")


def score_mistakes(labels: Array | None, scores: Array, name: str = "scores") -> list[str]:
    """What is wrong with scores (n, c), and with the labels (n,) that go with them, in words."""
    if (
        scores.ndim != 2
        or scores.dtype.kind not in "fiub"
        or 0 in scores.shape
        or scores.shape[1] < 2
    ):
        return [
            f"{name}: expected (n, c) numbers with at least one row and two classes, "
            f"got {scores.shape} of {scores.dtype}"
        ]
    mistakes = []
    wrong = np.flatnonzero(~np.isfinite(scores).all(axis=1))
    if len(wrong):
        mistakes.append(f"{name}: expected finite numbers, got NaN or infinity in row {wrong[0]}")
    if labels is None:
        return mistakes
    if labels.ndim == 1 and len(labels) != len(scores):
        mistakes.append(f"{name}: expected a row per label ({len(labels)}), got {len(scores)}")
    return mistakes + label_mistakes(labels, scores.shape[1])


def _probability_mistakes(probabilities: Array) -> list[str]:
    p = np.asarray(probabilities, np.float64)
    wrong = np.flatnonzero((p < 0).any(axis=1) | (np.abs(p.sum(axis=1) - 1) > SUM_TOLERANCE))
    if not len(wrong):
        return []
    row, number = p[wrong[0]], wrong[0]
    return [
        "probabilities: expected rows of numbers from 0 to 1 that add up to 1; "
        f"row {number} goes from {row.min():g} to {row.max():g} and adds up to {row.sum():g}; "
        "turn scores into probabilities with regraft.evaluation.calibration.softmax"
    ]


def _ranking(scores: FloatArray, member: npt.NDArray[np.bool_]) -> Ranking:
    positives = np.flatnonzero(member)
    order = np.argsort(scores, kind="stable").astype(np.int32)
    ranked, own = scores[order], scores[positives]
    bounds = [np.searchsorted(ranked, own, "left"), np.searchsorted(ranked, own, "right")]
    cuts, segment = np.unique(np.concatenate(bounds), return_inverse=True)
    starts = np.concatenate([[0], cuts]).astype(np.int32)
    below, upto = segment[: len(own)], segment[len(own) :]
    return Ranking(positives, order[: starts[-1]], starts, below, upto)
