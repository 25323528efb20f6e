"""inspect(...): what is odd about the examples, by name and with a reason.

It works on what one look at each file told (facts or a verdict), so it opens no file. Oddities of
one kind are one finding with all its files; duplicates are one finding per group.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import polars as pl

from regraft.data.dataset import Dataset, listed
from regraft.data.duplicates import Duplicates, NearPair
from regraft.data.findings import Finding
from regraft.data.kinds import ExampleKind, kind_of, oddities
from regraft.data.labels import natural_key
from regraft.data.odd_labels import naming
from regraft.data.splits import audit
from regraft.errors import UsageError
from regraft.modalities.facts import Facts

FEW = 5  # examples to learn from, under which a class can hardly be learnt or checked
UNEVEN, VERY_UNEVEN = 10, 100  # largest class / smallest class
# What is found anew by each inspection, so that an earlier one's is out of date.
KINDS = frozenset(
    {"exact-duplicate", "near-duplicate", "conflicting-labels", "leak", "group-leak"}
    | {"tiny-class", "imbalance", "odd-size", "odd-mode", "animated", "silent"}
)


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
    odd += tuple(oddities(ids, facts, kind_of(clean.modality)))
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
    return kind_of(dataset.modality).copies(facts, dataset.table["sha256"].to_list())


def _copies(dataset: Dataset, facts: Sequence[Facts], duplicates: Duplicates) -> Iterator[Finding]:
    ids, told = dataset.table["id"].to_list(), dataset.form.told
    labels = [None if label is None else told(label) for label in dataset.table["label"]]
    kind = kind_of(dataset.modality)
    for group in duplicates.exact:
        reason = f"{len(group)} files are the same, byte for byte: one of them is enough"
        yield Finding("exact-duplicate", tuple(ids[i] for i in group), reason)
    for group, pairs in _near_groups(duplicates):
        reason = _near_reason(group, pairs, facts, labels, kind)
        score = min(1.0, min(pair.similarity for pair in pairs))
        yield Finding("near-duplicate", tuple(ids[i] for i in group), reason, score=score)
    yield from _conflicts(duplicates, ids, labels, kind.noun)


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
    kind: ExampleKind,
) -> str:
    said = [way for pair in pairs for way in kind.ways(facts[pair.a], facts[pair.b], pair.mirrored)]
    ways = ", ".join(dict.fromkeys(said))
    if len({labels[i] for i in group} - {None}) > 1:
        ways += "; labels differ"
    return f"{len(group)} copies of one {kind.noun} ({ways}): a split must not separate them"


# Classes -----------------------------------------------------------------------------------------


def _balance(dataset: Dataset) -> Iterator[Finding]:
    """What is odd about the sizes of the classes, by the examples to learn from."""
    rows = dataset.learning.table
    counts = sorted(dataset.named(rows).items(), key=lambda row: natural_key(row[0]))
    if tiny := {name: n for name, n in counts if n < FEW}:
        files = naming(dataset, rows, tiny)
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
