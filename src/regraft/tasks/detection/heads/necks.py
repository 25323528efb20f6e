"""Between the maps of a backbone and the head: maps of one width, or further, coarser ones."""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from math import gcd
from types import MappingProxyType

from torch import Tensor, nn
from torchvision.models.detection.ssdlite import _extra_block, _normal_init
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool, LastLevelP6P7

GROUPS = 8  # of channels that are normalised together
LEAST = 2  # channels of such a group


def by_groups(channels: int) -> nn.Module:
    """Normalisation that needs no batch."""
    return nn.GroupNorm(gcd(GROUPS, max(1, channels // LEAST)), channels)


class Pyramid(FeaturePyramidNetwork):
    """Maps of a backbone → as many of one width, or one or two more, finest first.

    Lin et al. 2017, arXiv 1612.03144.

    widths  of the backbone's maps
    """

    def __init__(self, widths: Sequence[int], width: int, levels: int) -> None:
        more = {0: None, 1: LastLevelMaxPool(), 2: LastLevelP6P7(width, width)}
        super().__init__([*widths], width, more[levels - len(widths)])
        self.widths = (width,) * levels

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        return [*super().forward({str(i): m for i, m in enumerate(maps)}).values()]


class Extras(nn.Module):
    """Maps of a backbone as they are, and coarser ones by light convolutions, as in SSDLite."""

    def __init__(self, widths: Sequence[int], width: int, levels: int) -> None:
        super().__init__()
        ends = [widths[-1], *(2 * width for _ in range(levels - len(widths)))]
        made = (_extra_block(a, b, by_groups) for a, b in pairwise(ends))
        self.blocks = nn.ModuleList(made)
        _normal_init(self.blocks)
        self.widths = (*widths, *ends[1:])

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        found = [*maps]
        for block in self.blocks:
            found.append(block(found[-1]))
        return found


# Widths of the backbone's maps, that of what is new, levels → a module with `widths`.
NECKS: Mapping[str, Callable[[Sequence[int], int, int], nn.Module]] = MappingProxyType(
    {"pyramid": Pyramid, "extras": Extras}
)
