"""The loss of a picture: focal loss of all anchors, a loss of the boxes of those with an object."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor, nn

from regraft.tasks.detection.targets import UNSURE, Truth, assigned, decoded, encoded

ALPHA, GAMMA = 0.25, 2.0  # of the focal loss, as in RetinaNet
BETA = 1 / 9  # where smooth L1 goes from square to straight


def _smooth_l1(steps: Tensor, boxes: Tensor, anchors: Tensor) -> Tensor:
    wanted = encoded(boxes, anchors)
    return nn.functional.smooth_l1_loss(steps, wanted, beta=BETA, reduction="none").sum(1)


def _giou(steps: Tensor, boxes: Tensor, anchors: Tensor) -> Tensor:
    """Generalised IoU (Rezatofighi et al. 2019, arXiv 1902.09630); weight 2 as is usual with it."""
    from torchvision.ops import generalized_box_iou_loss

    found: Tensor = generalized_box_iou_loss(decoded(steps, anchors), boxes)
    return 2 * found


# (steps, boxes, anchors), each (n, 4) → (n,).
BOX_LOSSES: Mapping[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = MappingProxyType(
    {"smooth-l1": _smooth_l1, "giou": _giou}
)


@dataclass(frozen=True)
class DetectionLoss:
    """The loss of each picture of a batch, divided by the number of anchors with an object.

    anchors  (A, 4) on the device of the outputs
    classes  number of them
    box      a name of BOX_LOSSES
    """

    anchors: Tensor
    classes: int
    box: str = "smooth-l1"

    def __call__(self, outputs: Tensor, truths: Sequence[Truth]) -> Tensor:
        """(n,) losses of outputs (n, A, classes + 4)."""
        return torch.stack([self._of_one(o, t) for o, t in zip(outputs, truths, strict=True)])

    def _of_one(self, output: Tensor, truth: Truth) -> Tensor:
        from torchvision.ops import sigmoid_focal_loss

        logits, steps = output[:, : self.classes], output[:, self.classes :]
        own = assigned(self.anchors, truth)
        place = torch.where(own >= 0)[0]
        wanted = torch.zeros_like(logits)
        wanted[place, truth.labels[own[place]]] = 1.0
        heard = (own != UNSURE).float()[:, None]
        total = (sigmoid_focal_loss(logits, wanted, ALPHA, GAMMA) * heard).sum()
        if len(place):
            boxes = truth.boxes[own[place]]
            total = total + BOX_LOSSES[self.box](steps[place], boxes, self.anchors[place]).sum()
        return total / max(1, len(place))
