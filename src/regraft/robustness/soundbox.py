"""SoundBox: a model of recordings as one differentiable function of their samples, as it answers.

    box = SoundBox.of(model)
    logits = box(box.read(model, files))

From the samples through the front that a network hears by (`heard`) and the network to the head.
Where networks hear several parts of a recording, each part is changed on its own: that attacker is
stronger than one who changes the recording, never weaker.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from regraft.data.inline import contents
from regraft.modalities import modality
from regraft.modalities.audio import AS, Sound
from regraft.modalities.samples import RATE
from regraft.model.encoded import vectors
from regraft.model.model import Model
from regraft.robustness.heard import heard
from regraft.robustness.whitebox import PlaneBox

FULL = 2**15  # steps of a sample of 16 bits, up to full scale


class Plane(NamedTuple):
    """A part of a recording that some network hears."""

    view: str
    seconds: int


def plane_of(spec: Any, view: str) -> Plane:
    """At most so many seconds of what the view shows."""
    return Plane(view, AS[spec.reads].seconds(spec.size))


class SoundBox(PlaneBox):
    """(n, p, length, 2) → (n, c) logits.

    Of p parts of a recording beside each other: samples from -1 to 1, and 1 beside those that are
    there, 0 behind the end of a shorter one.
    """

    @classmethod
    def of(cls, model: Model) -> Self:
        """Of a fitted model."""
        every = [plane_of(one.spec, view) for one in model.extractors for view in one.spec.views]
        return cls.made(model, list(dict.fromkeys(every)), plane_of)

    def vectors(self, network: nn.Module, part: Tensor) -> Tensor:
        """(n, length, 2) → (n, d): those that are heard as equally long go together."""
        return _vectors(network, part)

    def read(self, model: Model, files: Sequence[str]) -> Tensor:
        """Of files. Raises Unreadable naming the file."""
        views = tuple(dict.fromkeys(plane.view for plane in self.planes))
        kind, spec = modality(model.modality), replace(model.extractors[0].spec, views=views)
        raws = [kind.decode(contents(file), file, spec).raw for file in files]
        parts = [[_samples(raw, plane) for plane in self.planes] for raw in raws]
        longest = max(len(part) for some in parts for part in some)
        out = np.zeros((len(files), len(self.planes), longest, 2), np.float32)
        for i, some in enumerate(parts):
            for j, part in enumerate(some):
                out[i, j, : len(part), 0], out[i, j, : len(part), 1] = part, 1
        return torch.from_numpy(out)

    def answers(self, model: Model, x: Tensor) -> npt.NDArray[np.int64]:
        """(n,) the model's own answers, by the engines that answer for users."""
        sides = []
        for one in model.extractors:
            places = [self.planes.index(plane_of(one.spec, view)) for view in one.spec.views]
            make = AS[one.spec.reads].make
            views = [
                [make(Sound(own(x[i, j])), one.spec.size) for j in places] for i in range(len(x))
            ]
            sides.append(vectors(one, views))
        return np.asarray(model.head.scores(np.hstack(sides)).argmax(1))

    def filed(self, x: Tensor) -> Tensor:
        """As files of 16 bits keep them."""
        return torch.cat([(x[..., :1] * FULL).round() / FULL, x[..., 1:]], -1)


def _samples(raw: Any, plane: Plane) -> npt.NDArray[np.float32]:
    found = raw.part(plane.view, plane.seconds).samples[: plane.seconds * RATE]
    return np.asarray(found, np.float32)


def own(x: Tensor) -> npt.NDArray[np.float32]:
    """(length, 2) → the samples that are there."""
    return np.asarray(x[: _ends(x), 0].detach().cpu().numpy(), np.float32)


def _ends(x: Tensor) -> int:
    return int((x[:, 1] > 0.5).sum())


def _vectors(network: nn.Module, x: Tensor) -> Tensor:
    """(n, length, 2) → (n, d): those that are heard as equally long go together."""
    spec: Any = network.spec
    read = [heard(one[: _ends(one), 0], spec) for one in x]
    alike: dict[tuple[int, ...], list[int]] = {}
    for place, one in enumerate(read):
        alike.setdefault(tuple(one.shape), []).append(place)
    found: dict[int, Tensor] = {}
    for places in alike.values():
        rows = network(torch.stack([read[i] for i in places]))
        found |= dict(zip(places, rows, strict=True))
    return torch.stack([found[i] for i in range(len(x))])


def ratio(x: Tensor, changed: Tensor) -> float:
    """Decibels between recordings and what was added to them, the mean of those with a change."""
    signal, noise = ((part[..., 0] ** 2).sum((1, 2)) for part in (x, changed - x))
    some = (noise > 0) & (signal > 0)
    return float((10 * (signal[some] / noise[some]).log10()).mean()) if some.any() else float("inf")
