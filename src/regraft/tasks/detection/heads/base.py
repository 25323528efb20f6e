"""What every head can do."""

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from regraft.evaluation.detection import Detections
from regraft.tasks.detection.decoding import USUAL, Decoding
from regraft.tasks.detection.targets import Truth

Size = tuple[int, int]  # height and width of the input


class Head(Protocol):
    """A module on the maps of a neck; what it gives, it can learn from and read.

    Its outputs are (n, places, numbers): pictures side by side, whatever is in them.
    """

    def __call__(self, maps: list[Tensor]) -> Tensor: ...

    def losses(self, outputs: Tensor, truths: Sequence[Truth], size: Size, box: str) -> Tensor:
        """(n,) losses of outputs float32.

        box  a name of the row's losses of boxes
        """
        ...

    def found(self, outputs: Tensor, size: Size, how: Decoding = USUAL) -> list[Detections]:
        """The boxes in each picture, in pixels of the input, the surest first."""
        ...
