"""Which function carries out a verb for a task: the task is chosen here, at the edge, and once."""

from collections.abc import Callable, Mapping
from importlib import import_module
from types import MappingProxyType
from typing import Any

from regraft.errors import UsageError

# Verb → task → the function; imported when it is asked for.
VERBS: Mapping[str, Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        "load": MappingProxyType(
            {
                "classification": ("regraft.verbs.prepare", "prepared_examples"),
                "tags": ("regraft.verbs.prepare", "prepared_examples"),
                "regression": ("regraft.verbs.prepare", "prepared_examples"),
                "detection": ("regraft.verbs.detection.prepare", "prepared_boxes"),
                "transcription": ("regraft.verbs.transcription.prepare", "prepared_transcripts"),
            }
        ),
        "fit": MappingProxyType(
            {
                "classification": ("regraft.verbs.fit", "fit_on_features"),
                "tags": ("regraft.verbs.fit", "fit_on_features"),
                "regression": ("regraft.verbs.fit", "fit_on_features"),
                "detection": ("regraft.verbs.detection.fit", "fit_detector"),
                "transcription": ("regraft.verbs.transcription.fit", "fit_transcriber"),
            }
        ),
        "compare": MappingProxyType(
            {
                "classification": ("regraft.verbs.compare", "compare_on_features"),
                "detection": ("regraft.verbs.detection.compare", "compare_detectors"),
            }
        ),
        "distil": MappingProxyType({"classification": ("regraft.verbs.fit", "fit_on_features")}),
        "ensemble": MappingProxyType(
            {"classification": ("regraft.verbs.ensemble", "ensemble_of_classifiers")}
        ),
        "evaluate": MappingProxyType(
            {
                "classification": ("regraft.verbs.evaluate", "evaluate_classifier"),
                "tags": ("regraft.verbs.vectors.evaluate", "evaluate_vectors"),
                "regression": ("regraft.verbs.vectors.evaluate", "evaluate_vectors"),
                "detection": ("regraft.verbs.detection.measure", "evaluate_detector"),
                "transcription": ("regraft.verbs.transcription.measure", "evaluate_transcriber"),
            }
        ),
        "export": MappingProxyType(
            {
                "classification": ("regraft.verbs.deployed", "deployment"),
                "tags": ("regraft.verbs.vectors.export", "deployment_of_tags"),
                "regression": ("regraft.verbs.vectors.export", "deployment_of_numbers"),
                "detection": ("regraft.verbs.detection.export", "deployment"),
                "transcription": ("regraft.verbs.transcription.export", "deployment"),
            }
        ),
        "preview": MappingProxyType(
            {
                "classification": ("regraft.verbs.preview", "preview_of_pictures"),
                "tags": ("regraft.verbs.preview", "preview_of_pictures"),
                "regression": ("regraft.verbs.preview", "preview_of_pictures"),
                "transcription": ("regraft.verbs.preview", "preview_of_pictures"),
                "detection": ("regraft.verbs.detection.preview", "preview_of_boxes"),
            }
        ),
        "prune": MappingProxyType({"classification": ("regraft.verbs.prune", "prune_classifier")}),
        "quantize": MappingProxyType(
            {"classification": ("regraft.verbs.quantize", "quantize_classifier")}
        ),
        "before and after": MappingProxyType(
            {"classification": ("regraft.verbs.before_after", "before_and_after_of_classes")}
        ),
        "doctor": MappingProxyType(
            {
                "classification": ("regraft.verbs.doctor", "doctor_of_classes"),
                "tags": ("regraft.verbs.vectors.doctor", "doctor_of_vectors"),
                "regression": ("regraft.verbs.vectors.doctor", "doctor_of_vectors"),
                "detection": ("regraft.verbs.detection.doctor", "doctor_of_boxes"),
                "transcription": ("regraft.verbs.transcription.doctor", "doctor_of_transcripts"),
            }
        ),
    }
)


def carried_out(verb: str, task: str) -> Callable[..., Any]:
    """The function of a verb for a task. Raises UsageError where there is none."""
    rows = VERBS[verb]
    if task not in rows:
        raise UsageError(f"{verb}: is not there for {task}; only for {' and '.join(rows)}")
    module, name = rows[task]
    found: Callable[..., Any] = getattr(import_module(module), name)
    return found


def parameters_of(function: Callable[..., Any]) -> frozenset[str]:
    """Names of what a function takes, beside settings of any name."""
    from inspect import signature

    return frozenset(signature(function).parameters)
