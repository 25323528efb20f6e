"""What counts of a batch of examples that are not as long: padding is read and never looked at."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import Tensor, nn

from regraft.backbones.padding import PADDING


class Tokens(nn.Module):
    """(n, length) numbers of a vocabulary, behind the ends PADDING → the same, padded with zeros.

    Zero need not be the network's own padding: a mask says which numbers count.
    """

    def forward(self, tokens: Tensor) -> Tensor:
        return tokens.clamp(min=0)


def _all_counts(x: Tensor) -> Tensor | None:
    return None


def _no_padding(tokens: Tensor) -> Tensor | None:
    """(n, length): which are no padding; None where none is. A frozen network never sees any."""
    traced = torch.jit.is_tracing()  # type: ignore[attr-defined]
    if traced or torch.compiler.is_exporting():
        return None
    mask = tokens != PADDING
    return None if bool(mask.all()) else mask


# What a network reads → which places of a batch count, None where all do.
MASKS: Mapping[str, Callable[[Tensor], Tensor | None]] = MappingProxyType(
    {"picture": _all_counts, "text": _no_padding, "sound": _all_counts}
)
