"""What a bootstrap over the pictures tells of found objects, and from which score to take them."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from regraft.evaluation.detection import RECALLS, Floats, Matches, Precision


def intervals(
    whole: Precision, pictures: int, *, resamples: int = 1000, seed: int = 0
) -> dict[str, Any]:
    """95 % intervals by a bootstrap over the pictures.

    Returns ``map``, ``map50``, ``map75`` as (low, high), and ``classes``: for each class those of
    its average precision, None where it has none. One picture shows no spread: then all are None.
    """
    rng = np.random.default_rng([seed, pictures])
    draws = [_resampled(whole, _weights(rng, pictures)) for _ in range(resamples)]
    if pictures < 2 or not draws:
        return {"map": None, "map50": None, "map75": None, "classes": [None] * len(whole.matches)}
    table = np.array([[d[0], d[1], d[2]] for d in draws])
    each = np.array([d[3] for d in draws])
    ends = [_ends(column) for column in table.T]
    return {
        "map": ends[0],
        "map50": ends[1],
        "map75": ends[2],
        "classes": [_ends(column) for column in each.T],
    }


def _weights(rng: np.random.Generator, pictures: int) -> Floats:
    drawn = rng.integers(0, pictures, pictures)
    return np.bincount(drawn, minlength=pictures).astype(float)


def _resampled(whole: Precision, weights: Floats) -> tuple[float, float, float, list[float]]:
    tables = [m.precision(weights) for m in whole.matches]
    known = [t for t in tables if t is not None]
    each = [np.nan if t is None else float(t.mean()) for t in tables]
    if not known:
        return np.nan, np.nan, np.nan, each
    mean = np.mean(known, axis=(0, 2))
    return float(mean.mean()), float(mean[0]), float(mean[5]), each


def _ends(values: Floats) -> tuple[float, float] | None:
    known = values[~np.isnan(values)]
    if not len(known):
        return None
    low, high = np.quantile(known, [0.025, 0.975])
    return float(low), float(high)


# Thresholds ---------------------------------------------------------------------------------------


class Threshold(NamedTuple):
    """The score from which boxes of a class are taken, and what is right then.

    low, high  of the score: 95 % interval by a bootstrap over the pictures; None where unknown
    """

    score: float
    precision: float
    recall: float
    f1: float
    low: float | None = None
    high: float | None = None


def best_threshold(one: Matches, *, resamples: int = 200, seed: int = 0) -> Threshold | None:
    """Where F1 is largest, at an overlap of 0.5; None where there is nothing to find."""
    if not one.objects.sum() or not len(one.scores):
        return None
    place, precise, recall, f1 = _best_cut(one, None)
    rng = np.random.default_rng([seed, len(one.objects)])
    draws = [
        one.scores[cut[0]]
        for _ in range(resamples)
        if (cut := _best_cut(one, _weights(rng, len(one.objects))))[3] > 0
    ]
    ends = np.quantile(draws, [0.025, 0.975]) if len(draws) > 1 else (None, None)
    low, high = (None if e is None else float(e) for e in ends)
    return Threshold(float(one.scores[place]), precise, recall, f1, low, high)


def _best_cut(one: Matches, weights: Floats | None) -> tuple[int, float, float, float]:
    total = float(one.objects.sum() if weights is None else one.objects @ weights)
    right, wrong = (sums[0] for sums in one.sums(weights))
    if not total:
        return 0, 0.0, 0.0, 0.0
    precise, recall = right / np.maximum(right + wrong, 1e-12), right / total
    f1 = 2 * right / (right + wrong + total)
    place = int(f1.argmax())
    return place, float(precise[place]), float(recall[place]), float(f1[place])


def curve(one: Matches) -> Iterator[tuple[float, float]]:
    """Recall and precision at an overlap of 0.5, at RECALLS."""
    table = one.precision()
    if table is not None:
        yield from zip(RECALLS.tolist(), table[0].tolist(), strict=True)
