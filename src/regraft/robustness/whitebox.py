"""WhiteBox: a model as one differentiable function of its pictures, as it answers.

    box = WhiteBox.of(model)
    logits = box(box.read(model, files))

All networks side by side, all their views, the head with its similarities to landmarks, divided by
the temperature: what an attack must see. Where networks read several views of a picture, each view
is changed on its own: that attacker is stronger than one who changes the picture, never weaker.
"""

from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from regraft.backbones.network import FrozenNetwork
from regraft.modalities.spec import InputSpec
from regraft.model.model import Model
from regraft.robustness.prepared import answers, plane_of, planes_of, prepared
from regraft.transfer.kernel import KernelPart
from regraft.transfer.probe import Head


class TorchHead(nn.Module):
    """A `Head` as a differentiable function: raw features (n, d) → scores (n, c)."""

    shift: Tensor
    factor: Tensor
    weight: Tensor
    bias: Tensor

    def __init__(self, head: Head) -> None:
        super().__init__()
        self._put("shift", head.scaling.shift)
        self._put("factor", head.scaling.factor)
        self._put("weight", head.coefficients[:-1])
        self._put("bias", head.coefficients[-1])
        self.kernels = nn.ModuleList(_Kernel(part) for part in head.kernels)

    def _put(self, name: str, values: Any) -> None:
        self.register_buffer(name, torch.tensor(np.asarray(values), dtype=torch.float32))

    def forward(self, features: Tensor) -> Tensor:
        scores: Any = ((features - self.shift) * self.factor) @ self.weight + self.bias
        for part in self.kernels:
            scores = scores + part(features)
        return torch.as_tensor(scores)


class _Kernel(nn.Module):
    """Similarities to landmarks, as `KernelPart.scores`."""

    shift: Tensor
    factor: Tensor
    points: Tensor
    weight: Tensor

    def __init__(self, part: KernelPart) -> None:
        super().__init__()
        at = part.landmarks
        self.own = slice(at.first, at.first + len(at.shift))
        for name in ("shift", "factor", "points"):
            self.register_buffer(name, torch.tensor(getattr(at, name), dtype=torch.float32))
        self.register_buffer("weight", torch.tensor(part.coefficients, dtype=torch.float32))

    def forward(self, features: Tensor) -> Tensor:
        from regraft.transfer.kernel import SPREAD

        rows: Any = (features[:, self.own] - self.shift) * self.factor
        units = nn.functional.normalize(rows, dim=1)
        return torch.as_tensor(torch.exp((units @ self.points - 1) / SPREAD) @ self.weight)


class PlaneBox(nn.Module):
    """What examples of p planes beside each other give: logits (n, c) by networks that each read
    some of the planes, and average what these give.

    networks     each with the numbers of the planes that are its views
    head         on their features side by side
    temperature  that scores are divided by
    planes       how each plane was prepared
    """

    def __init__(
        self,
        networks: Sequence[tuple[FrozenNetwork, Sequence[int]]],
        head: TorchHead,
        temperature: float,
        planes: Sequence[Any],
    ) -> None:
        super().__init__()
        self.networks = nn.ModuleList(network for network, _ in networks)
        self.views = [tuple(views) for _, views in networks]
        self.head, self.temperature = head, temperature
        self.planes = tuple(planes)
        self.eval()

    @classmethod
    def made(
        cls, model: Model, planes: Sequence[Any], plane_of: Callable[[InputSpec, str], Any]
    ) -> Self:
        """Of a fitted model; `plane_of` tells the plane of a network's view."""
        networks = [
            (one.network, [planes.index(plane_of(one.spec, view)) for view in one.spec.views])
            for one in model.extractors
        ]
        made = cls(networks, TorchHead(model.head), model.temperature, planes)
        # A copy moves: the networks themselves may be answering meanwhile.
        return deepcopy(made).cuda() if torch.cuda.is_available() else made

    @property
    def device(self) -> torch.device:
        """Where it computes, and examples have to be."""
        return next(self.head.buffers()).device

    def parts(self, x: Tensor) -> Tensor:
        """(n, p, ...) the planes, one after the other."""
        return x

    def vectors(self, network: nn.Module, part: Tensor) -> Tensor:
        """(n, d) what a network gives of one plane."""
        return torch.as_tensor(network(part))

    def features(self, x: Tensor) -> Tensor:
        """(n, d) raw features of all networks, the mean over their views."""
        parts = self.parts(x)
        sides = [
            torch.stack([self.vectors(network, parts[:, i]) for i in views]).mean(0)
            for network, views in zip(self.networks, self.views, strict=True)
        ]
        return torch.cat(sides, 1).float()

    def forward(self, x: Tensor) -> Tensor:
        return torch.as_tensor(self.head(self.features(x)) / self.temperature)


class WhiteBox(PlaneBox):
    """(n, 3 p, size, size) float from 0 to 255, p planes beside each other → (n, c) logits."""

    @classmethod
    def of(cls, model: Model) -> Self:
        """Of a fitted model. Raises UsageError where it cannot be attacked as it answers."""
        return cls.made(model, planes_of(model), plane_of)

    def parts(self, x: Tensor) -> Tensor:
        """(n, p, size, size, 3)"""
        return x.unflatten(1, (len(self.planes), 3)).permute(0, 1, 3, 4, 2)

    def read(self, model: Model, files: Sequence[str]) -> Tensor:
        """(n, 3 p, size, size) uint8 of files, prepared as the model's networks read them.

        Raises Unreadable naming the file.
        """
        whole = prepared(model, self.planes, files)
        return torch.from_numpy(whole).permute(0, 1, 4, 2, 3).flatten(1, 2).contiguous()


def as_files(model: Model, box: WhiteBox, x: Tensor) -> npt.NDArray[np.int64]:
    """(n,) the model's own answers to pictures (n, 3 p, size, size), rounded as a file keeps them.

    By the engines that answer for users, not by the white box.
    """
    whole = x.round().clamp(0, 255).to(torch.uint8).unflatten(1, (len(box.planes), 3))
    return answers(model, box.planes, whole.permute(0, 1, 3, 4, 2).contiguous().cpu().numpy())
