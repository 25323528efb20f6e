"""Tags on frozen features: the model of a rung, its figures, and the record of a report."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from regraft.backbones.features import Pass
from regraft.data.dataset import Dataset
from regraft.data.findings import Finding
from regraft.evaluation.operating import MOST_JUDGED
from regraft.evaluation.platt import sigmoid
from regraft.evaluation.tag_metrics import METRICS as FIGURES
from regraft.evaluation.tag_metrics import TagExamples, TagSums, bootstrap
from regraft.evaluation.tag_thresholds import thresholds
from regraft.evaluation.vectors import told, told_columns
from regraft.model.vectors import JudgedTags, VectorModel
from regraft.recipe import Recipe
from regraft.transfer.baselines import Baseline, mean
from regraft.transfer.targets import TAGS
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
from regraft.verbs.vectors.shown import worst_tags
from regraft.verbs.ways import Way

DOUBTED = 0.95  # a tag is doubted where the probability of the contrary is at least that
MOST_DOUBTED = 0.02  # of all tags of all examples
PAIRS = 20  # tags that are shown beside one another, and pairs that are confused


def modelled(rung: Rung, data: Dataset, learning: Learning, recipe: Recipe) -> VectorModel:
    """The model of a rung, with thresholds chosen on its honest scores."""
    judged = rung.judged
    p, truth = sigmoid(judged.scores), judged.labels.astype(np.int64)
    found = thresholds(p, truth, data.classes, judged.how, recipe.at)
    kept = JudgedTags(judged.how, p.astype(np.float32), truth)
    return VectorModel(
        classes=data.classes,
        extractors=rung.extractors,
        head=rung.head,
        cuts=found.cuts,
        novelty=novelty_of(rung, learning, recipe),
        record={"thresholds": found.points},
        modality=data.modality,
        task=data.task,
        judged=kept if p.size <= MOST_JUDGED else None,
    )


def measure(
    model: VectorModel,
    examples: Dataset,
    seen: Pass,
    *,
    resamples: int = 1000,
    seed: int = 0,
    positive: str | None = None,
) -> dict[str, Any]:
    """The report's record of a model of tags on labelled examples whose features are there."""
    found = answered(model, examples, seen)
    p, truth = found.answers.values, found.truth > 0
    said = model.decided(p)
    asked: dict[str, Any] = {"resamples": resamples, "seed": seed, "groups": found.groups}
    figures = bootstrap(truth, p, said, **asked)
    return {
        **around(model, examples, seen, found),
        "metrics": told(FIGURES, figures.whole),
        "per_tag": _per_tag(model, truth, said, told_columns(figures.columns)),
        "beside": _beside(model, truth, said),
        "worst_tags": worst_tags(model, found.files, found.paths, truth, p, said),
    }


def _per_tag(
    model: VectorModel, truth: np.ndarray, said: np.ndarray, figures: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    rows = zip(model.classes, truth.T, said.T, model.cuts, figures, strict=True)
    return [
        {
            "tag": name,
            "support": int(own.sum()),
            "answered": int(answers.sum()),
            "threshold": float(cut),
            **row,
        }
        for name, own, answers, cut, row in rows
    ]


def _beside(model: VectorModel, truth: np.ndarray, said: np.ndarray) -> dict[str, Any]:
    """Which tags occur together, and which is said where another one is missed."""
    counts = truth.sum(0)
    most = np.sort(np.argsort(-counts, kind="stable")[:PAIRS])
    own = truth[:, most].astype(np.int64)
    missed, wrong = (truth & ~said).astype(np.int64), (said & ~truth).astype(np.int64)
    confused = missed.T @ wrong
    order = np.argsort(-confused, axis=None, kind="stable")[:PAIRS]
    pairs = [np.unravel_index(i, confused.shape) for i in order]
    return {
        "tags": [model.classes[k] for k in most],
        "together": (own.T @ own).tolist(),
        "none": int((truth.sum(1) == 0).sum()),
        "confused": [
            {"missed": model.classes[a], "said": model.classes[b], "count": int(confused[a, b])}
            for a, b in pairs
            if confused[a, b]
        ],
    }


def suspects(
    left_out: Any, truth: Any, names: Sequence[str], classes: Sequence[str]
) -> Iterator[Finding]:
    """Tags that the features of all other examples speak against, the most doubtful first."""
    p = sigmoid(left_out)
    contrary = np.where(truth > 0, 1 - p, p)
    order = np.argsort(-contrary, axis=None, kind="stable")[: int(MOST_DOUBTED * contrary.size) + 1]
    for i, k in (np.unravel_index(place, contrary.shape) for place in order):
        if contrary[i, k] < DOUBTED:
            return
        there = "has the tag" if truth[i, k] > 0 else "lacks the tag"
        reason = f"{there} {classes[k]!r}, but the other examples suggest otherwise: look at it"
        yield Finding(SUSPECT, (names[i],), reason, score=float(contrary[i, k]))


def nothing(truth: Any, classes: Sequence[str], n: int) -> Baseline:
    """How frequent each tag is."""
    return mean(("label frequencies", "for each tag how frequent it is"), truth, n)


def figure(truth: Any, scores: Any, recipe: Recipe) -> dict[str, float | None]:
    """Mean average precision with its interval."""
    examples: Any = TagExamples(truth > 0, np.asarray(scores, np.float64), scores > 0)
    return mean_figure(examples, lambda some, weights: TagSums(some, weights).precisions, recipe)


OF_TAGS = Way(
    target=TAGS,
    modelled=modelled,
    measure=measure,
    looked=nowhere,
    suspects=suspects,
    nothing=nothing,
    figure=figure,
    answered=as_they_are,
)
