"""Which anchor stands for which object, and what it has to say of its box."""

from typing import NamedTuple

import torch
from torch import Tensor

FOREGROUND, BACKGROUND = 0.5, 0.4  # IoU, of RetinaNet
IGNORED_SHARE = 0.5  # of an anchor within an ignored region: then it is not background
NONE, UNSURE = -1, -2
LARGEST_STEP = 4.135  # log(1000 / 16): a box is at most that much larger than its anchor


class Truth(NamedTuple):
    """The objects of one picture as the network sees it.

    boxes    (m, 4) corners in pixels of the input
    labels   (m,) class numbers
    ignored  (k, 4) regions of which nothing is learned
    """

    boxes: Tensor
    labels: Tensor
    ignored: Tensor


def assigned(anchors: Tensor, truth: Truth) -> Tensor:
    """(A,) the object of each anchor; NONE: background; UNSURE: nothing is learned.

    Anchors with an IoU of FOREGROUND or more stand for that object, and for each object those that
    fit it best do; below BACKGROUND they are background.
    """
    if not len(truth.boxes):
        found = torch.full((len(anchors),), NONE, device=anchors.device)
    else:
        overlap = iou(truth.boxes, anchors)  # (m, A)
        best, found = overlap.max(0)
        found[best < FOREGROUND] = UNSURE
        found[best < BACKGROUND] = NONE
        top = overlap.max(1, keepdim=True).values
        objects, places = torch.where((overlap >= top - 1e-6) & (top > 0))
        found[places] = objects
    if len(truth.ignored):
        inside = share_inside(anchors, truth.ignored).amax(1) >= IGNORED_SHARE
        found[inside & (found == NONE)] = UNSURE
    return found


def area(boxes: Tensor) -> Tensor:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def _inner(a: Tensor, b: Tensor) -> Tensor:
    """(n, m) areas that two sets of boxes share."""
    low = torch.maximum(a[:, None, :2], b[None, :, :2])
    high = torch.minimum(a[:, None, 2:], b[None, :, 2:])
    return (high - low).clamp(min=0).prod(2)


def iou(a: Tensor, b: Tensor) -> Tensor:
    """(n, m) intersection over union."""
    inner = _inner(a, b)
    return inner / (area(a)[:, None] + area(b)[None] - inner)


def share_inside(a: Tensor, b: Tensor) -> Tensor:
    """(n, m) share of each of `a` that is within each of `b`."""
    return _inner(a, b) / area(a)[:, None]


def encoded(boxes: Tensor, anchors: Tensor) -> Tensor:
    """(n, 4) steps from anchors to boxes: centres in sizes of the anchor, logarithms of sizes."""
    size, own = anchors[:, 2:] - anchors[:, :2], boxes[:, 2:] - boxes[:, :2]
    centre, other = (anchors[:, :2] + anchors[:, 2:]) / 2, (boxes[:, :2] + boxes[:, 2:]) / 2
    return torch.cat([(other - centre) / size, torch.log(own / size)], 1)


def decoded(steps: Tensor, anchors: Tensor) -> Tensor:
    """(..., n, 4) steps from anchors (n, 4) → corners."""
    size, centre = anchors[:, 2:] - anchors[:, :2], (anchors[:, :2] + anchors[:, 2:]) / 2
    middle = centre + steps[..., :2] * size
    half = size * torch.exp(steps[..., 2:].clamp(max=LARGEST_STEP)) / 2
    return torch.cat([middle - half, middle + half], -1)
