"""What of a recipe a transcriber obeys."""

from collections.abc import Iterator, Sequence
from dataclasses import fields

from regraft.backbones.catalog import CatalogRow
from regraft.errors import UsageError
from regraft.modalities.base import Modality
from regraft.recipe import HEADS, Recipe
from regraft.tasks.transcription.brought import NOTHING, brings
from regraft.tasks.transcription.network import unfit
from regraft.training.strategies import refusal, strategy

# Fields of a recipe that have no use for transcripts.
UNUSED = (
    *("label", "views", "engine", "repair", "loss", "attack", "sampling", "weights", "norm"),
    *("coverage", "wish", "window", "at", "positive", "patients", "detector", "start", "tiles"),
    "reinit",
)
PROBE, AS_IT_IS = "probe", "zero-shot"
STRATEGIES = (AS_IT_IS, PROBE, "tune-norm", "lp-ft", "lora", "full")
BROUGHT, FRESH = HEADS
PLANNED = ("rate", "optimiser", "schedule", "weight_decay", "average", "precision", "clip")
TRAINS_FROM = 90.0  # seconds of a budget from which the network itself is trained too


def strategy_of(recipe: Recipe) -> str:
    """What is asked for, or what the budget allows."""
    if recipe.strategy:
        return recipe.strategy[0]
    asked = recipe.steps is not None or recipe.epochs is not None
    return "lp-ft" if recipe.budget >= TRAINS_FROM and not asked else PROBE


def refuse_wrong_settings(recipe: Recipe, kind: Modality, rows: Sequence[CatalogRow]) -> None:
    """Raise UsageError, with all of them, for settings that could not be obeyed."""
    if mistakes := [*_unused(recipe), *_wrong(recipe, kind, rows)]:
        raise UsageError(*mistakes)


def _unused(recipe: Recipe) -> Iterator[str]:
    usual = Recipe()
    for name in UNUSED:
        if getattr(recipe, name) != getattr(usual, name):
            yield f"{name}: has no use for transcripts; leave it out"
    assert {f.name for f in fields(Recipe)} >= set(UNUSED)


def _wrong(recipe: Recipe, kind: Modality, rows: Sequence[CatalogRow]) -> Iterator[str]:
    from regraft.training.readable import READ

    if len(recipe.strategy) > 1 or not set(recipe.strategy) <= set(STRATEGIES):
        asked = ", ".join(recipe.strategy)
        yield f"strategy: expected one of {', '.join(STRATEGIES)}, got {asked}"
    elif strategy_of(recipe) == AS_IT_IS:
        yield from _wrong_as_it_is(recipe, rows[0])
    elif reason := refusal(strategy(strategy_of(recipe)), rows[0]):
        yield f"strategy: {reason}"
    if recipe.head == BROUGHT and not brings(rows[0]):
        yield f"head: {NOTHING.format(row=rows[0])}"
    if len(recipe.backbone) > 1:
        yield "backbone: a transcriber has one; name one"
    if reason := unfit(rows[0]):
        yield reason
    if recipe.rate == "find":
        yield "rate: expected a number; no rate is searched for transcripts"
    if recipe.augment is not None:
        yield from _wrong_augment(recipe, kind)
    for name in ("optimiser", "schedule", "precision", "log"):
        if value := getattr(recipe, name):
            try:
                READ[name](value)
            except UsageError as error:
                yield from error.mistakes


def _wrong_as_it_is(recipe: Recipe, row: CatalogRow) -> Iterator[str]:
    """Nothing is learned: settings of learning have no use."""
    if recipe.head == FRESH or not brings(row):
        why = "a fresh head has learned nothing" if brings(row) else NOTHING.format(row=row)
        yield f"strategy: {AS_IT_IS}: {why}"
    names = ("steps", "epochs", "batch", "augment", "rate", *PLANNED[1:])
    given = [name for name in names if getattr(recipe, name) is not None]
    yield from (f"{name}: has no use where nothing is learned" for name in given)


def uses_brought(recipe: Recipe, row: CatalogRow) -> bool:
    """Whether the head that came with the network is used: asked for, or there and not refused."""
    return brings(row) and recipe.head != FRESH


def _wrong_augment(recipe: Recipe, kind: Modality) -> Iterator[str]:
    try:
        wanted = kind.augmentations(str(recipe.augment))
    except UsageError as error:
        yield from error.mistakes
        return
    if wanted.mixes:
        yield "augment: mixup and cutmix mix what is said; leave them out"
    if any(name == "shift" for name, _ in wanted):
        yield "augment: shift loses words at the ends; leave it out"
    if wanted and strategy_of(recipe) == PROBE:
        yield "augment: of no use to a probe, whose features are kept; name another strategy"
