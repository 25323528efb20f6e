"""Beside the first network and its input: other inputs of it, other networks, and who can train."""

from collections.abc import Sequence
from dataclasses import replace

from regraft.backbones.catalog import CatalogRow
from regraft.backbones.extractor import Extractor
from regraft.backbones.readers import reader
from regraft.modalities.spec import InputSpec
from regraft.recipe import Recipe
from regraft.training.strategies import refusal, strategy
from regraft.transfer.inputs import first_input, fitting


def at(first: Extractor, spec: InputSpec) -> Extractor:
    """The same network and engine at another input, with the rate to expect there."""
    other = Extractor(first.row, spec, first.engine_name)
    rate = None if first.rate is None else first.rate * _cost(first) / _cost(other)
    return replace(other, rate=rate)


def _cost(one: Extractor) -> float:
    """Of an example, in those of one view as the network's own spec has it."""
    return reader(one.spec).cost(one.spec, one.row.spec, ()) * len(one.spec.views)


def beside(row: CatalogRow, first: Extractor, recipe: Recipe, sizes: Sequence[int]) -> InputSpec:
    """Input of another network: at the same size where that was chosen, else at its own.

    A network that reads something else has nothing of the first one's input but the views.

    sizes  of some of the user's examples, see `first_input`
    """
    if row.spec.reads != first.spec.reads:
        return replace(first_input(row, recipe, sizes).spec, views=first.spec.views)
    size = None if first.spec.size == first.row.spec.size else fitting(row, first.spec.size)
    return first.spec.of(row.spec.at(size))


def reasons(row: CatalogRow, spec: InputSpec, first: Extractor, recipe: Recipe) -> dict[str, str]:
    """What was chosen for a network that reads something else than the first one, and why."""
    if recipe.size is not None or spec.reads == first.spec.reads:
        return {}
    return {f"size, {row.name}": f"{spec.told}: the network's own"}


def trainable(row: CatalogRow, recipe: Recipe) -> bool:
    """Whether a network can be trained as is asked by name."""
    return not any(refusal(strategy(name), row) for name in recipe.strategy)
