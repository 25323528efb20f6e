"""A model as `regraft serve` asks for it: opened, called with bytes, answering with plain data."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from regraft.backbones.engines import AT_ONCE
from regraft.backbones.readers import reader
from regraft.errors import UsageError
from regraft.export.at_hand import at_hand
from regraft.export.bundle import read_bundle
from regraft.export.card import model_card
from regraft.modalities import modality
from regraft.modalities.parts import Part, parts_of
from regraft.model.encoded import MEMORY
from regraft.model.exported import load_exported
from regraft.model.model import Model
from regraft.model.opening import MODELS, USUAL, task_of
from regraft.model.packing import unpack
from regraft.model.predict import Prediction, predict_encoded

UNLIKE = "unlike the training data"


@dataclass(frozen=True, eq=False)
class Offered:
    """A model with its engines open; see `regraft.serve.answering.Answering`."""

    model: Model
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
        task = task_of(bundle)
        if task in MODELS and task != USUAL:
            raise UsageError(f"{path}: models of classes are served; this one is for {task}")
        model = Model(**unpack(bundle))
        for one in model.extractors:
            one.engine, one.read  # noqa: B018
        return cls(model, bundle.sha256[:12])

    @property
    def name(self) -> str:
        return str(self.model.record.get("name") or "model")

    @property
    def modality(self) -> str:
        return self.model.modality

    @property
    def sayable(self) -> bool:
        return modality(self.model.modality).sayable

    @property
    def together(self) -> int:
        """Many where examples of equal shape are run at once, as texts are."""
        batched = any(reader(one.spec).together for one in self.model.extractors)
        return 2 * AT_ONCE if batched else 1

    def answer(self, examples: Sequence[bytes], top: int) -> list[dict[str, Any]]:
        """See `Answering.answer`."""
        return [_told(one) for one in predict_encoded(self.model, examples, top=top)]

    def parts(self, example: bytes) -> list[Part]:
        """See `Answering.parts`."""
        return parts_of(self.model.modality, example, MEMORY)

    def about(self) -> dict[str, Any]:
        """See `Answering.about`."""
        return about(self.model)

    def card(self) -> str:
        """See `Answering.card`."""
        return model_card({"name": self.name, **self.about()}, self.model.record)


def about(model: Model) -> dict[str, Any]:
    """What a model is, as plain data."""
    recipe = model.record.get("recipe", {})
    return {
        "task": model.task,
        "modality": model.modality,
        "classes": list(model.classes),
        "coverage": recipe.get("coverage"),
        "notice": model.record.get("notice"),
        "operating": None if model.operating is None else model.operating.to_dict(),
        "networks": model.networks,
    }


def _told(one: Prediction) -> dict[str, Any]:
    if one.error is not None:
        return {"error": one.error}
    return {
        "label": one.label,
        "probability": one.probability,
        "top": [{"label": name, "probability": p} for name, p in one.top],
        "set": list(one.set),
        "note": UNLIKE if one.unlike else None,
    }
