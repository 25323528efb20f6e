"""Block normalisation."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from regraft.transfer.scaling import BlockScaling, mean_and_variance


def features(rng: np.random.Generator, n: int = 40) -> tuple[np.ndarray, tuple[int, ...]]:
    widths = (3, 7, 1)
    return rng.normal(5, [*[1e-3] * 3, *[10.0] * 7, 2.0], (n, 11)), widths


def scaling(x: np.ndarray, widths: tuple[int, ...]) -> BlockScaling:
    return BlockScaling.of(*mean_and_variance(x), widths)


def test_it_is_the_stated_formula() -> None:
    x, widths = features(np.random.default_rng(0))
    out = scaling(x, widths)(x)
    for block in scaling(x, widths).blocks():
        raw = x[:, block]
        spread = np.sqrt(raw.var(0) + raw.var(0).mean())
        expected = (raw - raw.mean(0)) / spread / np.sqrt(raw.shape[1])
        np.testing.assert_allclose(out[:, block], expected, rtol=1e-12, atol=1e-12)


def test_blocks_of_very_different_size_and_scale_weigh_about_the_same() -> None:
    rng = np.random.default_rng(1)
    x = np.hstack([rng.normal(0, 1e-4, (500, 16)), rng.normal(0, 1e3, (500, 1280))])
    out = scaling(x, (16, 1280))(x)
    small, large = (np.sum(out[:, block] ** 2) / 500 for block in scaling(x, (16, 1280)).blocks())
    assert small == pytest.approx(large, rel=0.05)
    assert small == pytest.approx(0.5, rel=0.05)


def test_a_column_that_hardly_varies_is_not_blown_up() -> None:
    x = np.random.default_rng(2).normal(0, 1, (10, 6))
    x[:, 0] = np.where(np.arange(10) == 3, 1e-3, 0.0)
    out = scaling(x, (6,))(x)
    assert np.abs(out[:, 0]).max() < 1e-3


@pytest.mark.parametrize("value", [0.0, 0.1, -3e7])
def test_a_block_that_does_not_vary_tells_nothing(value: float) -> None:
    x = np.random.default_rng(3).normal(size=(23, 5)).astype(np.float32)
    x[:, :2] = value
    s = scaling(x, (2, 3))
    assert (s.factor[:2] == 0).all()
    assert (s.factor[2:] > 0).all()
    assert np.isfinite(s(x + 7)).all()


def test_a_weight_multiplies_the_kernel_of_its_block() -> None:
    x, widths = features(np.random.default_rng(4))
    plain = scaling(x, widths)
    weights = np.array([2.0, 0.0, 0.5])
    z = plain(x)
    expected = sum(w * z[:, b] @ z[:, b].T for w, b in zip(weights, plain.blocks(), strict=True))
    weighted = plain.weighted(weights)(x)
    np.testing.assert_allclose(weighted @ weighted.T, expected, atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.uint8])
def test_every_number_type_is_computed_in_float64(dtype: type) -> None:
    x: npt.NDArray[np.float64] = np.random.default_rng(5).integers(0, 200, (31, 11)).astype(dtype)
    s, wide = scaling(x, (3, 7, 1)), scaling(x.astype(np.float64), (3, 7, 1))
    assert s(x).dtype == np.float64
    np.testing.assert_array_equal(s(x), wide(x.astype(np.float64)))


@given(
    n=st.integers(1, 3000),
    mean=st.sampled_from([0.0, 1.0, 1e4, -1e6]),
    seed=st.integers(0, 1000),
)
def test_mean_and_variance_match_numpy_for_any_number_of_rows(
    n: int, mean: float, seed: int
) -> None:
    x = np.random.default_rng(seed).normal(mean, 1, (n, 3))
    found = mean_and_variance(x)
    np.testing.assert_allclose(found[0], x.mean(0), rtol=1e-12)
    np.testing.assert_allclose(found[1], x.var(0), rtol=1e-9, atol=1e-12)
    assert mean_and_variance(x.astype(np.float32))[0].dtype == np.float64
