"""Bootstrap intervals: the draws, the percentiles, and that they cover what they say."""

import itertools
import math
import time
import tracemalloc
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from regraft.errors import UsageError
from regraft.evaluation import intervals
from regraft.evaluation.intervals import Interval, Resampling, bootstrap, bootstrap_per_class
from regraft.evaluation.metrics import measure, per_class, select

Arrays = tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]


def examples(n: int, c: int, seed: int = 0, signal: float = 1.5) -> Arrays:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, c, n)
    scores = rng.normal(size=(n, c))
    scores[np.arange(n), labels] += signal
    odds = np.exp(scores)
    return labels, odds / odds.sum(axis=1, keepdims=True)


def answers(correct: npt.NDArray[np.bool_]) -> Arrays:
    """Two classes, label 0 throughout, predicted right where told."""
    return np.zeros(len(correct), dtype=np.int64), np.where(
        correct[:, None], [0.9, 0.1], [0.1, 0.9]
    )


def share_covered(found: list[Interval], truth: float) -> float:
    return float(np.mean([interval.low <= truth <= interval.high for interval in found]))


# The draws.


@settings(max_examples=30)
@given(n=st.integers(1, 40), seed=st.integers(0, 2**63))
def test_a_resample_has_as_many_examples_as_the_data(n: int, seed: int) -> None:
    weights = np.concatenate([*Resampling(np.arange(n), 20, 0.95, seed).weights()])
    assert weights.shape == (20, n)
    assert (weights.sum(axis=1) == n).all()
    assert ((weights >= 0) & (weights == weights.round())).all()


def test_every_example_is_drawn_alike() -> None:
    weights = np.concatenate([*Resampling(np.arange(50), 20_000, 0.95, 1).weights()])
    np.testing.assert_allclose(weights.mean(axis=0), 1, atol=0.05)
    np.testing.assert_allclose(weights.var(axis=0), 1 - 1 / 50, atol=0.1)
    correlation = np.corrcoef(weights.T) - np.eye(50)
    assert np.abs(correlation + 1 / 49 * (1 - np.eye(50))).max() < 0.05


def test_groups_are_drawn_whole() -> None:
    units = np.array([0, 1, 1, 2, 2, 2, 0])
    weights = np.concatenate([*Resampling(units, 200, 0.95, 3).weights()])
    per_group = weights[:, [0, 1, 3]]
    np.testing.assert_array_equal(weights, per_group[:, units])
    assert (per_group.sum(axis=1) == 3).all()


@pytest.mark.parametrize(("chunk", "fewest"), [(1, 1), (700, 1), (10**9, 1), (1, 333)])
def test_the_chunk_size_changes_nothing(
    chunk: int, fewest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    y, p = examples(100, 4)
    whole = bootstrap(y, p, seed=5, resamples=200)
    monkeypatch.setattr(intervals, "CHUNK", chunk)
    monkeypatch.setattr(intervals, "FEWEST", fewest)
    cut = bootstrap(y, p, seed=5, resamples=200)
    for name, interval in whole.items():
        assert list(cut[name].to_dict().values()) == pytest.approx(
            list(interval.to_dict().values()), abs=1e-12
        )


def test_seeds_repeat_and_differ() -> None:
    y, p = examples(80, 3)
    once = bootstrap(y, p, seed=1, resamples=100)
    assert once == bootstrap(y, p, seed=1, resamples=100)
    assert once != bootstrap(y, p, seed=2, resamples=100)
    alone = bootstrap(y, p, metrics=["ece"], seed=1, resamples=100)
    assert alone == {"ece": once["ece"]}


# The percentiles.


def test_equals_a_loop_over_repeated_examples() -> None:
    y, p = examples(40, 7)
    weights = np.concatenate([*Resampling(np.arange(40), 60, 0.9, 4).weights()]).astype(int)
    draws = [measure(np.repeat(y, w), np.repeat(p, w, axis=0)) for w in weights]
    found = bootstrap(y, p, seed=4, resamples=60, confidence=0.9)
    assert found.keys() == {row.name for row in select(None, 7)}
    for name, value in measure(y, p).items():
        low, high = np.quantile([draw[name] for draw in draws], [0.05, 0.95])
        assert found[name].value == value
        assert found[name].low == pytest.approx(min(low, value), abs=1e-12)
        assert found[name].high == pytest.approx(max(high, value), abs=1e-12)


def test_per_class_equals_a_loop_over_repeated_examples() -> None:
    y, p = examples(60, 3)
    weights = np.concatenate([*Resampling(np.arange(60), 60, 0.9, 4).weights()]).astype(int)
    draws = [per_class(np.repeat(y, w), np.repeat(p, w, axis=0)) for w in weights]
    found = bootstrap_per_class(y, p, seed=4, resamples=60, confidence=0.9)
    for k, name in itertools.product(range(3), ("precision", "recall", "f1")):
        low, high = np.quantile([draw[k][name] for draw in draws], [0.05, 0.95])
        assert found[k][name].value == per_class(y, p)[k][name]
        assert found[k][name].low == pytest.approx(low, abs=1e-12)
        assert found[k][name].high == pytest.approx(high, abs=1e-12)


def test_agrees_with_the_bootstrap_of_scipy() -> None:
    y, p = examples(200, 4)
    correct = (p.argmax(axis=1) == y).astype(float)
    theirs = stats.bootstrap(
        (correct,), np.mean, n_resamples=5000, method="percentile", rng=0
    ).confidence_interval
    ours = bootstrap(y, p, metrics=["accuracy"], resamples=5000, seed=0)["accuracy"]
    assert ours.low == pytest.approx(theirs.low, abs=0.006)
    assert ours.high == pytest.approx(theirs.high, abs=0.006)


@settings(max_examples=30)
@given(n=st.integers(2, 60), c=st.integers(2, 7), seed=st.integers(0, 1000))
def test_an_interval_holds_its_value_and_stays_in_bounds(n: int, c: int, seed: int) -> None:
    found = bootstrap(*examples(n, c, seed), seed=seed, resamples=60)
    for name, (value, low, high) in {k: (i.value, i.low, i.high) for k, i in found.items()}.items():
        if math.isnan(value):
            assert name.startswith(("auroc", "average_precision"))
            assert math.isnan(low)
            assert math.isnan(high)
        else:
            assert low <= value <= high
            assert high <= {"brier": 2, "log_loss": math.inf}.get(name, 1) + 1e-12
            assert low >= {"mcc": -1}.get(name, 0) - 1e-12


def test_intervals_narrow_with_examples_and_widen_with_confidence() -> None:
    def width(n: int, confidence: float) -> float:
        found = bootstrap(*examples(n, 5), metrics=["accuracy"], confidence=confidence, seed=0)
        return found["accuracy"].high - found["accuracy"].low

    assert width(100, 0.8) < width(100, 0.95) < width(100, 0.99)
    assert width(1600, 0.95) == pytest.approx(width(100, 0.95) / 4, rel=0.25)


def test_a_resample_without_the_class_is_left_out() -> None:
    """Three of 60 are of class 1, all found: one resample in twenty has none of them."""
    y = np.repeat([0, 1], [57, 3])
    found = bootstrap_per_class(y, np.eye(2)[y], seed=0)
    exact = 0.025 ** (1 / 3)  # Clopper and Pearson, of the three
    assert found[1]["recall"] == Interval(1.0, pytest.approx(exact), 1.0)
    assert found[1]["auroc"] == Interval(1.0, 1.0, 1.0)
    auroc = bootstrap(y, np.eye(2)[y], metrics=["auroc_macro"], seed=0)["auroc_macro"]
    assert auroc == Interval(1.0, 1.0, 1.0)


def test_what_is_not_defined_has_no_interval() -> None:
    y, p = examples(30, 3)
    y = y % 2
    row = bootstrap_per_class(y, p, seed=0)[2]
    assert row["recall"].value == per_class(y, p)[2]["recall"] == 0
    assert row["recall"].to_dict() == {"value": 0.0, "low": None, "high": None}
    alone = bootstrap(np.zeros(30, dtype=int), p, metrics=["auroc_macro"], seed=0)
    assert alone["auroc_macro"].to_dict() == {"value": None, "low": None, "high": None}


def test_one_example_or_one_group_shows_no_spread() -> None:
    y, p = examples(30, 3)
    groups = ["same"] * 30
    for found in (
        bootstrap(y[:1], p[:1], metrics=["accuracy"], seed=0)["accuracy"],
        bootstrap(y, p, metrics=["accuracy"], seed=0, groups=groups)["accuracy"],
        bootstrap_per_class(y, p, seed=0, groups=groups)[0]["recall"],
    ):
        assert not math.isnan(found.value)
        assert math.isnan(found.low)
        assert math.isnan(found.high)


# Coverage: simulations with a known truth.


def test_the_interval_of_the_accuracy_covers_the_truth() -> None:
    rng = np.random.default_rng(0)
    found = [
        bootstrap(*answers(rng.random(200) < 0.8), metrics=["accuracy"], resamples=400, seed=k)
        for k in range(300)
    ]
    assert 0.90 <= share_covered([each["accuracy"] for each in found], 0.8) <= 0.99


def test_the_interval_of_the_auroc_covers_the_truth() -> None:
    rng = np.random.default_rng(1)
    found = []
    for k in range(200):
        y = rng.integers(0, 2, 120)
        score = stats.norm.cdf(rng.normal(size=120) + y)
        p = np.stack([1 - score, score], axis=1)
        found.append(bootstrap(y, p, metrics=["auroc_macro"], resamples=400, seed=k)["auroc_macro"])
    assert 0.90 <= share_covered(found, stats.norm.cdf(1 / math.sqrt(2))) <= 0.99


def test_only_groups_cover_the_truth_when_examples_hang_together() -> None:
    """Sixty scenes of five pictures, all five right or all five wrong."""
    rng = np.random.default_rng(2)
    groups = np.repeat(np.arange(60), 5)
    whole, single = [], []
    for k in range(200):
        run = partial(
            bootstrap,
            *answers((rng.random(60) < 0.8)[groups]),
            metrics=["accuracy"],
            resamples=400,
            seed=k,
        )
        whole.append(run(groups=groups)["accuracy"])
        single.append(run()["accuracy"])
    assert 0.88 <= share_covered(whole, 0.8) <= 0.99
    assert share_covered(single, 0.8) < 0.75


def test_groups_of_one_are_examples_and_names_do_not_matter() -> None:
    y, p = examples(60, 3)
    plain = bootstrap(y, p, seed=0, resamples=100)
    assert bootstrap(y, p, seed=0, resamples=100, groups=[f"p{k}" for k in range(60)]) == plain
    numbers = np.arange(60) // 4
    named = np.array([f"patient {k}" for k in numbers], dtype=object)
    assert bootstrap(y, p, seed=0, resamples=100, groups=numbers) == bootstrap(
        y, p, seed=0, resamples=100, groups=named
    )


# Cost.


def seconds(n: int, c: int) -> float:
    """Best of three, all metrics, 1000 resamples."""
    y, p = examples(n, c)

    def once() -> float:
        start = time.perf_counter()
        bootstrap(y, p, seed=0)
        return time.perf_counter() - start

    return min(once() for _ in range(3))


def test_a_small_test_set_takes_a_moment() -> None:
    assert seconds(341, 10) < 0.3


@pytest.mark.slow
def test_a_large_test_set_takes_seconds() -> None:
    assert seconds(10_000, 77) < 6


def test_memory_does_not_grow_with_the_resamples() -> None:
    y, p = examples(20_000, 2)
    tracemalloc.start()
    bootstrap(y, p, metrics=["accuracy", "auroc_macro"], resamples=400, seed=0)  # 64 MB of weights
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40e6


# Mistakes.


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"resamples": 39}, "resamples: expected 40 or more, got 39"),
        ({"resamples": 19, "confidence": 0.9}, "resamples: expected 20 or more"),
        ({"confidence": 1.0}, "confidence: expected a number between 0 and 1"),
        ({"confidence": 95}, "confidence"),
        ({"seed": -1}, "seed: expected a whole number from 0"),
        ({"groups": [1, 2]}, "groups: expected one per example"),
        ({"groups": ["a"] * 19 + [None]}, "groups: row 19 has none"),
        ({"groups": [1.0, math.nan] + [2.0] * 18}, "groups: row 1 has none"),
    ],
)
def test_wrong_options_are_told(wrong: dict[str, Any], told: str) -> None:
    y, p = examples(20, 3)
    functions: tuple[Callable[..., object], ...] = (bootstrap, bootstrap_per_class)
    for function in functions:
        with pytest.raises(UsageError, match=told):
            function(y, p, **{"seed": 0, **wrong})


def test_the_fewest_resamples_are_accepted() -> None:
    y, p = examples(20, 3)
    for confidence, fewest in ((0.9, 20), (0.95, 40), (0.99, 200)):
        bootstrap(y, p, seed=0, resamples=fewest, confidence=confidence)


def test_all_mistakes_are_told_together() -> None:
    with pytest.raises(UsageError) as caught:
        bootstrap(
            [0, 4],
            [[1, 0], [0, 1]],
            metrics=["recall", "top5_accuracy"],
            resamples=0,
            confidence=0.5,
            seed=-1,
            groups=[1],
        )
    told = str(caught.value)
    for word in ("labels", "'recall'", "top5_accuracy needs 6", "resamples", "seed", "groups"):
        assert word in told


def test_all_right_is_not_certainty() -> None:
    """Nine of nine: the exact binomial end of Clopper and Pearson, by scipy."""
    from scipy.stats import binomtest

    labels = np.arange(9) % 3
    for probabilities, hits in ((np.eye(3)[labels], 9), (np.eye(3)[(labels + 1) % 3], 0)):
        found = bootstrap(labels, probabilities, metrics=["accuracy"], seed=0)["accuracy"]
        exact = binomtest(hits, 9).proportion_ci(0.95, "exact")
        assert (found.low, found.high) == pytest.approx((exact.low, exact.high), abs=1e-12)
