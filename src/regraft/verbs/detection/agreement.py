"""Whether two engines have found the same objects: boxes compared as sets, not in their order.

Which of two boxes with nearly the same score comes first is decided by the last digits, and these
are not the same in two engines.
"""

import numpy as np
import numpy.typing as npt

from regraft.evaluation.detection import Detections, overlaps

Pairs = tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]


def set_difference(
    ours: Detections,
    theirs: Detections,
    least: npt.NDArray[np.float64],
    longer: float,
    unsure: float,
) -> float:
    """The largest difference of score or corner among boxes that are reported.

    least   (classes,) score from which a box of each class is reported
    longer  pixels that a difference of corners is measured by
    unsure  share of the scores by which engines may differ: a box so near to `least` may be
            reported by one of them only

    Infinite where a box has no other of its class, or a number is none.
    """
    if not all(np.isfinite(part).all() for one in (ours, theirs) for part in one):
        return float("inf")
    ours, theirs = ours.above(least - 2 * unsure), theirs.above(least - 2 * unsure)
    here, there = paired(ours, theirs)
    alone = [np.delete(ours.scores - least[ours.labels], here)]
    alone += [np.delete(theirs.scores - least[theirs.labels], there)]
    if (np.concatenate(alone) >= unsure).any():
        return float("inf")
    scores, others = ours.scores[here], theirs.scores[there]
    counts = np.maximum(scores, others) >= least[ours.labels[here]]
    corners = np.abs(ours.boxes[here] - theirs.boxes[there]).max(1, initial=0.0) / longer
    return float(np.maximum(np.abs(scores - others), corners)[counts].max(initial=0.0))


def paired(ours: Detections, theirs: Detections) -> Pairs:
    """Places here and there of boxes of one class, each once, by the most overlap in all.

    Of boxes that overlap alike those whose scores are nearest go together.
    """
    from scipy.optimize import linear_sum_assignment

    here, there = list[npt.NDArray[np.intp]](), list[npt.NDArray[np.intp]]()
    for label in np.intersect1d(ours.labels, theirs.labels):
        own, other = np.flatnonzero(ours.labels == label), np.flatnonzero(theirs.labels == label)
        apart = np.abs(ours.scores[own, None] - theirs.scores[None, other])
        rows, columns = linear_sum_assignment(
            apart - overlaps(ours.boxes[own], theirs.boxes[other])
        )
        here.append(own[rows])
        there.append(other[columns])
    none = np.zeros(0, np.intp)
    return np.concatenate([none, *here]), np.concatenate([none, *there])
