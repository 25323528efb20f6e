"""Which networks, at which size, by which views: what is tried first, what is compared with it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median

from regraft.backbones.catalog import DEFAULTS, CatalogRow, available, catalog, find
from regraft.backbones.engines import ENGINES, engine_kind
from regraft.errors import UsageError
from regraft.modalities.spec import InputSpec
from regraft.recipe import Recipe

MIRRORED = ("centre", "whole-mirrored")
USUAL_SETS = {"centre and the whole picture mirrored": MIRRORED}
SMALL = 128  # pixels: the first size for pictures that are far smaller than the network's own input
TINY = 96


@dataclass(frozen=True)
class Choice:
    """An input, and why it was chosen, by the name of the setting."""

    spec: InputSpec
    reasons: dict[str, str]


def networks(
    recipe: Recipe,
    views: Sequence[str] | None = None,
    inputs: Sequence[str] = ("picture",),
) -> list[CatalogRow]:
    """Catalog rows to use: those asked for; else the default first, then others that are here.

    views   those that there are; None: what the recipe asks for is not compared with them
    inputs  what the examples can be turned into for a network, see `Modality`

    Raises UsageError with all that cannot be obeyed: names, licences, size, views and engine;
    MissingExtra where the engine is not installed.
    """
    mistakes = [*_wrong_views(recipe, views), *_wrong_engine(recipe)]
    rows = []
    for name in recipe.backbone:
        try:
            rows.append(find(name))
        except UsageError as error:
            mistakes += error.mistakes
    mistakes += [f"backbone: {foreign(row, inputs)}" for row in rows if foreign(row, inputs)]
    mistakes += [f"engine: {_no_engine(row, recipe)}" for row in rows if _no_engine(row, recipe)]
    mistakes += [f"backbone: {_licence(row, recipe)}" for row in rows if not _allowed(row, recipe)]
    mistakes += [f"size: {_reads(row, recipe)}" for row in rows if not _readable(row, recipe)]
    if mistakes:
        raise UsageError(*mistakes)
    if recipe.engine is not None:
        engine_kind(recipe.engine)
    return rows or _here(recipe, inputs)


def defaults_for(inputs: Sequence[str]) -> list[CatalogRow]:
    """The usual network of each input that is on this machine; of the first one in any case."""
    rows = [catalog()[DEFAULTS[reads]] for reads in inputs if reads in DEFAULTS]
    return rows[:1] + [row for row in rows[1:] if available(row)]


def foreign(row: CatalogRow, inputs: Sequence[str]) -> str:
    """Why a network cannot be used on such examples; empty where it can."""
    if row.spec.reads in inputs:
        return ""
    return f"{row.name} reads a {row.spec.reads}; these examples become a {' or '.join(inputs)}"


def _here(recipe: Recipe, inputs: Sequence[str]) -> list[CatalogRow]:
    """What fits the recipe and is on this machine, the defaults first."""
    known = [row for row in catalog().values() if not foreign(row, inputs)]
    fitting = [row for row in known if _allowed(row, recipe) and available(row)]
    here = [row for row in fitting if _readable(row, recipe)]
    usual = [row.name for row in defaults_for(inputs)]
    place = {name: i for i, name in enumerate(usual)}  # each way to read them is tried early
    here.sort(key=lambda row: (place.get(row.name, len(usual)), -(row.upstream_score or 0)))
    if here:
        return here
    if fitting:
        raise UsageError(*(f"size: {_reads(row, recipe)}" for row in fitting))
    missing = available(catalog()[usual[0]])
    raise UsageError(
        f"backbone: no network on this machine reads a {' or '.join(inputs)} and has weights under "
        f"{', '.join(recipe.licence) or 'any licence'}; `regraft backbones` lists all"
        + (f"; the usual one: {missing.reason}" if missing.reason else "")
    )


def _wrong_views(recipe: Recipe, views: Sequence[str] | None) -> Iterator[str]:
    if views is not None:
        for view in (view for view in recipe.views if view not in views):
            yield f"views: {view!r} is not one of {', '.join(views)}"


def _wrong_engine(recipe: Recipe) -> Iterator[str]:
    if recipe.engine is not None and recipe.engine not in ENGINES:
        yield f"engine: {recipe.engine!r} is not known; choose one of {', '.join(ENGINES)}"


def _no_engine(row: CatalogRow, recipe: Recipe) -> str:
    """Why the engine that was asked for cannot run the network; empty where it can."""
    asked = recipe.engine
    if asked is None or asked not in ENGINES or asked == row.graph:
        return ""
    if row.graph:
        return f"{row.name} is a graph for {row.graph}; {asked} cannot run it"
    return "" if ENGINES[asked].runs_any else f"{asked} runs graphs of its own, not {row.name}"


def _readable(row: CatalogRow, recipe: Recipe) -> bool:
    return recipe.size is None or row.reads_size(recipe.size)


def _reads(row: CatalogRow, recipe: Recipe) -> str:
    return f"{row.sizes_told}; got {recipe.size}"


def _allowed(row: CatalogRow, recipe: Recipe) -> bool:
    allowed = {name.casefold() for name in recipe.licence}
    return not allowed or row.licence_weights.casefold() in allowed


def _licence(row: CatalogRow, recipe: Recipe) -> str:
    return (
        f"{row.name}: the licence of its weights is {row.licence_weights}; you allow "
        f"{', '.join(recipe.licence)}"
    )


def first_input(row: CatalogRow, recipe: Recipe, sizes: Sequence[int]) -> Choice:
    """The input to begin with.

    sizes  of some of the user's pictures: their shorter sides in pixels

    The whole shorter side is kept (crop 1.0): upstream crops throw away a quarter of the picture,
    and objects appear larger than in training (Touvron et al. 2019, 1906.06423).
    """
    reasons: dict[str, str] = {}
    spec = replace(row.spec, crop_fraction=1.0, window=recipe.window or row.spec.window)
    if recipe.views:
        spec = replace(spec, views=recipe.views)
    if recipe.size is not None:
        return Choice(spec.at(recipe.size), reasons)
    if _small(row, sizes):
        size = fitting(row, SMALL)
        reasons["size"] = f"{spec.at(size).told}: the pictures are small ({median(sizes):.0f} px)"
        return Choice(spec.at(size), reasons)
    reasons["size"] = f"{spec.told}: the network's own"
    return Choice(spec, reasons)


def candidates(
    row: CatalogRow,
    first: InputSpec,
    recipe: Recipe,
    views: Mapping[str, Sequence[str]] = USUAL_SETS,
) -> list[Choice]:
    """Other inputs that are worth a comparison with the first; nothing that the user has set.

    views  sets of them that are worth it, by what they are called; see `Modality.view_sets`
    """
    found = []
    if recipe.size is None and first.size < row.spec.size:
        for size in {fitting(row, TINY), row.spec.size} - {first.size}:
            why = f"{first.at(size).told}: the least leave-one-out error of the sizes tried"
            found.append(Choice(first.at(size), {"size": why}))
    if not recipe.views and (first.size >= row.spec.size or len(views) > 1):
        for name, some in views.items():
            why = f"{name}: a lower leave-one-out error than one view"
            found.append(Choice(replace(first, views=tuple(some)), {"views": why}))
    return sorted(found, key=lambda choice: choice.spec.size)


def _small(row: CatalogRow, sizes: Sequence[int]) -> bool:
    return bool(sizes) and median(sizes) < row.spec.size / 2


def fitting(row: CatalogRow, size: int) -> int:
    """The next size that the network can read; the largest where there is no next one."""
    size = max(size, row.min_size)
    size = -(-size // row.size_multiple) * row.size_multiple
    return min(size, row.max_size or size)
