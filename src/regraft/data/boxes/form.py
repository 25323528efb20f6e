"""The one internal form of boxes, and what annotation files say before any of it is believed."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from regraft.data.findings import Finding

Corners = tuple[float, float, float, float]  # left, top, right, bottom


@dataclass(frozen=True, eq=False)
class Boxes:
    """The objects of one picture.

    xyxy       (m, 4) float64: left, top, right, bottom in pixels of the upright picture, whose
               corner is (0, 0)
    labels     (m,) int64: positions in the classes of the dataset
    crowd      (m,) bool: a region with many objects that are not told apart
    difficult  (m,) bool: an object that need not be found
    size       width and height of the upright picture
    """

    xyxy: npt.NDArray[np.float64]
    labels: npt.NDArray[np.int64]
    crowd: npt.NDArray[np.bool_]
    difficult: npt.NDArray[np.bool_]
    size: tuple[int, int]

    @classmethod
    def of(
        cls,
        xyxy: Any,
        labels: Any,
        size: tuple[int, int],
        crowd: Any = None,
        difficult: Any = None,
    ) -> Self:
        """From anything that arrays are made of; flags that are not told are false."""
        corners = np.asarray(xyxy, np.float64).reshape(-1, 4)
        classes = np.asarray(labels, np.int64).reshape(-1)
        return cls(corners, classes, _flags(crowd, corners), _flags(difficult, corners), size)

    def __len__(self) -> int:
        return len(self.xyxy)

    @property
    def ignored(self) -> npt.NDArray[np.bool_]:
        """(m,): neither learned from nor counted, found or not."""
        return self.crowd | self.difficult

    def take(self, which: npt.NDArray[Any]) -> Self:
        """Some of the objects, by positions or by a mask."""
        flags = self.crowd[which], self.difficult[which]
        return type(self)(self.xyxy[which], self.labels[which], *flags, self.size)


def _flags(told: Any, corners: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    return np.zeros(len(corners), bool) if told is None else np.asarray(told, bool).reshape(-1)


class Told(NamedTuple):
    """One object as a file tells it.

    row      where: ``line 4``, ``annotation 7`` ...
    label    its class; None where what stands there names none
    corners  in pixels, or in shares of the picture where the picture says so
    named    the class as it stands, for messages
    """

    row: str
    label: str | None
    corners: Corners
    crowd: bool = False
    difficult: bool = False
    named: str = ""


@dataclass
class Picture:
    """One picture as files tell of it.

    name      relative to the root of the listing, with /; not trusted
    file      the annotation file that tells of it
    size      width and height as told, None where they are not
    relative  whether corners are shares of the picture's size
    bare      no file tells of its objects: there is no knowing that it holds none
    """

    name: str
    file: str
    size: tuple[float, float] | None = None
    part: str | None = None
    relative: bool = False
    objects: list[Told] = field(default_factory=list)
    bare: bool = False


@dataclass
class Listing:
    """What annotation files say.

    root      folder that the names of pictures are relative to and must stay in
    classes   in the order of the files; empty: those that appear
    pictures  by name
    findings  what is odd about the files themselves
    """

    root: Path
    classes: list[str] = field(default_factory=list)
    pictures: dict[str, Picture] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    def add(self, picture: Picture) -> Picture:
        """A new picture; of one that is told of twice the first stays, with a finding."""
        if (known := self.pictures.get(picture.name)) is None:
            self.pictures[picture.name] = picture
            return picture
        reason = f"{picture.file} tells of it, and {known.file} before: only the first counts"
        self.findings.append(Finding("picture-twice", (picture.name,), reason, "error"))
        return picture  # what it holds is told to nobody

    def name_classes(self, names: Iterable[str]) -> None:
        """Add classes that are not known yet."""
        self.classes += [n for n in dict.fromkeys(names) if n not in self.classes]


def joined(listings: Mapping[str | None, Listing], root: Path) -> Listing:
    """Listings of parts of a split, one after the other.

    listings  part → listing; roots are `root` or below
    """
    whole = Listing(root)
    for part, one in listings.items():
        whole.name_classes(one.classes)
        whole.findings += one.findings
        below = _below(one.root, root)
        for picture in one.pictures.values():
            picture.name = below + picture.name
            picture.part = part or picture.part
            whole.add(picture)
    return whole


def _below(folder: Path, root: Path) -> str:
    steps = folder.relative_to(root).as_posix()
    return "" if steps == "." else f"{steps}/"


def number(text: Any) -> float:
    """A number from JSON or from text; NaN for what is none, so that it is named with its row."""
    if isinstance(text, bool) or not isinstance(text, int | float | str):
        return float("nan")
    try:
        return float(text)
    except (ValueError, OverflowError):
        return float("nan")


def corners_of_centre(x: float, y: float, width: float, height: float) -> Corners:
    """Centre and size → corners."""
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


def shown(value: object, most: int = 60) -> str:
    """A value from a file, for a message."""
    text = repr(value)
    return text if len(text) <= most else text[: most - 1] + "…"


def rows_of(objects: Iterable[Any]) -> Iterator[tuple[int, Any]]:
    """Objects numbered from 1, as messages count them."""
    return enumerate(objects, 1)
