"""compare: strategies side by side — same split, same examples, same seeds — as one page.

Every strategy learns from the same examples and is measured on the same held-out part. Nothing is
chosen by the held-out part: a curve shows it, and the last weights (averaged where the strategy
averages) are what counts.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from regraft.backbones.features import Extractor, extractor, pass_over
from regraft.backbones.store import Store
from regraft.data.dataset import Dataset
from regraft.data.sources import check_learnable
from regraft.errors import StorageError, UsageError
from regraft.evaluation.calibration import fit_temperature
from regraft.modalities import modality
from regraft.progress import Progress, Quiet
from regraft.recipe import FIND, Recipe
from regraft.storage import write_atomically
from regraft.training.plan import Plan
from regraft.training.strategies import Strategy, refusal, strategy
from regraft.transfer.inputs import first_input, networks
from regraft.transfer.probe import HeadFit
from regraft.verbs.augmenting import ASKED, usual_augmentation, with_usual
from regraft.verbs.compared import ALL, Outcome, Telling, outcome_of
from regraft.verbs.ground import divided
from regraft.verbs.kept import kept_head
from regraft.verbs.planning import Turn, drafted, small_batch
from regraft.verbs.prepare import load
from regraft.verbs.rungs import Learning

if TYPE_CHECKING:
    from regraft.training.judging import Held
    from regraft.training.loop import Training
    from regraft.training.terms import Trained
    from regraft.training.tuning import Lesson

Numbers = npt.NDArray[np.int64]

USUAL = ("scratch", "copy", "probe", "lp-ft")
EPOCHS = 10.0
FEWEST_STEPS = 100  # of a run on few examples


@dataclass(frozen=True)
class Comparison:
    """What a comparison found.

    record    plain data, see `compare_page`
    outcomes  of every single run
    """

    record: dict[str, Any]
    outcomes: tuple[Outcome, ...] = field(repr=False, default=())

    def save(self, path: str | Path) -> Path:
        """Write as a page (.html) or as JSON (.json). Raises UsageError, StorageError."""
        import json

        from regraft.evaluation.compare_page import compare_page

        path = Path(path)
        write = {
            ".html": lambda: compare_page(self.record),
            ".json": lambda: json.dumps(self.record, indent=2) + "\n",
        }
        if path.suffix not in write:
            raise UsageError(f"path: {path} ends in neither .html nor .json")
        if not path.parent.is_dir():
            raise StorageError(f"{path.parent}: no such folder; make it first")
        write_atomically(path, write[path.suffix]().encode())
        return path


def compare(
    data: Any,
    recipe: Recipe | None = None,
    *,
    strategies: Sequence[str] = USUAL,
    labels: Sequence[int] = (),
    seeds: Sequence[int] = (0,),
    progress: Progress | None = None,
    store: Store | None = None,
    **settings: Any,
) -> Comparison:
    """Train by several strategies on the same examples and measure them on the same held-out part.

    data        a Dataset, or a source as for `regraft.load`
    strategies  names; see `training.strategies`
    labels      also with so many examples of each class: learning curves
    seeds       of the draws of those examples, of order, augmentation and fresh weights
    settings    fields of `Recipe`: backbone, size, epochs, rate ...; the budget is that of all
                runs together, and shortens them where it must

    Raises UsageError with all that is wrong, DataError.
    """
    asked = (recipe or Recipe(budget=600.0)).changed(**settings)
    if isinstance(data, str | Path):
        asked = asked.changed(source=str(data))
    _refuse(asked, strategies, labels, seeds)
    opened = store or Store()
    try:
        return _Comparison(asked, opened, progress or Quiet()).run(data, strategies, labels, seeds)
    finally:
        if store is None:
            opened.close()


def _refuse(
    recipe: Recipe, strategies: Sequence[str], labels: Sequence[int], seeds: Sequence[int]
) -> None:
    mistakes: list[str] = []
    for name in strategies:
        try:
            strategy(name)
        except UsageError as error:
            mistakes += error.mistakes
    if not strategies:
        mistakes.append("strategies: name one or several")
    if any(type(k) is not int or k < 1 for k in labels):
        mistakes.append(f"labels: expected whole numbers of 1 or more, got {list(labels)}")
    if not seeds or any(type(seed) is not int or seed < 0 for seed in seeds):
        mistakes.append(f"seeds: expected whole numbers of 0 or more, got {list(seeds)}")
    if recipe.rate == FIND:
        mistakes.append(f"rate: {FIND} is for fit: a comparison is at the same rate for all")
    if mistakes:
        raise UsageError(*mistakes)


class _Comparison:
    """Its stages stand below in the order in which they happen."""

    def __init__(self, recipe: Recipe, store: Store, progress: Progress) -> None:
        self.recipe, self.store, self.progress = recipe, store, progress
        self.until = time.monotonic() + recipe.budget

    def run(
        self,
        source: Any,
        strategies: Sequence[str],
        labels: Sequence[int],
        seeds: Sequence[int],
    ) -> Comparison:
        self._read(source)
        wanted = [self._offered(name) for name in strategies]
        self._extract()
        amounts: list[int | str] = [*sorted(labels), ALL]
        jobs = [(one, k, seed) for k in amounts for seed in seeds for one in wanted]
        outcomes = []
        for i, (one, k, seed) in enumerate(jobs):
            training = sum(job[0].trains for job in jobs[i:])
            share = (self.until - time.monotonic()) / max(1, training)
            outcomes.append(self._outcome(one, k, seed, share))
            self.progress.say(f"{one.name}, {k} labels, seed {seed}: {outcomes[-1].accuracy:.1%}")
        told = Telling(self.data, self.measured, self.recipe, self.row.name, self.one.spec.size)
        return Comparison(told.record(wanted, outcomes), tuple(outcomes))

    def _read(self, source: Any) -> None:
        r = self.recipe
        if isinstance(source, Dataset):
            self.data = source
        else:
            self.data = load(
                source,
                label=r.label,
                path_column=r.path_column,
                group=r.group,
                split=r.split,
                root=r.root,
                parts=r.parts,
                seed=r.seed,
                progress=self.progress,
                store=self.store,
            )
        check_learnable(self.data.learning)
        self.kind = modality(self.data.modality)
        self.learning, self.measured = self.data.learning, self.data.held_out
        self.row = networks(r, self.kind.views)[0]

    def _offered(self, name: str) -> Strategy:
        wanted = strategy(name)
        if reason := refusal(wanted, self.row):
            raise UsageError(f"strategies: {reason}")
        return wanted

    def _extract(self) -> None:
        """Frozen features of all examples: where the probe, and what starts from it, begin."""
        files = self.learning.table["path"].to_list()
        looks = pass_over(files[:: max(1, len(files) // 48)], self.kind, self.store)
        sizes = [self.kind.natural_size(facts) for facts in looks.facts.values()]
        spec = first_input(self.row, self.recipe, sizes).spec
        self.one: Extractor = extractor(
            self.row, replace(spec, views=spec.views[:1]), self.recipe.engine
        )
        start = time.perf_counter()
        seen = pass_over(files, self.kind, self.store, self.one, self.progress)
        self.extracting = time.perf_counter() - start
        measured = self.measured.table["path"].to_list()
        self.seen = seen
        self.truth = self.measured.targets
        self.held_seen = pass_over(measured, self.kind, self.store, self.one, self.progress)

    def _outcome(self, wanted: Strategy, k: int | str, seed: int, share: float) -> Outcome:
        some = drawn(self.learning.targets, k, seed)
        begin = time.perf_counter()
        fit = self._head(some, seed)
        probing = time.perf_counter() - begin + self.extracting * len(some) / len(self.learning)
        if not wanted.trains:
            answer = fit.head.scores(self.held_seen.features).argmax(1)  # type: ignore[arg-type]
            return Outcome(wanted.name, k, seed, answer == self.truth, answer, probing)
        run, trained = self._trained(wanted, k, seed, some, fit, share)
        before = probing if wanted.head == "ridge" else 0.0
        return outcome_of(wanted.name, k, seed, self.truth, run, trained, before)

    def _head(self, some: Numbers, seed: int) -> HeadFit:
        assert self.seen.features is not None
        return kept_head(
            self.store,
            self.seen.features[some],
            self.learning.targets[some],
            classes=len(self.data.classes),
            widths=self.seen.widths,
            seed=seed,
        )

    def _trained(
        self, wanted: Strategy, k: int | str, seed: int, some: Numbers, fit: HeadFit, share: float
    ) -> tuple["Training", "Trained"]:
        """The run of a strategy, with as many steps as its share of the time allows."""
        from regraft.training.terms import Execution
        from regraft.training.tuning import ready

        lesson, r = self._lesson(some), self.recipe
        temperature = fit_temperature(fit.left_out, lesson.labels)
        plan = self._plan(wanted, len(some), seed)
        about = (self.row, self.one.spec, fit.head, temperature, lesson, plan, self.kind)
        begun = ready(wanted, *about, engine=self.one.engine_name)
        pace = begun.pace()
        affordable = int((share - pace.before) / pace.step)
        begun = replace(begun, plan=replace(plan, steps=max(1, min(plan.steps, affordable))))
        begun.fill(self.progress)
        run = begun.training(
            held=begun.taken(self._held),
            execution=Execution(workers=r.workers or 0, micro=r.micro_batch, compiled=r.compile),
            patience=r.patience or None,
            progress=self.progress,
        )
        return run, run.run()

    def _lesson(self, some: Numbers) -> "Lesson":
        from regraft.training.tuning import Lesson

        paths = self.learning.table["path"].to_list()
        whole = Lesson(paths, self.seen.shas, self.learning.targets, len(self.data.classes))
        return whole.some(some)

    @cached_property
    def _held(self) -> "Held":
        from regraft.training.tuning import Lesson, held_back

        paths = self.measured.table["path"].to_list()
        lesson = Lesson(paths, self.held_seen.shas, self.truth, len(self.data.classes))
        return held_back(lesson, self.kind, self.one.spec)

    def _plan(self, wanted: Strategy, n: int, seed: int) -> Plan:
        r, batch = self.recipe, self.recipe.batch or small_batch(n)
        plan = drafted(Turn(wanted), r, self.one.spec.size, self._steps(n, batch), batch, seed)
        return plan if r.augment is not None else with_usual(plan, self._usual)

    @cached_property
    def _usual(self) -> str:
        """The usual augmentation as far as it suits the examples to learn from."""
        n = len(self.learning)
        own = Learning(np.arange(n), self.learning.targets, np.arange(n), len(self.data.classes))
        train, held = divided(own, self.recipe.seed)
        some = np.random.default_rng(self.recipe.seed).permutation(held)[:ASKED]
        head = self._head(train, self.recipe.seed).head
        return usual_augmentation(head, self.one, self.kind, self._lesson(some))

    def _steps(self, n: int, batch: int) -> int:
        if self.recipe.steps is not None:
            return self.recipe.steps
        if self.recipe.epochs is not None:
            return max(1, round(self.recipe.epochs * n / batch))
        return max(FEWEST_STEPS, round(EPOCHS * n / batch))


def drawn(labels: Numbers, k: int | str, seed: int) -> Numbers:
    """Positions of `k` examples of each class, or of as many as there are, drawn by the seed."""
    if k == ALL:
        return np.arange(len(labels))
    rng = np.random.default_rng([seed, 0xC0])
    own = [rng.permutation(np.flatnonzero(labels == c))[: int(k)] for c in np.unique(labels)]
    return np.sort(np.concatenate(own))
