"""The closed-form solve against its definition and against scikit-learn."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import RidgeCV

from regraft.errors import UsageError
from regraft.transfer import ridge
from regraft.transfer.ridge import (
    LAMBDAS,
    Guess,
    Inverse,
    Moments,
    Solution,
    best_dual,
    dual_spectrum,
    from_dual,
    inverse_of,
    members,
    search,
)

Array = npt.NDArray[np.float64]
Groups = list[npt.NDArray[np.int64]]
Refit = Callable[..., Array]


class Problem(NamedTuple):
    rows: Array
    targets: Array

    @property
    def scale(self) -> float:
        return float(np.mean(np.sum(self.rows**2, 1) + 1))


def problem(n: int, d: int, c: int = 3, seed: int = 0) -> Problem:
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(n, d)) / np.sqrt(d)
    labels = (rows @ rng.normal(size=(d, c)) + rng.normal(size=(n, c)) / 2).argmax(1)
    return Problem(rows, np.eye(c)[labels])


# One function for each form: → (coefficients (d + 1, c), left-out scores (n, c)) at a relative λ.


def dual(p: Problem, lam: float, groups: Groups) -> tuple[Array, Array]:
    spectrum = dual_spectrum(p.rows, p.targets)
    left_out = spectrum.left_out(spectrum.vectors, p.targets, lam, groups)
    return from_dual(p.rows, spectrum.coefficients(lam)), left_out


def primal(p: Problem, lam: float, groups: Groups) -> tuple[Array, Array]:
    moments = Moments(p.rows.mean(0), p.targets.shape[1]).add(p.rows, p.targets)
    spectrum = moments.spectrum(np.zeros(p.rows.shape[1]), np.ones(p.rows.shape[1]))
    left_out = spectrum.left_out(spectrum.left(p.rows), p.targets, lam, groups)
    return spectrum.coefficients(lam), left_out


def inverse(p: Problem, lam: float, groups: Groups) -> tuple[Array, Array]:
    solution, _ = Inverse(p.rows, p.targets, groups).solve(lam)
    return from_dual(p.rows, solution.dual), solution.left_out


FORMS = pytest.mark.parametrize("form", [dual, primal, inverse])
Form = Callable[[Problem, float, Groups], tuple[Array, Array]]

SHAPES = pytest.mark.parametrize(
    ("n", "d", "c"), [(40, 12, 3), (12, 40, 3), (30, 30, 2), (2, 5, 2), (5, 1, 2), (60, 1, 4)]
)
GROUPS = [np.array([0, 3, 5]), np.array([1, 2]), np.array([11, 4, 7, 8])]


@FORMS
@SHAPES
@pytest.mark.parametrize("lam", [1e-3, 0.2, 10.0])
def test_leave_one_out_is_what_refitting_gives(
    form: Form, n: int, d: int, c: int, lam: float, refit: Refit
) -> None:
    p = problem(n, d, c)
    expected = refit(p.rows, p.targets, lam * p.scale)
    np.testing.assert_allclose(form(p, lam, [])[1], expected, rtol=0, atol=1e-8)


@FORMS
@pytest.mark.parametrize(("n", "d"), [(40, 12), (12, 40), (30, 30)])
@pytest.mark.parametrize("lam", [1e-3, 0.2, 10.0])
def test_leave_group_out_is_what_refitting_gives(
    form: Form, n: int, d: int, lam: float, refit: Refit
) -> None:
    p = problem(n, d)
    expected = refit(p.rows, p.targets, lam * p.scale, GROUPS)
    np.testing.assert_allclose(form(p, lam, GROUPS)[1], expected, rtol=0, atol=1e-8)


@FORMS
@SHAPES
def test_coefficients_solve_the_ridge_equations(form: Form, n: int, d: int, c: int) -> None:
    p = problem(n, d, c)
    ones = np.hstack([p.rows, np.ones((n, 1))])
    for lam in (1e-3, 0.2, 10.0):
        gram = ones.T @ ones + lam * p.scale * np.eye(d + 1)
        expected = np.linalg.solve(gram, ones.T @ p.targets)
        np.testing.assert_allclose(form(p, lam, [])[0], expected, rtol=0, atol=1e-8)


@pytest.mark.parametrize("shape", [(40, 12), (12, 40), (30, 30)])
def test_it_agrees_with_scikit_learn(shape: tuple[int, int]) -> None:
    p = problem(*shape)
    theirs = RidgeCV(LAMBDAS * p.scale, fit_intercept=False, store_cv_results=True)
    theirs.fit(np.hstack([p.rows, np.ones((len(p.rows), 1))]), p.targets)
    errors = np.empty((2, len(LAMBDAS)))
    for k, lam in enumerate(LAMBDAS):
        for i, form in enumerate((dual, primal)):
            squared = (form(p, lam, [])[1] - p.targets) ** 2
            np.testing.assert_allclose(theirs.cv_results_[:, :, k], squared, atol=1e-8)
            errors[i, k] = squared.mean()
    best = int(errors[0].argmin())
    assert LAMBDAS[best] * p.scale == pytest.approx(theirs.alpha_)
    assert errors[:, best] == pytest.approx(-theirs.best_score_, abs=1e-8)
    np.testing.assert_allclose(dual(p, LAMBDAS[best], [])[0].T, theirs.coef_, atol=1e-8)


@settings(max_examples=40)
@given(
    n=st.integers(2, 30),
    d=st.integers(1, 40),
    c=st.integers(1, 4),
    lam=st.sampled_from([1e-3, 0.05, 3.0]),
    seed=st.integers(0, 10**6),
)
def test_all_forms_agree(n: int, d: int, c: int, lam: float, seed: int) -> None:
    p = problem(n, d, c, seed)
    numbers = np.random.default_rng(seed).integers(0, n, n)
    groups = members(numbers)
    first, second, third = (form(p, lam, groups) for form in (dual, primal, inverse))
    for other in (second, third):
        for a, b in zip(first, other, strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-8)


def same_rows(n: int, d: int) -> Problem:
    return Problem(np.zeros((n, d)), np.eye(2)[np.arange(n) % 2])


def repeated(n: int, d: int) -> Problem:
    p = problem(n // 2, d)
    return Problem(np.tile(p.rows, (2, 1)), np.tile(p.targets, (2, 1)))


def constant_columns(n: int, d: int) -> Problem:
    p = problem(n, d)
    p.rows[:, ::2] = 0.0
    return p


def lonely_class(n: int, d: int) -> Problem:
    p = problem(n, d, 4)
    p.targets[:] = np.eye(4)[[3, *[0] * (n - 1)]]
    return p


@FORMS
@pytest.mark.parametrize("make", [same_rows, repeated, constant_columns, lonely_class])
@pytest.mark.parametrize("shape", [(30, 4), (6, 40)])
def test_degenerate_rows_are_no_exception(
    form: Form, make: Callable[[int, int], Problem], shape: tuple[int, int], refit: Refit
) -> None:
    p = make(*shape)
    for lam in (1e-3, 1.0):
        expected = refit(p.rows, p.targets, lam * p.scale)
        np.testing.assert_allclose(form(p, lam, [])[1], expected, rtol=0, atol=1e-8)


@pytest.mark.parametrize("factor", [1e-3, 1e3])
def test_the_grid_of_λ_is_relative_to_the_size_of_the_kernel(factor: float) -> None:
    p = problem(50, 20)
    big = Problem(p.rows * factor, p.targets)
    for lam in LAMBDAS[::6]:
        solution, _ = Inverse(big.rows, big.targets).solve(lam)
        ones = np.hstack([big.rows, np.ones((50, 1))])
        absolute = lam * np.mean(np.sum(ones**2, 1))
        fitted = ones @ np.linalg.solve(ones.T @ ones + absolute * np.eye(21), ones.T @ big.targets)
        np.testing.assert_allclose(
            np.hstack([big.rows, np.ones((50, 1))]) @ from_dual(big.rows, solution.dual),
            fitted, atol=1e-8,
        )  # fmt: skip


# Every λ at once ---------------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [1, 3, 300])  # 300: the λ are taken a few at a time
def test_errors_of_all_λ_are_those_of_each(classes: int) -> None:
    p = problem(40, 12, classes)
    moments = Moments(np.zeros(12), classes).add(p.rows, p.targets)
    spectrum = moments.spectrum(np.zeros(12), np.ones(12))
    left = spectrum.left(p.rows)
    leverages = spectrum.leverages(left, LAMBDAS)
    found = spectrum.squared_errors(left, p.targets, leverages, LAMBDAS)
    each = [np.sum((p.targets - spectrum.left_out(left, p.targets, x)) ** 2) for x in LAMBDAS]
    np.testing.assert_allclose(found, each, rtol=1e-10)
    assert ((leverages > 0) & (leverages < 1)).all()


# Moments -----------------------------------------------------------------------------------------


@settings(max_examples=50)
@given(
    cuts=st.lists(st.integers(0, 60), max_size=8),
    mean=st.sampled_from([0.0, 1.0, 1e4]),
    seed=st.integers(0, 10**6),
)
def test_moments_of_any_partition_are_the_same(cuts: list[int], mean: float, seed: int) -> None:
    p = problem(60, 5, 3, seed)
    raw = p.rows + mean
    parts = np.split(np.arange(60), sorted(cuts))
    origin = raw[:7].mean(0)
    whole = Moments(origin, 3).add(raw, p.targets)
    shards = [Moments(origin, 3).add(raw[part], p.targets[part]) for part in parts]
    summed = sum(shards[1:], start=shards[0])
    assert summed.count == 60
    for a, b in zip(whole.mean_and_variance(), summed.mean_and_variance(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)
    shift, factor = raw.mean(0), np.full(5, 2.0)
    first, second = (m.spectrum(shift, factor) for m in (whole, summed))
    for lam in (1e-3, 1.0):
        np.testing.assert_allclose(
            first.coefficients(lam), second.coefficients(lam), rtol=0, atol=1e-9
        )


def test_large_means_cost_no_digits() -> None:
    p = problem(80, 6)
    shift, factor = np.full(6, 1e4), np.linspace(0.5, 2, 6)
    raw = p.rows / factor + shift
    expected = primal(p, 0.01, [])
    moments = Moments(raw[:5].mean(0), 3).add(raw, p.targets)
    spectrum = moments.spectrum(shift, factor)
    np.testing.assert_allclose(spectrum.coefficients(0.01), expected[0], atol=1e-8)
    mean, variance = moments.mean_and_variance()
    np.testing.assert_allclose(mean, raw.mean(0), rtol=1e-14)
    np.testing.assert_allclose(variance, raw.var(0), rtol=1e-9)


def test_adding_moments_changes_neither() -> None:
    p = problem(20, 4)
    a, b = (
        Moments(np.zeros(4), 3).add(p.rows[i], p.targets[i]) for i in np.split(np.arange(20), 2)
    )
    before = a.gram.copy()
    (a + b).add(p.rows, p.targets)
    np.testing.assert_array_equal(a.gram, before)
    assert (a.count, b.count) == (10, 10)


def test_moments_of_another_origin_are_refused() -> None:
    with pytest.raises(UsageError, match="origin"):
        Moments(np.zeros(2), 2) + Moments(np.ones(2), 2)


# One λ at a time ---------------------------------------------------------------------------------


@pytest.mark.parametrize("groups", [[], GROUPS])
@pytest.mark.parametrize("lam", [0.01, 0.3])
def test_the_slope_is_the_derivative_of_the_error(groups: Groups, lam: float) -> None:
    p = problem(40, 25)
    inverse = Inverse(p.rows, p.targets, groups)
    step = 1e-5
    ends = [np.log(inverse.solve(lam * np.exp(s))[0].error) for s in (-step, step)]
    assert inverse.solve(lam)[1] == pytest.approx((ends[1] - ends[0]) / (2 * step), rel=1e-6)


def test_the_error_is_that_of_the_left_out_scores() -> None:
    p = problem(40, 25)
    solution, _ = Inverse(p.rows, p.targets, GROUPS).solve(0.1)
    assert solution.error == pytest.approx(np.mean((p.targets - solution.left_out) ** 2), rel=1e-12)


@pytest.mark.parametrize("n", [1, 2, 255, 256, 257, 600])  # about the size of a block
def test_the_inverse_is_whole_and_symmetric(n: int) -> None:
    p = problem(n, 30)
    kernel = p.rows @ p.rows.T
    before = kernel.copy()
    found = inverse_of(kernel, 0.3)
    np.testing.assert_allclose(found @ (kernel + 0.3 * np.eye(n)), np.eye(n), atol=1e-9)
    np.testing.assert_array_equal(found, found.T)
    np.testing.assert_array_equal(kernel, before)


def test_a_λ_lost_in_rounding_is_refused() -> None:
    with pytest.raises(UsageError, match="raise `lambdas`"):
        inverse_of(np.ones((50, 50)), 1e-30)


@settings(max_examples=40)
@given(
    n=st.integers(50, 150),
    wide=st.floats(0.5, 4),
    off=st.floats(-1.5, 1.5),
    grid=st.sampled_from([LAMBDAS, LAMBDAS[::-1], LAMBDAS[7:8], LAMBDAS[::6]]),
    seed=st.integers(0, 10**6),
)
def test_a_search_finds_the_best_λ_or_one_hardly_worse(
    n: int, wide: float, off: float, grid: Array, seed: int
) -> None:
    p = problem(n, round(n * wide), 3, seed)
    inverse = Inverse(p.rows, p.targets)
    errors = [inverse.solve(lam)[0].error for lam in grid]
    best = int(np.argmin(errors))
    found, _ = search(inverse, grid, Guess(grid[best] * 10**off))
    assert found.lam in grid
    assert found.error == inverse.solve(found.lam)[0].error
    assert found.error <= 1.06 * errors[best]


def test_a_search_visits_few_λ(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[float] = []
    real = Inverse.solve

    def solve(self: Inverse, lam: float) -> tuple[Solution, float]:
        seen.append(lam)
        return real(self, lam)

    monkeypatch.setattr(Inverse, "solve", solve)
    p = problem(300, 200)
    best = best_dual(p.rows, p.targets, LAMBDAS, Guess())[1]
    for times, most in ((1, 2), (0.3, 4), (3, 4), (1e-9, 15), (1e9, 15)):
        seen.clear()
        search(Inverse(p.rows, p.targets), LAMBDAS, best._replace(lam=best.lam * times))
        assert 1 <= len(seen) <= most
        assert len(set(seen)) == len(seen)


@pytest.mark.parametrize("groups", [[], GROUPS])
def test_few_rows_get_the_very_best_λ(groups: Groups, monkeypatch: pytest.MonkeyPatch) -> None:
    p = problem(60, 90)
    found, _ = best_dual(p.rows, p.targets, LAMBDAS, Guess(1e-9), groups)  # a useless guess
    solved = [Inverse(p.rows, p.targets, groups).solve(lam)[0] for lam in LAMBDAS]
    best = min(solved, key=lambda solution: solution.error)
    assert_same(found, best)
    monkeypatch.setattr(ridge, "SEARCH_ABOVE", 10)  # as if they were many
    assert_same(best_dual(p.rows, p.targets, LAMBDAS, Guess(best.lam), groups)[0], best)


def test_the_curvature_is_that_of_the_error() -> None:
    p = problem(300, 200)
    best, guess = best_dual(p.rows, p.targets, LAMBDAS, Guess())
    inverse, step = Inverse(p.rows, p.targets), np.exp(0.5)
    slopes = [inverse.solve(best.lam * times)[1] for times in (1 / step, step)]
    assert guess.lam == best.lam
    assert guess.curvature == pytest.approx(slopes[1] - slopes[0], rel=0.3)
    one = best_dual(p.rows, p.targets, LAMBDAS[:1], Guess())[1]
    assert one == Guess(LAMBDAS[0])  # nothing to measure it with


def assert_same(a: Solution, b: Solution) -> None:
    assert a.lam == b.lam
    assert a.error == pytest.approx(b.error, abs=1e-10)
    np.testing.assert_allclose(a.dual, b.dual, rtol=0, atol=1e-8)
    np.testing.assert_allclose(a.left_out, b.left_out, rtol=0, atol=1e-8)


def test_members_are_the_groups_of_several() -> None:
    found = members(np.array([7, 3, 7, -1, 3, 9, 7]))
    assert [g.tolist() for g in found] == [[1, 4], [0, 2, 6]]
    assert members(np.arange(4)) == []
