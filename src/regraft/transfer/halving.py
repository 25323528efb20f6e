"""Successive halving: every candidate is screened cheaply, the better half measured thoroughly.

See ranking.py, which says what is ranked and tells the result.
"""

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from regraft.backbones.extractor import Extractor, extractor
from regraft.backbones.features import pass_over
from regraft.backbones.store import Store
from regraft.data.dataset import Dataset, listed
from regraft.data.findings import Finding
from regraft.data.inspection import inspect
from regraft.data.splits import joined
from regraft.errors import BackboneError, DataError
from regraft.evaluation.intervals import Interval, bootstrap
from regraft.modalities import modality
from regraft.modalities.base import Modality
from regraft.modalities.spec import UNITS, InputSpec
from regraft.progress import Progress
from regraft.recipe import Recipe
from regraft.transfer.block_weights import subsample
from regraft.transfer.candidates import Candidate, Skipped, parameters, pictures_per_second
from regraft.transfer.probe import fit_head
from regraft.transfer.transferability import h_score, knn_leave_one_out, logme

MOST = 512  # examples that networks are compared on
ALWAYS = 3  # networks that are measured, where there are so many
CONVERSION = 15.0  # seconds that choosing and converting for the fastest engine may take
SLICE = 16  # pictures between two looks at the clock
VOTES = 5  # neighbours in k-NN, where classes have more examples than that

Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class RankRow:
    """What is known of one network on these examples.

    leave_one_out        accuracy of the ridge head on all blocks, with its 95 % bootstrap interval
    error                mean squared leave-one-out error of the head's scores
    knn, logme, h_score  of the last layer; see `regraft.transfer.transferability`
    upstream_score       ImageNet-1k top-1 in per cent; None: not stated
    megabytes            of the parameters in float32
    pictures_per_second  of `engine` at `size` on this machine, decoding not counted
    seconds              that the network took in this call
    stage                ``measured`` as a fit would begin with it, or only ``screened``
    note                 what to bear in mind; may be empty
    unit                 of `size`
    """

    name: str
    leave_one_out: Interval
    error: float
    knn: float
    logme: float
    h_score: float
    upstream_score: float | None
    parameters: int
    megabytes: float
    pictures_per_second: float
    engine: str
    size: int
    licence_code: str
    licence_weights: str
    seconds: float
    stage: str
    note: str = ""
    unit: str = "px"


@dataclass(frozen=True, eq=False)
class Examples:
    """The labelled examples that networks are compared on.

    labels    (n,) class numbers without gaps
    groups    (n,) rows with the same number are left out together: copies, one patient
    sides     shorter side of each picture, pixels
    left_out  files that cannot be read
    """

    kind: Modality
    paths: list[str]
    shas: list[str]
    labels: Numbers
    groups: Numbers
    sides: list[int]
    left_out: tuple[Skipped, ...]

    @classmethod
    def of(cls, data: Dataset, seed: int, store: Store, progress: Progress) -> "Examples":
        """At most MOST of the rows, the classes in proportion. Raises DataError without two."""
        some = data.with_table(data.table[subsample(data.targets, MOST, seed)])
        kind = modality(data.modality)
        seen = pass_over(some.table["path"].to_list(), kind, store, None, progress)
        found = inspect(some, seen.shas, seen.looks)
        clean, unread = found.dataset, [f for f in found.findings if f.kind == "unreadable"]
        number = {n: i for i, ids in enumerate(joined(clean, found.together)) for n in ids}
        classes, labels = np.unique(clean.targets, return_inverse=True)
        if len(classes) < 2:
            raise DataError(_too_few(unread))
        return cls(
            kind=kind,
            paths=clean.table["path"].to_list(),
            shas=clean.table["sha256"].to_list(),
            labels=labels,
            groups=np.array([number[name] for name in clean.table["id"]], np.int64),
            sides=[kind.natural_size(facts) for facts in seen.facts.values()],
            left_out=tuple(Skipped(f.files[0], f.reason) for f in unread),
        )

    @property
    def spread(self) -> float:
        """Mean variance of the one-hot labels."""
        shares = np.bincount(self.labels) / len(self.labels)
        return float(np.mean(shares * (1 - shares)))

    def judge(
        self, features: npt.NDArray[np.float32], widths: Sequence[int], seed: int
    ) -> dict[str, Any]:
        """What leave-one-out and the scores say of features (n, d), by the fields of `RankRow`.

        Blocks count the same: to weight them takes several times as long, and in trials with so few
        photos or digits no weights were kept.
        """
        labels, groups = self.labels, self.groups
        classes = int(labels.max()) + 1
        fit = fit_head(
            features, labels, classes=classes, widths=widths, groups=groups, seed=seed, weigh=False
        )
        answers = np.eye(classes)[fit.left_out.argmax(1)]
        found = bootstrap(labels, answers, metrics=["accuracy"], seed=seed, groups=groups)
        last = features[:, -widths[-1] :]
        votes = int(np.clip(np.median(np.bincount(labels)) - 1, 1, VOTES))
        return {
            "leave_one_out": found["accuracy"],
            "error": fit.error,
            "knn": knn_leave_one_out(last, labels, votes, groups),
            "logme": logme(last, labels),
            "h_score": h_score(last, labels),
        }


def _too_few(unread: Sequence[Finding]) -> str:
    names = listed(name for finding in unread for name in finding.files)
    told = f"; these cannot be read: {names}" if unread else ""
    return f"a ranking needs readable examples of two classes or more{told}"


class LeftOut(Exception):
    """Why a network is not tried any further, in a sentence."""


@dataclass(frozen=True)
class Clock:
    """Seconds that may be used from a `time.perf_counter` on; None: any number."""

    start: float
    limit: float | None

    def check(self, needed: float = 0.0, share: float = 1.0) -> None:
        """Raise LeftOut unless more seconds than `needed` are left of a share of the limit."""
        if self.limit is None:
            return
        if self.start + share * self.limit - time.perf_counter() <= needed:
            more = f"; it would need about {needed:.0f} s" if needed else ""
            raise LeftOut(f"there was no time for it: the limit is {self.limit:g} s{more}")


class Stage(NamedTuple):
    """One round of the halving.

    spec    the input of a candidate
    engine  that runs it where none was asked for; None: the fastest
    share   of the time limit that is used up when the stage ends
    """

    name: str
    spec: Callable[[Candidate], InputSpec]
    engine: str | None
    share: float


# PyTorch converts nothing, which for so few small pictures is faster than the fastest engine.
SCREENED = Stage("screened", lambda one: one.low, "torch", share=0.5)
MEASURED = Stage("measured", lambda one: one.own, None, share=1.0)


@dataclass(frozen=True)
class Halving:
    """One ranking of candidates; `skipped` grows by those that get no row."""

    recipe: Recipe
    min_rate: float | None
    clock: Clock
    examples: Examples
    store: Store
    progress: Progress
    skipped: list[Skipped]

    def run(self, candidates: Sequence[Candidate]) -> list[RankRow]:
        """Rows from the best to the worst."""
        if self.min_rate is not None:
            candidates = [one for one in candidates if self._tried(one, self._refuse_slow)]
        if len(candidates) <= ALWAYS and self.clock.limit is None:
            rows = [self._tried(one, self._measured, MEASURED) for one in candidates]
            return self._ordered(row for row in rows if row)
        return self._ordered(self._better_half(self._screened(candidates)))

    def _ordered(self, rows: Iterable[RankRow]) -> list[RankRow]:
        return ordered(rows, self.examples.spread)

    def _screened(self, candidates: Sequence[Candidate]) -> list[tuple[Candidate, RankRow]]:
        found: list[tuple[Candidate, RankRow]] = []
        for one in candidates:
            # The first may take all the time: one row is better than none.
            stage = SCREENED if found else SCREENED._replace(share=1.0)
            if row := self._tried(one, self._measured, stage):
                found.append((one, row))
        return found

    def _better_half(self, screened: list[tuple[Candidate, RankRow]]) -> list[RankRow]:
        """The better half measured, the rest as it was screened."""
        kept = max(ALWAYS, math.ceil(len(screened) / 2))
        tried = {row.name: one for one, row in screened}
        rows = self._ordered(row for _, row in screened)
        rest = [replace(row, note="only screened: not in the better half") for row in rows[kept:]]
        return [*(self._again(tried[row.name], row) for row in rows[:kept]), *rest]

    def _tried(self, one: Candidate, step: Callable[..., Any], *settings: Any) -> Any:
        """What a step gives; None, and a reason in `skipped`, where it fails."""
        try:
            self.clock.check()
            return step(one, *settings)
        except (BackboneError, LeftOut) as error:
            self.skipped.append(Skipped(one.row.name, str(error)))
            return None

    def _refuse_slow(self, one: Candidate) -> bool:
        speed = pictures_per_second(extractor(one.row, one.own, self.recipe.engine))
        if speed < (self.min_rate or 0):
            told = f"{speed:.0f} examples/s here at {one.own.told}, less than {self.min_rate:g}"
            raise LeftOut(told)
        return True

    def _again(self, one: Candidate, screened: RankRow) -> RankRow:
        """Measured; as it was screened where that cannot be done."""
        try:
            if not one.is_chosen(self.recipe.engine):  # what follows could not be interrupted
                self.clock.check(CONVERSION)
            found = self._measured(one, MEASURED)
        except (BackboneError, LeftOut) as error:
            return replace(screened, note=f"only screened: {error}")
        return replace(found, seconds=round(screened.seconds + found.seconds, 2))

    def _measured(self, one: Candidate, stage: Stage) -> RankRow:
        start, row = time.perf_counter(), one.row
        made = extractor(row, stage.spec(one), self.recipe.engine or stage.engine)
        features, widths = self._features(made, stage.share)
        judged = self.examples.judge(features, widths, self.recipe.seed)
        return RankRow(
            name=row.name,
            **judged,
            upstream_score=row.upstream_score,
            parameters=parameters(row),
            megabytes=round(4 * parameters(row) / 1e6, 1),
            pictures_per_second=pictures_per_second(made),
            engine=made.engine_name,
            size=made.spec.size,
            licence_code=row.licence_code,
            licence_weights=row.licence_weights,
            seconds=round(time.perf_counter() - start, 2),
            stage=stage.name,
            unit=UNITS[made.spec.reads].sign,
        )

    def _features(
        self, made: Extractor, share: float
    ) -> tuple[npt.NDArray[np.float32], tuple[int, ...]]:
        """(n, d), and the widths of the blocks. What time runs out on stays in the store."""
        e, parts = self.examples, []
        title = f"{made.row.name} at {made.spec.told}"
        with self.progress.stage(title, len(e.paths)) as advance:
            for start in range(0, len(e.paths), SLICE):
                self.clock.check(share=share)
                some = slice(start, start + SLICE)
                seen = pass_over(e.paths[some], e.kind, self.store, made, None, e.shas[some])
                if changed := [f"{e.paths[start + i]}: {v}" for i, v in seen.verdicts.items()]:
                    raise DataError("\n".join(["files changed during the ranking:", *changed]))
                parts.append(seen)
                advance(len(seen.shas))
        return np.vstack([p.features for p in parts if p.features is not None]), parts[0].widths


def ordered(rows: Iterable[RankRow], spread: float) -> list[RankRow]:
    """Best first, with a note on those that the best is not surely better than.

    spread  mean variance of the one-hot labels, against which squared errors are seen

    Measured rows come before those that were only screened. Each goes by squared error, which is
    less left to chance than accuracy; within a hundredth of the spread the faster is better.
    """

    def key(row: RankRow) -> tuple[bool, float, float]:
        only_screened = row.stage != MEASURED.name
        return only_screened, round(row.error / spread, 2), -row.pictures_per_second

    found = sorted(rows, key=key)
    return found[:1] + [_compared(row, found[0].leave_one_out) for row in found[1:]]


def _compared(row: RankRow, best: Interval) -> RankRow:
    equal = not row.note and row.leave_one_out.high >= best.value
    return replace(row, note="not surely worse than the best") if equal else row
