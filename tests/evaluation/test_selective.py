"""Leaving answers out: by hand, by independent formulas, and how often a promise is broken."""

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import roc_auc_score, roc_curve

from regraft.errors import UsageError
from regraft.evaluation.out_of_distribution import told_apart
from regraft.evaluation.selective import (
    SHARES,
    halves,
    highest_risk,
    risk_coverage,
    selection,
)
from regraft.evaluation.weighted import Examples


def answered(right: np.ndarray, confidence: np.ndarray) -> Examples:
    """Answers of class 0 with a confidence from 0.5 to 1."""
    labels = np.where(right, 0, 1)
    return Examples.of(labels, np.stack([confidence, 1 - confidence], 1), decided=0 * labels)


def drawn(n: int, seed: int, error: float = 0.3) -> tuple[np.ndarray, np.ndarray]:
    """(right, confidence): the surer an answer, the oftener it is right."""
    rng = np.random.default_rng(seed)
    confidence = rng.uniform(0.5, 1, n).round(3)
    return rng.random(n) > 2 * error * (1 - confidence), confidence


def test_a_curve_worked_out_by_hand() -> None:
    """Of four, the second and the fourth in confidence are wrong."""
    examples = answered(np.array([True, False, True, False]), np.array([0.9, 0.8, 0.7, 0.6]))
    found = risk_coverage(examples, resamples=100, seed=0)
    assert found["aurc"]["value"] == pytest.approx((0 + 1 / 2 + 1 / 3 + 1 / 2) / 4)
    assert found["best"] == pytest.approx((0 + 0 + 1 / 3 + 1 / 2) / 4)
    assert found["error"] == 0.5
    at = {round(row["coverage"], 2): row for row in found["points"]}
    assert [at[c]["value"] for c in (0.25, 0.5, 0.75, 1.0)] == pytest.approx([0, 0.5, 1 / 3, 0.5])
    assert at[0.3]["value"] == 0.5  # a share between two answers takes the second one too


@pytest.mark.parametrize("seed", range(3))
def test_the_area_is_the_mean_risk_over_all_thresholds(seed: int) -> None:
    right, confidence = drawn(200, seed)
    found = risk_coverage(answered(right, confidence), resamples=100, seed=0)
    risks = [(~right[confidence >= c]).mean() for c in confidence]
    assert found["aurc"]["value"] == pytest.approx(np.mean(risks))
    assert found["aurc"]["low"] <= found["aurc"]["value"] <= found["aurc"]["high"]
    assert found["best"] <= found["aurc"]["value"]
    assert [row["coverage"] for row in found["points"]] == list(SHARES)


def test_answers_of_one_confidence_go_together() -> None:
    right = np.array([True, False, True, True])
    found = risk_coverage(answered(right, np.full(4, 0.7)), resamples=100, seed=0)
    assert found["aurc"]["value"] == 0.25
    assert {row["value"] for row in found["points"]} == {0.25}


@pytest.mark.parametrize(("errors", "n"), [(0, 1), (0, 60), (3, 100), (99, 100), (5, 5)])
def test_the_bound_is_that_of_clopper_and_pearson(errors: int, n: int) -> None:
    """The upper end of scipy's exact interval leaves half of its error above it."""
    exact = binomtest(errors, n).proportion_ci(0.9, method="exact").high
    assert highest_risk(errors, n, 0.05) == pytest.approx(exact, abs=1e-9)


def test_a_promise_is_broken_in_less_than_one_of_twenty_samples() -> None:
    """Its true risk is known: answers above t are wrong at a rate of 2 e (1 - c), c from t to 1."""
    broken = made = 0
    for seed in range(200):
        right, confidence = drawn(1000, seed)
        found, _ = selection(right, confidence, 0.1)
        if found is not None:
            made += 1
            broken += 0.3 * (1 - max(found.threshold, 0.5)) > 0.1
    assert made > 180
    assert broken <= 0.05 * 200


def test_the_largest_share_that_is_sure_is_taken_and_else_none() -> None:
    right, confidence = drawn(2000, 0)
    shares = [selection(right, confidence, risk)[0] for risk in (0.05, 0.1, 0.2)]
    assert [one is not None for one in shares] == [True] * 3
    covered = [one.coverage for one in shares if one]
    assert covered == sorted(covered)
    assert covered[-1] == 1.0
    assert all(one.takes(confidence).mean() == one.coverage for one in shares if one)
    nothing, nearest = selection(right[:40], confidence[:40], 0.05)
    assert nothing is None
    assert nearest.bound > 0.05
    for risk in (0, 1, -0.1, "5"):
        with pytest.raises(UsageError, match="risk"):
            selection(right, confidence, risk)  # type: ignore[arg-type]


def test_halves_keep_groups_together() -> None:
    groups = np.repeat(np.arange(20), 5)
    first = halves(100, groups, 0)
    assert {len(set(first[groups == g])) for g in range(20)} == {1}
    assert first.sum() == 50
    assert not np.array_equal(first, halves(100, groups, 1))


# --- other data ----------------------------------------------------------------------------------


@pytest.mark.parametrize("digits", [1, 6])
def test_auroc_and_fpr95_are_those_of_scikit_learn(digits: int) -> None:
    """With ties, too."""
    rng = np.random.default_rng(digits)
    inside, outside = rng.normal(0, 1, 150).round(digits), rng.normal(1.5, 1, 90).round(digits)
    found = told_apart(inside, outside, resamples=200, seed=0)
    known = np.repeat([1, 0], [150, 90])
    scores = -np.concatenate([inside, outside])  # the model's own kind is positive
    assert found.auroc.value == pytest.approx(roc_auc_score(known, scores))
    passed, accepted, _ = roc_curve(known, scores, drop_intermediate=False)
    assert found.fpr95.value == pytest.approx(passed[accepted >= 0.95 - 1e-12][0])
    for interval in found:
        assert interval.low <= interval.value <= interval.high


def test_what_is_wholly_apart_is_told_and_what_is_alike_is_chance() -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(0, 1, 400)
    apart = told_apart(scores, scores + 100, resamples=100, seed=0)
    assert (apart.auroc.value, apart.fpr95.value) == (1.0, 0.0)
    alike = told_apart(scores, scores, resamples=100, seed=0)
    assert alike.auroc.value == pytest.approx(0.5)
    assert alike.fpr95.value == pytest.approx(0.95)
