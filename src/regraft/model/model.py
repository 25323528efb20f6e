"""Model: a grafted network — frozen backbones, a head, classes, calibration, provenance.

    model = regraft.fit("photos/")
    model.save("photos.regraft")
    regraft.Model.load("photos.regraft").predict("new/*.jpg")

A model predicts on anything readable; every input takes the path of training: the same decoder,
the same InputSpec, the same engine.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from regraft.backbones.catalog import CatalogRow
from regraft.backbones.extractor import Extractor
from regraft.backbones.features import Pass, pass_over
from regraft.backbones.store import Store
from regraft.errors import BundleError, UsageError
from regraft.evaluation.calibration import conformal_sets, softmax
from regraft.evaluation.operating import Judged, OperatingPoint, choose, positive_class
from regraft.export.bundle import Bundle, write_bundle
from regraft.modalities import modality
from regraft.modalities.spec import InputSpec
from regraft.model.encoded import Features, encoded_features
from regraft.progress import Progress
from regraft.transfer.novelty import Novelty
from regraft.transfer.probe import Head


class Answers(NamedTuple):
    """What a model says of n examples with c classes.

    scores         (n, c) of the head
    probabilities  (n, c) calibrated
    decided        (n,) class numbers: the answer of each
    sets           (n, c) bool: the conformal set of each
    unlike         (n,) bool: it looks unlike what the model learned from
    """

    scores: npt.NDArray[np.float64]
    probabilities: npt.NDArray[np.float64]
    decided: npt.NDArray[np.int64]
    sets: npt.NDArray[np.bool_]
    unlike: npt.NDArray[np.bool_]


class OnFeatures:
    """What models on frozen features have in common, whatever they answer."""

    extractors: tuple[Extractor, ...]
    head: Head
    modality: str

    def refuse_other(self, features: npt.NDArray[np.floating]) -> None:
        """Raise BundleError where the head is for other features than these."""
        if features.shape[1] != (width := sum(self.head.scaling.widths)):
            raise BundleError(
                f"the head reads {width} features and the networks give {features.shape[1]}: this "
                "is no model; get it again, or make it anew with `regraft fit`"
            )

    def features(
        self,
        files: Sequence[str | Path],
        *,
        store: Store | None = None,
        progress: Progress | None = None,
    ) -> Pass:
        """Frozen features of files, the backbones side by side; see `Pass`."""
        return features(self.extractors, files, self.modality, store=store, progress=progress)

    def encoded(self, examples: Sequence[bytes]) -> Features:
        """Features of encoded examples in memory; see `encoded_features`."""
        return encoded_features(self.extractors, self.modality, examples)

    @property
    def networks(self) -> list[dict[str, Any]]:
        """What is told of each network: name, what it reads, engine, licences."""
        return [told_network(one.row, one.spec, one.engine_name) for one in self.extractors]

    def predict(self, source: Any, **settings: Any) -> "Any":
        """Predictions for a file, a folder, a glob or a list of files; see `regraft.predict`."""
        from regraft.model.predict import predict

        return predict(self, source, **settings)

    @classmethod
    def load(cls, path: str | Path) -> Any:
        """Read a bundle, or a folder that `regraft export` wrote; nothing else is needed, nor is
        any code in it run. Raises BundleError.

        What comes back is the model of its task: this class, `VectorModel` or `DetectionModel`.
        """
        from regraft.model.opening import opened

        return opened(path)


@dataclass(frozen=True, eq=False)
class Model(OnFeatures):
    """A trained classifier.

    classes      names in the order of the scores
    extractors   the frozen networks, their input specs and engines; features side by side
    head         closed-form classifier on those features
    temperature  turns scores into calibrated probabilities
    threshold    of the conformal sets; infinite where too few examples were learned from
    novelty      tells examples that look unlike those that were learned from
    operating    where the answer turns to the positive class; None: the most probable class
    judged       what it said of examples that did not teach it, to choose other such points by
    record       provenance as plain data: recipe, splits, what was tried, leave-one-out ...
    """

    classes: tuple[str, ...]
    extractors: tuple[Extractor, ...]
    head: Head
    temperature: float
    threshold: float
    novelty: Novelty
    record: dict[str, Any]
    modality: str = "image"
    task: str = "classification"
    operating: OperatingPoint | None = None
    judged: Judged | None = None

    def answer(self, features: npt.NDArray[np.floating]) -> Answers:
        """Answers for raw features (n, d). Each row is computed by itself.

        Raises BundleError where the head is for other features than these.
        """
        self.refuse_other(features)
        scores = self.head.scores(features)
        probabilities = softmax(scores, self.temperature)
        point = self.operating
        return Answers(
            scores,
            probabilities,
            probabilities.argmax(1) if point is None else point.decide(probabilities, self.classes),
            conformal_sets(scores, self.threshold),
            self.novelty.unlike(self.head.even_scaling()(features)),
        )

    def strangeness(self, features: npt.NDArray[np.floating]) -> npt.NDArray[np.float64] | None:
        """(n,) how unlike what the model learned from raw features (n, d) are, higher for stranger
        ones; None where it learned from too few examples to tell.
        """
        if not np.isfinite(self.novelty.threshold):
            return None
        return self.novelty.score(self.head.even_scaling()(features))

    def at(self, asked: str, positive: str | None = None) -> "Model":
        """The same model with an operating point, such as ``sensitivity>=0.95``.

        positive  the class that it is about; of two classes the second, if none is named

        It is chosen on examples that did not teach the model, see `evaluation.operating`. Raises
        UsageError where it cannot be, or where no threshold gives what is asked.
        """
        chosen = positive_class(self.classes, positive, asked)
        if self.judged is None:
            raise UsageError(
                "at: the model does not hold the scores that an operating point is chosen on; fit "
                "it again with this setting"
            )
        point = choose(self.judged, self.classes, str(chosen), asked)
        record = {**self.record, "operating_point": point.to_dict()}
        return replace(self, operating=point, record=record)

    def save(self, path: str | Path) -> Path:
        """Write the bundle: one file, whole or not at all. Raises StorageError."""
        from regraft.model.packing import pack

        documents, tensors, files = pack(self)
        write_bundle(Path(path), documents, tensors, files=files)
        return Path(path)

    @classmethod
    def of(cls, bundle: Bundle) -> Self:
        """The classifier in a bundle. Raises BundleError."""
        from regraft.model.packing import unpack

        return cls(**unpack(bundle))


def told_network(row: CatalogRow, spec: InputSpec, engine: str) -> dict[str, Any]:
    """A network of a model, as plain data."""
    licences = {"licence_weights": row.licence_weights, "licence_code": row.licence_code}
    return {"name": row.name, "reads": spec.told, "engine": engine, **licences}


def features(
    extractors: Sequence[Extractor],
    files: Sequence[str | Path],
    kind: str,
    *,
    store: Store | None = None,
    progress: Progress | None = None,
    shas: Sequence[Any] | None = None,
) -> Pass:
    """One pass per extractor, the features side by side."""
    opened = store or Store()
    try:
        passes = [
            pass_over(files, modality(kind), opened, one, progress, shas) for one in extractors
        ]
    finally:
        if store is None:
            opened.close()
    wide = np.hstack([p.features for p in passes if p.features is not None])
    widths = tuple(w for p in passes for w in p.widths)
    looks = tuple(_worst(seen) for seen in zip(*(p.looks for p in passes), strict=True))
    return Pass(passes[0].shas, looks, wide, widths)


def _worst(looks: Sequence[Any]) -> Any:
    """The verdict if any pass had one, else the facts."""
    return next((look for look in looks if hasattr(look, "reason")), looks[0])
