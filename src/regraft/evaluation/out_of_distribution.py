"""Telling other data apart: how well a score says that an example is none of what a model knows.

The area under the ROC curve (Hendrycks and Gimpel 2017, arXiv 1610.02136) is the chance that an
example of the other data looks stranger than one of the model's own; FPR95 is the share of the
other data that is still taken for the model's own where 95 % of these are.
"""

from typing import Any, NamedTuple

import numpy as np

from regraft.evaluation.intervals import Interval, resampled
from regraft.evaluation.metrics import auroc
from regraft.evaluation.weighted import ROUNDING, Examples, FloatArray, IntArray, Weighted, ratio

ACCEPTED = 0.95  # of the model's own examples, where the others that pass are counted


class ToldApart(NamedTuple):
    """Of one score: 0.5 is chance for the AUROC; of FPR95 less is better."""

    auroc: Interval
    fpr95: Interval

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return {name: interval.to_dict() for name, interval in self._asdict().items()}


def told_apart(
    inside: FloatArray,
    outside: FloatArray,
    *,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int,
    groups: IntArray | None = None,
) -> ToldApart:
    """How well a score tells the other data apart, with intervals.

    inside   (n,) scores of the model's own kind of examples, higher for stranger ones
    outside  (m,) those of the other data
    groups   (n,) of the former; the latter each go by themselves

    Raises UsageError.
    """
    scores = np.concatenate([inside, outside]).astype(np.float64)
    labels = np.repeat([0, 1], [len(inside), len(outside)])
    examples = Examples(labels, np.stack([-scores, scores], 1))
    units = None
    if groups is not None:
        units = np.concatenate([groups, int(groups.max()) + 1 + np.arange(len(outside))])
    plan: dict[str, Any] = {"resamples": resamples, "confidence": confidence, "seed": seed}
    return ToldApart(*resampled(examples, _figures, groups=units, **plan))


def _figures(s: Weighted) -> FloatArray:
    """(B, 2)"""
    return np.stack([auroc(s)[:, 1], passing(s)], axis=1)


def passing(s: Weighted) -> FloatArray:
    """(B,) share of class 1 whose score is not above the one up to which ACCEPTED of class 0 are;
    NaN where a class is absent.
    """
    scores, strange = s.examples.probabilities[:, 1], s.examples.labels == 1
    levels, place = np.unique(scores, return_inverse=True)
    own = s.sum_by(place, len(levels), ~strange).cumsum(axis=1)
    other = s.sum_by(place, len(levels), strange).cumsum(axis=1)
    wanted = ACCEPTED * own[:, -1:] * (1 - ROUNDING)
    at = (own < wanted).sum(axis=1)[:, None]
    found = ratio(np.take_along_axis(other, at, axis=1)[:, 0], other[:, -1])
    return np.where(own[:, -1] > 0, found, np.nan)
