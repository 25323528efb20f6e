"""Faster R-CNN (Ren et al. 2015): boxes that may hold an object, and for each what is in it.

Both stages are torchvision's; what lies in an ignored region and on no object is learned from by
neither. Its dense output is the maps themselves: where to look depends on what is seen, so both
stages run when a loss or boxes are asked for.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead
from torchvision.ops import MultiScaleRoIAlign

from regraft.evaluation.detection import Detections
from regraft.tasks.detection.anchors import Anchors
from regraft.tasks.detection.decoding import USUAL, Decoding
from regraft.tasks.detection.heads.base import Size
from regraft.tasks.detection.heads.dense import Places
from regraft.tasks.detection.heads.rows import COARSEST
from regraft.tasks.detection.targets import IGNORED_SHARE, Truth, iou, share_inside

CELLS = 7  # of a box in each direction, that are seen
HIDDEN = 4  # neurons of the second stage, in channels of a map
PROPOSALS = {"training": 500, "testing": 300}  # that go from the first to the second stage
BEFORE = {"training": 1000, "testing": 1000}  # of each map, before overlapping ones go
LEARNED = (256, 128)  # anchors and boxes of a picture that are learned from
POSITIVE = (0.5, 0.25)  # of those, at most so many that hold an object
FIRST = (0.7, 0.3, 0.7)  # IoU from which an anchor holds an object, does not; of proposals
SECOND = 0.5  # the same for boxes


class _Placed(nn.Module):
    """Our anchors, as torchvision asks for them."""

    def __init__(self, places: Places) -> None:
        super().__init__()
        self.places = places

    def forward(self, images: ImageList, maps: Sequence[Tensor]) -> list[Tensor]:
        boxes = self.places.boxes(images.image_sizes[0], maps[0])
        return [boxes] * len(images.image_sizes)


class _First(RegionProposalNetwork):
    def assign_targets_to_anchors(self, anchors: list[Tensor], targets: Any) -> Any:
        labels, boxes = super().assign_targets_to_anchors(anchors, targets)
        for label, own, target in zip(labels, anchors, targets, strict=True):
            label[_unknown(own, target) & (label == 0)] = -1
        return labels, boxes

    def compute_loss(self, objectness: Tensor, steps: Tensor, labels: Any, wanted: Any) -> Any:
        if all(bool((label < 0).all()) for label in labels):  # a mean over nothing is no number
            return 0 * objectness.sum(), 0 * steps.sum()
        return super().compute_loss(objectness, steps, labels, wanted)


def _unknown(boxes: Tensor, target: dict[str, Tensor]) -> Tensor:
    """(n,) whether boxes lie in an ignored region, and on no object."""
    if not len(target["ignored"]) or not len(boxes):
        return torch.zeros(len(boxes), dtype=torch.bool, device=boxes.device)
    inside = share_inside(boxes, target["ignored"]).amax(1) >= IGNORED_SHARE
    objects = target["boxes"]
    return inside & (iou(boxes, objects).amax(1) < SECOND) if len(objects) else inside


class TwoStageHead(nn.Module):
    """Maps → (n, places, width): the maps side by side, of which both stages are made."""

    def __init__(self, widths: Sequence[int], anchors: Anchors, classes: int, depth: int) -> None:
        super().__init__()
        width, self.places, self.classes = widths[0], Places(anchors), classes
        self.names = [str(i) for i in range(len(widths))]
        first = RPNHead(width, anchors.each, conv_depth=max(1, depth // 2))
        about = (*FIRST[:2], LEARNED[0], POSITIVE[0], BEFORE, PROPOSALS, FIRST[2])
        self.rpn = _First(_Placed(self.places), first, *about)
        seen = [n for n, s in zip(self.names, anchors.strides, strict=True) if s <= COARSEST]
        pool = MultiScaleRoIAlign(seen, CELLS, sampling_ratio=2)
        neurons = HIDDEN * width
        second = TwoMLPHead(width * CELLS**2, neurons), FastRCNNPredictor(neurons, classes + 1)
        usual = (SECOND, SECOND, LEARNED[1], POSITIVE[1], None)
        self.roi_heads = RoIHeads(pool, *second, *usual, USUAL.least, USUAL.overlap, USUAL.most)

    def forward(self, maps: list[Tensor]) -> Tensor:
        return torch.cat([m.flatten(2).transpose(1, 2) for m in maps], 1)

    def losses(self, outputs: Tensor, truths: Sequence[Truth], size: Size, box: str) -> Tensor:
        """The mean over the pictures, for each of them: its parts are drawn from all together."""
        targets = [{"boxes": t.boxes, "labels": t.labels + 1, "ignored": t.ignored} for t in truths]
        maps, pictures = self._maps(outputs, size), _pictures(outputs, size)
        with _learning(self.rpn, self.roi_heads):
            proposals, first = self.rpn(pictures, maps, targets)
            known = [p[~_unknown(p, t)] for p, t in zip(proposals, targets, strict=True)]
            second: dict[str, Tensor] = {}
            if any(map(len, known)) or any(len(t.boxes) for t in truths):
                _, second = self.roi_heads(maps, known, pictures.image_sizes, targets)
        total = torch.stack([*first.values(), *second.values()]).sum()
        return total.expand(len(outputs))

    def found(self, outputs: Tensor, size: Size, how: Decoding = USUAL) -> list[Detections]:
        maps, pictures = self._maps(outputs, size), _pictures(outputs, size)
        second = self.roi_heads
        second.score_thresh, second.nms_thresh = how.least, how.overlap
        second.detections_per_img = how.most
        with _learning(self.rpn, second, learning=False):
            proposals, _ = self.rpn(pictures, maps)
            answers, _ = second(maps, proposals, pictures.image_sizes)
        return [_detections(answer) for answer in answers]

    def _maps(self, outputs: Tensor, size: Size) -> dict[str, Tensor]:
        shapes = self.places.maps(size)
        parts = outputs.split([height * width for height, width in shapes], 1)
        maps = [p.transpose(1, 2).unflatten(2, s) for p, s in zip(parts, shapes, strict=True)]
        return dict(zip(self.names, maps, strict=True))


def _pictures(outputs: Tensor, size: Size) -> ImageList:
    """All of one size; of the pixels torchvision asks only how large they are."""
    return ImageList(outputs.new_empty((0, 3, *size)), [size] * len(outputs))


@contextmanager
def _learning(*stages: nn.Module, learning: bool = True) -> Iterator[None]:
    """While it is entered, stages learn or do not; the layers in them stay as they are."""
    before = [stage.training for stage in stages]
    for stage in stages:
        stage.training = learning
    try:
        yield
    finally:
        for stage, was in zip(stages, before, strict=True):
            stage.training = was


def _detections(answer: dict[str, Tensor]) -> Detections:
    return Detections(
        answer["boxes"].double().cpu().numpy(),
        answer["scores"].double().cpu().numpy(),
        answer["labels"].cpu().numpy() - 1,
    )
