"""The bench: members on the same examples, their features and what they honestly say of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from regraft.backbones.extractor import Extractor
from regraft.backbones.features import Pass
from regraft.backbones.store import Store
from regraft.data.dataset import Dataset
from regraft.evaluation.operating import HELD_BACK
from regraft.model.model import features
from regraft.progress import Progress
from regraft.transfer.selection import pooled
from regraft.transfer.stacking import stacked
from regraft.verbs.measuring import short
from regraft.verbs.members import Logits, Member
from regraft.verbs.rungs import Judged, Numbers, Rung, features_of, positions

Shares = tuple[float, ...]


@dataclass(frozen=True, eq=False)
class Bench:
    """Members on the same examples.

    data    the examples to choose by and to measure on, and no others; `learned`: those beside them
    seen    the pass over `data` with all networks of all members, each once
    blocks  of each member, which blocks of these features are its own
    choose  (m,) places in `data` to choose by, `labels` (m,) their classes, `groups` (m,) equal
            numbers belong together
    honest  (k, m, c) calibrated logits that the members gave as if these examples were new
    """

    members: Sequence[Member]
    data: Dataset
    learned: Dataset
    extractors: tuple[Extractor, ...]
    seen: Pass
    blocks: Sequence[Sequence[int]]
    choose: Numbers
    labels: Numbers
    groups: Numbers
    honest: Logits
    seed: int
    store: Store
    progress: Progress
    made: dict[Any, Rung] = field(default_factory=dict)

    def features(self, extractors: Sequence[Extractor], data: Dataset) -> Pass:
        """A pass over some examples by other networks."""
        files = data.table["path"].to_list()
        asked: dict[str, Any] = {"store": self.store, "progress": self.progress}
        return features(extractors, files, data.modality, **asked)

    def rung(self, kind: str, shares: Shares, detail: str) -> Rung:
        """Members with a share side by side, under one head."""
        used = [k for k, share in enumerate(shares) if share]
        blocks = sorted({b for k in used for b in self.blocks[k]})
        place = {block: i for i, block in enumerate(blocks)}
        head = stacked(
            [self.members[k].model.head for k in used],
            [shares[k] / self.members[k].model.temperature for k in used],
            [[place[b] for b in self.blocks[k]] for k in used],
        )
        own = {network_key(one) for k in used for one in self.members[k].model.extractors}
        return Rung(
            kind=kind,
            extractors=tuple(one for one in self.extractors if network_key(one) in own),
            seen=self._columns(blocks),
            head=head,
            judged=self.judged(pooled(self.honest, shares)),
            seconds=0.0,
            detail=detail,
        )

    def judged(self, logits: Logits) -> Judged:
        return Judged(HELD_BACK, self.choose, self.labels, logits)

    def _columns(self, blocks: Sequence[int]) -> Pass:
        """The pass with some of its blocks only."""
        begins = np.cumsum([0, *self.seen.widths])
        at = np.concatenate([np.arange(begins[b], begins[b + 1]) for b in blocks])
        widths = tuple(self.seen.widths[b] for b in blocks)
        return Pass(self.seen.shas, self.seen.looks, features_of(self.seen)[:, at], widths)


class Method(NamedTuple):
    """One way to make a whole of members.

    told     one plain sentence, with its source
    choose   (bench, places among the examples to choose by) → what is chosen on these
    rung     (bench, what was chosen) → the whole; its judged scores are honest
    refusal  (bench) → why it cannot be done with these members; None: it can
    """

    told: str
    choose: Callable[[Bench, Numbers], Any]
    rung: Callable[[Bench, Any], Rung]
    refusal: Callable[[Bench], str | None] = lambda bench: None


def bench_of(
    members: Sequence[Member],
    data: Dataset,
    learned: Dataset,
    choose: Dataset,
    groups: npt.NDArray[np.int64],
    *,
    seed: int,
    store: Store,
    progress: Progress,
) -> Bench:
    """Run all networks of the members over `data`, each once.

    choose  the part of `data` to choose by, `groups` its examples that belong together
    """
    own = {network_key(one): one for m in members for one in m.model.extractors}
    extractors = tuple(own.values())
    files = data.table["path"].to_list()
    asked: dict[str, Any] = {"store": store, "progress": progress}
    seen = features(extractors, files, data.modality, **asked)
    numbers = _numbered(extractors)
    blocks = [[b for one in m.model.extractors for b in numbers[network_key(one)]] for m in members]
    place, found = positions(data, choose), features_of(seen)
    begins = np.cumsum([0, *seen.widths])
    honest = []
    for member, its in zip(members, blocks, strict=True):
        at = np.concatenate([np.arange(begins[b], begins[b + 1]) for b in its])
        honest.append(_honest(member, [seen.shas[int(i)] for i in place], found[place][:, at]))
    about = (extractors, seen, blocks, place, choose.targets, groups, np.stack(honest))
    return Bench(members, data, learned, *about, seed, store, progress)


def network_key(one: Extractor) -> tuple[Any, ...]:
    """Equal for the same network that reads the same, wherever its weights lie."""
    return one.fingerprint, one.spec, one.engine_name


def _numbered(extractors: Sequence[Extractor]) -> dict[tuple[Any, ...], range]:
    """The joint numbers of each network's blocks."""
    ends = np.cumsum([0, *(len(one.widths) for one in extractors)])
    spans = zip(extractors, ends[:-1], ends[1:], strict=True)
    return {network_key(one): range(int(a), int(b)) for one, a, b in spans}


def _honest(member: Member, shas: Sequence[str], own: npt.NDArray[np.floating]) -> Logits:
    """(m, c): of what it learned from, what it said before; of the rest, what it says."""
    out = member.logits(own)
    for i, sha in enumerate(map(short, shas)):
        if sha in member.learned:
            out[i] = member.judged[sha]
    return out
