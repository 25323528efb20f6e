"""What is measured of tags and of numbers alike: which rows, and what stands around the figures."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from regraft import __version__
from regraft.backbones.features import Pass
from regraft.data.dataset import Dataset
from regraft.errors import DataError
from regraft.evaluation.intervals import resampled
from regraft.evaluation.operating import LEFT_OUT
from regraft.evaluation.vectors import mean_of
from regraft.model.vectors import VectorAnswers, VectorModel
from regraft.recipe import Recipe
from regraft.transfer.novelty import Novelty
from regraft.verbs.measuring import LIMITS, groups_of, notice_for, part_name, title_of
from regraft.verbs.rungs import Rung
from regraft.verbs.shown import unlike


@dataclass(frozen=True, eq=False)
class Answered:
    """Readable labelled examples with what a model says of them.

    truth    (n, k)
    answers  of the model
    files, paths  (n) of each
    groups   (n,) what belongs together; None: nothing does
    """

    truth: np.ndarray
    answers: VectorAnswers
    files: Sequence[str]
    paths: Sequence[str]
    groups: Any


def answered(model: VectorModel, examples: Dataset, seen: Pass) -> Answered:
    """Raises DataError where no file can be read."""
    readable = np.array([i not in seen.verdicts for i in range(len(examples))], bool)
    if not readable.any() or seen.features is None:
        raise DataError("there is nothing to measure on: no file can be read")
    rows = np.flatnonzero(readable)
    return Answered(
        truth=examples.matrix[readable],
        answers=model.answer(seen.features[readable]),
        files=[examples.table["id"][int(i)] for i in rows],
        paths=[examples.table["path"][int(i)] for i in rows],
        groups=groups_of(examples, rows),
    )


def around(model: VectorModel, examples: Dataset, seen: Pass, found: Answered) -> dict[str, Any]:
    """The parts of a report's record that are no figures."""
    name = part_name(examples)
    return {
        "title": title_of(model, examples),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "regraft": __version__,
        "task": model.task,
        "modality": model.modality,
        "classes": list(model.classes),
        "split": {**model.record.get("split", {}), "name": name, "n": len(found.truth)},
        "novelty": unlike(model.modality, found.answers.unlike, found.files, found.paths),
        "left_out": [
            {"file": examples.table["id"][i], "reason": v.reason} for i, v in seen.verdicts.items()
        ],
        "limits": list(LIMITS),
        **notice_for(model, seen),
    }


def novelty_of(rung: Rung, learning: Any, recipe: Recipe) -> Novelty:
    """From the learning examples; of a trained network from those held back, see `calibrated`."""
    usual = learning.place if rung.judged.how == LEFT_OUT else rung.judged.place
    return Novelty.fit(rung.head.even_scaling()(rung.features[usual]), seed=recipe.seed)


def nowhere(*of: Any) -> dict[str, Any]:
    """Where it looked is not shown for vectors."""
    return {}


def as_they_are(model: Any, features: Any, scores: Any) -> Any:
    """Scores as they are."""
    return scores


def mean_figure(
    examples: Any, sums: Callable[[Any, Any], Any], recipe: Recipe
) -> dict[str, float | None]:
    """A figure that is the mean over the columns of a vector, with its interval.

    sums  (examples, weights) → the figure of each column, for every resample
    """
    (found,) = resampled(
        examples,
        lambda s: mean_of(sums(s.examples, s.weights))[:, None],
        resamples=recipe.resamples,
        confidence=0.95,
        seed=recipe.seed,
        groups=None,
    )
    return found.to_dict()
