"""Several heads as one, and the same head with its classes in another order."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from regraft.transfer.probe import Head, fit_head, fit_wide_head
from regraft.transfer.scaling import BlockScaling
from regraft.transfer.stacking import reordered, stacked

seeds = st.integers(0, 2**32 - 1)


def head(rng: np.random.Generator, widths: tuple[int, ...], classes: int) -> Head:
    total = sum(widths)
    scaling = BlockScaling(rng.normal(size=total), rng.uniform(0.1, 3, total), widths)
    coefficients = rng.normal(size=(total + 1, classes))
    return Head(scaling, coefficients, tuple(rng.uniform(0, 2, len(widths))), float(rng.uniform()))


all_widths = st.lists(st.lists(st.integers(1, 5), min_size=1, max_size=3), min_size=1, max_size=3)


@settings(max_examples=30)
@given(seeds, all_widths, st.integers(2, 4))
def test_a_stacked_head_says_the_weighted_sum(
    seed: int, widths: list[list[int]], classes: int
) -> None:
    rng = np.random.default_rng(seed)
    heads = [head(rng, tuple(some), classes) for some in widths]
    factors = rng.uniform(0, 4, len(heads)).tolist()
    features = [rng.normal(size=(7, sum(some))) for some in widths]
    expected = sum(
        factor * one.scores(seen)
        for factor, one, seen in zip(factors, heads, features, strict=True)
    )
    made = stacked(heads, factors)
    assert np.allclose(made.scores(np.hstack(features)), expected)
    assert made.scaling.widths == tuple(width for some in widths for width in some)
    assert made.weights == tuple(weight for one in heads for weight in one.weights)


@settings(max_examples=30)
@given(seeds, st.lists(st.integers(1, 4), min_size=2, max_size=4), st.integers(2, 3))
def test_heads_that_share_blocks_say_the_same_sum(
    seed: int, widths: list[int], classes: int
) -> None:
    """Each reads some of the joint blocks, in its own order; one may be blank to one head."""
    rng = np.random.default_rng(seed)
    begins = np.cumsum([0, *widths])
    joint = rng.normal(size=(6, begins[-1]))
    blocks = [list(range(len(widths)))]
    blocks += [list(rng.permutation(len(widths))[: rng.integers(1, 4)]) for _ in range(2)]
    heads = [head(rng, tuple(widths[b] for b in own), classes) for own in blocks]
    heads[0].scaling.factor[: widths[0]] = 0.0
    factors = [1.0, 0.5, 2.0]
    expected = 0.0
    for factor, one, own in zip(factors, heads, blocks, strict=True):
        seen = np.hstack([joint[:, begins[b] : begins[b + 1]] for b in own])
        expected = expected + factor * one.scores(seen)
    made = stacked(heads, factors, blocks)
    assert np.allclose(made.scores(joint), expected)
    assert made.scaling.widths == tuple(widths)
    assert len(made.weights) == len(widths)


def test_similarities_to_landmarks_move_with_their_block() -> None:
    rng = np.random.default_rng(0)
    widths, labels = (3, 4), np.arange(30) % 3
    joint = rng.normal(size=(30, 7)) + labels[:, None]
    wide = fit_wide_head(joint, labels, classes=3, widths=widths, lasts=[1]).head
    plain = fit_head(joint[:, :3], labels, classes=3, widths=(3,)).head
    made = stacked([plain, wide, head(rng, (2,), 3)], [0.25, 0.75, 0.0], [[1], [1, 2], [0]])
    found = made.scores(np.hstack([rng.normal(size=(30, 2)), joint]))
    assert len(made.weights) == 3
    expected = 0.25 * plain.scores(joint[:, :3]) + 0.75 * wide.scores(joint)
    assert np.allclose(found, expected)
    assert len(made.kernels) == 1


def test_classes_in_another_order() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(30) % 3
    joint = rng.normal(size=(30, 4)) + labels[:, None]
    one = fit_wide_head(joint, labels, classes=3, widths=(4,), lasts=[0]).head
    order = [2, 0, 1]
    assert np.array_equal(reordered(one, order).scores(joint), one.scores(joint)[:, order])
