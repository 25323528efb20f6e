"""Metrics of tags, of which an example has any number: pure functions in weighted form.

Conventions are scikit-learn's. Averages over tags (macro) run over those for which a figure says
anything: precision, recall and F1 over the tags that occur in the truth or in the answers, with
``zero_division=0``; average precision over those that occur in the truth; AUROC over those that
occur and are lacking. F1 by example counts 1 where none of the tags is there and none was answered
(``zero_division=1``): to say nothing is the right answer then.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from regraft.errors import UsageError
from regraft.evaluation.platt import binary_losses
from regraft.evaluation.vectors import Figure, Measured, mean_of, measured
from regraft.evaluation.weighted import Examples, FloatArray, Weighted, ratio

Flags = npt.NDArray[np.bool_]
AT_ONCE = 2**22  # weights of cells that are held at a time


@dataclass(frozen=True, eq=False)
class TagExamples:
    """Examples with tags and what was answered.

    labels         (n, k) bool: what is there
    probabilities  (n, k), each by itself from 0 to 1
    decided        (n, k) bool: what was answered
    """

    labels: Flags
    probabilities: FloatArray
    decided: Flags

    @classmethod
    def of(
        cls, truth: npt.ArrayLike, probabilities: npt.ArrayLike, decided: npt.ArrayLike
    ) -> "TagExamples":
        """Checked examples. Raises UsageError."""
        y, p, d = np.asarray(truth), np.asarray(probabilities, np.float64), np.asarray(decided)
        mistakes = []
        if y.ndim != 2 or not y.size:
            mistakes.append(f"truth: expected (n, k) of 0 and 1, got {y.shape}")
        elif not np.isin(y, (0, 1)).all():
            mistakes.append("truth: expected 0 and 1 only")
        if p.shape != y.shape or not ((p >= 0) & (p <= 1)).all():
            mistakes.append(f"probabilities: expected {y.shape} numbers from 0 to 1, got {p.shape}")
        if d.shape != y.shape:
            mistakes.append(f"decided: expected {y.shape}, got {d.shape}")
        if mistakes:
            raise UsageError(*mistakes)
        return cls(y > 0, p, d > 0)

    @cached_property
    def each(self) -> list[Examples]:
        """Of each tag, as two classes: there or not."""
        return [_two(self.labels[:, k], self.probabilities[:, k]) for k in range(self.tags)]

    @cached_property
    def cells(self) -> Examples:
        """All tags of all examples, one after the other."""
        return _two(self.labels.ravel(), self.probabilities.ravel())

    @property
    def tags(self) -> int:
        return int(self.labels.shape[1])

    @cached_property
    def f1(self) -> FloatArray:
        """(n,) of each example."""
        both = 2.0 * (self.labels & self.decided).sum(1)
        return ratio(both, 1.0 * self.labels.sum(1) + self.decided.sum(1), otherwise=1.0)

    @cached_property
    def wrong(self) -> FloatArray:
        """(n,) share of the tags that are answered wrongly."""
        return np.asarray((self.labels != self.decided).mean(1))

    @cached_property
    def losses(self) -> FloatArray:
        """(n,) mean cross-entropy of the tags."""
        p = np.clip(self.probabilities, 1e-15, 1 - 1e-15)
        return np.asarray(binary_losses(np.log(p) - np.log1p(-p), self.labels).mean(1))


def _two(there: Flags, probabilities: FloatArray) -> Examples:
    return Examples(there.astype(np.int64), np.stack([1 - probabilities, probabilities], 1))


@dataclass(frozen=True, eq=False)
class TagSums:
    """Sums under B weightings (B, n) of examples."""

    examples: TagExamples
    weights: FloatArray

    @cached_property
    def total(self) -> FloatArray:
        """(B,)"""
        return np.asarray(self.weights.sum(1))

    @cached_property
    def hits(self) -> FloatArray:
        """(B, k) weight of the tags that are there and were answered."""
        return self._of(self.examples.labels & self.examples.decided)

    @cached_property
    def there(self) -> FloatArray:
        """(B, k)"""
        return self._of(self.examples.labels)

    @cached_property
    def answered(self) -> FloatArray:
        """(B, k)"""
        return self._of(self.examples.decided)

    def _of(self, flags: Flags) -> FloatArray:
        return np.asarray(self.weights @ flags.astype(np.float64))

    def mean(self, values: FloatArray) -> FloatArray:
        """(n,) → (B,)"""
        return np.asarray(self.weights @ values / self.total)

    @cached_property
    def precisions(self) -> FloatArray:
        """(B, k) average precision of each tag; NaN where it is never there."""
        return np.stack([Weighted(e, self.weights).average_precisions[:, 1] for e in self._each], 1)

    @cached_property
    def areas(self) -> FloatArray:
        """(B, k) area under the ROC curve; NaN where a tag is always or never there."""
        return np.stack([Weighted(e, self.weights).areas[:, 1] for e in self._each], 1)

    @property
    def _each(self) -> list[Examples]:
        return self.examples.each

    @cached_property
    def precision_of_cells(self) -> FloatArray:
        """(B,) average precision over all tags of all examples in one ranking."""
        k, cells = self.examples.tags, self.examples.cells
        step = max(1, AT_ONCE // len(cells.labels))
        parts = [self.weights[i : i + step] for i in range(0, len(self.weights), step)]
        found = [Weighted(cells, np.repeat(w, k, 1)).average_precisions[:, 1] for w in parts]
        return np.concatenate(found)


Of = Callable[[TagSums], FloatArray]


def precision(s: TagSums) -> FloatArray:
    """(B, k) of what was answered, the share that is there."""
    return ratio(s.hits, s.answered)


def recall(s: TagSums) -> FloatArray:
    """(B, k) of what is there, the share that was answered."""
    return ratio(s.hits, s.there)


def f1(s: TagSums) -> FloatArray:
    """(B, k) harmonic mean of both."""
    return ratio(2 * s.hits, s.there + s.answered)


def _macro(of: Of) -> Of:
    """Mean over the tags that occur; one that cannot be divided counts 0."""

    def mean(s: TagSums) -> FloatArray:
        occurs = s.there + s.answered > 0
        return mean_of(np.where(occurs, np.nan_to_num(of(s)), np.nan))

    return mean


def _micro(above: Of, below: Of) -> Of:
    return lambda s: ratio(above(s).sum(1), below(s).sum(1), otherwise=0.0)


# fmt: off
_ROWS: tuple[Figure[TagSums], ...] = (
    Figure("map_macro", "Mean average precision", lambda s: mean_of(s.precisions), True,
           "area under precision over recall, mean over the tags; asks for no threshold"),
    Figure("map_micro", "Average precision (micro)", lambda s: s.precision_of_cells, True,
           "the same over all tags of all examples in one ranking"),
    Figure("auroc_macro", "AUROC (macro)", lambda s: mean_of(s.areas), True,
           "chance that an example with a tag is ranked above one without, mean over the tags"),
    Figure("f1_micro", "F1 (micro)", _micro(lambda s: 2 * s.hits, lambda s: s.there + s.answered),
           True, "harmonic mean of precision and recall over all tags of all examples"),
    Figure("f1_macro", "F1 (macro)", _macro(f1), True,
           "mean F1 of the tags that occur, each counting the same"),
    Figure("f1_samples", "F1 (by example)", lambda s: s.mean(s.examples.f1), True,
           "mean F1 of the examples; 1 where none is there and none was answered"),
    Figure("precision_micro", "Precision (micro)", _micro(lambda s: s.hits, lambda s: s.answered),
           True, "of all tags that were answered, the share that is there"),
    Figure("recall_micro", "Recall (micro)", _micro(lambda s: s.hits, lambda s: s.there), True,
           "of all tags that are there, the share that was answered"),
    Figure("precision_macro", "Precision (macro)", _macro(precision), True,
           "mean precision of the tags that occur, each counting the same"),
    Figure("recall_macro", "Recall (macro)", _macro(recall), True,
           "mean recall of the tags that occur, each counting the same"),
    Figure("subset_accuracy", "All tags right", lambda s: s.mean(1.0 * (s.examples.wrong == 0)),
           True, "share of the examples whose tags are all answered rightly, and no other"),
    Figure("hamming_loss", "Hamming loss", lambda s: s.mean(s.examples.wrong), False,
           "share of all tags of all examples that are answered wrongly"),
    Figure("log_loss", "Log loss", lambda s: s.mean(s.examples.losses), False,
           "mean binary cross-entropy of all tags of all examples, in nats"),
)
# fmt: on
METRICS: Mapping[str, Figure[TagSums]] = MappingProxyType({row.name: row for row in _ROWS})
PER_TAG: Mapping[str, Of] = MappingProxyType(
    {
        "average_precision": lambda s: s.precisions,
        "auroc": lambda s: s.areas,
        "precision": precision,
        "recall": recall,
        "f1": f1,
    }
)


def measure(
    truth: npt.ArrayLike, probabilities: npt.ArrayLike, decided: npt.ArrayLike
) -> dict[str, float]:
    """Metrics by name of tags (n, k): what is there, probabilities, what was answered.

    NaN where a metric is not defined. Raises UsageError.
    """
    examples = TagExamples.of(truth, probabilities, decided)
    s = TagSums(examples, np.ones((1, len(examples.labels))))
    return {name: float(row.function(s)[0]) for name, row in METRICS.items()}


def bootstrap(
    truth: npt.ArrayLike, probabilities: npt.ArrayLike, decided: npt.ArrayLike, **settings: Any
) -> Measured:
    """Metrics and a row for each tag with intervals; settings as in `intervals.bootstrap`."""
    examples = TagExamples.of(truth, probabilities, decided)
    return measured(examples, TagSums, METRICS, PER_TAG, **settings)


def mean_average_precision(scores: npt.NDArray[np.floating], truth: npt.NDArray[Any]) -> float:
    """Of scores (n, k) on any scale; 0 where no tag is there."""
    there = np.asarray(truth) > 0
    examples = [
        _two(there[:, k], np.asarray(scores[:, k], np.float64)) for k in range(there.shape[1])
    ]
    found = [Weighted.plain(e).average_precisions[:, 1] for e in examples]
    mean = float(mean_of(np.stack(found, 1))[0])
    return 0.0 if np.isnan(mean) else mean
