"""Targets: what is right for an example, and what the ladder asks of it, a row for each task.

classes  one of several: truth (n,) numbers of classes; scores are logits at some temperature
tags     any number of them: truth (n, k) of 0 and 1; scores are log-odds, calibrated by Platt's
         lines, which are folded into the head
values   numbers: truth (n, k) in standard deviations of the examples learned from; so are scores

The closed-form head fits any (n, k) matrix; everything above it (which rows to draw, which weights
are best, whether training has paid) reads these rows, and never asks for the task.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from regraft.data.dataset import Dataset
from regraft.data.labels import bins_of
from regraft.evaluation.calibration import fit_temperature, log_losses
from regraft.evaluation.platt import binary_losses, fit_lines
from regraft.evaluation.tag_metrics import mean_average_precision
from regraft.transfer.probe import Head, HeadFit, one_hot

Truth = npt.NDArray[Any]
Scores = npt.NDArray[np.floating[Any]]
Numbers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Target:
    """One kind of target.

    truth        (examples, those to learn from) → what is right for the former
    strata       truth → (n,) numbers by which rows are drawn in proportion
    encoded      (truth, number of classes) → (n, k) what ridge is fitted to
    lines        whether scores become log-odds by Platt's lines, which are folded into heads
    temperature  (scores, truth) → what a head's scores are divided by where training begins
    calm         (scores, truth) → scores at their best calibration, for comparing losses
    losses       (calm scores, truth) → (m,) of each example
    score        (scores, truth) → the figure of a rung, higher is better
    right        (scores of one, of another, truth) → flags, alike in shape: which answers are right
    told         a score in words
    losing       name of the mean loss
    figure       name of the score in a record
    loss, losses_of  the loss that training begins with, and the kind of losses that can be asked
    unused       fields of a recipe that have no use for it
    named        whether the name of a class is an example of it
    floor        truth → score of an answer that knows nothing; below 0 where there is none to tell
    """

    name: str
    truth: Callable[[Dataset, Dataset], Truth]
    strata: Callable[[Truth], Numbers]
    encoded: Callable[[Truth, int], npt.NDArray[np.float64]]
    temperature: Callable[[Scores, Truth], float]
    calm: Callable[[Scores, Truth], Scores]
    losses: Callable[[Scores, Truth], npt.NDArray[np.float64]]
    score: Callable[[Scores, Truth], float]
    right: Callable[[Scores, Scores, Truth], tuple[Flags, Flags]]
    told: Callable[[float], str]
    losing: str
    figure: str
    loss: str
    losses_of: str
    unused: tuple[str, ...] = ("detector", "start", "tiles")
    lines: bool = False
    named: bool = False
    floor: Callable[[Truth], float] = lambda truth: -1.0

    def asked(self, truth: Truth, classes: int) -> dict[str, Any]:
        """Arguments of `fit_head`: labels, and targets where these are not the labels' own."""
        if truth.ndim == 1:
            return {"labels": truth, "classes": classes}
        strata = self.strata(truth)
        targets = self.encoded(truth, classes)
        return {"labels": strata, "classes": int(strata.max()) + 1, "targets": targets}

    def finished(self, fit: HeadFit, truth: Truth) -> HeadFit:
        """A fit whose head and left-out scores are as `losses` reads them."""
        if not self.lines:
            return fit
        lines = fit_lines(fit.left_out, truth)
        return fit._replace(head=fit.head.times(*lines), left_out=lines(fit.left_out))

    def settled(self, head: Head, scores: Scores, truth: Truth) -> Head:
        """A trained head, calibrated on scores of examples that did not teach it."""
        return head.times(*fit_lines(scores, truth)) if self.lines else head

    def mean_loss(self, scores: Scores, truth: Truth) -> float:
        """At the best calibration."""
        return float(self.losses(self.calm(scores, truth), truth).mean())


def _one(*of: Any) -> float:
    return 1.0


def _same(scores: Scores, truth: Truth) -> Scores:
    return scores


# Classes -----------------------------------------------------------------------------------------


def _class_right(now: Scores, before: Scores, truth: Truth) -> tuple[Flags, Flags]:
    return now.argmax(1) == truth, before.argmax(1) == truth


def _accuracy(scores: Scores, truth: Truth) -> float:
    return float((scores.argmax(1) == truth).mean())


def _commonest(truth: Truth) -> float:
    return float(np.bincount(truth).max() / len(truth))


CLASSES = Target(
    name="classes",
    truth=lambda examples, learning: examples.targets,
    strata=lambda truth: truth,
    encoded=one_hot,
    temperature=fit_temperature,
    calm=lambda scores, truth: scores / fit_temperature(scores, truth),
    losses=log_losses,
    score=_accuracy,
    right=_class_right,
    told=lambda share: f"{share:.1%}",
    losing="log-loss",
    figure="accuracy",
    loss="cross-entropy:smoothing=0.1",
    losses_of="classes",
    named=True,
    floor=_commonest,
)

# Tags --------------------------------------------------------------------------------------------


def rarest(truth: Truth) -> Numbers:
    """(n,) the rarest tag of each example; one more where it has none."""
    counts = truth.sum(0)
    order = np.argsort(counts, kind="stable")
    own = truth[:, order] > 0
    return np.where(own.any(1), order[own.argmax(1)], truth.shape[1]).astype(np.int64)


def _tags_right(now: Scores, before: Scores, truth: Truth) -> tuple[Flags, Flags]:
    return (now > 0) == (truth > 0), (before > 0) == (truth > 0)


TAGS = Target(
    name="tags",
    truth=lambda examples, learning: examples.matrix,
    strata=rarest,
    encoded=lambda truth, classes: 2.0 * truth - 1.0,
    temperature=_one,
    calm=lambda scores, truth: fit_lines(scores, truth)(scores),
    losses=lambda scores, truth: binary_losses(scores, truth).mean(1),
    score=mean_average_precision,
    right=_tags_right,
    told=lambda share: f"mean average precision {share:.3f}",
    losing="mean binary cross-entropy",
    figure="map_macro",
    loss="binary",
    losses_of="labels",
    unused=("positive", "attack", "detector", "start", "tiles"),
    lines=True,
)

# Values ------------------------------------------------------------------------------------------


class Units(NamedTuple):
    """Mean and standard deviation of each number, (k,): 1 where it does not vary."""

    mean: npt.NDArray[np.float64]
    spread: npt.NDArray[np.float64]

    def standardised(self, values: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
        """(n, k) in these units."""
        return np.asarray((values - self.mean) / self.spread)


def units_of(learning: Dataset) -> Units:
    """Of the numbers of examples to learn from."""
    values = learning.matrix
    spread = values.std(0)
    return Units(values.mean(0), np.where(spread > 0, spread, 1.0))


def _explained(scores: Scores, truth: Truth) -> float:
    """Mean share of the variance that is explained, over the columns that vary."""
    left = np.square(truth - scores).sum(0)
    whole = np.square(truth - truth.mean(0)).sum(0)
    varies = whole > 0
    return float((1 - left[varies] / whole[varies]).mean()) if varies.any() else 0.0


def _nearer(now: Scores, before: Scores, truth: Truth) -> tuple[Flags, Flags]:
    """Which of two answers is nearer, number by number; neither where both are as far."""
    a, b = np.abs(now - truth), np.abs(before - truth)
    return a < b, b < a


VALUES = Target(
    name="values",
    truth=lambda examples, learning: units_of(learning).standardised(examples.matrix),
    strata=bins_of,
    encoded=lambda truth, classes: np.asarray(truth, np.float64),
    temperature=_one,
    calm=_same,
    losses=lambda scores, truth: np.square(scores - truth).mean(1),
    score=_explained,
    right=_nearer,
    told=lambda share: f"R² {share:.3f}",
    losing="mean squared error",
    figure="r2",
    loss="smooth-l1",
    losses_of="values",
    unused=("positive", "attack", "at", "weights", "detector", "start", "tiles"),
)

TARGETS: Mapping[str, Target] = MappingProxyType(
    {"classification": CLASSES, "tags": TAGS, "regression": VALUES}
)
