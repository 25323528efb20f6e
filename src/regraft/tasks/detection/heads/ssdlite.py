"""SSDLite's head (Sandler et al. 2018): depthwise convolutions on each map, classes by softmax.

As in SSD (Liu et al. 2016, arXiv 1512.02325), of the background only the hardest places are learned
from, three to each that holds an object. Normalisation is by groups of channels instead of the
batch, so that small batches are no trouble.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchvision.models.detection.ssdlite import SSDLiteHead

from regraft.tasks.detection.anchors import Anchors
from regraft.tasks.detection.heads.base import Size
from regraft.tasks.detection.heads.dense import DenseHead, each_loss
from regraft.tasks.detection.heads.necks import by_groups
from regraft.tasks.detection.loss import BOX_LOSSES
from regraft.tasks.detection.targets import UNSURE, Truth, assigned, decoded

HARD = 3  # places of the background that are learned from, to each with an object
LEAST_HARD = 16  # in a picture with hardly any
BACKGROUND = 0  # place of the background among the logits


class SsdliteHead(DenseHead):
    """Maps → (n, A, 1 + classes + 4): logits, that of the background first; steps from anchors."""

    def __init__(self, widths: Sequence[int], anchors: Anchors, classes: int, depth: int) -> None:
        super().__init__(anchors, classes)
        each = [anchors.each] * len(widths)
        head = SSDLiteHead([*widths], each, classes + 1, by_groups)
        self.classification_head = head.classification_head
        self.regression_head = head.regression_head

    def forward(self, maps: list[Tensor]) -> Tensor:
        return torch.cat([self.classification_head(maps), self.regression_head(maps)], 2)

    def losses(self, outputs: Tensor, truths: Sequence[Truth], size: Size, box: str) -> Tensor:
        anchors = self.places.boxes(size, outputs)
        return each_loss(lambda o, t: self._loss(o, t, anchors, box), outputs, truths)

    def _loss(self, output: Tensor, truth: Truth, anchors: Tensor, box: str) -> Tensor:
        logits, steps = output[:, : self.classes + 1], output[:, self.classes + 1 :]
        own = assigned(anchors, truth)
        place = torch.where(own >= 0)[0]
        wanted = torch.full((len(anchors),), BACKGROUND, device=logits.device)
        wanted[place] = truth.labels[own[place]] + 1
        losses = nn.functional.cross_entropy(logits, wanted, reduction="none")
        empty = losses[(own < 0) & (own != UNSURE)]
        hard = empty.topk(min(len(empty), max(LEAST_HARD, HARD * len(place)))).values
        total = losses[place].sum() + hard.sum()
        if len(place):
            boxes = truth.boxes[own[place]]
            total = total + BOX_LOSSES[box](steps[place], boxes, anchors[place]).sum()
        return total / max(LEAST_HARD / HARD, len(place))

    def told(self, outputs: Tensor, anchors: Tensor) -> tuple[Tensor, Tensor]:
        logits, steps = outputs[..., : self.classes + 1], outputs[..., self.classes + 1 :]
        return logits.softmax(-1)[..., 1:], decoded(steps, anchors)
