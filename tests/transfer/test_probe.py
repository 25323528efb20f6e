"""The head on frozen features: what its numbers mean, and what it refuses."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from safetensors.numpy import load, save

from regraft.errors import DataError, UsageError
from regraft.transfer import ridge
from regraft.transfer.probe import Chunks, Head, HeadFit, fit_head, fit_head_streamed, one_hot
from regraft.transfer.ridge import LAMBDAS, members

Array = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Refit = Callable[..., Array]
Data = tuple[npt.NDArray[np.float32], Integers]

WIDTHS = (6, 20, 14)


def data(n: int, classes: int = 3, seed: int = 0, widths: tuple[int, ...] = WIDTHS) -> Data:
    """Blocks of different scale and mean; the last knows most."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    blocks = [
        (rng.normal(size=(classes, w))[labels] * 0.2 * b + rng.normal(size=(n, w))) * 10.0**b + 50
        for b, w in enumerate(widths)
    ]
    return np.hstack(blocks).astype(np.float32), labels


def fitted(n: int, **options: Any) -> HeadFit:
    return fit_head(*data(n), classes=3, widths=WIDTHS, **options)


def in_chunks(features: npt.NDArray[Any], labels: Integers, size: int) -> Chunks:
    def chunks() -> Iterator[tuple[npt.NDArray[Any], Integers]]:
        for start in range(0, len(labels), size):
            yield features[start : start + size], labels[start : start + size]

    return chunks


def assert_same(a: HeadFit, b: HeadFit, atol: float = 1e-8) -> None:
    assert a.head.lam == b.head.lam
    assert a.head.weights == b.head.weights
    assert a.error == pytest.approx(b.error, rel=1e-9)
    np.testing.assert_allclose(a.left_out, b.left_out, rtol=0, atol=atol)
    np.testing.assert_allclose(a.head.coefficients, b.head.coefficients, rtol=0, atol=atol)
    np.testing.assert_allclose(a.head.scaling.factor, b.head.scaling.factor, rtol=1e-10)


# What the numbers are ----------------------------------------------------------------------------

ROWS = pytest.mark.parametrize("n", [20, 60, 100, 300])  # below and above two for each column


def check_against_refitting(fit: HeadFit, features: Any, labels: Any, refit: Refit) -> None:
    rows, targets = fit.head.scaling(features), one_hot(labels, fit.left_out.shape[1])
    absolute = fit.head.lam * np.mean(np.sum(rows**2, 1) + 1)
    expected = refit(rows, targets, absolute)
    np.testing.assert_allclose(fit.left_out, expected, rtol=0, atol=1e-8)
    ones = np.hstack([rows, np.ones((len(rows), 1))])
    gram = ones.T @ ones + absolute * np.eye(ones.shape[1])
    coefficients = np.linalg.solve(gram, ones.T @ targets)
    np.testing.assert_allclose(fit.head.coefficients, coefficients, rtol=0, atol=1e-8)
    assert fit.error == pytest.approx(np.mean((expected - targets) ** 2), abs=1e-9)


@ROWS
@pytest.mark.parametrize("weigh", [True, False])
@pytest.mark.parametrize("many", [False, True])
def test_left_out_scores_are_those_of_refitting(
    n: int, weigh: bool, many: bool, refit: Refit, monkeypatch: pytest.MonkeyPatch
) -> None:
    if many:  # rows beyond which the dual is searched and not decomposed
        monkeypatch.setattr(ridge, "SEARCH_ABOVE", 5)
    check_against_refitting(fitted(n, weigh=weigh), *data(n), refit)


@ROWS
def test_rows_of_one_group_are_left_out_together(n: int, refit: Refit) -> None:
    features, labels = data(n)
    groups = np.random.default_rng(0).integers(0, 2 * n // 3, n)
    fit = fitted(n, groups=groups)
    rows = fit.head.scaling(features)
    absolute = fit.head.lam * np.mean(np.sum(rows**2, 1) + 1)
    expected = refit(rows, one_hot(labels, 3), absolute, members(groups))
    np.testing.assert_allclose(fit.left_out, expected, rtol=0, atol=1e-8)
    assert fit.error == pytest.approx(np.mean((expected - one_hot(labels, 3)) ** 2), abs=1e-9)


def test_duplicates_tell_each_other_s_label_unless_they_are_a_group() -> None:
    rng = np.random.default_rng(0)
    features, labels = rng.normal(size=(60, 200)), rng.integers(0, 2, 60)  # nothing to be learned
    fooled, honest = (
        fit_head(
            np.repeat(features, 2, 0),
            np.repeat(labels, 2),
            classes=2,
            widths=(200,),
            groups=groups,
            lambdas=np.array([1e-3]),
        )
        for groups in (None, np.repeat(np.arange(60), 2))
    )
    assert np.mean(fooled.left_out.argmax(1) == np.repeat(labels, 2)) > 0.95
    assert np.mean(honest.left_out.argmax(1) == np.repeat(labels, 2)) < 0.7


@ROWS
def test_λ_is_the_one_with_the_least_left_out_error(n: int) -> None:
    grid = LAMBDAS[::3]
    fit = fitted(n, weigh=False, lambdas=grid)
    each = [fitted(n, weigh=False, lambdas=np.array([lam])) for lam in grid]
    assert fit.error == pytest.approx(min(f.error for f in each), rel=1e-12)
    assert fit.head.lam == min(each, key=lambda f: f.error).head.lam


def test_the_own_label_does_not_reach_the_left_out_score() -> None:
    features, labels = data(80)
    changed = labels.copy()
    changed[5] = (changed[5] + 1) % 3
    a, b = (
        fit_head(features, y, classes=3, widths=WIDTHS, weigh=False, lambdas=np.array([0.1]))
        for y in (labels, changed)
    )
    np.testing.assert_allclose(a.left_out[5], b.left_out[5], atol=1e-10)
    assert np.abs(a.left_out - b.left_out).max() > 1e-3


def test_the_estimate_is_near_the_truth() -> None:
    features, labels = data(2300)
    fit = fit_head(features[:300], labels[:300], classes=3, widths=WIDTHS)
    truth = np.mean(fit.head.scores(features[300:]).argmax(1) == labels[300:])
    estimate = np.mean(fit.left_out.argmax(1) == labels[:300])
    assert truth > 0.8
    assert estimate == pytest.approx(truth, abs=0.06)


def test_the_result_is_repeatable() -> None:
    a, b = fitted(60, seed=3), fitted(60, seed=3)
    np.testing.assert_array_equal(a.left_out, b.left_out)
    np.testing.assert_array_equal(a.head.coefficients, b.head.coefficients)


@pytest.mark.parametrize("kind", [np.float16, np.float64, np.uint8])
def test_features_of_any_number_type(kind: type[np.generic]) -> None:
    features = (data(60)[0] % 100).astype(kind)
    fit = fit_head(features, data(60)[1], classes=3, widths=WIDTHS)
    wide = fit_head(features.astype(np.float64), data(60)[1], classes=3, widths=WIDTHS)
    assert_same(fit, wide, atol=1e-10)


# Odd data ----------------------------------------------------------------------------------------


def two_rows() -> tuple[Array, Integers, tuple[int, ...]]:
    return np.array([[0.0, 1, 2], [3, 1, 5]]), np.array([0, 1]), (1, 2)


def one_row() -> tuple[Array, Integers, tuple[int, ...]]:
    return np.array([[0.0, 1, 2]]), np.array([1]), (1, 2)


def one_example_of_a_class() -> tuple[Array, Integers, tuple[int, ...]]:
    features, _ = data(30)
    return features.astype(float), np.array([2] + [0, 1] * 14 + [0]), WIDTHS


def constant_block() -> tuple[Array, Integers, tuple[int, ...]]:
    features, labels = data(30)
    features[:, :6] = 3.3
    return features.astype(float), labels, WIDTHS


def all_the_same() -> tuple[Array, Integers, tuple[int, ...]]:
    return np.full((12, 40), 0.7), np.arange(12) % 3, WIDTHS


def one_column() -> tuple[Array, Integers, tuple[int, ...]]:
    labels = np.arange(40) % 2
    return labels[:, None] + np.random.default_rng(0).normal(0, 0.3, (40, 1)), labels, (1,)


def duplicates() -> tuple[Array, Integers, tuple[int, ...]]:
    features, labels = data(15)
    return np.tile(features, (3, 1)).astype(float), np.tile(labels, 3), WIDTHS


def one_label_only() -> tuple[Array, Integers, tuple[int, ...]]:
    return data(30)[0].astype(float), np.zeros(30, np.int64), WIDTHS


ODD = [
    two_rows, one_row, one_example_of_a_class, constant_block, all_the_same, one_column,
    duplicates, one_label_only,
]  # fmt: skip


@pytest.mark.parametrize("make", ODD)
@pytest.mark.parametrize("streamed", [False, True])
def test_odd_data_give_exact_numbers_too(
    make: Callable[[], tuple[Array, Integers, tuple[int, ...]]], streamed: bool, refit: Refit
) -> None:
    features, labels, widths = make()
    if streamed:
        fit = fit_head_streamed(in_chunks(features, labels, 7), classes=3, widths=widths)
    else:
        fit = fit_head(features, labels, classes=3, widths=widths)
    check_against_refitting(fit, features, labels, refit)
    assert np.isfinite(fit.head.scores(features + 1)).all()


# The head ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("d", "c"), [(3088, 10), (40, 2), (40, 1), (1, 3), (513, 100)])
def test_a_score_depends_on_its_row_alone_bit_for_bit(d: int, c: int) -> None:
    rng = np.random.default_rng(0)
    features, labels = rng.normal(size=(50, d)).astype(np.float32), rng.integers(0, c, 50)
    head = fit_head(features, labels, classes=c, widths=(d,)).head
    scores = head.scores(features)
    assert scores.shape == (50, c)
    for i in (0, 7, 49):
        np.testing.assert_array_equal(head.scores(features[i : i + 1])[0], scores[i])
    np.testing.assert_array_equal(head.scores(features[13:31]), scores[13:31])
    np.testing.assert_array_equal(head.scores(features[::-1]), scores[::-1])
    np.testing.assert_array_equal(head.scores(np.asfortranarray(features)), scores)
    np.testing.assert_array_equal(head.scores(np.vstack([features] * 9))[:50], scores)
    assert head.scores(features[:0]).shape == (0, c)


def test_scores_are_the_affine_map() -> None:
    features, _ = data(60)
    head = fitted(60).head
    expected = head.scaling(features) @ head.coefficients[:-1] + head.coefficients[-1]
    np.testing.assert_allclose(head.scores(features), expected, atol=1e-12)


def test_tensors_bring_the_head_back_bit_for_bit() -> None:
    head = fitted(60).head
    back = Head.from_tensors(load(save(head.tensors())))
    np.testing.assert_array_equal(back.scores(data(60)[0]), head.scores(data(60)[0]))
    assert (back.weights, back.lam) == (head.weights, head.lam)
    assert back.scaling.widths == head.scaling.widths
    for name, tensor in back.tensors().items():
        np.testing.assert_array_equal(tensor, head.tensors()[name])
        assert tensor.dtype == head.tensors()[name].dtype


# Streamed ----------------------------------------------------------------------------------------


@ROWS
@pytest.mark.parametrize("size", [1, 7, 1000])
@pytest.mark.parametrize("grouped", [False, True])
def test_streamed_is_the_same_as_in_memory(n: int, size: int, grouped: bool) -> None:
    groups = np.random.default_rng(1).integers(0, n // 2, n) if grouped else None
    streamed = fit_head_streamed(in_chunks(*data(n), size), classes=3, widths=WIDTHS, groups=groups)
    assert_same(streamed, fitted(n, groups=groups))


def test_streamed_is_the_same_where_rows_are_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("regraft.transfer.streaming.POOL", 90)
    monkeypatch.setattr("regraft.transfer.block_weights.SUBSAMPLE", 30)
    monkeypatch.setattr("regraft.transfer.block_weights.CHECK", 60)
    features, labels = data(400)
    order = np.argsort(labels, kind="stable")  # sorted by class, as folders are
    features, labels = features[order], labels[order]
    streamed, memory = (
        fit_head_streamed(in_chunks(features, labels, size), classes=3, widths=WIDTHS)
        for size in (11, 400)
    )
    assert_same(streamed, memory)
    assert_same(streamed, fit_head(features, labels, classes=3, widths=WIDTHS))


def test_streamed_does_not_lose_digits_to_large_means() -> None:
    features, labels = data(300)
    wide = features.astype(np.float64)
    near = fit_head_streamed(in_chunks(wide, labels, 50), classes=3, widths=WIDTHS)
    far = fit_head_streamed(in_chunks(wide + 1e4, labels, 50), classes=3, widths=WIDTHS)
    np.testing.assert_allclose(near.left_out, far.left_out, atol=1e-7)


def test_empty_chunks_are_no_problem() -> None:
    features, labels = data(60)
    parts = np.split(np.arange(60), [0, 0, 20, 20, 60])
    streamed = fit_head_streamed(
        lambda: ((features[p], labels[p]) for p in parts), classes=3, widths=WIDTHS
    )
    assert_same(streamed, fitted(60))


# What is refused ---------------------------------------------------------------------------------


def test_all_mistakes_are_told_at_once() -> None:
    features, labels = data(10)
    with pytest.raises(UsageError) as caught:
        fit_head(features, labels, classes=0, widths=(0, 3), lambdas=np.array([0.1, -1]))
    assert [m.split(":")[0] for m in caught.value.mistakes] == ["classes", "widths", "lambdas"]
    with pytest.raises(UsageError) as caught:
        fit_head(features[:, 1:], labels + 1, classes=3, widths=WIDTHS)
    assert [m.split(":")[0] for m in caught.value.mistakes] == ["features", "labels"]
    assert "got 3 in row" in caught.value.mistakes[1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features": np.zeros((3, 39))}, "features: expected 10 rows of labels and 40 columns"),
        ({"labels": np.zeros(10)}, "labels: expected whole numbers"),
        ({"labels": np.full(10, -1)}, r"labels: expected 0 to 2, got -1 in row 0 and 9 more"),
        ({"groups": np.zeros(9, int)}, "groups: expected one number for each of 10 rows"),
        ({"lambdas": np.array([])}, "lambdas"),
        ({"lambdas": np.array([np.nan])}, "lambdas"),
        ({"widths": ()}, "widths"),
        ({"features": np.zeros((0, 40)), "labels": np.zeros(0, int)}, "no rows"),
    ],
)
def test_what_does_not_fit_together_is_refused(change: dict[str, Any], message: str) -> None:
    features, labels = data(10)
    asked = {"features": features, "labels": labels, "widths": WIDTHS, **change}
    with pytest.raises(UsageError, match=message):
        fit_head(**asked, classes=3)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("n", [30, 100])
def test_rows_that_are_no_numbers_are_named(n: int, bad: float) -> None:
    features, labels = data(n)
    features[[7, 22], [3, 30]] = bad
    for fit in (
        lambda: fit_head(features, labels, classes=3, widths=WIDTHS),
        lambda: fit_head_streamed(in_chunks(features, labels, 10), classes=3, widths=WIDTHS),
    ):
        with pytest.raises(DataError, match=r"rows \[7"):
            fit()


def test_chunks_that_are_wrong_are_refused_with_their_row() -> None:
    features, labels = data(30)
    labels[25] = 3
    with pytest.raises(UsageError, match="got 3 in row 25"):
        fit_head_streamed(in_chunks(features, labels, 10), classes=3, widths=WIDTHS)
    with pytest.raises(UsageError, match="no rows"):
        fit_head_streamed(in_chunks(features[:0], labels[:0], 10), classes=3, widths=WIDTHS)


@pytest.mark.parametrize("later", [20, 40])
def test_chunks_that_change_between_passes_are_refused(later: int) -> None:
    features, labels = data(40)
    sizes = iter([30, later, later])

    def chunks() -> Iterator[tuple[npt.NDArray[Any], Integers]]:
        size = next(sizes)
        yield features[:size], labels[:size]

    with pytest.raises(DataError, match="30 rows the first time"):
        fit_head_streamed(chunks, classes=3, widths=WIDTHS)


@pytest.mark.parametrize("rows", [40, 200])  # the dual and the primal
def test_a_head_learns_targets_in_place_of_labels(rows: int) -> None:
    """One-hot targets change nothing; others are what ridge regression makes of them."""
    rng = np.random.default_rng(0)
    labels = np.arange(rows) % 3
    features = rng.normal(size=(rows, 8)) + labels[:, None]
    asked: dict[str, Any] = {"classes": 3, "widths": (3, 5)}
    plain = fit_head(features, labels, **asked)
    same = fit_head(features, labels, targets=np.eye(3)[labels], **asked)
    assert np.array_equal(plain.left_out, same.left_out)
    soft = rng.dirichlet((1, 1, 1), rows)
    found = fit_head(features, labels, targets=soft, weigh=False, **asked)
    shifted = fit_head(features, labels, targets=soft + 5.0, weigh=False, **asked)
    assert found.error == pytest.approx(np.square(found.left_out - soft).mean())
    assert abs(shifted.head.scores(features).mean() - found.head.scores(features).mean()) > 4
    with pytest.raises(UsageError, match="targets: expected"):
        fit_head(features, labels, targets=soft[1:], **asked)
