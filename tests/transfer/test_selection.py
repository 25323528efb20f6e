"""Which members make an ensemble: shares, soups, and how a choice is judged."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regraft.evaluation.calibration import softmax
from regraft.transfer.selection import (
    cross_validated,
    folds_of,
    greedy_shares,
    greedy_soup,
    loss_of,
    pooled,
)

seeds = st.integers(0, 2**32 - 1)
SHARES = (0.5, 0.25, 0.25)


def members(seed: int, n: int = 60, margins: tuple[float, ...] = (2.0, 2.0, 0.0)) -> tuple:
    """Calibrated logits of members that are right more often the larger their margin."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, n)
    sure = np.eye(3)[labels]
    return np.stack([rng.normal(size=(n, 3)) + m * sure for m in margins]), labels


@settings(max_examples=25)
@given(seeds, st.integers(1, 4))
def test_greedy_is_no_worse_than_any_member_and_the_best_of_few_rounds(
    seed: int, rounds: int
) -> None:
    logits, labels = members(seed)
    shares = greedy_shares(logits, labels, rounds)
    assert sum(shares) == pytest.approx(1)
    found = loss_of(pooled(logits, shares), labels)
    assert found <= min(loss_of(one, labels) for one in logits) + 1e-9
    if rounds < 3:  # by trying every multiset, round by round, as the paper has it
        first = min(range(3), key=lambda k: loss_of(logits[k], labels))
        pairs = [(first, k) for k in range(3)]
        tries = [loss_of(logits[list(some)].mean(0), labels) for some in pairs[: 3 * (rounds - 1)]]
        assert found == pytest.approx(min([loss_of(logits[first], labels), *tries]))


def test_members_that_know_different_things_share_and_noise_gets_nothing() -> None:
    logits, labels = members(0, 300, (3.0, 3.0, 0.0))
    shares = greedy_shares(logits, labels)
    assert shares[2] < 0.1
    assert min(shares[:2]) > 0.3


def test_a_pool_is_the_geometric_mean_of_the_probabilities() -> None:
    logits, _ = members(1)
    mean = np.prod([softmax(one) ** share for one, share in zip(logits, SHARES, strict=True)], 0)
    expected = mean / mean.sum(1, keepdims=True)
    assert np.allclose(softmax(pooled(logits, SHARES)), expected)


def test_a_greedy_soup_takes_what_does_not_harm_in_the_order_given() -> None:
    losses = {(1,): 1.0, (0, 1): 1.2, (1, 2): 0.9, (1, 2, 3): 0.9}
    assert greedy_soup(losses.__getitem__, [1, 0, 2, 3]) == (1, 2, 3)
    every = {tuple(k for k in range(3) if on[k]): 1.0 for on in product([0, 1], repeat=3)}
    assert greedy_soup(every.__getitem__, [2, 0, 1]) == (0, 1, 2)


def test_a_choice_is_judged_where_it_was_not_made() -> None:
    """Whoever chooses the best of many noise members looks no better than chance on others."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 200)
    logits = rng.normal(size=(200, 200, 2))
    folds = folds_of(labels, np.arange(200), 0)

    def best(place: np.ndarray) -> int:
        right = (logits[:, place].argmax(2) == labels[place]).mean(1)
        return int(right.argmax())

    honest = cross_validated(best, lambda k: logits[k], labels, folds)
    chosen = logits[best(np.arange(200))]
    assert (chosen.argmax(1) == labels).mean() > 0.58
    assert (honest.argmax(1) == labels).mean() < 0.58


def test_folds_keep_groups_together() -> None:
    labels, groups = np.arange(40) % 2, np.arange(40) // 4
    folds = folds_of(labels, groups, 0)
    assert sorted(np.concatenate(folds).tolist()) == list(range(40))
    assert sum(len(np.unique(groups[fold])) for fold in folds) == 10
