"""How well objects are found: COCO's average precision and recall, as pure functions.

The matching and the figures are those of pycocotools (Lin et al. 2014, arXiv 1405.0312), tested to
be equal to 1e-6. They are computed here because intervals need them on many resamples of the
pictures, and matching is done only once for all of these.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.int64]
Truths = npt.NDArray[np.bool_]

OVERLAPS = np.linspace(0.5, 0.95, 10)  # IoU from which a box counts as found
RECALLS = np.linspace(0, 1, 101)  # at which precision is read
MOST = 100  # boxes of a class that count in a picture
AREAS: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        "all": (0.0, 1e10),
        "small": (0.0, 32.0**2),
        "medium": (32.0**2, 96.0**2),
        "large": (96.0**2, 1e10),
    }
)  # square pixels


class Detections(NamedTuple):
    """What was found in one picture, the surest first.

    boxes   (k, 4) float64: left, top, right, bottom
    scores  (k,) in [0, 1]
    labels  (k,) class numbers
    """

    boxes: Floats
    scores: Floats
    labels: Numbers

    def above(self, least: float | Floats) -> "Detections":
        """Those with a score of `least` or more: one for all, or (classes,) one for each class."""
        wanted = np.asarray(least, float)
        sure = self.scores >= (wanted[self.labels] if wanted.ndim else wanted)
        return Detections(self.boxes[sure], self.scores[sure], self.labels[sure])


class Objects(Protocol):
    """What is in one picture; see `regraft.data.boxes.form.Boxes`."""

    @property
    def xyxy(self) -> Floats: ...
    @property
    def labels(self) -> Numbers: ...
    @property
    def crowd(self) -> Truths: ...
    @property
    def ignored(self) -> Truths: ...


def overlaps(found: Floats, there: Floats, crowd: Truths | None = None) -> Floats:
    """(k, m) IoU of boxes; with a crowd the share of the found box that is in it."""
    low = np.maximum(found[:, None, :2], there[None, :, :2])
    high = np.minimum(found[:, None, 2:], there[None, :, 2:])
    inner = np.clip(high - low, 0, None).prod(2)
    own, other = areas(found)[:, None], areas(there)[None]
    whole = own + other - inner
    if crowd is not None:
        whole = np.where(crowd[None], own, whole)
    return np.divide(inner, whole, out=np.zeros_like(inner), where=whole > 0)


def areas(boxes: Floats) -> Floats:
    """(n,) square pixels."""
    found: Floats = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return found


@dataclass(frozen=True)
class Matches:
    """The boxes of one class in all pictures, the surest first, and which of them are right.

    pictures  (k,) in which picture each is
    scores    (k,)
    ranks     (k,) place among the boxes of its picture, from 0
    hits      (t, k) for each overlap, whether it is right
    ignored   (t, k) neither right nor wrong
    objects   (n,) how many there are to find in each picture
    """

    pictures: Numbers
    scores: Floats
    ranks: Numbers
    hits: Truths
    ignored: Truths
    objects: Numbers

    def precision(self, weights: Floats | None = None) -> Floats | None:
        """(t, 101) at RECALLS; None where there is nothing to find.

        weights  (n,) how often each picture counts
        """
        total = float(self.objects.sum() if weights is None else self.objects @ weights)
        if not total:
            return None
        right, wrong = self.sums(weights)
        recall = right / total
        precise = right / np.maximum(right + wrong, np.spacing(1.0))
        precise = np.maximum.accumulate(precise[:, ::-1], axis=1)[:, ::-1]
        table = np.zeros((len(recall), len(RECALLS)))
        for row, (own, values) in enumerate(zip(recall, precise, strict=True)):
            place = np.searchsorted(own, RECALLS, side="left")
            there = place < len(values)
            table[row, there] = values[place[there]]
        return table

    def sums(self, weights: Floats | None) -> tuple[Floats, Floats]:
        """(t, k) weights of what is right and what is wrong so far."""
        each = np.ones(len(self.scores)) if weights is None else weights[self.pictures]
        right = np.cumsum((self.hits & ~self.ignored) * each, axis=1)
        wrong = np.cumsum((~self.hits & ~self.ignored) * each, axis=1)
        return right, wrong

    def recall(self, most: int = MOST) -> Floats | None:
        """(t,) with the `most` surest boxes of each picture; None where nothing is to be found."""
        if not (total := self.objects.sum()):
            return None
        counted = self.hits & ~self.ignored & (self.ranks < most)
        found: Floats = counted.sum(1) / total
        return found


def matched(
    found: Sequence[Detections],
    there: Sequence[Objects],
    label: int,
    area: tuple[float, float] = AREAS["all"],
    thresholds: Floats = OVERLAPS,
) -> Matches:
    """Match the boxes of one class, the surest first, each to the object that it fits best."""
    parts = [
        _matched_in_one(f, t, label, area, thresholds) for f, t in zip(found, there, strict=True)
    ]
    pictures = np.concatenate([np.full(len(p.scores), i) for i, p in enumerate(parts)])
    scores = np.concatenate([p.scores for p in parts])
    order = np.argsort(-scores, kind="mergesort")
    return Matches(
        pictures[order].astype(np.int64),
        scores[order],
        np.concatenate([np.arange(len(p.scores)) for p in parts])[order],
        np.concatenate([p.hits for p in parts], axis=1)[:, order],
        np.concatenate([p.ignored for p in parts], axis=1)[:, order],
        np.array([p.objects for p in parts], np.int64),
    )


class _One(NamedTuple):
    scores: Floats
    hits: Truths
    ignored: Truths
    objects: int


def _matched_in_one(
    found: Detections, there: Objects, label: int, area: tuple[float, float], thresholds: Floats
) -> _One:
    own = there.labels == label
    boxes, crowd = there.xyxy[own], there.crowd[own]
    size = areas(boxes)
    away = there.ignored[own] | (size < area[0]) | (size > area[1])
    last = np.argsort(away, kind="mergesort")  # what need not be found comes last
    boxes, crowd, away = boxes[last], crowd[last], away[last]
    chosen = np.flatnonzero(found.labels == label)
    chosen = chosen[np.argsort(-found.scores[chosen], kind="mergesort")][:MOST]
    candidates = found.boxes[chosen]
    hits, ignored = _assigned(overlaps(candidates, boxes, crowd), crowd, away, thresholds)
    out = (areas(candidates) < area[0]) | (areas(candidates) > area[1])
    return _One(found.scores[chosen], hits, ignored | (~hits & out), int((~away).sum()))


def _assigned(
    overlap: Floats, crowd: Truths, away: Truths, thresholds: Floats
) -> tuple[Truths, Truths]:
    """(t, k) whether each box is matched, and whether to an object that does not count.

    overlap  (k, m), objects that do not count last
    """
    boxes, objects = overlap.shape
    hits = np.zeros((len(thresholds), boxes), bool)
    ignored = hits.copy()
    if not objects:
        return hits, ignored
    taken = np.zeros((len(thresholds), objects), bool)
    least = np.minimum(thresholds, 1 - 1e-10)
    rows = np.arange(len(thresholds))
    for k in np.flatnonzero(overlap.max(1) >= least.min()):
        fits = (overlap[k][None] >= least[:, None]) & (~taken | crowd[None])
        counts = fits & ~away[None]
        # An object that counts comes before one that does not, whatever the overlap.
        usable = np.where(counts.any(1, keepdims=True), counts, fits)
        value = np.where(usable, overlap[k][None], -1.0)
        best = objects - 1 - value[:, ::-1].argmax(1)  # of equals the last, as pycocotools has it
        good = usable.any(1)
        hits[good, k] = True
        ignored[good, k] = away[best[good]]
        taken[rows[good], best[good]] = True
    return hits, ignored


@dataclass(frozen=True)
class Precision:
    """Average precision of all classes.

    matches    of each class
    precision  of each class (t, 101) at RECALLS; None where nothing of it is there
    """

    matches: Sequence[Matches]
    precision: Sequence[Floats | None]

    @cached_property
    def per_class(self) -> list[float | None]:
        """Mean over OVERLAPS and RECALLS of each class."""
        return [None if p is None else float(p.mean()) for p in self.precision]

    @property
    def map(self) -> float | None:
        """Mean over the classes, from 0.5 to 0.95."""
        return _mean(self.per_class)

    @property
    def map50(self) -> float | None:
        return self.at(0)

    @property
    def map75(self) -> float | None:
        return self.at(5)

    def at(self, place: int) -> float | None:
        """Mean over the classes at one of OVERLAPS, by its place."""
        return _mean([None if p is None else float(p[place].mean()) for p in self.precision])


def average_precision(
    found: Sequence[Detections],
    there: Sequence[Objects],
    classes: int,
    area: str = "all",
) -> Precision:
    """Of what was found in pictures against what is there.

    area  a name of AREAS
    """
    matches = [matched(found, there, label, AREAS[area]) for label in range(classes)]
    return Precision(matches, [m.precision() for m in matches])


def _mean(values: Sequence[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return float(np.mean(known)) if known else None


# All figures at once ------------------------------------------------------------------------------

# Name → title and what it is.
METRICS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "map": ("mAP", "Average precision, mean over classes and overlaps from 0.5 to 0.95 (COCO)"),
        "map50": ("mAP50", "Average precision where an overlap of 0.5 counts as found"),
        "map75": ("mAP75", "Average precision where an overlap of 0.75 counts as found"),
        "map_small": ("mAP, small", "mAP of objects below 32 × 32 pixels"),
        "map_medium": ("mAP, medium", "mAP of objects from 32 × 32 to 96 × 96 pixels"),
        "map_large": ("mAP, large", "mAP of objects above 96 × 96 pixels"),
        "ar1": ("AR, 1 box", "Recall, mean over overlaps, with one box a picture and class"),
        "ar10": ("AR, 10 boxes", "Recall, mean over overlaps, with ten boxes a picture and class"),
        "ar100": ("AR, 100 boxes", "Recall, mean over overlaps, with a hundred boxes"),
        "ar_small": ("AR, small", "Recall of objects below 32 × 32 pixels"),
        "ar_medium": ("AR, medium", "Recall of objects from 32 × 32 to 96 × 96 pixels"),
        "ar_large": ("AR, large", "Recall of objects above 96 × 96 pixels"),
    }
)


def figures(
    found: Sequence[Detections], there: Sequence[Objects], classes: int
) -> tuple[dict[str, float | None], Precision]:
    """The twelve figures of COCO, None where nothing of that size is there; and all matches."""
    by_area = {area: average_precision(found, there, classes, area) for area in AREAS}
    whole = by_area["all"]
    told = {"map": whole.map, "map50": whole.map50, "map75": whole.map75}
    told |= {f"map_{area}": one.map for area, one in by_area.items() if area != "all"}
    told |= {f"ar{most}": _recall(whole, most) for most in (1, 10, 100)}
    told |= {f"ar_{area}": _recall(one, MOST) for area, one in by_area.items() if area != "all"}
    return told, whole


def _recall(one: Precision, most: int) -> float | None:
    each = [m.recall(most) for m in one.matches]
    return _mean([None if r is None else float(r.mean()) for r in each])
