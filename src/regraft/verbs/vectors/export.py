"""What `export` needs of models of tags and of numbers."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from regraft.data.dataset import Dataset
from regraft.export.wanted import Wanted
from regraft.model.encoded import MEMORY
from regraft.model.tagged import told_tags, told_values
from regraft.model.vectors import VectorModel
from regraft.verbs.deployed import (
    LIMIT,
    Deployment,
    Own,
    Told,
    apart,
    features_in,
    finite,
    inputs_of,
    networks_of,
    stage_of,
    wanted_of,
)

LEAST = 0.1  # share of a number's size that differences are measured by, where no interval is known


def deployment_of_tags() -> Deployment:
    """Their differences are those of probabilities."""
    return _deployment("Tags", told_tags, lambda model: np.ones(1), _same_tags, _f1, "f1_micro")


def deployment_of_numbers() -> Deployment:
    """Their differences are measured by their intervals, which tell what matters."""
    return _deployment("Numbers", told_values, _widths, lambda *_: True, _mean_error, "mae")


def _deployment(
    module: str, told: Any, scale: Any, same: Any, figure: Any, metric: str
) -> Deployment:
    def made(model: VectorModel) -> Any:
        from regraft.export import graph

        views = [len(one.spec.views) for one in model.extractors]
        networks = [one.network for one in model.extractors]
        parts = (networks, views, model.head.tensors(), model.novelty.tensors())
        return getattr(graph, module)(*parts).eval()

    def wanted(model: VectorModel, batch: int) -> Wanted:
        found = made(model)
        return wanted_of(model.extractors, batch, found, found.OUTPUTS)

    def own(model: VectorModel, data: bytes) -> Own:
        answers = model.answer(features_in(model, data))
        return Own([[answers.values]], told(model, MEMORY, answers, 0, 1, None).to_dict())

    def stage(model: VectorModel, data: bytes) -> str:
        by = scale(model)
        values = lambda features: model.answer(features).values / by  # noqa: E731
        return stage_of(model, data, _Scaled(made(model), by), values, LIMIT)

    return Deployment(
        wanted=wanted,
        networks=networks_of,
        told=_told,
        own=own,
        inputs=inputs_of,
        apart=lambda model, ours, theirs: apart(ours, theirs, [scale(model)]),
        same=same,
        stage=stage,
        figure=figure,
        metric=metric,
        columns=_columns,
    )


class _Scaled:
    """A module whose values are told in their scale."""

    def __init__(self, module: Any, by: npt.NDArray[np.float64]) -> None:
        self.features, self.scores = module.features, module.scores
        self._told, self._by = module.told, by

    def told(self, scores: Any) -> Any:
        import torch

        return (self._told(scores)[0] / torch.tensor(self._by),)


def _told(model: VectorModel) -> dict[str, Any]:
    return {
        "classes": list(model.classes),
        "cuts": [finite(cut) for cut in model.cuts],
        "novelty": finite(model.novelty.threshold),
    }


def _columns(model: VectorModel) -> dict[str, Any]:
    recipe = model.record.get("recipe", {})
    known = {name: recipe[name] for name in ("labels", "separator") if recipe.get(name)}
    return {"task": model.task, **known}


def _widths(model: VectorModel) -> npt.NDArray[np.float64]:
    """Half the interval of each number; it may be no smaller than single precision resolves."""
    centre = np.abs(model.head.scores(_mean_features(model))[0])
    known = np.where(np.isfinite(model.cuts), model.cuts, 0.0)
    scale: npt.NDArray[np.float64] = np.maximum(known, LEAST * centre)
    return np.where(scale > 0, scale, 1.0)


def _mean_features(model: VectorModel) -> npt.NDArray[np.float64]:
    """(1, d) of what the model learned from: what its head subtracts."""
    return np.asarray(model.head.tensors()["shift"], np.float64)[None]


def _same_tags(model: VectorModel, one: Told, other: Told) -> bool:
    return {name for name, _ in one["tags"]} == {name for name, _ in other["tags"]}


def _f1(model: VectorModel, data: Dataset, answers: Sequence[Told]) -> float | None:
    known = [i for i, label in enumerate(data.table["label"].to_list()) if label is not None]
    if not known or not set(data.classes) <= set(model.classes):
        return None
    there = data.matrix[known] > 0
    said = [{name for name, _ in answers[i]["tags"]} for i in known]
    found = np.array([[name in one for name in data.classes] for one in said])
    right, all_of = float((there & found).sum()), float(there.sum() + found.sum())
    return 2 * right / all_of if all_of else None


def _mean_error(model: VectorModel, data: Dataset, answers: Sequence[Told]) -> float | None:
    known = [i for i, label in enumerate(data.table["label"].to_list()) if label is not None]
    if not known or set(data.classes) != set(model.classes):
        return None
    said = [{one["name"]: one["value"] for one in answers[i]["values"]} for i in known]
    found = np.array([[one[name] for name in data.classes] for one in said], float)
    return float(np.nanmean(np.abs(found - data.matrix[known])))
