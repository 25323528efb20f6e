"""What a recipe asks of training, and whether it can be obeyed: told before any work."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from regraft.backbones.catalog import CatalogRow
from regraft.errors import UsageError
from regraft.evaluation.operating import goal, positive_class
from regraft.modalities.base import Modality
from regraft.recipe import Recipe
from regraft.training.strategies import refusal, refuses_reinit, strategies, strategy
from regraft.transfer.targets import CLASSES, Target

# Fields that a plan takes over.
PLANNED = (
    *("rate", "optimiser", "schedule", "loss", "augment", "attack", "sampling"),
    *("weights", "norm", "weight_decay", "average", "precision", "clip", "warmup"),
    *("frozen", "reinit"),
)


def refuse_wrong_settings(
    recipe: Recipe,
    kind: Modality,
    rows: Sequence[CatalogRow],
    classes: Sequence[str],
    target: Target = CLASSES,
) -> None:
    """Raise UsageError, before any work, for settings that could not be obeyed.

    rows     the networks that will be tried
    classes  of the examples, and what kind of target they are
    """
    mistakes: list[str] = []
    points: list[Callable[[], object]] = []
    if target.named:
        points.append(partial(positive_class, classes, recipe.positive, recipe.at))
    points += [] if recipe.at is None else [partial(goal, recipe.at)]
    for check in (*points, *_checks(recipe, kind, rows, target)):
        try:
            check()
        except UsageError as error:
            mistakes += error.mistakes
    if recipe.strategy and not any(map(trains, recipe.strategy)):
        mistakes += [f"{name}: has no use where nothing is trained" for name in asked(recipe)]
    if mistakes:
        raise UsageError(*mistakes)


def _checks(
    recipe: Recipe, kind: Modality, rows: Sequence[CatalogRow], target: Target
) -> Iterator[Callable[[], object]]:
    """What reads each setting that was set; nothing heavy is imported for those that were not."""
    yield from (partial(_offered, name, rows) for name in recipe.strategy)
    if recipe.reinit:
        yield partial(_begins_anew, recipe, rows)
    if recipe.augment is not None:
        yield partial(kind.augmentations, recipe.augment)
    if own := {name: getattr(recipe, name) for name in (*PLANNED, "log") if getattr(recipe, name)}:
        from regraft.training.readable import READ, check_loss

        if text := own.pop("loss", None):
            yield partial(check_loss, text, target.losses_of)
        yield from (partial(READ[name], value) for name, value in own.items() if name in READ)
        if recipe.attack:
            yield partial(_changeable, recipe.attack, rows)
    yield partial(_refuse_unused, recipe, target)


def _changeable(attack: str, rows: Sequence[CatalogRow]) -> None:
    """Raise UsageError where networks do not read what an attack changes."""
    from regraft.training.attacking import ATTACKS, Attacking

    if attack.partition(":")[0].strip() in ATTACKS:  # else told already
        for reads in dict.fromkeys(row.spec.reads for row in rows):
            Attacking.of(attack).refuse_other(reads)


def _refuse_unused(recipe: Recipe, target: Target) -> None:
    """Raise UsageError for settings that have no use for a target."""
    wrong = [
        f"{name}: has no use for {target.name}" for name in target.unused if getattr(recipe, name)
    ]
    known = [] if target.named else [name for name in recipe.strategy if name in strategies()]
    hardens = [name for name in known if strategy(name).aims != "accuracy"]
    wrong += [f"strategy: {name} is for classes; these are {target.name}" for name in hardens]
    if wrong:
        raise UsageError(*wrong)


def _offered(name: str, rows: Sequence[CatalogRow]) -> None:
    """Raise UsageError where none of the networks can be trained so."""
    reasons = [refusal(strategy(name), row) for row in rows]
    if reasons and all(reasons):
        raise UsageError(f"strategy: {reasons[0]}")


def _begins_anew(recipe: Recipe, rows: Sequence[CatalogRow]) -> None:
    """Raise UsageError where layers are to begin anew that cannot: of no strategy that is named, of
    one without use for it, or layers that stand still.
    """
    if not recipe.strategy:
        raise UsageError("reinit: name the strategy whose layers begin anew, such as lp-ft")
    known = (strategy(name) for name in recipe.strategy if name in strategies())
    mistakes = []
    for one in (one.of(rows[0].spec.reads) for one in known if one.trains):
        still = recipe.frozen if recipe.frozen is not None else one.settings.get("frozen", 0.0)
        if reason := refuses_reinit(one):
            mistakes.append(reason)
        elif still + (recipe.reinit or 0.0) > 1:
            mistakes.append(
                f"reinit: in {one.name} {still:g} of the depth stands still, so that at most "
                f"{1 - still:g} can begin anew; set frozen, or less"
            )
    if mistakes:
        raise UsageError(*mistakes)


def asked(recipe: Recipe) -> list[str]:
    """Names of the settings of training that the user has set."""
    names = (*PLANNED, "epochs", "steps", "batch")
    return [name for name in names if getattr(recipe, name) is not None]


def trains(name: str) -> bool:
    """Whether anything moves in a strategy; an unknown name is a mistake told elsewhere."""
    try:
        return strategy(name).trains
    except UsageError:
        return True
