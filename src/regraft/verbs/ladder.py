"""The upper rungs: training within the time that is left, strategy after strategy."""

import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from regraft.errors import UsageError
from regraft.recipe import Recipe
from regraft.training.strategies import strategy
from regraft.verbs.climb import PLANNED, Climb
from regraft.verbs.ground import Ground, divided
from regraft.verbs.rungs import Learning, Rung

DEFAULT_LADDER = ("lp-ft",)
TRAIN_FROM = 90.0  # seconds of budget: below, the probe is the best that the time can give
FEWEST_HELD = 30  # examples held back: with fewer, a gain cannot be told from chance


def forget(folder: Path) -> None:
    """Delete the plans and checkpoints of a run; its log stays."""
    for pattern in ("*.plan.json", "*.checkpoint"):
        for path in folder.glob(pattern):
            path.unlink(missing_ok=True)


def refuse_wrong(recipe: Recipe) -> None:
    """Raise UsageError, before any work, for settings of training that could not be obeyed."""
    mistakes: list[str] = []
    for check in _checks(recipe):
        try:
            check()
        except UsageError as error:
            mistakes += error.mistakes
    trains = not recipe.strategy or any(_trains(name) for name in recipe.strategy)
    if not trains:
        mistakes += [f"{name}: has no use where nothing is trained" for name in _set(recipe)]
    if mistakes:
        raise UsageError(*mistakes)


def _checks(recipe: Recipe) -> Iterator[Callable[[], object]]:
    """What reads each setting that was set; nothing heavy is imported for those that were not."""
    yield from (partial(strategy, name) for name in recipe.strategy)
    if own := {name: getattr(recipe, name) for name in (*PLANNED, "log") if getattr(recipe, name)}:
        from regraft.training.readable import READ

        yield from (partial(READ[name], value) for name, value in own.items() if name in READ)


def _trains(name: str) -> bool:
    try:
        return strategy(name).trains
    except UsageError:
        return True


def _set(recipe: Recipe) -> list[str]:
    """The settings of training that the user has set."""
    names = (*PLANNED, "epochs", "steps", "batch")
    return [name for name in names if getattr(recipe, name) is not None]


def perhaps(recipe: Recipe) -> bool:
    """Whether a recipe may lead to training, whatever the examples are."""
    if recipe.strategy:
        return any(map(_trains, recipe.strategy))
    return recipe.budget >= TRAIN_FROM or bool(_set(recipe))


def refusals(recipe: Recipe, learning: Learning) -> str | None:
    """Why nothing is trained; None where something is. Decided by counts, not by the clock.

    Empty where nobody would expect any training.
    """
    if not perhaps(recipe):
        return ""
    if recipe.strategy or _set(recipe):
        return None
    if (held := len(divided(learning, recipe.seed)[1])) < FEWEST_HELD:
        return f"{held} examples to judge a gain by are too few ({FEWEST_HELD})"
    return None


def climbed(ground: Ground) -> tuple[Rung, list[Rung], list[dict[str, Any]]]:
    """The rung that is kept, those above the probes, and what a report tells of each run."""
    names = ground.recipe.strategy or DEFAULT_LADDER
    wanted = [one for one in map(strategy, names) if one.trains]
    best, made, told = ground.probe, [], []
    for i, one in enumerate(wanted):
        share = (ground.until - time.monotonic()) / (len(wanted) - i)
        step = Climb(ground, one, time.monotonic() + share)
        if (found := step.run(best)) is None:
            continue
        made += found
        told.append(step.told)
        best = next((rung for rung in found if rung.why.startswith("better")), best)
    return best, made, told
