"""What is odd about the labels of a dataset, whatever they are: by name, with a reason."""

import unicodedata
from collections.abc import Iterable, Iterator

import polars as pl

from regraft.data.dataset import Dataset, listed
from regraft.data.findings import Finding
from regraft.data.labels import natural_key


def odd_labels(dataset: Dataset) -> Iterator[Finding]:
    """Unlabelled examples, names that look like one another, classes with next to nothing."""
    yield from _unlabelled(dataset)
    yield from _blanks(dataset)
    yield from _twins(dataset)
    yield from _tiny(dataset)
    yield from _unseen(dataset)


def naming(dataset: Dataset, table: pl.DataFrame, names: Iterable[str]) -> tuple[str, ...]:
    """Ids of the rows of a table whose label names one of the classes."""
    wanted, form = set(names), dataset.form
    kinds = table["label"].drop_nulls().unique().to_list()
    found = [label for label in kinds if wanted.intersection(form.names(label))]
    return tuple(table.filter(pl.col("label").is_in(found))["id"])


def _unlabelled(dataset: Dataset) -> Iterator[Finding]:
    """Only beside labelled ones: a set without any label is one to predict on."""
    bare = dataset.table.filter(pl.col("label").is_null())["id"]
    if dataset.classes and len(bare):
        reason = f"{len(bare)} examples have no label; nothing is learnt from them"
        hint = "; if none of the tags is meant, write [] there" if dataset.form.several else ""
        yield Finding("unlabelled", tuple(bare), reason + hint)


def _blanks(dataset: Dataset) -> Iterator[Finding]:
    if odd := [name for name in dataset.classes if name != name.strip()]:
        reason = f"these labels begin or end with blanks: {listed(odd)}"
        yield Finding("label-blanks", naming(dataset, dataset.table, odd), reason)


def _twins(dataset: Dataset) -> Iterator[Finding]:
    """Classes whose names differ in case, in blanks or in how an accent is encoded."""
    alike: dict[str, list[str]] = {}
    for name in dataset.classes:
        plain = " ".join(unicodedata.normalize("NFC", name).casefold().split())
        alike.setdefault(plain, []).append(name)
    counts = dataset.named(dataset.table)
    for names in (names for names in alike.values() if len(names) > 1):
        rarer = sorted(names, key=lambda name: counts[name])[:-1]
        reason = f"{listed(names)} are taken as {len(names)} classes; rename them if they are one"
        yield Finding("label-twins", naming(dataset, dataset.table, rarer), reason)


def _tiny(dataset: Dataset) -> Iterator[Finding]:
    learning = dataset.learning.table
    counts = dataset.named(learning)
    if single := [name for name, n in counts.items() if n == 1]:
        names = listed(sorted(single, key=natural_key))
        reason = f"classes with a single example to learn from cannot be checked: {names}"
        yield Finding("tiny-class", naming(dataset, learning, single), reason)


def _unseen(dataset: Dataset) -> Iterator[Finding]:
    seen = dataset.named(dataset.learning.table)
    unseen = [c for c in dataset.classes if not seen[c]] if dataset.form.balance else []
    if dataset.split_source == "given" and unseen:
        reason = f"classes without any example in train can never be answered: {listed(unseen)}"
        yield Finding("unseen-class", naming(dataset, dataset.table, unseen), reason, "error")
