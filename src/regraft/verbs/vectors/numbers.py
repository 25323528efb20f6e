"""Numbers on frozen features: the model of a rung, its figures, and the record of a report.

Intervals are those of split conformal prediction (Lei et al. 2018, 1604.04173) on residuals of
examples that did not teach the head: each example left out, or those held back.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from regraft.backbones.features import Pass
from regraft.data.dataset import Dataset
from regraft.data.findings import Finding
from regraft.evaluation.value_metrics import METRICS as FIGURES
from regraft.evaluation.value_metrics import ValueExamples, ValueSums, bootstrap
from regraft.evaluation.vectors import told, told_columns
from regraft.model.vectors import VectorModel
from regraft.recipe import Recipe
from regraft.transfer.baselines import Baseline, mean
from regraft.transfer.targets import VALUES, units_of
from regraft.verbs.rungs import Learning, Rung
from regraft.verbs.shown import SUSPECT
from regraft.verbs.vectors.measured import (
    answered,
    around,
    as_they_are,
    mean_figure,
    novelty_of,
    nowhere,
)
from regraft.verbs.vectors.shown import worst_numbers
from regraft.verbs.ways import Way

FAR = 5.0  # times the median error of the others: a number that is so far off is doubted
MOST_DOUBTED = 0.02  # of the examples
DRAWN = 2000  # points of a chart


def modelled(rung: Rung, data: Dataset, learning: Learning, recipe: Recipe) -> VectorModel:
    """The model of a rung, in the units of the numbers, with conformal intervals."""
    units = units_of(data.learning)
    residuals = np.abs(rung.judged.scores - rung.judged.labels) * units.spread
    return VectorModel(
        classes=data.classes,
        extractors=rung.extractors,
        head=rung.head.times(units.spread, units.mean),
        cuts=half_widths(residuals, recipe.coverage),
        novelty=novelty_of(rung, learning, recipe),
        record={"coverage": recipe.coverage},
        modality=data.modality,
        task=data.task,
    )


def half_widths(residuals: np.ndarray, coverage: float) -> np.ndarray:
    """(m, k) absolute residuals → (k,) the ceil((m + 1) coverage)-th smallest of each column.

    Infinite where there are too few for the coverage.
    """
    rank = math.ceil(round((len(residuals) + 1) * coverage, 9))
    if rank > len(residuals):
        return np.full(residuals.shape[1], np.inf)
    return np.asarray(np.sort(residuals, 0)[rank - 1])


def measure(
    model: VectorModel,
    examples: Dataset,
    seen: Pass,
    *,
    resamples: int = 1000,
    seed: int = 0,
    positive: str | None = None,
) -> dict[str, Any]:
    """The report's record of a model of numbers on labelled examples whose features are there."""
    found = answered(model, examples, seen)
    truth, said = found.truth, found.answers.values
    asked: dict[str, Any] = {"resamples": resamples, "seed": seed, "groups": found.groups}
    figures = bootstrap(truth, said, **asked)
    return {
        **around(model, examples, seen, found),
        "metrics": told(FIGURES, figures.whole),
        "per_number": _per_number(model, truth, said, told_columns(figures.columns)),
        "numbers": _points(model, truth, said),
        "worst_numbers": worst_numbers(model, found.files, found.paths, truth, said),
    }


def _per_number(
    model: VectorModel, truth: np.ndarray, said: np.ndarray, figures: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    """A row for each number, with the share that its interval holds."""
    inside = (np.abs(said - truth) <= model.cuts).mean(0)
    target = model.record.get("coverage")
    return [
        {
            "name": name,
            "mean": float(truth[:, k].mean()),
            "spread": float(truth[:, k].std()),
            "half_width": float(model.cuts[k]) if np.isfinite(model.cuts[k]) else None,
            "coverage": float(inside[k]),
            "target": target,
            **figures[k],
        }
        for k, name in enumerate(model.classes)
    ]


def _points(model: VectorModel, truth: np.ndarray, said: np.ndarray) -> list[dict[str, Any]]:
    """What was answered against what is right, for a chart."""
    return [
        {
            "name": name,
            "points": np.stack([truth[:DRAWN, k], said[:DRAWN, k]], 1).tolist(),
        }
        for k, name in enumerate(model.classes)
    ]


def suspects(
    left_out: Any, truth: Any, names: Sequence[str], classes: Sequence[str]
) -> Iterator[Finding]:
    """Numbers far from what the features of all other examples suggest, the farthest first."""
    far = np.abs(left_out - truth)
    times = far / np.maximum(np.median(far, 0), 1e-12)
    order = np.argsort(-times.max(1), kind="stable")[: int(MOST_DOUBTED * len(times)) + 1]
    for i in order:
        k = int(times[i].argmax())
        if times[i, k] < FAR:
            return
        reason = (
            f"{classes[k]!r} is {times[i, k]:.0f} times as far from what the other examples "
            "suggest as is usual: look at it"
        )
        yield Finding(SUSPECT, (names[i],), reason, score=float(1 - FAR / (2 * times[i, k])))


def nothing(truth: Any, classes: Sequence[str], n: int) -> Baseline:
    """The mean."""
    return mean(("always the mean", "the mean of the numbers learned from"), truth, n)


def figure(truth: Any, scores: Any, recipe: Recipe) -> dict[str, float | None]:
    """R² with its interval."""
    examples: Any = ValueExamples(truth, np.asarray(scores, np.float64))
    return mean_figure(examples, lambda some, weights: ValueSums(some, weights).explained, recipe)


OF_NUMBERS = Way(
    target=VALUES,
    modelled=modelled,
    measure=measure,
    looked=nowhere,
    suspects=suspects,
    nothing=nothing,
    figure=figure,
    answered=as_they_are,
)
