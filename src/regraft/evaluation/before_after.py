"""Before and after: what a verb Model → Model has changed, on the same held-out examples.

One record for all of them (prune, quantize, distil, ensemble): figures with intervals, bytes,
multiply-adds, latency, calibration. It is kept in the new model's own record, printed as a table,
and a part of each report of that model. A drop beyond what is allowed is refused.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from regraft.errors import RegraftError
from regraft.evaluation.intervals import Interval
from regraft.evaluation.report import UNKNOWN, number, share, span

LATENCY = {"p50": "median", "p95": "95\u202f% below", "networks": "networks alone, median"}
Row = tuple[str, ...]  # COLUMNS in words

COLUMNS = ("", "before", "after", "change")
ROUNDING = 1e-9  # of a drop: what floating-point numbers add to it


@dataclass(frozen=True)
class ToldInterval:
    """An interval as plain data; the ends None where they are unknown."""

    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class ToldLatency:
    """Seconds for one example, from its prepared input to the answer: half, and 95 %, are below.

    threads   that one answer may use
    networks  the median of what its networks take, the head left out
    n         answers that were timed, those of both models in turn
    """

    threads: int
    p50: float
    p95: float
    networks: float
    n: int


@dataclass(frozen=True)
class ToldStanding:
    """One of the two models.

    score    the task's metric
    ece      expected calibration error; None where the task has none
    bytes    of the bundle
    macs     multiply-adds of networks and head for one example; None: not known
    networks one line for each
    """

    score: ToldInterval
    ece: ToldInterval | None
    bytes: int
    macs: int | None
    latency: tuple[ToldLatency, ...]
    networks: tuple[str, ...]


@dataclass(frozen=True)
class ToldBeforeAfter:
    """The whole record.

    verb      prune, quantize …
    told      what was done, a line
    metric    name of the task's metric, and `title` as people read it
    n         examples that both were measured on
    examples  which they were
    lost      points of the metric, as a share, with a paired interval: negative is a gain
    max_drop  what may be lost, as a share; None: anything
    """

    verb: str
    told: str
    metric: str
    title: str
    n: int
    examples: str
    before: ToldStanding
    after: ToldStanding
    lost: ToldInterval
    max_drop: float | None = None


def lost(
    before: npt.NDArray[Any],
    after: npt.NDArray[Any],
    *,
    resamples: int,
    seed: int,
    groups: npt.NDArray[Any] | None = None,
) -> Interval:
    """How much less right the second is, on the same n examples, with a paired 95 % interval.

    before, after  (n,) what each example counts for the metric: 1 where the answer is right
    groups         (n,) what each belongs to; whole groups are drawn
    """
    each = np.asarray(before, float) - np.asarray(after, float)
    units = np.arange(len(each)) if groups is None else np.unique(groups, return_inverse=True)[1]
    sums, sizes = np.bincount(units, each), np.bincount(units)
    rng = np.random.default_rng(seed)
    drawn = (rng.integers(0, len(sums), len(sums)) for _ in range(resamples))
    means = [sums[some].sum() / sizes[some].sum() for some in drawn]
    low, high = np.percentile(means, [2.5, 97.5])
    return Interval(float(each.mean()), float(low), float(high))


def refuse_drop(record: Mapping[str, Any]) -> None:
    """Raise RegraftError where more is lost than is allowed."""
    allowed, gone = record["max_drop"], record["lost"]
    if allowed is None or gone["value"] <= allowed + ROUNDING:
        return
    scores = [share(record[side]["score"]["value"]) for side in ("before", "after")]
    raise RegraftError(
        f"{record['verb']}: refused: {record['title']} falls from {scores[0]} to {scores[1]} on "
        f"{record['n']} examples, by {_points(gone['value'])} points (95\u202f% interval "
        f"{_points(gone['low'])} to {_points(gone['high'])}), and at most "
        f"{_points(allowed)} may be lost; nothing was written. Change less, measure on more "
        "examples, or allow more with max_drop (--max-drop)"
    )


def table_rows(record: Mapping[str, Any]) -> list[Row]:
    """The table of a record in words: what, before, after, change; see COLUMNS."""
    before, after = record["before"], record["after"]
    rows = [_score_row(record)]
    if before["ece"] is not None and after["ece"] is not None:
        rows.append(("calibration error", *_scores(before["ece"], after["ece"], number), ""))
    rows.append(_amount("bytes of the bundle", before["bytes"], after["bytes"]))
    rows.append(_amount("multiply-adds of an example", before["macs"], after["macs"]))
    return [*rows, *_latency_rows(before["latency"], after["latency"])]


def _score_row(record: Mapping[str, Any]) -> Row:
    gone = record["lost"]
    change, *inner = [_gain(gone[end]) for end in ("value", "high", "low")]
    scores = _scores(record["before"]["score"], record["after"]["score"], share)
    return (
        f"{record['title']} of {record['n']}",
        *scores,
        f"{change} points ({' to '.join(inner)})",
    )


def _gain(gone: float) -> str:
    """Points won, with their sign."""
    told = f"{abs(100 * gone):.1f}"
    return "±0" if float(told) == 0 else ("\u2212" if gone > 0 else "+") + told


def _scores(before: Any, after: Any, told: Any) -> tuple[str, str]:
    def one(found: Mapping[str, Any]) -> str:
        inner = span(found, told is share)
        return told(found["value"]) + ("" if inner == UNKNOWN else f" ({inner})")

    return one(before), one(after)


def _amount(title: str, before: int | None, after: int | None) -> Row:
    told = [UNKNOWN if value is None else f"{value:,}" for value in (before, after)]
    change = f"× {after / before:.2f}" if before and after is not None else UNKNOWN
    return (title, *told, change)


def _latency_rows(
    before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]
) -> Iterator[Row]:
    for one, other in zip(before, after, strict=False):
        threads = f"{one['threads']} thread{'s' if one['threads'] > 1 else ''}"
        for name, title in LATENCY.items():
            ms = [f"{1000 * side[name]:.2f} ms" for side in (one, other)]
            faster = one[name] / other[name] if other[name] else 0.0
            yield (f"an answer, {threads}, {title}", *ms, f"{faster:.2f}× faster")


def _points(value: float) -> str:
    return f"{100 * value:.2f}".rstrip("0").rstrip(".")
