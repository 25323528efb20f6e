"""Four pictures in one (Bochkovskiy et al. 2020, arXiv 2004.10934): more objects, smaller ones.

No camera takes such pictures, and so it ends early: the last epochs are of pictures as they are
(Ge et al. 2021, arXiv 2107.08430).
"""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from regraft.modalities.spec import InputSpec
from regraft.tasks.detection.augment import LEAST_SIDE, SEEN
from regraft.tasks.detection.targets import Truth, area

PARTS = 4
MIDDLE = (0.3, 0.7)  # of the rectangle, where the four meet
SCALE = (0.5, 1.0)  # to which a picture is reduced
END = 0.7  # share of the epochs after which there are none any more

Seen = tuple[npt.NDArray[np.uint8], Truth]
Region = tuple[int, int, int, int]  # left, top, right, lower edge


def mosaic(
    each: Callable[[int], Seen], places: Sequence[int], spec: InputSpec, rng: np.random.Generator
) -> Seen:
    """Four augmented pictures around a point drawn at random, each cut at the edges of its part.

    each    place of an example → its pixels (height, width, 3) and what is in it
    places  of the four
    """
    rows, columns = spec.rectangle
    x, y = (round(side * rng.uniform(*MIDDLE)) for side in (columns, rows))
    regions = [(0, 0, x, y), (x, 0, columns, y), (0, y, x, rows), (x, y, columns, rows)]
    whole = np.empty((rows, columns, 3), np.uint8)
    whole[:] = [round(255 * mean) for mean in spec.mean]
    truths = [
        _part(whole, each(place), region, rng)
        for place, region in zip(places, regions, strict=True)
    ]
    return whole, Truth(*(torch.cat(parts) for parts in zip(*truths, strict=True)))


def _part(
    whole: npt.NDArray[np.uint8], seen: Seen, region: Region, rng: np.random.Generator
) -> Truth:
    """Put a picture, made smaller, behind a region; what is seen of its objects there."""
    pixels, truth = seen
    left, top, right, low = region
    width, height = right - left, low - top
    least = max(SCALE[0], width / pixels.shape[1], height / pixels.shape[0])
    factor = rng.uniform(least, max(least, SCALE[1]))
    size = max(width, round(pixels.shape[1] * factor)), max(height, round(pixels.shape[0] * factor))
    across = int(rng.integers(size[0] - width + 1))
    down = int(rng.integers(size[1] - height + 1))
    small = Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR)
    window = small.crop((across, down, across + width, down + height))
    whole[top:low, left:right] = np.asarray(window)
    scale = torch.tensor([size[0] / pixels.shape[1], size[1] / pixels.shape[0]] * 2)
    shift = torch.tensor([left - across, top - down] * 2)
    return _cut(truth, scale, shift, torch.tensor([left, top, right, low]).float())


def _cut(truth: Truth, scale: Tensor, shift: Tensor, region: Tensor) -> Truth:
    """What of it lies in the region: of what is cut off too far nothing is learned."""
    full, boxes = _moved(truth.boxes, scale, shift, region)
    _, ignored = _moved(truth.ignored, scale, shift, region)
    sides = (boxes[:, 2:] - boxes[:, :2]).amin(1) if len(boxes) else torch.zeros(0)
    share = area(boxes) / area(full).clamp(min=1e-9)
    kept = (share >= SEEN) & (sides >= LEAST_SIDE)
    cut = boxes[~kept & (sides > 0)]
    there = ignored[(ignored[:, 2:] > ignored[:, :2]).all(1)]
    return Truth(boxes[kept], truth.labels[kept], torch.cat([cut, there]))


def _moved(boxes: Tensor, scale: Tensor, shift: Tensor, region: Tensor) -> tuple[Tensor, Tensor]:
    """As they lie, and what of them is in the region."""
    full = boxes * scale + shift
    return full, torch.minimum(torch.maximum(full, region[:2].repeat(2)), region[2:].repeat(2))
