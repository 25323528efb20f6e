"""A teacher in a fit: what a model says of the examples that a smaller one learns from."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from regraft.backbones.store import Store
from regraft.data.dataset import Dataset
from regraft.data.sources import load
from regraft.errors import UsageError
from regraft.model.model import Model
from regraft.progress import Progress
from regraft.training.teaching import See, Teaching
from regraft.verbs.evaluate import same_classes
from regraft.verbs.ladder import FEWEST_HELD
from regraft.verbs.measuring import listed_as, short
from regraft.verbs.members import Member
from regraft.verbs.prepare import Prepared
from regraft.verbs.rungs import Learning, Numbers, features_of, positions

UNLABELLED = "unlabelled"  # begins the ids of examples that only the teacher has an answer to


@dataclass(frozen=True, eq=False)
class Teacher:
    """A model, and how a smaller one learns from it; see `Teaching`.

    unlabelled  a source of examples without labels, or whose labels are not looked at; None: none
    consistent  it answers to each augmented picture anew
    """

    member: Member
    unlabelled: Any = None
    temperature: float = Teaching.temperature
    hard: float = Teaching.hard
    consistent: bool = False

    @property
    def model(self) -> Model:
        return self.member.model

    def joined(self, dataset: Dataset) -> Dataset:
        """The examples with its classes, and those without labels below them.

        Raises UsageError where the teacher does not know a class, or they are of another kind.
        """
        if dataset.modality != self.model.modality:
            raise UsageError(
                f"data: is of the kind {dataset.modality}, and the teacher reads "
                f"{self.model.modality}"
            )
        whole = same_classes(self.model, dataset.labelled)
        whole = whole.with_table(dataset.table)
        if self.unlabelled is None:
            return whole
        more = load(self.unlabelled, modality=listed_as(self.model))
        if more.modality != dataset.modality:
            raise UsageError(f"unlabelled: is of the kind {more.modality}, not {dataset.modality}")
        bare = more.table.with_columns(
            id=f"{UNLABELLED}/" + pl.col("id"),
            label=pl.lit(None, pl.String),
            split=pl.lit(None, pl.String),
        )
        new = bare.filter(~pl.col("path").is_in(whole.table["path"].to_list()))
        return whole.with_table(pl.concat([whole.table, new]))

    def taught(
        self, prepared: Prepared, learning: Learning, store: Store, progress: Progress
    ) -> Learning:
        """The examples to learn from with its answers, and those without a label beside them.

        Of examples that taught the teacher itself its answers are those of before, where it keeps
        them: what it says of them now is surer than what it would say of others.
        """
        data, units = prepared.dataset, prepared.left_out_together(prepared.dataset)
        own = np.union1d(learning.place, self._given(data))
        place = np.concatenate([own, self._free(prepared)])
        files = [data.table["path"][int(i)] for i in place]
        seen = self.model.features(files, store=store, progress=progress)
        logits = self.member.logits(features_of(seen))
        names = [short(sha) for sha in seen.shas]
        for i, name in enumerate(names):
            if name in self.member.judged:
                logits[i] = self.member.judged[name]
        known = np.arange(len(place)) < len(own)
        labels = np.where(known, data.targets[place], logits.argmax(1))
        clean = known & self._judging(names, known, progress)
        see = self._see() if self.consistent else None
        return replace(
            learning,
            place=place,
            labels=labels,
            groups=units[place],
            teaching=Teaching(logits, known, clean, self.temperature, self.hard, see),
        )

    def _given(self, data: Dataset) -> Numbers:
        """Places of a validation part that was given beside a test part: a fit leaves it alone,
        and it has not taught the teacher.
        """
        if data.split_source != "given" or not len(data.test.labelled):
            return np.zeros(0, np.int64)
        return positions(data, data.validation.labelled)

    def _judging(
        self, names: Sequence[str], known: npt.NDArray[np.bool_], progress: Progress
    ) -> npt.NDArray[np.bool_]:
        """(n,) by which examples the student is judged, by their short hashes.

        By those that have not taught the teacher; where they are too few, by those that it was
        judged by itself, and else by all: that is told, since it makes the student look surer.
        """
        clean = np.array([self.member.is_clean_of(name) for name in names])
        honest = np.array([self.member.is_honest_on(name) for name in names])
        if (clean & known).sum() >= FEWEST_HELD:
            return clean
        progress.say(
            f"{(clean & known).sum()} examples have not taught the teacher: too few to judge the "
            "student by, so its confidence may be too high; give the data a validation part"
        )
        return honest if (honest & known).sum() >= FEWEST_HELD else known

    def _free(self, prepared: Prepared) -> Numbers:
        """Places of the examples without a label that are not the same as one to measure on."""
        data = prepared.dataset
        units = prepared.left_out_together(data)
        measured = np.isin(units, units[positions(data, data.held_out)])
        bare = data.table["label"].is_null() & (data.table["split"].fill_null("train") == "train")
        return np.flatnonzero(bare.to_numpy() & ~measured)

    def _see(self) -> See:
        from regraft.verbs.seeing import Seeing

        return Seeing(self.model)
