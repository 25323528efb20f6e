"""From what the network gives to boxes: the best of each map, overlapping ones of a class once."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from regraft.evaluation.detection import Detections
from regraft.tasks.detection.targets import decoded


@dataclass(frozen=True)
class Decoding:
    """How many boxes are taken, and which.

    least    score below which nothing is taken
    overlap  IoU above which the less sure of two boxes of a class is left out
    each     candidates of one map
    most     boxes of a picture
    """

    least: float = 0.01
    overlap: float = 0.5
    each: int = 1000
    most: int = 100


USUAL = Decoding()


def found_in(
    output: Tensor,
    anchors: Tensor,
    per_map: Sequence[int],
    size: tuple[int, int],
    how: Decoding = USUAL,
) -> Detections:
    """The boxes in one picture, in pixels of the input.

    output   (A, classes + 4)
    per_map  anchors on each map
    size     height and width of the input
    """
    from torchvision.ops import batched_nms

    classes = output.shape[1] - 4
    boxes, scores, labels = [], [], []
    start = 0
    for count in per_map:
        part, near = output[start : start + count], anchors[start : start + count]
        start += count
        sure, place = (
            torch.sigmoid(part[:, :classes]).flatten().topk(min(how.each, count * classes))
        )
        place = place[sure > how.least]
        scores.append(sure[sure > how.least])
        labels.append(place % classes)
        where = place // classes
        boxes.append(decoded(part[where, classes:], near[where]))
    every = torch.cat(boxes)
    every[:, 0::2] = every[:, 0::2].clamp(0, size[1])
    every[:, 1::2] = every[:, 1::2].clamp(0, size[0])
    sure, kind = torch.cat(scores), torch.cat(labels)
    kept = batched_nms(every, sure, kind, how.overlap)[: how.most]
    return Detections(
        every[kept].double().cpu().numpy(),
        sure[kept].double().cpu().numpy(),
        kind[kept].cpu().numpy().astype(np.int64),
    )
