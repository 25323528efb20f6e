"""Views of the training examples, kept as what the shallow half of the network gives for them."""

import math
import os
from collections.abc import Sequence
from contextlib import closing
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from regraft.backbones.engines import engine_of
from regraft.backbones.padding import Piece, evenly
from regraft.backbones.reading import in_parallel
from regraft.errors import UsageError
from regraft.progress import Progress
from regraft.training.examples import Augmented, Batch, Turn
from regraft.training.halves import Prefix

MEMORY_SHARE = 0.3  # of the machine's memory, that views may take

Vector = npt.NDArray[np.float16]


class KeptViews(Augmented):
    """As `Augmented`, but an item is (d,) float16: what `Prefix` gives for one of some views.

    An example's views take turns over the epochs, each example beginning with another one.
    """

    def __init__(self, source: Augmented, prefix: Prefix, engine: str, views: int) -> None:
        if source.wanted.mixes:
            raise UsageError(
                "augment: mixup and cutmix mix pictures, and here views are kept as activations; "
                "leave them out or choose another strategy"
            )
        about = (source.files, source.shas, source.modality, source.spec, source.wanted)
        super().__init__(*about, source.seed, source.read)
        self.columns = prefix.width + math.prod(prefix.shape)
        if (needed := len(self) * views * self.columns * 2) > (most := MEMORY_SHARE * _memory()):
            raise UsageError(
                f"strategy: {views} views of {len(self):,} examples as activations take "
                f"{needed / 2**30:.1f} GiB of memory, of which {most / 2**30:.1f} may be taken: "
                "choose a smaller size, more that is frozen, or another strategy"
            )
        self.engine, self.views = engine_of(engine, prefix), views
        self._vectors: dict[Turn, Vector] = {}

    def __getitem__(self, turn: Turn) -> tuple[Any, int]:
        first = int(self.shas[turn.place][15:19], 16)
        view = Turn((turn.epoch + first) % self.views, turn.place)
        if view not in self._vectors:
            self._vectors[view] = self._computed(view)
        return self._vectors[view], turn.place

    def _computed(self, view: Turn) -> Vector:
        pixels, _ = super().__getitem__(view)
        return self.engine.run(np.ascontiguousarray(pixels)).astype(np.float16)

    def collate(self, items: Sequence[tuple[Any, int]]) -> Batch:
        vectors = torch.from_numpy(np.stack([vector for vector, _ in items]))
        return Batch(vectors, torch.tensor([place for _, place in items]))

    def cut(self, batch: torch.Tensor, most: int, begin: float = 0.0) -> list[Piece]:
        return evenly(batch, most)

    @property
    def ahead(self) -> int:
        return len(self) * self.views

    def fill(self, progress: Progress) -> None:
        """Compute all views, on all cores."""
        every = [Turn(v, place) for place in range(len(self)) for v in range(self.views)]
        missing = [view for view in every if view not in self._vectors]

        def work(some: Sequence[Turn]) -> list[tuple[Turn, Vector]]:
            return [(view, self._computed(view)) for view in some]

        with (
            progress.stage("views through the shallow half", len(missing)) as advance,
            closing(in_parallel(work, missing)) as done,
        ):
            for view, vector in done:
                self._vectors[view] = vector
                advance(1)

    def blank(self) -> torch.Tensor:
        return torch.zeros(1, self.columns)


def _memory() -> int:
    """Bytes of the machine's memory; 8 GiB where the system does not tell."""
    known = hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if known else 8 * 2**30
