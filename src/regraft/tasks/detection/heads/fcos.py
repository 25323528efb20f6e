"""FCOS (Tian et al. 2019): a place tells its class, how far the sides are, and how central it is.

Places answer for the smallest box whose middle is near and whose size is of their map's range, as
in torchvision; in ignored regions no place is background.
"""

from collections.abc import Sequence
from functools import partial
from math import gcd

import torch
from torch import Tensor, nn
from torchvision.models.detection._utils import BoxLinearCoder
from torchvision.models.detection.fcos import FCOSClassificationHead, FCOSRegressionHead
from torchvision.ops import generalized_box_iou_loss, sigmoid_focal_loss

from regraft.tasks.detection.anchors import Anchors
from regraft.tasks.detection.heads.base import Size
from regraft.tasks.detection.heads.dense import DenseHead, each_loss
from regraft.tasks.detection.loss import ALPHA, GAMMA
from regraft.tasks.detection.targets import NONE, UNSURE, Truth, area, share_inside

RADIUS = 1.5  # strides around the middle of a box within which places answer for it
SMALLEST, LARGEST = 4.0, 8.0  # strides: farthest side of a box that a map is for
GROUPS, LEAST = 32, 2  # groups of channels that are normalised together, channels of each
FAR = 1e8  # pixels²: beyond any box


class FcosHead(DenseHead):
    """Maps → (n, A, classes + 1 + 4): logits, centredness, distances to the sides in strides."""

    def __init__(self, widths: Sequence[int], anchors: Anchors, classes: int, depth: int) -> None:
        super().__init__(anchors, classes)
        norm = partial(nn.GroupNorm, gcd(GROUPS, widths[0] // LEAST))
        settings = {"num_convs": depth, "norm_layer": norm}
        self.classification_head = FCOSClassificationHead(widths[0], 1, classes, **settings)
        self.regression_head = FCOSRegressionHead(widths[0], 1, **settings)
        self.coder = BoxLinearCoder(normalize_by_size=True)

    def forward(self, maps: list[Tensor]) -> Tensor:
        distances, centred = self.regression_head(maps)
        return torch.cat([self.classification_head(maps), centred, distances], 2)

    def losses(self, outputs: Tensor, truths: Sequence[Truth], size: Size, box: str) -> Tensor:
        places, first, last = self._ranged(size, outputs)
        return each_loss(
            lambda o, t: self._loss(o, t, places, assigned(places, t, first, last)), outputs, truths
        )

    def _ranged(self, size: Size, like: Tensor) -> tuple[Tensor, int, int]:
        per_map = self.places.per_map(size)
        return self.places.boxes(size, like), per_map[0], per_map[-1]

    def _loss(self, output: Tensor, truth: Truth, places: Tensor, own: Tensor) -> Tensor:
        """As `FCOSHead.compute_loss` of torchvision, of one picture."""
        logits, centred, distances = output.split([self.classes, 1, 4], 1)
        place = torch.where(own >= 0)[0]
        wanted = torch.zeros_like(logits)
        wanted[place, truth.labels[own[place]]] = 1.0
        heard = (own != UNSURE).float()[:, None]
        total = (sigmoid_focal_loss(logits, wanted, ALPHA, GAMMA) * heard).sum()
        if len(place):
            boxes, near = truth.boxes[own[place]], places[place]
            found = self.coder.decode(distances[place], near)
            total = total + generalized_box_iou_loss(found, boxes, reduction="sum")
            middle = centredness(self.coder.encode(near, boxes))
            total = total + nn.functional.binary_cross_entropy_with_logits(
                centred[place, 0], middle, reduction="sum"
            )
        return total / max(1, len(place))

    def told(self, outputs: Tensor, anchors: Tensor) -> tuple[Tensor, Tensor]:
        logits, centred, distances = outputs.split([self.classes, 1, 4], -1)
        scores = torch.sqrt(torch.sigmoid(logits) * torch.sigmoid(centred))
        return scores, self.coder.decode(distances, anchors)


def centredness(sides: Tensor) -> Tensor:
    """(n,) how central places are, from distances (n, 4) to left, top, right and bottom."""
    across, down = sides[:, [0, 2]], sides[:, [1, 3]]
    found: Tensor = (across.amin(1) / across.amax(1)) * (down.amin(1) / down.amax(1))
    return found.sqrt()


def assigned(places: Tensor, truth: Truth, first: int, last: int) -> Tensor:
    """(A,) the object of each place; NONE: background; UNSURE: nothing is learned.

    places  (A, 4) squares of a stride
    first, last  how many are on the first and the last map, which see all small and large boxes
    """
    stride, centre = places[:, 2] - places[:, 0], (places[:, :2] + places[:, 2:]) / 2
    found = torch.full((len(places),), NONE, device=places.device)
    if len(boxes := truth.boxes):
        middle = (boxes[:, :2] + boxes[:, 2:]) / 2
        sides = torch.cat([centre[:, None] - boxes[:, :2], boxes[:, 2:] - centre[:, None]], 2)
        least, most = stride * SMALLEST, stride * LARGEST
        least[:first], most[-last:] = 0, float("inf")
        near = (centre[:, None] - middle).abs().amax(2) < RADIUS * stride[:, None]
        farthest = sides.amax(2)
        fits = near & (sides.amin(2) > 0) & (farthest > least[:, None]) & (farthest < most[:, None])
        value, object_ = (fits * (FAR - area(boxes))).max(1)
        found = torch.where(value > 0, object_, found)
    if len(truth.ignored):
        inside = share_inside(places, truth.ignored).amax(1) > 0.5
        found[inside & (found == NONE)] = UNSURE
    return found
