"""The plan of a turn: at which size and for how many steps, by a forecast of what it takes."""

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from regraft.modalities.augment import DEFAULT
from regraft.recipe import FIND, Recipe
from regraft.training.plan import Plan
from regraft.training.strategies import Strategy
from regraft.transfer.inputs import fitting
from regraft.transfer.targets import Target
from regraft.verbs.augmenting import with_usual
from regraft.verbs.lessons import Lessons
from regraft.verbs.settings import PLANNED

if TYPE_CHECKING:
    from regraft.training.tuning import Pace, Ready

LEAST_EPOCHS = 0.5
WANTED_EPOCHS = 2.0  # a smaller picture is taken where the time is too short for so many
MOST_EPOCHS = 30.0
SMALLER = (1.0, 0.85, 0.7)  # sizes to choose from, as shares of the probe's
AFTER = 14.0  # seconds for opening the tuned network, calibrating, measuring and the report
REHEARSAL = 8.0  # seconds that a forecast itself takes, about
SLACK = 1.04  # of the forecast of a step: the machine is never quite the same
FORWARD = 0.35  # of a step: what its examples take forwards only
CANDIDATES = 8  # weights that are compared at the end, at most, and those before the first step

Paces = dict[tuple[str, int], "Pace"]  # of a strategy at a size


@dataclass(frozen=True)
class Turn:
    """One strategy to try; `factor` is that of its own learning rate."""

    wanted: Strategy
    factor: float = 1.0

    @property
    def name(self) -> str:
        return (
            self.wanted.name if self.factor == 1 else f"{self.wanted.name}, rate × {self.factor:g}"
        )


@dataclass(frozen=True)
class Planner:
    """Plans turns on some lessons, to be over at `until` of time.monotonic().

    paces  that are known; what is measured is added
    """

    lessons: Lessons
    turn: Turn
    until: float
    paces: Paces = field(default_factory=dict)

    @property
    def recipe(self) -> Recipe:
        return self.lessons.ground.recipe

    def plan(self) -> Plan | None:
        """At the largest size that the time allows, with as many steps; None where too few fit."""
        size, steps = self.length()
        return self._at_found_rate(self.drafted(size, steps)) if steps else None

    def length(self) -> tuple[int, int]:
        """The size and the steps that the time allows, by a rehearsal; 0 where too few fit."""
        if not self._asked_steps() and self._left(self._sizes()[-1]) < REHEARSAL:
            return self._sizes()[-1], 0
        size = self._sizes()[0]
        pace = self.pace(size)
        if (smaller := self._affordable_size(size, pace)) != size:
            size, pace = smaller, self.pace(smaller)
        return size, self._asked_steps() or self._steps(size, pace)

    def drafted(self, size: int, steps: int) -> Plan:
        """The plan at a size with so many steps, whatever the clock says."""
        plan = drafted(self.turn, self.recipe, size, steps, self.batch, self.recipe.seed)
        plan = with_loss_for(plan, self.lessons.train.target)
        if self.recipe.augment is not None or DEFAULT not in plan.augment.split(","):
            return plan
        return with_usual(plan, self.lessons.augmentation)

    def _at_found_rate(self, plan: Plan) -> Plan:
        """With the rate that a sweep suggests, where the user wants that."""
        if self.recipe.rate != FIND:
            return plan
        from regraft.training.finding import found_rate

        curve = found_rate(self.ready(plan))
        if curve.suggested is None:
            self.lessons.ground.progress.say(f"rate: the sweep found none; {plan.rate:g} it is")
            return plan
        self.lessons.ground.progress.say(f"rate: {curve.suggested:.2g}, found by a sweep")
        return replace(plan, rate=curve.suggested)

    @property
    def epoch(self) -> float:
        """Steps of one epoch."""
        return len(self.lessons.train.labels) / self.batch

    @property
    def batch(self) -> int:
        return self.recipe.batch or small_batch(len(self.lessons.train.labels))

    def pace(self, size: int) -> "Pace":
        """What a run at a size takes, by a rehearsal with a head that is not its own."""
        what = (self.turn.wanted.name, size)
        if what not in self.paces:
            head, plan = self.lessons.ground.single.head, self.drafted(size, 1)
            self.paces[what] = self._begun(size, head, 1.0, plan).pace()
        return self.paces[what]

    def ready(self, plan: Plan) -> "Ready":
        """The run of a plan, from the probe on the examples to train on."""
        fit = self.lessons.start(plan.size)
        train = self.lessons.train
        temperature = train.target.temperature(fit.left_out, train.labels)
        return self._begun(plan.size, fit.head, temperature, plan)

    def _begun(self, size: int, head: Any, temperature: float, plan: Plan) -> "Ready":
        from regraft.training.tuning import ready

        one, lessons = self.lessons.at(size), self.lessons
        lesson, kind = lessons.lesson(lessons.train), lessons.ground.kind
        about = (lessons.row, one.spec, head, temperature, lesson, plan, kind)
        return ready(self.turn.wanted, *about, engine=one.engine_name)

    # --- size and steps ---------------------------------------------------------------------------

    def _asked_steps(self) -> int | None:
        """Steps as the user set them, by number or by epochs."""
        if self.recipe.epochs is not None:
            return max(1, round(self.recipe.epochs * self.epoch))
        return self.recipe.steps

    def _sizes(self) -> list[int]:
        """From the probe's size down; only that where the user has set it."""
        base, row = self.lessons.network.spec.size, self.lessons.row
        if self.recipe.size is not None:
            return [base]
        sizes = {fitting(row, max(64, round(base * share / 32) * 32)) for share in SMALLER}
        cheaper = {size for size in sizes if self.lessons.cost(size) < 1}
        return sorted({*cheaper, base}, reverse=True)

    def _affordable_size(self, first: int, pace: "Pace") -> int:
        """The largest size at which WANTED_EPOCHS fit into the time, else the smallest."""
        for size in self._sizes():
            share = self.lessons.cost(size) / self.lessons.cost(first)
            seconds = share * (pace.step * self.epoch * WANTED_EPOCHS + pace.before)
            if seconds <= self._left(size):
                return size
        return self._sizes()[-1]

    def _steps(self, size: int, pace: "Pace") -> int:
        """As many as fit, at most MOST_EPOCHS; 0 where they are less than LEAST_EPOCHS."""
        looking = 2 * self._look(pace)  # at the weights and at their average, after each epoch
        left = self._left(size) - pace.before
        fit = left / (pace.step * SLACK + looking / self.epoch)
        return 0 if fit < LEAST_EPOCHS * self.epoch else int(min(fit, MOST_EPOCHS * self.epoch))

    def _look(self, pace: "Pace") -> float:
        """Seconds for the held-back examples, once."""
        return FORWARD * pace.step / self.batch * len(self.lessons.held.labels)

    def _left(self, size: int) -> float:
        """Seconds for training itself at a size."""
        return self.deadline(size) - self.lessons.start_seconds(size) - time.monotonic()

    def deadline(self, size: int) -> float:
        """When the last step must be over; comparing weights, features and the report follow."""
        pace = self.paces.get((self.turn.wanted.name, size))
        looks = CANDIDATES * self.turn.wanted.judging
        comparing = looks * self._look(pace) if pace else 0.0
        features = self.lessons.end_seconds(size, self.turn.wanted.refits)
        return self.until - AFTER - comparing - features


def small_batch(examples: int) -> int:
    """Small sets get small batches: at least ten steps an epoch, down to 8."""
    return int(np.clip(examples // 10, 8, 32))


def drafted(turn: Turn, recipe: Recipe, size: int, steps: int, batch: int, seed: int) -> Plan:
    """The strategy's plan with what the user has set; the turn's factor is for rates of its own."""
    from regraft.training.devices import usual_precision
    from regraft.training.start import settings_of

    given = {name: getattr(recipe, name) for name in PLANNED}
    own = {name: value for name, value in given.items() if value not in (None, FIND)}
    own.setdefault("precision", usual_precision())
    length = {"size": size, "steps": steps, "batch": batch, "seed": seed}
    plan = Plan(**settings_of(turn.wanted, own) | length)
    return plan if "rate" in own else replace(plan, rate=plan.rate * turn.factor)


def with_loss_for(plan: Plan, target: Target) -> Plan:
    """The plan with the target's own loss, where a strategy's is for another kind of target."""
    from regraft.training.losses import LOSSES, parse_setting

    kind = LOSSES[parse_setting(plan.loss).name].task
    return plan if kind == target.losses_of else replace(plan, loss=target.loss)


class Planned(NamedTuple):
    """A turn that will be made.

    until  of time.monotonic(): no step begins later; None: all steps are made
    """

    turn: Turn
    plan: Plan
    planner: Planner
    until: float | None
