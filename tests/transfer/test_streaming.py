"""Rows in chunks: the random pool, and bounded memory."""

import tracemalloc
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from regraft.transfer import streaming
from regraft.transfer.probe import fit_head_streamed
from regraft.transfer.streaming import Pool


def pooled(n: int, cuts: list[int], seed: int = 0) -> npt.NDArray[np.int64]:
    pool = Pool(seed)
    for part in np.split(np.arange(n), sorted(cuts)):
        pool.add(part, part * 2)
    first, second = pool.rows()
    np.testing.assert_array_equal(first * 2, second)
    return first


@given(
    n=st.integers(1, 400),
    cuts=st.lists(st.integers(0, 400), max_size=10),
    seed=st.integers(0, 100),
)
def test_the_pool_is_the_same_for_any_chunks(n: int, cuts: list[int], seed: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streaming, "POOL", 25)
        found = pooled(n, cuts, seed)
        np.testing.assert_array_equal(found, pooled(n, [], seed))
    assert len(found) == min(n, 25)
    assert (np.diff(found) > 0).all()


def test_every_row_has_the_same_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "POOL", 20)
    counts = np.zeros(100)
    for seed in range(400):
        counts[pooled(100, [10, 45, 90], seed)] += 1
    assert counts.sum() == 400 * 20
    assert np.abs(counts - 80).max() < 4.5 * 8  # standard deviation sqrt(400 · 0.2 · 0.8)


def peak(rows: int, width: int = 150, size: int = 500) -> int:
    """Bytes at most while a head is fitted to rows that are made when they are asked for."""

    def chunks() -> Iterator[tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]]:
        for start in range(0, rows, size):
            rng = np.random.default_rng(start)
            labels = rng.integers(0, 3, size)
            features = rng.standard_normal((size, width), dtype=np.float32)
            features[:, :3] += np.eye(3, dtype=np.float32)[labels]
            yield features, labels

    tracemalloc.start()
    try:
        fit = fit_head_streamed(
            chunks, classes=3, widths=(50, 100), lambdas=np.array([0.1, 1.0]), weigh=False
        )
        assert fit.left_out.shape == (rows, 3)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_grows_by_the_scores_and_leverages_alone() -> None:
    small, large = peak(10_000), peak(40_000)
    kept = 30_000 * 8 * (3 + 2 + 4)  # scores, leverages, and room for groups and masks
    assert large - small < kept < 30_000 * 150 * 4 / 8
