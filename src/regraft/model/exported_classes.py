"""An exported classifier."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from regraft.evaluation.calibration import conformal_sets
from regraft.evaluation.operating import OperatingPoint
from regraft.model.exported import Kind, ToldExport, wrong_classes
from regraft.model.exported_features import OnOutputs
from regraft.model.model import Answers, Model
from regraft.model.packing import wrong_point


@dataclass(frozen=True)
class ToldClasses(ToldExport):
    """What export.json says of a classifier.

    novelty  above it an example is called unlike the training data; None: never
    """

    classes: tuple[str, ...]
    temperature: float
    threshold: float | None
    novelty: float | None
    operating: OperatingPoint | None = None


@dataclass(frozen=True, eq=False)
class Exported(OnOutputs, Model):
    """A model whose networks and head are one graph."""

    @property
    def width(self) -> int:
        """Probabilities, scores and novelty."""
        return 2 * len(self.classes) + 1

    def answer(self, features: npt.NDArray[np.floating]) -> Answers:
        """Answers from outputs (n, 2 c + 1)."""
        count, outputs = len(self.classes), np.asarray(features, np.float64)
        scores, novelty = outputs[:, count:-1], outputs[:, -1]
        probabilities, point = outputs[:, :count], self.operating
        return Answers(
            scores,
            probabilities,
            probabilities.argmax(1) if point is None else point.decide(probabilities, self.classes),
            conformal_sets(scores, self.threshold),
            novelty > self.strange,
        )

    def strangeness(self, features: npt.NDArray[np.floating]) -> npt.NDArray[np.float64] | None:
        """The last of the outputs (n, 2 c + 1)."""
        return np.asarray(features, np.float64)[:, -1] if np.isfinite(self.strange) else None


def _wrong(told: Mapping[str, Any]) -> Iterator[str]:
    yield from wrong_classes(told["classes"], 2)
    yield from wrong_point(told)


def _made(told: Mapping[str, Any], shared: Mapping[str, Any]) -> Exported:
    return Exported(
        classes=tuple(told["classes"]),
        extractors=(),
        head=None,  # type: ignore[arg-type]
        temperature=float(told["temperature"]),
        threshold=np.inf if told["threshold"] is None else float(told["threshold"]),
        novelty=None,  # type: ignore[arg-type]
        operating=OperatingPoint(**told["operating"]) if told.get("operating") else None,
        strange=np.inf if told["novelty"] is None else float(told["novelty"]),
        **shared,
    )


KIND = Kind(ToldClasses, _wrong, _made)
