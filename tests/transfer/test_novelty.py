"""Novelty: other kinds of examples are flagged, more of the same hardly ever."""

import numpy as np
import numpy.typing as npt
import pytest
from safetensors.numpy import load, save

from regraft.transfer.novelty import FEWEST, Novelty

Array = npt.NDArray[np.float64]
D = 120


def kind(n: int, seed: int, world: int = 0) -> Array:
    """Rows with few main directions, as features have, in classes; of a world of such rows."""
    shape, rng = np.random.default_rng([7, world]), np.random.default_rng([seed, world])
    directions = shape.normal(size=(30, D)) * np.geomspace(1, 0.05, 30)[:, None]
    centres = shape.normal(size=(4, 30)) * 2
    inside = centres[rng.integers(0, 4, n)] + rng.normal(size=(n, 30))
    return inside @ directions + rng.normal(size=(n, D)) * 0.05 * rng.gamma(4, 0.25, (n, 1))


def flagged(detector: Novelty, rows: Array) -> float:
    return float(detector.unlike(rows).mean())


@pytest.mark.parametrize("n", [20, 40, 100, 198, 199, 600, 3000])
def test_more_of_the_same_is_flagged_as_often_as_is_said(n: int) -> None:
    rates, expected = [], set()
    for seed in range(60 if n < 300 else 10):
        detector = Novelty.fit(kind(n, seed), seed)
        rates.append(flagged(detector, kind(400, 10_000 + seed)))
        expected.add(detector.false_alarms)
    (said,) = expected
    assert said <= 0.01 + 1e-12
    assert said >= 0.005
    assert np.mean(rates) < (0.03 if n < 100 else 0.018)
    assert np.mean(rates) > 0.002


@pytest.mark.parametrize("n", [40, 200, 2000])
def test_other_kinds_are_flagged(n: int) -> None:
    learned = kind(n, 0)
    detector = Novelty.fit(learned, 0)
    rng = np.random.default_rng(0)
    others = {
        "another world": kind(200, 1, world=1),
        "noise of the same spread": rng.normal(learned.mean(0), learned.std(0), (200, D)),
        "noise of another spread": rng.normal(0, 5, (200, D)),
        "constant": np.zeros((1, D)) + 3.0,
        "far along the main directions": learned.mean(0) + 8 * (kind(200, 2) - learned.mean(0)),
    }
    for name, rows in others.items():
        assert flagged(detector, rows) > 0.9, name


def test_rows_shuffled_within_a_column_are_flagged() -> None:
    """Each column as usual by itself: only their relation is odd."""
    learned = kind(2000, 0)
    odd = np.random.default_rng(0).permuted(kind(300, 1), axis=0)
    assert flagged(Novelty.fit(learned, 0), odd) > 0.9


@pytest.mark.parametrize("n", [1, 2, 5, FEWEST - 1])
def test_with_few_examples_nothing_is_called_unlike(n: int) -> None:
    detector = Novelty.fit(kind(n, 0))
    assert detector.threshold == np.inf
    assert detector.false_alarms == 0
    assert flagged(detector, kind(50, 1, world=1) * 100) == 0


@pytest.mark.parametrize(
    "rows", [np.ones((50, D)), np.zeros((50, D)), np.tile(kind(1, 0), (50, 1))]
)
def test_examples_that_do_not_differ_flag_nothing(rows: Array) -> None:
    detector = Novelty.fit(rows)
    assert np.isfinite(detector.score(kind(5, 0))).all()
    assert flagged(detector, kind(50, 0)) == 0


def test_repeated_examples_and_few_columns_are_no_exception() -> None:
    for rows in (np.repeat(kind(30, 0), 4, 0), kind(100, 0)[:, :1], kind(100, 0)[:, :3]):
        detector = Novelty.fit(rows)
        assert np.isfinite(detector.score(rows)).all()
        assert flagged(detector, rows) < 0.1
        assert detector.unlike(rows[:1] + 1e6).all()


@pytest.mark.parametrize("width", [D, 3088, 2])
def test_a_score_depends_on_its_row_alone_bit_for_bit(width: int) -> None:
    rows = np.random.default_rng(0).normal(size=(150, width))
    detector = Novelty.fit(rows)
    scores = detector.score(rows)
    for i in (0, 77, 149):
        np.testing.assert_array_equal(detector.score(rows[i : i + 1])[0], scores[i])
    np.testing.assert_array_equal(detector.score(rows[::-1]), scores[::-1])
    np.testing.assert_array_equal(detector.score(np.asfortranarray(rows)), scores)
    np.testing.assert_array_equal(detector.score(rows[40:95]), scores[40:95])
    assert detector.score(rows[:0]).shape == (0,)


def test_tensors_bring_the_detector_back_bit_for_bit() -> None:
    for rows in (kind(300, 0), kind(5, 0)):
        detector = Novelty.fit(rows)
        back = Novelty.from_tensors(load(save(detector.tensors())))
        np.testing.assert_array_equal(back.score(rows), detector.score(rows))
        assert back.threshold == detector.threshold
        assert back.false_alarms == detector.false_alarms


def test_the_detector_is_small() -> None:
    rows = np.random.default_rng(0).normal(size=(600, 3088))
    assert sum(a.nbytes for a in Novelty.fit(rows).tensors().values()) < 2**20


def test_the_seed_decides_the_halves() -> None:
    rows = kind(200, 0)
    a, b, c = Novelty.fit(rows, 1), Novelty.fit(rows, 1), Novelty.fit(rows, 2)
    np.testing.assert_array_equal(a.score(rows), b.score(rows))
    assert a.threshold == b.threshold != c.threshold
