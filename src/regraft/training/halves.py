"""A network in two halves: a shallow one that stands still, and a deep one that learns.

What the shallow half gives is computed once, in the fastest engine, and kept; training then only
runs the deep half. The split needs nothing from the architecture: blocks before the boundary are
swapped for ones that pass their input on, the boundary block for one that gives what was kept, and
what runs before them runs on one blank picture. A trial tells whether that gives the same numbers.

Source: Liu et al. 2021, "AutoFreeze", arXiv 2102.01386.
"""

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from regraft.backbones.network import FrozenNetwork
from regraft.errors import UsageError

TOLERANCE = 1e-3  # of the features, relative to the largest: the halves must equal the whole


class Prefix(nn.Module):
    """The shallow half: (n, size, size, 3) uint8 → (n, p + m) float32.

    The first p columns are the pooled features of its blocks; the others what its last block gives,
    flattened. ``shape`` is that of one example's.
    """

    def __init__(self, network: FrozenNetwork, boundary: str) -> None:
        super().__init__()
        self.network = deepcopy(network)  # the other one is taken apart
        self.spec, self.sample = network.spec, network.sample
        names = network.block_names
        self.own = names[: names.index(boundary) + 1]
        self.width = sum(network.block_widths[: len(self.own)])
        self._given = torch.zeros(0)
        self.eval()
        self.network.module.get_submodule(boundary).register_forward_hook(self._keep)
        with torch.no_grad():
            self(self.sample)
        self.shape: tuple[int, ...] = tuple(self._given.shape[1:])

    def _keep(self, block: nn.Module, inputs: Any, output: Any) -> None:
        self._given = output[0] if isinstance(output, tuple) else output

    def forward(self, pixels: Tensor) -> Tensor:
        kept = self.network.captured(pixels)
        return torch.cat([*(kept[name] for name in self.own), self._given.float().flatten(1)], 1)


class _Passing(nn.Module):
    """Gives what it gets."""

    def forward(self, x: Any, *rest: Any, **more: Any) -> Any:
        return x


class _Replay(nn.Module):
    """Gives what was put into it."""

    def __init__(self) -> None:
        super().__init__()
        self.value: Tensor | None = None

    def forward(self, *inputs: Any, **more: Any) -> Any:
        return self.value


class Halves:
    """A network whose shallow half is taken out until `restore`.

    boundary  the last block of the shallow half; everything deeper learns
    """

    def __init__(self, network: FrozenNetwork, boundary: str) -> None:
        self.network = network
        example = torch.cat([network.sample, network.sample.flip(1)])
        with torch.no_grad():
            self.prefix = Prefix(network, boundary)
            whole, packed = network(example), self.prefix(example)
        self.shape, self.width = self.prefix.shape, self.prefix.width
        self.deep = network.block_names[len(self.prefix.own) :]
        self._blank = network.sample
        self._replay = _Replay()
        self._taken: dict[str, nn.Module] = {}
        self._swap(boundary)
        with torch.no_grad():
            error = (torch.cat(self.features(packed), 1) - whole).abs().max()
        if error > TOLERANCE * whole.abs().max():
            self.restore()
            raise UsageError(
                "strategy: this network cannot be split: its deep half needs more than what the "
                f"block {boundary} gives"
            )

    def _swap(self, boundary: str) -> None:
        module = self.network.module
        for name in self.prefix.own:
            self._taken[name] = module.get_submodule(name)
            module.set_submodule(name, self._replay if name == boundary else _Passing())

    def features(self, packed: Tensor) -> list[Tensor]:
        """What `Prefix` gave → the features of all blocks, (n, d) when side by side.

        Kept views are in half precision, the network is not.
        """
        packed = packed.float()
        self._replay.value = packed[:, self.width :].unflatten(1, self.shape)
        if len(self.shape) == 3:
            given = self._replay.value.contiguous(memory_format=torch.channels_last)
            self._replay.value = given
        self._blank = self._blank.to(packed.device)
        kept = self.network.captured(self._blank)
        self._replay.value = None
        return [packed[:, : self.width], *(kept[name] for name in self.deep)]

    def restore(self) -> None:
        """Put the shallow half back."""
        for name, block in self._taken.items():
            self.network.module.set_submodule(name, block)
        self._taken = {}
