"""The upper rungs: training within the time that is left, turn after turn.

Strategies that were named are tried in their order, each with its share of the time. Otherwise a
short race of one epoch each tells which are worth it (Abnar et al. 2023, arXiv 2307.15422, found
that as good as a search), where the time allows one; then the best gets the time that it can use,
and the next one only where its expected gain is worth the minutes.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from math import exp
from pathlib import Path
from typing import Any, NamedTuple

from regraft.errors import UsageError
from regraft.recipe import Recipe
from regraft.training.memory import kept_memory
from regraft.training.plan import Plan
from regraft.training.strategies import Strategy, refusal, strategies, strategy
from regraft.verbs.climb import Climb
from regraft.verbs.decisions import Decisions
from regraft.verbs.ground import Ground, divided
from regraft.verbs.lessons import Lessons
from regraft.verbs.planning import Paces, Planned, Planner, Turn
from regraft.verbs.rungs import Learning, Rung
from regraft.verbs.settings import asked, trains
from regraft.verbs.told import announced

TRAIN_FROM = 90.0  # seconds of budget: below, the probe is the best that the time can give
FEWEST_HELD = 30  # examples held back: with fewer, a gain cannot be told from chance
RACE_SHARE = 0.15  # of the time left that a race may take
RATES = (0.4, 1.0, 2.5)  # factors of the likeliest strategy's own rate that race
KEPT = 2  # turns that are kept after the race
OVERLAP = 0.5  # of its gain that a turn keeps for each one before it: they learn the same things
CLOSE = 0.9  # of the largest gain: such offers are told apart by what the time allows
HALFWAY = 3.0  # epochs after which all but a third of a gain is there
WORTH = 0.01  # of the held-back loss a minute: what a further turn must promise
TO_BEGIN = 5.0  # seconds that a racer takes before its first step and for its looks
FEWEST_EPOCHS = 2.0  # that a further turn must have time for


class Offer(NamedTuple):
    """A turn that may be worth it.

    gain  share of the held-back loss that it takes away, expected or seen in the race
    """

    turn: Turn
    gain: float


def forget(folder: Path) -> None:
    """Delete the decisions and checkpoints of a run; its log stays."""
    for pattern in ("*.decisions.json", "*.checkpoint"):
        for path in folder.glob(pattern):
            path.unlink(missing_ok=True)


def perhaps(recipe: Recipe) -> bool:
    """Whether a recipe may lead to training, whatever the examples are."""
    if recipe.strategy:
        return any(map(trains, recipe.strategy))
    return recipe.budget >= TRAIN_FROM or any(asked(recipe))


def refusals(recipe: Recipe, learning: Learning) -> str | None:
    """Why nothing is trained; None where something is. Decided by counts, not by the clock.

    Empty where nobody would expect any training.
    """
    if not perhaps(recipe):
        return ""
    if recipe.strategy or any(asked(recipe)):
        return None
    if (held := len(divided(learning, recipe.seed)[1])) < FEWEST_HELD:
        return f"{held} examples to judge a gain by are too few ({FEWEST_HELD})"
    return None


def climbed(ground: Ground) -> tuple[Rung, list[Rung], list[dict[str, Any]]]:
    """The rung that is kept, those above the probes, and what a report tells of each run."""
    lessons = Lessons(ground)
    best, told = ground.probe, []
    made: list[Rung] = []
    with kept_memory():
        for planned in Ladder(lessons).turns():
            step = Climb(lessons, planned)
            found = step.run(best)
            made += announced(found, ground.progress)
            told.append(step.told)
            best = next((rung for rung in found if rung.why.startswith("better")), best)
    return best, made, told


class Ladder:
    """Which turns there are, in their order."""

    def __init__(self, lessons: Lessons) -> None:
        self.lessons, self.ground = lessons, lessons.ground
        self.recipe = self.ground.recipe
        folder = self.ground.folder
        self.decisions = Decisions(folder and folder / f"{self.ground.key}.decisions.json")
        self.paces: Paces = {}

    def turns(self) -> Iterator[Planned]:
        """Each turn with its plan, for which there is time."""
        yield from self._named() if self.recipe.strategy else self._worthwhile()

    def _named(self) -> Iterator[Planned]:
        wanted = [one for one in map(self._strategy, self.recipe.strategy) if one.trains]
        if reasons := [r for one in wanted if (r := refusal(one, self.lessons.row))]:
            raise UsageError(*(f"strategy: {reason}" for reason in reasons))
        for i, one in enumerate(wanted):
            now = time.monotonic()
            until = now + (self.ground.until - now) / (len(wanted) - i)
            if (planned := self._planned(i, Turn(one), until)) is None:
                self.ground.progress.say(f"{one.name}: not tried, the time is too short")
                continue
            yield planned

    def _worthwhile(self) -> Iterator[Planned]:
        ordered = self.decisions.decide("order", self._order)
        offers = [Offer(Turn(self._strategy(n), factor), gain) for n, factor, gain in ordered]
        for i, offer in enumerate(offers):
            worth = partial(self._pays, offer, i)
            if (planned := self._planned(i, offer.turn, self.ground.until, worth)) is None:
                reason = "it would not pay for the time" if i else "the time is too short"
                self.ground.progress.say(f"{offer.turn.name}: not tried, {reason}")
                return
            yield planned

    def _strategy(self, name: str) -> Strategy:
        """As it is for what the network reads."""
        return strategy(name).of(self.lessons.row.spec.reads)

    def _planned(
        self, number: int, turn: Turn, until: float, worth: Callable[[Plan], bool] = bool
    ) -> Planned | None:
        """The turn with its plan, if there is time for it and it is worth it."""
        name = f"turn {number}"
        planner = Planner(self.lessons, turn, until, self.paces)
        goes_on = self.decisions.noted(name)

        def make() -> dict[str, Any] | None:
            plan = planner.plan()
            return plan.to_dict() if plan is not None and worth(plan) else None

        if (found := self.decisions.decide(name, make)) is None:
            return None
        plan = Plan.from_dict(found)
        fixed = goes_on or self._length_is_asked()
        return Planned(turn, plan, planner, None if fixed else planner.deadline(plan.size))

    def _length_is_asked(self) -> bool:
        return self.recipe.steps is not None or self.recipe.epochs is not None

    # --- the order --------------------------------------------------------------------------------

    def _order(self) -> list[tuple[str, float, float]]:
        """Offers as plain data, the most promising first."""
        offers = self._offers()
        offers = self._raced(self._racers(offers)) or offers
        return [(o.turn.wanted.name, o.turn.factor, o.gain) for o in offers[:KEPT]]

    def _offers(self) -> list[Offer]:
        """Of the registry, what this network can do and what is expected to gain in the time."""
        rows = [s for s in map(self._strategy, strategies()) if s.gain]
        rows = [s for s in rows if not refusal(s, self.lessons.row)]
        close = [s for s in rows if s.gain >= CLOSE * max(row.gain for row in rows)]
        shares = {s.name: self._share(s) for s in close} if len(close) > 1 else {}
        others = max(shares.values(), default=1.0)  # no row reaches all of its gain in little time
        offers = [Offer(Turn(s), s.gain * shares.get(s.name, others)) for s in rows]
        possible = [offer for offer in offers if offer.gain] or offers
        return sorted(possible, key=lambda offer: -offer.gain)

    def _share(self, wanted: Strategy) -> float:
        """Of its gain, what a strategy reaches at the size and in the epochs that the time allows.

        One that keeps activations sees the examples more often in the same time, or larger.
        """
        if self._length_is_asked():
            return 1.0
        planner = Planner(self.lessons, Turn(wanted), self.ground.until, self.paces)
        try:
            size, steps = planner.length()
        except UsageError as error:
            self.ground.progress.say(f"{wanted.name}: not tried, {error}")
            return 0.0
        own = self.lessons.network.spec.size
        return size / own * (1 - exp(-steps / planner.epoch / HALFWAY))

    def _racers(self, offers: Sequence[Offer]) -> list[Offer]:
        """Every offer at its own rate, and the likeliest at other rates too."""
        if self.recipe.rate is not None or not offers:
            return list(offers)
        first = offers[0]
        others = [Turn(first.turn.wanted, factor) for factor in RATES if factor != 1]
        return [*offers, *(Offer(turn, first.gain) for turn in others)]

    def _raced(self, racers: Sequence[Offer]) -> list[Offer]:
        """After one epoch each, by the held-back loss; empty where the time is too short."""
        if len(racers) < 2 or self._length_is_asked():
            return []
        planner = Planner(self.lessons, racers[0].turn, self.ground.until, self.paces)
        if (plan := planner.plan()) is None:
            return []
        epoch = planner.epoch * planner.pace(plan.size).step + TO_BEGIN
        if len(racers) * epoch > RACE_SHARE * (self.ground.until - time.monotonic()):
            return []
        found = [self._one_epoch(racer.turn, plan.size) for racer in racers]
        self.ground.progress.say("after one epoch each: " + ", ".join(map(_told, found)))
        return _distinct(sorted(found, key=lambda offer: -offer.gain))

    def _one_epoch(self, turn: Turn, size: int) -> Offer:
        planner = Planner(self.lessons, turn, self.ground.until, self.paces)
        ready = planner.ready(planner.drafted(size, max(1, round(planner.epoch))))
        ready.fill(self.ground.progress)
        run = ready.training(held=ready.held(self.lessons.lesson(self.lessons.held)), patience=None)
        last = run.run().curve[-1]
        loss = last.held_loss if last.average_loss is None else last.average_loss
        before = run.start.loss if run.start else 0.0
        return Offer(turn, 1 - (loss or 0.0) / max(before, 1e-9))

    def _pays(self, offer: Offer, before: int, plan: Plan) -> bool:
        """Whether a turn promises enough for the minutes that it would take; the first always."""
        if not before:
            return True
        planner = Planner(self.lessons, offer.turn, self.ground.until, self.paces)
        if self._length_is_asked() or plan.steps < FEWEST_EPOCHS * planner.epoch:
            return False  # so long, and not as often as the time allows
        minutes = plan.steps * planner.pace(plan.size).step / 60
        return offer.gain * OVERLAP**before >= WORTH * minutes


def _told(offer: Offer) -> str:
    return f"{offer.turn.name} {offer.gain:+.0%} of the loss"


def _distinct(offers: Sequence[Offer]) -> list[Offer]:
    """The best turn of each strategy, in the order given."""
    first: dict[str, Offer] = {}
    for offer in offers:
        first.setdefault(offer.turn.wanted.name, offer)
    return list(first.values())
