"""Decision curves: what acting on a model's answers is worth, whatever the mistakes cost.

Vickers and Elkin, Decision curve analysis, Medical Decision Making 26 (2006) 565-574,
doi 10.1177/0272989X06295361. Who acts from a probability of t on says that a needless action is
worth t / (1 - t) of a missed one. At t the net benefit is

    true positives / n  -  false positives / n * t / (1 - t)

in true positives per example. To compare with: acting on all, and on none, whose net benefit is 0.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from regraft.evaluation.intervals import resampled
from regraft.evaluation.weighted import Examples, FloatArray, Weighted

THRESHOLDS = np.arange(1, 100) / 100  # from which probability on one would act


def net_benefit(s: Weighted, positive: int, thresholds: FloatArray) -> FloatArray:
    """(B, t) net benefit of acting on the examples whose probability reaches the threshold."""
    member = s.examples.labels == positive
    scores = s.examples.probabilities[:, positive]
    acted = scores[:, None] >= thresholds  # (n, t)
    gained = s.columns.T @ (acted & member[:, None])
    wasted = s.columns.T @ (acted & ~member[:, None])
    return (gained - wasted * _odds(thresholds)) / s.total[:, None]


def acting_on_all(prevalence: float, thresholds: FloatArray) -> FloatArray:
    """(t,) net benefit of acting on every example, of which a share is of the class."""
    return prevalence - (1 - prevalence) * _odds(thresholds)


def decision_curve(
    labels: npt.ArrayLike,
    probabilities: npt.ArrayLike,
    positive: int,
    *,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int,
    groups: npt.ArrayLike | None = None,
) -> dict[str, Any]:
    """The decision curve of class number `positive` against the rest, as plain data.

    labels (n,), probabilities (n, c) that add up to one; the others as of `intervals.bootstrap`.
    ``prevalence`` and ``points``, a row per threshold: threshold, value, low and high (interval) of
    the model's net benefit, and ``all``, that of acting on all. Raises `UsageError`.
    """
    examples = Examples.of(labels, probabilities)

    def statistics(s: Weighted) -> FloatArray:
        return net_benefit(s, positive, THRESHOLDS)

    plan: Mapping[str, Any] = {"resamples": resamples, "confidence": confidence, "seed": seed}
    found = resampled(examples, statistics, groups=groups, **plan)
    prevalence = float((examples.labels == positive).mean())
    every = acting_on_all(prevalence, THRESHOLDS)
    points = [
        {"threshold": float(t), **interval.to_dict(), "all": float(of_all)}
        for t, interval, of_all in zip(THRESHOLDS, found, every, strict=True)
    ]
    return {"prevalence": prevalence, "points": points}


def _odds(thresholds: FloatArray) -> FloatArray:
    return thresholds / (1 - thresholds)
