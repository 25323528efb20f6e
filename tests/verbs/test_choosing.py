"""Whether training has paid: the guard that keeps a result from being worse than the probe."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from regraft.evaluation.calibration import fit_temperature, log_losses
from regraft.training.averaging import State
from regraft.training.terms import Trained
from regraft.verbs.choosing import (
    MIXES,
    SHARES,
    largest_share,
    mixed_answer,
    weight_candidates,
)

seeds = st.integers(0, 2**32 - 1)


def logits(rng: np.random.Generator, labels: Any, classes: int, margin: float) -> Any:
    """Scores that are right more often the larger the margin; 0: noise."""
    return rng.normal(size=(len(labels), classes)) + margin * np.eye(classes)[labels]


def wrong(scores: Any, labels: Any) -> int:
    return int((scores.argmax(1) != labels).sum())


@settings(max_examples=50)
@given(
    seeds, st.integers(2, 90), st.integers(2, 5), st.floats(0, 6), st.floats(0, 6), st.floats(-2, 2)
)
def test_no_more_answers_are_wrong_and_the_mix_is_what_it_says(
    seed: int, n: int, classes: int, tuned_margin: float, probe_margin: float, sure: float
) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    tuned = logits(rng, labels, classes, tuned_margin) * 10**sure
    probe = logits(rng, labels, classes, probe_margin)
    mix = mixed_answer(tuned, probe, labels)
    assert wrong(mix.scores, labels) <= wrong(probe, labels)
    calm = probe / fit_temperature(probe, labels)
    assert log_losses(mix.scores, labels).mean() <= log_losses(calm, labels).mean() + 1e-9
    assert mix.share in MIXES
    assert mix.temperature == fit_temperature(tuned, labels)
    assert np.allclose(mix.scores, mix.share * tuned / mix.temperature + (1 - mix.share) * calm)
    start = "better than the probe: " if mix.share else "not clearly better than the probe: "
    assert mix.why.startswith(start)
    assert f"of {n} held-back examples" in mix.why


@settings(max_examples=40)
@given(seeds, st.integers(40, 200), st.floats(-1.5, 1.5), st.floats(-2, 2))
def test_what_knows_no_more_than_the_probe_is_not_kept(
    seed: int, n: int, sure: float, scale: float
) -> None:
    """However sure either is of itself: a better confidence alone is no gain of training."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, n)
    probe = logits(rng, labels, 3, 1.5) * 10**sure
    for tuned in (probe * 10**scale, np.zeros_like(probe)):
        assert mixed_answer(tuned, probe, labels).share == 0


def test_of_few_examples_the_probe_stays_in_the_answer() -> None:
    """A tuned network that is far better, but learned without a fifth of the examples."""
    assert (largest_share(300, 3000), largest_share(40, 200)) == (1.0, 0.5)
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 60)
    good, poor = logits(rng, labels, 3, 6.0), logits(rng, labels, 3, 1.0)
    assert mixed_answer(good, poor, labels).share == 1
    found = mixed_answer(good, poor, labels, most=largest_share(40, 200))
    assert found.share == 0.5
    assert found.why.startswith("better than the probe: ")
    np.testing.assert_allclose(
        found.scores, (good / found.temperature + poor / fit_temperature(poor, labels)) / 2
    )


def test_noise_is_hardly_ever_kept() -> None:
    kept = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        labels = rng.integers(0, 3, 60)
        probe = logits(rng, labels, 3, 3.0)
        probe /= fit_temperature(probe, labels)
        kept += mixed_answer(logits(rng, labels, 3, 0.0), probe, labels).share > 0
    assert kept <= 3


@settings(max_examples=40)
@given(seeds, st.integers(30, 200), st.floats(-2, 2))
def test_what_is_much_better_stands_alone(seed: int, n: int, sure: float) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, n)
    tuned, probe = logits(rng, labels, 3, 9.0), logits(rng, labels, 3, 0.0)
    probe /= fit_temperature(probe, labels)
    mix = mixed_answer(tuned * 10**sure, probe, labels)
    assert mix.share == 1
    assert np.array_equal(mix.scores.argmax(1), tuned.argmax(1))


@settings(max_examples=40)
@given(seeds)
def test_two_that_know_different_things_are_mixed(seed: int) -> None:
    """Each tells half of the examples, and says nothing on the others."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, 120)
    first = np.arange(120)[:, None] < 60
    clear, noise = logits(rng, labels, 3, 6.0), rng.normal(scale=0.1, size=(120, 3))
    tuned, probe = np.where(first, clear, noise), np.where(first, noise, clear)
    probe /= fit_temperature(probe, labels)
    mix = mixed_answer(tuned, probe, labels)
    assert 0 < mix.share < 1
    alone = log_losses(tuned / mix.temperature, labels).mean()
    assert log_losses(mix.scores, labels).mean() < min(alone, log_losses(probe, labels).mean())


@pytest.mark.parametrize("n", [1, 2])
def test_a_gain_on_hardly_any_example_is_no_gain(n: int) -> None:
    labels = np.zeros(n, np.int64)
    probe, tuned = np.tile([0.0, 1.0], (n, 1)), np.tile([5.0, 0.0], (n, 1))
    assert mixed_answer(tuned, probe, labels).share in (0, 1)
    assert mixed_answer(probe, tuned, labels).share == 0


# --- which weights -------------------------------------------------------------------------------


def state(value: float) -> State:
    return {"weight": torch.full((2, 3), value), "bias": torch.full((2,), 10 * value)}


def candidates(average: State | None, best: State | None) -> dict[str, State]:
    """Of a run from 0 to 8; in the order in which they are tried."""
    trained = Trained(state(8.0), average, best, curve=[], steps=1, seconds=0.0)
    return dict(weight_candidates(trained, state(0.0)))


def test_averaged_weights_come_first_then_the_best_and_ways_from_the_probe() -> None:
    average, best = state(4.0), state(2.0)
    found = candidates(average, best)
    part = ", {}% of the way from the probe"
    assert list(found) == [
        "averaged",
        "averaged" + part.format(75),
        "averaged" + part.format(50),
        "best averaged",
        "best averaged" + part.format(75),
        "best averaged" + part.format(50),
    ]
    assert found["averaged"] is average  # the end of the way is the very state
    assert found["best averaged"] is best


@pytest.mark.parametrize("same", [True, False])
def test_without_an_average_the_last_weights_stand_in_for_it(same: bool) -> None:
    found = candidates(None, None if same else state(6.0))
    assert "last" in found
    assert not any(name.startswith("averaged") for name in found)
    assert len(found) == len(SHARES) * (1 if same else 2)


def test_the_best_is_not_tried_twice() -> None:
    average = state(4.0)
    assert len(candidates(average, average)) == len(SHARES)


def test_weights_lie_on_the_straight_line_from_the_probe() -> None:
    """WiSE-FT: share · end + (1 − share) · start, of every tensor alike."""
    ways = list(candidates(state(4.0), None).values())
    for share, found in zip(SHARES, ways, strict=True):
        for name, tensor in state(4.0 * share).items():
            torch.testing.assert_close(found[name], tensor)
    sizes = [float(found["weight"].abs().sum()) for found in ways]
    assert all(one > other for one, other in pairwise(sizes))
