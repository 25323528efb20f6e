"""An exported model of tags, or of numbers."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from regraft.model.exported import Kind, ToldExport, wrong_classes
from regraft.model.exported_features import OnOutputs
from regraft.model.vectors import VectorAnswers, VectorModel


@dataclass(frozen=True)
class ToldVectors(ToldExport):
    """What export.json says.

    classes  names of the tags, or of the numbers
    cuts     as in a bundle, see `VectorModel`; None: infinite
    novelty  above it an example is called unlike the training data; None: never
    """

    classes: tuple[str, ...]
    cuts: tuple[float | None, ...]
    novelty: float | None


@dataclass(frozen=True, eq=False)
class ExportedVectors(OnOutputs, VectorModel):
    """A model whose networks and head are one graph."""

    @property
    def width(self) -> int:
        """Values and novelty."""
        return len(self.classes) + 1

    def answer(self, features: npt.NDArray[np.floating]) -> VectorAnswers:
        """Answers from outputs (n, k + 1)."""
        outputs = np.asarray(features, np.float64)
        return VectorAnswers(outputs[:, :-1], outputs[:, -1] > self.strange)


def _wrong(told: Mapping[str, Any]) -> Iterator[str]:
    yield from wrong_classes(told["classes"])
    cuts = told["cuts"]
    if len(cuts) != len(told["classes"]) or not all(cut is None or cut >= 0 for cut in cuts):
        yield "cuts: expected a number of 0 or more for each of the classes"


def _made(told: Mapping[str, Any], shared: Mapping[str, Any]) -> ExportedVectors:
    return ExportedVectors(
        classes=tuple(told["classes"]),
        extractors=(),
        head=None,  # type: ignore[arg-type]
        cuts=np.array([np.inf if cut is None else cut for cut in told["cuts"]], np.float64),
        novelty=None,  # type: ignore[arg-type]
        strange=np.inf if told["novelty"] is None else float(told["novelty"]),
        **shared,
    )


KIND = Kind(ToldVectors, _wrong, _made)
