"""VectorModel ⇄ bundle: as a classifier's, with `cuts` in model.json in place of its calibration.

    judged  .safetensors: probabilities and truth that thresholds of tags are chosen by; may be
            absent

Nothing of a bundle is believed: every document and array is looked at before any of it is used.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from regraft.evaluation.operating import HELD_BACK, LEFT_OUT
from regraft.export.bundle import Bundle
from regraft.model.carried import ToldNetwork, told_of
from regraft.model.packing import (
    Array,
    Parts,
    Tensors,
    network_parts,
    refuse,
    unpacked_networks,
    wrong_arrays,
    wrong_head,
    wrong_networks,
    wrong_novelty,
    wrong_record,
)
from regraft.model.plain import misfits
from regraft.transfer.novelty import Novelty
from regraft.transfer.probe import Head

if TYPE_CHECKING:
    from regraft.model.vectors import VectorModel

JUDGED = {"probabilities": Array("f", ("m", "k")), "truth": Array("i", ("m", "k"))}


@dataclass(frozen=True)
class ToldVectors:
    """What model.json says."""

    task: str
    modality: str
    classes: tuple[str, ...]
    cuts: tuple[float | None, ...]
    backbones: tuple[ToldNetwork, ...]
    judged_by: str | None = None


def pack(model: "VectorModel") -> Parts:
    """Documents, tensors and files of the bundle. Raises UsageError for networks of a plugin."""
    documents, files = network_parts(model.extractors)
    told = {
        "task": model.task,
        "modality": model.modality,
        "classes": list(model.classes),
        "cuts": [float(cut) if np.isfinite(cut) else None for cut in model.cuts],
        "backbones": [told_of(one) for one in model.extractors],
    }
    tensors = {"head": model.head.tensors(), "novelty": model.novelty.tensors()}
    if (kept := model.judged) is not None:
        told["judged_by"] = kept.how
        tensors["judged"] = {"probabilities": kept.probabilities, "truth": kept.truth}
    return documents | {"model": told, "record": model.record}, tensors, files


def unpack(bundle: Bundle) -> dict[str, Any]:
    """Arguments of `VectorModel`. Raises BundleError where the bundle does not hold one."""
    told, record = bundle.document("model"), bundle.document("record")
    head, novelty = bundle.tensors("head"), bundle.tensors("novelty")
    refuse(bundle, [*misfits(ToldVectors, told, "model."), *wrong_record(record)])
    refuse(bundle, [*_wrong(told), *wrong_head(head, told), *wrong_novelty(novelty, head)])
    judged = None if told.get("judged_by") is None else bundle.tensors("judged")
    refuse(bundle, [*_wrong_judged(judged, len(told["classes"]))])
    extractors = unpacked_networks(bundle, told)
    from regraft.model.vectors import JudgedTags

    return {
        "task": told["task"],
        "modality": told["modality"],
        "classes": tuple(told["classes"]),
        "extractors": extractors,
        "head": Head.from_tensors(head),
        "cuts": np.array([np.inf if c is None else c for c in told["cuts"]], np.float64),
        "novelty": Novelty.from_tensors(novelty),
        "record": record,
        "judged": None if judged is None else JudgedTags(told["judged_by"], **judged),
    }


def _wrong(told: Mapping[str, Any]) -> Iterator[str]:
    from regraft.model.vectors import LINKS

    if told["task"] not in LINKS:
        yield f"model.task: {told['task']!r:.60} is not one of {', '.join(LINKS)}"
    classes, cuts = told["classes"], told["cuts"]
    if not classes or len(set(classes)) < len(classes) or "" in classes:
        yield "model.classes: expected names, each once"
    if len(cuts) != len(classes) or not all(cut is None or cut >= 0 for cut in cuts):
        yield "model.cuts: expected a number of 0 or more for each of the classes"
    if told.get("judged_by") not in (None, LEFT_OUT, HELD_BACK):
        yield f"model.judged_by: {told['judged_by']!r:.60} is neither {LEFT_OUT} nor {HELD_BACK}"
    yield from wrong_networks(told)


def _wrong_judged(judged: Tensors | None, classes: int) -> Iterator[str]:
    if judged is None:
        return
    sizes = {"k": classes, "m": len(np.atleast_2d(judged.get("truth", ((),))))}
    if mistakes := list(wrong_arrays("judged", judged, JUDGED, sizes)):
        yield from mistakes
    elif ((judged["probabilities"] < 0) | (judged["probabilities"] > 1)).any():
        yield "judged.probabilities: expected numbers from 0 to 1"
    elif not np.isin(judged["truth"], (0, 1)).all():
        yield "judged.truth: expected 0 and 1"
