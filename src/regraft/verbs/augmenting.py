"""The usual augmentation as far as it suits the examples, by what the probe says of some.

A mirrored 2 is no 2, and half of a small object may be nothing at all. So the probe, which has not
seen the held-back examples, is asked about them as they are and as they would be augmented: a part
that takes many right answers away is weakened or left out.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from regraft.backbones.extractor import Extractor
from regraft.backbones.reading import in_parallel
from regraft.data.inline import contents
from regraft.modalities.augment import DEFAULT, NONE, Augmentations
from regraft.modalities.base import Modality
from regraft.modalities.usual import Usual
from regraft.training.plan import Plan
from regraft.transfer.probe import Head

if TYPE_CHECKING:
    from regraft.training.tuning import Lesson

ASKED = 160  # examples about which the probe is asked
FEWEST = 30


def usual_augmentation(head: Head, one: Extractor, kind: Modality, unseen: "Lesson") -> str:
    """The parts of the usual augmentation that leave most answers right, as text.

    head    on the features of `one`
    unseen  examples that the head did not learn from; with fewer than 30, all parts are taken
    """
    if len(unseen.labels) < FEWEST:
        return DEFAULT
    asked = _Asked(head, one, kind, unseen)
    kept = [used for part in kind.usual if (used := asked.strongest(part))]
    return ",".join(kept) or NONE


def with_usual(plan: Plan, usual: str) -> Plan:
    """The plan with what is usual written out."""
    pieces = [usual if piece == DEFAULT else piece for piece in plan.augment.split(",")]
    return replace(plan, augment=",".join(p for p in pieces if p != NONE) or NONE)


@dataclass(frozen=True)
class _Asked:
    """A head that is asked about examples which it has not seen."""

    head: Head
    one: Extractor
    kind: Modality
    lesson: "Lesson"

    def strongest(self, part: Usual) -> str:
        """The first alternative that keeps enough right answers; empty where none does."""
        plain = self.right(Augmentations())
        for tried, used in part.alternatives:
            if self.right(self.kind.augmentations(tried)) >= part.least * plain:
                return used
        return ""

    def right(self, wanted: Augmentations) -> float:
        """Share of right answers (or the target's score) on examples as they are when augmented."""
        self.one.engine, self.one.read  # noqa: B018  made here, once, and not by every worker
        jobs = list(zip(self.lesson.files, self.lesson.shas, strict=True))
        found = np.stack([*in_parallel(lambda some: [*self._features(some, wanted)], jobs)])
        score = self.lesson.target.score(self.head.scores(found), self.lesson.labels)
        return max(0.0, score)

    def _features(
        self, some: Sequence[tuple[str, str]], wanted: Augmentations
    ) -> Iterator[np.ndarray]:
        augmented = []
        for file, sha in some:
            raw = self.kind.decode(contents(file), file, self.one.spec).raw
            rng = np.random.default_rng(int(sha[:15], 16))
            augmented.append(self.kind.augment(raw, self.one.spec, wanted, rng))
        yield from self.one.vectors(augmented)
