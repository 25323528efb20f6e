"""Recovery: what a network has lost with its channels it learns again from the one it came of."""

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from regraft.training.attacking import Network
from regraft.training.examples import Batch
from regraft.training.objectives import Classes
from regraft.training.plan import Plan

if TYPE_CHECKING:
    from regraft.training.grafted import Grafted
    from regraft.training.terms import Material

SOFT = 2.0  # temperature of the teacher's answers
HARD = 0.3  # share of the labels


class Relearned(Classes):
    """Classes, beside the answers of the network as it was to the very same augmented examples.

    Hinton et al. 2015, arXiv 1503.02531; that both see the same picture: Beyer et al. 2022,
    arXiv 2106.05237.
    """

    def __init__(self, plan: Plan, material: "Material", teacher: "Grafted") -> None:
        super().__init__(plan, material)
        self.teacher = teacher.eval().requires_grad_(False)

    def targets(
        self, batch: Batch, device: torch.device, rng: np.random.Generator
    ) -> tuple[Tensor, Any]:
        """Pixels, and labels beside the teacher's softened answers (n, 2 c)."""
        pixels, labels = super().targets(batch, device, rng)
        with torch.no_grad():
            soft = (self.teacher.to(device)(pixels) / SOFT).softmax(1)
        return pixels, torch.cat([labels, soft], 1)

    def alone(
        self, network: Network, bare: Network, examples: Tensor, targets: Tensor, progress: float
    ) -> Tensor:
        labels, soft = targets.split(self.classes, 1)
        outputs = network(examples).float()
        own: Tensor = self.loss(outputs, labels)
        apart = nn.functional.kl_div((outputs / SOFT).log_softmax(1), soft, reduction="none").sum(1)
        return HARD * own + (1 - HARD) * SOFT**2 * apart
