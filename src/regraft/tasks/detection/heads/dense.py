"""What heads share that give an answer at each of fixed places."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from regraft.evaluation.detection import Detections
from regraft.tasks.detection.anchors import Anchors
from regraft.tasks.detection.decoding import USUAL, Decoding, found_among, inside
from regraft.tasks.detection.heads.base import Size
from regraft.tasks.detection.targets import Truth


class Places:
    """Anchors at the places of all maps, kept for each size of the input and each device."""

    def __init__(self, anchors: Anchors) -> None:
        self.anchors = anchors
        self._kept: dict[Any, Tensor] = {}

    def boxes(self, size: Size, like: Tensor) -> Tensor:
        """(A, 4) corners, where `like` is."""
        if (size, like.device) not in self._kept:
            self._kept[size, like.device] = self.anchors.boxes(self.maps(size)).to(like.device)
        return self._kept[size, like.device]

    def maps(self, size: Size) -> list[tuple[int, int]]:
        """Heights and widths of the maps."""
        return [(-(-size[0] // s), -(-size[1] // s)) for s in self.anchors.strides]

    def per_map(self, size: Size) -> list[int]:
        """Anchors on each map."""
        return [height * width * self.anchors.each for height, width in self.maps(size)]


class DenseHead(nn.Module):
    """A head whose outputs stand for anchors, one each."""

    def __init__(self, anchors: Anchors, classes: int) -> None:
        super().__init__()
        self.places, self.classes = Places(anchors), classes

    def told(self, outputs: Tensor, anchors: Tensor) -> tuple[Tensor, Tensor]:
        """Scores (..., A, classes) in [0, 1] and corners (..., A, 4) of outputs (..., A, numbers).

        anchors  (A, 4) corners
        """
        raise NotImplementedError

    def found(self, outputs: Tensor, size: Size, how: Decoding = USUAL) -> list[Detections]:
        """See `Head`."""
        anchors, per_map = self.places.boxes(size, outputs), self.places.per_map(size)
        pairs = (self.told(output, anchors) for output in outputs)
        return [found_among(s, inside(b, size), per_map, how) for s, b in pairs]


def each_loss(loss: Any, outputs: Tensor, truths: Sequence[Truth]) -> Tensor:
    """(n,) of a function of one picture's output and truth."""
    return torch.stack([loss(o, t) for o, t in zip(outputs, truths, strict=True)])
