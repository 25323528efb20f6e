"""Before and after: the paired difference, what is refused, and the words of the table."""

from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import bootstrap as by_scipy

from regraft.errors import RegraftError
from regraft.evaluation.before_after import (
    COLUMNS,
    ToldBeforeAfter,
    ToldInterval,
    ToldLatency,
    ToldStanding,
    lost,
    refuse_drop,
    table_rows,
)
from regraft.evaluation.report import Report


def record(before: float = 0.9, after: float = 0.88, max_drop: float | None = 0.01) -> Any:
    def standing(score: float, times: int) -> ToldStanding:
        interval = ToldInterval(score, score - 0.02, score + 0.02)
        latency = tuple(
            ToldLatency(n, 0.01 / times, 0.02 / times, 0.008 / times, 50) for n in (1, 2)
        )
        return ToldStanding(
            interval, interval, 4_000_000 // times, 10**9, latency, ("net, 64 px, by <engine>",)
        )

    gone = before - after
    told = ToldBeforeAfter(
        *("prune", "half <b>of it</b>", "accuracy", "Accuracy", 200, "not seen"),
        standing(before, 1),
        standing(after, 2),
        ToldInterval(gone, gone - 0.01, gone + 0.01),
        max_drop,
    )
    return asdict(told)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40))
def test_what_is_lost_lies_in_its_interval_and_turns_its_sign_with_the_models(pairs: Any) -> None:
    one, other = np.array(pairs).T
    settings: Any = {"resamples": 50, "seed": 3}
    there, back = lost(one, other, **settings), lost(other, one, **settings)
    assert there.value == pytest.approx(one.mean() - other.mean())
    assert there.low <= there.high
    assert (back.value, back.low, back.high) == pytest.approx(
        (-there.value, -there.high, -there.low)
    )
    assert lost(one, one, **settings).value == 0


def test_the_interval_is_that_of_a_paired_bootstrap_by_scipy() -> None:
    rng = np.random.default_rng(0)
    one = rng.random(300) < 0.9
    other = one ^ (rng.random(300) < 0.05)
    ours = lost(one, other, resamples=4000, seed=0)
    difference = one.astype(float) - other
    theirs = by_scipy((difference,), np.mean, method="percentile", random_state=0)
    ends = theirs.confidence_interval
    assert (ours.low, ours.high) == pytest.approx((ends.low, ends.high), abs=0.004)


def test_groups_are_drawn_whole() -> None:
    one, other = np.ones(40), np.repeat([0.0, 1.0], 20)
    single = lost(one, other, resamples=400, seed=0)
    grouped = lost(one, other, resamples=400, seed=0, groups=np.repeat([0, 1, 2, 3], 10))
    assert grouped.value == single.value
    assert grouped.high - grouped.low > 2 * (single.high - single.low)


def test_a_drop_beyond_what_is_allowed_is_refused_with_its_figures() -> None:
    with pytest.raises(RegraftError) as caught:
        refuse_drop(record(0.9, 0.88, 0.01))
    told = str(caught.value)
    for part in (
        "prune: refused",
        "90.0",
        "88.0",
        "by 2 points",
        "200",
        "at most 1 may",
        "max_drop",
    ):
        assert part in told
    refuse_drop(record(0.9, 0.89, 0.01))  # just what is allowed
    refuse_drop(record(0.9, 0.5, None))
    refuse_drop(record(0.9, 0.95, 0.0))


def test_the_table_tells_every_figure_of_both() -> None:
    rows = table_rows(record())
    assert all(len(row) == len(COLUMNS) for row in rows)
    told = {row[0]: row[1:] for row in rows}
    assert told["Accuracy of 200"][2] == "−2.0 points (−3.0 to −1.0)"
    assert told["bytes of the bundle"] == ("4,000,000", "2,000,000", "× 0.50")
    assert told["multiply-adds of an example"][2] == "× 1.00"
    assert told["an answer, 1 thread, median"] == ("10.00 ms", "5.00 ms", "2.00× faster")
    assert len(rows) == 4 + 2 * 3


def test_a_report_shows_it_and_believes_none_of_its_words() -> None:
    metrics = {"accuracy": {"value": 0.9, "low": 0.8, "high": 0.95}}
    page = Report(
        {"metrics": metrics, "classes": ["a", "b"], "split": {"n": 9}, "before_after": record()}
    ).html()
    assert "Before and after" in page
    assert "−2.0 points" in page
    assert "half &lt;b&gt;" in page
    assert "<engine>" not in page
