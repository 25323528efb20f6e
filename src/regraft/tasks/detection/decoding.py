"""From scores and boxes to objects: of anchors the best of each map, of queries the surest."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from regraft.evaluation.detection import Detections


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


def found_among(
    scores: Tensor, boxes: Tensor, per_map: Sequence[int], how: Decoding = USUAL
) -> Detections:
    """The surest boxes of each map, overlapping ones of a class once.

    scores   (A, classes) in [0, 1]
    boxes    (A, 4) corners in pixels of the input
    per_map  anchors on each map
    """
    maps = zip(scores.split([*per_map]), boxes.split([*per_map]), strict=True)
    found = [(one, own[one.places]) for part, own in maps for one in [_surest(part, how)]]
    ones = [one for one, _ in found]
    every = torch.cat([own for _, own in found])
    sure, kind = torch.cat([one.scores for one in ones]), torch.cat([one.labels for one in ones])
    return _once(every, sure, kind, how)


class _Surest(NamedTuple):
    """Candidates of one map."""

    scores: Tensor
    labels: Tensor
    places: Tensor


def _surest(scores: Tensor, how: Decoding) -> _Surest:
    """Of (anchors, classes) scores."""
    sure, place = scores.flatten().topk(min(how.each, scores.numel()))
    place = place[sure > how.least]
    classes = scores.shape[1]
    return _Surest(sure[sure > how.least], place % classes, place // classes)


def inside(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """(..., 4) corners, none out of an input of this height and width."""
    height, width = size
    most = torch.tensor([width, height, width, height], dtype=boxes.dtype, device=boxes.device)
    return torch.minimum(boxes.clamp(min=0), most)


def _once(boxes: Tensor, scores: Tensor, labels: Tensor, how: Decoding) -> Detections:
    """Of overlapping boxes of a class the surest."""
    from torchvision.ops import batched_nms

    kept = batched_nms(boxes, scores, labels, how.overlap)[: how.most]
    return Detections(
        boxes[kept].double().cpu().numpy(),
        scores[kept].double().cpu().numpy(),
        labels[kept].cpu().numpy().astype(np.int64),
    )


def surest_queries(
    scores: Tensor, boxes: Tensor, per_map: Sequence[int] = (), how: Decoding = USUAL
) -> Detections:
    """The surest of all queries and classes: queries have agreed on who answers for an object.

    As `post_process_object_detection` of transformers; see `found_among` for the arguments.
    """
    most = min(how.most, len(scores))
    one = _surest(scores, replace(how, each=most))
    return Detections(
        boxes[one.places].double().cpu().numpy(),
        one.scores.double().cpu().numpy(),
        one.labels.cpu().numpy().astype(np.int64),
    )


# Name → (scores (A, classes), boxes (A, 4), per_map, how) → objects; exports tell the name.
DECODINGS: Mapping[str, Callable[..., Detections]] = MappingProxyType(
    {"anchors": found_among, "queries": surest_queries}
)
