"""Recordings with transcripts: looked at, split, those that cannot be learned from named."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from regraft.backbones.store import Store
from regraft.data.dataset import Dataset, listed
from regraft.data.findings import Finding
from regraft.data.splits import split
from regraft.errors import UsageError
from regraft.modalities.facts import Facts
from regraft.modalities.spec import InputSpec
from regraft.progress import Progress
from regraft.recipe import Recipe
from regraft.tasks.transcription.tokens import Tokens
from regraft.tasks.transcription.vocabulary import Vocabulary, moments_for, plain
from regraft.verbs.first_look import Looked, look

HELD_SHARE, LEAST_HELD, MOST_HELD = 0.12, 4, 200  # recordings that are held back
HELD_FROM = 30  # recordings to learn from: with fewer, none is held back
MOMENTS = 49.0  # a second, that networks of sounds here give


def prepared_transcripts(
    dataset: Dataset, recipe: Recipe, store: Store, progress: Progress | None
) -> Dataset:
    """`regraft.load` where recordings have transcripts: looked at, and split if any has one."""
    looked = look(dataset, store, progress)
    known = looked.dataset.transcripts
    return divided(looked, recipe.parts, recipe.seed) if known else looked.dataset


def divided(looked: Looked, parts: Sequence[float], seed: int) -> Dataset:
    """With a split: the given one, else one by chance, groups and copies whole."""
    data = looked.dataset
    if data.split_source != "none":
        return data
    told = ["said" if name in data.transcripts else None for name in data.table["id"]]
    known = data.with_table(data.table.with_columns(label=pl.Series(told, dtype=pl.String)))
    made = split(known, tuple(parts), seed, looked.together)
    return replace(made, table=made.table.with_columns(label=pl.lit(None, pl.String)))


def texts_of(data: Dataset) -> list[str]:
    """The plain transcripts of a view whose examples all have one."""
    return [plain(data.transcripts[name]) for name in data.table["id"]]


def check_learnable(data: Dataset) -> None:
    """Raise UsageError, with all reasons, where nothing can be learned."""
    if not data.transcripts:
        raise UsageError("none of the recordings has a transcript")
    if not len(data.learning):
        raise UsageError("the given split has no recording with a transcript in its part 'train'")
    if not any(texts_of(data.learning)):
        raise UsageError("the transcripts to learn from hold no letter and no number")


@dataclass(frozen=True)
class Learnable:
    """Recordings to learn from.

    files, shas, texts, groups  of each; a recording of no group is one by itself
    """

    files: list[str]
    shas: list[str]
    texts: list[str]
    groups: list[str]

    def __len__(self) -> int:
        return len(self.files)

    def some(self, places: Any) -> "Learnable":
        """Those at some places."""
        columns = (self.files, self.shas, self.texts, self.groups)
        return Learnable(*([column[int(i)] for i in places] for column in columns))


def learnable(data: Dataset, looked: Looked, spec: InputSpec) -> tuple[Learnable, list[Finding]]:
    """What of the learning part can teach: not too long, not too short for its words, not empty."""
    pairs = zip(looked.seen.shas, looked.seen.looks, strict=True)
    facts = {sha: one for sha, one in pairs if isinstance(one, Facts)}
    view = data.learning
    texts, vocabulary = texts_of(view), Vocabulary.of(texts_of(view))
    lost: dict[str, list[str]] = {"too-long": [], "too-short": [], "no-words": []}
    kept = []
    rows = view.table.select("id", "sha256").iter_rows()
    for i, ((name, sha), text) in enumerate(zip(rows, texts, strict=True)):
        seconds = facts[sha].width / 1000
        needed = moments_for(vocabulary.numbers(text))
        why = _unfit(text, seconds, needed, spec)
        (lost[why].append(name) if why else kept.append(i))
    groups = [g or n for n, g in view.table.select("id", "group").iter_rows()]
    whole = Learnable(view.table["path"].to_list(), view.table["sha256"].to_list(), texts, groups)
    return whole.some(kept), [*_told(lost, spec)]


def _unfit(text: str, seconds: float, needed: int, spec: InputSpec) -> str:
    if not text:
        return "no-words"
    if seconds > spec.size:
        return "too-long"
    return "too-short" if needed > MOMENTS * max(0.5, seconds) else ""


def _told(lost: dict[str, list[str]], spec: InputSpec) -> list[Finding]:
    reasons = {
        "too-long": f"longer than the {spec.size} s that the network hears at once: nothing is "
        "learned from them; cut them into utterances",
        "too-short": "too short for what is said to be said in them: is the transcript theirs?",
        "no-words": "their transcripts hold neither letters nor numbers",
    }
    return [
        Finding("not-learned", tuple(names), f"{len(names)} recordings: {reasons[why]}")
        for why, names in lost.items()
        if names
    ]


def unknown_characters(data: Dataset, vocabulary: Vocabulary | Tokens) -> list[Finding]:
    """Characters of the measured transcripts that nothing was learned of."""
    odd: dict[str, list[str]] = {}
    for name, text in zip(data.table["id"], texts_of(data), strict=True):
        for c in vocabulary.unknown(text):
            odd.setdefault(c, []).append(name)
    if not odd:
        return []
    names = dict.fromkeys(name for some in odd.values() for name in some)
    reason = f"characters that no transcript to learn from has, {listed(sorted(odd))}: each is lost"
    return [Finding("unknown-characters", tuple(names), reason)]


def held_back(some: Learnable, seed: int) -> tuple[Any, Any]:
    """Places to train on and places that are held back, both ascending; groups stay whole.

    Copies have one text and mostly one group; where groups are few, recordings are held back one
    by one.
    """
    n = len(some)
    if n < HELD_FROM:
        return np.arange(n), np.arange(0)
    wanted = int(np.clip(round(HELD_SHARE * n), LEAST_HELD, MOST_HELD))
    units = np.array(some.groups)
    sizes = {unit: int((units == unit).sum()) for unit in dict.fromkeys(some.groups)}
    if len(sizes) < 4 or min(sizes.values()) > 2.5 * wanted:
        units, sizes = np.array(some.shas), {sha: some.shas.count(sha) for sha in some.shas}
    rng, held, taken = np.random.default_rng([seed, 17]), set[str](), 0
    for unit in rng.permutation(sorted(sizes)):
        if taken < wanted and taken + sizes[str(unit)] <= 2.5 * wanted:
            held.add(str(unit))
            taken += sizes[str(unit)]
    chosen = np.isin(units, sorted(held))
    return np.flatnonzero(~chosen), np.flatnonzero(chosen)
