"""Ranking: which pretrained network suits these examples, with little work for those that do not.

    catalog ── filters ──▶ screening at 128 px ── better half ──▶ measuring at the input of a fit

Cost-aware successive halving (Jamieson and Talwalkar 2016, 1502.07943) on at most 512 labelled
examples, judged by the exact squared leave-one-out error of a ridge head on all blocks, by which
a fit chooses too. k-NN, LogME and H-score stand beside it; see transferability.py.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from regraft.backbones.engines import engine_kind
from regraft.backbones.store import Store
from regraft.data.dataset import Dataset
from regraft.data.learnable import check_learnable
from regraft.data.sources import load
from regraft.errors import BackboneError, UsageError
from regraft.modalities import modality
from regraft.progress import Progress, Quiet
from regraft.recipe import Recipe
from regraft.transfer.candidates import Candidate, Skipped, Wanted
from regraft.transfer.halving import SCREENED, Clock, Examples, Halving, RankRow

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["RankRow", "Ranking", "Skipped", "rank"]

UNKNOWN = "–"


@dataclass(frozen=True)
class Ranking:
    """Networks from the best to the worst for some examples.

    rows      networks that were measured, then those that were only screened; each by squared
              leave-one-out error, and within a hundredth of the labels' variance by speed
    skipped   networks without a row, and why
    left_out  files that could not be read, and why
    examples  number of examples that the networks were compared on
    classes   number of their classes
    seconds   that the ranking took
    limit     rows that `table` shows; None: all

    With two or three examples a class leave-one-out is pessimistic: an order, not an estimate.
    """

    rows: tuple[RankRow, ...]
    skipped: tuple[Skipped, ...]
    left_out: tuple[Skipped, ...]
    examples: int
    classes: int
    seconds: float
    limit: int | None = None

    @property
    def best(self) -> RankRow:
        """The first row. Raises BackboneError, with the reasons, where there is none."""
        if not self.rows:
            reasons = [f"{name}: {reason}" for name, reason in self.skipped]
            raise BackboneError("\n".join(["no network could be ranked:", *reasons]))
        return self.rows[0]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON, all rows."""
        return {
            "examples": self.examples,
            "classes": self.classes,
            "seconds": self.seconds,
            "rows": [
                asdict(row) | {"leave_one_out": row.leave_one_out.to_dict()} for row in self.rows
            ],
            "skipped": [skipped._asdict() for skipped in self.skipped],
            "left_out": [{"file": name, "reason": reason} for name, reason in self.left_out],
        }

    def table(self) -> "Table":
        """The first `limit` rows for a terminal."""
        from rich.table import Table
        from rich.text import Text

        table = Table(title=f"Leave-one-out on {self.examples} examples of {self.classes} classes")
        for heading in COLUMNS:
            table.add_column(heading)
        for row in self.rows[: self.limit]:
            table.add_row(*(Text(cell(row)) for cell in COLUMNS.values()))  # a name is no markup
        return table


def _accuracy(row: RankRow) -> str:
    found = row.leave_one_out
    return f"{found.value:.1%} ({found.low:.1%} to {found.high:.1%})"


def _upstream(row: RankRow) -> str:
    return UNKNOWN if row.upstream_score is None else f"{row.upstream_score:.1f} %"


# Heading → what stands below it.
COLUMNS: Mapping[str, Callable[[RankRow], str]] = {
    "backbone": lambda row: row.name,
    "error": lambda row: f"{row.error:.4f}",
    "accuracy": _accuracy,
    "k-NN": lambda row: f"{row.knn:.1%}",
    "LogME": lambda row: f"{row.logme:.3f}",
    "H-score": lambda row: f"{row.h_score:.2f}",
    "ImageNet": _upstream,
    "parameters": lambda row: f"{row.parameters / 1e6:.1f} M",
    "MB": lambda row: f"{row.megabytes:.0f}",
    "examples/s": lambda row: f"{row.pictures_per_second:.0f}",
    "size": lambda row: f"{row.size} {row.unit}",
    "licence of weights": lambda row: row.licence_weights,
    "note": lambda row: row.note,
}


def rank(
    data: Any,
    *,
    backbones: Sequence[str] = (),
    licence: Sequence[str] = (),
    size: int | None = None,
    limit: int | None = None,
    time_limit: float | None = None,
    max_parameters: int | None = None,
    min_rate: float | None = None,
    include_missing: bool = False,
    seed: int = 0,
    progress: Progress | None = None,
    engine: str | None = None,
    store: Store | None = None,
) -> Ranking:
    """Rank pretrained networks by how well a head on their frozen features does on examples.

    data             a Dataset or a source for `regraft.load`; only what is to be learned from is
                     read, never the held-out part
    backbones        names to choose from; empty: the catalog
    licence          licences that weights may have, such as ``apache-2.0``; empty: any
    size             picture size in pixels; None: 128, then the one that a fit begins with
    limit            rows that the table shows; None: all
    time_limit       seconds; kept to within the time in which one network is opened
    max_parameters   that a network may have
    min_rate         examples per second that a network must reach on this machine
    include_missing  download weights that are not on this machine
    seed             of the choice of examples and of the bootstrap
    engine           what runs the networks; None: PyTorch to screen, then the fastest here

    The half that does better when screened, at least 3, is measured. Up to 3 candidates are not
    screened unless there is a time limit. Features are kept in the store, so a second call is fast.
    A network that fails, or that there is no time for, is skipped with the reason.

    Raises UsageError with all mistakes, DataError where the examples cannot be used.
    """
    clock = Clock(time.perf_counter(), time_limit)
    numbers = {"limit": limit, "time_limit": time_limit, "min_rate": min_rate}
    recipe = _recipe(
        {"backbone": backbones, "licence": licence, "size": size, "seed": seed, "engine": engine},
        numbers | {"max_parameters": max_parameters},
    )
    dataset = load(data)
    inputs = modality(dataset.modality).inputs
    wanted = Wanted(recipe, max_parameters, include_missing, inputs)
    opened = store or Store()
    try:
        found = _ranked(dataset, wanted, min_rate, clock, opened, progress or Quiet())
    finally:
        if store is None:
            opened.close()
    return replace(found, limit=limit)


def _ranked(
    dataset: Dataset,
    wanted: Wanted,
    min_rate: float | None,
    clock: Clock,
    store: Store,
    progress: Progress,
) -> Ranking:
    rows, skipped = wanted.candidates()
    recipe = wanted.recipe
    check_learnable(dataset)
    examples = Examples.of(dataset.learning, recipe.seed, store, progress)
    halving = Halving(recipe, min_rate, clock, examples, store, progress, skipped)
    ranked = halving.run([Candidate.of(row, recipe, examples.sides) for row in rows])
    return Ranking(
        rows=tuple(ranked),
        skipped=tuple(skipped),
        left_out=examples.left_out,
        examples=len(examples.labels),
        classes=len(np.unique(examples.labels)),
        seconds=round(time.perf_counter() - clock.start, 2),
    )


def _recipe(fields: Mapping[str, Any], numbers: Mapping[str, Any]) -> Recipe:
    """The settings that a fit has too. Raises UsageError with the mistakes of all settings."""
    mistakes = [
        f"{name}: expected a number above 0, got {value!r}"
        for name, value in numbers.items()
        if value is not None and not (isinstance(value, int | float) and value > 0)
    ]
    try:
        recipe = Recipe(**fields)
        engine_kind(recipe.engine or str(SCREENED.engine))
    except UsageError as error:
        raise UsageError(*error.mistakes, *mistakes) from None
    if mistakes:
        raise UsageError(*mistakes)
    return recipe
