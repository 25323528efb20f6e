"""Block weights: the gradient, planted blocks, and when they are left equal."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regraft.transfer import block_weights
from regraft.transfer.block_weights import (
    FALLS_ALONE,
    FREE_FROM,
    SUBSAMPLE,
    Sample,
    Weighing,
    by_depth,
    choose_weights,
    subsample,
    weigh,
)
from regraft.transfer.ridge import LAMBDAS, Guess, Inverse, best_dual, members
from regraft.transfer.scaling import BlockScaling, mean_and_variance

Array = npt.NDArray[np.float64]
WIDTHS = (12, 30, 8, 20)


def planted(
    n: int, informative: tuple[int, ...], seed: int = 0, classes: int = 3, noise: float = 0.5
) -> Sample:
    """Blocks of which only some know the classes."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    centres = [rng.normal(size=(classes, w)) for w in WIDTHS]
    blocks = [
        (centre[labels] if b in informative else 0) * 0.7 + rng.normal(size=(n, w)) * (1 + noise)
        for b, (w, centre) in enumerate(zip(WIDTHS, centres, strict=True))
    ]
    return Sample(np.hstack(blocks), labels, np.eye(classes)[labels], np.arange(n))


def plain(sample: Sample) -> BlockScaling:
    return BlockScaling.of(*mean_and_variance(sample.features), WIDTHS)


# The search --------------------------------------------------------------------------------------


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("classes", [1, 2, 5])
def test_the_gradient_is_that_of_the_objective(grouped: bool, classes: int) -> None:
    rng = np.random.default_rng(0)
    blocks = [rng.normal(size=(30, w)) / np.sqrt(w) for w in WIDTHS]
    kernels = np.stack([b @ b.T for b in blocks])
    targets = np.eye(classes)[np.arange(30) % classes]
    groups = members(np.arange(30) // 3 * (np.arange(30) > 9)) if grouped else []
    at = np.append(rng.normal(size=len(WIDTHS)), np.log(0.3))

    def objective(x: Array) -> tuple[float, Array]:
        return block_weights._objective(x, kernels, targets, 0.1, groups)

    slopes = [
        (objective(at + step)[0] - objective(at - step)[0]) / 2e-6
        for step in np.eye(len(at)) * 1e-6
    ]
    np.testing.assert_allclose(objective(at)[1], slopes, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("grouped", [False, True])
def test_the_error_of_chosen_weights_is_that_of_the_head_they_make(grouped: bool) -> None:
    sample = planted(60, (1,))
    groups = members(np.arange(60) // 2) if grouped else []
    rows = plain(sample)(sample.features)
    blocks = [rows[:, b] for b in plain(sample).blocks()]
    found = choose_weights(blocks, sample.targets, Guess(), groups)
    weighted = plain(sample).weighted(found.weights)(sample.features)
    solution, _ = Inverse(weighted, sample.targets, groups).solve(found.best.lam)
    assert found.error == pytest.approx(solution.error, rel=2e-3)  # weights are rounded
    assert found.weights.mean() == pytest.approx(1, abs=1e-3)
    assert found.rows == 60


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("informative", [0, 1, 2, 3])
def test_a_planted_block_is_found(informative: int, seed: int) -> None:
    sample = planted(200, (informative,), seed)
    start = sample.tried(plain(sample), np.ones(4), Guess())
    found = sample.chosen(plain(sample), start.best)
    assert found.weights.argmax() == informative
    assert found.weights[informative] > 2 * np.delete(found.weights, informative).max()
    assert found.error < start.error


def test_more_examples_loosen_the_hold_on_equal_weights() -> None:
    spread = [
        np.log(planted(n, (1,)).chosen(plain(planted(n, (1,))), Guess()).weights).std()
        for n in (15, 400)
    ]
    assert spread[0] < spread[1]


# Whether they are kept ---------------------------------------------------------------------------


def on_fresh(sample: Sample, weights: Array, n: int) -> float:
    """Squared error of the head that the first n rows make, on the others."""
    scaling = plain(part(sample, slice(n))).weighted(weights)
    rows, targets = scaling(sample.features), sample.targets
    best, _ = best_dual(rows[:n], targets[:n], LAMBDAS, Guess())
    scores = rows[n:] @ rows[:n].T @ best.dual + best.dual.sum(0)
    return float(np.mean((scores - targets[n:]) ** 2))


def part(sample: Sample, rows: slice) -> Sample:
    return Sample(
        sample.features[rows], sample.labels[rows], sample.targets[rows], sample.groups[rows]
    )


@pytest.mark.parametrize("seed", range(4))
def test_weights_that_win_are_kept_and_make_the_better_head(seed: int) -> None:
    sample = planted(500, (1,), seed)
    learned = part(sample, slice(100))
    found = weigh(plain(learned), learned, seed)
    assert found.weights.argmax() == 1
    assert on_fresh(sample, found.weights, 100) < 0.9 * on_fresh(sample, np.ones(4), 100)


@pytest.mark.parametrize("n", [300, 900])
@pytest.mark.parametrize("seed", [0, 1])
def test_equal_weights_stay_when_they_do_as_well(n: int, seed: int) -> None:
    sample = planted(n, (0, 1, 2, 3), seed)
    assert (weigh(plain(sample), sample, seed).weights == 1).all()


def test_with_few_rows_weights_do_no_harm_on_average() -> None:
    ratios = []
    for seed in range(10):
        sample = planted(240, (0, 1, 2, 3), seed)
        learned = part(sample, slice(40))
        weights = weigh(plain(learned), learned, seed).weights
        ratios.append(on_fresh(sample, weights, 40) / on_fresh(sample, np.ones(4), 40))
    assert np.mean(ratios) < 1.06  # in blocks that all tell as much; those of networks do not


def test_with_few_rows_weights_fall_with_depth_where_the_last_blocks_tell_most() -> None:
    ratios, falling = [], 0
    for seed in range(10):
        sample = planted(240, (2, 3), seed)
        learned = part(sample, slice(60))
        weights = weigh(plain(learned), learned, seed).weights
        falling += weights[-1] > weights[0]
        ratios.append(on_fresh(sample, weights, 60) / on_fresh(sample, np.ones(4), 60))
    assert falling >= 7
    assert np.mean(ratios) < 0.97


def test_a_fall_that_may_be_chance_is_not_taken() -> None:
    """Where all blocks tell as much, few rows make weights that fall look better by chance."""
    taken = 0
    for seed in range(40):
        sample = planted(24, (0, 1, 2, 3), seed)
        taken += by_depth(plain(sample), sample).weights[0] != 1
    assert taken <= 2


def test_free_weights_are_looked_for_only_where_rows_are_enough(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[int] = []

    def noted(self: Sample, plain: BlockScaling, guess: Guess) -> Weighing:
        asked.append(len(self.labels))
        return Weighing(np.ones(4), 1.0, guess, len(self.labels))

    monkeypatch.setattr(Sample, "chosen", noted)
    for rows in (FREE_FROM * 4 - 1, FREE_FROM * 4):
        weigh(plain(planted(rows, (1,))), planted(rows, (1,)), seed=0)
    assert asked == [FREE_FROM * 4]


def test_of_one_example_a_class_the_fall_is_the_usual_one() -> None:
    sample = planted(240, (2, 3), 0)
    _, first = np.unique(sample.labels, return_index=True)
    alone = Sample(*(a[first] for a in (sample.features, sample.labels, sample.targets)), first)
    found = by_depth(plain(alone), alone).weights
    np.testing.assert_allclose(found[1:] / found[:-1], 1 / FALLS_ALONE[0])


def test_weights_that_win_only_where_they_were_found_are_dropped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sample = planted(900, (0, 1, 2, 3))

    def lucky(self: Sample, plain: BlockScaling, guess: Guess) -> Weighing:
        return Weighing(np.array([4.0, 0, 0, 0]), 1e-9, guess, len(self.labels))

    monkeypatch.setattr(Sample, "chosen", lucky)
    found = weigh(plain(sample), sample, seed=0)
    assert (found.weights == 1).all()
    assert found.rows > SUBSAMPLE  # they were tried on more


def test_one_block_or_no_freedom_means_equal_weights() -> None:
    sample = planted(100, (1,))
    one = BlockScaling.of(*mean_and_variance(sample.features), (sum(WIDTHS),))
    assert weigh(one, sample, 0).weights.tolist() == [1.0]
    assert weigh(plain(sample), sample, 0, free=False).weights.tolist() == [1.0] * 4


def test_rows_that_belong_together_do_not_vouch_for_each_other() -> None:
    rng = np.random.default_rng(0)
    base = planted(60, (1,))
    patient = np.repeat(np.arange(60), 3)
    features = base.features[patient] + rng.normal(0, 0.3, (180, sum(WIDTHS)))
    features[:, 12:42] += rng.normal(0, 1, (180, 30))  # the block that knows varies within one
    together = Sample(features, base.labels[patient], base.targets[patient], patient)
    alone = Sample(features, base.labels[patient], base.targets[patient], np.arange(180))
    found, fooled = (s.chosen(plain(together), Guess()) for s in (together, alone))
    assert found.weights.argmax() == 1
    assert fooled.weights[1] < found.weights[1]
    assert fooled.error < found.error


@pytest.mark.parametrize("n", [1, 2, 3])
def test_hardly_any_rows(n: int) -> None:
    found = weigh(plain(planted(n, (1,))), planted(n, (1,)), seed=0)
    assert np.isfinite([*found.weights, *found.best, found.error]).all()


def test_for_more_rows_a_smaller_λ_is_guessed() -> None:
    found = Weighing(np.ones(2), 0.01, Guess(0.1, 0.07), 600)
    assert found.guess(600) == Guess(0.1, 0.07)
    assert found.guess(3000).lam < found.guess(1500).lam < 0.1


# Which rows are looked at ------------------------------------------------------------------------


@settings(max_examples=60)
@given(
    sizes=st.lists(st.integers(1, 80), min_size=1, max_size=12),
    most=st.integers(12, 100),
    seed=st.integers(0, 1000),
)
def test_a_subsample_keeps_the_classes_in_proportion(
    sizes: list[int], most: int, seed: int
) -> None:
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))
    found = subsample(labels, most, seed)
    assert len(found) == min(most, len(labels))
    assert (np.diff(found) > 0).all()  # in order, none twice
    counts = np.bincount(labels[found], minlength=len(sizes))
    assert (counts >= 1).all()
    exact = np.array(sizes) * len(found) / len(labels)
    assert (np.abs(counts - exact) <= 1 + len(sizes) * exact / len(found)).all()
    np.testing.assert_array_equal(found, subsample(labels, most, seed))


def test_another_seed_takes_other_rows_and_a_gap_in_the_classes_is_no_problem() -> None:
    labels = np.repeat([0, 7], 500)
    a, b = subsample(labels, 100, 0), subsample(labels, 100, 1)
    assert set(a) != set(b)
    assert np.bincount(labels[a])[[0, 7]].tolist() == [50, 50]


@pytest.mark.parametrize("kind", [np.int32, np.uint8])
def test_labels_of_any_kind_of_integer(kind: type[np.integer]) -> None:
    labels = np.tile([0, 1, 1, 0], 50)
    found = subsample(labels.astype(kind), 10, 0)
    np.testing.assert_array_equal(found, subsample(labels, 10, 0))
