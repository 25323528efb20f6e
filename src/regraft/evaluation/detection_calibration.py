"""Scores of boxes that say how often they are right: a line through their log-odds (Platt 1999).

One line for all classes, rising: which box is surer than which, and with it every figure of COCO's,
stays as it is (Kuppers et al. 2020, arXiv 2004.13546, bin such scores as is done here).
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from regraft.evaluation.detection import Detections, Matches
from regraft.evaluation.platt import fit_lines, sigmoid

Floats = npt.NDArray[np.float64]

BINS = 10
FEWEST = 20  # boxes that are right, and as many that are wrong, from which a line is fitted
EDGE = 1e-6  # scores are kept so far inside 0 and 1


class ScoreLine(NamedTuple):
    """Log-odds of being right = factor · log-odds of the score + shift; the factor is above 0."""

    factor: float = 1.0
    shift: float = 0.0

    def __call__(self, found: Detections) -> Detections:
        """The same boxes with scores that say how often such boxes are right."""
        if self == PLAIN:
            return found
        return found._replace(scores=sigmoid(_log_odds(found.scores) * self.factor + self.shift))


PLAIN = ScoreLine()


def _log_odds(scores: Floats) -> Floats:
    inner = np.clip(scores, EDGE, 1 - EDGE)
    return np.asarray(np.log(inner / (1 - inner)))


def judged_scores(matches: Sequence[Matches]) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Scores of all boxes and whether they are right at an overlap of 0.5; ignored ones are out."""
    scores = np.concatenate([one.scores[~one.ignored[0]] for one in matches])
    right = np.concatenate([one.hits[0][~one.ignored[0]] for one in matches])
    return scores, right.astype(bool)


def fit_score_line(matches: Sequence[Matches]) -> ScoreLine:
    """The line for boxes that nothing was learned from; the plain one where there are too few."""
    scores, right = judged_scores(matches)
    if min(right.sum(), (~right).sum()) < FEWEST:
        return ScoreLine()
    lines = fit_lines(_log_odds(scores)[:, None], right[:, None])
    factor, shift = float(lines.factor[0]), float(lines.shift[0])
    return ScoreLine(factor, shift) if factor > 0 else ScoreLine()


def score_calibration(matches: Sequence[Matches]) -> dict[str, Any]:
    """The gap between scores and how often they are right: the mean over the boxes, and by bin.

    ``ece`` is None where nothing was found. A bin has low, high, score (mean), right (share) and
    count; empty ones are left out.
    """
    scores, right = judged_scores(matches)
    if not len(scores):
        return {"ece": None, "bins": []}
    place = np.minimum((scores * BINS).astype(int), BINS - 1)
    bins = []
    for b in np.unique(place).tolist():
        own = place == b
        mean, share = float(scores[own].mean()), float(right[own].mean())
        ends = {"low": b / BINS, "high": (b + 1) / BINS}
        bins.append({**ends, "score": mean, "right": share, "count": int(own.sum())})
    gaps = [abs(row["score"] - row["right"]) * row["count"] for row in bins]
    return {"ece": float(sum(gaps) / len(scores)), "bins": bins}
