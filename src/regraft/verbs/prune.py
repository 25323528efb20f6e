"""prune: Model → the same classifier with fewer channels, taught by what it was.

    channels by importance ─▶ narrower network ─▶ learns again from the old one ─▶ head anew
    ─▶ a point of accuracy against latency for each target ─▶ the smallest that holds
    ─▶ before and after

Points are chosen by examples of the learning part that are held back; the two models are compared
on examples that taught neither.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from regraft.backbones.store import Store
from regraft.compression.pruning import (
    FLOOR,
    IMPORTANCES,
    Target,
    channels,
    pruned,
    refuse_unfit,
)
from regraft.compression.quantization import refuse_graph
from regraft.data.dataset import Dataset
from regraft.errors import DataError, UsageError
from regraft.model.model import Model
from regraft.model.opening import opened
from regraft.progress import Progress, Quiet
from regraft.verbs.before_after import compared, kept
from regraft.verbs.narrowing import Lost, Narrowed, Narrower
from regraft.verbs.refitting import with_networks
from regraft.verbs.tasks import carried_out
from regraft.verbs.unseen import divided_for, examples_of

MAX_DROP = 1.0  # points of accuracy that may be lost, if nobody says otherwise
TARGET = "macs=0.5"
IMPORTANCE = "taylor"
BUDGET = 600.0  # seconds of training, for all targets together
FEWEST = 30  # examples that points are chosen by


def prune(
    model: Any,
    data: Any = None,
    *,
    target: str | Sequence[str] = (),
    importance: str | None = None,
    floor: float | None = None,
    budget: float | None = None,
    sparsity: float | None = None,
    max_drop: float | None = MAX_DROP,
    seed: int = 0,
    resamples: int = 1000,
    store: Store | None = None,
    progress: Progress | None = None,
    **columns: Any,
) -> Any:
    """A classifier whose convolutional network has fewer channels, trained to answer as before.

    model       a Model or its bundle, with one network that has convolutions
    data        examples: a Dataset or a source; None: those that the model was fitted on
    target      macs, params, bytes or latency (measured here) as a share of what it takes now, such
                as ``macs=0.5``; of several the smallest network is taken that holds on held-back
                examples, and ``record["pruned"]`` has the curve of all; empty: macs=0.5
    importance  by what channels leave: taylor, l1 or bn-scale; None: taylor
    floor       share of the channels of each group of layers that stays; None: a quarter
    budget      seconds of training; None: 600
    sparsity    instead, for study: this share of single weights, the smallest, becomes zero in any
                network, without learning again. Nothing gets faster or smaller by it
    max_drop    points of accuracy that may be lost, in hundredths; None: any
    columns     of a manifest: label, text, path_column, root

    The comparison with the old model is in ``record["before_after"]``. Raises UsageError, DataError
    where there is too little to learn from, MissingExtra, BackboneError where a target cannot be
    reached, RegraftError where too much is lost.
    """
    read = opened(model)
    how = {"target": target, "importance": importance, "floor": floor, "budget": budget}
    asked = Asked.of(how, sparsity, max_drop=max_drop, seed=seed, resamples=resamples)
    settings: dict[str, Any] = {"store": store, "progress": progress or Quiet()}
    return carried_out("prune", read.task)(read, data, columns, asked, **settings)


@dataclass(frozen=True)
class Asked:
    """The settings of `prune`."""

    targets: tuple[str, ...]
    importance: str
    floor: float
    budget: float
    sparsity: float | None
    max_drop: float | None
    seed: int
    resamples: int

    @classmethod
    def of(cls, how: dict[str, Any], sparsity: float | None, **others: Any) -> Self:
        """Settings that were not made get their usual values.

        how  those of channels, which have no use beside `sparsity`; raises UsageError
        """
        made = {name: value for name, value in how.items() if value not in (None, (), [])}
        if sparsity is not None and made:
            raise UsageError(
                f"sparsity: zeros of single weights, while {', '.join(made)} is about channels; "
                "give one of the two"
            )
        target = made.get("target", TARGET)
        return cls(
            targets=(target,) if isinstance(target, str) else tuple(target),
            importance=made.get("importance", IMPORTANCE),
            floor=made.get("floor", FLOOR),
            budget=made.get("budget", BUDGET),
            sparsity=sparsity,
            **others,
        )


def prune_classifier(
    model: Model,
    data: Any,
    columns: dict[str, Any],
    asked: Asked,
    *,
    store: Store | None,
    progress: Progress,
) -> Model:
    """`prune` of a classifier."""
    settings: dict[str, Any] = {"store": store, "progress": progress}
    if asked.sparsity is not None:
        return _sparse(model, data, columns, asked, **settings)
    targets = _refuse(model, asked)
    division = divided_for(model, examples_of(model, data, columns), progress)
    kept_store = store or Store()
    try:
        points, narrower = _points(model, division.taught, targets, asked, kept_store, progress)
        chosen = _chosen(points, narrower.before, asked.max_drop)
        settings["store"] = kept_store
        told = f"{chosen.target} by {asked.importance}, {chosen.how}"
        record = compared(model, chosen.model, division, "prune", told, asked, settings)
    finally:
        if store is None:
            kept_store.close()
    smaller: Model = kept(_recorded(chosen, points, narrower.before, asked), record)
    return smaller


def _sparse(
    model: Model,
    data: Any,
    columns: dict[str, Any],
    asked: Asked,
    *,
    store: Store | None,
    progress: Progress,
) -> Model:
    """Single weights are zero, and the head is solved anew where that can be done."""
    from regraft.compression.sparsity import sparse

    share = asked.sparsity or 0.0
    _refuse_sparse(model, asked)
    division = divided_for(model, examples_of(model, data, columns), progress)
    made = [sparse(one, share) for one in model.extractors]
    settings: dict[str, Any] = {"store": store, "progress": progress}
    extractors = tuple(one.extractor for one in made)
    new = with_networks(model, extractors, division.taught, seed=asked.seed, **settings)
    words = f"the smallest {share:.0%} of the weights are zero, for study; {new.told}"
    record = compared(model, new.model, division, "prune", words, asked, settings)
    told = {"sparsity": share, "zeros": [one.zeros for one in made]}
    told["layers"] = {name: zeros for one in made for name, zeros in one.layers.items()}
    done: Model = kept(replace(new.model, record={**new.model.record, "pruned": told}), record)
    return done


def _refuse_sparse(model: Model, asked: Asked) -> None:
    mistakes = []
    if not 0 < (asked.sparsity or 0.0) < 1:
        mistakes.append(f"sparsity: expected a share between 0 and 1, got {asked.sparsity}")
    if not model.extractors:
        mistakes.append("model: this is an export; name the bundle that it came from")
    if asked.max_drop is not None and not 0 <= asked.max_drop <= 100:
        mistakes.append(f"max_drop: expected points from 0 to 100, got {asked.max_drop}")
    if mistakes:
        raise UsageError(*mistakes)
    for one in model.extractors:
        refuse_graph(one.row)


def _refuse(model: Model, asked: Asked) -> list[Target]:
    """The targets. Raises UsageError with all that cannot be obeyed."""
    mistakes, targets = [], []
    if len(model.extractors) != 1:
        several = "an export" if not model.extractors else "an ensemble of several networks"
        mistakes.append(f"model: this is {several}; give a bundle of one network")
    for text in asked.targets:
        try:
            targets.append(Target.of(text))
        except UsageError as error:
            mistakes += error.mistakes
    if asked.importance not in IMPORTANCES:
        known = ", ".join(IMPORTANCES)
        mistakes.append(f"importance: {asked.importance!r} is not known; choose one of {known}")
    if not 0 < asked.floor <= 1:
        mistakes.append(f"floor: expected a share above 0, at most 1, got {asked.floor}")
    if asked.max_drop is not None and not 0 <= asked.max_drop <= 100:
        mistakes.append(f"max_drop: expected points from 0 to 100, got {asked.max_drop}")
    if not asked.budget > 0:
        mistakes.append(f"budget: expected seconds above 0, got {asked.budget}")
    mistakes += [
        reason for one in model.extractors for reason in refuse_unfit(one, asked.importance)
    ]
    if mistakes or not targets:
        raise UsageError(*(mistakes or ["target: name one, such as macs=0.5"]))
    return targets


def _points(
    model: Model,
    taught: Dataset,
    targets: Sequence[Target],
    asked: Asked,
    store: Store,
    progress: Progress,
) -> tuple[list[Narrowed], Narrower]:
    narrower = Narrower.of(model, taught, asked.seed, store, progress)
    if len(narrower.held.labels) < FEWEST:
        raise DataError(
            f"examples: {len(narrower.held.labels)} of those that the model learned from would be "
            f"held back to choose by, and {FEWEST} are needed; give those that it was fitted on"
        )
    made = pruned(
        narrower.teacher(),
        narrower.one,
        targets,
        asked.importance,
        narrower.batches(),
        asked.floor,
    )
    until, points = time.monotonic() + asked.budget, []
    for left, (target, row) in zip(range(len(targets), 0, -1), made, strict=True):
        seconds = max(0.0, until - time.monotonic()) / left
        points.append(narrower.recovered(str(target), row, seconds))
    return points, narrower


def _chosen(points: Sequence[Narrowed], before: Lost, max_drop: float | None) -> Narrowed:
    """The smallest that holds on the examples held back, else the one that loses least."""
    allowed = np.inf if max_drop is None else max_drop / 100
    holding = [one for one in points if before.accuracy - one.held.accuracy <= allowed]
    return holding[-1] if holding else max(points, key=lambda one: one.held.accuracy)


def _recorded(chosen: Narrowed, points: Sequence[Narrowed], before: Lost, asked: Asked) -> Model:
    curve = [before.told("as it was"), *(one.held.told(one.target) for one in points)]
    told = {
        "target": chosen.target,
        "importance": asked.importance,
        "floor": asked.floor,
        "held_back": before.n,
        "curve": curve,
        "channels": channels(chosen.model.extractors[0]),
        "training": chosen.training,
    }
    return replace(chosen.model, record={**chosen.model.record, "pruned": told})
