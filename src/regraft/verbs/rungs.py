"""Rungs: a head on one network or several, fitted and judged by leave-one-out."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from regraft.backbones.features import Extractor, Pass
from regraft.backbones.store import Store
from regraft.data.dataset import Dataset
from regraft.evaluation.calibration import conformal_threshold, fit_temperature
from regraft.model.model import Model
from regraft.recipe import Recipe
from regraft.transfer.novelty import Novelty
from regraft.transfer.probe import HeadFit
from regraft.verbs.kept import kept_head
from regraft.verbs.prepare import Prepared

Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Rung:
    """One attempt: frozen networks, their features of all examples, and the head on them.

    seen     the pass over all examples of the dataset, in its order
    seconds  that it took, features included
    """

    kind: str
    extractors: tuple[Extractor, ...]
    seen: Pass
    fit: HeadFit
    seconds: float

    @property
    def name(self) -> str:
        return " + ".join(one.row.name for one in self.extractors)

    @property
    def features(self) -> npt.NDArray[np.float32]:
        """(n, d) of all examples."""
        return features_of(self.seen)


def features_of(seen: Pass) -> npt.NDArray[np.float32]:
    """The features of a pass that was made with a network."""
    if seen.features is None:
        raise ValueError("this pass was made without a network")
    return seen.features


def positions(whole: Dataset, view: Dataset) -> Numbers:
    """(n,) where the rows of a view stand in the whole."""
    place = {name: i for i, name in enumerate(whole.table["id"])}
    return np.array([place[name] for name in view.table["id"]], np.int64)


def rows(seen: Pass, place: Numbers) -> Pass:
    """A pass over some of the files."""
    shas, looks = (tuple(column[i] for i in place) for column in (seen.shas, seen.looks))
    return Pass(shas, looks, features_of(seen)[place], seen.widths)


@dataclass(frozen=True)
class Learning:
    """What heads are fitted on.

    place   (n,) where the learning examples stand in the dataset
    labels  (n,) their class numbers
    groups  (n,) equal numbers are left out together
    """

    place: Numbers
    labels: Numbers
    groups: Numbers
    classes: int

    @classmethod
    def of(cls, prepared: Prepared) -> "Learning":
        """The learning part of a prepared dataset."""
        view = prepared.dataset.learning
        groups = prepared.left_out_together(view)
        classes = len(prepared.dataset.classes)
        return cls(positions(prepared.dataset, view), view.targets, groups, classes)


def climb(
    extractors: tuple[Extractor, ...],
    seen: Pass,
    learning: Learning,
    seed: int,
    store: Store,
    spent: float = 0.0,
) -> Rung:
    """Fit the head on a pass; `spent` is what its features took, seconds."""
    start = time.perf_counter()
    fit = kept_head(
        store,
        features_of(seen)[learning.place],
        learning.labels,
        classes=learning.classes,
        widths=seen.widths,
        groups=learning.groups,
        seed=seed,
    )
    kind = "probe" if len(extractors) == 1 else "ensemble"
    return Rung(kind, extractors, seen, fit, spent + time.perf_counter() - start)


def side_by_side(rungs: Sequence[Rung], learning: Learning, seed: int, store: Store) -> Rung:
    """All networks under one head: kernel weights by leave-one-out over blocks and networks."""
    widths = tuple(w for r in rungs for w in r.seen.widths)
    joint = replace(rungs[0].seen, features=np.hstack([r.features for r in rungs]), widths=widths)
    return climb(tuple(r.extractors[0] for r in rungs), joint, learning, seed, store)


def calibrated(rung: Rung, data: Dataset, learning: Learning, recipe: Recipe) -> Model:
    """The model of a rung: temperature, conformal sets and novelty from the learning examples."""
    scores, head = rung.fit.left_out, rung.fit.head
    return Model(
        classes=data.classes,
        extractors=rung.extractors,
        head=head,
        temperature=fit_temperature(scores, learning.labels),
        threshold=conformal_threshold(scores, learning.labels, recipe.coverage),
        novelty=Novelty.fit(head.scaling(rung.features[learning.place]), seed=recipe.seed),
        record={},
        modality=data.modality,
        task=data.task,
    )
