"""Calibration: temperature, reliability and conformal sets, against definitions and references."""

import math

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import special
from sklearn.calibration import calibration_curve
from torchmetrics.functional.classification import multiclass_calibration_error

from regraft.errors import UsageError
from regraft.evaluation.calibration import (
    conformal_sets,
    conformal_threshold,
    expected_calibration_error,
    fit_temperature,
    reliability,
    softmax,
)
from regraft.evaluation.metrics import measure

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

COVERAGES = st.floats(0.05, 0.99)


@st.composite
def scored(draw: st.DrawFn, min_n: int = 1) -> tuple[Floats, Ints]:
    """Scores (n, c) with ties, and labels."""
    n, c = draw(st.integers(min_n, 25)), draw(st.integers(2, 5))
    scores = draw(arrays(np.float64, (n, c), elements=st.integers(-4, 4).map(float)))
    return scores / 4, draw(arrays(np.int64, n, elements=st.integers(0, c - 1)))


def noisy(seed: int, n: int, c: int, sharpness: float = 1.0) -> tuple[Floats, Ints]:
    """Scores whose softmax, at a temperature of 1 / sharpness, is the chance of every label."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(n, c))
    labels = (scores * sharpness + rng.gumbel(size=(n, c))).argmax(axis=1)
    return scores, labels


def log_loss(scores: Floats, labels: Ints, temperature: float) -> float:
    log_p = special.log_softmax(scores / temperature, axis=1)
    return float(-log_p[np.arange(len(labels)), labels].mean())


# Temperature.


@settings(max_examples=50)
@given(data=scored(), temperature=st.floats(0.01, 100))
def test_softmax_equals_scipy(data: tuple[Floats, Ints], temperature: float) -> None:
    scores = data[0]
    ours = softmax(scores, temperature)
    np.testing.assert_allclose(ours, special.softmax(scores / temperature, axis=1), atol=1e-14)
    np.testing.assert_allclose(ours, softmax(scores + 7, temperature), atol=1e-12)


def test_softmax_does_not_overflow() -> None:
    found = softmax(np.array([[1e300, -1e300, 0.0], [-1e4, -1e4, -1e4]]), 1e-3)
    np.testing.assert_allclose(found, [[1.0, 0.0, 0.0], [1 / 3, 1 / 3, 1 / 3]])


@pytest.mark.parametrize("sharpness", [0.5, 2.0, 20.0])
@pytest.mark.parametrize("c", [2, 10])
def test_the_temperature_that_made_the_labels_is_found(sharpness: float, c: int) -> None:
    scores, labels = noisy(0, 20_000, c, sharpness)
    assert fit_temperature(scores, labels) == pytest.approx(1 / sharpness, rel=0.06)


@settings(max_examples=25)
@given(seed=st.integers(0, 1000), sharpness=st.floats(0.5, 5), c=st.integers(2, 6))
def test_no_other_temperature_has_a_lower_loss(seed: int, sharpness: float, c: int) -> None:
    scores, labels = noisy(seed, 200, c, sharpness)
    best = fit_temperature(scores, labels)
    assume(softmax(scores, best).max(axis=1).mean() < 0.98)  # not held back: see below
    lowest = log_loss(scores, labels, best)
    grid = best * np.exp(np.concatenate([np.linspace(-3, 3, 25), [-1e-3, 1e-3]]))
    assert all(lowest <= log_loss(scores, labels, t) + 1e-12 for t in grid)


def test_temperature_equals_that_of_gradient_descent() -> None:
    scores, labels = noisy(3, 400, 5, 3.0)
    f, y = torch.tensor(scores), torch.tensor(labels)
    log_t = torch.zeros((), dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([log_t], max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        loss = torch.nn.functional.cross_entropy(f / log_t.exp(), y)
        loss.backward()
        return loss

    optimiser.step(closure)
    assert fit_temperature(scores, labels) == pytest.approx(math.exp(log_t.item()), rel=1e-4)


@settings(max_examples=25)
@given(seed=st.integers(0, 1000), scale=st.floats(1e-6, 1e6), shift=st.floats(-10, 10))
def test_temperature_follows_the_scale_of_the_scores(seed: int, scale: float, shift: float) -> None:
    scores, labels = noisy(seed, 60, 4, 2.0)
    expected = fit_temperature(scores, labels) * scale
    assert fit_temperature((scores + shift) * scale, labels) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("n", [1, 20, 500])
def test_always_right_is_not_boundlessly_confident(n: int) -> None:
    scores, _ = noisy(0, n, 3)
    temperature = fit_temperature(scores, scores.argmax(axis=1))
    confidence = softmax(scores, temperature).max(axis=1).mean()
    assert confidence == pytest.approx((n + 1) / (n + 2), abs=1e-6)


def test_always_wrong_is_hardly_confident() -> None:
    scores, _ = noisy(0, 50, 4)
    temperature = fit_temperature(scores, scores.argmin(axis=1))
    np.testing.assert_allclose(softmax(scores, temperature), 0.25, atol=1e-3)


def test_scores_without_difference_give_one() -> None:
    assert fit_temperature(np.full((5, 3), 0.7), np.array([0, 1, 2, 0, 1])) == 1.0


@settings(max_examples=50)
@given(data=scored())
def test_temperature_is_finite_and_keeps_the_prediction(data: tuple[Floats, Ints]) -> None:
    scores, labels = data
    temperature = fit_temperature(scores, labels)
    assert 0 < temperature < math.inf
    p = softmax(scores, temperature)
    best = scores == scores.max(axis=1, keepdims=True)
    np.testing.assert_array_equal(best & (p < p.max(axis=1, keepdims=True)), False)


def test_temperature_repairs_overconfidence() -> None:
    scores, labels = noisy(5, 4000, 6, 1.0)
    before = expected_calibration_error(labels, softmax(scores * 4))
    after = expected_calibration_error(
        labels, softmax(scores * 4, fit_temperature(scores * 4, labels))
    )
    assert before > 0.2
    assert after < 0.03


# Reliability and its error.


@settings(max_examples=30)
@given(
    seed=st.integers(0, 10_000), n=st.integers(1, 300), c=st.integers(2, 8), bins=st.integers(1, 30)
)
def test_calibration_error_equals_torchmetrics(seed: int, n: int, c: int, bins: int) -> None:
    scores, labels = noisy(seed, n, c)
    p = softmax(scores, 0.5).astype(np.float32)
    theirs = multiclass_calibration_error(torch.tensor(p), torch.tensor(labels), c, n_bins=bins)
    assert expected_calibration_error(labels, p, bins) == pytest.approx(float(theirs), abs=1e-5)


@settings(max_examples=50)
@given(data=scored(), bins=st.integers(1, 20))
def test_calibration_error_is_the_mean_gap_of_the_diagram(
    data: tuple[Floats, Ints], bins: int
) -> None:
    scores, labels = data
    p = softmax(scores, 0.3)
    rows = reliability(labels, p, bins)
    full = [row for row in rows if row["count"]]
    gap = sum(row["count"] * abs(row["accuracy"] - row["confidence"]) for row in full) / len(labels)
    assert expected_calibration_error(labels, p, bins) == pytest.approx(gap, abs=1e-12)
    assert sum(row["count"] for row in rows) == len(labels)
    assert len(rows) == bins
    assert all(row["low"] <= row["confidence"] <= row["high"] + 1e-12 for row in full)
    assert all(row["accuracy"] is row["confidence"] is None for row in rows if not row["count"])
    assert expected_calibration_error(labels, p) == measure(labels, p)["ece"]


def test_reliability_equals_scikit_learn() -> None:
    scores, labels = noisy(1, 500, 4, 2.0)
    p = softmax(scores, 0.4)
    correct, confidence = p.argmax(axis=1) == labels, p.max(axis=1)
    expected = calibration_curve(correct, confidence, n_bins=15, strategy="uniform")
    full = [row for row in reliability(labels, p) if row["count"]]
    np.testing.assert_allclose([row["accuracy"] for row in full], expected[0], atol=1e-12)
    np.testing.assert_allclose([row["confidence"] for row in full], expected[1], atol=1e-12)


def test_bins_hold_their_lower_end_and_the_last_one_both() -> None:
    p = np.array([[0.5, 0.5], [0.75, 0.25], [1.0, 0.0]])
    rows = reliability([0, 0, 0], p, bins=4)
    assert [row["count"] for row in rows] == [0, 0, 1, 2]
    assert [row["low"] for row in rows] == [0, 0.25, 0.5, 0.75]
    assert [row["high"] for row in rows] == [0.25, 0.5, 0.75, 1]


# Conformal sets.


@settings(max_examples=50)
@given(data=scored(min_n=2), coverage=COVERAGES)
def test_coverage_is_exact_over_the_choice_of_the_new_example(
    data: tuple[Floats, Ints], coverage: float
) -> None:
    """What exchangeability rests on: each of n + 1 examples in turn is the new one."""
    scores, labels = data
    held = []
    for i in range(len(labels)):
        rest = np.arange(len(labels)) != i
        threshold = conformal_threshold(scores[rest], labels[rest], coverage)
        held.append(conformal_sets(scores[[i]], threshold)[0, labels[i]])
    assert np.mean(held) >= coverage - 1e-9


@pytest.mark.parametrize(("n", "coverage"), [(30, 0.8), (99, 0.9), (200, 0.95)])
def test_coverage_of_fresh_examples(n: int, coverage: float) -> None:
    held = []
    for seed in range(150):
        scores, labels = noisy(seed, n + 200, 8, 2.0)
        threshold = conformal_threshold(scores[:n], labels[:n], coverage)
        sets = conformal_sets(scores[n:], threshold)
        held.append(sets[np.arange(200), labels[n:]].mean())
    standard_error = np.std(held) / math.sqrt(len(held))
    assert coverage - 4 * standard_error <= np.mean(held)
    assert np.mean(held) <= coverage + 1 / (n + 1) + 4 * standard_error


@settings(max_examples=50)
@given(data=scored(), coverage=COVERAGES)
def test_threshold_equals_the_quantile_of_numpy(data: tuple[Floats, Ints], coverage: float) -> None:
    scores, labels = data
    n = len(labels)
    behind = scores.max(axis=1) - scores[np.arange(n), labels]
    level = math.ceil((n + 1) * coverage - 1e-9) / n
    expected = np.quantile(behind, level, method="inverted_cdf") if level <= 1 else math.inf
    assert conformal_threshold(scores, labels, coverage) == expected


@settings(max_examples=50)
@given(data=scored(), coverages=st.tuples(COVERAGES, COVERAGES))
def test_sets_grow_with_the_coverage_and_hold_the_prediction(
    data: tuple[Floats, Ints], coverages: tuple[float, float]
) -> None:
    scores, labels = data
    small, large = (
        conformal_sets(scores, conformal_threshold(scores, labels, c)) for c in sorted(coverages)
    )
    assert (small <= large).all()
    assert small[np.arange(len(labels)), scores.argmax(axis=1)].all()


def test_a_small_example_by_hand() -> None:
    scores = np.array([[5.0, 4.0, 0.0], [1.0, 3.0, 0.0], [2.0, 2.0, 0.0], [0.0, 0.0, 9.0]])
    labels = np.array([1, 0, 0, 2])  # behind by 1, 2, 0 and 0
    thresholds = [conformal_threshold(scores, labels, c) for c in (0.4, 0.41, 0.6, 0.61, 0.8, 0.81)]
    assert thresholds == [0, 1, 1, 2, 2, math.inf]
    np.testing.assert_array_equal(
        conformal_sets(scores, 1.0), [[1, 1, 0], [0, 1, 0], [1, 1, 0], [0, 0, 1]]
    )


def test_too_few_examples_put_every_class_in_the_set() -> None:
    scores, labels = noisy(0, 18, 4)
    assert conformal_threshold(scores, labels, 0.95) == math.inf
    assert conformal_sets(scores, math.inf).all()
    scores, labels = noisy(0, 19, 4)
    assert conformal_threshold(scores, labels, 0.95) < math.inf


def test_rounding_does_not_cost_a_rank() -> None:
    """100 * 0.07 is a little over 7 in floating point."""
    behind = np.arange(99.0)
    scores = np.stack([np.zeros(99), behind], axis=1)
    assert conformal_threshold(scores, np.zeros(99, dtype=int), 0.07) == 6


# Mistakes.


def test_mistakes_are_told_together() -> None:
    with pytest.raises(UsageError, match="coverage: expected between 0 and 1, got 90") as caught:
        conformal_threshold([[0.0, np.inf]], [2], 90)
    assert len(caught.value.mistakes) == 3
    with pytest.raises(UsageError, match="labels: expected 0 to 1, got 2 in row 0"):
        fit_temperature([[0.0, 1.0]], [2])


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan, math.inf])
def test_a_wrong_temperature_is_told(temperature: float) -> None:
    with pytest.raises(UsageError, match="temperature: expected a finite number above 0"):
        softmax([[0.0, 1.0]], temperature)


@pytest.mark.parametrize("threshold", [-0.1, math.nan])
def test_a_wrong_threshold_is_told(threshold: float) -> None:
    with pytest.raises(UsageError, match="threshold: expected 0 or more"):
        conformal_sets([[0.0, 1.0]], threshold)


def test_wrong_bins_are_told() -> None:
    for function in (reliability, expected_calibration_error):
        with pytest.raises(UsageError, match="bins: expected 1 or more, got 0"):
            function([0], [[1.0, 0.0]], 0)
