"""From which probability on a tag is answered: chosen for each by itself.

On scores of examples that did not teach the head, as operating points of classes are. Of a tag that
has hardly any examples there the best threshold is mostly chance: it gets the one that is best for
all tags together.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from regraft.errors import UsageError
from regraft.evaluation.operating import Judged, OperatingPoint, choose, goal

FEWEST = 5  # examples with a tag (and without), from which its own threshold is chosen
USUAL = "f1"  # what is made as large as possible, where nobody says otherwise
HALF = 0.5  # where nothing is there to choose by


class Thresholds(NamedTuple):
    """cuts (k,) probabilities, and of each tag what is told of the choice, as plain data."""

    cuts: npt.NDArray[np.float64]
    points: list[dict[str, Any]]


def thresholds(
    probabilities: npt.NDArray[np.floating],
    truth: npt.NDArray[Any],
    tags: tuple[str, ...],
    how: str,
    asked: str | None = None,
) -> Thresholds:
    """For tags with probabilities (m, k) and truth (m, k) of 0 or 1.

    how    how these examples came not to teach the head
    asked  such as ``precision>=0.8``; None: the largest F1

    Raises UsageError naming every tag for which no threshold gives what is asked.
    """
    goal(asked or USUAL)  # what cannot be read is told once
    together = _together(probabilities, truth, how, asked)
    cuts: list[float] = []
    points: list[dict[str, Any]] = []
    wrong: list[str] = []
    for k, name in enumerate(tags):
        there = int(truth[:, k].sum())
        few = min(there, len(truth) - there) < FEWEST and asked is None
        if few:
            cuts.append(together)
            points.append({"tag": name, "threshold": together, "asked": "as for all tags together"})
            continue
        try:
            point = _chosen(probabilities[:, k], truth[:, k], name, how, asked)
        except UsageError as error:
            wrong += error.mistakes
            continue
        cuts.append(point.threshold)
        points.append({"tag": name, **point.to_dict()})
    if wrong:
        raise UsageError(*wrong)
    return Thresholds(np.array(cuts), points)


def _together(p: npt.NDArray[Any], truth: npt.NDArray[Any], how: str, asked: str | None) -> float:
    there = int(truth.sum())
    if asked is not None or not 0 < there < truth.size:
        return HALF
    return _chosen(p.ravel(), truth.ravel(), "the tags", how, asked).threshold


def _chosen(
    p: npt.NDArray[Any], truth: npt.NDArray[Any], name: str, how: str, asked: str | None
) -> OperatingPoint:
    two = np.stack([1 - p, p], 1).astype(np.float32)
    judged = Judged(how, two, np.asarray(truth > 0, np.int64))
    return choose(judged, (f"not {name}", name), name, asked or USUAL)
