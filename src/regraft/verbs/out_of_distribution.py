"""evaluate --unlike: does the model tell other data from the kind that it knows?

Corrupted examples are not other data: they show what the model knows, only worse.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from regraft.backbones.features import Pass
from regraft.data.dataset import Dataset, listed
from regraft.data.sources import load
from regraft.errors import DataError, UsageError
from regraft.evaluation.intervals import bootstrap_share
from regraft.evaluation.out_of_distribution import told_apart
from regraft.evaluation.weighted import FloatArray
from regraft.model.model import Model
from regraft.progress import Progress
from regraft.verbs.measuring import groups_of, listed_as, short
from regraft.verbs.rungs import features_of
from regraft.verbs.shown import clip, thumbnail

SHOWN = 8  # of the other data, those that were taken for a class most surely
NOT_GIVEN = (
    "Not measured: no other data was given. Name a folder of it with --unlike FOLDER: of the same "
    "kind, and nothing of the model's classes. Worse examples of what the model knows (noise, "
    "blur) are no other data."
)


@dataclass(frozen=True)
class Score:
    """One row of SCORES.

    strange  (model, features (n, d)) → (n,) how strange each looks, None where the model tells none
    """

    told: str
    source: str
    strange: Callable[[Model, npt.NDArray[np.floating]], FloatArray | None]


def _unsure(model: Model, features: npt.NDArray[np.floating]) -> FloatArray:
    return np.asarray(-model.answer(features).probabilities.max(1))


def _energy(model: Model, features: npt.NDArray[np.floating]) -> FloatArray:
    from scipy.special import logsumexp

    return np.asarray(-logsumexp(model.answer(features).scores / model.temperature, axis=1))


def _novelty(model: Model, features: npt.NDArray[np.floating]) -> FloatArray | None:
    return model.strangeness(features)


SCORES: Mapping[str, Score] = MappingProxyType(
    {
        "probability": Score(
            "the highest probability is low",
            "Hendrycks and Gimpel 2017, arXiv 1610.02136",
            _unsure,
        ),
        "energy": Score(
            "the scores of all classes are low (log-sum-exp)",
            "Liu et al. 2020, arXiv 2010.03759",
            _energy,
        ),
        "novelty": Score(
            "the features are far from those learned from: Mahalanobis distance within their main "
            "directions, and the distance from these",
            "Lee et al. 2018, arXiv 1807.03888; Wang et al. 2022, arXiv 2203.10807",
            _novelty,
        ),
    }
)


def other_data(model: Model, source: Any) -> Dataset:
    """Examples that the model should tell from its own, with or without labels.

    Raises UsageError for another kind of data, and for examples of classes that the model knows.
    """
    found = source if isinstance(source, Dataset) else load(source, modality=listed_as(model))
    if not len(found):
        raise DataError(f"unlike: {source} holds no examples")
    if found.modality != model.modality:
        raise UsageError(f"unlike: is of the kind {found.modality}, not {model.modality}")
    known = found.table.filter(pl.col("label").is_in(list(model.classes)))
    if len(known):
        raise UsageError(
            f"unlike: {len(known)} of its examples are of classes that the model knows "
            f"({listed(sorted(set(known['label'])))}); leave them out"
        )
    return found


def not_measured(examples: Dataset, seen: Pass, **asked: Any) -> dict[str, Any]:
    """The part ``out_of_distribution`` where no other data was given."""
    return {"measured": False, "why": NOT_GIVEN}


def out_of_distribution(
    model: Model,
    others: Dataset,
    examples: Dataset,
    seen: Pass,
    *,
    resamples: int = 1000,
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """The part ``out_of_distribution`` of a report's record; see `Report`.

    others          of `other_data`
    examples, seen  labelled examples of the model's own kind, and the pass over them
    """
    own = np.array([i for i in range(len(examples)) if i not in seen.verdicts], np.int64)
    there = model.features(others.table["path"].to_list(), progress=progress)
    left_out = dict(_left_out(model, seen, others, there))
    strange = np.array([i for i in range(len(others)) if i not in left_out], np.int64)
    if not len(own) or not len(strange):
        raise DataError("unlike: there is nothing to compare: no file of it can be used")
    inside, outside = features_of(seen)[own], features_of(there)[strange]
    asked: dict[str, Any] = {"resamples": resamples, "seed": seed}
    groups = groups_of(examples, own)
    marked = model.answer(inside).unlike, model.answer(outside).unlike
    return {
        "measured": True,
        "name": others.root.name,
        "inside": len(own),
        "outside": len(strange),
        "scores": [*_scores(model, inside, outside, {**asked, "groups": groups})],
        "marked": {
            "outside": bootstrap_share(marked[1], **asked).to_dict(),
            "inside": bootstrap_share(marked[0], groups=groups, **asked).to_dict(),
        },
        "examples": [*_surest(model, others, strange, outside)],
        "left_out": [{"file": others.table["id"][i], "reason": r} for i, r in left_out.items()],
    }


def _left_out(model: Model, seen: Pass, others: Dataset, there: Pass) -> Iterator[tuple[int, str]]:
    """Which of the other data cannot count, and why."""
    measured, learned = set(seen.shas), set(model.record.get("learned", ()))
    for i, sha in enumerate(there.shas):
        if (verdict := there.verdicts.get(i)) is not None:
            yield i, verdict.reason
        elif sha in measured:
            yield i, "the same file is among the model's own examples"
        elif short(sha) in learned:
            yield i, "the model learned from it"


def _scores(model: Model, inside: Any, outside: Any, asked: Any) -> Iterator[dict[str, Any]]:
    for name, row in SCORES.items():
        own, others = row.strange(model, inside), row.strange(model, outside)
        if own is None or others is None:
            continue
        found = told_apart(own, others, **asked).to_dict()
        yield {"name": name, "told": row.told, "source": row.source, **found}


def _surest(model: Model, others: Dataset, places: Any, features: Any) -> Iterator[dict[str, Any]]:
    """Of the other data, those that were given a class most surely."""
    answers = model.answer(features)
    sure = answers.probabilities.max(1)
    for i in np.argsort(-sure, kind="stable")[:SHOWN]:
        path = others.table["path"][int(places[i])]
        yield {
            "file": others.table["id"][int(places[i])],
            "predicted": model.classes[int(answers.probabilities[i].argmax())],
            "probability": float(sure[i]),
            "unlike": bool(answers.unlike[i]),
            "thumbnail": thumbnail(model.modality, path),
            "clip": clip(model.modality, path),
        }
