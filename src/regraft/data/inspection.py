"""inspect(...): what is odd about the examples, by name and with a reason.

It works on what one look at each file told (facts or a verdict), so it opens no file. Oddities of
one kind are one finding with all its files; duplicates are one finding per group.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import polars as pl

from regraft.data.dataset import Dataset, listed, natural_key
from regraft.data.duplicates import THUMB_SIDE, Duplicates, NearPair, find_duplicates
from regraft.data.findings import Finding
from regraft.data.splits import audit
from regraft.errors import UsageError
from regraft.modalities.audio import MOST_SECONDS
from regraft.modalities.facts import Facts

FEW = 5  # examples to learn from, under which a class can hardly be learnt or checked
UNEVEN, VERY_UNEVEN = 10, 100  # largest class / smallest class
SMALL = 32  # pixels of the shorter side under which little is left to see,
LARGE = 64  # where the median of the set is this at least
LONG = 5  # longer side / shorter side from which a centre crop shows a fifth or less
FAR = 4  # times larger or smaller than the median picture,
DEVIATIONS = 5  # and that many robust standard deviations (of the logarithm) away from it

BRIEF = 50  # milliseconds of a recording under which hardly anything is heard
HEARD = 1000 * MOST_SECONDS  # milliseconds of the middle of a recording that are heard

# What is found anew by each inspection, so that an earlier one's is out of date.
KINDS = frozenset(
    {"exact-duplicate", "near-duplicate", "conflicting-labels", "leak", "group-leak"}
    | {"tiny-class", "imbalance", "odd-size", "odd-mode", "animated", "silent"}
)

# Mode of the decoder → what a person calls it.
COLOURS: Mapping[str, str] = {
    "RGB": "colour",
    **dict.fromkeys(("L", "1"), "grey"),
    **dict.fromkeys(("P", "PA"), "palette"),
    **dict.fromkeys(("RGBA", "RGBa", "RGBX", "LA", "La"), "transparent"),
    "CMYK": "CMYK (print colours)",
    **dict.fromkeys(("I;16", "I;16L", "I;16B", "I;16N", "I"), "16-bit grey"),
    "F": "floating-point grey",
}
STILL = frozenset({"MPO"})  # photos whose further frames are a preview or the other eye's view


class Verdict(Protocol):
    """Why a file cannot be decoded: a stable word and a plain sentence."""

    @property
    def kind(self) -> str: ...

    @property
    def reason(self) -> str: ...


Look = Facts | Verdict
Groups = tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Inspection:
    """What `inspect` found.

    dataset   the readable examples, sha256 filled in, all findings attached
    findings  what this inspection found; those of loading are in ``dataset.findings`` only
    together  ids that are copies of one example: lists for `regraft.data.splits.split`
    """

    dataset: Dataset
    findings: tuple[Finding, ...]
    together: Groups


def inspect(dataset: Dataset, shas: Sequence[str], looks: Sequence[Look]) -> Inspection:
    """What is odd about the files of a dataset, without the files themselves.

    shas   SHA-256 of each row's file, hex; empty where it could not be read
    looks  what a look at each row's file told: facts, or a verdict where it cannot be decoded

    Call it on the whole dataset: a class that loses its last example leaves ``classes``. Findings
    of an earlier inspection are replaced. Raises UsageError when the lengths differ.
    """
    if not len(dataset) == len(shas) == len(looks):
        raise UsageError(
            f"shas, looks: expected one for each of {len(dataset)} examples; got {len(shas)} shas "
            f"and {len(looks)} looks"
        )
    known = dataset.with_table(
        dataset.table.with_columns(sha256=pl.Series([sha or None for sha in shas], dtype=pl.String))
    )
    known = _grouped(known, looks)
    earlier = tuple(finding for finding in dataset.findings if finding.kind not in KINDS)
    unreadable = tuple(_unreadable(dataset.table["id"], looks))
    bad = [name for finding in unreadable for name in finding.files]
    clean = replace(known, findings=earlier).without(bad, unreadable)
    facts = [look for look in looks if isinstance(look, Facts)]
    duplicates = _duplicates(clean, facts)
    ids = clean.table["id"].to_list()
    together = tuple(tuple(ids[i] for i in group) for group in duplicates.together())
    odd = (*_copies(clean, facts, duplicates), *audit(clean, together), *_balance(clean))
    odd += tuple(_oddities(ids, facts, _kind_of(clean)))
    clean = replace(clean, findings=clean.findings + odd)
    return Inspection(clean, clean.findings[len(earlier) :], together)


def _grouped(dataset: Dataset, looks: Sequence[Look]) -> Dataset:
    """With the groups that files tell of, where nobody named any."""
    told = [look.group or None if isinstance(look, Facts) else None for look in looks]
    if not any(told) or dataset.table["group"].null_count() < len(dataset):
        return dataset
    return dataset.with_table(dataset.table.with_columns(group=pl.Series(told, dtype=pl.String)))


def _unreadable(ids: Iterable[str], looks: Iterable[Look]) -> Iterator[Finding]:
    for name, look in zip(ids, looks, strict=True):
        if not isinstance(look, Facts):
            reason = f"{look.kind}: {look.reason}; it is left out"
            yield Finding("unreadable", (name,), reason, "error")


# Duplicates --------------------------------------------------------------------------------------


def _duplicates(dataset: Dataset, facts: Sequence[Facts]) -> Duplicates:
    thumbs = np.zeros((len(facts), THUMB_SIDE, THUMB_SIDE, 3), np.uint8)
    for row, fact in zip(thumbs, facts, strict=True):
        row[:] = fact.thumb
    aspects = np.array([fact.width / fact.height for fact in facts], float)
    return find_duplicates(thumbs, dataset.table["sha256"].to_list(), aspects)


def _copies(dataset: Dataset, facts: Sequence[Facts], duplicates: Duplicates) -> Iterator[Finding]:
    ids, labels = dataset.table["id"].to_list(), dataset.table["label"].to_list()
    noun = _kind_of(dataset).noun
    for group in duplicates.exact:
        reason = f"{len(group)} files are the same, byte for byte: one of them is enough"
        yield Finding("exact-duplicate", tuple(ids[i] for i in group), reason)
    for group, pairs in _near_groups(duplicates):
        reason = _near_reason(group, pairs, facts, labels, noun)
        score = min(1.0, min(pair.similarity for pair in pairs))
        yield Finding("near-duplicate", tuple(ids[i] for i in group), reason, score=score)
    yield from _conflicts(duplicates, ids, labels, noun)


def _conflicts(
    duplicates: Duplicates, ids: Sequence[str], labels: Sequence[str | None], noun: str
) -> Iterator[Finding]:
    """Copies with several labels; of mirrored ones both may be right: left and right, b and d."""

    def names(group: Iterable[int]) -> set[str]:
        return {name for i in group if (name := labels[i]) is not None}

    sure = {i for group in duplicates.exact if len(names(group)) > 1 for i in group}
    upright = [pair for pair in duplicates.near if not pair.mirrored]
    for group in Duplicates(duplicates.exact, upright).together():
        if len(named := names(group)) > 1:
            severity = "warning" if sure.isdisjoint(group) else "error"
            yield _conflict(tuple(ids[i] for i in group), named, severity, noun)


def _conflict(files: tuple[str, ...], labels: Iterable[str], severity: str, noun: str) -> Finding:
    names = listed(sorted(labels, key=natural_key))
    reason = f"copies of one {noun} are labelled {names}: at most one can be right; correct them"
    return Finding("conflicting-labels", files, reason, severity)


def _near_groups(duplicates: Duplicates) -> Iterator[tuple[tuple[int, ...], list[NearPair]]]:
    """Groups tied by near pairs, with the exact copies of their members, and their pairs."""
    group_of = {i: group for group in duplicates.together() for i in group}
    pairs: dict[tuple[int, ...], list[NearPair]] = {}
    for pair in duplicates.near:
        pairs.setdefault(group_of[pair.a], []).append(pair)
    yield from sorted(pairs.items())


def _near_reason(
    group: Sequence[int],
    pairs: Iterable[NearPair],
    facts: Sequence[Facts],
    labels: Sequence[str | None],
    noun: str,
) -> str:
    said = [way for pair in pairs for way in _ways(facts[pair.a], facts[pair.b], pair.mirrored)]
    ways = ", ".join(dict.fromkeys(said))
    if len({labels[i] for i in group} - {None}) > 1:
        ways += "; labels differ"
    return f"{len(group)} copies of one {noun} ({ways}): a split must not separate them"


def _ways(a: Facts, b: Facts, mirrored: bool) -> Iterator[str]:
    """How one picture was made from the other, as far as can be told."""
    resized = (a.width, a.height) != (b.width, b.height)
    if resized:
        yield "resized"
    if mirrored:
        yield "mirrored"
    if a.format != b.format or not (resized or mirrored):
        yield "re-encoded"


# Classes -----------------------------------------------------------------------------------------


def _balance(dataset: Dataset) -> Iterator[Finding]:
    """What is odd about the sizes of the classes, by the examples to learn from."""
    rows = dataset.learning.table
    counts = sorted(rows["label"].value_counts().iter_rows(), key=lambda row: natural_key(row[0]))
    if tiny := {name: n for name, n in counts if n < FEW}:
        files = tuple(rows.filter(pl.col("label").is_in(list(tiny)))["id"])
        yield Finding("tiny-class", files, _tiny_reason(tiny))
    if len(counts) > 1:
        (least, few), (most, many) = (f(counts, key=lambda row: row[1]) for f in (min, max))
        if many > UNEVEN * few:
            reason = f"{most!r} has {many} examples to learn from and {least!r} has {few}: accuracy"
            reason += " hides how the small class fares; look at balanced accuracy"
            severity = "warning" if many > VERY_UNEVEN * few else "note"
            yield Finding("imbalance", (), reason, severity)


def _tiny_reason(tiny: Mapping[str, int]) -> str:
    names = listed(sorted(tiny, key=lambda name: (tiny[name], natural_key(name))))
    reason = f"classes with fewer than {FEW} examples to learn from: {names}"
    return reason + ("; a single one cannot be checked" if 1 in tiny.values() else "")


# Sizes, modes, frames ----------------------------------------------------------------------------


class _Oddity(NamedTuple):
    """One row of ODDITIES: which of the pictures are odd, (n,) bool, and what to say of them."""

    kind: str
    odd: Callable[[Sequence[Facts]], npt.NDArray[np.bool_]]
    reason: str
    severity: str = "note"


def _oddities(
    ids: Sequence[str], facts: Sequence[Facts], kind: "_ExampleKind"
) -> Iterator[Finding]:
    for oddity in kind.oddities if facts else ():
        if files := _chosen(ids, oddity.odd(facts)):
            reason = f"{kind.counted(len(files))} {oddity.reason}"
            yield Finding(oddity.kind, files, reason, oddity.severity)
    yield from _modes(ids, facts, kind)


def _chosen(ids: Sequence[str], odd: Iterable[bool]) -> tuple[str, ...]:
    return tuple(name for name, is_odd in zip(ids, odd, strict=True) if is_odd)


def _sides(facts: Sequence[Facts]) -> npt.NDArray[np.int64]:
    """(n, 2): the shorter and the longer side."""
    return np.sort([(fact.width, fact.height) for fact in facts], axis=1)


def _small(facts: Sequence[Facts]) -> npt.NDArray[np.bool_]:
    shorter = _sides(facts)[:, 0]
    return (shorter < SMALL) & bool(np.median(shorter) >= LARGE)


def _long(facts: Sequence[Facts]) -> npt.NDArray[np.bool_]:
    shorter, longer = _sides(facts).T
    return longer > LONG * shorter


def _outlying(facts: Sequence[Facts]) -> npt.NDArray[np.bool_]:
    """Far from the median size; those that are small or long are told of already."""
    sizes = np.log(_sides(facts)).mean(axis=1)
    away = np.abs(sizes - np.median(sizes))
    deviation = 1.4826 * np.median(away)  # of a normal distribution with this median deviation
    far = away > max(np.log(FAR), DEVIATIONS * deviation)
    return far & ~_small(facts) & ~_long(facts)


def _animated(facts: Sequence[Facts]) -> npt.NDArray[np.bool_]:
    return np.array([fact.frames > 1 and fact.format not in STILL for fact in facts])


def _brief(facts: Sequence[Facts]) -> npt.NDArray[np.bool_]:
    return _milliseconds(facts) < BRIEF


def _lengthy(facts: Sequence[Facts]) -> npt.NDArray[np.bool_]:
    return _milliseconds(facts) > HEARD


def _silent(facts: Sequence[Facts]) -> npt.NDArray[np.bool_]:
    return np.array([not fact.thumb.any() for fact in facts])


def _far_in_time(facts: Sequence[Facts]) -> npt.NDArray[np.bool_]:
    """Far from the median duration."""
    away = np.abs(np.log(_milliseconds(facts)) - np.log(np.median(_milliseconds(facts))))
    far = away > max(np.log(FAR), DEVIATIONS * 1.4826 * np.median(away))
    return np.asarray(far & ~_brief(facts) & ~_lengthy(facts))


def _milliseconds(facts: Sequence[Facts]) -> npt.NDArray[np.int64]:
    return np.array([fact.width for fact in facts], np.int64)


ODDITIES = (
    _Oddity("odd-size", _small, f"under {SMALL} pixels, much smaller than the rest", "warning"),
    _Oddity(
        "odd-size", _long, f"more than {LONG} times as long as wide: a centre crop shows a part"
    ),
    _Oddity("odd-size", _outlying, "of a size far from that of the rest"),
    _Oddity("animated", _animated, "with several frames: only the first is looked at"),
)


SOUND_ODDITIES = (
    _Oddity("silent", _silent, "without any sound", "warning"),
    _Oddity("odd-size", _brief, f"shorter than {BRIEF} ms", "warning"),
    _Oddity("odd-size", _lengthy, f"longer than {HEARD // 1000} s: only the middle is heard"),
    _Oddity("odd-size", _far_in_time, "of a duration far from that of the rest"),
)


class _ExampleKind(NamedTuple):
    """What is odd about examples of a modality, and how a person calls them.

    common  what all of them are turned into
    """

    oddities: Sequence[_Oddity]
    noun: str
    common: str

    def counted(self, n: int) -> str:
        return f"1 {self.noun}" if n == 1 else f"{n} {self.noun}s"


PICTURES = _ExampleKind(ODDITIES, "picture", "RGB")
KINDS_OF: Mapping[str, _ExampleKind] = {
    "image": PICTURES,
    "audio": _ExampleKind(SOUND_ODDITIES, "recording", "16 kHz mono"),
}


def _kind_of(dataset: Dataset) -> _ExampleKind:
    return KINDS_OF.get(dataset.modality, PICTURES)


def _modes(ids: Sequence[str], facts: Sequence[Facts], kind: "_ExampleKind") -> Iterator[Finding]:
    """Examples stored otherwise than most: one finding for each way."""
    modes = [COLOURS.get(fact.mode, fact.mode) for fact in facts]
    by_number = sorted(set(modes), key=lambda mode: (-modes.count(mode), mode))
    for usual, mode in ((by_number[0], mode) for mode in by_number[1:]):
        files = _chosen(ids, (m == mode for m in modes))
        reason = f"{kind.counted(len(files))} stored as {mode} where most are {usual}"
        yield Finding("odd-mode", files, f"{reason}; all are turned into {kind.common}", "note")
