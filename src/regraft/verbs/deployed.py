"""What `export` needs of a task, and how a classifier has it: networks and head as one graph."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from regraft.backbones.extractor import Extractor
from regraft.backbones.fronts import ANY
from regraft.backbones.readers import reader
from regraft.backbones.weights import row_file
from regraft.data.dataset import Dataset
from regraft.errors import Unreadable
from regraft.export.wanted import Wanted
from regraft.model.carried import told_of
from regraft.model.encoded import MEMORY, prepared_views
from regraft.model.model import Model, OnFeatures
from regraft.model.predict import told_prediction

Outputs = Sequence[Sequence[npt.NDArray[Any]]]  # of each call to the graph, those that are compared
Told = Mapping[str, Any]


class Own(NamedTuple):
    """What a model itself says of one example.

    outputs  what its graph would have to give
    answer   as plain data
    """

    outputs: Outputs
    answer: Told


class Network(NamedTuple):
    """What is told of a network, and its vocabulary, if it has one."""

    told: dict[str, Any]
    vocabulary: bytes | None = None


@dataclass(frozen=True)
class Deployment:
    """How models of a task are exported.

    wanted    (model, batch) → what is to be written
    networks  of a model
    told      what export.json says of it beside what it says of all, see `model.exported`
    own       (model, encoded example) → what it says; raises Unreadable
    inputs    (model, encoded example) → all that its graph is given, call by call
    apart     (model, outputs, others) → their largest difference, see `apart`
    same      (model, answer, other) → whether they are the same
    stage     (model, encoded example) → which stage drifts, where the inputs do not
    figure    (model, examples, answers) → a metric of labelled examples; None: there is none
    metric    its name
    columns   with which examples of the task are loaded, beside those of the recipe
    unfit     why a model of this task cannot be exported; empty where it can
    """

    wanted: Callable[[Any, int], Wanted]
    networks: Callable[[Any], list[Network]]
    told: Callable[[Any], dict[str, Any]]
    own: Callable[[Any, bytes], Own]
    inputs: Callable[[Any, bytes], list[npt.NDArray[Any]]]
    apart: Callable[[Any, Outputs, Outputs], float]
    same: Callable[[Any, Told, Told], bool]
    stage: Callable[[Any, bytes], str]
    figure: Callable[[Any, Dataset, Sequence[Told]], float | None]
    metric: str
    columns: Callable[[Any], dict[str, Any]]
    unfit: Callable[[Any], str] = lambda model: ""


def apart(ours: Outputs, theirs: Outputs, scales: Sequence[npt.NDArray[np.float64]]) -> float:
    """The largest difference, infinite where shapes differ or a number is none.

    scales  what a difference in each output is measured by, along its last axis
    """
    if len(ours) != len(theirs):
        return float("inf")
    worst = 0.0
    for one, other in zip(ours, theirs, strict=True):
        for a, b, scale in zip(one, other, scales, strict=False):
            if a.shape != b.shape or not np.isfinite(b).all():
                return float("inf")
            if a.size:
                worst = max(worst, float((np.abs(a - b) / scale).max()))
    return worst


def as_they_are(model: Any, ours: Outputs, theirs: Outputs) -> float:
    """The largest difference of first outputs whose numbers are shares."""
    return apart(ours, theirs, [np.ones(1)])


def finite(value: float) -> float | None:
    """For JSON, which has no infinity."""
    return float(value) if np.isfinite(value) else None


# --- models on frozen features -------------------------------------------------------------------


def wanted_of(
    extractors: Sequence[Extractor], batch: int, module: Any, outputs: Sequence[str]
) -> Wanted:
    """A module that has an input for each view of each network."""
    names, samples, varying = [], [], []
    for i, one in enumerate(extractors):
        axes = varying_axes(reader(one.spec).shape(one.spec), batch)
        for view in one.spec.views:
            names.append(f"network_{i}_{view.replace('-', '_')}")
            samples += wanted_samples(one.network, batch)
            varying.append(axes)
    return Wanted(module, samples, names, varying, outputs)


def wanted_samples(network: Any, batch: int) -> list[Any]:
    """An input of a network, for so many examples."""
    import torch

    return [torch.cat([network.sample] * max(1, batch))]


def varying_axes(shape: Sequence[int], batch: int) -> list[int]:
    """Of an input whose examples have this shape; the number of examples varies unless told."""
    return [*([] if batch else [0]), *(axis for axis, n in enumerate(shape, 1) if n == ANY)]


def networks_of(model: OnFeatures) -> list[Network]:
    """See `Deployment.networks`."""
    return [network_of(one) for one in model.extractors]


def network_of(one: Extractor) -> Network:
    """What is told of an extractor."""
    vocabulary = row_file(one.row, one.row.tokenizer).read_bytes() if one.row.tokenizer else None
    return Network(told_of(one), vocabulary)


def inputs_of(model: OnFeatures, data: bytes) -> list[npt.NDArray[Any]]:
    """See `Deployment.inputs`."""
    found: list[npt.NDArray[Any]] = []
    for one in model.extractors:
        (views,) = prepared_views(one.spec, model.modality, [data], {})
        found += [one.read(view)[None] for view in views]
    return found


def features_in(model: OnFeatures, data: bytes) -> npt.NDArray[np.float32]:
    """(1, d) features of an encoded example. Raises Unreadable."""
    features, errors = model.encoded([data])
    if errors:
        raise Unreadable(MEMORY, "unreadable", errors[0])
    return features


def stage_of(
    model: Any, data: bytes, module: Any, values: Callable[[Any], npt.NDArray[Any]], limit: float
) -> str:
    """Which of the stages drifts in PyTorch already: network, head; else the conversion.

    module  that is exported
    values  features (1, d) → what the model answers by, as `module` gives it first
    """
    import torch

    own = features_in(model, data)
    with torch.inference_mode():
        seen = module.features(*map(torch.tensor, inputs_of(model, data)))
        head = module.told(module.scores(torch.tensor(own)))[0].numpy()
    truth = values(own)
    if np.abs(values(seen.numpy()) - truth).max() > limit:
        return "network"
    return "head" if np.abs(head - truth).max() > limit else "conversion"


# --- classifiers ---------------------------------------------------------------------------------

LIMIT = 1e-4  # largest difference of what is answered, in its scale


def deployed(model: Model) -> Any:
    """The model as one PyTorch module."""
    from regraft.export.graph import Classes

    views = [len(one.spec.views) for one in model.extractors]
    networks = [one.network for one in model.extractors]
    head, novelty = model.head.tensors(), model.novelty.tensors()
    return Classes(networks, views, head, novelty, model.temperature).eval()


def _wanted(model: Model, batch: int) -> Wanted:
    module = deployed(model)
    return wanted_of(model.extractors, batch, module, module.OUTPUTS)


def _told(model: Model) -> dict[str, Any]:
    return {
        "classes": list(model.classes),
        "temperature": model.temperature,
        "threshold": finite(model.threshold),
        "novelty": finite(model.novelty.threshold),
        "operating": None if model.operating is None else model.operating.to_dict(),
    }


def _own(model: Model, data: bytes) -> Own:
    answers = model.answer(features_in(model, data))
    answer = told_prediction(model, MEMORY, answers, 0, 1).to_dict()
    return Own([[answers.probabilities]], answer)


def _stage(model: Model, data: bytes) -> str:
    values = lambda features: model.answer(features).probabilities  # noqa: E731
    return stage_of(model, data, deployed(model), values, LIMIT)


def _accuracy(model: Model, data: Dataset, answers: Sequence[Told]) -> float | None:
    pairs = zip(data.table["label"].to_list(), answers, strict=True)
    right = [label == one["label"] for label, one in pairs if label in model.classes]
    return float(np.mean(right)) if right else None


def deployment() -> Deployment:
    """Of classifiers."""
    return Deployment(
        wanted=_wanted,
        networks=networks_of,
        told=_told,
        own=_own,
        inputs=inputs_of,
        apart=as_they_are,
        same=lambda model, one, other: bool(one["label"] == other["label"]),
        stage=_stage,
        figure=_accuracy,
        metric="accuracy",
        columns=lambda model: {},
    )
