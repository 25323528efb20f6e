"""Selective classification: what a model gains by leaving out the answers that it is unsure of.

The confidence of an answer is its calibrated probability. Who takes only the surest share of the
answers (coverage) has mistakes among these (risk): El-Yaniv and Wiener 2010; for networks Geifman
and El-Yaniv 2017, arXiv 1705.08500. The area under risk over coverage, AURC, is smaller where right
answers are the surer ones (Geifman et al. 2019, arXiv 1805.08206).

`selection` seeks the largest share whose risk is promised. Geifman and El-Yaniv search by halves,
and their bound is shared out among the steps; but which steps are made depends on the mistakes, so
here all of a fixed grid of shares are tested, each at its part of the error (Bonferroni). That
costs little: the bound grows by the logarithm of the number of tests.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from regraft.errors import UsageError
from regraft.evaluation.intervals import bootstrap_share, resampled
from regraft.evaluation.weighted import ROUNDING, Examples, FloatArray, IntArray, Weighted, ratio

SHARES = np.arange(1, 21) / 20  # of the answers, the surest ones: points of the curve, and tests
CONFIDENCE = 0.95  # with which a promise holds

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Selection:
    """Answers that may be taken.

    threshold  those whose confidence is above it; below 0: all
    coverage   share of the n examples that it was chosen on which are answered
    errors     how many of these answers were wrong
    bound      with CONFIDENCE the risk is not above it
    """

    threshold: float
    coverage: float
    errors: int
    n: int
    bound: float

    def takes(self, confidence: FloatArray) -> Flags:
        """(n,) whether answers of a confidence (n,) are taken."""
        return np.asarray(confidence > self.threshold)

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


def refuse_wrong_risk(risk: Any) -> None:
    """Raise UsageError for what is no share of wrong answers that could be allowed."""
    number = isinstance(risk, int | float) and not isinstance(risk, bool)
    if not (number and 0 < risk < 1):
        raise UsageError(f"risk: expected a share between 0 and 1 such as 0.05, got {risk!r}")


def curve(s: Weighted) -> FloatArray:
    """(B, 1 + len(SHARES)): the AURC, and the risk of the surest SHARES of the answers.

    The risk of an example is that of all answers at least as sure as its own, so that answers of
    one confidence go together; the AURC is the mean of it over the examples.
    """
    levels, place = np.unique(-s.examples.confidence, return_inverse=True)
    each = s.sum_by(place, len(levels))
    answered = each.cumsum(axis=1)
    wrong = s.sum_by(place, len(levels), ~s.examples.correct).cumsum(axis=1)
    risks = ratio(wrong, answered, otherwise=0.0)
    aurc = (each * risks).sum(axis=1) / s.total
    wanted = SHARES * s.total[:, None] * (1 - ROUNDING)
    reached = (answered[:, :, None] < wanted[:, None, :]).sum(axis=1)
    return np.column_stack([aurc, np.take_along_axis(risks, reached, axis=1)])


def risk_coverage(examples: Examples, **asked: Any) -> dict[str, Any]:
    """Of labelled answers, as plain data: ``aurc`` (interval), ``best`` (the AURC if all wrong
    answers were the least sure ones), ``error`` (of all answers) and ``points``, a row per share:
    coverage, value (the risk), low, high, best.

    asked  of the bootstrap: resamples, confidence, seed, groups
    """
    found = resampled(examples, curve, **{"confidence": 0.95, "groups": None, **asked})
    best = curve(Weighted.plain(_surest_where_right(examples)))[0]
    rows = zip(SHARES, found[1:], best[1:], strict=True)
    return {
        "aurc": found[0].to_dict(),
        "best": float(best[0]),
        "error": float(1 - examples.correct.mean()),
        "points": [
            {"coverage": float(share), **risk.to_dict(), "best": float(least)}
            for share, risk, least in rows
        ],
    }


def _surest_where_right(examples: Examples) -> Examples:
    """The same answers, the right ones surer than the wrong ones, no two alike."""
    order = np.lexsort((-examples.confidence, ~examples.correct))
    right = np.argsort(order, kind="stable")  # place from the surest on
    sure = 1 - right / (2.0 * len(right))
    labels = np.where(examples.correct, 0, 1)
    return Examples(labels, np.stack([sure, 1 - sure], 1), decided=np.zeros(len(right), np.int64))


def selection(
    right: Flags, confidence: FloatArray, risk: float, certainty: float = CONFIDENCE
) -> tuple[Selection | None, Selection]:
    """The largest share of answers whose risk is at most `risk`; None: of no share that is sure.
    Beside it the share whose bound is the lowest.

    right, confidence  (n,) of answers to examples that did not teach the model
    certainty          probability that the promise holds, over draws of these examples

    A threshold is the confidence of the surest answer that is left out. Given it, those above it
    are a sample of their kind, so that their errors are binomial and Clopper and Pearson's bound
    holds, for each of SHARES at its part of 1 - certainty.
    """
    refuse_wrong_risk(risk)
    falling, n = np.sort(confidence)[::-1], len(confidence)
    tried = []
    for share in SHARES:
        count = round(share * n)
        threshold = -1.0 if count >= n else float(falling[count])
        taken = confidence > threshold
        errors, many = int((~right[taken]).sum()), int(taken.sum())
        bound = highest_risk(errors, many, (1 - certainty) / len(SHARES))
        tried.append(Selection(threshold, many / n, errors, n, bound))
    promised = [one for one in tried if one.bound <= risk]
    return max(promised, key=_coverage, default=None), min(tried, key=_bound)


def _coverage(one: Selection) -> float:
    return one.coverage


def _bound(one: Selection) -> float:
    return one.bound


def highest_risk(errors: int, n: int, error: float) -> float:
    """Clopper and Pearson's upper bound of a share of which `errors` of n were seen.

    It is exceeded with a probability of at most `error`.
    """
    from scipy.special import betaincinv

    return 1.0 if errors >= n else float(betaincinv(errors + 1, n - errors, 1 - error))


def taken(
    chosen: Selection, examples: Examples, groups: IntArray | None, asked: Mapping[str, Any]
) -> dict[str, Any]:
    """What a selection gives on other examples: ``coverage`` and ``risk`` with intervals, ``n``
    and ``errors`` of the answers that were taken.

    groups  (n,) of the examples, None: each its own
    asked   of the bootstrap: resamples, seed
    """
    some = chosen.takes(examples.confidence)
    wrong = ~examples.correct[some]
    own = None if groups is None else groups[some]
    return {
        "coverage": bootstrap_share(some, groups=groups, **asked).to_dict(),
        "risk": bootstrap_share(wrong, groups=own, **asked).to_dict() if some.any() else None,
        "n": int(some.sum()),
        "errors": int(wrong.sum()),
    }


def halves(n: int, groups: Sequence[Any] | IntArray | None, seed: int) -> Flags:
    """(n,) which examples are in the first half, groups together."""
    units = np.arange(n) if groups is None else np.unique(groups, return_inverse=True)[1]
    drawn = np.random.default_rng([seed, 61]).permutation(int(units.max()) + 1)
    return np.asarray(drawn[units] < len(drawn) / 2)
