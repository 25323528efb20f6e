"""Small objects: a picture is looked at as a whole and in overlapping parts, which see them larger.

Akyon et al. 2022 (arXiv 2202.06934). Where a part ends within the picture, what touches its edge is
left to its neighbour; what several parts have found is kept once.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from regraft.evaluation.detection import Detections

Region = tuple[int, int, int, int]  # left, top, right, lower edge, in pixels of the picture

MOST_TILES = 8
OVERLAP = 0.25  # of a part, that its neighbour sees too
TOUCHES = 2.0  # pixels of the picture from an edge
SAME = 0.5  # IoU from which two boxes of a class are one object
MOST = 300  # boxes of a picture


def regions(size: tuple[int, int], tiles: int) -> list[Region]:
    """The whole picture and, for more than one, tiles × tiles parts of it, row by row."""
    whole = (0, 0, *size)
    if tiles == 1:
        return [whole]
    columns, rows = (_spans(length, tiles) for length in size)
    return [whole, *((a, c, b, d) for c, d in rows for a, b in columns)]


def magnified(tiles: int) -> float:
    """How much larger a part is seen than the whole picture."""
    return tiles - (tiles - 1) * OVERLAP


def _spans(length: int, tiles: int) -> list[tuple[int, int]]:
    """Beginnings and ends of parts of one length, evenly spread."""
    part = min(length, int(np.ceil(length / magnified(tiles))))
    begins = np.linspace(0, length - part, tiles).round().astype(int).tolist()
    return [(begin, begin + part) for begin in begins]


def merged(
    parts: Sequence[Detections], where: Sequence[Region], size: tuple[int, int]
) -> Detections:
    """What the parts have found, in pixels of the picture, each object once.

    parts  each in pixels of its own region
    """
    if len(parts) == 1:
        return parts[0]
    boxes, scores, labels = [], [], []
    for found, region in zip(parts, where, strict=True):
        moved = found.boxes + np.array(region[:2] * 2, float)
        inner = _inside(moved, region, size)
        boxes.append(moved[inner])
        scores.append(found.scores[inner])
        labels.append(found.labels[inner])
    return _once(Detections(*(np.concatenate(each) for each in (boxes, scores, labels))))


def _inside(boxes: Any, region: Region, size: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Which boxes touch no edge of the region that is not one of the picture's."""
    left, top, right, low = region
    good = np.ones(len(boxes), bool)
    ends = [
        *((0, left, left > 0, 1), (1, top, top > 0, 1)),
        *((2, right, right < size[0], -1), (3, low, low < size[1], -1)),
    ]
    for column, edge, is_inner, sign in ends:
        if is_inner:
            good &= sign * (boxes[:, column] - edge) > TOUCHES
    return good


def _once(found: Detections) -> Detections:
    """The surest of boxes of one class that are one object."""
    import torch
    from torchvision.ops import batched_nms

    about = (torch.from_numpy(part) for part in (found.boxes, found.scores, found.labels))
    kept = batched_nms(*about, SAME)[:MOST].numpy()
    return Detections(found.boxes[kept], found.scores[kept], found.labels[kept])
