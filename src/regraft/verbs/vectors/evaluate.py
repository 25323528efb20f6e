"""evaluate for tags and numbers: a model and labelled examples → Report."""

from dataclasses import replace
from typing import Any

import numpy as np

from regraft.backbones.store import Store
from regraft.data.dataset import Dataset, listed
from regraft.data.labels import FORMS
from regraft.errors import UsageError
from regraft.evaluation.report import Report
from regraft.model.vectors import VectorModel
from regraft.progress import Progress
from regraft.verbs.measuring import labelled_examples, listed_as, not_learned, provenance
from regraft.verbs.ways import way_for


def evaluate_vectors(
    model: VectorModel,
    data: Any,
    *,
    split: str | None = None,
    resamples: int = 1000,
    seed: int = 0,
    heat_maps: bool = False,
    at: str | None = None,
    store: Store | None = None,
    progress: Progress | None = None,
    positive: str | None = None,
    robust: dict[str, Any] | None = None,
    corruptions: bool | None = None,
    risk: float | None = None,
    unlike: Any = None,
    repair: bool | None = None,
    **columns: Any,
) -> Report:
    """Measure a model of tags or of numbers on labelled examples; see `regraft.evaluate`."""
    asked: dict[str, Any] = {"positive": positive, "robust": robust, "repair": repair}
    asked |= {"corruptions": corruptions, "risk": risk, "unlike": unlike}
    asked |= {"heat_maps": heat_maps or None}
    if wrong := [f"{k}: has no use for {model.task}" for k, v in asked.items() if v is not None]:
        raise UsageError(*wrong)
    columns = columns if isinstance(data, Dataset) else _read_as(model, columns)
    found = labelled_examples(data, split, modality=listed_as(model), **columns)
    examples = same_classes(model, found)
    model = model if at is None else model.at(at)
    seen = model.features(examples.table["path"].to_list(), store=store, progress=progress)
    notes: dict[str, Any] = {}
    if split is None and examples.split_source != "given" and not isinstance(data, Dataset):
        examples, seen, notes = not_learned(model, examples, seen)
    record = way_for(model.task).measure(model, examples, seen, resamples=resamples, seed=seed)
    return Report(record | provenance(model) | notes)


def _read_as(model: VectorModel, columns: dict[str, Any]) -> dict[str, Any]:
    """Columns as they were named; of numbers without a name those of the model."""
    named = any(columns.get(name) for name in ("label", "labels"))
    several = not named and not FORMS[model.task].several
    return {**columns, "task": model.task} | ({"labels": model.classes} if several else {})


def same_classes(model: VectorModel, examples: Dataset) -> Dataset:
    """The examples with the model's classes, in its order.

    Raises UsageError for tags that it does not know, and for numbers of other names.
    """
    if examples.task != model.task:
        raise UsageError(f"data: its examples are for {examples.task}, the model for {model.task}")
    if unknown := [name for name in examples.classes if name not in model.classes]:
        raise UsageError(
            f"data: the model does not know {listed(unknown)}; it knows {listed(model.classes)}; "
            "leave them out or fit a model with them"
        )
    if examples.form.several:
        return replace(examples, classes=model.classes)
    if missing := [name for name in model.classes if name not in examples.classes]:
        raise UsageError(f"data: the numbers {listed(missing)} are missing; name all with labels")
    order = [examples.classes.index(name) for name in model.classes]
    return replace(examples, classes=model.classes).with_table(
        examples.table.with_columns(label=_reordered(examples, order))
    )


def _reordered(examples: Dataset, order: list[int]) -> Any:
    import polars as pl

    from regraft.data.labels import numbers_text

    rows = examples.matrix[:, order]
    texts = [None if np.isnan(row).any() else numbers_text(row) for row in rows]
    return pl.Series(texts, dtype=pl.String)
