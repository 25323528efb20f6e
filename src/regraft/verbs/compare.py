"""compare: strategies side by side — same split, same examples, same seeds — as one page.

Every strategy learns from the same examples and is measured on the same held-out part. Nothing is
chosen by the held-out part: a curve shows it, and the last weights (averaged where the strategy
averages; of few examples half-way back to the closed-form head, for those that begin there) are
what counts.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from regraft.backbones.extractor import Extractor, extractor
from regraft.backbones.features import pass_over
from regraft.backbones.store import Store
from regraft.data.dataset import Dataset
from regraft.data.learnable import check_learnable
from regraft.data.sources import load, task_of
from regraft.errors import UsageError
from regraft.evaluation.calibration import fit_temperature
from regraft.modalities import modality
from regraft.progress import Progress, Quiet
from regraft.recipe import FIND, Recipe
from regraft.training.plan import Plan
from regraft.training.strategies import Strategy, strategy
from regraft.transfer.inputs import first_input, networks
from regraft.transfer.probe import HeadFit
from regraft.verbs.augmenting import ASKED, usual_augmentation, with_usual
from regraft.verbs.compared import (
    ALL,
    BUDGET,
    Comparison,
    Outcome,
    Telling,
    outcome_of,
    settle,
)
from regraft.verbs.ground import divided
from regraft.verbs.hardening import compared_by, under_attack
from regraft.verbs.kept import kept_head
from regraft.verbs.planning import Turn, drafted, small_batch
from regraft.verbs.prepare import prepare
from regraft.verbs.rungs import Learning
from regraft.verbs.settings import refuse_wrong_settings
from regraft.verbs.tasks import carried_out

if TYPE_CHECKING:
    from regraft.training.judging import Held
    from regraft.training.loop import Training
    from regraft.training.terms import Trained
    from regraft.training.tuning import Lesson, Ready

Numbers = npt.NDArray[np.int64]

SAID = ("label", "path_column", "text", "group", "split")  # of what tells the task
USUAL = ("scratch", "copy", "probe", "lp-ft")
EPOCHS = 10.0
FEWEST_STEPS = 100  # of a run on few examples
FEW = 1000  # examples: below, the weights that count may lie between the start and the end


def compare(
    data: Any,
    recipe: Recipe | None = None,
    *,
    strategies: Sequence[str] | None = None,
    labels: Sequence[int] = (),
    seeds: Sequence[int] = (0,),
    progress: Progress | None = None,
    store: Store | None = None,
    **settings: Any,
) -> Comparison:
    """Train by several strategies on the same examples and measure them on the same held-out part.

    data        a Dataset, or a source as for `regraft.load`
    strategies  names; see `training.strategies`, for boxes `verbs.detection.settings.WAYS`; None:
                the usual ones
    labels      also with so many examples of each class: learning curves
    seeds       of the draws of those examples, of order, augmentation and fresh weights
    settings    fields of `Recipe`: backbone, size, epochs, rate ...; the budget is that of all
                runs together, and shortens them where it must

    Raises UsageError with all that is wrong, DataError.
    """
    if isinstance(data, str | Path):
        settings["source"] = str(data)
    usual = recipe or Recipe(budget=BUDGET)
    said: dict[str, Any] = {}
    with suppress(UsageError):  # told below, with everything else that is wrong
        columns = {name: value for name, value in settings.items() if name in SAID}
        said = {name: getattr(usual.changed(**columns), name) for name in SAID}
    kept: dict[str, Any] = {"labels": labels, "seeds": seeds, "progress": progress, "store": store}
    found: Comparison = carried_out("compare", task_of(data, usual.task, **said))(
        data, usual, strategies=strategies, **kept, **settings
    )
    return found


def compare_on_features(
    data: Any,
    recipe: Recipe,
    *,
    strategies: Sequence[str] | None = None,
    labels: Sequence[int] = (),
    seeds: Sequence[int] = (0,),
    progress: Progress | None = None,
    store: Store | None = None,
    **settings: Any,
) -> Comparison:
    """`compare` where examples have classes."""
    strategies = USUAL if strategies is None else strategies
    asked = _asked(recipe, settings, strategies, labels, seeds)
    opened = store or Store()
    try:
        return _Comparison(asked, opened, progress or Quiet()).run(data, strategies, labels, seeds)
    finally:
        if store is None:
            opened.close()


def _asked(
    recipe: Recipe,
    settings: dict[str, Any],
    strategies: Sequence[str],
    labels: Sequence[int],
    seeds: Sequence[int],
) -> Recipe:
    """The recipe with its settings. Raises UsageError with all that is wrong or has no use."""
    mistakes = [*_wrong_names(strategies), *_wrong_numbers(labels, seeds)]
    try:
        asked = recipe.changed(**settings)
        mistakes += _useless(asked)
    except UsageError as error:
        mistakes += error.mistakes
    if mistakes:
        raise UsageError(*mistakes)
    return asked


def _wrong_names(strategies: Sequence[str]) -> Iterator[str]:
    if not strategies:
        yield "strategies: name one or several"
    if len(set(strategies)) < len(strategies):
        yield f"strategies: name each once, got {', '.join(strategies)}"
    for name in strategies:
        try:
            strategy(name)
        except UsageError as error:
            yield from error.mistakes


def _wrong_numbers(labels: Sequence[int], seeds: Sequence[int]) -> Iterator[str]:
    if any(type(k) is not int or k < 1 for k in labels):
        yield f"labels: expected whole numbers of 1 or more, got {list(labels)}"
    if not seeds or any(type(seed) is not int or seed < 0 for seed in seeds):
        yield f"seeds: expected whole numbers of 0 or more, got {list(seeds)}"
    for name, numbers in (("labels", labels), ("seeds", seeds)):
        if len(set(map(str, numbers))) < len(numbers):
            yield f"{name}: give each once, got {list(numbers)}"


def _useless(recipe: Recipe) -> Iterator[str]:
    """What a fit obeys and a comparison cannot."""
    if recipe.strategy:
        yield "strategy: is for fit; a comparison has strategies"
    if recipe.log:
        yield "log: is for fit; the record of a comparison has all curves"
    if recipe.at is not None or recipe.positive is not None:
        yield "at, positive: are for fit; a comparison is of the most probable classes"
    if recipe.coverage != Recipe.coverage:
        yield "coverage: is for fit: a comparison makes no sets"
    if recipe.rate == FIND:
        yield f"rate: {FIND} is for fit: a comparison is at the same rate for all"
    for name in ("backbone", "views"):
        if len(getattr(recipe, name)) > 1:
            yield f"{name}: a comparison is of one, got {', '.join(getattr(recipe, name))}"


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
        self._read(self._listed(source, strategies))
        wanted = [strategy(name).of(self.row.spec.reads) for name in strategies]
        self._extract()
        self.attack = compared_by(wanted, self.recipe)
        amounts: list[int | str] = [*sorted(labels), ALL]
        jobs = [(one, k, seed) for k in amounts for seed in seeds for one in wanted]
        outcomes = []
        for i, (one, k, seed) in enumerate(jobs):
            training = sum(job[0].trains for job in jobs[i:])
            now = time.monotonic()
            until = now + (self.until - now) / max(1, training)
            outcomes.append(self._outcome(one, k, seed, until))
            self.progress.say(f"{one.name}, {k} labels, seed {seed}: {outcomes[-1].accuracy:.1%}")
        about = (self.data, self.measured, self.recipe, self.row.name, self.one.spec.size)
        told = Telling(*about, self.attack)
        return Comparison(told.record(wanted, outcomes), tuple(outcomes))

    def _listed(self, source: Any, strategies: Sequence[str]) -> Dataset:
        """The examples by name; what cannot be obeyed is refused before any is opened."""
        r = self.recipe
        columns = {name: getattr(r, name) for name in ("label", "path_column", "text", "group")}
        listed = load(source, split=r.split, root=r.root, modality=r.modality, **columns)
        check_learnable(listed)
        self.kind = modality(listed.modality)
        self.row = networks(r, self.kind.views, self.kind.inputs)[0]
        trained = r.changed(strategy=tuple(strategies))
        refuse_wrong_settings(trained, self.kind, [self.row], listed.classes)
        return listed

    def _read(self, listed: Dataset) -> None:
        files = listed.table["path"].to_list()
        looks = pass_over(files, self.kind, self.store, None, self.progress)
        prepared = prepare(listed, looks, self.recipe)
        self.data = prepared.dataset
        check_learnable(self.data.learning)
        self.learning, self.measured = self.data.learning, self.data.held_out
        self.groups = prepared.left_out_together(self.learning)

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

    def _outcome(self, wanted: Strategy, k: int | str, seed: int, until: float) -> Outcome:
        some = drawn(self.learning.targets, k, seed)
        begin = time.perf_counter()
        fit = self._head(some, seed)
        probing = time.perf_counter() - begin + self.extracting * len(some) / len(self.learning)
        if not wanted.trains:
            answer = fit.head.scores(self.held_seen.features).argmax(1)  # type: ignore[arg-type]
            outcome = Outcome(wanted.name, k, seed, answer == self.truth, answer, probing)
            return replace(outcome, robust=self._held_up(partial(self._frozen, fit, some), k))
        run, trained = self._trained(wanted, k, seed, some, fit, until)
        before = probing if wanted.head == "ridge" else 0.0
        outcome = outcome_of(wanted.name, k, seed, self.truth, run, trained, before)
        return replace(outcome, robust=self._held_up(lambda: run.model, k))

    def _held_up(self, model: Callable[[], Any], k: int | str) -> npt.NDArray[np.bool_] | None:
        """Which answers hold under attack, where a strategy learns for that."""
        if not self.attack or k != ALL:
            return None
        return under_attack(model(), self._held, self.attack, self.recipe.seed)

    def _frozen(self, fit: HeadFit, some: Numbers) -> Any:
        """The probe as one network."""
        from regraft.training.start import begun

        temperature = fit_temperature(fit.left_out, self.learning.targets[some])
        return begun(strategy("probe"), self.row, self.one.spec, fit.head, temperature, 0)

    def _head(self, some: Numbers, seed: int) -> HeadFit:
        assert self.seen.features is not None
        return kept_head(
            self.store,
            self.seen.features[some],
            self.learning.targets[some],
            classes=len(self.data.classes),
            widths=self.seen.widths,
            groups=self.groups[some],
            seed=seed,
        )

    def _trained(
        self, wanted: Strategy, k: int | str, seed: int, some: Numbers, fit: HeadFit, until: float
    ) -> tuple["Training", "Trained"]:
        """The run of a strategy, with as many steps as fit before `until` of time.monotonic()."""
        from regraft.training.averaging import copied
        from regraft.training.terms import Execution
        from regraft.training.tuning import ready

        lesson, r = self._lesson(some), self.recipe
        temperature = fit_temperature(fit.left_out, lesson.labels)
        plan = self._plan(wanted, len(some), seed)
        about = (self.row, self.one.spec, fit.head, temperature, lesson, plan, self.kind)
        begun = ready(wanted, *about, engine=self.one.engine_name)
        held = begun.taken(self._held)
        steps = min(plan.steps, _affordable(begun, held, until))
        begun = replace(begun, plan=replace(plan, steps=steps))
        begun.fill(self.progress)
        run = begun.training(
            held=held,
            execution=Execution(r.workers or 0, r.micro_batch, until=until, compiled=r.compile),
            patience=r.patience or None,
            progress=self.progress,
        )
        start = copied(run.moving)
        trained = run.run()
        settle(run, trained, start, wanted.back if len(some) < FEW else 0.0)
        return run, trained

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
        return held_back(lesson, self.kind, self.row, self.one.spec)

    def _plan(self, wanted: Strategy, n: int, seed: int) -> Plan:
        r, batch = self.recipe, self.recipe.batch or small_batch(n)
        plan = drafted(Turn(wanted), r, self.one.spec.size, self._steps(n, batch), batch, seed)
        return plan if r.augment is not None else with_usual(plan, self._usual)

    @cached_property
    def _usual(self) -> str:
        """The usual augmentation as far as it suits the examples to learn from."""
        n = len(self.learning)
        own = Learning(np.arange(n), self.learning.targets, self.groups, len(self.data.classes))
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


def _affordable(begun: "Ready", held: "Held", until: float) -> int:
    """Steps for which there is time beside the looks, of which a longer run has more."""
    from regraft.training.loop import LOOKS

    pace, plan = begun.pace(), begun.plan
    look = _look_seconds(begun, held) * (2 if plan.average else 1)  # of the averaged weights too
    left = until - time.monotonic() - pace.before - 2 * look  # at the start and for the answers
    epoch = len(begun.material.labels) / plan.batch
    steps = 1
    for looks in range(LOOKS, 1, -1):
        steps = int((left - looks * look) / pace.step)
        if steps >= (looks - 0.5) * epoch:
            break
    return max(1, steps)


def _look_seconds(begun: "Ready", held: "Held") -> float:
    """Of one look at all examples, by one at a part of them."""
    from regraft.training.judging import AT_ONCE

    some = replace(held, pixels=held.pixels[:AT_ONCE])
    device = next(begun.model.parameters()).device
    start = time.perf_counter()
    some.logits(begun.model, device)
    return (time.perf_counter() - start) * len(held.pixels) / len(some.pixels)


def drawn(labels: Numbers, k: int | str, seed: int) -> Numbers:
    """Positions of `k` examples of each class, or of as many as there are, drawn by the seed."""
    if k == ALL:
        return np.arange(len(labels))
    rng = np.random.default_rng([seed, 0xC0])
    own = [rng.permutation(np.flatnonzero(labels == c))[: int(k)] for c in np.unique(labels)]
    return np.sort(np.concatenate(own))
