"""What every detector can do, whatever it is made of."""

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor, nn

from regraft.evaluation.detection import Detections
from regraft.modalities.spec import InputSpec
from regraft.tasks.detection.decoding import USUAL, Decoding


class Detecting(nn.Module, ABC):
    """(n, height, width, 3) uint8 RGB → (n, places, numbers), which it can read itself.

    kind     a row that tells of it: of `heads.rows.HEADS` or `queries.rows.QUERIES`
    spec     its input
    classes  number of them
    """

    kind: Any
    spec: InputSpec
    classes: int

    @abstractmethod
    def found(self, outputs: Tensor, how: Decoding = USUAL) -> list[Detections]:
        """The boxes in each picture, in pixels of the input, the surest first."""

    @abstractmethod
    def deployed(self) -> Any:
        """As one module for other runtimes, see `deployed`. Raises UsageError where it is none."""

    @abstractmethod
    def sizes(self) -> dict[str, Any]:
        """What a bundle tells of it beside its row, spec and classes."""

    @property
    @abstractmethod
    def key(self) -> object:
        """What decides its numbers beside its weights: a run that is resumed has the same."""
