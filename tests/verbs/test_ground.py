"""Which examples are held back to judge training by: none of a group that is learned from."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regraft.verbs.ground import divided
from regraft.verbs.rungs import Learning

seeds = st.integers(0, 2**32 - 1)


def learning(labels: Any, groups: Any = None) -> Learning:
    labels = np.asarray(labels, np.int64)
    groups = np.arange(len(labels)) if groups is None else np.asarray(groups, np.int64)
    return Learning(np.arange(len(labels)) + 100, labels, groups, int(labels.max()) + 1)


def of_sizes(*sizes: int) -> Learning:
    """So many of each class, every one alone in its group."""
    return learning(np.repeat(np.arange(len(sizes)), sizes))


@st.composite
def lessons(draw: st.DrawFn) -> Learning:
    """Any labels, in groups that may hold several classes."""
    n = draw(st.integers(2, 60))
    rng = np.random.default_rng(draw(seeds))
    labels = rng.integers(0, draw(st.integers(1, 6)), n)
    return learning(labels, rng.integers(0, draw(st.integers(1, n)), n))


@settings(max_examples=60)
@given(lessons(), st.integers(0, 3))
def test_everything_is_in_one_part_and_groups_stay_together(some: Learning, seed: int) -> None:
    train, held = divided(some, seed)
    assert sorted([*train, *held]) == list(range(len(some.labels)))
    assert not set(some.groups[train]) & set(some.groups[held])
    assert set(some.labels[train]) == set(some.labels)
    for part, other in zip((train, held), divided(some, seed), strict=True):
        assert np.array_equal(part, other)


@settings(max_examples=40)
@given(st.lists(st.integers(4, 40), min_size=2, max_size=4), st.integers(0, 3))
def test_each_class_has_its_share_among_those_held_back(sizes: list[int], seed: int) -> None:
    some = of_sizes(*sizes)
    _, held = divided(some, seed)
    share = 1 / (5 if sum(sizes) >= 200 else 4)
    for number, size in enumerate(sizes):
        found = int((some.labels[held] == number).sum())
        assert abs(found - share * size) < 2
        assert found < size


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [((500, 500), 100), ((400, 599), 200), ((100, 100), 40), ((100, 99), 50), ((8, 8), 4)],
)
def test_the_fewer_there_are_the_larger_a_share_is_held_back(
    sizes: tuple[int, ...], expected: int
) -> None:
    _, held = divided(of_sizes(*sizes), 0)
    assert len(held) == pytest.approx(expected, abs=2)


def test_another_seed_holds_back_others() -> None:
    some = of_sizes(20, 20)
    found = {tuple(divided(some, seed)[1]) for seed in range(6)}
    assert len(found) > 3


def test_a_single_group_is_all_for_learning() -> None:
    train, held = divided(learning([0, 1, 0, 1], [7, 7, 7, 7]), 0)
    assert train.tolist() == [0, 1, 2, 3]
    assert held.size == 0


def test_a_class_of_one_is_learned_from() -> None:
    some = of_sizes(1, 40)
    for seed in range(8):
        train, held = divided(some, seed)
        assert 0 in train
        assert len(held) >= 8


def test_a_group_with_a_class_that_is_nowhere_else_goes_back_whole() -> None:
    """Its other classes must not judge: they come from what is learned from."""
    labels = [0, 2, *([0, 1] * 10)]
    groups = [0, 0, *range(1, 21)]
    for seed in range(12):
        train, held = divided(learning(labels, groups), seed)
        assert {0, 1} <= set(train.tolist())
        assert not {0, 1} & set(held.tolist())
