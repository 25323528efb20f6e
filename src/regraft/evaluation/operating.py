"""Operating points: from which probability on the answer is the positive class.

The most probable class is the right answer only where both mistakes cost the same. Who must not
miss a class says so, ``sensitivity>=0.95``, and the threshold that gives it is chosen on scores of
examples that did not teach the head: leave-one-out, or examples that were held back. Never on those
that are measured, where it would look better than it is.

With more than two classes the positive one stands against the rest: the answer is the positive
class from the threshold on, and else the most probable of the others.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from regraft.errors import UsageError
from regraft.evaluation.weighted import FloatArray, IntArray, ratio

MOST_JUDGED = 1_000_000  # probabilities that a bundle holds, so that another point can be chosen
SLACK = 1e-12  # a floor of 0.95 holds where 19 of 20 are found
SPELLING = "sensitivity>=0.95, specificity>=0.9, ppv>=0.8, npv>=0.99, probability>=0.3, youden, f1"

FIGURES = ("sensitivity", "specificity", "ppv", "npv", "f1", "youden")
# What has a floor → what is made as large as possible above it.
FLOORS: Mapping[str, str] = MappingProxyType(
    {
        "sensitivity": "specificity",
        "specificity": "sensitivity",
        "ppv": "sensitivity",
        "npv": "specificity",
    }
)
SYNONYMS: Mapping[str, str] = MappingProxyType({"recall": "sensitivity", "precision": "ppv"})
LARGEST = ("youden", "f1")  # made as large as possible, without a floor
FIXED = "probability"
LEFT_OUT, HELD_BACK = "leave-one-out", "held back"  # how examples came not to teach the head


class Goal(NamedTuple):
    """What an operating point is chosen by: a figure and its floor, None: as large as possible."""

    figure: str
    floor: float | None


@dataclass(frozen=True)
class OperatingPoint:
    """Where the answer turns to the positive class.

    positive   name of the class
    threshold  probability from which on the answer is that class
    asked      as the user put it
    chosen_on  what the figures below were measured on
    n, positives  how many examples these were, and how many of them are of the class
    sensitivity, specificity, ppv, npv, f1, youden  there; None: nothing to divide by
    """

    positive: str
    threshold: float
    asked: str
    chosen_on: str
    n: int
    positives: int
    sensitivity: float | None = None
    specificity: float | None = None
    ppv: float | None = None
    npv: float | None = None
    f1: float | None = None
    youden: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)

    def decide(self, probabilities: FloatArray, classes: Sequence[str]) -> IntArray:
        """(n, c) → (n,) the answers, see `decide`."""
        return decide(probabilities, classes.index(self.positive), self.threshold)


@dataclass(frozen=True, eq=False)
class Judged:
    """What a model said of examples that did not teach it, by which operating points are chosen.

    how            what these examples are: LEFT_OUT or HELD_BACK
    probabilities  (m, c) float32, calibrated
    labels         (m,) class numbers
    """

    how: str
    probabilities: npt.NDArray[np.float32]
    labels: IntArray


def decide(probabilities: FloatArray, positive: int, threshold: float) -> IntArray:
    """(n, c) → (n,): `positive` from the threshold on, else the most probable other class."""
    others = np.array(probabilities, np.float64)
    others[:, positive] = -np.inf
    chosen = np.asarray(probabilities)[:, positive] >= threshold
    return np.where(chosen, positive, others.argmax(axis=1)).astype(np.int64)


def goal(text: str) -> Goal:
    """What a person asks for, such as ``sensitivity>=0.95`` or ``youden``. Raises UsageError."""
    plain = text.strip().casefold().replace("≥", ">=")
    if plain in LARGEST:
        return Goal(plain, None)
    found = re.fullmatch(r"([a-z]+)\s*>=\s*(\d*\.?\d+)\s*(%?)", plain)
    figure = SYNONYMS.get(found[1], found[1]) if found else ""
    if not found or figure not in (*FLOORS, FIXED):
        raise UsageError(f"at: {text!r:.80} is no operating point; expected such as {SPELLING}")
    floor = float(found[2]) / (100 if found[3] else 1)
    if not 0 <= floor <= 1:
        raise UsageError(f"at: expected a share from 0 to 1 (or 0 % to 100 %), got {text!r:.80}")
    return Goal(figure, floor)


def positive_class(classes: Sequence[str], named: str | None, at: str | None) -> str | None:
    """The class that an operating point and a decision curve are about; None: there is none.

    Of two classes it is the second, if none is named. Raises UsageError for a name that is none of
    the classes, and for a point among several classes without a name.
    """
    if named is not None and named not in classes:
        known = ", ".join(map(repr, classes[:20]))
        raise UsageError(f"positive: {named!r:.80} is not one of the classes: {known}")
    if named is None and at is not None and len(classes) > 2:
        raise UsageError(
            f"at: with {len(classes)} classes an operating point needs the class that it is about; "
            "name it with positive"
        )
    return named or (classes[1] if len(classes) == 2 else None)


def choose(judged: Judged, classes: Sequence[str], positive: str, asked: str) -> OperatingPoint:
    """The threshold that gives what is asked, with the figures that it gives on `judged`.

    Above a floor the other figure is made as large as possible (FLOORS). A threshold lies midway
    between the two probabilities that it parts. Raises UsageError where no threshold gives it.
    """
    wanted, k = goal(asked), classes.index(positive)
    scores, member = judged.probabilities[:, k].astype(np.float64), judged.labels == k
    if not member.any() or member.all():
        raise UsageError(
            f"at: an operating point needs examples of {positive!r} and others to choose it on"
        )
    if wanted.figure == FIXED:
        thresholds = np.array([wanted.floor], np.float64)
    else:
        thresholds = _thresholds(scores)
    figures = _figures(scores, member, thresholds)
    place = 0 if wanted.figure == FIXED else _best(figures, wanted)
    if place is None:
        most = float(np.nanmax(figures[wanted.figure]))
        raise UsageError(
            f"at: no threshold gives {asked} for {positive!r} on the {len(member)} examples that "
            f"it is chosen on ({judged.how}); the most is {most:.3f}"
        )
    told = {name: _plain(values[place]) for name, values in figures.items()}
    return OperatingPoint(
        positive=positive,
        threshold=float(thresholds[place]),
        asked=asked.strip(),
        chosen_on=judged.how,
        n=len(member),
        positives=int(member.sum()),
        **told,
    )


def _thresholds(scores: FloatArray) -> FloatArray:
    """From all to none: 0, then midway between neighbouring scores, then 1 if that is above all."""
    levels = np.unique(scores)
    midway = (levels[:-1] + levels[1:]) / 2
    between = np.where(midway > levels[:-1], midway, levels[1:])  # of two floats side by side
    last = [1.0] if levels[-1] < 1 else []
    return np.concatenate([[0.0], between, last])


def _figures(
    scores: FloatArray, member: npt.NDArray[np.bool_], thresholds: FloatArray
) -> dict[str, FloatArray]:
    """FIGURES at each threshold, NaN where there is nothing to divide by."""
    of_class, others = np.sort(scores[member]), np.sort(scores[~member])
    p, n = float(len(of_class)), float(len(others))
    tp = np.asarray(p - np.searchsorted(of_class, thresholds, "left"), np.float64)
    fp = np.asarray(n - np.searchsorted(others, thresholds, "left"), np.float64)
    sensitivity, specificity = tp / p, 1 - fp / n
    return {
        "sensitivity": sensitivity,
        "specificity": specificity,
        "ppv": ratio(tp, tp + fp),
        "npv": ratio(n - fp, p + n - tp - fp),
        "f1": 2 * tp / (p + tp + fp),
        "youden": sensitivity + specificity - 1,
    }


def _best(figures: Mapping[str, FloatArray], wanted: Goal) -> int | None:
    """The place of the best threshold that meets the floor; of equals the one with the most of what
    the floor is about; None: there is none.
    """
    own = np.nan_to_num(figures[wanted.figure], nan=-np.inf)
    if wanted.floor is None:
        return int(own.argmax())
    meets = own >= wanted.floor - SLACK
    if not meets.any():
        return None
    other = np.where(meets, figures[FLOORS[wanted.figure]], -np.inf)
    best = other >= other.max() - SLACK
    return int(np.where(best, own, -np.inf).argmax())


def _plain(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
