"""Small classifiers whose robustness is known: a linear one, and a network on digits."""

from typing import NamedTuple

import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from regraft.progress import Quiet


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


class Linear(nn.Module):
    """Scores that are linear in the pixels: what every ε does to them is known exactly."""

    def __init__(self, classes: int, shape: tuple[int, ...] = (3, 6, 6), seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        numbers = torch.Size(shape).numel()
        self.weight = nn.Parameter(torch.randn(numbers, classes, generator=generator) / 50)

    def features(self, x: Tensor) -> Tensor:
        return x.flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        return self.features(x) @ self.weight

    def distance(self, x: Tensor, labels: Tensor, dual: float) -> Tensor:
        """(n,) the size of the least change of each picture that changes its answer."""
        scores, own = self(x), torch.arange(len(x))
        gaps = scores[own, labels][:, None] - scores
        rises = (self.weight[:, :, None] - self.weight[:, None]).norm(p=dual, dim=0)[labels]
        ratio = gaps / rises
        ratio[own, labels] = torch.inf
        return ratio.min(1).values.detach()


class Pictures(NamedTuple):
    """x (n, 3, s, s) float, away from black and white; y (n,) as the classifier answers."""

    x: Tensor
    y: Tensor


@pytest.fixture(scope="session")
def linear() -> type[Linear]:
    return Linear


@pytest.fixture(scope="session")
def noise() -> Tensor:
    """(40, 3, 6, 6) from 100 to 155."""
    return torch.rand(40, 3, 6, 6, generator=torch.Generator().manual_seed(1)) * 55 + 100


class Small(nn.Module):
    """Digits of 16 × 16: two convolutions, and a head by ridge regression."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.body = nn.Sequential(
                nn.Conv2d(3, 12, 3, 2, 1), nn.ReLU(), nn.Conv2d(12, 24, 3, 2, 1), nn.ReLU()
            )
        self.requires_grad_(False)
        self.head = torch.zeros(24 * 16 + 1, 10)

    def fit(self, x: Tensor, y: Tensor) -> "Small":
        rows = torch.cat([self.features(x), torch.ones(len(x), 1)], 1).double()
        targets = nn.functional.one_hot(y, 10).double()
        square = rows.T @ rows
        square += 1e-2 * square.diagonal().mean() * torch.eye(len(square), dtype=square.dtype)
        self.head = (torch.linalg.solve(square, rows.T @ targets) * 20).float()
        return self

    def features(self, x: Tensor) -> Tensor:
        return torch.as_tensor(self.body(x.float() / 255).flatten(1))

    def forward(self, x: Tensor) -> Tensor:
        return self.features(x) @ self.head[:-1] + self.head[-1]


@pytest.fixture(scope="session")
def digits() -> Pictures:
    """(1797, 3, 16, 16): dark grey on light grey."""
    found = load_digits()
    x = torch.tensor(found.images, dtype=torch.float32)[:, None] * 12 + 25
    wide = nn.functional.interpolate(x, scale_factor=2).expand(-1, 3, -1, -1)
    return Pictures(wide.contiguous(), torch.tensor(found.target))


@pytest.fixture(scope="session")
def small(digits: Pictures) -> Small:
    return Small().fit(digits.x[:1200], digits.y[:1200])


@pytest.fixture(scope="session")
def right(small: Small, digits: Pictures) -> Pictures:
    """24 pictures that it was not fitted on, and answers rightly."""
    x, y = digits.x[1200:], digits.y[1200:]
    with torch.no_grad():
        some = (small(x).argmax(1) == y).nonzero()[:24, 0]
    return Pictures(x[some], y[some])


@pytest.fixture(scope="session")
def quiet() -> Quiet:
    return Quiet()
