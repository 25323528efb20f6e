"""Grafted: a pretrained network and a linear head on the features of all its blocks, as one.

It begins as the probe: the closed-form head becomes a linear layer, divided by its temperature so
that the scores are calibrated logits. So the first step of training starts from what the probe
knows (LP-FT, Kumar et al. 2022, arXiv 2202.10054), and what comes out is again a network and a
`Head`, which everything that reads a `Model` understands.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from regraft.backbones.catalog import CatalogRow, families
from regraft.backbones.network import FrozenNetwork, load_network
from regraft.backbones.tunable import Tunable
from regraft.errors import UsageError
from regraft.modalities.spec import InputSpec
from regraft.training.halves import Halves
from regraft.transfer.probe import Head
from regraft.transfer.scaling import BlockScaling


class Grafted(Tunable):
    """(n, size, size, 3) uint8 pixels → (n, c) logits.

    scaling  of the features, block by block; stays as it is
    linear   the head, on scaled features
    """

    shift: Tensor
    factor: Tensor

    def __init__(self, network: FrozenNetwork, scaling: BlockScaling, classes: int) -> None:
        super().__init__()
        if tuple(scaling.widths) != network.block_widths:
            raise UsageError(
                f"head: it reads blocks of {scaling.widths} columns, the network gives "
                f"{network.block_widths}"
            )
        self.network, self.widths = network, tuple(scaling.widths)
        self.halves: Halves | None = None
        self.register_buffer("shift", torch.tensor(scaling.shift, dtype=torch.float32))
        self.register_buffer("factor", torch.tensor(scaling.factor, dtype=torch.float32))
        self.linear = nn.Linear(len(scaling.shift), classes)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    @property
    def top(self) -> nn.Module:
        return self.linear

    @torch.no_grad()
    def take(self, head: Head, temperature: float) -> "Grafted":
        """Begin with the head's scores, divided by their temperature."""
        weight = torch.tensor(head.coefficients / temperature, dtype=torch.float32)
        self.linear.weight.copy_(weight[:-1].T)
        self.linear.bias.copy_(weight[-1])
        return self

    def forward(self, pixels: Tensor, embedding: bool = False) -> Any:
        """Logits (n, c) float32, whatever the network itself computes in.

        embedding  also the last feature (n, d), as a pair

        Where the network is in halves, instead of pixels what the shallow one gave.
        """
        source = self.network if self.halves is None else self.halves
        blocks = source.features(pixels)
        with torch.autocast(pixels.device.type, enabled=False):
            features = torch.cat(blocks, 1).float()
            logits: Tensor = self.linear((features - self.shift) * self.factor)
        return (logits, blocks[-1]) if embedding else logits

    def head(self) -> Head:
        """The linear layer as a `Head`, whose scores are the logits; bit for bit in float64."""
        scaling = BlockScaling(_double(self.shift), _double(self.factor), self.widths)
        coefficients = np.vstack([_double(self.linear.weight).T, _double(self.linear.bias)[None]])
        return Head(scaling, coefficients, (1.0,) * len(self.widths), 0.0)

    def halve(self, frozen: float) -> Halves:
        """Take out the shallow `frozen` share of the blocks. Raises UsageError."""
        blocks = self.network.block_names[:-1]
        last = min(max(1, round(frozen * len(blocks))), len(blocks) - 1)
        self.halves = Halves(self.network, blocks[last - 1])
        return self.halves

    def join(self) -> None:
        """Put the shallow half back, if it was taken out."""
        if self.halves is not None:
            self.halves.restore()
            self.halves = None


def _double(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().double().numpy()


def grafted(row: CatalogRow, spec: InputSpec, head: Head, temperature: float) -> Grafted:
    """The probe of a network as one module, with weights of its own."""
    network = load_network(row, spec)
    return Grafted(network, head.scaling, head.coefficients.shape[1]).take(head, temperature)


def body_depths(model: Tunable, row: CatalogRow) -> list[list[str]]:
    """Parameter names of the body from shallow to deep; of its old classifier, none.

    Names are those in `Tunable.named_parameters`.
    """
    return [[f"network.module.{n}" for n in group] for group in depths_of(model.network, row)]


def depths_of(network: FrozenNetwork, row: CatalogRow) -> list[list[str]]:
    """The same under the names of the network's library."""
    names = [name for name, _ in network.module.named_parameters()]
    family = families()[row.family]
    groups = [[n for n in group if not family.is_head(n)] for group in family.depth_groups(names)]
    return [group for group in groups if group]
