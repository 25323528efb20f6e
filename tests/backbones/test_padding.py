"""Batches of unequal length: what is cut is whole, and no cut is cheaper."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from regraft.backbones.padding import PADDING, by_length, evenly, padded, stacked

lengths_of = st.lists(st.integers(1, 12), min_size=1, max_size=9)
begins = st.sampled_from([0.0, 1.0, 5.0, 40.0, 1e9])


def lines(lengths: list[int]) -> list[np.ndarray]:
    return [np.arange(n, dtype=np.int64) + 10 * i for i, n in enumerate(lengths)]


@given(lengths_of)
def test_padding_goes_on_behind_the_ends(lengths: list[int]) -> None:
    batch = padded(lines(lengths))
    assert batch.shape == (len(lengths), max(lengths))
    for row, line in zip(batch, lines(lengths), strict=True):
        np.testing.assert_array_equal(row[: len(line)], line)
        assert (row[len(line) :] == PADDING).all()


@pytest.mark.parametrize("wrap", [np.asarray, torch.from_numpy])
@given(lengths_of, st.integers(1, 9), begins)
def test_every_row_is_in_one_piece_and_keeps_its_numbers(
    wrap: object, lengths: list[int], most: int, begin: float
) -> None:
    batch = wrap(padded(lines(lengths)))  # type: ignore[operator]
    pieces = by_length(batch, most, begin)
    places = [i for some, _ in pieces for i in some]  # type: ignore[union-attr]
    assert sorted(places) == list(range(len(lengths)))
    for some, piece in pieces:
        assert len(piece) <= most
        assert piece.shape[1] == max(lengths[i] for i in some)  # type: ignore[union-attr]
        assert (piece == batch[some][:, : piece.shape[1]]).all()


def divisions(n: int) -> Iterator[list[int]]:
    """Every way to divide n rows that lie in order, by the numbers of each piece."""
    if not n:
        yield []
    for first in range(1, n + 1):
        for rest in divisions(n - first):
            yield [first, *rest]


@given(lengths_of, st.integers(1, 9), st.sampled_from([0.0, 1.0, 5.0, 40.0]))
def test_no_division_costs_less(lengths: list[int], most: int, begin: float) -> None:
    pieces = by_length(padded(lines(lengths)), most, begin)
    rows, best = sorted(lengths), float("inf")
    for sizes in divisions(len(rows)):
        ends = np.cumsum(sizes)
        if max(sizes) <= most:
            best = min(best, sum(n * rows[e - 1] + begin for n, e in zip(sizes, ends, strict=True)))
    assert sum(piece.size + begin for _, piece in pieces) == best


def test_where_beginning_is_dear_there_are_as_few_pieces_as_can_be() -> None:
    assert len(by_length(padded(lines([1, 12] * 8)), 8, 1e9)) == 2


@given(st.integers(1, 20), st.integers(1, 25))
def test_even_pieces_are_views_in_order(n: int, most: int) -> None:
    batch = stacked([np.full((2, 2), i) for i in range(n)])
    pieces = evenly(batch, most)
    assert len(pieces) == -(-n // most)
    np.testing.assert_array_equal(np.concatenate([piece for _, piece in pieces]), batch)
    assert all(np.shares_memory(piece, batch[at]) for at, piece in pieces)
