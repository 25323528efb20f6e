"""What of a recipe a detector obeys, and in which ways one is trained."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any

from regraft.errors import UsageError
from regraft.recipe import Recipe
from regraft.tasks.detection.frames import MULTIPLE
from regraft.tasks.detection.heads.rows import USUAL as USUAL_DETECTOR
from regraft.tasks.detection.heads.rows import head_row
from regraft.tasks.detection.queries.rows import QUERIES

# Fields of a recipe that have no use for boxes.
UNUSED = (
    *("label", "path_column", "text", "group", "split", "views", "engine"),
    *("weights", "coverage", "reinit"),
)


@dataclass(frozen=True)
class Way:
    """One way to train a detector.

    weights  of the backbone: ``pretrained`` or ``random``
    body     rate of the backbone's deepest layers, as a share of the head's
    settings  fields of its plan
    """

    name: str
    told: str
    weights: str
    body: float
    settings: Mapping[str, Any]


USUAL = "transfer"
WAYS: Mapping[str, Way] = MappingProxyType(
    {
        way.name: way
        for way in (
            Way(
                "transfer",
                "Stem and first stages frozen by the size of the set, BatchNorm frozen, smaller "
                "rates for the backbone, averaged weights.",
                "pretrained",
                0.1,
                {"norm": "frozen", "shallow": 0.3},
            ),
            Way(
                "copy",
                "Weights copied and trained at one rate, BatchNorm free: the textbook method.",
                "pretrained",
                1.0,
                {"norm": "free", "shallow": 1.0, "frozen": 0.0},
            ),
            Way(
                "scratch",
                "The same detector from random weights: what nothing transferred gives.",
                "random",
                1.0,
                {"norm": "free", "shallow": 1.0, "frozen": 0.0},
            ),
        )
    }
)

# Pictures to learn from → share of the backbone's depth that stands still, below so many.
FROZEN: Sequence[tuple[float, float]] = ((50, 0.5), (1000, 0.3), (float("inf"), 0.1))


def frozen_share(pictures: int) -> float:
    """Share of the depth that stands still for a set of this size."""
    return next(share for below, share in FROZEN if pictures < below)


def refuse_wrong_settings(recipe: Recipe, others: Iterable[str]) -> None:
    """Raise UsageError, with all of them, for settings that could not be obeyed.

    others  what else is wrong
    """
    if mistakes := [*_unused(recipe), *others, *_wrong(recipe)]:
        raise UsageError(*mistakes)


def _unused(recipe: Recipe) -> Iterator[str]:
    usual = {f.name: getattr(Recipe(), f.name) for f in fields(Recipe)}
    for name in UNUSED:
        if getattr(recipe, name) != usual[name]:
            yield f"{name}: has no use for boxes; leave it out"


def _wrong(recipe: Recipe) -> Iterator[str]:
    from regraft.tasks.detection import augment
    from regraft.tasks.detection.tiling import MOST_TILES
    from regraft.training.readable import READ

    if len(recipe.strategy) > 1 or not set(recipe.strategy) <= set(WAYS):
        yield f"strategy: expected one of {', '.join(WAYS)}, got {', '.join(recipe.strategy)}"
    if len(recipe.backbone) > 1:
        yield "backbone: a detector has one; name one"
    if recipe.size is not None and recipe.size % MULTIPLE:
        yield f"size: expected a multiple of {MULTIPLE} pixels, got {recipe.size}"
    yield from _wrong_detector(recipe)
    if recipe.tiles is not None and recipe.tiles > MOST_TILES:
        yield f"tiles: expected 1 to {MOST_TILES}, got {recipe.tiles}"
    if recipe.rate == "find":
        yield "rate: expected a number; no rate is searched for boxes"
    if recipe.norm == "estimated":
        yield "norm: expected frozen or free for boxes"
    read: dict[str, Callable[[Any], object]] = {"augment": augment.parse}
    read |= {n: READ[n] for n in ("optimiser", "schedule", "sampling", "norm", "log") if n in READ}
    for name, check in read.items():
        if value := getattr(recipe, name):
            try:
                check(value)
            except UsageError as error:
                yield from error.mistakes


def _wrong_detector(recipe: Recipe) -> Iterator[str]:
    """The kind of detector, and how it learns its boxes."""
    from regraft.tasks.detection.starts import kind_of

    if recipe.start is not None and "scratch" in recipe.strategy:
        yield "start: has no use for scratch, which begins with nothing"
    try:
        name = kind_of(recipe.start, recipe.detector, USUAL_DETECTOR)
        kind = QUERIES[name] if name in QUERIES else head_row(name)
    except UsageError as error:
        yield from error.mistakes
        return
    if recipe.loss is not None and recipe.loss not in kind.losses:
        one = f"of the boxes of {kind.name}: expected {' or '.join(kind.losses)}"
        yield f"loss: {one}, got {recipe.loss!r}"
