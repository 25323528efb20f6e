"""Training examples: decoded once, augmented anew at each turn, in an order that is all arithmetic.

What an example looks like in an epoch depends on (seed, epoch, the example's content) and on
nothing else, and which examples a step learns from on (seed, step): so the number of loader workers
changes nothing, and a run that goes on after a kill sees what it would have seen.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, get_worker_info

from regraft.backbones.padding import Piece
from regraft.backbones.readers import Example, Read, as_it_is, reader
from regraft.data.inline import contents
from regraft.modalities.base import Modality
from regraft.modalities.spec import InputSpec
from regraft.training.interrupts import leave_to

KEPT_BYTES = 3 * 2**30  # of decoded examples in memory; the rest is decoded at each turn

Numbers = npt.NDArray[np.int64]


class Turn(NamedTuple):
    """One example in one epoch: its place among the examples to learn from."""

    epoch: int
    place: int


class Batch(NamedTuple):
    """pixels (n, size, size, 3) uint8, tokens (n, longest) int64 or sounds (n, ..., longest)
    float32; places (n,) of the examples.
    """

    pixels: Tensor
    places: Tensor


class Augmented(Dataset[tuple[Example, int]]):
    """The examples of a run; ``self[Turn]`` is one as its network sees it.

    files   that can be decoded
    shas    SHA-256 of each, by which its randomness is drawn
    wanted  augmentations, as the modality parses them; none: as `Modality.prepare` gives it
    read    from what the modality gives to what the network reads
    """

    def __init__(
        self,
        files: Sequence[str | Path],
        shas: Sequence[str],
        modality: Modality,
        spec: InputSpec,
        wanted: Any,
        seed: int,
        read: Read = as_it_is,
    ) -> None:
        self.read = read
        self.files, self.shas = [str(file) for file in files], list(shas)
        self.modality, self.spec, self.wanted, self.seed = modality, spec, wanted, seed
        self._kept: dict[int, Any] = {}
        self._used = 0

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, turn: Turn) -> tuple[Example, int]:
        example = self._example(turn.place)
        if self._varies:
            numbers = [self.seed, turn.epoch, int(self.shas[turn.place][:15], 16)]
            rng = np.random.default_rng(numbers)
            spec = self._shown(rng)
            example = self.modality.augment(example, spec, self.wanted, rng)
        return self.read(example), turn.place

    @property
    def _varies(self) -> bool:
        """Whether an example may look otherwise at each turn."""
        return bool(self.wanted) or len(self._views) > 1

    @property
    def _views(self) -> tuple[str, ...]:
        return self.spec.views if self.modality.parts else self.spec.views[:1]

    def _shown(self, rng: np.random.Generator) -> InputSpec:
        """The spec with one view: where views are parts of an example, one of them by chance."""
        views = self._views
        number = int(rng.integers(len(views))) if len(views) > 1 else 0
        return replace(self.spec, views=(views[number],))

    def collate(self, items: Sequence[tuple[Example, int]]) -> Batch:
        """Items side by side."""
        together = reader(self.spec).collate([example for example, _ in items])
        return Batch(torch.from_numpy(together), torch.tensor([place for _, place in items]))

    def cut(self, batch: Tensor, most: int, begin: float = 0.0) -> list[Piece]:
        """The pieces of a batch that are run one after the other, see `Reader.cut`."""
        return reader(self.spec).cut(batch, most, begin)

    @property
    def ahead(self) -> int:
        """How many items are computed before the first step."""
        return 0

    def blank(self) -> Tensor:
        """(1, ...) a batch of one that holds nothing."""
        return torch.from_numpy(np.zeros_like(reader(self.spec).sample(self.spec, 0))[None])

    def _example(self, place: int) -> Any:
        """Decoded, and kept while there is room. Raises Unreadable naming the file."""
        if place in self._kept:
            return self._kept[place]
        file = self.files[place]
        decoded = self.modality.decode(contents(file), file, self.spec)
        example, size = self._compact(decoded.raw)
        if self._used + size <= KEPT_BYTES // _keepers():
            self._used += size
            self._kept[place] = example
        return example

    def _compact(self, raw: Any) -> tuple[Any, int]:
        """What is kept of an example, and its bytes: where it always looks alike, that look."""
        if self._varies:
            return self.modality.compact(raw, self.spec)
        look = self.modality.prepare(raw, self.spec, self.spec.views[0])
        return look, look.nbytes


def _keepers() -> int:
    """Processes that each keep examples of their own."""
    worker = get_worker_info()
    return 1 if worker is None else worker.num_workers


# --- which examples a step learns from -----------------------------------------------------------

Order = Callable[[Numbers, int, int], Numbers]


def _plain(labels: Numbers, seed: int, epoch: int) -> Numbers:
    """Each example once."""
    return np.random.default_rng([seed, epoch, 1]).permutation(len(labels))


def _balanced(labels: Numbers, seed: int, epoch: int) -> Numbers:
    """Each class as often as any other; the examples of a class take turns over the epochs."""
    rng = np.random.default_rng([seed, epoch, 2])
    classes = np.unique(labels)
    share = -(-len(labels) // len(classes))
    drawn = []
    for c in classes:
        own = np.flatnonzero(labels == c)
        first = epoch * share
        laps = range(first // len(own), (first + share - 1) // len(own) + 1)
        lap_order = [np.random.default_rng([seed, int(c), lap, 3]).permutation(own) for lap in laps]
        skipped = first - laps[0] * len(own)
        drawn.append(np.concatenate(lap_order)[skipped : skipped + share])
    return rng.permutation(np.concatenate(drawn))[: len(labels)]


def _paired(labels: Numbers, seed: int, epoch: int) -> Numbers:
    """Each example once, beside another one of its class; the last of an odd number alone."""
    rng = np.random.default_rng([seed, epoch, 5])
    pairs = []
    for c in np.unique(labels):
        own = rng.permutation(np.flatnonzero(labels == c))
        pairs += [own[i : i + 2] for i in range(0, len(own), 2)]
    order = sorted(rng.permutation(len(pairs)), key=lambda i: len(pairs[i]) < 2)
    return np.concatenate([pairs[i] for i in order])


SAMPLINGS: Mapping[str, Order] = MappingProxyType(
    {"plain": _plain, "balanced": _balanced, "paired": _paired}
)


def turns_of(step: int, batch: int, order: Callable[[int], Numbers], n: int) -> list[Turn]:
    """The examples of a step, numbered from 0: epoch after epoch, without a gap between them.

    order  epoch → (n,) places
    """
    first = step * batch
    return [Turn(i // n, int(order(i // n)[i % n])) for i in range(first, first + batch)]


class Steps(Sampler[list[Turn]]):
    """The turns of each step from `first` on; of several processes each takes its share of them."""

    def __init__(
        self,
        labels: Numbers,
        batch: int,
        steps: range,
        seed: int,
        sampling: str = "plain",
        process: tuple[int, int] = (0, 1),
    ) -> None:
        self.labels, self.batch, self.steps = labels, batch, steps
        self.process = process
        self._order = cache(lambda epoch: SAMPLINGS[sampling](labels, seed, epoch))

    def __iter__(self) -> Iterator[list[Turn]]:
        rank, of = self.process
        for step in self.steps:
            yield turns_of(step, self.batch, self._order, len(self.labels))[rank::of]

    def __len__(self) -> int:
        return len(self.steps)


def loader(examples: Augmented, steps: Steps, workers: int = 0) -> "DataLoader[Any]":
    """Batches in the order of the steps.

    workers  processes that decode and augment; 0: this one, which is best where the network itself
             keeps all cores busy
    """
    return DataLoader(
        examples,
        batch_sampler=steps,
        num_workers=workers,
        collate_fn=examples.collate,
        pin_memory=torch.cuda.is_available(),
        generator=torch.Generator(),  # else it draws from everybody's
        prefetch_factor=4 if workers else None,
        worker_init_fn=partial(leave_to, os.getpid()),
    )
