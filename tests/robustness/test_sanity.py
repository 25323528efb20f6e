"""The checks: an honest evaluation passes all of them, three broken defences are flagged."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from regraft.robustness import sanity
from regraft.robustness.attacks import L2, LINF, margin, pgd
from regraft.robustness.measuring import ITSELF, measured
from regraft.robustness.planted import planted
from regraft.robustness.sanity import Check, Trial, checked, only_black_box, same_answers

pytest.importorskip("pyautoattack")
EPS = 5.0


class Defended(nn.Module):
    """A network behind a defence that changes what it reads or what it says."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def features(self, x: Tensor) -> Tensor:
        return torch.as_tensor(self.network.features(x))

    def forward(self, x: Tensor) -> Tensor:
        return torch.as_tensor(self.network(x))


class Masked(Defended):
    """Gradient masking: so sure of itself that its loss is zero, and with it the gradient."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * 1e4


class Noisy(Defended):
    """Random: every picture gets noise before it is looked at."""

    def features(self, x: Tensor) -> Tensor:
        return super().features(self._with_noise(x))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self._with_noise(x))

    def _with_noise(self, x: Tensor) -> Tensor:
        return x + 20 * torch.randn_like(x)


class Stepped(Defended):
    """A step without a derivative: brightness is rounded."""

    def features(self, x: Tensor) -> Tensor:
        return super().features(self._rounded(x))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self._rounded(x))

    def _rounded(self, x: Tensor) -> Tensor:
        return (x / 16).round() * 16


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sanity, "MORE_STEPS", 20)


def found(box: Any, right: Any, norm: Any = LINF, eps: float = EPS) -> dict[str, Check]:
    trial = Trial(box, right.x, right.y, norm, eps, seed=0)
    return {check.name: check for check in checked(trial)}


@pytest.mark.parametrize(("norm", "eps"), [(LINF, EPS), (L2, 80.0)], ids=["linf", "l2"])
def test_an_honest_network_passes_all(norm: Any, eps: float, small: Any, right: Any) -> None:
    wrong = [check for check in found(small, right, norm, eps).values() if not check.passed]
    assert not wrong


@pytest.mark.parametrize(
    ("defence", "seen_by"),
    [
        (Masked, {"there are gradients", "nothing holds under large changes"}),
        (Noisy, {"answers are not random"}),
        (
            Stepped,
            {
                "there are gradients",
                "nothing holds under large changes",
                "gradients are at least as strong as answers alone",
                "a planted example is found",
            },
        ),
    ],
    ids=["masking", "randomness", "no derivative"],
)
def test_a_broken_defence_is_flagged(
    defence: Any, seen_by: set[str], small: Any, right: Any
) -> None:
    checks = found(defence(small), right)
    failed = {name for name, check in checks.items() if not check.passed}
    assert seen_by <= failed


def test_a_planted_example_is_found_by_gradients_and_not_by_chance(small: Any, right: Any) -> None:
    torch.manual_seed(0)
    result = planted(small, right.x[:8], LINF, EPS, steps=20)
    assert result.valid.all()
    assert result.found.all()
    assert result.drawn.float().mean() < 0.5
    blind = planted(Stepped(small), right.x[:8], LINF, EPS, steps=20)
    assert not (blind.found & blind.valid).any() or blind.found.float().mean() < 0.9


def test_what_only_the_black_box_found_is_doubted() -> None:
    assert only_black_box(["apgd-ce"] * 50 + ["square"]).passed
    assert not only_black_box(["apgd-ce"] * 50 + ["square"] * 3).passed
    assert "3 of 53" in only_black_box(["apgd-ce"] * 50 + ["square"] * 3).told


def test_other_answers_than_those_attacked_are_told() -> None:
    white = torch.zeros(50)
    assert same_answers(white, white).passed
    assert not same_answers(white, torch.cat([torch.ones(2), torch.zeros(48)])).passed


def test_what_falls_stays_fallen_as_the_changes_grow(
    small: Any, digits: Any, quiet: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("regraft.robustness.measuring.CHECKED", 4)
    x, y = digits.x[1200:1230], digits.y[1200:1230].clone()
    y[:3] = (y[:3] + 1) % 10
    asked: dict[str, Any] = {"classes": 10, "attack": "pgd", "progress": quiet}
    result = measured(small, x, y, LINF, (1.0, 4.0, 16.0), **asked)
    right = result.answers == y
    assert 0 < right.sum() < 30
    before = right.tolist()
    for point in result.points:
        assert all(was for was, now in zip(before, point.holds, strict=True) if now)
        before = point.holds
        fell = torch.tensor([name not in ("", ITSELF) for name in point.by])
        assert (small(point.pictures[fell]).argmax(1) != y[fell]).all()
        assert ((point.pictures - x).abs().amax((1, 2, 3)) <= point.eps * 1.001).all()
    assert [point.by.count(ITSELF) for point in result.points] == [int((~right).sum())] * 3
    strong = pgd(small, x, y, LINF, 1.0, steps=20, losses=margin)
    assert sum(result.points[0].holds) <= int((small(strong).argmax(1) == y).sum()) + 1


def test_where_nothing_is_right_there_is_nothing_to_attack(
    small: Any, right: Any, quiet: Any
) -> None:
    wrong = (right.y + 1) % 10
    asked: dict[str, Any] = {"classes": 10, "attack": "pgd", "progress": quiet}
    result = measured(small, right.x, wrong, LINF, (1.0,), **asked)
    assert not any(result.points[0].holds)
    assert [check.passed for check in result.checks] == [False]
