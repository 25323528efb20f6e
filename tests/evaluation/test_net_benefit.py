"""Decision curves: by hand, by the formula of the paper, and what must always hold."""

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix

from regraft.evaluation.net_benefit import THRESHOLDS, acting_on_all, decision_curve


def scored(n: int = 300, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = (rng.random(n) < 0.3).astype(int)
    p = 1 / (1 + np.exp(-(rng.normal(0, 1, n) + 2 * labels - 1)))
    return labels, np.stack([1 - p, p], 1)


def test_a_case_worked_out_by_hand() -> None:
    """Of ten, four are ill. From 20 % on, three of them and two others are treated."""
    labels = np.array([1, 1, 1, 1, 0, 0, 0, 0, 0, 0])
    p = np.array([0.9, 0.8, 0.3, 0.1, 0.6, 0.25, 0.1, 0.1, 0.05, 0.0])
    found = decision_curve(labels, np.stack([1 - p, p], 1), 1, resamples=100, seed=0)
    at = {round(row["threshold"], 2): row for row in found["points"]}
    assert found["prevalence"] == 0.4
    assert at[0.2]["value"] == pytest.approx(3 / 10 - 2 / 10 * 0.25)
    assert at[0.2]["all"] == pytest.approx(0.4 - 0.6 * 0.25)
    assert at[0.95]["value"] == 0


def test_it_is_the_formula_of_vickers_and_elkin_at_every_threshold() -> None:
    labels, p = scored()
    for row in decision_curve(labels, p, 1, resamples=100, seed=0)["points"]:
        t = row["threshold"]
        (_, fp), (_, tp) = confusion_matrix(labels, p[:, 1] >= t, labels=[0, 1])
        assert row["value"] == pytest.approx(tp / 300 - fp / 300 * t / (1 - t), abs=1e-12)
        assert row["low"] <= row["value"] <= row["high"]


def test_acting_on_all_is_a_model_that_is_always_sure() -> None:
    labels, _ = scored()
    sure = np.tile([0.0, 1.0], (300, 1))
    found = decision_curve(labels, sure, 1, resamples=100, seed=0)
    every = acting_on_all(labels.mean(), THRESHOLDS)
    assert [row["value"] for row in found["points"]] == pytest.approx(list(every), abs=1e-12)
    assert [row["all"] for row in found["points"]] == pytest.approx(list(every), abs=1e-12)
    assert every[THRESHOLDS == 0.3] == pytest.approx(labels.mean() - (1 - labels.mean()) * 3 / 7)


def test_a_class_stands_against_all_others() -> None:
    rng = np.random.default_rng(1)
    labels, p = rng.integers(0, 3, 90), rng.dirichlet(np.ones(3), 90)
    two = np.stack([1 - p[:, 2], p[:, 2]], 1)
    ours = decision_curve(labels, p, 2, resamples=100, seed=0)
    assert ours == decision_curve((labels == 2).astype(int), two, 1, resamples=100, seed=0)
