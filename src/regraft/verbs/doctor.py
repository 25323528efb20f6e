"""doctor: what is wrong with the examples, by name; nothing of the user's is changed.

    diagnosis = regraft.doctor("photos/")
    diagnosis.findings;  diagnosis.page();  diagnosis.write_manifest("cleaned.csv")

Files and classes are looked at by `regraft.data.inspection`. Labels are doubted where a frozen
network's features of all other examples speak for another class (`regraft.transfer.noise`).
"""

import csv
import io
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from regraft import __version__
from regraft.backbones.catalog import CatalogRow, find
from regraft.backbones.extractor import Extractor, extractor
from regraft.backbones.features import Pass, pass_over
from regraft.backbones.store import Store
from regraft.data.dataset import PARTS, Dataset
from regraft.data.findings import Finding
from regraft.data.inspection import FEW, Groups, inspect
from regraft.data.kinds import kind_of
from regraft.data.languages import OTHER_LANGUAGE
from regraft.data.sources import load, task_of
from regraft.errors import DataError, UsageError
from regraft.modalities import modality as kind_of_data
from regraft.modalities.base import Modality
from regraft.modalities.facts import Facts
from regraft.progress import Progress
from regraft.transfer.inputs import defaults_for, fitting, foreign
from regraft.verbs.kept import kept_head
from regraft.verbs.prepare import Prepared
from regraft.verbs.rungs import features_of
from regraft.verbs.shown import SUSPECT, illustrated, label_suspects
from regraft.verbs.tasks import carried_out

SIZE = 128  # pixels or tokens: finds as many wrong labels as 224 in a third of the time
PICTURES = 300  # files on the page with a thumbnail

UNCHECKED = "labels-not-checked"

DROPPED = ("unreadable", "exact-duplicate", "conflicting-labels", "leak")


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """What the doctor found.

    dataset   the readable examples, with all findings attached
    findings  the same findings; files are ids, relative to ``dataset.root``
    together  ids that are copies of one picture, in groups
    n         examples that were looked at, readable or not
    classes   readable examples by class
    """

    dataset: Dataset
    findings: tuple[Finding, ...]
    together: Groups
    n: int
    classes: dict[str, int]

    @property
    def clean(self) -> bool:
        """Whether nothing needs a look: there are no errors or warnings (notes may be)."""
        return all(finding.severity == "note" for finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON: root, n, classes, findings."""
        return {
            "root": str(self.dataset.root),
            "n": self.n,
            "classes": dict(self.classes),
            "findings": [finding.to_dict() for finding in self.findings],
        }

    def to_csv(self) -> str:
        """A row per finding and file; a finding on the whole set has one row without a file."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(("kind", "severity", "file", "score", "reason"))
        for f in self.findings:
            score = "" if f.score is None else f"{f.score:.4f}"
            writer.writerows(
                (f.kind, f.severity, name, score, f.reason) for name in f.files or ("",)
            )
        return out.getvalue()

    def page(self) -> str:
        """One self-contained HTML page, with small pictures of what was found."""
        from regraft.evaluation.page import doctor_page

        record = {
            **self.to_dict(),
            "title": self.dataset.root.name,
            "counts": self.classes,
            "modality": self.dataset.modality,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "regraft": __version__,
            "findings": list(illustrated(self.dataset, self.findings, PICTURES)),
        }
        return doctor_page(record)

    def cleaned(self, drop: Collection[str] = DROPPED) -> Dataset:
        """The dataset without the examples that findings of the kinds in `drop` are about.

        Unreadable examples are never in it. Of exact and near duplicates one of each group stays:
        one with a label, and rather one that is measured on than one in train. Of duplicates or
        groups in several parts those in one part stay: test, else validation. Of every other kind
        (``conflicting-labels``, ``label-suspect``, ``odd-size`` ...) all files go. What went is
        told by a finding ``left-out`` per kind; findings of kinds that were not named stay.

        Raises UsageError for a kind by which nothing can be left out.
        """
        if unknown := [kind for kind in drop if kind not in LEAVERS]:
            expected = f"expected some of {', '.join(LEAVERS)}"
            raise UsageError(
                *(f"drop: {kind!r} cannot be left out; {expected}" for kind in unknown)
            )
        rank = _ranks(self.dataset)
        left_out = []
        for kind in (kind for kind in LEAVERS if kind in drop):
            found = [name for f in self.findings if f.kind == kind for name in _leavers(f, rank)]
            if gone := dict.fromkeys(found):
                left_out.append(_left_out(kind, gone))
                rank = {name: key for name, key in rank.items() if name not in gone}
        told = [f for f in self.findings if f.kind == "unreadable" or f.kind not in drop]
        kept = replace(self.dataset, findings=tuple(told))
        return kept.without([name for f in left_out for name in f.files], left_out)

    def write_manifest(
        self, path: str | Path, drop: Collection[str] = DROPPED, *, inside_data: bool = False
    ) -> Path:
        """Write what `cleaned` gives as CSV or Parquet, by the ending; see `Dataset.to_manifest`.

        Suspected labels stay as they are: a person decides. `to_csv` lists them by the same ids.
        ``load(path, root=dataset.root)`` reads the manifest back.
        """
        return self.cleaned(drop).to_manifest(Path(path), inside_data=inside_data)


def doctor(
    data: Any,
    *,
    label: str | None = None,
    path_column: str | None = None,
    text: str | None = None,
    group: str | None = None,
    split: str | None = None,
    root: str | Path | None = None,
    modality: str | None = None,
    backbone: str | None = None,
    size: int | None = None,
    engine: str | None = None,
    seed: int = 0,
    look_for_label_errors: bool = True,
    repair: bool | None = None,
    task: str | None = None,
    labels: Sequence[str] = (),
    separator: str | None = None,
    progress: Progress | None = None,
    store: Store | None = None,
) -> Diagnosis:
    """Look for what is wrong with examples: files, copies, leaks, classes, sizes, labels, boxes.

    data            a Dataset, or a source as for `regraft.load`
    label, path_column, text, group, split  columns of a manifest
    root            folder that a manifest's files are in; None: the manifest's own
    modality        kind of data, such as ``volume``; None: that of most files, by their endings
    backbone, size, engine  of the frozen network that checks the labels; None: the default network,
                    SIZE pixels (texts: tokens) or the next size that it reads, the fastest engine.
                    Where examples can be read in several ways (recordings: as a picture and as
                    sound), the default of the way with the least leave-one-out error
    seed            of the choice of block weights
    look_for_label_errors  False: only one look at each file, no network
    repair          mend boxes with a fault, where that can be done
    task, labels, separator  of the labels of a manifest, as for `regraft.load`; ``transcribe``: a
                    manifest of recordings with what is said in them

    Raises UsageError or DataError in plain words; the files themselves are only read.
    """
    asked = {"backbone": backbone, "size": size, "engine": engine}
    columns = {"label": label, "path_column": path_column, "text": text, "group": group}
    told: dict[str, Any] = {**asked, **columns, "split": split, "root": root, "repair": repair}
    told |= {"modality": modality}
    of_labels = {"labels": tuple(labels) or None, "separator": separator}
    told |= {} if task is None else {"task": task}
    told |= {name: value for name, value in of_labels.items() if value is not None}
    how: dict[str, Any] = {"seed": seed, "progress": progress, "store": store}
    found: Diagnosis = carried_out("doctor", task_of(data, task, **columns, **of_labels))(
        data, look_for_label_errors=look_for_label_errors, **told, **how
    )
    return found


def doctor_of_classes(
    data: Any,
    *,
    root: str | Path | None = None,
    modality: str | None = None,
    backbone: str | None = None,
    size: int | None = None,
    engine: str | None = None,
    seed: int = 0,
    look_for_label_errors: bool = True,
    repair: bool | None = None,
    progress: Progress | None = None,
    store: Store | None = None,
    **columns: Any,
) -> Diagnosis:
    """`doctor` where examples have classes."""
    if repair is not None:
        raise UsageError("repair: is for boxes; these examples have classes")
    asked = {"backbone": backbone, "size": size, "engine": engine}
    if not look_for_label_errors and (unused := [k for k, v in asked.items() if v is not None]):
        raise UsageError(*(f"{k}: has no use with look_for_label_errors=False" for k in unused))
    dataset = load(data, root=root, modality=modality, **columns)
    if not len(dataset):
        raise DataError("there are no examples")
    checks = look_for_label_errors and len(_checkable(dataset)) > 1
    kind, files = kind_of_data(dataset.modality), dataset.table["path"].to_list()
    networks = extractors(kind, backbone, size, engine) if checks else [None]
    opened = store or Store()
    try:
        passes = [pass_over(files, kind, opened, one, progress) for one in networks]
        seen = passes[0]
        found = inspect(without_old(dataset), seen.shas, seen.looks)
        labels = [*_label_errors(found.dataset, found.together, passes, seed, opened)]
        read = told_by_content(found.dataset)
    finally:
        if store is None:
            opened.close()
    more = (*read, *(labels if look_for_label_errors else ()))
    clean = replace(found.dataset, findings=found.dataset.findings + more)
    return Diagnosis(clean, clean.findings, found.together, len(dataset), _counts(clean))


def extractors(
    kind: Modality, backbone: str | None, size: int | None, engine: str | None
) -> list[Extractor]:
    """The network that was named; else the default one of each way to read the examples."""
    rows = defaults_for(kind.inputs) if backbone is None else [find(backbone)]
    if reasons := [reason for row in rows if (reason := foreign(row, kind.inputs))]:
        raise UsageError(*(f"backbone: {reason}" for reason in reasons))
    able = [row for row in rows if size is None or row.reads_size(size)]
    return [_extractor(row, size, engine) for row in able or rows]


def _extractor(row: CatalogRow, size: int | None, engine: str | None) -> Extractor:
    if size is None:
        size = min(row.spec.size, fitting(row, SIZE))
    if not row.reads_size(size):
        raise UsageError(f"size: {row.sizes_told}; got {size}")
    return extractor(row, replace(row.spec.at(size), crop_fraction=1.0), engine)


def told_by_content(dataset: Dataset) -> tuple[Finding, ...]:
    """What only the content of readable examples tells."""
    ids, files = (dataset.table[column].to_list() for column in ("id", "path"))
    return tuple(kind_of(dataset.modality).read(ids, files))


def _counts(dataset: Dataset) -> dict[str, int]:
    counts = Counter(dataset.table["label"].drop_nulls())
    return {name: counts[name] for name in dataset.classes}


def without_old(dataset: Dataset) -> Dataset:
    """Without what an earlier doctor said of labels and contents."""
    old = (SUSPECT, UNCHECKED, OTHER_LANGUAGE)
    return replace(dataset, findings=tuple(f for f in dataset.findings if f.kind not in old))


# Labels ------------------------------------------------------------------------------------------


def _checkable(dataset: Dataset) -> list[str]:
    """Classes with examples enough for the others to speak for one that is left out."""
    return [name for name, n in _counts(dataset).items() if n >= FEW]


def _label_errors(
    dataset: Dataset, together: Groups, passes: Sequence[Pass], seed: int, store: Store
) -> Iterator[Finding]:
    classes = _checkable(dataset)
    if len(classes) < 2 or passes[0].features is None:
        reason = f"labels were not checked: fewer than two classes have {FEW} examples"
        yield Finding(UNCHECKED, (), reason, "note")
        return
    table = dataset.table.with_row_index().filter(pl.col("label").is_in(classes))
    rows, names = table["index"].to_numpy(), table["id"].to_list()
    labels = np.array([classes.index(name) for name in table["label"]])
    asked: dict[str, Any] = {"classes": len(classes), "seed": seed}
    asked["groups"] = Prepared(dataset, together).left_out_together(dataset)[rows]
    readable = np.array([isinstance(look, Facts) for look in passes[0].looks])
    heads = [
        kept_head(store, features_of(seen)[readable][rows], labels, widths=seen.widths, **asked)
        for seen in passes
    ]
    best = min(heads, key=lambda head: head.error)
    yield from label_suspects(best.left_out, labels, names, classes)


# Leaving out -------------------------------------------------------------------------------------

Ranks = Mapping[str, tuple[bool, int, int]]  # id → unlabelled, part, place: the least stays first


def _ranks(dataset: Dataset) -> Ranks:
    order = {part: place for place, part in enumerate(reversed(PARTS))}
    rows = dataset.table.select("id", "label", "split").iter_rows()
    return {
        name: (label is None, order.get(part, len(order)), place)
        for place, (name, label, part) in enumerate(rows)
    }


def _all(files: list[str], rank: Ranks) -> list[str]:
    return files


def _all_but_one(files: list[str], rank: Ranks) -> list[str]:
    return sorted(files, key=rank.__getitem__)[1:]


def _all_but_one_part(files: list[str], rank: Ranks) -> list[str]:
    kept = min(rank[name] for name in files)[1]
    return [name for name in files if rank[name][1] != kept]


# Kind of finding → which of its files go; those after others see what these have left.
LEAVERS: Mapping[str, Callable[[list[str], Ranks], list[str]]] = {
    "unreadable": _all,
    "conflicting-labels": _all,
    SUSPECT: _all,
    "odd-size": _all,
    "odd-mode": _all,
    OTHER_LANGUAGE: _all,
    "animated": _all,
    "silent": _all,
    "tiny-class": _all,
    "unlabelled": _all,
    "leak": _all_but_one_part,
    "group-leak": _all_but_one_part,
    "exact-duplicate": _all_but_one,
    "near-duplicate": _all_but_one,
}


def _leavers(finding: Finding, rank: Ranks) -> list[str]:
    files = [name for name in finding.files if name in rank]
    return LEAVERS[finding.kind](files, rank) if files else []


def _left_out(kind: str, files: Iterable[str]) -> Finding:
    gone = tuple(files)
    return Finding("left-out", gone, f"{len(gone)} left out of the cleaned data: {kind}", "note")
