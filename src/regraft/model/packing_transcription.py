"""TranscriptionModel ⇄ bundle: which entry holds what.

    model.json    characters, and what `carried` tells of the network
    record.json   provenance
    head          .safetensors
    backbone-0    .safetensors: weights; -config.json where the architecture needs one

Nothing of a bundle is believed: every document and array is looked at before any of it is used.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from regraft.backbones.sources import SOURCES
from regraft.backbones.weights import row_file, weight_file
from regraft.errors import BundleError, RegraftError, UsageError
from regraft.export.bundle import Bundle
from regraft.modalities import modality
from regraft.model.carried import ToldNetwork, extractor_of, refusals, told_of
from regraft.model.plain import misfits
from regraft.tasks.transcription.vocabulary import Vocabulary

if TYPE_CHECKING:
    from regraft.model.transcribing import TranscriptionModel

MOST_WIDTH = 4096


@dataclass(frozen=True)
class ToldTranscriber:
    """What model.json says."""

    task: str
    modality: str
    characters: tuple[str, ...]
    backbone: ToldNetwork


def pack(
    model: "TranscriptionModel",
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Path]]:
    """Documents, tensors and files of the bundle. Raises UsageError for networks of a plugin."""
    row = model.extractor.row
    if row.source not in SOURCES:
        raise UsageError(f"{row.name}: networks of {row.source!r} cannot be kept in a bundle")
    told = {
        "task": model.task,
        "modality": model.modality,
        "characters": list(model.vocabulary.characters),
        "backbone": told_of(model.extractor),
    }
    documents = {"model": told, "record": model.record}
    if row.config:
        documents["backbone-0-config"] = json.loads(row_file(row, row.config).read_bytes())
    return documents, {"head": model.head}, {"backbone-0": weight_file(row)}


def unpack(bundle: Bundle) -> dict[str, Any]:
    """Arguments of `TranscriptionModel`. Raises BundleError where the bundle does not hold one."""
    told, record, head = bundle.document("model"), bundle.document("record"), bundle.tensors("head")
    _refuse(bundle, [*misfits(ToldTranscriber, told, "model.")])
    _refuse(bundle, [*_wrong(told), *_wrong_head(head, len(told["characters"]) + 1)])
    if not isinstance(record, dict):
        _refuse(bundle, ["record: expected an object"])
    try:
        one = extractor_of(bundle, 0, told["backbone"])
    except BundleError:
        raise
    except RegraftError as error:
        _refuse(bundle, [str(error)])
        raise
    vocabulary = Vocabulary(tuple(told["characters"]))
    return {"vocabulary": vocabulary, "extractor": one, "head": head, "record": record}


def _wrong(told: Mapping[str, Any]) -> Iterator[str]:
    from regraft.backbones.catalog import families

    if told["task"] != "transcription" or told["modality"] != "audio":
        yield f"model.task: {told['task']!r:.60} of {told['modality']!r:.60} is not known here"
        return
    yield from (f"model.{one}" for one in Vocabulary.mistakes(told["characters"]))
    kind = modality("audio")
    reasons = list(refusals(told["backbone"], kind.views, ("sound",)))
    yield from (f"model.backbone.{reason}" for reason in reasons)
    family = told["backbone"]["row"]["family"]
    if not reasons and "transcribe" not in families()[family].operations:
        yield f"model.backbone.row.family: {family!r} writes nothing down"


def _wrong_head(head: Mapping[str, Any], characters: int) -> Iterator[str]:
    """Shapes that do not fit one another, and numbers that are none."""
    near = head.get("near.weight")
    if near is None or near.ndim != 3 or max(near.shape) > MOST_WIDTH:
        yield "head: near.weight is missing or of a wrong shape"
        return
    inner, width, reach = near.shape
    blocks = len(np.atleast_1d(head.get("weights", ())))
    expected = {
        "weights": (blocks,),
        "near.weight": (inner, width, reach),
        "near.bias": (inner,),
        "far.weight": (inner, inner, reach),
        "far.bias": (inner,),
        "last.weight": (characters, inner),
        "last.bias": (characters,),
    }
    for name in sorted(expected.keys() ^ head.keys()):
        yield f"head.{name:.60}: {'missing' if name in expected else 'not known here'}"
    for name in sorted(expected.keys() & head.keys()):
        array = head[name]
        if array.shape != expected[name] or array.dtype != np.float32:
            yield f"head.{name}: expected float32 of {expected[name]}, got {array.shape}"
        elif not np.isfinite(array).all():
            yield f"head.{name}: holds numbers that are not finite"


def _refuse(bundle: Bundle, mistakes: list[str]) -> None:
    if mistakes:
        raise BundleError(
            f"{bundle.path}: does not hold a transcriber that this version can use: "
            f"{'; '.join(mistakes[:10])}; get it again, or make it anew with `regraft fit`"
        )
