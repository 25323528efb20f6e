"""What `export` needs of detectors."""

from collections.abc import Sequence
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
from regraft.verbs.deployed import Deployment, Network, Own, Told, varying_axes
from regraft.verbs.detection.measure import renumbered

NEAR = 1e-3  # share of the picture's longer side by which boxes of the same answer may differ


def deployment() -> Deployment:
    """Differences are those of scores, and of corners as shares of the input's longer side."""
    return Deployment(
        wanted=_wanted,
        networks=_networks,
        told=_told,
        own=_own,
        inputs=lambda model, data: [given for given, _ in _watched(model, data)[0]],
        scales=lambda model: [np.ones(1), np.full(1, float(max(model.spec.rectangle)))],
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


def _same(one: Told, other: Told) -> bool:
    """The same objects in the same places."""
    near = NEAR * max(one["width"], one["height"])
    ours = sorted((o["label"], *o["box"]) for o in one["objects"])
    theirs = sorted((o["label"], *o["box"]) for o in other["objects"])
    return len(ours) == len(theirs) and all(
        a[0] == b[0] and np.allclose(a[1:], b[1:], rtol=0, atol=near)
        for a, b in zip(ours, theirs, strict=True)
    )


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
