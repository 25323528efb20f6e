"""A whole model as one PyTorch module: networks, head and calibration → what is answered.

Exporters write this module; everything in it is single precision, as the formats want it. What
stands before it (decoding, resizing, cutting into tokens) is told by the input specs beside it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

Tensors = Mapping[str, npt.NDArray[Any]]

TINY = 1e-12


class Deployed(nn.Module):
    """One input for each view of each network, (n, ...) → what `told` gives, and

    novelty  (n,) how unlike the training data

    networks  (n, ...) → (n, d) features each
    views     how many inputs each network has; its features are their mean
    head, novelty  arrays under the names that a bundle has for them
    """

    OUTPUTS: tuple[str, ...] = ("novelty",)

    def __init__(
        self,
        networks: Sequence[nn.Module],
        views: Sequence[int],
        head: Tensors,
        novelty: Tensors,
        temperature: float = 1.0,
    ) -> None:
        super().__init__()
        self.networks, self.views = nn.ModuleList(networks), tuple(views)
        self.head, self.novelty = Linear(head, temperature), Novelty(head, novelty)
        self.kernels = nn.ModuleList(Kernel(part) for part in _kernels(head))

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        features = self.features(*inputs)
        return (*self.told(self.scores(features)), self.novelty(features))

    def told(self, scores: Tensor) -> tuple[Tensor, ...]:
        """What is told of scores (n, c)."""
        raise NotImplementedError

    def features(self, *inputs: Tensor) -> Tensor:
        """(n, d): those of all networks side by side."""
        found, begin = [], 0
        for network, count in zip(self.networks, self.views, strict=True):
            some = [network(one) for one in inputs[begin : begin + count]]
            found.append(some[0] if count == 1 else torch.stack(some).mean(0))
            begin += count
        return found[0] if len(found) == 1 else torch.cat(found, 1)

    def scores(self, features: Tensor) -> Tensor:
        """(n, c) of raw features (n, d)."""
        scores: Tensor = self.head(features)
        for kernel in self.kernels:
            scores = scores + kernel(features)
        return scores


class Classes(Deployed):
    """probabilities (n, c), calibrated; scores (n, c) that the conformal sets are made from."""

    OUTPUTS = ("probabilities", "scores", "novelty")

    def told(self, scores: Tensor) -> tuple[Tensor, ...]:
        return (scores / self.head.temperature).softmax(1), scores


class Tags(Deployed):
    """values (n, k): calibrated probabilities of tags."""

    OUTPUTS = ("values", "novelty")

    def told(self, scores: Tensor) -> tuple[Tensor, ...]:
        return (scores.sigmoid(),)


class Numbers(Deployed):
    """values (n, k): numbers in their units."""

    OUTPUTS = ("values", "novelty")

    def told(self, scores: Tensor) -> tuple[Tensor, ...]:
        return (scores,)


class Linear(nn.Module):
    """Raw features → scores; see `regraft.transfer.probe.Head`."""

    shift: Tensor
    factor: Tensor
    weight: Tensor
    bias: Tensor

    def __init__(self, head: Tensors, temperature: float) -> None:
        super().__init__()
        self.temperature = float(temperature)
        for name in ("shift", "factor"):
            self.register_buffer(name, _single(head[name]))
        self.register_buffer("weight", _single(head["coefficients"][:-1]))
        self.register_buffer("bias", _single(head["coefficients"][-1]))

    def forward(self, features: Tensor) -> Tensor:
        return ((features - self.shift) * self.factor) @ self.weight + self.bias


class Kernel(nn.Module):
    """Raw features → what similarities to landmarks add; see `regraft.transfer.kernel`."""

    shift: Tensor
    factor: Tensor
    points: Tensor
    coefficients: Tensor

    def __init__(self, part: Tensors) -> None:
        super().__init__()
        self.first, self.width = int(part["first"][0]), len(part["shift"])
        for name in ("shift", "factor", "points", "coefficients"):
            self.register_buffer(name, _single(part[name]))

    def forward(self, features: Tensor) -> Tensor:
        block = features[:, self.first : self.first + self.width]
        rows = (block - self.shift) * self.factor
        units = rows / (rows * rows).sum(1, keepdim=True).sqrt().clamp_min(TINY)
        return torch.exp(units @ self.points - 1) @ self.coefficients


class Novelty(nn.Module):
    """Raw features → how unlike the training data; see `regraft.transfer.novelty`."""

    shift: Tensor
    factor: Tensor
    mean: Tensor
    basis: Tensor
    weight: Tensor

    def __init__(self, head: Tensors, novelty: Tensors, directions: int = 64) -> None:
        super().__init__()
        outside, self.centre, self.scale = (float(v) for v in novelty["limits"][:3])
        self.unit, root = outside / directions, _roots(head)
        basis, variance = novelty["basis"], novelty["variance"]
        if not basis.shape[1]:  # it calls nothing unlike; formats know no empty matrices
            basis, variance = np.zeros((len(root), 1)), np.ones(1)
        even = np.divide(head["factor"], root, out=np.zeros_like(root), where=root > 0)
        self.register_buffer("shift", _single(head["shift"]))
        self.register_buffer("factor", _single(even))
        self.register_buffer("mean", _single(novelty["mean"]))
        self.register_buffer("basis", _single(basis))
        self.register_buffer("weight", _single(1 / (variance + self.unit)))

    def forward(self, features: Tensor) -> Tensor:
        centred = (features - self.shift) * self.factor - self.mean
        along = (centred @ self.basis) ** 2
        outside = ((centred**2).sum(1) - along.sum(1)).clamp_min(0)
        energy = (along * self.weight).sum(1) + outside / self.unit + 1e-6
        return (torch.log(energy) - self.centre) / self.scale


def _roots(head: Tensors) -> npt.NDArray[np.float64]:
    return np.sqrt(np.repeat(np.asarray(head["weights"], float), head["widths"]))


def _kernels(head: Tensors) -> list[dict[str, npt.NDArray[Any]]]:
    """The kernel parts of a head, by their numbers."""
    parts: dict[str, dict[str, npt.NDArray[Any]]] = {}
    for name, array in head.items():
        part, dot, own = name.partition(".")
        if dot:
            parts.setdefault(part, {})[own] = array
    return [parts[name] for name in sorted(parts, key=lambda name: int(name.split("-")[1]))]


def _single(array: npt.NDArray[Any]) -> Tensor:
    return torch.tensor(np.asarray(array, np.float64), dtype=torch.float32)
