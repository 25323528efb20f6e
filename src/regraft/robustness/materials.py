"""What is corrupted of an example, and the model's own answers to what was made of it.

Pictures are changed as the networks read them, so that lengths in pixels mean the same in all;
recordings and texts as they come from their files, before anything is cut off or taken apart.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from regraft.data.inline import contents
from regraft.errors import UsageError
from regraft.modalities import modality
from regraft.model.encoded import vectors
from regraft.model.model import Model
from regraft.robustness.prepared import answers, planes_of, prepared

Seen = Sequence[Sequence[Any]]  # of n examples what `corrupted` takes, once for each plane or spec


@dataclass(frozen=True)
class Material:
    """One row of MATERIALS.

    refuse   raises UsageError for a model whose examples cannot be corrupted
    read     (model, files) → n examples; raises Unreadable naming the file
    answers  (model, examples) → (n,) class numbers, by the engines that answer for users
    how      what happens to them, in words; `note`: what is to know of the figures
    """

    refuse: Callable[[Model], Any]
    read: Callable[[Model, Sequence[str]], Seen]
    answers: Callable[[Model, Seen], npt.NDArray[np.int64]]
    how: str
    note: str


def material_of(model: Model) -> Material:
    """The row for a model. Raises UsageError where nothing of its examples can be corrupted."""
    if (row := MATERIALS.get(model.modality)) is None:
        raise UsageError(
            f"corruptions: there are none for {model.modality} yet, only for {', '.join(MATERIALS)}"
        )
    row.refuse(model)
    return row


def _read_planes(model: Model, files: Sequence[str]) -> Seen:
    return [[*planes] for planes in prepared(model, planes_of(model), files)]


def _planes_answered(model: Model, examples: Seen) -> npt.NDArray[np.int64]:
    return answers(model, planes_of(model), np.stack([np.stack([*one]) for one in examples]))


def _decoded(model: Model, files: Sequence[str]) -> Seen:
    """Once for each network: what is kept of a long recording depends on its views."""
    kind = modality(model.modality)
    data = [contents(file) for file in files]
    return [
        [kind.decode(one, file, extractor.spec).raw for extractor in model.extractors]
        for one, file in zip(data, files, strict=True)
    ]


def _answered(model: Model, examples: Seen) -> npt.NDArray[np.int64]:
    kind, sides = modality(model.modality), []
    for place, one in enumerate(model.extractors):
        raws = [example[place] for example in examples]
        views = [[kind.prepare(raw, one.spec, view) for view in one.spec.views] for raw in raws]
        sides.append(vectors(one, views))
    return np.asarray(model.head.scores(np.hstack(sides)).argmax(1))


def _anything(model: Model) -> None:
    """Whatever its networks read."""


MATERIALS: Mapping[str, Material] = MappingProxyType(
    {
        "image": Material(
            planes_of,
            _read_planes,
            _planes_answered,
            "noisy, blurred, snowed on, badly lit and badly compressed",
            "After Hendrycks and Dietterich 2019; frost is drawn, not photographed, and sizes go "
            "with the picture: not comparable to published figures to the last digit.",
        ),
        "audio": Material(
            _anything,
            _decoded,
            _answered,
            "in noise, clipped, filtered, in an echoing room, badly coded and with gaps",
            "Noise is at 20, 15, 10, 5 and 0 dB; the recording is changed before it is cut or "
            "heard. The severities are our own: not comparable to published figures.",
        ),
        "text": Material(
            _anything,
            _decoded,
            _answered,
            "mistyped, misread, in odd case and with words that are missing or misplaced",
            "Typing mistakes are those of a QWERTY keyboard: letters of other scripts stay. The "
            "severities are our own: not comparable to published figures.",
        ),
    }
)
