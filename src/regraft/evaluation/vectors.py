"""What the metrics of tags and of numbers share: a table of figures, and their intervals.

A figure maps sums over B weightings of the examples to B values, as those of classes do: the plain
figure is the one with weights of one, and a bootstrap resample the one weighted by how often each
example was drawn (`regraft.evaluation.intervals`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from regraft.evaluation.intervals import Interval, resampled
from regraft.evaluation.weighted import FloatArray

S = TypeVar("S")


@dataclass(frozen=True)
class Figure(Generic[S]):
    """One row of a table of metrics.

    name              stable word for scripts and JSON
    title             what a person reads
    function          sums → (B,) values
    higher_is_better  False for losses and errors
    definition        what it is, in one line
    """

    name: str
    title: str
    function: Callable[[S], FloatArray]
    higher_is_better: bool
    definition: str


class Measured(NamedTuple):
    """Figures by name, and a row of figures for each column (tag, or number), with intervals."""

    whole: dict[str, Interval]
    columns: list[dict[str, Interval]]


def measured(
    examples: Any,
    sums: Callable[[Any, FloatArray], S],
    figures: Mapping[str, Figure[S]],
    by_column: Mapping[str, Callable[[S], FloatArray]],
    *,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int,
    groups: npt.ArrayLike | None = None,
) -> Measured:
    """All figures with their intervals; the settings are those of `intervals.bootstrap`.

    sums       (examples, weights (B, n)) → what the figures read
    by_column  name → sums → (B, k)

    `examples` has ``labels`` (n, k). Raises UsageError for wrong settings.
    """

    def statistics(weighted: Any) -> FloatArray:
        s = sums(weighted.examples, weighted.weights)
        whole = np.stack([figure.function(s) for figure in figures.values()], 1)
        return np.hstack([whole, *(column(s) for column in by_column.values())])

    asked: dict[str, Any] = {"resamples": resamples, "confidence": confidence}
    found = iter(resampled(examples, statistics, **asked, seed=seed, groups=groups))
    whole = {name: next(found) for name in figures}
    k = examples.labels.shape[1]
    tables = {name: [next(found) for _ in range(k)] for name in by_column}
    rows = [{name: column[i] for name, column in tables.items()} for i in range(k)]
    return Measured(whole, rows)


def told(figures: Mapping[str, Figure[Any]], found: Mapping[str, Interval]) -> dict[str, Any]:
    """Figures with their intervals as a report's record has metrics."""
    return {
        name: {
            **interval.to_dict(),
            "title": figures[name].title,
            "higher_is_better": figures[name].higher_is_better,
            "definition": figures[name].definition,
        }
        for name, interval in found.items()
    }


def told_columns(rows: list[dict[str, Interval]]) -> list[dict[str, float | None]]:
    """Rows with ``name``, ``name_low`` and ``name_high`` for each figure."""
    out = []
    for row in rows:
        flat: dict[str, float | None] = {}
        for name, interval in row.items():
            ends = interval.to_dict()
            flat |= {name: ends["value"], f"{name}_low": ends["low"], f"{name}_high": ends["high"]}
        out.append(flat)
    return out


def mean_of(values: FloatArray) -> FloatArray:
    """(B, k) → (B,) means over what is defined, NaN where nothing is."""
    known = ~np.isnan(values)
    count = known.sum(1)
    total = np.where(known, values, 0).sum(1)
    return np.divide(total, count, out=np.full(len(values), np.nan), where=count > 0)
