"""Where the pixels of an augmented picture come from: a region of it, seen through a homography.

Rows of augmentation only add to a `Plan`; `rendered` then carries it out with one resampling (with
two, where a picture is warped and made smaller at once: shrinking alone averages pixels).

Coordinates of warps are shares of the network's input, from -0.5 to 0.5, the centre is 0.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt
from PIL import Image

from regraft.modalities.image import FITTED, RESAMPLING
from regraft.modalities.spec import InputSpec

Matrix = npt.NDArray[np.float64]  # (3, 3): homogeneous, from where a pixel is to what it shows
Box = tuple[float, float, float, float]  # left, top, right, bottom, pixels
Paint = Callable[[Image.Image], Image.Image]

STILL: Matrix = np.eye(3)
STILL.flags.writeable = False
TRIES = 10  # shapes drawn for a crop; the first that fits is taken
NARROWEST, WIDEST = math.log(3 / 4), math.log(4 / 3)  # aspect of a crop, as in Szegedy et al.
NEAR_HORIZON = 1e-3  # of the third homogeneous coordinate, which is 1 in the centre
MARGIN = 2  # pixels around what a warp needs, for its interpolation

# Interpolations that a warp can do, for those of a resize that it cannot.
WARPING: Mapping[str, Image.Resampling] = {
    "nearest": Image.Resampling.NEAREST,
    "box": Image.Resampling.BILINEAR,
    "hamming": Image.Resampling.BILINEAR,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.BICUBIC,
}


class Region(NamedTuple):
    """A rectangle of the picture, in its pixels; it may reach beyond the picture."""

    left: float
    top: float
    width: float
    height: float


class Frame(NamedTuple):
    """All of a picture that its fit can show, out of which crops are cut.

    region   of the picture
    aspect   width by height, in the unit in which the shape of a crop is drawn
    covered  shares of the frame's width and height that the picture fills
    """

    region: Region
    aspect: float
    covered: tuple[float, float] = (1.0, 1.0)


@dataclass(frozen=True, eq=False)
class Plan:
    """What will be done with a picture.

    picture  its width and height
    region   that becomes the network's input; None: as the spec's fit has it
    warp     of the input
    paints   that change its colours, one after the other
    """

    picture: tuple[int, int]
    spec: InputSpec
    region: Region | None = None
    warp: Matrix = field(default_factory=lambda: STILL)
    paints: tuple[Paint, ...] = ()

    def warped(self, rows: Matrix | Sequence[Sequence[float]]) -> Self:
        """With one more warp after those before."""
        return replace(self, warp=self.warp @ np.asarray(rows, np.float64))

    def painted(self, paint: Paint) -> Self:
        """With one more paint after those before."""
        return replace(self, paints=(*self.paints, paint))

    @property
    def ground(self) -> tuple[int, ...]:
        """Colour of what lies beyond the picture: the mean, which is 0 to the network."""
        return tuple(round(255 * m) for m in self.spec.mean)


# Rows of the registry ----------------------------------------------------------------------------


def flip(plan: Plan, strength: float, rng: np.random.Generator) -> Plan:
    """Mirror left and right with probability `strength`."""
    return plan.warped(np.diag([-1, 1, 1])) if rng.random() < strength else plan


def flip_vertical(plan: Plan, strength: float, rng: np.random.Generator) -> Plan:
    """Mirror top and bottom with probability `strength`."""
    return plan.warped(np.diag([1, -1, 1])) if rng.random() < strength else plan


def rotate(plan: Plan, strength: float, rng: np.random.Generator) -> Plan:
    """Turn about the centre by up to `strength` degrees either way."""
    return turned(plan, rng.uniform(-strength, strength))


def crop(plan: Plan, strength: float, rng: np.random.Generator) -> Plan:
    """Show a part of at least the share `strength` of the area, from anywhere in the picture.

    Of shapes from 3:4 to 4:3 the first that fits is taken; where none does (a long strip), the
    largest part whose shape is as near to a square as that.
    """
    frame = FRAMES[plan.spec.fit](*plan.picture)
    areas = rng.uniform(strength, 1, TRIES)
    shapes = np.exp(rng.uniform(NARROWEST, WIDEST, TRIES)) / frame.aspect
    places = rng.uniform(-1, 1, 2)
    sides = np.sqrt([areas * shapes, areas / shapes])  # (2, TRIES), shares of the frame
    fitting = np.flatnonzero((sides <= 1).all(axis=0))
    width, height = sides[:, fitting[0]] if len(fitting) else _largest(frame.aspect)
    x, y = (
        0.5 + place * min(1 - side, covered) / 2 - side / 2  # the crop's centre is in the picture
        for place, side, covered in zip(places, (width, height), frame.covered, strict=True)
    )
    whole = frame.region
    left, top = whole.left + x * whole.width, whole.top + y * whole.height
    return replace(plan, region=Region(left, top, width * whole.width, height * whole.height))


def perspective(plan: Plan, strength: float, rng: np.random.Generator) -> Plan:
    """Move each corner inwards by up to half of `strength`, in shares of the side."""
    corners = np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]])
    moved = corners * (1 - strength * rng.random((4, 2)))
    return plan.warped(homography(moved, corners))


# Warps by a known amount -------------------------------------------------------------------------


def turned(plan: Plan, degrees: float) -> Plan:
    """Turned against the clock."""
    sine, cosine = math.sin(math.radians(degrees)), math.cos(math.radians(degrees))
    return plan.warped([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]])


def sheared(plan: Plan, x: float, y: float) -> Plan:
    """Sheared about the centre, by shares of the side."""
    return plan.warped([[1, x, 0], [y, 1, 0], [0, 0, 1]])


def shifted(plan: Plan, x: float, y: float) -> Plan:
    """Moved to the right and down, by shares of the side."""
    return plan.warped([[1, 0, -x], [0, 1, -y], [0, 0, 1]])


def homography(start: Matrix, end: Matrix) -> Matrix:
    """The homography that takes four points (4, 2) to four others."""
    rows = []
    for (x, y), (u, v) in zip(start, end, strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
    found = np.linalg.solve(np.array(rows), end.reshape(-1))
    return np.append(found, 1).reshape(3, 3)


# From the plan to the picture --------------------------------------------------------------------


def rendered(picture: Image.Image, plan: Plan) -> Image.Image:
    """What the network sees of the picture: size × size, RGB."""
    shown = _placed(picture, plan)
    for paint in plan.paints:
        shown = paint(shown)
    return shown


def _placed(picture: Image.Image, plan: Plan) -> Image.Image:
    if not np.array_equal(np.abs(plan.warp), STILL):
        return _warped(picture, plan)
    shown = _resized(picture, plan) if plan.region else FITTED[plan.spec.fit](picture, plan.spec)
    if plan.warp[0, 0] < 0:
        shown = shown.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if plan.warp[1, 1] < 0:
        shown = shown.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    return shown


def _resized(picture: Image.Image, plan: Plan) -> Image.Image:
    """The region in one step; what lies beyond the picture becomes ground."""
    size, region = plan.spec.size, plan.region or _usual(plan)
    x, width = _span(region.left, region.width, picture.width, size)
    y, height = _span(region.top, region.height, picture.height, size)
    box = _within(region, picture)
    inner = picture.resize((width, height), RESAMPLING[plan.spec.interpolation], box)
    if inner.size == (size, size):
        return inner
    square = Image.new("RGB", (size, size), plan.ground)
    square.paste(inner, (x, y))
    return square


def _span(start: float, length: float, limit: int, size: int) -> tuple[int, int]:
    """First pixel and number of pixels, of `size`, that show what is within 0 and `limit`."""
    first = max(0, round(-start / length * size))
    last = min(size, round((limit - start) / length * size))
    first = min(first, size - 1)
    return first, max(1, last - first)


def _warped(picture: Image.Image, plan: Plan) -> Image.Image:
    size, region = plan.spec.size, plan.region or _usual(plan)
    shrink = (max(1.0, region.width / size), max(1.0, region.height / size))
    seen = (
        _to_region(region) @ plan.warp @ _from_pixels(size)
    )  # pixel of the input → of the picture
    if shrink != (1.0, 1.0):
        box = _needed(seen, size, shrink, picture)
        across = max(1, math.ceil((box[2] - box[0]) / shrink[0]))
        down = max(1, math.ceil((box[3] - box[1]) / shrink[1]))
        seen = _into(box, across, down) @ seen
        picture = picture.resize((across, down), RESAMPLING[plan.spec.interpolation], box)
    coefficients = (seen / seen[2, 2]).ravel()[:8].tolist()
    return picture.transform(
        (size, size),
        Image.Transform.PERSPECTIVE,
        coefficients,
        WARPING[plan.spec.interpolation],
        fillcolor=plan.ground,
    )


def _from_pixels(size: int) -> Matrix:
    return np.array([[1 / size, 0, -0.5], [0, 1 / size, -0.5], [0, 0, 1]])


def _to_region(region: Region) -> Matrix:
    left, top, width, height = region
    return np.array([[width, 0, left + width / 2], [0, height, top + height / 2], [0, 0, 1]])


def _into(box: Box, width: int, height: int) -> Matrix:
    """From pixels of a picture to those of its box, which became width × height."""
    x, y = width / (box[2] - box[0]), height / (box[3] - box[1])
    return np.array([[x, 0, -box[0] * x], [0, y, -box[1] * y], [0, 0, 1]])


def _needed(seen: Matrix, size: int, shrink: tuple[float, float], picture: Image.Image) -> Box:
    """What a warp looks at of a picture, with a margin; all, where it looks up to the horizon."""
    corners = seen @ np.array([[0, size, size, 0], [0, 0, size, size], [1, 1, 1, 1]])
    limits = np.array(picture.size)
    if corners[2].min() < NEAR_HORIZON:
        return (0.0, 0.0, *limits.astype(float).tolist())
    points, margin = (corners[:2] / corners[2]).T, MARGIN * np.array(shrink)
    start = np.clip(points.min(0) - margin, 0, limits - 1)
    end = np.clip(points.max(0) + margin, start + 1, limits)
    return (*start.tolist(), *end.tolist())


def _within(region: Region, picture: Image.Image) -> Box:
    """What a region and the picture share."""
    right, bottom = region.left + region.width, region.top + region.height
    return (
        max(0.0, region.left),
        max(0.0, region.top),
        min(float(picture.width), right),
        min(float(picture.height), bottom),
    )


# What each fit shows -----------------------------------------------------------------------------


def _usual(plan: Plan) -> Region:
    """The region that the spec's fit shows where nothing is cropped."""
    width, height = plan.picture
    if plan.spec.fit != "crop":
        return FRAMES[plan.spec.fit](width, height).region
    side = min(width, height) * plan.spec.crop_fraction
    return Region((width - side) / 2, (height - side) / 2, side, side)


def _largest(aspect: float) -> tuple[float, float]:
    """Shares of the largest part of a strip with an aspect from 3:4 to 4:3."""
    nearest = min(max(aspect, math.exp(NARROWEST)), math.exp(WIDEST))
    return min(1.0, nearest / aspect), min(1.0, aspect / nearest)


def _all(width: int, height: int) -> Frame:
    return Frame(Region(0, 0, width, height), width / height)


def _squashed(width: int, height: int) -> Frame:
    return Frame(Region(0, 0, width, height), 1.0)


def _square(width: int, height: int) -> Frame:
    side = max(width, height)
    around = Region((width - side) / 2, (height - side) / 2, side, side)
    return Frame(around, 1.0, (width / side, height / side))


FRAMES: Mapping[str, Callable[[int, int], Frame]] = {
    "crop": _all,
    "squash": _squashed,
    "pad": _square,
}
