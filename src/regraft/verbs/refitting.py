"""A model whose networks have changed a little: its head stays, or is solved anew."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np

from regraft.backbones.extractor import Extractor
from regraft.backbones.features import Pass
from regraft.backbones.store import Store
from regraft.data.dataset import Dataset
from regraft.data.inspection import inspect
from regraft.errors import UsageError
from regraft.evaluation.operating import LEFT_OUT
from regraft.model.model import Model, features
from regraft.progress import Progress
from regraft.recipe import Recipe
from regraft.transfer.probe import Head
from regraft.verbs.measuring import short
from regraft.verbs.prepare import Prepared
from regraft.verbs.rungs import Learning, calibrated, climb, positions, rows
from regraft.verbs.told import judged_on, network_told

ENOUGH = 0.95  # of the examples that a model learned from: with fewer its head would lose

HEADS: Mapping[str, str] = MappingProxyType(
    {
        "refit": "the head is solved anew on the new features, with its temperature and sets",
        "keep": "the head stays as it was",
    }
)


@dataclass(frozen=True)
class Refitted:
    """The model with other networks, and what became of its head, in words."""

    model: Model
    told: str


def with_networks(
    model: Model,
    extractors: tuple[Extractor, ...],
    taught: Dataset,
    head: str | None = None,
    *,
    seed: int,
    store: Store | None,
    progress: Progress,
) -> Refitted:
    """The model with other networks in place of its own, block by block of the same widths.

    taught  examples that it learned from
    head    a key of HEADS; None: refit where that can be done

    A head is solved anew only where it was solved and not trained, and where its examples are here:
    then leave-one-out is honest. Raises UsageError where `refit` was asked for and cannot be done.
    """
    changed = replace(model, extractors=extractors, record=_record(model, extractors))
    reason = _why_not(model, taught, progress)
    if head == "keep" or (head is None and reason):
        return Refitted(changed, HEADS["keep"] + (f": {reason}" if head is None else ""))
    if reason:
        raise UsageError(f"head: cannot be solved anew: {reason}")
    opened = store or Store()
    try:
        return Refitted(_refitted(changed, taught, seed, opened, progress), HEADS["refit"])
    finally:
        if store is None:
            opened.close()


def _record(model: Model, extractors: tuple[Extractor, ...]) -> dict[str, Any]:
    return {**model.record, "backbones": [network_told(one) for one in extractors]}


def _why_not(model: Model, taught: Dataset, progress: Progress) -> str:
    """What keeps a head from being solved anew; empty: nothing."""
    if model.judged is None or model.judged.how != LEFT_OUT:
        return "it was trained with the network, or is a part of what was"
    learned = len(model.record.get("learned", ()))
    if len(taught) < ENOUGH * learned or not learned:
        return f"of {learned} examples that it was solved on {len(taught)} are here"
    present = set(taught.table["label"])
    return "" if present == set(model.classes) else "a class has no example to learn from"


def _refitted(model: Model, taught: Dataset, seed: int, store: Store, progress: Progress) -> Model:
    """By the path of a fit: examples that are alike together, leave-one-out, calibration."""
    files = taught.table["path"].to_list()
    seen = features(model.extractors, files, model.modality, store=store, progress=progress)
    found = inspect(taught, seen.shas, seen.looks)
    source = taught.split_source if taught.split_source == "given" else "none"
    data = replace(found.dataset, classes=model.classes, split_source=source)
    clean: Pass = rows(seen, positions(taught, data))
    learning = Learning.of(Prepared(data, found.together))
    lasts = _lasts(model.head)
    rung = climb(model.extractors, clean, learning, seed, store, lasts=lasts)
    rung = replace(rung, head=_halved(rung.head))
    recipe = Recipe.from_dict(model.record["recipe"])
    made = calibrated(rung, data, learning, recipe.changed(at=None, positive=None))
    if (point := model.operating) is not None:
        made = made.at(point.asked, point.positive)
    left_out = {"accuracy": rung.judged.score, "n": len(rung.judged.labels)}
    learned = {"learned": [short(clean.shas[int(i)]) for i in learning.place]}
    own = {"leave_one_out": left_out, "judged_on": judged_on(rung), **learned, **_point(made)}
    return replace(made, record={**model.record, **own})


def _point(made: Model) -> dict[str, Any]:
    return {} if made.operating is None else {"operating_point": made.operating.to_dict()}


def _halved(head: Head) -> Head:
    """Landmarks in half precision: of a small model they are most of the bytes."""
    parts = tuple(replace(p, landmarks=p.landmarks.halved()) for p in head.kernels)
    return replace(head, kernels=parts)


def _lasts(head: Head) -> tuple[int, ...]:
    """Numbers of the blocks that are compared with landmarks."""
    begins = np.cumsum([0, *head.scaling.widths]).tolist()
    return tuple(begins.index(part.landmarks.first) for part in head.kernels)
