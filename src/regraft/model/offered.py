"""A model as `regraft serve` asks for it: opened, called with bytes, answering with plain data."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

from regraft.backbones.engines import AT_ONCE
from regraft.backbones.readers import reader
from regraft.export.at_hand import at_hand
from regraft.export.bundle import read_bundle
from regraft.export.card import model_card
from regraft.modalities import modality
from regraft.modalities.parts import Part, parts_of
from regraft.model.encoded import MEMORY
from regraft.model.exported import load_exported
from regraft.model.opening import model_in
from regraft.model.predict import Prediction, predict_encoded, predict_in_turn

UNLIKE = "unlike the training data"

Answer = dict[str, Any]


@dataclass(frozen=True)
class Offer:
    """How models of a task answer over HTTP.

    answer   (model, encoded examples, top) → one answer for each, which may have an error
    told     an answer without an error → plain data
    ready    opens what the model answers by, so that no answer waits for it
    ranked   whether `top` tells how many classes an answer lists
    explains whether an answer can be explained by hiding parts of the example
    """

    answer: Callable[[Any, Sequence[bytes], int], Sequence[Any]]
    told: Callable[[Any], Answer]
    ready: Callable[[Any], object]
    ranked: bool = False
    explains: bool = False


@dataclass(frozen=True, eq=False)
class Offered:
    """A model with its engines open; see `regraft.serve.answering.Answering`."""

    model: Any
    version: str

    @classmethod
    def open(cls, path: Path) -> Self:
        """Read a bundle or an export and open its engines, so that no answer waits for them.

        Raises RegraftError.
        """
        path = at_hand(path)
        if path.is_dir():
            exported = load_exported(path)
            return cls(exported, exported.version)
        bundle = read_bundle(path)
        made = cls(model_in(bundle), bundle.sha256[:12])
        made.offer.ready(made.model)
        return made

    @property
    def offer(self) -> Offer:
        """The row of its task."""
        return OFFERS[self.model.task]

    @property
    def name(self) -> str:
        return str(self.model.record.get("name") or "model")

    @property
    def modality(self) -> str:
        return str(self.model.modality)

    @property
    def sayable(self) -> bool:
        return modality(self.model.modality).sayable

    @property
    def ranked(self) -> bool:
        return self.offer.ranked

    @property
    def together(self) -> int:
        """Many where examples of equal shape are run at once, as texts are."""
        extractors = getattr(self.model, "extractors", ())
        batched = any(reader(one.spec).together for one in extractors)
        return 2 * AT_ONCE if batched else 1

    def answer(self, examples: Sequence[bytes], top: int) -> list[Answer]:
        """See `Answering.answer`."""
        return [
            {"error": one.error} if one.error is not None else self.offer.told(one)
            for one in self.offer.answer(self.model, examples, top)
        ]

    def parts(self, example: bytes) -> list[Part]:
        """See `Answering.parts`."""
        return parts_of(self.model.modality, example, MEMORY) if self.offer.explains else []

    def about(self) -> dict[str, Any]:
        """See `Answering.about`."""
        return {**about(self.model), "explains": self.offer.explains}

    def card(self) -> str:
        """See `Answering.card`."""
        return model_card({"name": self.name, **self.about()}, self.model.record)


def about(model: Any) -> dict[str, Any]:
    """What a model is, as plain data."""
    recipe, point = model.record.get("recipe", {}), getattr(model, "operating", None)
    return {
        "task": model.task,
        "modality": model.modality,
        "classes": list(model.classes),
        "coverage": recipe.get("coverage"),
        "notice": model.record.get("notice"),
        "operating": None if point is None else point.to_dict(),
        "networks": model.networks,
    }


# --- the tasks -----------------------------------------------------------------------------------


def _one_by_one(model: Any, examples: Sequence[bytes], top: int) -> list[Any]:
    return [answer for one in examples for answer in predict_in_turn(model, one)]


def _classes(model: Any, examples: Sequence[bytes], top: int) -> Sequence[Any]:
    return predict_encoded(model, examples, top=top)


def _tags(model: Any, examples: Sequence[bytes], top: int) -> Sequence[Any]:
    from regraft.model.tagged import tags_encoded

    return tags_encoded(model, examples, top)


def _numbers(model: Any, examples: Sequence[bytes], top: int) -> Sequence[Any]:
    from regraft.model.tagged import numbers_encoded

    return numbers_encoded(model, examples, top)


def _ranked(pairs: Sequence[tuple[str, float]]) -> list[Answer]:
    return [{"label": name, "probability": p} for name, p in pairs]


def _note(one: Any) -> str | None:
    return UNLIKE if one.unlike else None


def _told_class(one: Prediction) -> Answer:
    return {
        "label": one.label,
        "probability": one.probability,
        "top": _ranked(one.top),
        "set": list(one.set),
        "note": _note(one),
    }


def _told_tags(one: Any) -> Answer:
    return {"tags": _ranked(one.tags), "top": _ranked(one.top), "note": _note(one)}


def _told_numbers(one: Any) -> Answer:
    return {"values": [{**vars(value)} for value in one.values], "note": _note(one)}


def _told_objects(one: Any) -> Answer:
    objects = [{"label": o.label, "score": o.score, "box": list(o.box)} for o in one.objects]
    return {"objects": objects, "width": one.width, "height": one.height}


def _told_words(one: Any) -> Answer:
    return {"text": one.text, "confidence": one.confidence, "length": one.length}


def _engines(model: Any) -> None:
    for one in model.extractors:
        one.engine, one.read  # noqa: B018


def _nothing(model: Any) -> None:
    """Its network was read with the bundle."""


def _listening(model: Any) -> None:
    model.network, model.extractor.read  # noqa: B018


OFFERS: Mapping[str, Offer] = MappingProxyType(
    {
        "classification": Offer(_classes, _told_class, _engines, ranked=True, explains=True),
        "tags": Offer(_tags, _told_tags, _engines, ranked=True),
        "regression": Offer(_numbers, _told_numbers, _engines),
        "detection": Offer(_one_by_one, _told_objects, _nothing),
        "transcription": Offer(_one_by_one, _told_words, _listening),
    }
)
