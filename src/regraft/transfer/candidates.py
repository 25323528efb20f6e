"""Candidates: networks that a ranking may try, and what is known of each before it is tried."""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

from regraft.backbones.cache import cache_folder
from regraft.backbones.catalog import CatalogRow, available, catalog, families, find
from regraft.backbones.engines import choose_engine, rate
from regraft.backbones.extractor import Extractor
from regraft.backbones.runtimes import lanes
from regraft.backbones.weights import weight_file
from regraft.errors import BackboneError, UsageError
from regraft.modalities.spec import UNITS, InputSpec
from regraft.recipe import Recipe
from regraft.storage import write_atomically
from regraft.transfer.inputs import first_input, fitting, foreign

if TYPE_CHECKING:
    from regraft.backbones.network import FrozenNetwork

LOW = 128  # pixels of the screening
DOUBLING = 2.0  # points of upstream score that twice the operations bring, along the catalog's best
BUFFERS = ("running_mean", "running_var", "num_batches_tracked")  # in the file, not learned


class Skipped(NamedTuple):
    """A network, or a file, that was left out, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Candidate:
    """A network to try: its input for the screening, and the one that a fit would begin with."""

    row: CatalogRow
    low: InputSpec
    own: InputSpec

    @classmethod
    def of(cls, row: CatalogRow, recipe: Recipe, sides: Sequence[int]) -> "Candidate":
        """sides: shorter sides, pixels, of some of the user's pictures."""
        own = first_input(row, recipe, sides).spec
        if recipe.size is not None:
            return cls(row, own, own)
        own = own.at(_readable(row, own.size))
        return cls(row, own.at(min(own.size, _readable(row, LOW))), own)

    def is_chosen(self, engine: str | None) -> bool:
        """Whether the engine of a fit is known; to choose the fastest takes long."""
        if engine is not None or self.row.graph:
            return True
        try:
            choose_engine(self.row, self.own, _not_chosen)
        except _NotChosen:
            return False
        return True


class _NotChosen(Exception):
    pass


def _not_chosen() -> "FrozenNetwork":
    raise _NotChosen


def _readable(row: CatalogRow, size: int) -> int:
    """The next size that a network can read."""
    if families()[row.family].resize == "fixed":
        return row.spec.size
    return fitting(row, size)


@dataclass(frozen=True)
class Wanted:
    """What is asked of a network before it is tried; see `regraft.transfer.ranking.rank`.

    inputs  what the examples can be turned into, see `Modality`
    """

    recipe: Recipe
    max_parameters: int | None = None
    include_missing: bool = False
    inputs: tuple[str, ...] = ("picture",)

    def candidates(self) -> tuple[list[CatalogRow], list[Skipped]]:
        """Networks to try, and those that are not: named ones as named, else the likeliest first.

        Raises UsageError naming every unknown network.
        """
        found: list[CatalogRow] = []
        skipped: list[Skipped] = []
        unknown: list[str] = []
        for name in dict.fromkeys(self.recipe.backbone or catalog()):
            try:
                row = find(name)
                reason = next(self._reasons(row), "")
            except BackboneError as error:
                reason = str(error)
            except UsageError as error:
                unknown += error.mistakes
                continue
            if reason:
                skipped.append(Skipped(name, reason))
            else:
                found.append(row)
        if unknown:
            raise UsageError(*unknown)
        return found if self.recipe.backbone else sorted(found, key=_prior), skipped

    def _reasons(self, row: CatalogRow) -> Iterator[str]:
        """Why a network is not tried, if there is a reason."""
        size, licences = self.recipe.size, self.recipe.licence
        if reason := foreign(row, self.inputs):
            yield reason
            return
        if licences and row.licence_weights.casefold() not in map(str.casefold, licences):
            yield f"its weights' licence is {row.licence_weights}, not {' or '.join(licences)}"
        if size is not None and size != _readable(row, size):
            sign = UNITS[row.spec.reads].sign
            other = f"{_readable(row, size)} {sign}"
            yield f"it cannot read {size} {sign}; the next size that it can is {other}"
        if not self.include_missing and not (here := available(row)):
            yield here.reason
        if self.max_parameters is not None and (count := parameters(row)) > self.max_parameters:
            yield f"it has {count:,} parameters, more than {self.max_parameters:,}"


def _prior(row: CatalogRow) -> float:
    """Less is likelier: upstream score against operations, both of the median where not known."""
    rows = catalog().values()
    score = row.upstream_score or median(r.upstream_score for r in rows if r.upstream_score)
    cost = row.gflops or median(r.gflops for r in rows if r.gflops)
    at_low = cost * (min(LOW, row.spec.size) / row.spec.size) ** 2
    return DOUBLING * math.log2(at_low) - score


def pictures_per_second(made: Extractor) -> float:
    """Of the network alone, with all lanes at work; measured once and kept in the cache."""
    if made.rate is not None:
        return made.rate
    kept = cache_folder("graphs") / f"{made.space('speed')[:32]}-{lanes()}-rate.json"
    if not kept.exists():
        write_atomically(kept, json.dumps(round(rate(made.engine, made.spec), 1)).encode())
    return float(json.loads(kept.read_bytes()))


def parameters(row: CatalogRow) -> int:
    """Numbers that were learned; read from the file's header where the catalog does not tell.

    Raises BackboneError where the file is missing or damaged.
    """
    if row.parameters:
        return row.parameters
    from safetensors import SafetensorError, safe_open

    path = weight_file(row)
    try:
        with safe_open(path, framework="numpy") as file:
            learned = [name for name in file.keys() if not name.endswith(BUFFERS)]  # noqa: SIM118
            return sum(math.prod(file.get_slice(name).get_shape()) for name in learned)
    except SafetensorError as error:
        raise BackboneError(f"{path}: not a safetensors file: {error}") from error
