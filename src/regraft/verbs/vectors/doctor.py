"""doctor for tags and numbers: what is wrong with the examples, by name."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from regraft.backbones.features import pass_over
from regraft.backbones.store import Store
from regraft.data.dataset import Dataset
from regraft.data.findings import Finding
from regraft.data.inspection import FEW, inspect
from regraft.data.sources import load
from regraft.errors import DataError, UsageError
from regraft.modalities import modality as kind_of_data
from regraft.modalities.facts import Facts
from regraft.progress import Progress
from regraft.transfer.targets import TARGETS
from regraft.verbs.doctor import Diagnosis, extractors, told_by_content, without_old
from regraft.verbs.kept import kept_head
from regraft.verbs.prepare import Prepared
from regraft.verbs.rungs import features_of
from regraft.verbs.ways import way_for


@dataclass(frozen=True, eq=False)
class VectorDiagnosis(Diagnosis):
    """As `Diagnosis`; `classes` counts the examples with each tag."""

    def to_dict(self) -> dict[str, Any]:
        """Also how many tags an example has, or how the numbers lie."""
        return super().to_dict() | {"task": self.dataset.task, **_lies(self.dataset)}


def _lies(data: Dataset) -> dict[str, Any]:
    values = data.labelled.matrix
    if not len(values):
        return {}
    if data.form.several:
        each = Counter(int(n) for n in values.sum(1))
        return {"tags_each": {str(n): each[n] for n in sorted(each)}}
    rows = zip(data.classes, values.T, strict=True)
    return {
        "numbers": {
            name: {
                "least": float(own.min()),
                "mean": float(own.mean()),
                "most": float(own.max()),
                "spread": float(own.std()),
            }
            for name, own in rows
        }
    }


def doctor_of_vectors(
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
) -> VectorDiagnosis:
    """Look for what is wrong with examples that have tags or numbers; see `regraft.doctor`."""
    asked = {"backbone": backbone, "size": size, "engine": engine}
    unused = [] if look_for_label_errors else [k for k, v in asked.items() if v is not None]
    wrong = [f"{k}: has no use with look_for_label_errors=False" for k in unused]
    wrong += [] if repair is None else ["repair: is for boxes"]
    if wrong:
        raise UsageError(*wrong)
    dataset = load(data, root=root, modality=modality, **columns)
    if not len(dataset):
        raise DataError("there are no examples")
    kind, files = kind_of_data(dataset.modality), dataset.table["path"].to_list()
    checks = look_for_label_errors and len(dataset.labelled) >= FEW
    one = extractors(kind, backbone, size, engine)[0] if checks else None
    opened = store or Store()
    try:
        seen = pass_over(files, kind, opened, one, progress)
        found = inspect(without_old(dataset), seen.shas, seen.looks)
        prepared = Prepared(found.dataset, found.together)
        odd = [*told_by_content(found.dataset), *_of_numbers(found.dataset)]
        odd += [*_doubts(prepared, seen, seed, opened)] if checks else []
    finally:
        if store is None:
            opened.close()
    clean = replace(found.dataset, findings=(*found.dataset.findings, *odd))
    counts = clean.named(clean.table)
    classes = {name: counts[name] for name in clean.classes}
    return VectorDiagnosis(clean, clean.findings, found.together, len(dataset), classes)


def _of_numbers(data: Dataset) -> Iterator[Finding]:
    """Numbers that lie far outside of all others."""
    if data.form.several:
        return
    labelled = data.labelled
    values = labelled.matrix
    for k, name in enumerate(data.classes):
        low, high = np.quantile(values[:, k], [0.25, 0.75]) if len(values) else (0.0, 0.0)
        width = high - low
        out = (values[:, k] < low - 5 * width) | (values[:, k] > high + 5 * width)
        if width > 0 and out.any():
            files = tuple(labelled.table["id"][int(i)] for i in np.flatnonzero(out))
            reason = f"{name!r} lies far outside of what is usual ({low:g} to {high:g}): look at it"
            yield Finding("odd-number", files, reason)


def _doubts(prepared: Prepared, seen: Any, seed: int, store: Store) -> Iterator[Finding]:
    """Labels that the features of all other examples speak against."""
    data = prepared.dataset
    view, way = data.labelled, way_for(data.task)
    target = TARGETS[data.task]
    truth = target.truth(view, view)
    readable = np.array([isinstance(look, Facts) for look in seen.looks])
    place = {name: i for i, name in enumerate(data.table["id"])}
    rows = [place[name] for name in view.table["id"]]
    fit = kept_head(
        store,
        features_of(seen)[readable][rows],
        truth,
        classes=len(data.classes),
        widths=seen.widths,
        groups=prepared.left_out_together(view),
        seed=seed,
        target=target,
    )
    yield from way.suspects(fit.left_out, truth, view.table["id"].to_list(), data.classes)
