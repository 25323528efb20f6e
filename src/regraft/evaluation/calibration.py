"""Calibration: probabilities that mean what they say, sets that hold the truth as often as told.

Two uses of held-out scores, kept apart: a temperature turns scores into probabilities, and a
threshold on the scores themselves gives conformal sets (temperature would enlarge some kinds of
set, Xi et al. 2402.04344). Held-out means leave-one-out scores, or those of a split that the model
was not fitted on; scores of the training examples themselves make both overconfident.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from regraft.errors import UsageError
from regraft.evaluation.metrics import BINS, confidence_bin, ece
from regraft.evaluation.weighted import (
    Array,
    Examples,
    FloatArray,
    Weighted,
    score_mistakes,
)

WIDEST = 1e4  # temperatures are sought within this factor of the scores' own spread


def softmax(scores: npt.ArrayLike, temperature: float = 1.0) -> FloatArray:
    """Scores (n, c) → probabilities (n, c); a higher temperature makes them more even.

    Raises `UsageError`.
    """
    f = np.asarray(scores)
    mistakes = score_mistakes(None, f)
    if not (math.isfinite(temperature) and temperature > 0):
        mistakes.append(f"temperature: expected a finite number above 0, got {temperature}")
    if mistakes:
        raise UsageError(*mistakes)
    return _softmax(f.astype(np.float64), temperature)


def log_losses(logits: npt.NDArray[np.floating], labels: npt.NDArray[np.integer]) -> FloatArray:
    """(m,) cross-entropy of logits (m, c) and labels (m,)."""
    f = np.asarray(logits, np.float64)
    return _log_total(f) - f[np.arange(len(labels)), labels]


def fit_temperature(scores: npt.ArrayLike, labels: npt.ArrayLike) -> float:
    """Temperature of the highest likelihood for held-out scores (n, c) and labels (n,).

    Temperature scaling (Guo et al. 2017, 1706.04599). It does not change which class is
    predicted, and it follows the scale of the scores: scores times a give a temperature times a.

    Scores that are right every time would be given a temperature of 0 and boundless confidence.
    So the mean confidence is kept to what n right answers out of n support: (n + 1) / (n + 2),
    Laplace's rule of succession. Scores that do not tell classes apart at all give 1.

    Raises `UsageError`.
    """
    f, y = _checked(scores, labels)
    spread = float(np.ptp(f, axis=1).mean())
    if spread == 0:
        return 1.0
    f = f / spread
    own = np.take_along_axis(f, y[:, None], axis=1)[:, 0]

    def falling(log_t: float) -> float:
        """By how much the loss, which is convex in 1 / T, falls as 1 / T does."""
        odds = _softmax(f, math.exp(log_t))
        return float((np.einsum("nc,nc->n", odds, f) - own).mean())

    return spread * math.exp(_crossing(falling, _lowest_log_temperature(f), math.log(WIDEST)))


def reliability(
    labels: npt.ArrayLike, probabilities: npt.ArrayLike, bins: int = BINS
) -> list[dict[str, Any]]:
    """The reliability diagram: a row per equal-width bin of the confidence in the prediction.

    labels (n,), probabilities (n, c). A row has low, high, confidence (mean), accuracy and count;
    of an empty bin confidence and accuracy are None. Bins hold their lower end, the last one both.
    Raises `UsageError`.
    """
    examples = Examples.of(labels, probabilities, *_bin_mistakes(bins))
    which, s = confidence_bin(examples.confidence, bins), Weighted.plain(examples)
    counts = s.sum_by(which, bins)[0]
    sums = [s.sum_by(which, bins, v)[0] for v in (examples.confidence, examples.correct)]
    edges = np.linspace(0, 1, bins + 1).tolist()
    rows = zip(edges[:-1], edges[1:], *sums, counts, strict=True)
    return [
        {
            "low": low,
            "high": high,
            "confidence": float(confidence / count) if count else None,
            "accuracy": float(correct / count) if count else None,
            "count": int(count),
        }
        for low, high, confidence, correct, count in rows
    ]


def expected_calibration_error(
    labels: npt.ArrayLike, probabilities: npt.ArrayLike, bins: int = BINS
) -> float:
    """Mean gap between confidence and accuracy over the bins of `reliability`, by their counts.

    The metric ``ece`` with another number of bins. Raises `UsageError`.
    """
    examples = Examples.of(labels, probabilities, *_bin_mistakes(bins))
    return float(ece(Weighted.plain(examples), bins)[0])


def conformal_threshold(scores: npt.ArrayLike, labels: npt.ArrayLike, coverage: float) -> float:
    """Threshold for `conformal_sets` from held-out scores (n, c) and labels (n,).

    The nonconformity of an example is how far its true class is behind the best, max_k f_k - f_y.
    The threshold is the ceil((n + 1) coverage)-th smallest of them (split conformal prediction:
    Papadopoulos et al. 2002; Lei et al. 2018; Angelopoulos and Bates 2107.07511). If scores come
    from a split that the model was not fitted on, and new examples are exchangeable with it, then
    the set of a new example holds its true class with a probability of at least `coverage`. That is
    marginal: over all classes and over draws of the held-out examples, not for each class, kind of
    picture or data set by itself. For leave-one-out scores it holds as far as the model hardly
    changes by one example; there is no guarantee without that (Barber et al. 1905.02928).

    Infinite, so that every class is in every set, where n is too small: (n + 1) coverage > n.
    Raises `UsageError`.
    """
    wrong = [] if 0 < coverage < 1 else [f"coverage: expected between 0 and 1, got {coverage}"]
    f, y = _checked(scores, labels, *wrong)
    behind = np.sort(f.max(axis=1) - np.take_along_axis(f, y[:, None], axis=1)[:, 0])
    rank = math.ceil(round((len(y) + 1) * coverage, 9))  # in floats 100 * 0.07 is over 7
    return float(behind[rank - 1]) if rank <= len(y) else math.inf


def conformal_sets(scores: npt.ArrayLike, threshold: float) -> npt.NDArray[np.bool_]:
    """(n, c) which classes are in each example's set: those at most `threshold` behind the best.

    The predicted class always is. `threshold` is that of `conformal_threshold`, on scores of the
    same scale. Raises `UsageError`.
    """
    f = np.asarray(scores)
    mistakes = score_mistakes(None, f)
    if not threshold >= 0:
        mistakes.append(f"threshold: expected 0 or more, got {threshold}")
    if mistakes:
        raise UsageError(*mistakes)
    f = f.astype(np.float64)
    return f.max(axis=1, keepdims=True) - f <= threshold


def _checked(
    scores: npt.ArrayLike, labels: npt.ArrayLike, *others: str
) -> tuple[FloatArray, Array]:
    f, y = np.asarray(scores), np.asarray(labels)
    if mistakes := [*score_mistakes(y, f), *others]:
        raise UsageError(*mistakes)
    return f.astype(np.float64), y


def _bin_mistakes(bins: int) -> list[str]:
    return [] if bins >= 1 else [f"bins: expected 1 or more, got {bins}"]


def _softmax(f: FloatArray, temperature: float) -> FloatArray:
    odds = np.exp((f - f.max(axis=1, keepdims=True)) / temperature)
    return odds / odds.sum(axis=1, keepdims=True)


def _log_total(f: FloatArray) -> FloatArray:
    """(n,) logarithm of the sum of exponentials."""
    top = f.max(axis=1)
    return top + np.log(np.exp(f - top[:, None]).sum(axis=1))


def _lowest_log_temperature(f: FloatArray) -> float:
    """Where the mean confidence is (n + 1) / (n + 2); it falls as the temperature rises."""
    most, coldest = (len(f) + 1) / (len(f) + 2), -math.log(WIDEST)

    def excess(log_t: float) -> float:
        return float(_softmax(f, math.exp(log_t)).max(axis=1).mean() - most)

    return _crossing(excess, coldest, -coldest)


def _crossing(value: Callable[[float], float], low: float, high: float) -> float:
    """Where a falling function becomes 0 or less; an end where it does not change its sign there.

    By halves: importing scipy.optimize takes longer than all that is asked here.
    """
    if value(low) <= 0:
        return low
    while high - low > 1e-9:
        middle = (low + high) / 2
        low, high = (middle, high) if value(middle) > 0 else (low, middle)
    return high
