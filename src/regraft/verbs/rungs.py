"""Rungs: one attempt each — networks, a head, and scores of examples that did not teach it."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from regraft.backbones.extractor import Extractor
from regraft.backbones.features import Pass
from regraft.backbones.store import Store
from regraft.data.dataset import Dataset
from regraft.evaluation.calibration import conformal_threshold, fit_temperature, softmax
from regraft.evaluation.operating import LEFT_OUT, MOST_JUDGED
from regraft.evaluation.operating import Judged as Kept
from regraft.modalities.base import Modality
from regraft.modalities.spec import InputSpec
from regraft.model.model import Model
from regraft.recipe import Recipe
from regraft.training.teaching import Teaching
from regraft.transfer.novelty import Novelty
from regraft.transfer.probe import Head, one_hot
from regraft.transfer.targets import CLASSES, TARGETS, Target
from regraft.verbs.kept import kept_head
from regraft.verbs.prepare import Prepared

Numbers = npt.NDArray[np.int64]
FEW_EACH = 40  # examples a class up to which its name says something more
CLEARLY = 0.98  # of the error of a linear head: what a wide one must reach to be taken


@dataclass(frozen=True)
class Judged:
    """What a rung says of examples that it did not learn from.

    how     LEFT_OUT: each of the learning examples, by a head that had not seen it;
            HELD_BACK: examples that were kept aside from training
    place   (m,) where they stand in the dataset
    labels  (m,) their class numbers, or what else is right for them: see `Target`
    scores  (m, c)
    """

    how: str
    place: Numbers
    labels: Numbers
    scores: npt.NDArray[np.float64]
    target: Target = CLASSES

    @property
    def score(self) -> float:
        """Of classes the share of right answers; see `Target`."""
        return self.target.score(self.scores, self.labels)


@dataclass(frozen=True)
class Rung:
    """One attempt.

    seen     the pass over all examples of the dataset, in its order; features of examples that
             were not needed may be NaN
    head     on those features
    judged   honest scores; the temperature and the conformal sets come from them
    seconds  that it took, features included
    error    mean squared leave-one-out error; None where it was judged on held-back examples
    detail   plain words
    why      it was kept or not
    lasts    numbers of the blocks that the head compares with landmarks; none: it is linear
    taught   whether the head learned from a teacher
    """

    kind: str
    extractors: tuple[Extractor, ...]
    seen: Pass
    head: Head
    judged: Judged
    seconds: float
    error: float | None = None
    lasts: tuple[int, ...] = ()
    detail: str = ""
    why: str = ""
    taught: bool = False

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


def input_told(spec: InputSpec) -> str:
    """The size, and how many views there are of an example where there are several."""
    return spec.told + ("" if len(spec.views) == 1 else f", {len(spec.views)} views")


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
    labels  (n,) their class numbers, or what else is right for them: see `Target`
    groups  (n,) equal numbers are left out together
    classes  number of classes
    teaching  what a teacher says of them; of those without a label of their own, `labels` are the
              teacher's, and nothing is judged by them
    """

    place: Numbers
    labels: Numbers
    groups: Numbers
    classes: int
    teaching: Teaching | None = None
    target: Target = CLASSES

    @property
    def strata(self) -> Numbers:
        """(n,) numbers by which rows are drawn in proportion: those of the classes."""
        return self.target.strata(self.labels)

    @classmethod
    def of(cls, prepared: Prepared) -> "Learning":
        """The learning part of a prepared dataset."""
        view = prepared.dataset.learning
        groups = prepared.left_out_together(view)
        classes = len(prepared.dataset.classes)
        target = TARGETS[prepared.dataset.task]
        truth = target.truth(view, view)
        return cls(positions(prepared.dataset, view), truth, groups, classes, target=target)

    def some(self, rows: Numbers) -> "Learning":
        """Some of the rows."""
        taught = None if self.teaching is None else self.teaching.some(rows)
        own: dict[str, Any] = {
            "place": self.place[rows],
            "labels": self.labels[rows],
            "groups": self.groups[rows],
        }
        return replace(self, **own, teaching=taught)

    @property
    def known(self) -> Numbers:
        """Rows that have a label of their own."""
        every = np.arange(len(self.labels))
        return every if self.teaching is None else every[self.teaching.known]

    @property
    def judging(self) -> Numbers:
        """Rows that can be judged by."""
        every = np.arange(len(self.labels))
        return every if self.teaching is None else every[self.teaching.clean]

    @property
    def targets(self) -> npt.NDArray[np.float64] | None:
        """(n, c) what a head learns; None: the labels."""
        if self.teaching is None or self.teaching.hard == 1:
            return None
        return self.teaching.targets(self.labels)

    def untaught(self) -> "Learning":
        """The examples with a label of their own, which alone counts; judged by the same ones."""
        if self.teaching is None:
            return self
        own = self.some(self.known)
        return replace(own, teaching=own.teaching and replace(own.teaching, hard=1.0))


def climb(
    extractors: tuple[Extractor, ...],
    seen: Pass,
    learning: Learning,
    seed: int,
    store: Store,
    spent: float = 0.0,
    lasts: tuple[int, ...] = (),
    names: npt.NDArray[np.float32] | None = None,
) -> Rung:
    """Fit the head on a pass; `spent` is what its features took, seconds.

    lasts  see `Rung`
    names  (classes, d) features of the names of the classes, an example more of each
    """
    start, own = time.perf_counter(), learning.labels
    learned, labels, groups = features_of(seen)[learning.place], own, learning.groups
    targets, judging = learning.targets, learning.judging
    if names is not None:
        every = np.arange(learning.classes)
        learned, labels = np.vstack([learned, names]), np.concatenate([own, every])
        groups = np.concatenate([groups, every + 1 + groups.max()])
        targets = None if targets is None else np.vstack([targets, one_hot(every, len(every))])
    fit = kept_head(
        store,
        learned,
        labels,
        classes=learning.classes,
        widths=seen.widths,
        groups=groups,
        seed=seed,
        lasts=lasts,
        targets=targets,
        target=learning.target,
    )
    left_out, error = fit.left_out, fit.error
    if targets is not None or len(left_out) != len(judging):  # by labels that can be judged by
        left_out = left_out[: len(own)][judging]
        error = float(np.square(left_out - one_hot(own[judging], learning.classes)).mean())
    return Rung(
        kind="probe" if len(extractors) == 1 else "ensemble",
        extractors=extractors,
        seen=seen,
        head=fit.head,
        judged=Judged(LEFT_OUT, learning.place[judging], own[judging], left_out, learning.target),
        seconds=spent + time.perf_counter() - start,
        error=error,
        detail=f"{input_told(extractors[0].spec)}, all blocks, "
        + f"closed-form {'wide ' if lasts else ''}head"
        + ("" if names is None else ", names of the classes as examples")
        + ("" if targets is None else f", taught, on {len(own):,} examples"),
        lasts=lasts,
        taught=targets is not None,
    )


def side_by_side(rungs: Sequence[Rung], learning: Learning, seed: int, store: Store) -> Rung:
    """All networks under one head: kernel weights by leave-one-out over blocks and networks."""
    widths = tuple(w for r in rungs for w in r.seen.widths)
    joint = replace(rungs[0].seen, features=np.hstack([r.features for r in rungs]), widths=widths)
    return climb(tuple(r.extractors[0] for r in rungs), joint, learning, seed, store)


def widened(rung: Rung, learning: Learning, seed: int, store: Store) -> Rung:
    """The same features under a head that compares with landmarks too; see `transfer.kernel`."""
    ends = np.cumsum([len(one.widths) for one in rung.extractors])
    lasts = tuple(int(end) - 1 for end in ends)
    return climb(rung.extractors, rung.seen, learning, seed, store, lasts=lasts)


def with_names(
    rung: Rung,
    learning: Learning,
    classes: Sequence[str],
    kind: Modality,
    seed: int,
    store: Store,
) -> list[Rung]:
    """The same head with an example more of each class, its name; none where that says nothing.

    Names say something where examples are what is said, and there are few of them.
    """
    if not learning.target.named:
        return []
    said = [name for name in map(kind.said, classes) if name is not None]
    if len(set(said)) < len(classes) or len(learning.labels) > FEW_EACH * len(classes):
        return []
    sides = [
        np.stack([*one.vectors([_prepared(name, kind, one.spec) for name in said])])
        for one in rung.extractors
    ]
    asked = (rung.extractors, rung.seen, learning, seed, store)
    return [climb(*asked, lasts=rung.lasts, names=np.hstack(sides))]


def _prepared(name: bytes, kind: Modality, spec: InputSpec) -> npt.NDArray[np.uint8]:
    return kind.prepare(kind.decode(name, "the name of a class", spec).raw, spec, spec.views[0])


def best_probe(rungs: Sequence[Rung]) -> tuple[Rung, list[Rung]]:
    """The probe with the least leave-one-out error, and all of them with the reason told.

    A wide head must be better by more than chance, and by what it costs.
    """
    least = min(rungs, key=_error)
    told = {True: "least leave-one-out error", False: "a larger leave-one-out error"}
    noted = [replace(rung, why=told[rung is least]) for rung in rungs]
    return next(new for new, old in zip(noted, rungs, strict=True) if old is least), noted


def _error(rung: Rung) -> float:
    error = np.inf if rung.error is None else rung.error
    return float(error / CLEARLY if rung.lasts else error)


def calibrated(rung: Rung, data: Dataset, learning: Learning, recipe: Recipe) -> Model:
    """The model of a rung: temperature and conformal sets from its honest scores, and novelty.

    Novelty comes from the learning examples; of a network that was trained on those, from the ones
    held back, since the others look more usual to it than new ones will.
    """
    judged = rung.judged
    usual = learning.place if judged.how == LEFT_OUT else judged.place
    temperature = fit_temperature(judged.scores, judged.labels)
    made = Model(
        classes=data.classes,
        extractors=rung.extractors,
        head=rung.head,
        temperature=temperature,
        threshold=conformal_threshold(judged.scores, judged.labels, recipe.coverage),
        novelty=Novelty.fit(rung.head.even_scaling()(rung.features[usual]), seed=recipe.seed),
        record={},
        modality=data.modality,
        task=data.task,
        judged=_kept(judged, temperature),
    )
    return made if recipe.at is None else made.at(recipe.at, recipe.positive)


def _kept(judged: Judged, temperature: float) -> Kept | None:
    """What other operating points can be chosen by; None where a bundle has no room for it."""
    if judged.scores.size > MOST_JUDGED:
        return None
    probabilities = softmax(judged.scores, temperature).astype(np.float32)
    return Kept(judged.how, probabilities, judged.labels)
