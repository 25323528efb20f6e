"""evaluate --risk: which answers may be taken so that at most a given share of these is wrong.

The threshold is chosen on what the model said of examples that did not teach it when it was fitted
(`Model.judged`), none of those measured here, which tell how the promise came out.
"""

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from regraft.backbones.features import Pass
from regraft.data.dataset import Dataset
from regraft.errors import DataError
from regraft.evaluation.intervals import bootstrap_share
from regraft.evaluation.selective import (
    CONFIDENCE,
    SHARES,
    Selection,
    halves,
    refuse_wrong_risk,
    risk_coverage,
    selection,
    taken,
)
from regraft.evaluation.weighted import Examples, IntArray
from regraft.model.model import Model
from regraft.progress import Progress
from regraft.verbs.measuring import groups_of
from regraft.verbs.rungs import features_of

RISK = 0.05  # of the answers that are given, if nobody says otherwise


class Divided(NamedTuple):
    """Answers by which a threshold is chosen, those that it is measured on with their groups, and
    what the former are, in words.
    """

    choosing: Examples
    measured: Examples
    groups: IntArray | None
    how: str


def abstention(
    model: Model,
    examples: Dataset,
    seen: Pass,
    *,
    risk: float = RISK,
    resamples: int = 1000,
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """The part ``abstention`` of a report's record; see `Report`.

    examples, seen  labelled examples and the pass over them
    risk            share of the answers given that may be wrong
    """
    refuse_wrong_risk(risk)
    readable = np.array([i for i in range(len(examples)) if i not in seen.verdicts], np.int64)
    if not len(readable):
        raise DataError("there is nothing to measure on: no file can be read")
    answers = model.answer(features_of(seen)[readable])
    labels, groups = examples.targets[readable], groups_of(examples, readable)
    whole = Examples.of(labels, answers.probabilities, decided=answers.decided)
    asked: dict[str, Any] = {"resamples": resamples, "seed": seed}
    parts = _divided(model, whole, groups, seed)
    of = parts.choosing
    promised, nearest = selection(of.correct, of.confidence, risk)
    told = {} if promised is None else taken(promised, parts.measured, parts.groups, asked)
    return {
        "risk": risk,
        "confidence": CONFIDENCE,
        "chosen_on": parts.how,
        "measured": len(parts.measured.labels),
        "selection": None if promised is None else promised.to_dict() | {"here": told},
        "nearest": nearest.to_dict(),
        "why": "" if promised else _why(nearest, risk),
        "n": len(labels),
        "wrong": bootstrap_share(~whole.correct, groups=groups, **asked).to_dict(),
        "curve": risk_coverage(whole, groups=groups, **asked),
    }


def _divided(model: Model, whole: Examples, groups: IntArray | None, seed: int) -> Divided:
    """By what the model was judged by; where it keeps nothing of that, half of what is here."""
    if (kept := model.judged) is not None:
        probabilities = np.asarray(kept.probabilities, np.float64)
        point = model.operating
        decided = None if point is None else point.decide(probabilities, model.classes)
        return Divided(
            Examples(kept.labels, probabilities, decided=decided), whole, groups, kept.how
        )
    first = halves(len(whole.labels), groups, seed)
    if first.all():
        raise DataError(
            "risk: this model keeps nothing of what it was judged by (no export does), so the "
            "threshold is chosen on half of the examples and measured on the others, and here is "
            "only one example, or one group; give more, or evaluate the bundle that fit wrote"
        )
    own = None if groups is None else groups[~first]
    return Divided(_some(whole, first), _some(whole, ~first), own, "half of those measured")


def _some(whole: Examples, which: Any) -> Examples:
    decided = None if whole.decided is None else whole.decided[which]
    labels, probabilities = whole.labels[which], whole.probabilities[which]
    return replace(whole, labels=labels, probabilities=probabilities, decided=decided)


def _why(nearest: Selection, risk: float) -> str:
    return (
        f"no share of the answers can be promised to be wrong at most {100 * risk:g} % of the "
        f"time: of {nearest.n} examples to choose by, the surest {nearest.coverage:.0%} come "
        f"nearest, with {nearest.errors} mistakes and so at most {nearest.bound:.1%} (each of "
        f"{len(SHARES)} shares is tested, so that this holds); allow more, or give more examples"
    )
