"""RetinaNet's head (Lin et al. 2017): classes and steps from anchors, two towers."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.models.detection.retinanet import (
    RetinaNetClassificationHead,
    RetinaNetRegressionHead,
)

from regraft.tasks.detection.anchors import Anchors
from regraft.tasks.detection.heads.base import Size
from regraft.tasks.detection.heads.dense import DenseHead
from regraft.tasks.detection.loss import DetectionLoss
from regraft.tasks.detection.targets import Truth, decoded


class RetinaHead(DenseHead):
    """Maps → (n, A, classes + 4): logits, then steps from anchors."""

    def __init__(self, widths: Sequence[int], anchors: Anchors, classes: int, depth: int) -> None:
        super().__init__(anchors, classes)
        about = (widths[0], anchors.each)
        self.classification_head = RetinaNetClassificationHead(*about, classes)
        self.regression_head = RetinaNetRegressionHead(*about)
        for end in (self.classification_head, self.regression_head):
            end.conv = end.conv[:depth]

    def forward(self, maps: list[Tensor]) -> Tensor:
        return torch.cat([self.classification_head(maps), self.regression_head(maps)], 2)

    def losses(self, outputs: Tensor, truths: Sequence[Truth], size: Size, box: str) -> Tensor:
        loss = DetectionLoss(self.places.boxes(size, outputs), self.classes, box)
        return loss(outputs, truths)

    def told(self, outputs: Tensor, anchors: Tensor) -> tuple[Tensor, Tensor]:
        logits, steps = outputs[..., : self.classes], outputs[..., self.classes :]
        return torch.sigmoid(logits), decoded(steps, anchors)
