"""What an answer rests on: how much of it goes where a part of the example is hidden."""

from collections.abc import Sequence
from math import log
from typing import Any

from regraft.serve.answering import Answer

LEAST = 1e-6  # a probability below counts as this: one part must not outweigh all others


def losses(places: Sequence[Sequence[float]], answers: Sequence[Answer]) -> dict[str, Any]:
    """The answer for the whole example, and what each part takes from its log-probability.

    places   of the parts, the first one of the whole example: empty
    answers  for the example without each of them, with all classes in `top`

    A part that cannot be left out (its answer is an error) is not told.
    """
    whole = answers[0]
    label, before = whole["label"], _surprise(whole, whole["label"])
    parts = [
        {"place": list(place), "loss": _surprise(answer, label) - before}
        for place, answer in zip(places[1:], answers[1:], strict=True)
        if not answer.get("error")
    ]
    return {"label": label, "probability": whole["probability"], "parts": parts}


def _surprise(answer: Answer, label: str) -> float:
    """-log of the probability of a class."""
    own = {one["label"]: one["probability"] for one in answer["top"]}
    return -log(max(own.get(label, 0.0), LEAST))
