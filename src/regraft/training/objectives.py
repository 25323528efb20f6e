"""What a task makes of a batch: its targets, and the loss of each example."""

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from regraft.modalities.augment import mixed
from regraft.training.attacking import Attacking, Network, refuse_compared
from regraft.training.examples import Batch
from regraft.training.losses import loss_of
from regraft.training.plan import Plan

if TYPE_CHECKING:
    from regraft.training.terms import Material


class Objective(Protocol):
    """What the loop asks of a task.

    compares  whether a loss compares the examples of a batch with one another
    """

    @property
    def compares(self) -> bool: ...

    def targets(
        self, batch: Batch, device: torch.device, rng: np.random.Generator
    ) -> tuple[Tensor, Any]:
        """Pixels on the device, and what the network should say of them: n of them, with a device,
        of which places give some.
        """
        ...

    def losses(self, outputs: Tensor, targets: Any, *embeddings: Tensor) -> Tensor:
        """(n,) losses of what the network gave, float32; embeddings where it compares."""
        ...

    def alone(
        self, network: Network, bare: Network, examples: Tensor, targets: Any, progress: float
    ) -> Tensor:
        """(n,) losses of examples, each by itself, after a share `progress` of the steps.

        network  as it learns, maybe on several processes; `bare` is the same, for looking ahead
        """
        ...


class Classes:
    """One class for each example: the loss that a plan names, on one-hot or mixed targets."""

    def __init__(self, plan: Plan, material: "Material") -> None:
        self.labels, self.classes = torch.as_tensor(material.labels), material.classes
        self.loss = loss_of(plan.loss, self.labels, material.classes, material.weights)
        self.compares = self.loss.compares
        self.attack = Attacking.of(plan.attack)
        refuse_compared(self.loss, self.attack, plan)
        self.wanted = material.examples.wanted

    def targets(
        self, batch: Batch, device: torch.device, rng: np.random.Generator
    ) -> tuple[Tensor, Tensor]:
        """Pixels and one-hot targets, mixed where the augmentation says so."""
        labels = self.labels[batch.places]
        targets = nn.functional.one_hot(labels, self.classes).float()
        pixels = batch.pixels.to(device, non_blocking=True)
        return mixed(pixels, targets.to(device), self.wanted, rng)

    def losses(self, outputs: Tensor, targets: Tensor, *embeddings: Tensor) -> Tensor:
        found: Tensor = self.loss(outputs, targets, *embeddings)
        return found

    def alone(
        self, network: Network, bare: Network, examples: Tensor, targets: Tensor, progress: float
    ) -> Tensor:
        """On the examples as they are, or as the plan's attack changes them."""
        return self.attack.losses(network, bare, self.loss, examples, targets, progress)
