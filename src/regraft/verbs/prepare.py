"""load and prepare: examples on disk → a Dataset that is read, looked at, cleaned and split."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from regraft.backbones.features import Pass, pass_over
from regraft.backbones.store import Store
from regraft.data import sources
from regraft.data.dataset import Dataset
from regraft.data.inspection import inspect
from regraft.data.patients import refuse_shared_patients
from regraft.data.splits import audit, joined, split
from regraft.modalities import modality as kind_of_data
from regraft.progress import Progress
from regraft.recipe import SHARED, Recipe
from regraft.verbs.tasks import carried_out


@dataclass(frozen=True)
class Prepared:
    """A dataset without its unreadable rows, split, with findings.

    together  ids of examples that are the same thing (duplicates), in groups
    """

    dataset: Dataset
    together: tuple[tuple[str, ...], ...]

    def left_out_together(self, view: Dataset) -> npt.NDArray[np.int64]:
        """(n,) numbers for the rows of a view: equal for duplicates and for a group's examples."""
        number = {
            name: i for i, ids in enumerate(joined(self.dataset, self.together)) for name in ids
        }
        return np.array([number[name] for name in view.table["id"]], np.int64)


def load(
    source: Any,
    *,
    label: str | None = None,
    path_column: str | None = None,
    text: str | None = None,
    group: str | None = None,
    split: str | None = None,
    root: str | Path | None = None,
    parts: Sequence[float] = (0.7, 0.15, 0.15),
    seed: int = 0,
    modality: str | None = None,
    patients: str | None = None,
    repair: bool | None = None,
    task: str | None = None,
    labels: Sequence[str] = (),
    separator: str | None = None,
    progress: Progress | None = None,
    store: Store | None = None,
) -> Dataset:
    """Examples on disk → a Dataset: read, looked at, without unreadable files, split.

    source       a folder (one sub-folder per class, with or without train/validation/test above), a
                 CSV, TSV, Parquet or JSON-lines manifest, a file, or a list of files; boxes: COCO,
                 Pascal VOC, YOLO, or a CSV with path, label, x1, y1, x2, y2
    label, path_column, text, group, split  columns of a manifest; plain names are recognised
    root         folder that a manifest's files are in; None: the manifest's own
    parts, seed  of the split, where none is given: stratified, groups and duplicates kept together
    modality     kind of data, such as ``volume``; None: that of most files, by their endings
    patients     ``shared``: a given split may tear a patient's medical files apart; None: refused
    repair       mend boxes with a fault, where that can be done; else they are left out by name
    task         ``tags`` (any number of labels each), ``regression`` (numbers), ``transcribe`` (a
                 manifest of recordings with what is said in them); None: as the source tells, of a
                 manifest guessed where its cells say so plainly
    labels       several columns of a manifest: tags as 0 or 1, or numbers
    separator    between the tags in a cell, such as ``;``

    Raises DataError or UsageError naming every file, row or parameter that is wrong.
    """
    recipe = Recipe().changed(parts=tuple(parts), seed=seed, patients=patients)
    columns: dict[str, Any] = {
        "label": label,
        "path_column": path_column,
        "text": text,
        "group": group,
        "split": split,
        "task": task,
        "labels": labels,
        "separator": separator,
    }
    told: dict[str, Any] = {"modality": modality, "repair": repair, **columns}
    dataset = sources.load(source, root=root, **told)
    opened = store or Store()
    try:
        found: Dataset = carried_out("load", dataset.task)(dataset, recipe, opened, progress)
    finally:
        if store is None:
            opened.close()
    return found


def prepared_examples(
    dataset: Dataset, recipe: Recipe, store: Store, progress: Progress | None
) -> Dataset:
    """`load` where examples have classes, tags or numbers."""
    files = dataset.table["path"].to_list()
    seen = pass_over(files, kind_of_data(dataset.modality), store, None, progress)
    return prepare(dataset, seen, recipe).dataset


def prepare(dataset: Dataset, seen: Pass, recipe: Recipe) -> Prepared:
    """Clean and split what was looked at; a split that was made before stays as it is.

    Examples of which none has a label are not split: they are there to predict on. Raises DataError
    where a given split shares a patient, unless the recipe allows it.
    """
    if recipe.patients != SHARED:
        refuse_shared_patients(dataset, seen.facts)
    found = inspect(dataset, seen.shas, seen.looks)
    if dataset.split_source == "made" or not len(found.dataset.labelled):
        return Prepared(found.dataset, found.together)
    clean = split(found.dataset, recipe.parts, recipe.seed, found.together)
    crossing = audit(clean, found.together) if clean.split_source == "given" else ()
    return Prepared(_with_findings(clean, crossing), found.together)


def _with_findings(dataset: Dataset, more: Iterable[Any]) -> Dataset:
    new = tuple(f for f in more if f not in dataset.findings)
    return replace(dataset, findings=(*dataset.findings, *new))
