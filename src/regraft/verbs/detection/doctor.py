"""doctor for boxes: what is odd about pictures and their boxes, by name."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from regraft.backbones.store import Store
from regraft.data.boxes.form import Boxes
from regraft.data.dataset import Dataset, listed
from regraft.data.findings import Finding
from regraft.data.inspection import FEW, UNEVEN
from regraft.data.sources import load
from regraft.errors import UsageError
from regraft.evaluation.detection import areas, overlaps
from regraft.progress import Progress
from regraft.verbs.detection.prepare import boxes_per_class, unseen_classes
from regraft.verbs.doctor import Diagnosis
from regraft.verbs.first_look import look

TINY = 8.0  # pixels of 640: the geometric side below which an object is hardly seen
HUGE = 0.95  # share of the picture
CROWDED = 100  # objects in a picture: more than that are not counted by COCO's figures
TWIN = 0.9  # IoU from which two boxes of one class are one object marked twice
SAME = 0.5  # IoU from which boxes in copies of a picture are the same object
COPIES = 0.02  # of width / height: copies of one size and cut, whose boxes can be compared


@dataclass(frozen=True, eq=False)
class BoxDiagnosis(Diagnosis):
    """As `Diagnosis`; `classes` counts boxes."""

    def to_dict(self) -> dict[str, Any]:
        """Also the boxes of each class and how many objects a picture has."""
        numbers = [len(self.dataset.boxes[n]) for n in self._annotated()]
        told = {"objects": sum(numbers), "empty_pictures": numbers.count(0)}
        told |= {"most_in_a_picture": max(numbers, default=0)}
        return super().to_dict() | {"task": "detection", "boxes": told}

    def _annotated(self) -> list[str]:
        return [name for name in self.dataset.table["id"] if name in self.dataset.boxes]

    def write_manifest(
        self, path: str | Path, drop: Any = None, *, inside_data: bool = False
    ) -> Path:
        """Write the pictures and boxes without a fault as COCO (.json) or CSV."""
        kept = self.cleaned() if drop is None else self.cleaned(drop)
        return kept.to_annotations(path)


def doctor_of_boxes(
    data: Any,
    *,
    root: str | Path | None = None,
    repair: bool | None = None,
    progress: Progress | None = None,
    store: Store | None = None,
    look_for_label_errors: bool = True,
    seed: int = 0,
    task: str | None = None,
    **unused: Any,
) -> BoxDiagnosis:
    """Look for what is wrong with pictures and boxes; see `regraft.doctor`."""
    if wrong := [name for name, value in unused.items() if value is not None]:
        raise UsageError(*(f"{name}: has no use for boxes" for name in wrong))
    dataset = data if isinstance(data, Dataset) else load(data, root=root, repair=repair)
    opened = store or Store()
    try:
        looked = look(dataset, opened, progress)
    finally:
        if store is None:
            opened.close()
    clean = looked.dataset
    odd = [*_of_boxes(clean), *_of_copies(clean, looked.together), *unseen_classes(clean)]
    whole = replace(clean, findings=(*clean.findings, *odd))
    counts = boxes_per_class(whole)
    classes = {name: int(n) for name, n in zip(whole.classes, counts, strict=True)}
    return BoxDiagnosis(whole, whole.findings, looked.together, len(dataset), classes)


def _of_boxes(data: Dataset) -> Iterator[Finding]:
    known = {name: data.boxes[name] for name in data.table["id"] if name in data.boxes}
    yield from _sizes(known, data.classes)
    yield from _twins(known, data.classes)
    yield from _numbers(known)
    yield from _balance(data)


def _sizes(known: dict[str, Boxes], classes: Sequence[str]) -> Iterator[Finding]:
    """Boxes that are tiny, huge, or of a very odd size for their class."""
    tiny, huge = Counter[str](), Counter[str]()
    for name, boxes in known.items():
        side = np.sqrt(areas(boxes.xyxy)) * 640 / max(boxes.size)
        tiny[name] += int((side < TINY).sum())
        huge[name] += int((areas(boxes.xyxy) > HUGE * boxes.size[0] * boxes.size[1]).sum())
    rows = (
        ("tiny-box", tiny, f"smaller than {TINY:g} pixels of 640: they can hardly be found"),
        ("huge-box", huge, f"fill more than {HUGE:.0%} of the picture: is it one object?"),
    )
    for kind, found, why in rows:
        if files := tuple(name for name, n in found.most_common() if n):
            yield Finding(kind, files, f"{found.total()} boxes {why}")
    yield from _small(known)
    yield from _odd_sizes(known, classes)


def _small(known: dict[str, Boxes]) -> Iterator[Finding]:
    """Objects that are small at any input that is chosen: what sees them larger."""
    from regraft.verbs.detection.start import longer_side, tiles_for

    boxes = [*known.values()]
    if any(map(len, boxes)):
        tiles, why = tiles_for(boxes, longer_side(boxes)[0])
        if tiles > 1:
            yield Finding("small-objects", (), f"{why}, for fit, evaluate and predict")


def _odd_sizes(known: dict[str, Boxes], classes: Sequence[str]) -> Iterator[Finding]:
    """Boxes whose size is ten times away from the median of their class."""
    for c, label in enumerate(classes):
        sides = {n: np.sqrt(areas(b.xyxy[b.labels == c])) / max(b.size) for n, b in known.items()}
        every = np.concatenate([*sides.values(), np.zeros(0)])
        if len(every) < FEW:
            continue
        middle = float(np.median(every))
        odd = tuple(n for n, s in sides.items() if ((s > 10 * middle) | (s < middle / 10)).any())
        if odd:
            reason = f"boxes of {label!r} that are ten times larger or smaller than is usual for it"
            yield Finding("odd-box-size", odd, reason)


def _twins(known: dict[str, Boxes], classes: Sequence[str]) -> Iterator[Finding]:
    """One object that seems to be marked twice, with one class or with two."""
    same, other = [], []
    for name, boxes in known.items():
        overlap = np.triu(overlaps(boxes.xyxy, boxes.xyxy), 1) > TWIN
        alike = boxes.labels[:, None] == boxes.labels[None]
        if (overlap & alike).any():
            same.append(name)
        if (overlap & ~alike).any():
            other.append(name)
    if same:
        yield Finding("box-marked-twice", tuple(same), "two boxes of one class lie on one another")
    if other:
        reason = "two boxes of different classes lie on one another: at most one can be right"
        yield Finding("conflicting-boxes", tuple(other), reason)


def _numbers(known: dict[str, Boxes]) -> Iterator[Finding]:
    """Objects in a picture."""
    empty = tuple(name for name, boxes in known.items() if not len(boxes))
    crowded = tuple(name for name, boxes in known.items() if len(boxes) > CROWDED)
    ignored = sum(int(boxes.ignored.sum()) for boxes in known.values())
    if empty:
        reason = f"{len(empty)} of {len(known)} pictures hold no object: they teach what is none"
        yield Finding("empty-picture", empty, reason, "note")
    if crowded:
        yield Finding("crowded-picture", crowded, f"more than {CROWDED} objects", "note")
    if ignored:
        reason = f"{ignored} boxes are crowds or difficult: neither learned from nor counted"
        yield Finding("ignored-boxes", (), reason, "note")


def _balance(data: Dataset) -> Iterator[Finding]:
    counts = boxes_per_class(data.learning)
    named = {name: int(n) for name, n in zip(data.classes, counts, strict=True) if n}
    if few := [name for name, n in named.items() if n < FEW]:
        reason = f"classes with fewer than {FEW} boxes to learn from: {listed(few)}"
        yield Finding("tiny-class", (), reason)
    if named and max(named.values()) > UNEVEN * min(named.values()):
        most, least = (f(named, key=lambda n: named[n]) for f in (max, min))
        reason = f"{most!r} has {named[most]} boxes to learn from and {least!r} has {named[least]}"
        yield Finding("imbalance", (), f"{reason}: look at the figures class by class", "note")


def _of_copies(data: Dataset, together: Sequence[Sequence[str]]) -> Iterator[Finding]:
    """Objects that are marked in one of two copies of a picture and not in the other."""
    for group in together:
        known = [name for name in group if name in data.boxes]
        first = known[0] if known else ""
        for other in known[1:]:
            lacks = _lacking(data.boxes[first], data.boxes[other])
            if lacks is not None and any(lacks):
                reason = (
                    f"copies of one picture: {lacks[0]} objects are marked only in the first, "
                    f"{lacks[1]} only in the second"
                )
                yield Finding("unlabelled-look-alike", (first, other), reason)


def _lacking(a: Boxes, b: Boxes) -> tuple[int, int] | None:
    """How many of each have no counterpart; None where the copies cannot be laid on one another."""
    aspects = a.size[0] / a.size[1], b.size[0] / b.size[1]
    if abs(aspects[0] / aspects[1] - 1) > COPIES:
        return None
    scaled = b.xyxy * a.size[0] / b.size[0]
    mirrored = scaled.copy()
    mirrored[:, [0, 2]] = a.size[0] - scaled[:, [2, 0]]
    ways = [_unmatched(a, b, boxes) for boxes in (scaled, mirrored)]
    return min(ways, key=sum)


def _unmatched(a: Boxes, b: Boxes, moved: Any) -> tuple[int, int]:
    same = (overlaps(a.xyxy, moved) >= SAME) & (a.labels[:, None] == b.labels[None])
    return int((~same.any(1)).sum()), int((~same.any(0)).sum())
