"""From a picture to the network's rectangle and back, for corners of boxes."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from regraft.modalities.image import placed
from regraft.modalities.spec import InputSpec

Corners = npt.NDArray[np.float64]

MULTIPLE = 32  # pixels: the coarsest map has no part of a place


class Frame(NamedTuple):
    """Where a picture lies in the rectangle: x of the input = left + across · x of the picture."""

    left: float
    top: float
    across: float
    down: float

    def inwards(self, xyxy: Corners) -> Corners:
        """(m, 4) corners in the picture → in the input."""
        found: Corners = xyxy * self._scale + self._shift
        return found

    def outwards(self, xyxy: Corners, size: tuple[int, int]) -> Corners:
        """(m, 4) corners in the input → in the picture, whose width and height are `size`."""
        found = (xyxy - self._shift) / self._scale
        return np.clip(found, 0, [*size, *size])

    @property
    def _scale(self) -> Corners:
        return np.array([self.across, self.down] * 2)

    @property
    def _shift(self) -> Corners:
        return np.array([self.left, self.top] * 2)


def frame(size: tuple[int, int], spec: InputSpec) -> Frame:
    """Of a picture of this width and height, as `ImageModality.prepare` fits it in."""
    left, top, width, height = placed(size, spec)
    return Frame(left, top, width / size[0], height / size[1])


def rectangle(sizes: Sequence[tuple[int, int]], longer: int) -> tuple[int, int]:
    """Height and width of an input near the pictures' usual aspect.

    sizes   widths and heights of pictures
    longer  side of the input in pixels, a multiple of MULTIPLE
    """
    aspects = [math.log(width / height) for width, height in sizes]
    aspect = math.exp(float(np.median(aspects)))
    shorter = longer / max(aspect, 1 / aspect)
    short = min(longer, max(MULTIPLE, round(shorter / MULTIPLE) * MULTIPLE))
    return (short, longer) if aspect >= 1 else (longer, short)


def detection_spec(own: InputSpec, shape: tuple[int, int]) -> InputSpec:
    """The input of a detector: the whole picture, padded, with the network's own mean and std."""
    settings: dict[str, Any] = {"fit": "pad", "crop_fraction": 1.0, "views": ("centre",)}
    settings |= {"interpolation": "bilinear", "size": max(shape), "shape": tuple(shape)}
    return replace(own, **settings)
