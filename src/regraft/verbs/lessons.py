"""The learning part as the upper rungs use it: some to train on, some held back to judge by."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from regraft.backbones.catalog import CatalogRow
from regraft.backbones.extractor import Extractor
from regraft.backbones.features import Pass, pass_over
from regraft.backbones.readers import reader
from regraft.transfer.probe import HeadFit
from regraft.verbs.ground import Ground, divided
from regraft.verbs.kept import kept_head
from regraft.verbs.rungs import Learning, Numbers, features_of

if TYPE_CHECKING:
    from regraft.training.tuning import Lesson

DECODING = 0.5  # of the engine's own rate: what is left of it with decoding beside
UNKNOWN_RATE = 50.0  # pictures per second, where no engine was measured


@dataclass(frozen=True)
class Lessons:
    """Which examples to train on and which to hold back, and what the frozen network says of them.

    The network is the best single one of the probes.
    """

    ground: Ground

    @cached_property
    def _division(self) -> tuple[Numbers, Numbers]:
        return divided(self.ground.learning, self.ground.recipe.seed)

    @cached_property
    def train(self) -> Learning:
        """Examples that are learned from."""
        return self.ground.learning.some(self._division[0])

    @cached_property
    def held(self) -> Learning:
        """Examples that only judge."""
        return self.ground.learning.some(self._division[1])

    @cached_property
    def augmentation(self) -> str:
        """What is usual for such examples, as far as it suits these."""
        from regraft.verbs.augmenting import ASKED, usual_augmentation

        one = self.at(self.network.spec.size)
        some = np.random.default_rng(self.ground.recipe.seed).permutation(len(self.held.labels))
        unseen = self.lesson(self.held.some(some[:ASKED]))
        return usual_augmentation(self.start(one.spec.size).head, one, self.ground.kind, unseen)

    @property
    def network(self) -> Extractor:
        """The frozen network, as the probe used it."""
        return self.ground.single.extractors[0]

    @property
    def row(self) -> CatalogRow:
        return self.network.row

    def at(self, size: int) -> Extractor:
        """The frozen network at another size: what training begins from.

        With one view, but where views are parts of an example: training is shown all in turn.
        """
        views = self.network.spec.views
        views = views if self.ground.kind.parts else views[:1]
        spec = replace(self.network.spec.at(size), views=views)
        return Extractor(self.row, spec, self.network.engine_name)

    def start(self, size: int) -> HeadFit:
        """The closed-form head of the examples to train on, at a size."""
        seen = self.seen(self.at(size), self.train.place)
        return self.head(features_of(seen), seen.widths)

    def head(
        self,
        features: Any,
        widths: Sequence[int],
        lasts: tuple[int, ...] = (),
        taught: bool = True,
    ) -> HeadFit:
        """The closed-form head on features (n, d) of the examples to train on; see `Rung`.

        taught  from the teacher too, where there is one
        """
        rows = np.arange(len(self.train.labels)) if taught else self.train.known
        train = self.train if taught else self.train.untaught()
        return kept_head(
            self.ground.store,
            features[rows],
            train.labels,
            classes=train.classes,
            widths=widths,
            groups=train.groups,
            seed=self.ground.recipe.seed,
            lasts=lasts,
            targets=train.targets,
            target=train.target,
        )

    def seen(self, one: Extractor, place: Numbers) -> Pass:
        """A pass over the examples at some places of the dataset."""
        files, shas = self._of(place)
        ground = self.ground
        return pass_over(files, ground.kind, ground.store, one, ground.progress, shas)

    def lesson(self, learning: Learning) -> "Lesson":
        """Files and labels of some examples."""
        from regraft.training.tuning import Lesson

        files, shas = self._of(learning.place)
        about = (learning.labels, learning.classes, learning.teaching, learning.target)
        return Lesson(files, shas, *about)

    def _of(self, place: Numbers) -> tuple[list[str], list[str]]:
        whole = self.ground.files, self.ground.shas
        files, shas = ([column[int(i)] for i in place] for column in whole)
        return files, shas

    def start_seconds(self, size: int) -> float:
        """Forecast of `start`; nothing where the probe has left the features in the store."""
        if size == self.network.spec.size:
            return 0.0
        return len(self.train.labels) / self._rate(size)

    def end_seconds(self, size: int, refits: bool = False) -> float:
        """Forecast of all features that a tuned network is asked for; see `Strategy.refits`."""
        examples = len(np.union1d(self.held.place, self.ground.measured))
        examples += len(self.train.labels) if refits else 0
        return examples * len(self.network.spec.views) / self._rate(size)

    def _rate(self, size: int) -> float:
        """Examples per second, by what was measured and what the size costs."""
        return DECODING * (self.network.rate or UNKNOWN_RATE) / self.cost(size)

    def cost(self, size: int) -> float:
        """Of an example at a size, in those of one at the probe's."""
        spec = self.network.spec
        return reader(spec).cost(spec.at(size), spec, ())
