"""predict: a Model, or a pretrained network as it is, and files → Predictions."""

import io
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib import import_module
from inspect import signature
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from regraft.backbones.catalog import find
from regraft.backbones.store import Store
from regraft.data.inline import inline_text
from regraft.errors import Unreadable, UsageError
from regraft.modalities import modality
from regraft.model.answers import AnswerList
from regraft.model.encoded import MEMORY
from regraft.model.model import Answers, Model
from regraft.model.named import files, refuse_unwatched, refuse_wrong_every
from regraft.model.opening import opened
from regraft.progress import Progress, Quiet

CHUNK = 2048  # files whose features are in memory at once

# Modes of PIL and what keeps them as they are; others become RGB or RGBA first.
WITHOUT_LOSS = {
    **dict.fromkeys(("1", "L", "LA", "P", "I;16", "RGB", "RGBA"), "PNG"),
    **dict.fromkeys(("CMYK", "F", "I", "I;16B", "YCbCr"), "TIFF"),
}
ORIENTATION = 0x0112  # EXIF tag


@dataclass(frozen=True)
class Prediction:
    """The answer for one example.

    file         as the user named it; a text that is no file: itself
    label        the answer: the most probable class, or that of the model's operating point; None
                 where the file cannot be read
    probability  calibrated, of that class
    top          the most probable classes with their probabilities
    set          conformal set: classes that cannot be ruled out at the model's coverage
    unlike       the example looks unlike those that the model learned from
    error        why there is no answer
    """

    file: str
    label: str | None = None
    probability: float | None = None
    top: tuple[tuple[str, float], ...] = ()
    set: tuple[str, ...] = ()
    unlike: bool = False
    error: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


class Predictions(AnswerList[Prediction]):
    """Answers in the order of the examples."""

    def to_csv(self) -> str:
        """file, label, probability, set (classes joined by |), unlike, error."""
        import csv

        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(["file", "label", "probability", "set", "unlike", "error"])
        for p in self:
            row = [p.file, p.label, p.probability, "|".join(p.set), p.unlike, p.error]
            writer.writerow(["" if value is None else value for value in row])
        return out.getvalue()

    def to_parquet(self) -> bytes:
        """The columns of `to_csv`, the set as a list."""
        import polars as pl

        text, texts = pl.String(), pl.List(pl.String)
        schema = pl.Schema(
            {"file": text, "label": text, "probability": pl.Float64(), "set": texts}
            | {"unlike": pl.Boolean(), "error": text}
        )
        columns = {name: [getattr(p, name) for p in self] for name in schema}
        out = io.BytesIO()
        pl.DataFrame(columns, schema=schema).write_parquet(out)
        return out.getvalue()


def predict(
    model: Any,
    source: Any,
    *,
    top: int = 5,
    least: float | None = None,
    tiles: int | None = None,
    every: float | None = None,
    store: Store | None = None,
    progress: Progress | None = None,
) -> Any:
    """Answer for a file, a folder, a glob, a manifest, a list of these, a Dataset, bytes or a PIL
    picture; with a model of texts also for a text itself.

    model  a model or its bundle; of a classifier the answers are `Predictions`, of a detector
           `regraft.model.found.FoundList`, of a transcriber `regraft.model.said.SaidList`, of
           tags and numbers lists of `regraft.model.tagged`
    top    how many classes to list for each example
    least  of a detector and of tags: the score from which boxes and tags are taken; None: their own
    tiles  of a detector: parts of a picture in each direction that are looked at beside the whole,
           for small objects; None: as it was fitted
    every  of videos: seconds between the moments that are looked at; None: 1, and those in a folder
           are left out. A moment is named as in ``clip.mp4#t=12``, which names it in `source` too

    A file that cannot be read gets an answer with `error`. Raises DataError where there is no file
    at all, UsageError for a wrong parameter.
    """
    model = opened(model)
    told: dict[str, Any] = {"top": top, "least": least, "store": store, "progress": progress}
    told |= {name: v for name, v in {"tiles": tiles, "every": every}.items() if v is not None}
    return answers_of(model).gather(predict_in_turn(model, source, **told))


def predict_in_turn(
    model: Any, source: Any, *, every: float | None = None, **settings: Any
) -> Iterator[Any]:
    """As `predict`, one after the other, with bounded memory."""
    model = opened(model)
    if every is not None:
        refuse_wrong_every(every)
    if every is not None and not in_memory(source):
        found = files(source, model.modality, every)
        refuse_unwatched(source, found)
        source = found
    in_turn = answers_of(model).in_turn
    if "tiles" in settings and "tiles" not in signature(in_turn).parameters:
        raise UsageError(f"tiles: has no use for a model of {model.task}")
    yield from in_turn(model, source, **settings)


class Answering(NamedTuple):
    """How the models of a task answer: one after the other, and gathered."""

    in_turn: Callable[..., Iterator[Any]]
    gather: Callable[[Iterable[Any]], Any]


def answers_of(model: Any) -> Answering:
    """By the task of a model."""
    return ANSWERING[model.task]()


def classes_in_turn(
    model: Model,
    source: Any,
    *,
    top: int = 5,
    least: float | None = None,
    store: Store | None = None,
    progress: Progress | None = None,
) -> Iterator[Prediction]:
    """Classes of examples, with bounded memory."""
    if least is not None:
        raise UsageError("least: is for boxes and tags; the model tells classes")
    refuse_top(top)
    if in_memory(source):
        yield from _answer_in_memory(model, source, top)
        return
    names = files(source, model.modality)
    for start in range(0, len(names), CHUNK):
        some = names[start : start + CHUNK]
        seen = model.features(some, store=store, progress=progress)
        reasons = {i: verdict.reason for i, verdict in seen.verdicts.items()}
        yield from _answers(model, some, seen.features, reasons, top)


def _lazily(module: str, in_turn: str, gather: str) -> Callable[[], Answering]:
    """What a module answers by, which is imported when it is asked for."""

    def made() -> Answering:
        found = import_module(module)
        return Answering(getattr(found, in_turn), getattr(found, gather))

    return made


ANSWERING: Mapping[str, Callable[[], Answering]] = MappingProxyType(
    {
        "classification": lambda: Answering(classes_in_turn, Predictions),
        "detection": _lazily("regraft.model.found", "found_in_turn", "FoundList"),
        "transcription": _lazily("regraft.model.said", "said_in_turn", "SaidList"),
        "tags": _lazily("regraft.model.tagged", "tags_in_turn", "TaggedList"),
        "regression": _lazily("regraft.model.tagged", "numbers_in_turn", "ValuedList"),
    }
)


def refuse_top(top: int) -> None:
    """Raise UsageError for a number of answers to list that is none."""
    if not isinstance(top, int) or top < 1:
        raise UsageError(f"top: expected 1 or more, got {top!r}")


def _answers(
    model: Model, names: Sequence[str], features: Any, errors: dict[int, str], top: int
) -> Iterator[Prediction]:
    answers = model.answer(features)
    for i, name in enumerate(names):
        shown = inline_text(name) or name
        if i in errors:
            yield Prediction(shown, error=errors[i])
        else:
            yield told_prediction(model, shown, answers, i, top)


def told_prediction(model: Model, name: str, answers: Answers, i: int, top: int) -> Prediction:
    """The answer for the example of that number."""
    p, classes = answers.probabilities[i], model.classes
    order, answer = np.argsort(-p, kind="stable"), answers.decided[i]
    return Prediction(
        file=name,
        label=classes[answer],
        probability=float(p[answer]),
        top=tuple((classes[k], float(p[k])) for k in order[:top]),
        set=tuple(classes[k] for k in order if answers.sets[i, k]),
        unlike=bool(answers.unlike[i]),
    )


def in_memory(source: Any) -> bool:
    return isinstance(source, bytes) or hasattr(source, "convert")


def _answer_in_memory(model: Model, source: Any, top: int) -> Iterator[Prediction]:
    """The answer for encoded bytes or a PIL picture, without the store."""
    try:
        data = source if isinstance(source, bytes) else encoded(source)
    except Unreadable as error:
        yield Prediction(MEMORY, error=error.reason)
        return
    yield from predict_encoded(model, [data], top=top)


def predict_encoded(model: Model, examples: Sequence[bytes], *, top: int = 5) -> Predictions:
    """Answers for encoded examples in memory (the bytes of files), without the store.

    The same to the last bit as of each alone, whatever is beside it. May be called from several
    threads. Raises UsageError for a wrong `top`.
    """
    refuse_top(top)
    features, errors = model.encoded(examples)
    there = [i for i in range(len(examples)) if i not in errors]
    out = {i: Prediction(MEMORY, error=reason) for i, reason in errors.items()}
    if there:
        found = _answers(model, [MEMORY] * len(there), features, {}, top)
        out |= dict(zip(there, found, strict=True))
    return Predictions(out[i] for i in range(len(examples)))


def encoded(picture: Any) -> bytes:
    """A PIL picture without loss, so that it takes the same path as a file."""
    from PIL.Image import Exif

    exif, out = Exif(), io.BytesIO()
    try:
        picture.load()  # a file that was opened is read only now
        exif[ORIENTATION] = picture.getexif().get(ORIENTATION, 1)
    except (OSError, SyntaxError, ValueError) as error:
        raise Unreadable(MEMORY, "damaged", f"the picture cannot be read: {error}") from None
    if picture.mode not in WITHOUT_LOSS:
        picture = picture.convert("RGBA" if picture.has_transparency_data else "RGB")
    picture.save(out, WITHOUT_LOSS[picture.mode], exif=exif)
    return out.getvalue()


def predict_pretrained(
    name: str,
    source: Any,
    *,
    top: int = 5,
    size: int | None = None,
    progress: Progress | None = None,
) -> Predictions:
    """Answers of a pretrained network with its own classes (ImageNet's for the default).

    name    of the catalog, or such as ``timm:resnet18``; see `regraft backbones`
    source  as for `predict`
    size    of the input in pixels; None: the network's own

    Nothing is trained; the probabilities are the network's own and not calibrated here.
    """
    from regraft.backbones.network import class_names, load_network

    refuse_top(top)
    row = find(name)
    spec = replace(row.spec.at(size), views=("centre",))
    named = [source] if in_memory(source) else files(source, "image")
    classes, network = class_names(row), load_network(row, spec)
    answers = Predictions()
    with (progress or Quiet()).stage(f"answers of {row.name}", len(named)) as advance:
        for one in named:
            answers.append(_from_logits(one, network, classes, spec, top))
            advance(1)
    return answers


def _from_logits(source: Any, network: Any, classes: list[str], spec: Any, top: int) -> Prediction:
    import torch

    kind, file = modality("image"), MEMORY if in_memory(source) else source
    try:
        raw = kind.decode(_bytes_of(source), file, spec).raw
    except Unreadable as error:
        return Prediction(file, error=error.reason)
    pixels = torch.from_numpy(kind.prepare(raw, spec, "centre").copy())
    with torch.inference_mode():
        p = network.logits(pixels[None])[0].softmax(0).numpy()
    order = np.argsort(-p, kind="stable")[:top]
    best = tuple((classes[k], float(p[k])) for k in order)
    return Prediction(file, best[0][0], best[0][1], best)


def _bytes_of(source: Any) -> bytes:
    if in_memory(source):
        return source if isinstance(source, bytes) else encoded(source)
    if not os.path.isfile(source):  # a pipe or a device may never end
        raise Unreadable(source, "not-a-file", "not a regular file")
    try:
        return Path(source).read_bytes()
    except OSError as error:
        reason = f"it cannot be read: {error.strerror or error}"
        raise Unreadable(source, "no-access", reason) from None
