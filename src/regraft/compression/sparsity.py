"""Unstructured pruning: the smallest weights of a network become zero, wherever they are.

Han et al. 2015, "Learning both weights and connections", arXiv 1506.02626. For study: it shows how
many weights a network could do without. No engine here skips single zeros, and a file of them is as
long as one of other numbers, so that nothing gets faster or smaller by it; see `pruning` for that.
"""

from collections.abc import Iterator
from copy import deepcopy
from typing import TYPE_CHECKING, Any, NamedTuple

from regraft.backbones.catalog import Family, families
from regraft.backbones.extractor import Extractor
from regraft.backbones.operations import multiply_adds
from regraft.compression.pruning import kept_row

if TYPE_CHECKING:
    from torch import nn


class Sparse(NamedTuple):
    """The network with its zeros, and the share of them in each layer and in all."""

    extractor: Extractor
    layers: dict[str, float]
    zeros: float


def sparse(one: Extractor, share: float) -> Sparse:
    """Of the weights of convolutions and matrix products of all layers together, the smallest
    `share` become zero; the classifier that a network came with stays as it is.
    """
    import torch
    from torch.nn.utils import prune

    network = deepcopy(one.network).to(memory_format=torch.contiguous_format)  # torch's prune views
    parts = dict(_weighted(network.module, families()[one.row.family]))
    prune.global_unstructured(
        [(part, "weight") for part in parts.values()], prune.L1Unstructured, amount=share
    )
    for part in parts.values():
        prune.remove(part, "weight")
    counts = {name: (int((p.weight == 0).sum()), p.weight.numel()) for name, p in parts.items()}
    row = kept_row(network.module, one.row, one.spec, f"sparsity={share:g}", multiply_adds(network))
    zeros, total = (sum(column) for column in zip(*counts.values(), strict=True))
    layers = {name: none / every for name, (none, every) in counts.items()}
    return Sparse(Extractor(row, one.spec, one.engine_name), layers, zeros / total)


def _weighted(module: "nn.Module", family: Family) -> "Iterator[tuple[str, Any]]":
    """Layers whose weights are multiplied with what they read."""
    from torch import nn

    kinds = (nn.Linear, nn.modules.conv._ConvNd)
    for name, part in module.named_modules():
        if isinstance(part, kinds) and not family.is_head(f"{name}.weight"):
            yield name, part
