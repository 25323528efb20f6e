"""What `export` needs of detectors."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from regraft.data.dataset import Dataset
from regraft.errors import Unreadable
from regraft.evaluation.detection import Detections, average_precision
from regraft.export.wanted import Wanted
from regraft.model.detecting import DetectionModel
from regraft.model.encoded import MEMORY
from regraft.model.found import found_in_turn
from regraft.verbs.deployed import (
    LIMIT,
    Deployment,
    Network,
    Outputs,
    Own,
    Told,
    apart,
    varying_axes,
)
from regraft.verbs.detection.agreement import set_difference
from regraft.verbs.detection.measure import renumbered

NEAR = 1e-3  # scores, and shares of the longer side, by which boxes of one answer may differ


def deployment() -> Deployment:
    """Differences are those of scores, and of corners as shares of the input's longer side.

    Where the order of the outputs means nothing, they are those of the boxes that are reported.
    """
    return Deployment(
        wanted=_wanted,
        networks=_networks,
        told=_told,
        own=_own,
        inputs=lambda model, data: [given for given, _ in _watched(model, data)[0]],
        apart=lambda model, *both: APART[_module(model).DECODING](model, *both),
        same=_same,
        stage=lambda model, data: "conversion",  # up to there the network is the model's own
        figure=_precision,
        metric="map_of_answers",
        columns=lambda model: {},
        unfit=_unfit,
    )


def _unfit(model: DetectionModel) -> str:
    from regraft.tasks.detection.deployed import unfit

    return unfit(model.network.kind)


def _module(model: DetectionModel) -> Any:
    return model.network.deployed().eval()


def _wanted(model: DetectionModel, batch: int) -> Wanted:
    import torch

    shape, module = (*model.spec.rectangle, 3), _module(model)
    generator = torch.Generator().manual_seed(0)
    sample = torch.randint(0, 256, (max(1, batch), *shape), generator=generator, dtype=torch.uint8)
    return Wanted(module, [sample], ["pixels"], [varying_axes(shape, batch)], module.OUTPUTS)


def _networks(model: DetectionModel) -> list[Network]:
    row = model.row.to_dict()
    row["weights"] = {**row["weights"], "origin": "network.safetensors"}
    told = {"row": row, "spec": model.spec.to_dict(), "engine": "torch", "fingerprint": ""}
    return [Network(told)]


def _told(model: DetectionModel) -> dict[str, Any]:
    module = _module(model)
    return {
        "classes": list(model.classes),
        "thresholds": [float(t) for t in model.thresholds],
        "per_map": module.per_map,
        "decoding": module.DECODING,
        "line": list(model.line),
        "tiles": model.tiles,
    }


def _own(model: DetectionModel, data: bytes) -> Own:
    calls, answer = _watched(model, data)
    return Own([outputs for _, outputs in calls], answer)


Call = tuple[npt.NDArray[Any], list[npt.NDArray[Any]]]


def _watched(model: DetectionModel, data: bytes) -> tuple[list[Call], Told]:
    """Each region with what the network gives of it as other runtimes tell it, and the answer."""
    import torch

    module, seen = _module(model), list[Any]()
    watching = model.network.register_forward_hook(
        lambda network, given, output: seen.append((given[0].numpy().copy(), output))
    )
    try:
        (answer,) = found_in_turn(model, data)
    finally:
        watching.remove()
    if answer.error is not None:
        raise Unreadable(MEMORY, "unreadable", answer.error)
    calls: list[Call] = []
    with torch.inference_mode():
        for pixels, output in seen:
            told = [one.numpy() for one in module.told(output)]
            calls += [(pixels[[i]], [one[[i]] for one in told]) for i in range(len(pixels))]
    return calls, answer.to_dict()


def _places_apart(model: DetectionModel, ours: Outputs, theirs: Outputs) -> float:
    """Of anchors, which stand in one order."""
    return apart(ours, theirs, [np.ones(1), np.full(1, _longer(model))])


def _sets_apart(model: DetectionModel, ours: Outputs, theirs: Outputs) -> float:
    """Of queries: among the boxes that are reported, and the surest one, reported or not."""
    surest = [[one[:1].max(keepdims=True) for one in call[:1]] for call in ours]
    others = [[one[:1].max(keepdims=True) for one in call[:1]] for call in theirs]
    if any(not np.isfinite(one).all() for call in theirs for one in call):
        return float("inf")
    worst, least, longer = apart(surest, others, [np.ones(1)]), model.thresholds, _longer(model)
    for pair in zip(ours, theirs, strict=False):
        one, other = (_seen(model, call) for call in pair)
        own = np.minimum(least, one.scores.max() - 2 * LIMIT) if len(one.scores) else least
        worst = max(worst, set_difference(one, other, own, longer, LIMIT))
    return worst


# How objects are taken from the outputs → how far two engines' outputs are apart.
APART: Mapping[str, Callable[[DetectionModel, Outputs, Outputs], float]] = MappingProxyType(
    {"anchors": _places_apart, "queries": _sets_apart}
)


def _longer(model: DetectionModel) -> float:
    return float(max(model.spec.rectangle))


def _seen(model: DetectionModel, call: Sequence[npt.NDArray[Any]]) -> Detections:
    """All that a call has found, with the scores that are told."""
    import torch

    from regraft.tasks.detection.decoding import DECODINGS

    scores, boxes = (torch.from_numpy(one[0]) for one in call)
    module = _module(model)
    return model.line(DECODINGS[module.DECODING](scores, boxes, module.per_map))


def _same(model: DetectionModel, one: Told, other: Told) -> bool:
    """The same objects in the same places; see `set_difference` for those on the edge."""
    ours, theirs = (_detections(answer["objects"], model.classes) for answer in (one, other))
    longer = max(one["width"], one["height"])
    return set_difference(ours, theirs, model.thresholds, longer, LIMIT) <= NEAR


def _precision(model: DetectionModel, data: Dataset, answers: Sequence[Told]) -> float | None:
    """Mean average precision of the objects that are answered."""
    ids = data.table["id"].to_list()
    known = [i for i, name in enumerate(ids) if name in data.boxes]
    if not known or not set(data.classes) <= set(model.classes):
        return None
    there = [renumbered(data.boxes[ids[i]], data.classes, model.classes) for i in known]
    found = [_detections(answers[i]["objects"], model.classes) for i in known]
    return average_precision(found, there, len(model.classes)).map


def _detections(objects: Sequence[Told], classes: Sequence[str]) -> Detections:
    return Detections(
        np.array([o["box"] for o in objects], float).reshape(-1, 4),
        np.array([o["score"] for o in objects], float),
        np.array([classes.index(o["label"]) for o in objects], np.int64),
    )
