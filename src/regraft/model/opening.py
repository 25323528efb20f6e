"""From a bundle to the model of its task."""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Any

from regraft.errors import UsageError
from regraft.export.at_hand import at_hand
from regraft.export.bundle import Bundle, read_bundle

# Task → where its model is; imported when one is opened.
MODELS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "classification": ("regraft.model.model", "Model"),
        "detection": ("regraft.model.detecting", "DetectionModel"),
        "transcription": ("regraft.model.transcribing", "TranscriptionModel"),
        "tags": ("regraft.model.vectors", "VectorModel"),
        "regression": ("regraft.model.vectors", "VectorModel"),
    }
)
USUAL = "classification"  # whose reader tells what is wrong with a bundle of no known task


def opened(model: Any) -> Any:
    """A model; where a path or an address is given, read from its bundle or its export, which may
    be zipped; see `regraft.export.at_hand`. Raises BundleError.
    """
    if not isinstance(model, str | Path):
        return model
    path = at_hand(model)
    if path.is_dir():
        from regraft.model.exported import load_exported

        return load_exported(path)
    return model_in(read_bundle(path))


def model_in(bundle: Bundle) -> Any:
    """The model of its task. Raises BundleError."""
    module, name = MODELS.get(task_of(bundle) or USUAL, MODELS[USUAL])
    return getattr(import_module(module), name).of(bundle)


def task_of(bundle: Bundle) -> str | None:
    """What the model in a bundle says that it is for."""
    told = bundle.document("model") if "model.json" in bundle.names else None
    task = told.get("task") if isinstance(told, dict) else None
    return task if isinstance(task, str) else None


def classifier(model: Any, verb: str) -> Any:
    """As `opened`, of a model that tells classes. Raises UsageError for one of another task."""
    from regraft.model.model import Model

    found = opened(model)
    if not isinstance(found, Model):
        raise UsageError(f"{verb}: is for models of classes; this one is for {found.task}")
    return found
