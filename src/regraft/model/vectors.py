"""VectorModel: frozen networks and a head whose answer is a vector: tags, or numbers.

The head's scores are log-odds (tags) or the numbers themselves: calibration, and the units of the
numbers, are folded into its coefficients, so that it needs nothing beside them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from regraft.backbones.extractor import Extractor
from regraft.errors import UsageError
from regraft.evaluation.platt import sigmoid
from regraft.evaluation.tag_thresholds import thresholds
from regraft.export.bundle import Bundle, write_bundle
from regraft.model.model import OnFeatures
from regraft.transfer.novelty import Novelty
from regraft.transfer.probe import Head

Matrix = npt.NDArray[np.float64]


class VectorAnswers(NamedTuple):
    """What a model says of n examples.

    values   (n, k) calibrated probabilities of tags, or numbers
    unlike   (n,) bool: it looks unlike what the model learned from
    """

    values: Matrix
    unlike: npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class JudgedTags:
    """What a model said of examples that did not teach it, by which thresholds are chosen.

    how            how they came not to
    probabilities  (m, k) float32
    truth          (m, k) int64 of 0 and 1
    """

    how: str
    probabilities: npt.NDArray[np.float32]
    truth: npt.NDArray[np.int64]


# Task → from the head's scores to what is answered.
LINKS: Mapping[str, Callable[[Matrix], Matrix]] = MappingProxyType(
    {"tags": sigmoid, "regression": lambda scores: scores}
)


@dataclass(frozen=True, eq=False)
class VectorModel(OnFeatures):
    """A trained model of tags, or of numbers.

    classes     names of the tags, or of the numbers, in the order of the scores
    extractors  the frozen networks, their input specs and engines; features side by side
    head        on those features
    cuts        (k,) of tags the probability from which each is answered; of numbers half the width
                of the interval that holds the truth as often as ``record["coverage"]`` tells,
                infinite where there were too few examples
    novelty     tells examples that look unlike those that were learned from
    judged      what other thresholds can be chosen by
    record      provenance as plain data
    """

    classes: tuple[str, ...]
    extractors: tuple[Extractor, ...]
    head: Head
    cuts: Matrix
    novelty: Novelty
    record: dict[str, Any]
    modality: str
    task: str
    judged: JudgedTags | None = None

    def answer(self, features: npt.NDArray[np.floating]) -> VectorAnswers:
        """Answers for raw features (n, d). Each row is computed by itself. Raises BundleError."""
        self.refuse_other(features)
        values = LINKS[self.task](self.head.scores(features))
        return VectorAnswers(values, self.novelty.unlike(self.head.even_scaling()(features)))

    def decided(self, values: Matrix) -> npt.NDArray[np.bool_]:
        """(n, k) probabilities → which tags are answered."""
        return np.asarray(values >= self.cuts)

    def at(self, asked: str) -> "VectorModel":
        """The same model with other thresholds, such as ``precision>=0.8`` for each tag.

        Chosen on examples that did not teach the model. Raises UsageError where they cannot be.
        """
        if self.judged is None:
            raise UsageError(
                "at: the model does not hold what thresholds are chosen by; fit it again with this "
                "setting"
                if self.task == "tags"
                else f"at: has no use for {self.task}"
            )
        kept = self.judged
        found = thresholds(kept.probabilities, kept.truth, self.classes, kept.how, asked)
        record = {**self.record, "thresholds": found.points}
        return replace(self, cuts=found.cuts, record=record)

    def save(self, path: str | Path) -> Path:
        """Write the bundle: one file, whole or not at all. Raises StorageError."""
        from regraft.model.packing_vectors import pack

        documents, tensors, files = pack(self)
        write_bundle(Path(path), documents, tensors, files=files)
        return Path(path)

    @classmethod
    def of(cls, bundle: Bundle) -> Self:
        """The model in a bundle. Raises BundleError."""
        from regraft.model.packing_vectors import unpack

        return cls(**unpack(bundle))
