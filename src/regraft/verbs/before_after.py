"""Two models on the same examples: the record that every verb Model → Model shares.

    record = before_and_after(model, smaller, examples, verb="quantize", told="…", max_drop=1.0)
    new = kept(smaller, record)          # refused where too much is lost

What the record holds, and the table of it: `evaluation.before_after`.
"""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from regraft.backbones.features import Pass
from regraft.backbones.store import Store
from regraft.data.dataset import Dataset
from regraft.data.inline import contents
from regraft.errors import DataError, UsageError
from regraft.evaluation.before_after import (
    ToldBeforeAfter,
    ToldInterval,
    ToldStanding,
    lost,
    refuse_drop,
)
from regraft.evaluation.intervals import Interval, bootstrap
from regraft.evaluation.metrics import METRICS
from regraft.model.model import Answers, Model
from regraft.progress import Progress, Quiet
from regraft.verbs.latency import latencies
from regraft.verbs.measuring import groups_of
from regraft.verbs.tasks import carried_out
from regraft.verbs.unseen import Division

RESAMPLES = 1000
TIMED = 8  # examples that latency is measured on, in turn
METRIC = "accuracy"


class Measured(Protocol):
    """What verbs that make a model smaller are asked of its measurement."""

    @property
    def max_drop(self) -> float | None: ...
    @property
    def resamples(self) -> int: ...
    @property
    def seed(self) -> int: ...


def compared(
    model: Model,
    smaller: Model,
    division: Division,
    verb: str,
    told: str,
    asked: Measured,
    settings: Mapping[str, Any],
) -> dict[str, Any]:
    """`before_and_after` on the examples of a division that taught neither model.

    settings  store and progress
    """
    return before_and_after(
        model,
        smaller,
        division.unseen,
        verb=verb,
        told=told,
        which=division.which,
        max_drop=asked.max_drop,
        resamples=asked.resamples,
        seed=asked.seed,
        **settings,
    )


def before_and_after(
    before: Any,
    after: Any,
    examples: Dataset,
    *,
    verb: str,
    told: str,
    which: str = "that neither learned from",
    max_drop: float | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
    timed: bool = True,
    store: Store | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """The record of two models on labelled examples; see `ToldBeforeAfter`.

    examples  that taught neither: their classes must be the models'
    verb      prune, quantize …; `told` says in a line what was done
    which     what the examples are, after their number
    max_drop  points of the metric that may be lost, in hundredths: 0.5 is 0.5 points; None: any
    timed     measure latency too, the two models in turn: some seconds

    Raises UsageError where the models are for different tasks or classes, DataError where nothing
    can be measured. Nothing is refused here: see `kept`.
    """
    if mistakes := _misfits(before, after, max_drop):
        raise UsageError(*mistakes)
    record = carried_out("before and after", before.task)(
        before,
        after,
        examples,
        resamples=resamples,
        seed=seed,
        timed=timed,
        store=store,
        progress=progress or Quiet(),
    )
    allowed = None if max_drop is None else max_drop / 100
    about: dict[str, Any] = {"verb": verb, "told": told, "examples": which, "max_drop": allowed}
    return asdict(ToldBeforeAfter(**record, **about))


def kept(model: Any, record: dict[str, Any]) -> Any:
    """The new model with the record in its own. Raises RegraftError where too much is lost."""
    refuse_drop(record)
    return replace(model, record={**model.record, "before_after": record})


def _misfits(before: Any, after: Any, max_drop: float | None) -> list[str]:
    mistakes = []
    if (before.task, before.classes) != (after.task, after.classes):
        mistakes.append("model: the two models are for different tasks or classes")
    if max_drop is not None and not 0 <= max_drop <= 100:
        mistakes.append(f"max_drop: expected points from 0 to 100, got {max_drop}")
    return mistakes


def before_and_after_of_classes(
    before: Model,
    after: Model,
    examples: Dataset,
    *,
    resamples: int,
    seed: int,
    timed: bool,
    store: Store | None,
    progress: Progress,
) -> dict[str, Any]:
    """`before_and_after` of classifiers."""
    asked: dict[str, Any] = {"store": store, "progress": progress}
    files = examples.table["path"].to_list()
    passes = [model.features(files, **asked) for model in (before, after)]
    rows = _readable(passes, len(files))
    labels, groups = examples.targets[rows], groups_of(examples, rows)
    answers = [m.answer(_rows(p, rows)) for m, p in zip((before, after), passes, strict=True)]
    sides = [_Side(m, a) for m, a in zip((before, after), answers, strict=True)]
    settings: dict[str, Any] = {"resamples": resamples, "seed": seed, "groups": groups}
    some = [contents(files[int(i)]) for i in rows[:TIMED]] if timed else []
    with progress.stage("latency of one answer", len(some)) as advance:
        seconds = latencies([before, after], some)
        advance(len(some))
    right = [side.answers.decided == labels for side in sides]
    pairs = zip(sides, seconds, strict=True)
    standings = [side.standing(labels, settings, each) for side, each in pairs]
    return {
        "metric": METRIC,
        "title": METRICS[METRIC].title,
        "n": len(rows),
        "before": standings[0],
        "after": standings[1],
        "lost": _told(lost(*right, **settings)),
    }


@dataclass(frozen=True)
class _Side:
    """One model and what it says of the examples."""

    model: Model
    answers: Answers

    def standing(self, labels: Any, settings: dict[str, Any], seconds: Any) -> ToldStanding:
        """Its figures."""
        found = bootstrap(
            labels,
            self.answers.probabilities,
            metrics=[METRIC, "ece"],
            decided=self.answers.decided,
            **settings,
        )
        return ToldStanding(
            score=_told(found[METRIC]),
            ece=_told(found["ece"]),
            bytes=bundle_bytes(self.model),
            macs=macs_of(self.model),
            latency=tuple(seconds),
            networks=tuple(
                f"{one['name']}, {one['reads']}, by {one['engine']}" for one in self.model.networks
            ),
        )


def bundle_bytes(model: Any) -> int:
    """Size of the file that `save` writes."""
    with tempfile.TemporaryDirectory(prefix="regraft-") as folder:
        path: Path = model.save(Path(folder) / "model.regraft")
        return path.stat().st_size


def macs_of(model: Model) -> int:
    """Multiply-adds of the networks and of the head, for one example."""
    arrays = model.head.tensors().items()
    head = sum(a.size for name, a in arrays if name.endswith(("coefficients", "points")))
    return head + sum(one.macs for one in model.extractors)


def _readable(passes: Sequence[Pass], n: int) -> npt.NDArray[np.int64]:
    bad = {i for seen in passes for i in seen.verdicts}
    if len(bad) == n:
        raise DataError("there is nothing to measure on: no file can be read")
    return np.array([i for i in range(n) if i not in bad], np.int64)


def _rows(seen: Pass, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    assert seen.features is not None, "models have networks"
    return seen.features[rows]


def _told(found: Interval) -> ToldInterval:
    return ToldInterval(**found.to_dict())
