"""Model ⇄ bundle: which entry holds what.

    model.json             classes, calibration, and per network what `carried` tells of it
    record.json            provenance: recipe, splits, what was tried, findings
    head, novelty          .safetensors
    judged                 .safetensors: what operating points are chosen on; may be absent
    backbone-N             .safetensors: weights; -config.json where the architecture needs one,
                           -tokenizer.json where it reads texts

Nothing of a bundle is believed: every document and array is looked at before any of it is used.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from regraft.backbones.extractor import Extractor
from regraft.backbones.sources import SOURCES
from regraft.backbones.weights import row_file, weight_file
from regraft.errors import BundleError, MissingExtra, RegraftError, UsageError
from regraft.evaluation.before_after import ToldBeforeAfter
from regraft.evaluation.operating import HELD_BACK, LEFT_OUT, Judged, OperatingPoint
from regraft.export.bundle import Bundle
from regraft.modalities import modality
from regraft.model.carried import ToldNetwork, extractor_of, refusals, told_of
from regraft.model.plain import misfits
from regraft.transfer.novelty import Novelty
from regraft.transfer.probe import KERNEL, Head, kernel_tensors

if TYPE_CHECKING:
    from regraft.model.model import Model

TASKS = ("classification",)

Parts = tuple[dict[str, Any], dict[str, Any], dict[str, Path]]
Tensors = Mapping[str, npt.NDArray[Any]]


def pack(model: "Model") -> Parts:
    """Documents, tensors and files of the bundle.

    Raises UsageError for networks of a plugin, which `unpack` would not take.
    """
    documents, files = network_parts(model.extractors)
    documents |= {
        "model": {
            "task": model.task,
            "modality": model.modality,
            "classes": list(model.classes),
            "temperature": model.temperature,
            "threshold": None if math.isinf(model.threshold) else model.threshold,
            "backbones": [told_of(one) for one in model.extractors],
            **_told_points(model),
        },
        "record": model.record,
    }
    tensors = {"head": model.head.tensors(), "novelty": model.novelty.tensors()}
    if (kept := model.judged) is not None:
        tensors |= {"judged": {"probabilities": kept.probabilities, "labels": kept.labels}}
    return documents, tensors, files


def network_parts(extractors: Sequence[Extractor]) -> tuple[dict[str, Any], dict[str, Path]]:
    """Documents and files of the networks.

    Raises UsageError for networks of a plugin, which `unpack` would not take.
    """
    foreign = [one.row for one in extractors if one.row.source not in SOURCES]
    if foreign:
        told = (f"{r.name}: networks of {r.source!r} cannot be kept in a bundle" for r in foreign)
        raise UsageError(*told)
    documents: dict[str, Any] = {}
    files: dict[str, Path] = {}
    for i, one in enumerate(extractors):
        files[f"backbone-{i}"] = weight_file(one.row)
        if one.row.config:
            config = row_file(one.row, one.row.config)
            documents[f"backbone-{i}-config"] = json.loads(config.read_bytes())
        if one.row.tokenizer:
            vocabulary = row_file(one.row, one.row.tokenizer)
            documents[f"backbone-{i}-tokenizer"] = json.loads(vocabulary.read_bytes())
    return documents, files


def _told_points(model: "Model") -> dict[str, Any]:
    """What model.json says of operating points; nothing where there is nothing to say."""
    told: dict[str, Any] = {}
    if model.judged is not None:
        told["judged_by"] = model.judged.how
    if model.operating is not None:
        told["operating"] = model.operating.to_dict()
    return told


@dataclass(frozen=True)
class ToldModel:
    """What model.json says."""

    task: str
    modality: str
    classes: tuple[str, ...]
    temperature: float
    threshold: float | None
    backbones: tuple[ToldNetwork, ...]
    judged_by: str | None = None
    operating: OperatingPoint | None = None


def unpack(bundle: Bundle) -> dict[str, Any]:
    """Arguments of `Model`. Raises BundleError where the bundle does not hold a model."""
    told, record = bundle.document("model"), bundle.document("record")
    head, novelty = bundle.tensors("head"), bundle.tensors("novelty")
    refuse(bundle, [*misfits(ToldModel, told, "model."), *wrong_record(record)])
    refuse(bundle, [*_wrong_model(told), *wrong_head(head, told), *wrong_novelty(novelty, head)])
    judged = None if told.get("judged_by") is None else bundle.tensors("judged")
    refuse(bundle, [*wrong_point(told), *_wrong_judged(judged, len(told["classes"]))])
    extractors = unpacked_networks(bundle, told)
    return {
        "task": told["task"],
        "modality": told["modality"],
        "classes": tuple(told["classes"]),
        "temperature": float(told["temperature"]),
        "threshold": math.inf if told["threshold"] is None else float(told["threshold"]),
        "extractors": extractors,
        "head": Head.from_tensors(head),
        "novelty": Novelty.from_tensors(novelty),
        "record": record,
        "judged": None if judged is None else Judged(told["judged_by"], **judged),
        "operating": OperatingPoint(**told["operating"]) if told.get("operating") else None,
    }


def unpacked_networks(bundle: Bundle, told: Mapping[str, Any]) -> tuple[Extractor, ...]:
    """The networks as told, which nothing was found against. Raises BundleError."""
    try:
        return tuple(extractor_of(bundle, i, b) for i, b in enumerate(told["backbones"]))
    except (BundleError, MissingExtra):
        raise
    except RegraftError as error:
        refuse(bundle, [str(error)])
        raise


def refuse(bundle: Bundle, mistakes: Sequence[str]) -> None:
    """Raise BundleError with all mistakes, if there are any."""
    if mistakes:
        more = f" and {len(mistakes) - 10} more" if len(mistakes) > 10 else ""
        raise BundleError(
            f"{bundle.path}: does not hold a model that this version can use: "
            f"{'; '.join(mistakes[:10])}{more}; get it again, or make it anew with `regraft fit`"
        )


def _wrong_model(told: dict[str, Any]) -> Iterator[str]:
    if told["task"] not in TASKS:
        yield f"model.task: {told['task']!r:.60} is not one of {', '.join(TASKS)}"
    classes = told["classes"]
    if len(classes) < 2 or len(set(classes)) < len(classes) or "" in classes:
        yield "model.classes: expected two names or more, each once"
    if told["temperature"] <= 0:
        yield f"model.temperature: expected a number above 0, got {told['temperature']}"
    if told["threshold"] is not None and told["threshold"] < 0:
        yield f"model.threshold: expected 0 or more, got {told['threshold']}"
    yield from wrong_networks(told)


def wrong_networks(told: Mapping[str, Any]) -> Iterator[str]:
    """What of the modality and the networks of model.json cannot be used here."""
    if not told["backbones"]:
        yield "model.backbones: there is none"
    try:
        kind = modality(told["modality"])
    except UsageError as error:
        yield f"model.{error}"
        return
    for i, network in enumerate(told["backbones"]):
        yield from (
            f"model.backbones[{i}].{reason}"
            for reason in refusals(network, kind.views, kind.inputs)
        )


def wrong_point(told: Mapping[str, Any]) -> Iterator[str]:
    """What keeps operating points of a document from being used."""
    if (how := told.get("judged_by")) not in (None, LEFT_OUT, HELD_BACK):
        yield f"model.judged_by: {how!r:.60} is neither {LEFT_OUT!r} nor {HELD_BACK!r}"
    point = told.get("operating")
    if point is not None and point["positive"] not in told["classes"]:
        yield f"model.operating.positive: {point['positive']!r:.60} is none of the classes"
    if point is not None and not 0 <= point["threshold"] <= 1:
        yield f"model.operating.threshold: expected 0 to 1, got {point['threshold']}"


def _wrong_judged(judged: Tensors | None, classes: int) -> Iterator[str]:
    if judged is None:
        return
    sizes = {"c": classes, "m": len(np.atleast_1d(judged.get("labels", ())))}
    if mistakes := list(wrong_arrays("judged", judged, JUDGED, sizes)):
        yield from mistakes
    elif ((judged["probabilities"] < 0) | (judged["probabilities"] > 1)).any():
        yield "judged.probabilities: expected numbers from 0 to 1"
    elif ((judged["labels"] < 0) | (judged["labels"] >= classes)).any():
        yield "judged.labels: expected numbers of classes"


# Parts of the record that are read again, and what they are.
RECORD: dict[str, type] = {
    "name": str,
    "notice": str,
    **dict.fromkeys(
        ("recipe", "chosen", "split", "examples", "leave_one_out", "measured", "operating_point"),
        dict,
    ),
    "before_after": dict,
    **dict.fromkeys(("backbones", "learned", "judged_on", "tried", "reproduce"), list),
    **dict.fromkeys(("only_chosen_by", "members"), list),
}
ITEMS: dict[str, type] = {
    **dict.fromkeys(("backbones", "tried", "members"), dict),
    **dict.fromkeys(("learned", "judged_on", "only_chosen_by", "reproduce"), str),
}


def wrong_record(record: Any) -> Iterator[str]:
    """What keeps a record from being one that is read again."""
    if not isinstance(record, dict):
        yield f"record: expected an object, got {record!r:.60}"
        return
    for name, kind in RECORD.items():
        value: Any = record.get(name, kind())
        items: Any = value
        if type(value) is not kind:
            yield f"record.{name}: expected {kind.__name__}, got {value!r:.60}"
        elif name in ITEMS and not all(isinstance(one, ITEMS[name]) for one in items):
            yield f"record.{name}: expected a list of {ITEMS[name].__name__}"
    if told := record.get("before_after"):
        yield from misfits(ToldBeforeAfter, told, "record.before_after.")


class Array(NamedTuple):
    """What an array of a bundle must be.

    kind      of dtype, as NumPy's letters tell it
    shape     a number, or a name that stands for the same number everywhere; ANY is any number
    infinite  whether infinity may be in it
    """

    kind: str
    shape: tuple[str | int, ...]
    infinite: bool = False


ANY = "any"

# b blocks, d columns, c classes; 1 more for the intercept
HEAD = {
    "shift": Array("f", ("d",)),
    "factor": Array("f", ("d",)),
    "widths": Array("i", ("b",)),
    "coefficients": Array("f", ("d+1", "c")),
    "weights": Array("f", ("b",)),
    "lam": Array("f", (1,)),
}


# e columns of the block that is compared, m landmarks
KERNEL_PART = {
    "first": Array("i", (1,)),
    "shift": Array("f", ("e",)),
    "factor": Array("f", ("e",)),
    "points": Array("f", ("e", "m")),
    "coefficients": Array("f", ("m", "c")),
}


# m examples, c classes
JUDGED = {"probabilities": Array("f", ("m", "c")), "labels": Array("i", ("m",))}


def wrong_head(head: Tensors, told: Mapping[str, Any]) -> Iterator[str]:
    told_widths = np.ravel(head.get("widths", ()))
    widths = [int(w) for w in told_widths if w > 0] if told_widths.dtype.kind == "i" else []
    d, classes = sum(widths), {"c": len(told["classes"])}
    sizes = {"d": d, "d+1": d + 1, "b": len(widths), **classes}
    linear = {name: array for name, array in head.items() if not name.startswith(KERNEL)}
    yield from wrong_arrays("head", linear, HEAD, sizes)
    parts = {name.partition(".")[0] for name in head.keys() - linear.keys()}
    if wrong := sorted(parts - {f"{KERNEL}{i}" for i in range(len(parts))}):
        yield f"head: {', '.join(wrong)[:60]}: not known here"
        return
    for i in range(len(parts)):
        yield from _wrong_kernel(f"head.{KERNEL}{i}", kernel_tensors(head, i), d, classes["c"])


def _wrong_kernel(where: str, part: Tensors, columns: int, classes: int) -> Iterator[str]:
    """columns: of the raw features, in which its block must be."""
    e = int(np.size(part.get("shift", ())))
    sizes = {"e": e, "m": int(np.size(part.get("points", ()))) // max(1, e), "c": classes}
    if mistakes := list(wrong_arrays(where, part, KERNEL_PART, sizes)):
        yield from mistakes
    elif not 0 <= int(part["first"][0]) <= columns - e:
        yield f"{where}.first: its block is not within the {columns} features"


def wrong_novelty(novelty: Tensors, head: Tensors) -> Iterator[str]:
    """Against a detector that knows nothing, and by a trial: two rows must get two scores."""
    width = np.size(head.get("shift", ()))
    blank = Novelty.fit(np.zeros((1, width))).tensors()
    expected = {  # an axis of 0 is as long as there are directions
        name: Array(a.dtype.kind, tuple(n or ANY for n in a.shape), bool(np.isinf(a).any()))
        for name, a in blank.items()
    }
    if mistakes := list(wrong_arrays("novelty", novelty, expected, {})):
        yield from mistakes
        return
    try:
        with np.errstate(divide="raise", invalid="raise"):
            scores = Novelty.from_tensors(dict(novelty)).score(np.outer([1, -0.5], np.ones(width)))
    except (ValueError, ArithmeticError) as error:
        yield f"novelty: cannot be used: {error}"
        return
    if scores.shape != (2,) or not np.isfinite(scores).all():
        yield "novelty: gives no scores"


def wrong_arrays(
    where: str, given: Tensors, expected: Mapping[str, Array], sizes: Mapping[str, int]
) -> Iterator[str]:
    if given.keys() != expected.keys():
        yield f"{where}: expected the arrays {', '.join(expected)}, got {', '.join(given)}"
        return
    for name, wanted in expected.items():
        array, shape = given[name], tuple(sizes.get(str(n), n) for n in wanted.shape)
        if array.dtype.kind != wanted.kind or not _has_shape(array, shape):
            yield f"{where}.{name}: is {array.dtype} {array.shape}, expected {shape}"
        elif not (np.isfinite(array) | (wanted.infinite & np.isposinf(array))).all():
            yield f"{where}.{name}: holds numbers that are not finite"


def _has_shape(array: npt.NDArray[Any], shape: Sequence[str | int]) -> bool:
    return array.ndim == len(shape) and all(
        n in (ANY, have) for have, n in zip(array.shape, shape, strict=True)
    )
