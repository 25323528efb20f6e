"""Transferability scores against slow, independent references, and what must not change them."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.optimize import minimize
from scipy.stats import ortho_group
from sklearn.covariance import LedoitWolf
from sklearn.model_selection import LeaveOneOut, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier

from regraft.errors import UsageError
from regraft.transfer.transferability import h_score, knn_leave_one_out, logme

SCORES = (knn_leave_one_out, logme, h_score)
Score = Callable[[Any, Any], float]
SHAPES = [(40, 6, 3), (30, 60, 4), (25, 24, 2)]
seeds = st.integers(0, 10**6)


def blobs(n: int, d: int, classes: int, seed: int, apart: float = 1.0) -> tuple[Any, Any]:
    """Normal features around class means at a distance, after an uneven linear map."""
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(classes), rng.integers(0, classes, n - classes)])
    rows = apart * rng.normal(size=(classes, d))[labels] + rng.normal(size=(n, d))
    return 3 + rows @ (rng.normal(size=(d, d)) * rng.gamma(1, size=d)), labels


# --- nearest neighbours --------------------------------------------------------------------------


def standardised(rows: Any) -> Any:
    return (rows - rows.mean(0)) / np.sqrt(rows.var(0) + rows.var(0).mean())


def nearer_breaks_ties(distances: Any) -> Any:
    """Votes of neighbours, nearest first: all nearly 1, so that only ties feel the difference."""
    return np.tile(1 + 1e-3 * 0.5 ** np.arange(distances.shape[1]), (len(distances), 1))


@pytest.mark.parametrize("k", [1, 4, 5])
@pytest.mark.parametrize(("n", "d", "classes"), SHAPES)
def test_knn_equals_scikit_learn(n: int, d: int, classes: int, k: int) -> None:
    rows, labels = blobs(n, d, classes, seed=k, apart=0.7)
    reference = KNeighborsClassifier(k, metric="cosine", weights=nearer_breaks_ties)
    predicted = cross_val_predict(reference, standardised(rows), labels, cv=LeaveOneOut())
    assert knn_leave_one_out(rows, labels, k) == pytest.approx(np.mean(predicted == labels))


def test_knn_does_not_depend_on_how_many_rows_are_held(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, labels = blobs(50, 8, 3, seed=1, apart=0.5)
    whole = knn_leave_one_out(rows, labels)
    monkeypatch.setattr("regraft.transfer.transferability.CHUNK", 7)
    assert knn_leave_one_out(rows, labels) == whole < 1


def test_of_tied_classes_the_nearest_wins() -> None:
    rows = np.repeat(np.eye(6), 2, axis=0)  # the other of a pair is nearest, then a stranger
    labels = np.repeat(np.arange(6), 2)
    assert knn_leave_one_out(rows, labels, k=2) == knn_leave_one_out(rows, 5 - labels, k=2) == 1


def test_of_equally_near_rows_the_first_votes() -> None:
    assert knn_leave_one_out(np.eye(4), np.array([0, 0, 1, 1]), k=1) == 0.5


def test_rows_of_a_group_are_no_neighbours() -> None:
    rng = np.random.default_rng(0)
    rows = np.repeat(rng.normal(size=(20, 5)), 2, axis=0)  # every row twice: leave-one-out leaks
    labels = np.repeat(rng.permutation(np.arange(20) % 2), 2)
    assert knn_leave_one_out(rows, labels, k=1) == 1
    grouped = knn_leave_one_out(rows, labels, k=1, groups=np.repeat(np.arange(20), 2))
    assert grouped == knn_leave_one_out(rows[::2], labels[::2], k=1) < 0.9


def test_without_a_neighbour_nothing_is_right() -> None:
    rows, labels = blobs(10, 3, 2, seed=0)
    assert knn_leave_one_out(rows, labels, groups=np.zeros(10, int)) == 0


# --- LogME ---------------------------------------------------------------------------------------


def naive_logme(rows: Any, labels: Any) -> float:
    """The evidence as a density of the targets, maximised numerically from several starts."""
    n, scale = len(rows), np.mean(np.sum(rows**2, 1))

    def loss(log: Any, y: Any) -> Any:
        prior, noise = np.exp(log)
        covariance = prior * rows @ rows.T / scale + noise * np.eye(n)
        distance = y @ np.linalg.solve(covariance, y)
        return (n * np.log(2 * np.pi) + np.linalg.slogdet(covariance)[1] + distance) / 2

    def best(y: Any) -> float:
        starts = [np.log([p, e]) for p in (0.01, 1, 100) for e in (0.01, 0.3)]
        bounds = [(-15, 15), (-7, 5)]
        return min(minimize(loss, s, args=(y,), bounds=bounds).fun for s in starts)

    return -float(np.mean([best((labels == c).astype(float)) for c in np.unique(labels)])) / n


@pytest.mark.parametrize("apart", [0.3, 1.0])
@pytest.mark.parametrize(("n", "d", "classes"), SHAPES)
def test_logme_equals_the_evidence_maximised(n: int, d: int, classes: int, apart: float) -> None:
    rows, labels = blobs(n, d, classes, seed=n, apart=apart)
    assert logme(rows, labels) == pytest.approx(naive_logme(rows, labels), abs=2e-4)


# --- H-score -------------------------------------------------------------------------------------


def naive_h_score(rows: Any, labels: Any) -> float:
    total = LedoitWolf().fit(rows)
    means = np.stack([rows[labels == label].mean(0) for label in labels])
    between = (1 - total.shrinkage_) * np.cov(means, rowvar=False, bias=True)
    return float(np.trace(np.linalg.solve(total.covariance_, between)))


@pytest.mark.parametrize(("n", "d", "classes"), SHAPES)
def test_h_score_equals_the_definition(n: int, d: int, classes: int) -> None:
    rows, labels = blobs(n, d, classes, seed=d)
    assert h_score(rows, labels) == pytest.approx(naive_h_score(rows, labels), rel=1e-9)


def test_h_score_of_features_that_do_not_vary_is_zero() -> None:
    assert h_score(np.ones((6, 3)), np.arange(6) % 2) == 0


@given(seeds)
def test_h_score_is_between_zero_and_the_classes_less_one(seed: int) -> None:
    rows, labels = blobs(30, 5, 3, seed, apart=seed % 7)
    assert 0 <= h_score(rows, labels) <= 2


# --- all three -----------------------------------------------------------------------------------


@pytest.mark.parametrize("score", SCORES)
@given(seed=seeds)
def test_better_features_score_higher(score: Score, seed: int) -> None:
    rows, labels = blobs(60, 10, 3, seed, apart=2.0)
    noise = np.random.default_rng(seed).normal(size=rows.shape)
    assert score(rows, labels) > score(noise, labels)


@pytest.mark.parametrize("score", SCORES)
@given(seed=seeds, factor=st.floats(1e-3, 1e3))
def test_scale_does_not_matter(score: Score, seed: int, factor: float) -> None:
    rows, labels = blobs(30, 8, 3, seed)
    assert_allclose(score(factor * rows, labels), score(rows, labels), rtol=1e-6)


@pytest.mark.parametrize("score", [logme, h_score])
@given(seed=seeds)
def test_a_rotation_does_not_matter(score: Score, seed: int) -> None:
    rows, labels = blobs(30, 8, 3, seed)
    turned = rows @ ortho_group.rvs(8, random_state=seed)
    assert_allclose(score(turned, labels), score(rows, labels), rtol=1e-6)


@pytest.mark.parametrize("score", [knn_leave_one_out, h_score])
def test_a_shift_does_not_matter(score: Score) -> None:
    rows, labels = blobs(30, 8, 3, seed=2)
    assert_allclose(score(rows + 50, labels), score(rows, labels), rtol=1e-6)


@pytest.mark.parametrize("score", SCORES)
@given(seed=seeds)
def test_order_and_names_of_classes_do_not_matter(score: Score, seed: int) -> None:
    rows, labels = blobs(30, 8, 3, seed)
    order = np.random.default_rng(seed).permutation(30)
    assert_allclose(score(rows[order], 90 - 7 * labels[order]), score(rows, labels), rtol=1e-6)


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("rows", [np.zeros((8, 3)), np.ones((8, 3)), np.eye(8)], ids=str)
def test_degenerate_features_give_a_number(score: Score, rows: Any) -> None:
    assert np.isfinite(score(rows, np.arange(8) % 2))


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize(
    ("rows", "labels", "message"),
    [
        (np.ones(4), [0, 1, 0, 1], "features: expected rows and columns"),
        (np.ones((4, 2)), [0, 1], r"labels: expected 4 of them, got shape \(2,\)"),
        (np.ones((4, 2)), [3, 3, 3, 3], "labels: expected two classes or more, got 1"),
        (np.full((4, 2), np.nan), [0, 1, 0, 1], "features: some are infinite or no numbers"),
    ],
    ids=["shape", "lengths", "classes", "nan"],
)
def test_mistakes_are_named(score: Score, rows: Any, labels: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        score(rows, labels)


def test_mistakes_of_the_neighbours_are_named_together() -> None:
    with pytest.raises(UsageError) as told:
        knn_leave_one_out(np.ones((4, 2)), np.array([0, 1, 0, 1]), k=0, groups=np.zeros(3))
    assert [m.split(":")[0] for m in told.value.mistakes] == ["groups", "k"]
