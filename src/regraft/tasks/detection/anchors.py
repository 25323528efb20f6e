"""Anchors: boxes of reference at every place of every map, fitted to the boxes of the data."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Sizes = npt.NDArray[np.float64]

MIDDLE = 0.5  # of a place, in strides
EACH = 3  # shapes at each place of a map
USUAL_SCALES = (1.0, 2 ** (1 / 3), 2 ** (2 / 3))  # of RetinaNet
ASPECTS = (0.5, 1.0, 2.0)  # heights in widths, of torchvision's anchors
USUAL_BASE = 4.0  # of RetinaNet: side of an anchor in strides
ROUNDS = 50
FEWEST = 30  # boxes from which shapes are fitted; with fewer they are the usual ones
LARGEST_IN_STRIDES = 6.0  # geometric side of an anchor: beyond, the next map sees it better
SPREAD = 1.35  # between the scales of a map that no box of the data is for


@dataclass(frozen=True)
class Anchors:
    """Shapes of the anchors, the same at each place of a map.

    strides  of the maps, in pixels of the input
    shapes   for each map k (width, height) in pixels of the input
    offset   of the centres from the left upper corner of a place, in strides
    """

    strides: tuple[int, ...]
    shapes: tuple[tuple[tuple[float, float], ...], ...]
    offset: float = MIDDLE

    @property
    def each(self) -> int:
        """Anchors at one place."""
        return len(self.shapes[0])

    def boxes(self, maps: Sequence[tuple[int, int]]) -> Tensor:
        """(A, 4) corners for maps of these heights and widths, map by map, row by row.

        The order is that of torchvision's head: places, and at each all its shapes.
        """
        return torch.cat(
            [
                _placed(stride, shapes, self.offset, *size)
                for stride, shapes, size in zip(self.strides, self.shapes, maps, strict=True)
            ]
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        shapes = [[*map(list, s)] for s in self.shapes]
        return {"strides": list(self.strides), "shapes": shapes, "offset": self.offset}

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> "Anchors":
        """Read `to_dict` back."""
        shapes = tuple(tuple((float(w), float(h)) for w, h in one) for one in record["shapes"])
        strides = tuple(int(s) for s in record["strides"])
        return cls(strides, shapes, float(record.get("offset", MIDDLE)))


def _placed(
    stride: int, shapes: Sequence[tuple[float, float]], offset: float, height: int, width: int
) -> Tensor:
    """Around the middle of what a place of the map stands for, or as far off as is told."""
    rows, columns = ((torch.arange(n) + offset) * stride for n in (height, width))
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    centres = torch.stack([x, y, x, y], 2).reshape(-1, 1, 4)
    half = torch.tensor(shapes, dtype=torch.float32) / 2
    return (centres + torch.cat([-half, half], 1)).reshape(-1, 4)


def usual(strides: Sequence[int]) -> Anchors:
    """RetinaNet's scales, square."""
    return Anchors(
        tuple(strides),
        tuple(tuple((USUAL_BASE * s * f,) * 2 for f in USUAL_SCALES) for s in strides),
    )


def fitted(sizes: Sizes, strides: Sequence[int], seed: int = 0) -> Anchors:
    """Anchors for boxes of these (m, 2) widths and heights in pixels of the input.

    Boxes go to the first map whose anchors may be as large; on each map their shapes are the
    centres of k-means with 1 - IoU as the distance (Redmon & Farhadi 2017, arXiv 1612.08242). A
    map with hardly any box has the scales around the nearest box that is, as far as they suit it.
    """
    if len(sizes) < FEWEST:
        return usual(strides)
    side = np.sqrt(sizes.prod(1))
    limits = [LARGEST_IN_STRIDES * s for s in strides[:-1]]
    level = np.searchsorted(limits, side)
    shapes = []
    for place, stride in enumerate(strides):
        own = sizes[level == place]
        if len(own) >= FEWEST // 2:
            shapes.append(_as_shapes(kmeans(own, EACH, seed)))
        else:
            middle = np.clip(np.median(side), 2 * stride, LARGEST_IN_STRIDES * stride)
            shapes.append(_as_shapes([[middle * SPREAD**e] * 2 for e in (-1, 0, 1)]))
    return Anchors(tuple(strides), tuple(shapes))


def points(sizes: Sizes, strides: Sequence[int], seed: int = 0) -> Anchors:
    """One square of a stride at each place: for detectors that have no anchors."""
    return Anchors(tuple(strides), tuple(((float(s), float(s)),) for s in strides))


def _of_torchvision(strides: Sequence[int], base: int, scales: Sequence[float]) -> Anchors:
    """Sides of scale · base · stride, in three aspects, around the corner of each place.

    Rounded as there: weights that were learned with them know no others.
    """
    shapes = []
    for stride in strides:
        sides = [int(base * stride * scale) for scale in scales]
        pairs = [(side / a**0.5, side * a**0.5) for a in ASPECTS for side in sides]
        shapes.append(tuple((2.0 * round(w / 2), 2.0 * round(h / 2)) for w, h in pairs))
    return Anchors(tuple(strides), tuple(shapes), 0.0)


def _torchvision_points(sizes: Sizes, strides: Sequence[int], seed: int = 0) -> Anchors:
    return replace(points(sizes, strides), offset=0.0)


# (m, 2) widths and heights of boxes in pixels of the input, strides, seed → anchors.
ANCHORS: Mapping[str, Callable[[Sizes, Sequence[int], int], Anchors]] = MappingProxyType(
    {
        "fitted": fitted,
        "points": points,
        "torchvision-retinanet": lambda sizes, strides, seed: _of_torchvision(
            strides, 4, USUAL_SCALES
        ),
        "torchvision-faster-rcnn": lambda sizes, strides, seed: _of_torchvision(strides, 8, (1.0,)),
        "torchvision-fcos": _torchvision_points,
    }
)


def _as_shapes(centres: Any) -> tuple[tuple[float, float], ...]:
    return tuple((round(float(w), 2), round(float(h), 2)) for w, h in centres)


def kmeans(sizes: Sizes, k: int, seed: int = 0) -> Sizes:
    """(k, 2) widths and heights, smallest first: medians of clusters by IoU at one place."""
    order = np.argsort(sizes.prod(1), kind="stable")
    centres = sizes[order[np.linspace(0, len(sizes) - 1, 2 * k + 1).astype(int)[1::2]]].copy()
    nearest = np.full(len(sizes), -1)
    for _ in range(ROUNDS):
        found = _overlaps(sizes, centres).argmax(1)
        if (found == nearest).all():
            break
        nearest = found
        for i in range(k):
            if (own := sizes[nearest == i]).size:
                centres[i] = np.median(own, axis=0)
    return centres[np.argsort(centres.prod(1), kind="stable")]


def _overlaps(sizes: Sizes, centres: Sizes) -> Sizes:
    """(m, k) IoU of boxes that have one centre."""
    inner = np.minimum(sizes[:, None], centres[None]).prod(2)
    return inner / (sizes.prod(1)[:, None] + centres.prod(1)[None] - inner)
