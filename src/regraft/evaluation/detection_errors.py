"""What goes wrong in finding objects, and what each kind of mistake costs.

As TIDE has it (Bolya et al. 2020, arXiv 2008.08115): a box that is not right has one of five
mistakes, an object that no box is near is missed, and what a kind costs is what the average
precision (at an overlap of 0.5) gains where an oracle mends that kind alone.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from regraft.evaluation.detection import MOST, Detections, Floats, Matches, Objects, overlaps

FOUND, NEAR = 0.5, 0.1  # IoU from which a box is right, and from which it means an object
RIGHT, IGNORED = "right", "ignored"

# Kind → what it is.
KINDS: Mapping[str, str] = MappingProxyType(
    {
        "class": "the right place, another class",
        "place": "the right class, poorly placed",
        "both": "near an object, but neither class nor place are right",
        "duplicate": "an object that a surer box has found already",
        "background": "nothing is there",
        "missed": "an object that no box is near",
    }
)


@dataclass(frozen=True)
class Judged:
    """One picture.

    kinds    (k) of each box: RIGHT, IGNORED or one of KINDS
    objects  (k,) the object that it is or means; -1: none
    missed   positions of the objects that count and no box is near
    """

    kinds: tuple[str, ...]
    objects: npt.NDArray[np.int64]
    missed: tuple[int, ...]


def judged(found: Detections, there: Objects) -> Judged:
    """Tell of each box whether it is right, else what is wrong with it."""
    overlap = overlaps(found.boxes, there.xyxy, there.crowd)
    same = found.labels[:, None] == there.labels[None]
    counts = ~there.ignored
    own, other = np.where(same, overlap, 0.0), np.where(same | ~counts, 0.0, overlap)
    taken = np.zeros(len(there.labels), bool)
    kinds, objects = [""] * len(found.labels), np.full(len(found.labels), -1)
    for k in np.argsort(-found.scores, kind="mergesort"):
        free = np.where(~taken & counts, own[k], 0.0)
        if len(free) and free.max() >= FOUND:
            kinds[k], objects[k] = RIGHT, free.argmax()
            taken[objects[k]] = True
        elif len(free) and np.where(counts, 0.0, own[k]).max() >= FOUND:
            kinds[k] = IGNORED
    for k in (k for k, kind in enumerate(kinds) if not kind):
        kinds[k], objects[k] = _mistake(np.where(counts, own[k], 0.0), other[k])
    near = {int(objects[k]) for k, kind in enumerate(kinds) if kind in ("class", "place")}
    missed = tuple(i for i in np.flatnonzero(counts & ~taken).tolist() if i not in near)
    return Judged(tuple(kinds), objects, missed)


def _mistake(own: Floats, other: Floats) -> tuple[str, int]:
    """Of a box that is not right, by its overlaps with objects of its class and of others."""
    mine, its = own.max(initial=0.0), other.max(initial=0.0)
    if NEAR <= mine < FOUND:
        return "place", int(own.argmax())
    if its >= FOUND:
        return "class", int(other.argmax())
    if mine >= FOUND:
        return "duplicate", int(own.argmax())
    if its > NEAR:
        return "both", int(other.argmax())
    return "background", -1


# What mistakes cost ------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Answers:
    """Every box of all pictures."""

    pictures: npt.NDArray[np.int64]
    scores: Floats
    labels: npt.NDArray[np.int64]
    right: npt.NDArray[np.bool_]


def breakdown(
    found: Sequence[Detections], there: Sequence[Objects], classes: int
) -> dict[str, dict[str, float]]:
    """Kind → how many (``count``), and what mending them alone would add to mAP50 (``lost``)."""
    short = [_most(f) for f in found]
    every = [judged(f, t) for f, t in zip(short, there, strict=True)]
    now = _precision(short, there, every, classes, "")
    number = Counter(kind for one in every for kind in one.kinds)
    number["missed"] = sum(len(one.missed) for one in every)
    return {
        kind: {
            "count": number[kind],
            "lost": _precision(short, there, every, classes, kind) - now,
        }
        for kind in KINDS
    }


def _most(found: Detections) -> Detections:
    """At most MOST boxes of each class, the surest."""
    order = np.argsort(-found.scores, kind="mergesort")
    kept, seen = [], Counter[int]()
    for k in order.tolist():
        seen[int(found.labels[k])] += 1
        if seen[int(found.labels[k])] <= MOST:
            kept.append(k)
    return Detections(found.boxes[kept], found.scores[kept], found.labels[kept])


def _precision(
    found: Sequence[Detections],
    there: Sequence[Objects],
    every: Sequence[Judged],
    classes: int,
    mended: str,
) -> float:
    """mAP50 where the mistakes of one kind are mended."""
    parts = [
        MENDERS.get(mended, _as_it_is)(f, t, j, mended)
        for f, t, j in zip(found, there, every, strict=True)
    ]
    pictures = np.concatenate([np.full(len(p[0]), i) for i, p in enumerate(parts)])
    scores, labels, right = (np.concatenate([p[n] for p in parts]) for n in range(3))
    answers = _Answers(pictures.astype(np.int64), scores, labels.astype(np.int64), right)
    values = []
    for c in range(classes):
        objects = np.array([int((~t.ignored & (t.labels == c)).sum()) for t in there])
        if mended == "missed":
            lost = [
                sum(t.labels[i] == c for i in j.missed) for t, j in zip(there, every, strict=True)
            ]
            objects = objects - np.array(lost, int)
        if (table := _matches_of(answers, c, objects).precision()) is not None:
            values.append(float(table.mean()))
    return float(np.mean(values)) if values else 0.0


def _matches_of(answers: _Answers, label: int, objects: npt.NDArray[np.int64]) -> Matches:
    own = np.flatnonzero(answers.labels == label)
    own = own[np.argsort(-answers.scores[own], kind="mergesort")]
    right = answers.right[own][None].astype(bool)
    return Matches(
        answers.pictures[own],
        answers.scores[own],
        np.zeros(len(own), np.int64),
        right,
        np.zeros_like(right),
        objects,
    )


Kept = tuple[Floats, npt.NDArray[np.int64], npt.NDArray[np.bool_]]  # scores, labels, right


def _as_it_is(found: Detections, there: Objects, one: Judged, kind: str) -> Kept:
    right = np.array([k == RIGHT for k in one.kinds], bool)
    counts = np.array([k != IGNORED for k in one.kinds], bool)
    return found.scores[counts], found.labels[counts], right[counts]


def _without(found: Detections, there: Objects, one: Judged, kind: str) -> Kept:
    """These boxes are left out."""
    kept = np.array([k not in (kind, IGNORED) for k in one.kinds], bool)
    right = np.array([k == RIGHT for k in one.kinds], bool)
    return found.scores[kept], found.labels[kept], right[kept]


def _put_right(found: Detections, there: Objects, one: Judged, kind: str) -> Kept:
    """The surest of these boxes for an object that is not found yet finds it; the others go."""
    taken = {int(o) for o, k in zip(one.objects, one.kinds, strict=True) if k == RIGHT}
    scores, labels, right = [], [], []
    for k in np.argsort(-found.scores, kind="mergesort"):
        label, good = int(found.labels[k]), one.kinds[k] == RIGHT
        if one.kinds[k] == kind:
            if (meant := int(one.objects[k])) in taken:
                continue
            taken.add(meant)
            label, good = int(there.labels[meant]), True
        elif one.kinds[k] == IGNORED:
            continue
        scores.append(float(found.scores[k]))
        labels.append(label)
        right.append(good)
    return np.array(scores), np.array(labels, np.int64), np.array(right, bool)


Mender = Callable[[Detections, Objects, Judged, str], Kept]
MENDERS: Mapping[str, Mender] = MappingProxyType(
    {
        **dict.fromkeys(("class", "place"), _put_right),
        **dict.fromkeys(("both", "duplicate", "background"), _without),
    }
)


def confusion(
    found: Sequence[Detections], there: Sequence[Objects], classes: int
) -> list[list[int]]:
    """(classes + 1) × (classes + 1): a row per true class, a column per class that was said.

    The last row are boxes where there is no such object, the last column objects not found.
    """
    table = np.zeros((classes + 1, classes + 1), int)
    for f, t in zip(found, there, strict=True):
        one = judged(f, t)
        named = set()
        for kind, meant, label in zip(one.kinds, one.objects, f.labels, strict=True):
            if kind in (RIGHT, "class"):
                table[t.labels[meant], label] += 1
                named.add(int(meant))
            elif kind != IGNORED:
                table[classes, label] += 1
        for i in np.flatnonzero(~t.ignored).tolist():
            if i not in named:
                table[t.labels[i], classes] += 1
    return [[int(n) for n in row] for row in table]
