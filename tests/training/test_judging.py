"""Judging: accuracy and calibrated loss, and a model that is afterwards as it was before."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from sklearn.metrics import log_loss
from torch import Tensor, nn

from regraft.errors import TrainingStopped
from regraft.training.judging import AT_ONCE, Held, logits_of, score_of

CPU = torch.device("cpu")


def softmax(logits: np.ndarray) -> np.ndarray:
    shifted = np.exp(logits - logits.max(1, keepdims=True))
    return shifted / shifted.sum(1, keepdims=True)


def some_logits(seed: int, n: int = 60, classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    logits = rng.normal(size=(n, classes)) + 1.5 * np.eye(classes)[labels]
    return logits, labels


@pytest.mark.parametrize("seed", range(3))
def test_the_loss_is_that_at_the_best_temperature(seed: int) -> None:
    logits, labels = some_logits(seed)

    def loss_at(log_temperature: float) -> float:
        return log_loss(labels, softmax(logits / np.exp(log_temperature)), labels=[0, 1, 2])

    best = minimize_scalar(loss_at, bounds=(-4, 4), method="bounded")
    score = score_of(logits, labels)
    assert score.loss == pytest.approx(best.fun, abs=1e-3)
    assert score.accuracy == (logits.argmax(1) == labels).mean()


@given(st.integers(0, 1000), st.floats(0.2, 5))
def test_how_loudly_it_speaks_does_not_matter(seed: int, scale: float) -> None:
    logits, labels = some_logits(seed)
    plain, scaled = score_of(logits, labels), score_of(scale * logits, labels)
    assert scaled.loss == pytest.approx(plain.loss, abs=2e-3)
    assert scaled.accuracy == plain.accuracy


class Odd(nn.Module):
    """Counts its calls; in training mode it gives nonsense."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)
        self.drop = nn.Dropout(0.9)
        self.sizes: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        self.sizes.append(len(x))
        assert not torch.is_grad_enabled()
        logits: Tensor = self.linear(self.drop(x))
        return logits


def test_the_model_is_judged_in_evaluation_mode_and_left_as_it_was() -> None:
    net = Odd()
    net.train()
    net.linear.eval()
    x = torch.randn(10, 4)
    np.testing.assert_allclose(
        logits_of(net, x, CPU), net.linear(x).detach().double().numpy(), rtol=1e-6
    )
    assert (net.training, net.drop.training, net.linear.training) == (True, True, False)


def test_it_is_left_as_it_was_where_it_fails() -> None:
    net = Odd()
    net.train()
    with pytest.raises(RuntimeError):
        logits_of(net, torch.randn(3, 5), CPU)
    assert net.training


@pytest.mark.parametrize("n", [1, AT_ONCE, AT_ONCE + 1, 3 * AT_ONCE - 1])
def test_many_are_judged_in_parts(n: int) -> None:
    net, x = Odd(), torch.randn(n, 4)
    logits = logits_of(net, x, CPU)
    assert logits.shape == (n, 3)
    assert logits.dtype == np.float64
    assert max(net.sizes) <= AT_ONCE
    assert sum(net.sizes) == n
    np.testing.assert_allclose(logits, net.linear(x).detach().numpy(), atol=1e-6)


def test_held_back_examples_give_a_score() -> None:
    net = Odd()
    held = Held(torch.eye(4)[:3], torch.tensor([0, 1, 2]))
    with torch.no_grad():
        net.linear.weight.copy_(torch.eye(4)[:3] * 5)
    score = held.score(net, CPU)
    assert score.accuracy == 1
    assert score.loss < 0.5 * np.log(3)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_answers_that_are_no_numbers_stop_the_run(value: float) -> None:
    held = Held(torch.eye(4)[:3], torch.tensor([0, 1, 2]))
    net = Odd()
    with torch.no_grad():
        net.linear.weight[0, 1] = value
    with pytest.raises(TrainingStopped, match=r"for \d of 3 examples .* Lower the rate"):
        held.score(net, CPU)
