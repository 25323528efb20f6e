"""What a comparison is asked for: refused before any work, with all that is wrong."""

from collections.abc import Iterator, Sequence
from typing import Any

from regraft.errors import UsageError
from regraft.modalities.base import Modality
from regraft.recipe import FIND, Recipe
from regraft.training.strategies import Strategy, strategy
from regraft.training.variants import (
    VARIANTS,
    base_of,
    crossed,
    hint,
    same_run,
    settings_varied,
    varied,
)
from regraft.verbs.settings import trains


def asked_for(
    recipe: Recipe,
    settings: dict[str, Any],
    strategies: Sequence[str],
    labels: Sequence[int],
    seeds: Sequence[int],
    variants: Sequence[str] = (),
) -> Recipe:
    """The recipe with its settings. Raises UsageError with all that is wrong or has no use.

    strategies  names of all rows, see `rows_of`, and the variants that they were crossed with
    """
    mistakes = [*_wrong_names(strategies), *_wrong_numbers(labels, seeds)]
    mistakes += _wrong_variants(strategies, variants)
    try:
        asked = recipe.changed(**settings)
        mistakes += [*_useless(asked), *_set_twice(asked, strategies)]
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
            varied(name)
        except UsageError as error:
            yield from error.mistakes


def rows_of(strategies: Sequence[str], variants: Sequence[str]) -> Sequence[str]:
    """Names of all rows; what is not known is left, to be told with everything else."""
    try:
        return crossed(strategies, [one for one in variants if one in VARIANTS])
    except UsageError:
        return tuple(strategies)


def _wrong_variants(strategies: Sequence[str], variants: Sequence[str]) -> Iterator[str]:
    for one in variants:
        if one not in VARIANTS:
            yield f"variants: {one!r} is not known{hint(one)}"
    if len(set(variants)) < len(variants):
        yield f"variants: name each once, got {', '.join(variants)}"
    if variants and not any(map(trains, strategies)):
        yield "variants: have no use where nothing is trained"


def _set_twice(recipe: Recipe, strategies: Sequence[str]) -> Iterator[str]:
    for name in strategies:
        for key in settings_varied(name):
            if getattr(recipe, key) is not None:
                yield f"{key}: is set for all rows, and {name} varies it; leave one of them out"


def refuse_other_augmentation(wanted: Sequence[Strategy], kind: Modality) -> None:
    """Raise UsageError where a variant's augmentation is none of this kind of data."""
    mistakes = []
    for one in wanted:
        if "augment" in settings_varied(one.name):
            try:
                kind.augmentations(one.settings["augment"])
            except UsageError as error:
                mistakes += [f"{one.name}: {text}" for text in error.mistakes]
    if mistakes:
        raise UsageError(*mistakes)


def alike(wanted: Sequence[Strategy], reads: str, examples: int) -> Iterator[str]:
    """Which rows are what their strategy does anyway: their difference is none."""
    for one in wanted:
        base = strategy(base_of(one.name)).of(reads)
        if base.name != one.name and same_run(one, base, examples):
            yield f"{one.name}: the same run as {base.name}, which does so by itself here"


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
