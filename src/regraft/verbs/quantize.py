"""quantize: Model → the same model with its networks in whole numbers of 8 bits.

    calibration examples ─▶ graph in 8 bits ─▶ head anew on its features ─▶ before and after

The new model is refused where it loses more than is allowed; nothing falls back to another engine.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from regraft.backbones.store import Store
from regraft.compression.quantization import (
    CALIBRATED_ON,
    METHODS,
    USUAL,
    method_row,
    refuse_graph,
)
from regraft.data.dataset import Dataset
from regraft.data.inline import contents
from regraft.errors import DataError, UsageError
from regraft.model.model import Model
from regraft.model.opening import opened
from regraft.progress import Progress, Quiet
from regraft.verbs.before_after import compared, kept
from regraft.verbs.learning_again import (
    ALWAYS,
    AUTO,
    FEWEST,
    LEARNS_FROM,
    NEVER,
    in_whole_numbers,
    learned_again,
    unfit,
)
from regraft.verbs.refitting import HEADS, Refitted, with_networks
from regraft.verbs.tasks import carried_out
from regraft.verbs.unseen import Division, divided_for, examples_of

MAX_DROP = 1.0  # points of accuracy that may be lost, if nobody says otherwise


def quantize(
    model: Any,
    data: Any = None,
    *,
    method: str | None = None,
    head: str | None = None,
    max_drop: float | None = MAX_DROP,
    calibration: int = CALIBRATED_ON,
    qat: str = AUTO,
    seed: int = 0,
    resamples: int = 1000,
    store: Store | None = None,
    progress: Progress | None = None,
    **columns: Any,
) -> Any:
    """A classifier whose networks compute in whole numbers of 8 bits: smaller and faster.

    model        a Model or its bundle
    data         examples: a Dataset or a source; None: those that the model was fitted on. It is
                 calibrated by what the model learned from and measured on the others
    method       static, dynamic or weights (see `compression.quantization`); None: what is fastest
                 for what the network reads
    head         refit: the closed-form head is solved anew on the new features; keep: it stays;
                 None: refit where the model has such a head and its examples are there
    max_drop     points of accuracy that may be lost, in hundredths; None: any
    calibration  examples that the ranges come from
    qat          auto: where more than 0.5 points are lost, the network learns again for some
                 minutes as if it computed in whole numbers (`compression.simulated`), and what is
                 better on examples held back is taken, with its own head, so that none may
                 be told; always: that in any case; never
    columns      of a manifest: label, text, path_column, root

    The comparison with the old model is in ``record["before_after"]``. Raises UsageError, DataError
    where nothing can be measured, MissingExtra where an engine or its library is not installed,
    RegraftError where too much is lost.
    """
    read = opened(model)
    made = carried_out("quantize", read.task)(
        read,
        data,
        columns,
        Asked(method, head, max_drop, calibration, qat, seed, resamples),
        store=store,
        progress=progress or Quiet(),
    )
    return made


@dataclass(frozen=True)
class Asked:
    """The settings of `quantize`."""

    method: str | None
    head: str | None
    max_drop: float | None
    calibration: int
    qat: str
    seed: int
    resamples: int


def quantize_classifier(
    model: Model,
    data: Any,
    columns: dict[str, Any],
    asked: Asked,
    *,
    store: Store | None,
    progress: Progress,
) -> Model:
    """`quantize` of a classifier."""
    _refuse(model, asked)
    methods = [asked.method or USUAL[one.spec.reads] for one in model.extractors]
    for name in methods:
        method_row(name)  # what is not installed is told before any work
    division = divided_for(model, examples_of(model, data, columns), progress)
    chosen, division = _calibration(division, asked)
    examples = [contents(file) for file in chosen]
    made = [
        in_whole_numbers(model, one, method, examples, progress)
        for one, method in zip(model.extractors, methods, strict=True)
    ]
    settings: dict[str, Any] = {"store": store, "progress": progress}
    new = with_networks(
        model, tuple(made), division.taught, asked.head, seed=asked.seed, **settings
    )
    told = _told(methods, len(examples), new)
    record = compared(model, new.model, division, "quantize", told, asked, settings)
    if _learns_again(model, methods, record, asked, progress):
        about = (model, new.model, division.taught, examples, asked.seed)
        again = learned_again(*about, insists=asked.qat == ALWAYS, **settings)
        told = f"{told}; {again.told}"
        record = compared(model, again.model, division, "quantize", told, asked, settings)
        new = Refitted(again.model, again.told)
    smaller: Model = kept(new.model, record)
    return smaller


def _learns_again(
    model: Model,
    methods: Sequence[str],
    record: dict[str, Any],
    asked: Asked,
    progress: Progress,
) -> bool:
    """Whether it should, which is said with the threshold, and can."""
    lost = 100 * record["lost"]["value"]
    if asked.qat == NEVER or (asked.qat == AUTO and lost <= LEARNS_FROM):
        return False
    if reason := unfit(model, methods, asked.head):
        progress.say(f"{lost:.1f} points lost, and it cannot learn again: {reason}")
        return False
    progress.say(f"{lost:.1f} points lost (from {LEARNS_FROM:g} on it learns again): training")
    return True


def _refuse(model: Model, asked: Asked) -> None:
    mistakes = []
    if not model.extractors:
        mistakes.append("model: this is an export; name the bundle that it came from")
    if asked.method is not None and asked.method not in METHODS:
        mistakes.append(
            f"method: {asked.method!r} is not known; choose one of {', '.join(METHODS)}"
        )
    if asked.head is not None and asked.head not in HEADS:
        mistakes.append(f"head: {asked.head!r} is not known; choose one of {', '.join(HEADS)}")
    if asked.qat not in (AUTO, ALWAYS, NEVER):
        mistakes.append(f"qat: expected {AUTO}, {ALWAYS} or {NEVER}, got {asked.qat!r}")
    if asked.calibration < FEWEST:
        mistakes.append(f"calibration: expected {FEWEST} examples or more, got {asked.calibration}")
    if asked.max_drop is not None and not 0 <= asked.max_drop <= 100:
        mistakes.append(f"max_drop: expected points from 0 to 100, got {asked.max_drop}")
    if mistakes:
        raise UsageError(*mistakes)
    for one in model.extractors:
        refuse_graph(one.row)
    methods = [asked.method or USUAL[one.spec.reads] for one in model.extractors]
    if asked.qat == ALWAYS and (reason := unfit(model, methods, asked.head)):
        raise UsageError(f"qat: it cannot learn again: {reason}")


def _calibration(division: Division, asked: Asked) -> tuple[list[str], Division]:
    """Files that ranges come from, and the division without them.

    They are some that the model learned from. Where none of these are here, others are taken, half
    of them at most, and nothing is measured on those.
    """
    rng = np.random.default_rng([asked.seed, 41])
    if len(division.taught) >= FEWEST:
        order = rng.permutation(len(division.taught))[: asked.calibration]
        return _files(division.taught, order), division
    unseen = division.unseen
    order = rng.permutation(len(unseen))
    count = min(asked.calibration, len(unseen) // 2)
    if count < FEWEST:
        raise DataError(
            f"calibration: {FEWEST} examples are needed beside those that are measured on, and "
            f"{len(unseen)} are here; give more, or those that the model learned from"
        )
    rest = unseen.with_table(unseen.table[np.sort(order[count:])])
    which = f"{division.which}, without {count} that it was calibrated on"
    return _files(unseen, order[:count]), division._replace(unseen=rest, which=which)


def _files(data: Dataset, order: Any) -> list[str]:
    return [data.table["path"][int(i)] for i in np.sort(order)]


def _told(methods: Sequence[str], examples: int, new: Refitted) -> str:
    calibrated = any(METHODS[name].calibrated for name in methods)
    on = f", calibrated on {examples} examples" if calibrated else ""
    return f"8 bits, {' and '.join(dict.fromkeys(methods))}{on}; {new.told}"
