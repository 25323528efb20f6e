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
    alone     (examples, targets) → (n,) of each round, where it does not
    random    number of a piece → what its dropout draws from, while it is entered
    factor    of the sum of all losses: their mean over the batch of all processes
    """

    network: Any
    objective: Objective
    alone: Callable[[Tensor, Any], Iterator[Tensor]]
    fabric: "Fabric"
    random: Callable[[int], AbstractContextManager[None]]
    factor: float

    def losses(self, pieces: Sequence[Piece], targets: Tensor) -> Iterator[Tensor]:
        """(n,) of all pieces of a batch with targets (n, classes); gradients are added.

        Given as often as weights should move by the gradients that are there.
        """
        way = self._compared if self.objective.compares else self._apart
        yield from way(pieces, targets)

    def _apart(self, pieces: Sequence[Piece], targets: Tensor) -> Iterator[Tensor]:
        times, moves = self.objective.rounds
        share = 1 if moves else times
        begun = [self.alone(some, targets[places]) for places, some in pieces]
        out = torch.zeros(len(targets), device=targets.device)
        for turn in range(times):
            last = len(pieces) * (1 if moves else times - turn)
            for i, (places, _) in enumerate(pieces):
                with self._adding(i, last, turn * len(pieces)):
                    losses = next(begun[i])
                    self.fabric.backward(losses.sum() * (self.factor / share))
                out[places] += losses.detach() / share
            if moves or turn == times - 1:
                yield out
                out = torch.zeros_like(out)

    def _compared(self, pieces: Sequence[Piece], targets: Tensor) -> Iterator[Tensor]:
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
        out = torch.empty(len(targets), device=targets.device)
        out[order] = losses.detach()
        yield out

    def _given(self, i: int, some: Tensor) -> tuple[Tensor, ...]:
        with self.random(i):
            return tuple(output.float() for output in self.network(some, embedding=True))

    @contextmanager
    def _adding(self, i: int, of: int, before: int = 0) -> Iterator[None]:
        """The gradient of a piece is added; with the last one, processes exchange theirs."""
        waits = self.fabric.no_backward_sync(self.network, enabled=i < of - 1)
        with waits, self.random(before + i):
            yield
