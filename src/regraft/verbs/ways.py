"""What the verbs on frozen features do by themselves for each task; chosen once, for a dataset."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from types import MappingProxyType
from typing import Any

import numpy as np

from regraft.backbones.features import Pass
from regraft.data.dataset import Dataset
from regraft.data.findings import Finding
from regraft.evaluation.intervals import bootstrap
from regraft.model.model import Model
from regraft.recipe import Recipe
from regraft.transfer.baselines import Baseline, majority
from regraft.transfer.targets import CLASSES, Target
from regraft.verbs.evaluate import measure
from regraft.verbs.looked import looked, looks_anyway
from regraft.verbs.rungs import calibrated
from regraft.verbs.shown import label_suspects

Interval = dict[str, float | None]


@dataclass(frozen=True)
class Way:
    """One task.

    target    what is right for an example, and what the ladder asks of it
    modelled  (rung, dataset, learning, recipe) → the model
    measure   (model, examples, the pass over them, **settings) → the record of a report
    looked    (model, examples, pass, whether something was trained) → parts of that record that
              show where it looked
    suspects  (left-out scores, truth, names, classes) → labels that are doubted
    nothing   (truth of what is learned from, classes, n) → what knows nothing of an example
    figure    (truth, scores, recipe) → the score of a rung with its interval
    answered  (model, features, scores) → scores as the model answers them
    """

    target: Target
    modelled: Callable[..., Any]
    measure: Callable[..., dict[str, Any]]
    looked: Callable[[Any, Dataset, Pass, bool], dict[str, Any]]
    suspects: Callable[[Any, Any, Sequence[str], Sequence[str]], Iterator[Finding]]
    nothing: Callable[[Any, Sequence[str], int], Baseline]
    figure: Callable[[Any, Any, Recipe], Interval]
    answered: Callable[[Any, Any, Any], Any]


def _looked(model: Model, examples: Dataset, seen: Pass, trained: bool) -> dict[str, Any]:
    """Where something was trained the network is in memory."""
    return {"looked": looked(model, examples, seen)} if trained or looks_anyway(model) else {}


def _always(labels: Any, classes: Sequence[str], n: int) -> Baseline:
    always = majority(labels, len(classes), n)
    return replace(always, name=f"always saying “{classes[always.scores[0].argmax()]}”")


def _accuracy(truth: Any, scores: Any, recipe: Recipe) -> Interval:
    sure = np.eye(scores.shape[1])[scores.argmax(1)]
    asked: dict[str, Any] = {"resamples": recipe.resamples, "seed": recipe.seed}
    return bootstrap(truth, sure, metrics=["accuracy"], **asked)["accuracy"].to_dict()


def _sure(model: Model, features: Any, scores: Any) -> Any:
    """At the model's operating point."""
    return np.eye(len(model.classes))[model.answer(features).decided]


OF_CLASSES = Way(
    target=CLASSES,
    modelled=calibrated,
    measure=measure,
    looked=_looked,
    suspects=label_suspects,
    nothing=_always,
    figure=_accuracy,
    answered=_sure,
)

# Task → module and name of its row; imported when it is asked for.
WAYS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "classification": ("regraft.verbs.ways", "OF_CLASSES"),
        "tags": ("regraft.verbs.vectors.tags", "OF_TAGS"),
        "regression": ("regraft.verbs.vectors.numbers", "OF_NUMBERS"),
    }
)


def way_for(task: str) -> Way:
    """The row of a task."""
    module, name = WAYS[task]
    found: Way = getattr(import_module(module), name)
    return found
