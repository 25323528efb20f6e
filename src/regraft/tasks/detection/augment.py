"""Pictures with their boxes, changed at random: flips, scale and crop, colour; see also mosaic.

    wanted = parse("boxes")                     "flip,scale=0.5,colour=0.3"
    pixels, truth = augmented(picture, boxes, spec, wanted, rng)

All randomness comes from the generator given.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from regraft.data.boxes.form import Boxes
from regraft.errors import UsageError
from regraft.modalities.image import RESAMPLING, placed
from regraft.modalities.paints import colour
from regraft.modalities.spec import InputSpec
from regraft.modalities.warps import Plan
from regraft.tasks.detection.targets import Truth

SEEN = 0.4  # share of a box that must be left for it to be learned from
LEAST_SIDE = 2.0  # pixels of the input: smaller boxes are not learned from

Wanted = Mapping[str, float]

# Name → strength where none is told, and what it does.
ROWS: Mapping[str, tuple[float, str]] = MappingProxyType(
    {
        "flip": (0.5, "mirrored, with this probability"),
        "flip-vertical": (0.5, "upside down, with this probability"),
        "scale": (0.5, "magnified or reduced by up to 1 + this, and cut or padded anywhere"),
        "colour": (
            0.3,
            "brightness, contrast and saturation by up to this share, hue by a quarter of it",
        ),
        "mosaic": (0.5, "four pictures in one, with this probability, in the first 70 % of a run"),
    }
)
SETS: Mapping[str, str] = MappingProxyType(
    {
        "none": "",
        "boxes": "flip,scale,colour",
        "boxes-any-side-up": "flip,flip-vertical,scale,colour",
        "boxes-mosaic": "flip,scale,colour,mosaic",
    }
)
USUAL = "boxes"


def parse(text: str) -> dict[str, float]:
    """``flip,scale=0.3`` or a name of SETS → name → strength. Raises UsageError."""
    words = ",".join(SETS.get(word.strip(), word.strip()) for word in text.split(","))
    wanted: dict[str, float] = {}
    wrong = []
    for word in filter(None, words.split(",")):
        name, _, given = word.partition("=")
        if name not in ROWS:
            known = ", ".join((*SETS, *ROWS))
            wrong.append(f"augment: {name!r} is not for boxes; choose of {known}")
            continue
        try:
            wanted[name] = float(given) if given else ROWS[name][0]
        except ValueError:
            wanted[name] = -1.0
        if not 0 <= wanted[name] <= 1:
            wrong.append(f"augment: {name}: expected a number from 0 to 1, got {given!r}")
    if wrong:
        raise UsageError(*wrong)
    return wanted


def told(wanted: Wanted) -> str:
    """As text that `parse` reads."""
    return ",".join(f"{name}={strength:g}" for name, strength in wanted.items()) or "none"


class View(NamedTuple):
    """How a picture is seen: x of the input = left + across · x of the picture, then mirrored."""

    left: float
    top: float
    across: float
    down: float
    flip: bool
    turn: bool


def augmented(
    picture: Image.Image,
    boxes: Boxes,
    spec: InputSpec,
    wanted: Wanted,
    rng: np.random.Generator,
    zoom: float = 1.0,
) -> tuple[npt.NDArray[np.uint8], Truth]:
    """(height, width, 3) uint8 and what is in it, in pixels of the input.

    picture  the whole one, perhaps smaller than the boxes' own `size`
    zoom     how much larger than the whole picture is seen: then a part of it, drawn at random
    """
    view = drawn(boxes.size, spec, wanted, rng, zoom)
    pixels = _painted(_rendered(picture, boxes.size, view, spec), spec, wanted, rng)
    return np.asarray(pixels), truth_of(boxes, view, spec)


def drawn(
    size: tuple[int, int],
    spec: InputSpec,
    wanted: Wanted,
    rng: np.random.Generator,
    zoom: float = 1.0,
) -> View:
    """A view at random; without augmentations as `ImageModality.prepare` shows the picture."""
    left, top, width, height = placed(size, spec)
    rows, columns = spec.rectangle
    numbers = rng.random(5)
    spread = wanted.get("scale", 0.0)
    if spread or zoom != 1:
        factor = zoom * (1 + spread) ** (2 * numbers[0] - 1)
        width, height = max(1, round(width * factor)), max(1, round(height * factor))
        left = round((columns - width) * numbers[1])
        top = round((rows - height) * numbers[2])
    flip = bool(numbers[3] < wanted.get("flip", 0.0))
    turn = bool(numbers[4] < wanted.get("flip-vertical", 0.0))
    return View(left, top, width / size[0], height / size[1], flip, turn)


def _rendered(
    picture: Image.Image, size: tuple[int, int], view: View, spec: InputSpec
) -> Image.Image:
    rows, columns = spec.rectangle
    width, height = round(view.across * size[0]), round(view.down * size[1])
    left, top = max(0, int(view.left)), max(0, int(view.top))
    right, low = min(columns, int(view.left) + width), min(rows, int(view.top) + height)
    ground = tuple(round(255 * m) for m in spec.mean)
    whole = Image.new("RGB", (columns, rows), ground)
    a, b = picture.width / width, picture.height / height
    seen = ((left - view.left) * a, (top - view.top) * b, (right - view.left) * a)
    box = (*seen, (low - view.top) * b)
    box = (*box[:2], min(box[2], picture.width), min(box[3], picture.height))
    part = picture.resize((right - left, low - top), RESAMPLING[spec.interpolation], box)
    whole.paste(part, (left, top))
    if view.flip:
        whole = whole.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return whole.transpose(Image.Transpose.FLIP_TOP_BOTTOM) if view.turn else whole


def _painted(
    picture: Image.Image, spec: InputSpec, wanted: Wanted, rng: np.random.Generator
) -> Image.Image:
    plan = colour(Plan(picture.size, spec), wanted.get("colour", 0.0), rng)
    for paint in plan.paints if wanted.get("colour") else ():
        picture = paint(picture)
    return picture


def truth_of(boxes: Boxes, view: View, spec: InputSpec) -> Truth:
    """What is seen of the objects; of those that are cut off too far nothing is learned."""
    rows, columns = spec.rectangle
    shift, scale = np.array([view.left, view.top] * 2), np.array([view.across, view.down] * 2)
    whole = boxes.xyxy * scale + shift
    if view.flip:
        whole[:, [0, 2]] = columns - whole[:, [2, 0]]
    if view.turn:
        whole[:, [1, 3]] = rows - whole[:, [3, 1]]
    seen = np.clip(whole, 0, [columns, rows] * 2)
    sides = seen[:, 2:] - seen[:, :2]
    full = (whole[:, 2:] - whole[:, :2]).prod(1)
    share = sides.prod(1) / np.maximum(full, 1e-9)
    there = sides.min(1, initial=np.inf) > 0 if len(sides) else np.zeros(0, bool)
    kept = there & (share >= SEEN) & (sides.min(1, initial=np.inf) >= LEAST_SIDE) & ~boxes.ignored
    return Truth(
        torch.from_numpy(seen[kept]).float(),
        torch.from_numpy(boxes.labels[kept]),
        torch.from_numpy(seen[there & ~kept]).float(),
    )
