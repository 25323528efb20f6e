"""The wide head: against kernel ridge with all examples as landmarks, and against itself."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.kernel_ridge import KernelRidge

from regraft.transfer import kernel
from regraft.transfer.kernel import KernelPart, Landmarks
from regraft.transfer.probe import Head, fit_head, fit_wide_head

WIDTHS = (7, 5)


def rings(n: int, seed: int) -> tuple[Any, Any]:
    """Two classes that no straight line parts: inside and outside of a ball, in the last block."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, sum(WIDTHS))).astype(np.float32)
    labels = (np.abs(x[:, -5]) > 0.7).astype(int)
    return x, labels


def test_it_parts_what_no_straight_line_parts() -> None:
    x, labels = rings(400, 0)
    new, truth = rings(400, 1)
    asked: dict[str, Any] = {"classes": 2, "widths": WIDTHS, "seed": 0}
    linear = fit_head(x, labels, **asked)
    wide = fit_wide_head(x, labels, lasts=(1,), **asked)
    right = [(fit.head.scores(new).argmax(1) == truth).mean() for fit in (linear, wide)]
    assert right[1] >= right[0] + 0.15
    assert wide.error < 0.8 * linear.error
    left_out = (wide.left_out.argmax(1) == labels).mean()
    assert abs(left_out - right[1]) < 0.08  # leave-one-out tells it beforehand


def test_with_all_examples_as_landmarks_it_is_kernel_ridge() -> None:
    """Of whitened similarities K^½ the Gram matrix is K itself."""
    x, _ = rings(60, 2)
    marks = Landmarks.of(x, 7, 5, 0)
    features = marks.similarities(x) @ marks.whitening()
    cosines = marks._units(x) @ marks._units(x).T
    gram = np.exp((cosines - 1) / kernel.SPREAD)
    np.testing.assert_allclose(features @ features.T, gram, atol=2e-3)
    targets = np.eye(3)[np.arange(60) % 3]
    ridge = KernelRidge(alpha=0.3, kernel="precomputed").fit(gram.astype(np.float64), targets)
    inner = features.T @ features + 0.3 * np.eye(features.shape[1])
    ours = features @ np.linalg.solve(inner, features.T @ targets)
    np.testing.assert_allclose(ours, ridge.predict(gram), atol=5e-3)


def test_scores_are_those_of_the_features_it_was_fitted_on() -> None:
    x, labels = rings(200, 3)
    fit = fit_wide_head(x, labels, classes=2, widths=WIDTHS, lasts=(0, 1), seed=1)
    marks = [Landmarks.of(x, *place, 1) for place in ((0, 7), (7, 5))]
    wide = np.hstack([x, *(m.similarities(x) @ m.whitening() for m in marks)])
    sizes = [m.points.shape[1] for m in marks]
    plain = fit_head(wide, labels, classes=2, widths=(*WIDTHS, *sizes), seed=1, weigh=False)
    np.testing.assert_allclose(fit.head.scores(x), plain.head.scores(wide), atol=1e-3)
    np.testing.assert_array_equal(fit.left_out, plain.left_out)


def test_a_row_s_scores_do_not_depend_on_the_others() -> None:
    x, labels = rings(150, 4)
    head = fit_wide_head(x, labels, classes=2, widths=WIDTHS, lasts=(1,), seed=0).head
    whole = head.scores(x)
    for some in (slice(0, 1), slice(3, 10), slice(0, 149)):
        np.testing.assert_array_equal(head.scores(x[some]), whole[some])


def test_it_comes_back_from_its_arrays_bit_for_bit() -> None:
    x, labels = rings(80, 5)
    head = fit_wide_head(x, labels, classes=2, widths=WIDTHS, lasts=(0, 1), seed=0).head
    again = Head.from_tensors(head.tensors())
    np.testing.assert_array_equal(again.scores(x), head.scores(x))
    assert [name for name in head.tensors() if name.startswith("kernel-1.")]


def test_no_more_landmarks_than_there_are_examples_or_are_wanted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    x, _ = rings(30, 6)
    assert Landmarks.of(x, 7, 5, 0).points.shape == (5, 30)
    monkeypatch.setattr(kernel, "MOST", 12)
    assert Landmarks.of(x, 7, 5, 0).points.shape == (5, 12)
    assert not np.array_equal(Landmarks.of(x, 7, 5, 0).points, Landmarks.of(x, 7, 5, 1).points)


@given(st.integers(1, 9), st.floats(0.1, 3), st.integers(0, 3))
def test_parts_can_be_multiplied_and_moved(n: int, factor: float, later: int) -> None:
    x, _ = rings(n, 7)
    part = KernelPart(Landmarks.of(x, 7, 5, 0), np.ones((n, 2)))
    shifted = np.hstack([np.zeros((n, later), np.float32), x])
    expected = factor * part.scores(x)
    np.testing.assert_allclose(part.times(factor, later).scores(shifted), expected, rtol=1e-9)


def test_a_block_that_does_not_vary_breaks_nothing() -> None:
    x, labels = rings(40, 8)
    x[:, 7:] = 3.0
    fit = fit_wide_head(x, labels, classes=2, widths=WIDTHS, lasts=(1,), seed=0)
    assert np.isfinite(fit.head.scores(x)).all()


def test_a_head_without_a_block_takes_no_notice_of_it() -> None:
    """Neither by its columns nor by similarities in it."""
    x, labels = rings(60, 8)
    head = fit_wide_head(x, labels, classes=2, widths=WIDTHS, lasts=(0, 1), seed=0).head
    other = np.hstack([x[:, : WIDTHS[0]], np.roll(x[:, WIDTHS[0] :], 1, axis=0)])
    assert not np.allclose(head.scores(x), head.scores(other))
    left = head.without([1])
    assert [part.landmarks.first for part in left.kernels] == [0]
    np.testing.assert_array_equal(left.scores(x), left.scores(other))
    assert not np.allclose(left.scores(x), head.without([0, 1]).scores(x))


def test_an_even_head_gives_the_same_scores() -> None:
    x, labels = rings(120, 9)
    for lasts in ((), (1,)):
        fitter = fit_wide_head if lasts else fit_head
        settings: dict[str, Any] = {"lasts": lasts} if lasts else {}
        head = fitter(x, labels, classes=2, widths=WIDTHS, seed=0, **settings).head
        even = replace(head, weights=(0.5, 1.5), scaling=head.scaling.weighted((0.5, 1.5))).even()
        assert even.weights == (1.0, 1.0)
        np.testing.assert_allclose(even.scaling(x), head.scaling(x), atol=1e-9)
        plain = head.even()
        np.testing.assert_allclose(plain.scores(x), head.scores(x), atol=1e-9)
