"""compare: strategies side by side — same split, same examples, same seeds — as one page.

Every strategy learns from the same examples and is measured on the same held-out part. Nothing is
chosen by the held-out part: a curve shows it, and the last weights (averaged where the strategy
averages; of few examples half-way back to the closed-form head, for those that begin there) are
what counts.
"""

import time
from collections.abc import Callable, Sequence
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
from regraft.errors import RegraftError, UsageError
from regraft.evaluation.calibration import fit_temperature
from regraft.modalities import modality
from regraft.model.model import Model
from regraft.progress import Progress, Quiet
from regraft.recipe import Recipe
from regraft.training.plan import Plan
from regraft.training.strategies import Strategy, strategy
from regraft.training.variants import base_of, varied
from regraft.transfer.inputs import first_input, networks
from regraft.transfer.probe import HeadFit
from regraft.verbs.augmenting import ASKED, usual_augmentation, with_usual
from regraft.verbs.compare_asked import (
    alike,
    asked_for,
    refuse_other_augmentation,
    rows_of,
)
from regraft.verbs.compare_pace import affordable
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
from regraft.verbs.tasks import carried_out, parameters_of
from regraft.verbs.withstanding import Withstanding, as_model

if TYPE_CHECKING:
    from regraft.training.judging import Held
    from regraft.training.loop import Training
    from regraft.training.terms import Trained
    from regraft.training.tuning import Lesson

Numbers = npt.NDArray[np.int64]

SAID = ("label", "path_column", "text", "group", "split")  # of what tells the task
USUAL = ("scratch", "copy", "probe", "lp-ft")
EPOCHS = 10.0
FEWEST_STEPS = 100  # of a run on few examples


def compare(
    data: Any,
    recipe: Recipe | None = None,
    *,
    strategies: Sequence[str] | None = None,
    labels: Sequence[int] = (),
    seeds: Sequence[int] = (0,),
    variants: Sequence[str] = (),
    robust: bool = False,
    eps: str | None = None,
    robust_by: str | None = None,
    attacked: int | None = None,
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
    variants    names of `training.variants.VARIANTS`: each strategy that trains also with each of
                these, in a row of its own; single ones are named as ``lp-ft+focal``
    robust      measure each row on worse examples and under attack too, on `attacked` held-out
                examples (100), with changes of size `eps` (``2/255``) by the attack `robust_by`
                (pgd, or autoattack); takes minutes for each row, beside the budget
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
    asked: dict[str, Any] = {"eps": eps, "robust_by": robust_by, "attacked": attacked}
    asked |= {"robust": robust or None, "variants": tuple(variants) or None}
    more = {name: value for name, value in asked.items() if value is not None}
    task = task_of(data, usual.task, **said)
    compared = carried_out("compare", task)
    if wrong := [f"{k}: has no use for {task}" for k in more if k not in parameters_of(compared)]:
        raise UsageError(*wrong)
    found: Comparison = compared(data, usual, strategies=strategies, **kept, **more, **settings)
    return found


def compare_on_features(
    data: Any,
    recipe: Recipe,
    *,
    strategies: Sequence[str] | None = None,
    labels: Sequence[int] = (),
    seeds: Sequence[int] = (0,),
    variants: Sequence[str] = (),
    robust: bool = False,
    eps: str | None = None,
    robust_by: str | None = None,
    attacked: int | None = None,
    progress: Progress | None = None,
    store: Store | None = None,
    **settings: Any,
) -> Comparison:
    """`compare` where examples have classes."""
    strategies = rows_of(USUAL if strategies is None else strategies, variants)
    asked = asked_for(recipe, settings, strategies, labels, seeds, variants)
    beyond = Withstanding.asked(robust, eps, robust_by, attacked)
    opened = store or Store()
    try:
        stages = _Comparison(asked, opened, progress or Quiet(), beyond)
        return stages.run(data, strategies, labels, seeds)
    finally:
        if store is None:
            opened.close()


class _Comparison:
    """Its stages stand below in the order in which they happen."""

    def __init__(
        self,
        recipe: Recipe,
        store: Store,
        progress: Progress,
        beyond: Withstanding | None = None,
    ) -> None:
        self.recipe, self.store, self.progress, self.beyond = recipe, store, progress, beyond
        self.until = time.monotonic() + recipe.budget

    def run(
        self,
        source: Any,
        strategies: Sequence[str],
        labels: Sequence[int],
        seeds: Sequence[int],
    ) -> Comparison:
        self._read(self._listed(source, strategies))
        wanted = self.wanted
        self._extract()
        self.attack = "" if self.beyond else compared_by(wanted, self.recipe)
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
        notes = (*alike(wanted, self.row.spec.reads, len(self.learning)),)
        asked = self.beyond.settings() if self.beyond else {}
        told = Telling(*about, self.attack, notes, asked)
        return Comparison(told.record(wanted, outcomes), tuple(outcomes))

    def _listed(self, source: Any, strategies: Sequence[str]) -> Dataset:
        """The examples by name; what cannot be obeyed is refused before any is opened."""
        r = self.recipe
        columns = {name: getattr(r, name) for name in ("label", "path_column", "text", "group")}
        listed = load(source, split=r.split, root=r.root, modality=r.modality, **columns)
        check_learnable(listed)
        self.kind = modality(listed.modality)
        self.row = networks(r, self.kind.views, self.kind.inputs)[0]
        self.wanted = [varied(name).of(self.row.spec.reads) for name in strategies]
        trained = r.changed(strategy=tuple(dict.fromkeys(map(base_of, strategies))))
        refuse_wrong_settings(trained, self.kind, [self.row], listed.classes)
        refuse_other_augmentation(self.wanted, self.kind)
        if self.beyond is not None:
            self.beyond.refuse_other(listed.modality)
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
            temperature = fit_temperature(fit.left_out, self.learning.targets[some])
            model = as_model(self.one, fit.head, temperature, self.data)
            return self._beyond(outcome, partial(self._frozen, fit, some), lambda: model)
        run, trained = self._trained(wanted, k, seed, some, fit, until)
        before = probing if wanted.head == "ridge" else 0.0
        outcome = outcome_of(wanted.name, k, seed, self.truth, run, trained, before)
        return self._beyond(outcome, lambda: run.model, partial(self._tuned, run, wanted))

    def _beyond(
        self, outcome: Outcome, network: Callable[[], Any], model: Callable[[], Model]
    ) -> Outcome:
        """With what is measured beyond accuracy, where all examples were learned from: as asked, or
        else quickly where a strategy learns for that.
        """
        if outcome.labels != ALL:
            return outcome
        if self.beyond is not None:
            begin = time.monotonic()
            asked: dict[str, Any] = {"resamples": self.recipe.resamples, "seed": self.recipe.seed}
            asked |= {"store": self.store, "progress": self.progress}
            try:
                withstood = self.beyond.measured(model(), self.measured, self.held_seen, **asked)
            except RegraftError as error:  # what was trained before it is not lost with it
                reason = f"not measured beyond accuracy: {error}"
                return replace(outcome, warnings=(*outcome.warnings, reason))
            finally:
                self.until += time.monotonic() - begin  # the budget is for training
            return replace(outcome, withstood=withstood)
        if not self.attack:
            return outcome
        return replace(
            outcome, robust=under_attack(network(), self._held, self.attack, self.recipe.seed)
        )

    def _tuned(self, run: "Training", wanted: Strategy) -> Model:
        """The network of a run that has ended as a model; the network is on the CPU after it."""
        from regraft.training.tuned import tuned_row

        model: Any = run.model.cpu()
        row = tuned_row(model, self.row, self.one.spec, wanted.name)
        one = Extractor(row, self.one.spec, self.one.engine_name)
        return as_model(one, model.head(), 1.0, self.data)  # its scores are calibrated logits

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
        steps = min(plan.steps, affordable(begun, held, until))
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
        settle(run, trained, start, wanted.back_of(len(some)))
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


def drawn(labels: Numbers, k: int | str, seed: int) -> Numbers:
    """Positions of `k` examples of each class, or of as many as there are, drawn by the seed."""
    if k == ALL:
        return np.arange(len(labels))
    rng = np.random.default_rng([seed, 0xC0])
    own = [rng.permutation(np.flatnonzero(labels == c))[: int(k)] for c in np.unique(labels)]
    return np.sort(np.concatenate(own))
