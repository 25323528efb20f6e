"""TranscriptionModel ⇄ bundle: which entry holds what.

    model.json    characters, and what `carried` tells of the network
    record.json   provenance
    head          .safetensors
    tokenizer     of a decoder
    backbone-0    .safetensors: weights; -config.json where the architecture needs one

Nothing of a bundle is believed: every document and array is looked at before any of it is used.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regraft.backbones.sources import SOURCES
from regraft.backbones.weights import row_file, weight_file
from regraft.errors import BackboneError, BundleError, RegraftError, UsageError
from regraft.export.bundle import Bundle
from regraft.modalities import modality
from regraft.model.carried import ToldNetwork, extractor_of, refusals, told_of
from regraft.model.plain import misfits
from regraft.tasks.transcription.facts import HeadFacts
from regraft.tasks.transcription.tokens import Asked, Tokens
from regraft.tasks.transcription.vocabulary import Vocabulary

if TYPE_CHECKING:
    from regraft.model.transcribing import TranscriptionModel


@dataclass(frozen=True)
class ToldTranscriber:
    """What model.json says."""

    task: str
    modality: str
    characters: tuple[str, ...]
    backbone: ToldNetwork
    head: HeadFacts | None = None
    asked: Asked | None = None


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
        "head": asdict(model.facts),
    }
    documents = {"model": told, "record": model.record}
    if isinstance(model.vocabulary, Tokens):
        told["asked"] = model.vocabulary.to_dict()
        documents["tokenizer"] = json.loads(model.vocabulary.data)
    if row.config:
        documents["backbone-0-config"] = json.loads(row_file(row, row.config).read_bytes())
    return documents, {"head": model.head}, {"backbone-0": weight_file(row)}


def unpack(bundle: Bundle) -> dict[str, Any]:
    """Arguments of `TranscriptionModel`. Raises BundleError where the bundle does not hold one."""
    from regraft.tasks.transcription.heads import wrong_head

    told, record, head = bundle.document("model"), bundle.document("record"), bundle.tensors("head")
    _refuse(bundle, [*misfits(ToldTranscriber, told, "model.")])
    facts = HeadFacts(**(told.get("head") or {}))
    answers = len(told["characters"]) + 1
    _refuse(bundle, [*_wrong(told), *wrong_head(head, facts, answers)])
    vocabulary = _tokens(bundle, told, head) if told.get("asked") else _characters(told)
    if not isinstance(record, dict):
        _refuse(bundle, ["record: expected an object"])
    try:
        one = extractor_of(bundle, 0, told["backbone"])
    except BundleError:
        raise
    except RegraftError as error:
        _refuse(bundle, [str(error)])
        raise
    told_of_it = {"vocabulary": vocabulary, "record": record}
    return told_of_it | {"extractor": one, "head": head, "facts": facts}


def _wrong(told: Mapping[str, Any]) -> Iterator[str]:
    from regraft.backbones.catalog import families

    if told["task"] != "transcription" or told["modality"] != "audio":
        yield f"model.task: {told['task']!r:.60} of {told['modality']!r:.60} is not known here"
        return
    if not told.get("asked"):
        yield from (f"model.{one}" for one in Vocabulary.mistakes(told["characters"]))
    if bool(told.get("asked")) != ((told.get("head") or {}).get("kind") == "decoder"):
        yield "model.asked: goes with a head of the kind decoder, and with nothing else"
    kind = modality("audio")
    reasons = list(refusals(told["backbone"], kind.views, ("sound",)))
    yield from (f"model.backbone.{reason}" for reason in reasons)
    family = told["backbone"]["row"]["family"]
    if not reasons and "transcribe" not in families()[family].operations:
        yield f"model.backbone.row.family: {family!r} writes nothing down"


def _characters(told: Mapping[str, Any]) -> Vocabulary:
    return Vocabulary(tuple(told["characters"]))


def _tokens(bundle: Bundle, told: Mapping[str, Any], head: Mapping[str, Any]) -> Tokens:
    """A decoder's tokenizer, and how it is asked."""
    asked: dict[str, Any] = {
        n: tuple(v) if isinstance(v, list) else v for n, v in told["asked"].items()
    }
    made = Tokens(json.dumps(bundle.document("tokenizer")).encode(), Asked(**asked))
    _refuse(bundle, [*made.asked.mistakes(len(head["decoder.embed_tokens.weight"]))])
    try:
        len(made)
    except BackboneError as error:
        _refuse(bundle, [f"tokenizer: {error}"])
    return made


def _refuse(bundle: Bundle, mistakes: list[str]) -> None:
    if mistakes:
        raise BundleError(
            f"{bundle.path}: does not hold a transcriber that this version can use: "
            f"{'; '.join(mistakes[:10])}; get it again, or make it anew with `regraft fit`"
        )
