"""What a network in training knows: its loss and accuracy on examples that are held back."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from regraft.backbones.padding import Piece, evenly
from regraft.errors import TrainingStopped
from regraft.training.devices import begin_cost
from regraft.transfer.targets import CLASSES, Target

AT_ONCE = 64

Cut = Callable[[Any, int, float], list[Piece]]


class Score(NamedTuple):
    """Mean log-loss, calibrated, and accuracy; or what a target has in place of them."""

    loss: float
    accuracy: float


@dataclass(frozen=True)
class Held:
    """Examples that nothing is learned from.

    pixels  (m, size, size, 3) uint8 as prepared, never augmented; or what the shallow half of the
            network gives for them; or tokens (m, longest), padded; with several parts (k m, ...),
            the first part of all examples first
    labels  (m,) class numbers, or what else is right: see `Target`
    cut     into pieces that are run at once, see `Reader.cut`
    parts   of an example, whose logits are averaged: as its features are, for a head is linear
    """

    pixels: Tensor
    labels: Tensor
    cut: Cut = evenly
    parts: int = 1
    target: Target = CLASSES

    @property
    def majority(self) -> float:
        """The accuracy of always saying the commonest class; below 0 where there are none."""
        return self.target.floor(self.labels.numpy())

    def score(self, model: nn.Module, device: torch.device) -> Score:
        """Of a model that gives logits. Raises TrainingStopped where they are no numbers."""
        logits = self.logits(model, device)
        if lost := int((~np.isfinite(logits)).any(1).sum()):
            raise TrainingStopped(
                f"for {lost} of {len(logits)} examples that are held back, what the network gives "
                "is no number any more. Lower the rate, or leave BatchNorm as it is (norm = frozen)"
            )
        return score_of(logits, self.labels.numpy(), self.target)

    def logits(self, model: nn.Module, device: torch.device) -> npt.NDArray[np.float64]:
        """(m, c), see `logits_of`."""
        found = logits_of(model, self.pixels, device, self.cut)
        return found.reshape(self.parts, -1, found.shape[1]).mean(0)


@torch.no_grad()
def logits_of(
    model: nn.Module, pixels: Tensor, device: torch.device, cut: Cut = evenly
) -> npt.NDArray[np.float64]:
    """(m, c) of prepared examples, with the network in evaluation mode, as it is afterwards."""
    was = [(part, part.training) for part in model.modules()]
    model.eval()
    try:
        pieces = cut(pixels, AT_ONCE, begin_cost(device))
        parts = [(at, model(some.to(device)).double().cpu().numpy()) for at, some in pieces]
    finally:
        for part, training in was:
            part.training = training
    out = np.empty((len(pixels), parts[0][1].shape[1]))
    for at, logits in parts:
        out[at] = logits
    return out


def score_of(
    logits: npt.NDArray[np.floating], labels: npt.NDArray[Any], target: Target = CLASSES
) -> Score:
    """Of logits (m, c) and labels (m,), or what else is right.

    The loss is that at the best temperature, as the model is used in the end: label smoothing and
    augmentation make a network say less than it knows.
    """
    return Score(target.mean_loss(logits, labels), target.score(logits, labels))
