"""From what annotation files say to a dataset: every fault is named by file and row.

A faulty box is left out of training and measuring; with `repair` what can be mended is mended, and
said to be. A box that reaches over the edge by less than ROUNDING pixels has no fault: it is cut.
"""

import math
import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from regraft.data.boxes.form import Boxes, Corners, Listing, Picture, Told
from regraft.data.boxes.sizes import upright_size
from regraft.data.dataset import Dataset, listed
from regraft.data.findings import Finding
from regraft.data.labels import natural_key
from regraft.data.paths import inside
from regraft.errors import DataError, Unreadable

ROUNDING = 1.0  # pixels
LEAST_SIDE = 0.1  # pixels
SAME_ASPECT = 0.01  # relative: a picture that was resized, and not cropped
NAMED = 1000  # findings of one kind; the rest is one finding

Size = tuple[int, int]


@dataclass(frozen=True)
class Fault:
    """One way in which a box is wrong.

    kind    of the finding
    found   whether these corners have it
    told    what is wrong
    mended  the corners without it; None where nobody can know them
    """

    kind: str
    found: Callable[[Corners, Size], bool]
    told: str
    mended: Callable[[Corners, Size], Corners] | None = None


def _is_no_number(c: Corners, size: Size) -> bool:
    return not all(map(math.isfinite, c))


def _is_swapped(c: Corners, size: Size) -> bool:
    return c[2] < c[0] or c[3] < c[1]


def _is_flat(c: Corners, size: Size) -> bool:
    return c[2] - c[0] < LEAST_SIDE or c[3] - c[1] < LEAST_SIDE


def _is_outside(c: Corners, size: Size) -> bool:
    inner = clipped(c, size)
    return _is_flat(inner, size)


def _reaches_out(c: Corners, size: Size) -> bool:
    return any(abs(a - b) > ROUNDING for a, b in zip(c, clipped(c, size), strict=True))


def _sorted(c: Corners, size: Size) -> Corners:
    return min(c[0], c[2]), min(c[1], c[3]), max(c[0], c[2]), max(c[1], c[3])


def clipped(c: Corners, size: Size) -> Corners:
    """The part of a box that is in the picture."""
    (width, height), (left, top, right, bottom) = size, c
    return (
        min(max(left, 0.0), width),
        min(max(top, 0.0), height),
        min(max(right, 0.0), width),
        min(max(bottom, 0.0), height),
    )


# In the order in which they are looked for.
FAULTS = (
    Fault("box-not-a-number", _is_no_number, "has a corner that is no finite number"),
    Fault(
        "box-swapped", _is_swapped, "has its corners swapped (negative width or height)", _sorted
    ),
    Fault("box-empty", _is_flat, "has no area"),
    Fault("box-outside", _is_outside, "is outside of the picture"),
    Fault("box-partly-outside", _reaches_out, "reaches out of the picture", clipped),
)
UNKNOWN, TWICE = "box-class-unknown", "box-twice"
BOX_KINDS = (*(fault.kind for fault in FAULTS), UNKNOWN, TWICE)


def dataset_of(listing: Listing, *, repair: bool = False) -> Dataset:
    """The pictures that are there, with the boxes that have no fault.

    Raises DataError where no picture is left, with the reasons.
    """
    return _Check(listing, repair).run()


@dataclass
class _Check:
    listing: Listing
    repair: bool
    findings: list[Finding] = field(default_factory=list)
    paths: dict[str, str] = field(default_factory=dict)
    kept: dict[str, tuple[Size, list[Told]]] = field(default_factory=dict)
    told: Counter[str] = field(default_factory=Counter)

    def run(self) -> Dataset:
        for name in sorted(self.listing.pictures, key=natural_key):
            self._picture(self.listing.pictures[name])
        if not self.paths:
            raise DataError("\n".join([*self._nothing()]))
        return self._dataset()

    def _nothing(self) -> Iterator[str]:
        yield f"{self.listing.root}: none of the pictures that are told of can be used"
        every = [*self.listing.findings, *self.findings]
        yield from (finding.reason for finding in every[:20])

    def _note(self, kind: str, name: str, reason: str, severity: str = "error") -> None:
        self.told[kind] += 1
        if self.told[kind] <= NAMED:
            self.findings.append(Finding(kind, (name,), reason, severity))

    def _picture(self, one: Picture) -> None:
        try:
            path = str(inside(self.listing.root, one.name))
        except DataError as error:
            self._note("path-refused", "", f"{one.file}: {error}")
            return
        if not os.path.isfile(path):
            reason = f"{one.file} tells of {one.name!r}, which is not there; it is left out"
            self._note("picture-missing", one.name, reason)
            return
        try:
            size = upright_size(path)
        except Unreadable as error:
            self._note("unreadable", one.name, f"{error.kind}: {error.reason}; it is left out")
            return
        self.paths[one.name] = path
        if one.bare:
            reason = "no annotation file tells of its objects; nothing is learned from it"
            self._note("unannotated", one.name, reason, "warning")
        elif (scale := self._scale(one, size)) is not None:
            self.kept[one.name] = size, [*self._boxes(one, size, scale)]

    def _scale(self, one: Picture, size: Size) -> tuple[float, float] | None:
        """From numbers as told to pixels; None where the annotation is of another picture."""
        if one.relative:
            return float(size[0]), float(size[1])
        known = one.size if one.size and all(s > 0 and math.isfinite(s) for s in one.size) else None
        if known is None or all(abs(a - b) <= 1 for a, b in zip(known, size, strict=True)):
            return 1.0, 1.0
        across, down = size[0] / known[0], size[1] / known[1]
        reason = (
            f"{one.file} is for {known[0]:g} × {known[1]:g} pixels, and the picture has "
            f"{size[0]} × {size[1]}"
        )
        if abs(across / down - 1) < SAME_ASPECT and self.repair:
            self._note("size-mismatch", one.name, f"{reason}: its boxes were scaled", "warning")
            return across, down
        self._note("size-mismatch", one.name, f"{reason}: nothing is learned from it")
        return None

    def _boxes(self, one: Picture, size: Size, scale: tuple[float, float]) -> Iterator[Told]:
        seen: dict[tuple[str, Corners], str] = {}
        for told in one.objects:
            where = f"{one.file}: {told.row}"
            if not told.label:
                self._note(UNKNOWN, one.name, f"{where}: {told.named} is no class; left out")
                continue
            a, b, c, d = told.corners
            scaled = (a * scale[0], b * scale[1], c * scale[0], d * scale[1])
            if (corners := self._faultless(where, one.name, scaled, size)) is None:
                continue
            if (known := seen.setdefault((told.label, corners), told.row)) != told.row:
                reason = f"{where}: the same box and class as in {known}; left out"
                self._note(TWICE, one.name, reason, "warning")
                continue
            yield told._replace(corners=corners)

    def _faultless(self, where: str, name: str, c: Corners, size: Size) -> Corners | None:
        for fault in FAULTS:
            if not fault.found(c, size):
                continue
            told = f"{where}: the box {_numbers(c)} {fault.told}, {size[0]} × {size[1]} pixels"
            if fault.mended is None or not self.repair:
                self._note(fault.kind, name, f"{told}; left out")
                return None
            c = fault.mended(c, size)
            self._note(fault.kind, name, f"{told}; mended to {_numbers(c)}", "warning")
        return clipped(c, size)

    def _dataset(self) -> Dataset:
        labels = {told.label or "" for _, objects in self.kept.values() for told in objects}
        order = self.listing.classes or sorted(labels, key=natural_key)
        classes = tuple(name for name in order if name in labels)
        if empty := [name for name in order if name not in labels]:
            reason = f"classes without any box: {listed(empty)}"
            self.findings.append(Finding("empty-class", (), reason))
        for kind, times in self.told.items():
            if times > NAMED:
                reason = f"{times - NAMED} more like these"
                self.findings.append(Finding(kind, (), reason))
        columns: dict[str, list[str | None]] = {
            "id": [*self.paths],
            "path": [*self.paths.values()],
            "split": [self.listing.pictures[name].part for name in self.paths],
        }
        found = (*self.listing.findings, *self.findings)
        made = Dataset.of(columns, Path(self.listing.root), findings=found)
        boxes = {name: _as_arrays(*kept, classes) for name, kept in self.kept.items()}
        return replace(made, task="detection", classes=classes, boxes=boxes)


def _numbers(c: Corners) -> str:
    return "(" + ", ".join(f"{v:g}" for v in c) + ")"


def _as_arrays(size: Size, objects: list[Told], classes: tuple[str, ...]) -> Boxes:
    return Boxes.of(
        [told.corners for told in objects],
        [classes.index(told.label or "") for told in objects],
        size,
        [told.crowd for told in objects],
        [told.difficult for told in objects],
    )
