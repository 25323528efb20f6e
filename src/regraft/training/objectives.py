"""What a task makes of a batch: its targets, and the loss of each example."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from regraft.errors import UsageError
from regraft.evaluation.calibration import softmax
from regraft.modalities.augment import mixed
from regraft.training.attacking import ONCE, Attacking, Network, Rounds, refuse_compared
from regraft.training.examples import Batch
from regraft.training.losses import LOSSES, class_weights, loss, loss_of, parse_setting
from regraft.training.plan import Plan
from regraft.training.teaching import Teaching

if TYPE_CHECKING:
    from regraft.training.terms import Material


TINY = 1e-9  # of a share


class Objective(Protocol):
    """What the loop asks of a task.

    compares  whether a loss compares the examples of a batch with one another
    rounds    how often `alone` gives losses
    """

    @property
    def compares(self) -> bool: ...

    @property
    def rounds(self) -> Rounds: ...

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
    ) -> Iterator[Tensor]:
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
        self.rounds = self.attack.rounds
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
    ) -> Iterator[Tensor]:
        """On the examples as they are, or as the plan's attack changes them."""
        return self.attack.losses(network, bare, self.loss, examples, targets, progress)


class Taught(Classes):
    """Classes, with a teacher's softened answers beside the labels (Hinton et al. 2015).

    The loss of an example is  share · L(outputs, label) + (1 - share) · T² · CE(outputs / T, q):
    L is the loss that the plan names, q what the teacher says at the temperature T, and T² keeps
    the gradients of both alike.

    Raises UsageError where the plan attacks examples, or compares them with one another.
    """

    def __init__(self, plan: Plan, material: "Material", teaching: Teaching) -> None:
        super().__init__(plan, material)
        if self.attack.eps or self.compares:
            what = f"attack: {plan.attack}" if self.attack.eps else f"loss: {plan.loss}"
            raise UsageError(f"{what} cannot be learned from beside a teacher; leave it out")
        self.rounds = ONCE
        self.temperature, self.see = teaching.temperature, teaching.see
        soft = softmax(teaching.logits, teaching.temperature)
        self.soft = torch.as_tensor(soft, dtype=torch.float32)
        self.shares = torch.as_tensor(teaching.shares(), dtype=torch.float32)

    def targets(
        self, batch: Batch, device: torch.device, rng: np.random.Generator
    ) -> tuple[Tensor, Tensor]:
        """Pixels, and side by side: labels, the teacher's answers, the share of the labels."""
        hard = nn.functional.one_hot(self.labels[batch.places], self.classes).float()
        share = self.shares[batch.places][:, None]
        # What is mixed is linear in all of them, so that they are mixed at once.
        whole = torch.cat([share * hard, (1 - share) * self.soft[batch.places], share], 1)
        pixels, whole = mixed(
            batch.pixels.to(device, non_blocking=True), whole.to(device), self.wanted, rng
        )
        if self.see is not None:
            soft = (self.see(pixels) / self.temperature).softmax(1)
            whole[:, self.classes : -1] = (1 - whole[:, -1:]) * soft
        return pixels, whole

    def losses(self, outputs: Tensor, targets: Tensor, *embeddings: Tensor) -> Tensor:
        hard, soft, share = targets.split([self.classes, self.classes, 1], 1)
        told = share.clamp(min=TINY)
        own = self.loss(outputs, hard / told, *embeddings)
        calm = (outputs.float() / self.temperature).log_softmax(1)
        return share[:, 0] * own - self.temperature**2 * (soft * calm).sum(1)

    def alone(
        self, network: Network, bare: Network, examples: Tensor, targets: Tensor, progress: float
    ) -> Iterator[Tensor]:
        yield self.losses(network(examples).float(), targets)


def label_weights(truth: Tensor, name: str, how: str) -> Tensor | None:
    """(2, k) weights of labels that are lacking and of those that are there, from truth (n, k).

    Of each label as of two classes, by a row of WEIGHTINGS; None where all count alike. Raises
    UsageError for a loss of numbers, which are no classes.
    """
    if how == "none":
        return None
    if LOSSES[name].task != "labels":
        raise UsageError(f"weights: {how} is for classes and tags; loss {name} is for values")
    there = truth.double().sum(0)
    counts = torch.stack([len(truth) - there, there], 1)
    return torch.stack([class_weights(pair, how) for pair in counts], 1)


class Vectors:
    """A vector for each example, tags or numbers: the loss that a plan names for such targets."""

    compares = False
    rounds = ONCE

    def __init__(self, plan: Plan, truth: Any, wanted: Any) -> None:
        """truth   (n, k)
        wanted  augmentations of the examples: some mix targets too

        Raises UsageError for class weights of what has no classes, and for an attack.
        """
        self.truth, self.wanted = torch.as_tensor(truth).float(), wanted
        name, given = parse_setting(plan.loss)
        settings: dict[str, Any] = {**given, "classes": self.truth.shape[1]}
        self.loss = loss(name, weights=label_weights(self.truth, name, plan.weights), **settings)
        if Attacking.of(plan.attack).eps:
            raise UsageError("attack: it turns a class into another one; there are no classes here")

    def targets(
        self, batch: Batch, device: torch.device, rng: np.random.Generator
    ) -> tuple[Tensor, Tensor]:
        """Pixels and targets, mixed where the augmentation says so."""
        pixels = batch.pixels.to(device, non_blocking=True)
        return mixed(pixels, self.truth[batch.places].to(device), self.wanted, rng)

    def losses(self, outputs: Tensor, targets: Tensor, *embeddings: Tensor) -> Tensor:
        found: Tensor = self.loss(outputs, targets)
        return found

    def alone(
        self, network: Network, bare: Network, examples: Tensor, targets: Tensor, progress: float
    ) -> Iterator[Tensor]:
        """On the examples as they are."""
        yield self.losses(network(examples).float(), targets)
