"""Examples of which a model was most wrong, with pictures, for a report."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from regraft.model.vectors import VectorModel
from regraft.verbs.shown import clip, thumbnail

EACH = 12  # examples in a group


def worst_tags(
    model: VectorModel,
    files: Sequence[str],
    paths: Sequence[str],
    truth: np.ndarray,
    p: np.ndarray,
    said: np.ndarray,
) -> list[dict[str, Any]]:
    """Groups of examples, the worst first: tags that were missed, false ones, most of both.

    truth, p, said  (n, k) what is there, probabilities, what was answered
    """
    missed, wrong = truth & ~said, said & ~truth
    most = (truth != said).sum(1)

    def row(i: int, about: str) -> dict[str, Any]:
        return {
            "file": files[i],
            "about": about,
            "tags": [
                {
                    "name": model.classes[k],
                    "probability": float(p[i, k]),
                    "there": bool(truth[i, k]),
                    "said": bool(said[i, k]),
                }
                for k in np.argsort(-p[i], kind="stable")
                if truth[i, k] or said[i, k]
            ],
            "thumbnail": thumbnail(model.modality, paths[i]),
            "clip": clip(model.modality, paths[i]),
        }

    def cells(flags: np.ndarray, worth: np.ndarray, word: str) -> list[dict[str, Any]]:
        """One row for an example, for its worst cell."""
        some = np.argwhere(flags)
        order = np.argsort(-worth[flags], kind="stable")
        first = {int(i): int(k) for i, k in some[order][::-1]}
        ranked = dict.fromkeys(int(i) for i, _ in some[order])
        return [row(i, f"{word} {model.classes[first[i]]}") for i in [*ranked][:EACH]]

    worst = [int(i) for i in np.argsort(-most, kind="stable")[:EACH] if most[i] > 1]
    groups: list[tuple[str, Callable[[], list[dict[str, Any]]]]] = [
        ("Missed, and surest that it is not there", lambda: cells(missed, 1 - p, "missed:")),
        ("False alarms, the surest first", lambda: cells(wrong, p, "said:")),
        ("Most tags wrong", lambda: [row(i, f"{most[i]} tags wrong") for i in worst]),
    ]
    made = [{"title": title, "rows": rows()} for title, rows in groups]
    return [group for group in made if group["rows"]]


def worst_numbers(
    model: VectorModel,
    files: Sequence[str],
    paths: Sequence[str],
    truth: np.ndarray,
    answers: np.ndarray,
) -> list[dict[str, Any]]:
    """Examples with the largest errors, in units of each number's half interval."""
    width = np.where(np.isfinite(model.cuts) & (model.cuts > 0), model.cuts, 1.0)
    error = np.abs(answers - truth) / width
    return [
        {
            "file": files[i],
            "numbers": [
                {"name": name, "right": float(truth[i, k]), "answer": float(answers[i, k])}
                for k, name in enumerate(model.classes)
            ],
            "thumbnail": thumbnail(model.modality, paths[i]),
            "clip": clip(model.modality, paths[i]),
        }
        for i in np.argsort(-error.max(1), kind="stable")[:EACH]
    ]
