"""The network: a backbone whose moments are not averaged, and a head that writes them down.

The head weighs all blocks (as SUPERB does: Yang et al. 2021, arXiv 2105.01051) and looks at a few
neighbouring moments; or it is what the checkpoint brings, see `brought`. Alone, on frozen features,
it is the probe of this task.
"""

from typing import Any

import torch
from torch import Tensor, nn

from regraft.backbones.catalog import CatalogRow, families
from regraft.backbones.network import FrozenNetwork, load_network
from regraft.backbones.tunable import Tunable
from regraft.modalities.spec import InputSpec
from regraft.tasks.transcription.heads import SpellingHead

NEEDS = "transcribe"  # what the family of a backbone must offer


class Transcriber(Tunable):
    """(n, ...) sounds of one length, as the network hears them → (n, moments, c) logits."""

    def __init__(self, network: FrozenNetwork, head: Any) -> None:
        super().__init__()
        self.network, self.head = network, head

    @property
    def top(self) -> nn.Module:
        return self.head

    def features(self, sounds: Tensor) -> Tensor:
        """(n, sum of widths, moments) of all blocks, side by side."""
        return torch.cat(self.network.features(sounds), 1)

    def forward(self, sounds: Tensor, *given: Tensor) -> Tensor:
        """given  what a head reads beside features: the tokens so far, of a decoder"""
        found: Tensor = self.head(self.features(sounds), *given)
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
