"""Figures of tags and of numbers against scikit-learn, torchmetrics and scipy."""

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import calibration, metrics
from torchmetrics.functional import classification as reference

from regraft.errors import UsageError
from regraft.evaluation import tag_metrics, value_metrics
from regraft.evaluation.platt import binary_losses, fit_lines, sigmoid

N, K = 60, 4


def tags(seed: int, ties: bool = False) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.random((N, K)) < [0.5, 0.3, 0.1, 0.7]
    truth[0], truth[1] = True, False  # each tag is there, and lacking
    p = sigmoid(2.0 * truth - 1 + rng.normal(0, 1.5, (N, K)))
    p = np.round(p, 1) if ties else p
    return truth, p, p > 0.5


@given(st.integers(0, 10_000), st.booleans())
@settings(max_examples=25)
def test_tags_as_scikit_learn_has_them(seed: int, ties: bool) -> None:
    truth, p, said = tags(seed, ties)
    found = tag_metrics.measure(truth, p, said)
    for how in ("micro", "macro"):
        asked = {"average": how, "zero_division": 0}
        assert found[f"f1_{how}"] == pytest.approx(metrics.f1_score(truth, said, **asked))
        expected = metrics.precision_score(truth, said, **asked)
        assert found[f"precision_{how}"] == pytest.approx(expected)
        assert found[f"recall_{how}"] == pytest.approx(metrics.recall_score(truth, said, **asked))
        expected = metrics.average_precision_score(truth, p, average=how)
        assert found[f"map_{how}"] == pytest.approx(expected)
    expected = metrics.f1_score(truth, said, average="samples", zero_division=1)
    assert found["f1_samples"] == pytest.approx(expected)
    assert found["hamming_loss"] == pytest.approx(metrics.hamming_loss(truth, said))
    assert found["subset_accuracy"] == pytest.approx(metrics.accuracy_score(truth, said))
    assert found["auroc_macro"] == pytest.approx(metrics.roc_auc_score(truth, p))
    if not ties:
        expected = np.mean([metrics.log_loss(truth[:, k], p[:, k]) for k in range(K)])
        assert found["log_loss"] == pytest.approx(expected)


def test_tags_as_torchmetrics_has_them() -> None:
    truth, p, _ = tags(3)
    t, q = torch.tensor(truth).long(), torch.tensor(p)
    found = tag_metrics.measure(truth, p, p > 0.5)
    expected = reference.multilabel_average_precision(q, t, K)
    assert found["map_macro"] == pytest.approx(float(expected), abs=1e-6)
    assert found["auroc_macro"] == pytest.approx(
        float(reference.multilabel_auroc(q, t, K)), abs=1e-6
    )
    assert found["f1_micro"] == pytest.approx(
        float(reference.multilabel_f1_score(q, t, K, average="micro")), abs=1e-6
    )


def test_a_tag_that_never_occurs_is_left_out_of_means() -> None:
    truth, p, said = tags(5)
    whole = tag_metrics.measure(truth, p, said)
    wider = [np.hstack([a, np.zeros((N, 1), a.dtype)]) for a in (truth, p, said)]
    more = tag_metrics.measure(*wider)
    for name in ("map_macro", "auroc_macro", "f1_macro", "precision_macro", "f1_micro"):
        assert more[name] == pytest.approx(whole[name])


def test_intervals_hold_the_value_and_weights_are_copies() -> None:
    truth, p, said = tags(7)
    found = tag_metrics.bootstrap(truth, p, said, resamples=100, seed=1)
    plain = tag_metrics.measure(truth, p, said)
    for name, interval in found.whole.items():
        assert interval.value == pytest.approx(plain[name])
        assert interval.low <= interval.value <= interval.high
    assert len(found.columns) == K
    times = np.random.default_rng(0).integers(0, 4, N)
    examples = tag_metrics.TagExamples.of(truth, p, said)
    weighted = tag_metrics.TagSums(examples, times[None].astype(float))
    copies = np.repeat(np.arange(N), times)
    again = tag_metrics.measure(truth[copies], p[copies], said[copies])
    for name, row in tag_metrics.METRICS.items():
        assert float(row.function(weighted)[0]) == pytest.approx(again[name])


def test_wrong_tags_are_refused_together() -> None:
    with pytest.raises(UsageError) as error:
        tag_metrics.measure([[2, 0]], [[0.5, 1.5]], [[1]])
    assert len(error.value.mistakes) == 3


def numbers(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = np.stack([rng.integers(0, 9, N), 100 * rng.normal(size=N)], 1).astype(float)
    return truth, truth + rng.normal(0, [1, 50], (N, 2)).round(1)


@given(st.integers(0, 10_000))
@settings(max_examples=25)
def test_numbers_as_others_have_them(seed: int) -> None:
    truth, said = numbers(seed)
    found = value_metrics.measure(truth, said)
    assert found["r2"] == pytest.approx(metrics.r2_score(truth, said))
    assert found["mae"] == pytest.approx(metrics.mean_absolute_error(truth, said))
    assert found["rmse"] == pytest.approx(metrics.root_mean_squared_error(truth, said))
    expected = np.mean([stats.spearmanr(truth[:, k], said[:, k]).statistic for k in range(2)])
    assert found["spearman"] == pytest.approx(expected)
    times = np.random.default_rng(seed).integers(0, 4, N)
    weighted = value_metrics.ValueSums(
        value_metrics.ValueExamples.of(truth, said), times[None].astype(float)
    )
    copies = np.repeat(np.arange(N), times)
    again = value_metrics.measure(truth[copies], said[copies])
    for name, row in value_metrics.METRICS.items():
        assert float(row.function(weighted)[0]) == pytest.approx(again[name])


def test_numbers_that_do_not_vary_have_no_r2() -> None:
    found = value_metrics.measure(np.full((5, 1), 0.1), np.arange(5.0)[:, None])
    assert np.isnan(found["r2"])
    assert np.isnan(found["spearman"])
    assert found["mae"] == pytest.approx(1.94)


def test_lines_as_scikit_learn_fits_them() -> None:
    rng = np.random.default_rng(0)
    truth = rng.random((80, 3)) < [0.5, 0.1, 0.8]
    scores = truth * [1.0, 5, 0.1] + rng.normal(0, [1, 3, 0.1], (80, 3)) + [0, 100, -3]
    lines = fit_lines(scores, truth)
    for k in range(3):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            sklearn = calibration._SigmoidCalibration().fit(scores[:, k], truth[:, k].astype(int))
        own = sigmoid(lines(scores))[:, k]
        assert own == pytest.approx(sklearn.predict(scores[:, k]), abs=2e-4)


def test_lines_are_flat_where_scores_say_nothing() -> None:
    truth = np.array([[1, 0, 1, 0], [0, 0, 1, 1], [0, 0, 0, 1], [0, 0, 0, 1]])
    scores = np.array([[0.0, 1, 5, 3], [1, 2, 4, 2], [2, 3, 1, 1], [3, 4, 0, 0]])
    lines = fit_lines(scores, truth)
    assert (lines.factor[[0, 1, 3]] == 0).all()  # falling, never there, falling
    assert lines.factor[2] > 0
    assert sigmoid(lines(scores))[0, 1] == pytest.approx(1 / 6)
    assert np.isfinite(binary_losses(lines(scores), truth)).all()
