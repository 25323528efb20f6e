"""Label noise from leave-one-out margins."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from regraft.transfer.noise import CLEARLY, label_noise, suspects
from regraft.transfer.probe import fit_head

Array = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


def noisy(
    n: int, share: float, apart: float, seed: int = 0, classes: int = 5
) -> tuple[Array, Integers, npt.NDArray[np.bool_]]:
    """Left-out scores, labels of which a share is wrong, and which."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, n)
    features = rng.normal(size=(n, 60)) + apart * rng.normal(size=(classes, 60))[truth]
    wrong = np.zeros(n, bool)
    wrong[rng.permutation(n)[: round(share * n)]] = True
    labels = np.where(wrong, truth + rng.integers(1, classes, n), truth) % classes
    fit = fit_head(features, labels, classes=classes, widths=(20, 40), seed=seed)
    return fit.left_out, labels, wrong


@pytest.mark.parametrize(("scores", "label", "expected"), [
    ([1.0, 0.0, 0.0], 0, 0.0),
    ([0.0, 1.0, 0.0], 0, 1.0),
    ([0.4, 0.4, 0.2], 0, 0.5),
    ([0.2, 0.5, 0.1], 0, 0.65),
    ([0.2, 0.5, 0.1], 1, 0.35),
    ([-0.4, 1.3, 0.1], 0, 1.0),
    ([0.3], 0, 0.0),  # no other class
])  # fmt: skip
def test_suspicion_is_the_margin_mapped(scores: list[float], label: int, expected: float) -> None:
    assert label_noise(np.array([scores]), [label])[0] == pytest.approx(expected)


@given(
    st.integers(1, 30).flatmap(
        lambda n: st.tuples(
            st.lists(st.floats(-3, 3), min_size=4 * n, max_size=4 * n),
            st.lists(st.integers(0, 3), min_size=n, max_size=n),
        )
    )
)
def test_suspicion_is_within_bounds_and_grows_with_the_margin(
    drawn: tuple[list[float], list[int]],
) -> None:
    labels = np.array(drawn[1])
    scores = np.array(drawn[0]).reshape(len(labels), 4)
    before = scores.copy()
    found = label_noise(scores, labels)
    assert ((found >= 0) & (found <= 1)).all()
    np.testing.assert_array_equal(scores, before)
    own = scores[np.arange(len(labels)), labels]
    beaten = scores.max(1) > own
    assert (found[beaten] >= 0.5).all()
    assert (found[~beaten] <= 0.5).all()
    scores[np.arange(len(labels)), labels] -= 0.1
    assert (label_noise(scores, labels) >= found).all()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("n", [200, 500])
def test_wrong_labels_rank_above_right_ones(n: int, seed: int) -> None:
    left_out, labels, wrong = noisy(n, 0.1, 0.7, seed)
    assert roc_auc_score(wrong, label_noise(left_out, labels)) > 0.985


@pytest.mark.parametrize("seed", range(3))
def test_most_wrong_labels_are_suspects_and_few_right_ones(seed: int) -> None:
    left_out, labels, wrong = noisy(500, 0.1, 0.7, seed)
    found = suspects(label_noise(left_out, labels), labels)
    assert wrong[found].sum() > 0.8 * wrong.sum()
    assert (~wrong)[found].sum() < 0.01 * (~wrong).sum()


@pytest.mark.parametrize("apart", [0.3, 1.0])
def test_of_right_labels_hardly_any_is_a_suspect(apart: float) -> None:
    left_out, labels, _ = noisy(500, 0.0, apart)
    assert len(suspects(label_noise(left_out, labels), labels)) <= 0.02 * 500
    assert np.mean(left_out.argmax(1) != labels) > 0.05 or apart == 1.0  # hard, not wrong


def test_suspects_come_with_the_most_suspect_first() -> None:
    suspicion = np.array([0.1, CLEARLY, 0.9, 0.64, 1.0, 0.9])
    assert suspects(suspicion, np.zeros(6, int)).tolist() == [4, 2, 5, 1]
    assert suspects(suspicion, np.zeros(6, int), least=0.95).tolist() == [4]


def test_a_class_of_one_or_two_is_passed_over() -> None:
    labels = [0, 1, 1, 2, 2, 2]
    assert suspects(np.ones(6), labels).tolist() == [3, 4, 5]


def test_no_examples_no_suspects() -> None:
    none = label_noise(np.empty((0, 3)), [])
    assert none.shape == (0,)
    assert suspects(none, []).shape == (0,)
