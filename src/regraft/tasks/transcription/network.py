"""The network: a backbone whose moments are not averaged, and a head that spells them out.

The head weighs all blocks (as SUPERB does: Yang et al. 2021, arXiv 2105.01051) and looks at a few
neighbouring moments. Alone, on frozen features, it is the probe of this task.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from regraft.backbones.catalog import CatalogRow, families
from regraft.backbones.network import FrozenNetwork, load_network
from regraft.backbones.tunable import Tunable
from regraft.modalities.spec import InputSpec

NEEDS = "transcribe"  # what the family of a backbone must offer
INNER, REACH = 192, 5  # width of the head, and moments that a layer of it sees
DROPOUT = 0.1  # while the head learns alone


class SpellingHead(nn.Module):
    """(n, sum of widths, moments) features of all blocks, side by side → (n, moments, c) logits.

    alone  it learns on frozen features: then some of them are dropped in each step
    """

    alone = False

    def __init__(self, widths: Sequence[int], characters: int, inner: int = INNER) -> None:
        super().__init__()
        width, *others = dict.fromkeys(widths)
        if others:
            raise ValueError(f"blocks of {sorted({width, *others})} columns cannot be weighed")
        self.blocks, self.width, self.inner = len(widths), width, inner
        self.weights = nn.Parameter(torch.zeros(self.blocks))
        self.even = nn.LayerNorm(width, elementwise_affine=False)
        self.near = nn.Conv1d(width, inner, REACH, padding=REACH // 2)
        self.far = nn.Conv1d(inner, inner, REACH, padding=REACH // 2)
        self.last = nn.Linear(inner, characters)

    def forward(self, features: Tensor) -> Tensor:
        with torch.autocast(features.device.type, enabled=False):
            blocks = features.float().unflatten(1, (self.blocks, self.width)).transpose(2, 3)
            shares = torch.softmax(self.weights, 0)
            mixed = torch.einsum("b,nbtd->ndt", shares, self.even(blocks))
            x = nn.functional.gelu(self.near(self._thinned(mixed)))
            x = x + nn.functional.gelu(self.far(self._thinned(x)))
            logits: Tensor = self.last(x.transpose(1, 2))
        return logits

    def _thinned(self, x: Tensor) -> Tensor:
        learning = self.alone and torch.is_grad_enabled()
        return nn.functional.dropout(x, DROPOUT, training=learning)


class Transcriber(Tunable):
    """(n, ...) sounds of one length, as the network hears them → (n, moments, c) logits."""

    def __init__(self, network: FrozenNetwork, head: SpellingHead) -> None:
        super().__init__()
        self.network, self.head = network, head

    @property
    def top(self) -> nn.Module:
        return self.head

    def forward(self, sounds: Tensor) -> Tensor:
        found: Tensor = self.head(torch.cat(self.network.features(sounds), 1))
        return found


def unfit(row: CatalogRow) -> str:
    """Why a network cannot write down what is said; empty where it can."""
    if NEEDS in families()[row.family].operations:
        return ""
    return f"backbone: {row.name}: networks of the family {row.family} do not offer {NEEDS!r}"


def listening(row: CatalogRow, spec: InputSpec) -> FrozenNetwork:
    """A backbone that gives features (n, width, moments) of its blocks. Raises BackboneError."""
    return load_network(row, spec, pool="moments")


def fresh_head(network: FrozenNetwork, characters: int, seed: int) -> SpellingHead:
    """A head before its first step; nobody's generator moves."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return SpellingHead(network.block_widths, characters)


def head_of(state: dict[str, Any]) -> SpellingHead:
    """A head from its tensors. Raises ValueError, KeyError or RuntimeError where they fit none."""
    blocks, (inner, width, _) = len(state["weights"]), state["near.weight"].shape
    made = SpellingHead([width] * blocks, len(state["last.bias"]), inner)
    made.load_state_dict(state)
    return made.requires_grad_(False).eval()
