"""The pieces of a batch: forwards and backwards one after the other, gradients add up.

Where a loss compares the examples of a batch with one another, all pieces go forwards first without
gradients, then the loss tells what each output should change by, and each piece goes forwards and
backwards with that (Gao et al. 2021, "Scaling deep contrastive learning batch size under memory
limited setup", arXiv 2101.06983): the same gradient as of the whole batch at once.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from regraft.backbones.padding import Piece
from regraft.training.objectives import Objective

if TYPE_CHECKING:
    from lightning_fabric import Fabric


@dataclass(frozen=True)
class Backwards:
    """How a piece goes backwards.

    objective  whose loss is asked for outputs, targets and embeddings where it compares examples
    alone     (examples, targets) → (n,), where it does not
    random    number of a piece → what its dropout draws from, while it is entered
    factor    of the sum of all losses: their mean over the batch of all processes
    """

    network: Any
    objective: Objective
    alone: Callable[[Tensor, Any], Tensor]
    fabric: "Fabric"
    random: Callable[[int], AbstractContextManager[None]]
    factor: float

    def losses(self, pieces: Sequence[Piece], targets: Tensor) -> Tensor:
        """(n,) of all pieces of a batch with targets (n, classes); gradients are added."""
        out = torch.empty(len(targets), device=targets.device)
        way = self._compared if self.objective.compares else self._apart
        for places, costs in way(pieces, targets):
            out[places] = costs
        return out

    def _apart(self, pieces: Sequence[Piece], targets: Tensor) -> Iterator[tuple[Any, Tensor]]:
        for i, (places, some) in enumerate(pieces):
            with self._adding(i, len(pieces)):
                losses = self.alone(some, targets[places])
                self.fabric.backward(losses.sum() * self.factor)
            yield places, losses.detach()

    def _compared(self, pieces: Sequence[Piece], targets: Tensor) -> Iterator[tuple[Any, Tensor]]:
        with torch.no_grad():
            given = [self._given(i, some) for i, (_, some) in enumerate(pieces)]
        whole = [torch.cat(part).requires_grad_() for part in zip(*given, strict=True)]
        order = torch.cat([torch.arange(len(targets))[places] for places, _ in pieces])
        losses = self.objective.losses(whole[0], targets[order], whole[1])
        slopes = torch.autograd.grad(losses.sum() * self.factor, whole)
        parts = zip(
            *(slope.split([len(some) for _, some in pieces]) for slope in slopes), strict=True
        )
        for i, ((_, some), own) in enumerate(zip(pieces, parts, strict=True)):
            with self._adding(i, len(pieces)):
                outputs = self.network(some, embedding=True)
                products = [(o.float() * s).sum() for o, s in zip(outputs, own, strict=True)]
                self.fabric.backward(products[0] + products[1])
        yield order, losses.detach()

    def _given(self, i: int, some: Tensor) -> tuple[Tensor, ...]:
        with self.random(i):
            return tuple(output.float() for output in self.network(some, embedding=True))

    @contextmanager
    def _adding(self, i: int, of: int) -> Iterator[None]:
        """The gradient of a piece is added; with the last one, processes exchange theirs."""
        with self.fabric.no_backward_sync(self.network, enabled=i < of - 1), self.random(i):
            yield
