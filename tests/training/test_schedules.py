"""Schedules against torch's, and the finder of the rate."""

import json
import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.optim import lr_scheduler

from regraft.errors import UsageError
from regraft.training.schedules import SCHEDULES, find_rate, schedule

STEPS = 60
Build = Callable[[torch.optim.Optimizer], lr_scheduler.LRScheduler]


def rates_of_torch(build: Build, steps: int = STEPS) -> list[float]:
    """With a rate of 1."""
    made = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = build(made)
    rates = []
    for _ in range(steps):
        rates.append(made.param_groups[0]["lr"])
        made.step()
        scheduler.step()
    return rates


def factors(name: str, steps: int = STEPS, **options: float) -> list[float]:
    ours = schedule(name, steps, **options)
    return [ours.factor(step) for step in range(steps)]


@pytest.mark.parametrize(
    ("name", "options", "build"),
    [
        ("constant", {}, lambda o: lr_scheduler.ConstantLR(o, 1.0)),
        ("cosine", {}, lambda o: lr_scheduler.CosineAnnealingLR(o, STEPS)),
        (
            "cosine",
            {"floor": 0.2},
            lambda o: lr_scheduler.CosineAnnealingLR(o, STEPS, eta_min=0.2),
        ),
        ("linear", {}, lambda o: lr_scheduler.LinearLR(o, 1.0, 0.0, STEPS)),
        ("linear", {"floor": 0.1}, lambda o: lr_scheduler.LinearLR(o, 1.0, 0.1, STEPS)),
        ("step", {}, lambda o: lr_scheduler.StepLR(o, 20, 0.1)),
        ("step", {"every": 0.25, "by": 0.5}, lambda o: lr_scheduler.StepLR(o, 15, 0.5)),
        ("one-cycle", {}, lambda o: lr_scheduler.OneCycleLR(o, 1.0, STEPS, cycle_momentum=False)),
        (
            "one-cycle",
            {"rise": 0.5, "start": 10, "end": 100},
            lambda o: lr_scheduler.OneCycleLR(
                o,
                1.0,
                STEPS,
                pct_start=0.5,
                div_factor=10,
                final_div_factor=100,
                cycle_momentum=False,
            ),
        ),
    ],
)
def test_shapes_are_those_of_torch(name: str, options: dict[str, float], build: Build) -> None:
    assert factors(name, **options) == pytest.approx(rates_of_torch(build), abs=1e-9)


def test_the_warm_up_is_that_of_torch() -> None:
    theirs = rates_of_torch(lambda o: lr_scheduler.LinearLR(o, 1 / 7, 1.0, 6), 6)
    ours = factors("cosine", warmup=0.1)
    assert ours[:6] == pytest.approx(theirs)
    assert ours[6] == 1
    assert ours[6:] == factors("cosine", 54)


@given(st.lists(st.floats(0.01, 10), min_size=1, max_size=80), st.integers(0, 5))
def test_plateau_is_that_of_torch(losses: list[float], patience: int) -> None:
    made = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = lr_scheduler.ReduceLROnPlateau(made, factor=0.5, patience=patience, eps=0)
    ours = schedule("plateau", 10, by=0.5, patience=patience)
    for value in losses:
        theirs.step(value)
        ours.tell(value)
        assert ours.factor(3) == pytest.approx(made.param_groups[0]["lr"], rel=1e-12)


@given(
    st.sampled_from(sorted(SCHEDULES)),
    st.integers(0, 200),
    st.floats(0, 1),
    st.floats(0, 1),
)
def test_factors_lie_in_0_to_1(name: str, steps: int, warmup: float, floor: float) -> None:
    warmup = 0 if SCHEDULES[name].rises else warmup
    ours = schedule(name, steps, warmup=warmup, floor=floor)
    values = [ours.factor(step) for step in range(steps + 5)]
    assert all(0 <= v <= 1 + 1e-12 for v in values)
    assert all(v >= floor - 1e-12 for v in values[ours.warmup :])
    assert len({*values[steps:]}) == 1  # it stays


@given(st.lists(st.sampled_from([0.1, 0.5, 1.0, math.nan, math.inf]), max_size=30), st.data())
def test_a_restored_plateau_goes_on_as_it_would(losses: list[float], data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(losses)))
    whole, first, second = (schedule("plateau:patience=1", 9) for _ in range(3))
    for value in losses:
        whole.tell(value)
    for value in losses[:cut]:
        first.tell(value)
    second.restore(json.loads(json.dumps(first.state(), allow_nan=False)))
    for value in losses[cut:]:
        second.tell(value)
    assert second.state() == whole.state()
    assert second.factor(5) == whole.factor(5)


@pytest.mark.parametrize("name", sorted({*SCHEDULES} - {"plateau"}))
def test_the_others_remember_nothing(name: str) -> None:
    ours = schedule(name, 10)
    before = ours.factor(5)
    ours.tell(3.0)
    ours.restore(ours.state())
    assert (ours.state(), ours.factor(5)) == ({}, before)


def test_the_state_of_another_schedule_is_refused() -> None:
    with pytest.raises(UsageError, match="best"):
        schedule("cosine", 10).restore(schedule("plateau", 10).state())
    with pytest.raises(UsageError, match="nothing"):
        schedule("cosine", 10).restore({"x": 1})


def test_numbers_are_taken_by_name_and_as_text() -> None:
    assert factors("step:every=0.2,by=0.3") == factors("step", every=0.2, by=0.3)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("cosin", "did you mean cosine"),
        ("step:evry=0.1", "did you mean every"),
        ("plateau:patience=1.5", "not a whole number"),
    ],
)
def test_wrong_names_are_told(name: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        schedule(name, 10)


def test_all_mistakes_come_at_once() -> None:
    with pytest.raises(UsageError) as caught:
        schedule("one-cycle", -1, warmup=2, floor=math.nan, rise=3, gamma=1)
    words = ("steps", "warmup: 2", "floor", "rise", "gamma", "has its own")
    assert all(any(word in text for text in caught.value.mistakes) for word in words)
    with pytest.raises(UsageError, match="below 0"):
        schedule("cosine", 10).factor(-1)


# Finder of the rate -------------------------------------------------------------------------------


def quadratic(curvature: float) -> Callable[[float], float]:
    """Plain descent on curvature/2 x²: it diverges above a rate of 2 / curvature."""
    x = 1.0

    def step(rate: float) -> float:
        nonlocal x
        cost = curvature / 2 * x**2
        x -= rate * curvature * x
        return cost

    return step


@pytest.mark.parametrize("curvature", [10.0, 100.0, 1e3])
def test_the_rate_for_a_quadratic_descends(curvature: float) -> None:
    curve = find_rate(quadratic(curvature))
    assert curve.suggested is not None
    assert 0.005 / curvature < curve.suggested < 2 / curvature


def test_the_rate_for_a_network_trains_it() -> None:
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(64, 8, generator=draw)
    y = (x[:, :2] * x[:, 2:4]).sum(1)

    def network() -> tuple[nn.Module, torch.optim.Optimizer, Callable[[float], float]]:
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, 1))
        made = torch.optim.SGD(net.parameters(), lr=1.0)

        def step(rate: float) -> float:
            made.param_groups[0]["lr"] = rate
            made.zero_grad()
            cost = (net(x)[:, 0] - y).square().mean()
            cost.backward()
            made.step()
            return cost.item()

        return net, made, step

    curve = find_rate(network()[2], high=100.0)
    assert curve.suggested is not None
    step = network()[2]
    losses = [step(curve.suggested) for _ in range(200)]
    assert losses[-1] < 0.9 * losses[0]
    slow = network()[2]
    assert losses[-1] < [slow(curve.suggested / 100) for _ in range(200)][-1]


def test_the_sweep_ends_where_the_loss_explodes() -> None:
    asked: list[float] = []
    descend = quadratic(1e3)
    curve = find_rate(lambda rate: asked.append(rate) or descend(rate))  # type: ignore[func-returns-value]
    assert len(asked) < 60
    assert curve.losses[-1] > 4 * min(curve.losses)
    assert max(curve.losses[:-1]) <= 4 * curve.losses[0]
    assert list(curve.rates) == asked


def test_a_loss_that_is_no_number_ends_the_sweep() -> None:
    told = iter([4.0, 3.0, 2.0, 1.0, 0.9, 0.8, math.nan, 0.1])
    curve = find_rate(lambda _: next(told))
    assert len(curve.rates) == len(curve.losses) == 6
    assert next(told) == 0.1


@pytest.mark.parametrize("losses", [[1.0] * 60, [1.0 + n / 60 for n in range(60)], [math.nan]])
def test_no_rate_is_suggested_where_the_loss_never_fell(losses: list[float]) -> None:
    told = iter(losses)
    assert find_rate(lambda _: next(told)).suggested is None


@pytest.mark.parametrize("wrong", [{"low": 0.0}, {"low": 2.0}, {"steps": 2}, {"high": math.inf}])
def test_wrong_ranges_are_told(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="0 < low < high"):
        find_rate(quadratic(1.0), **wrong)  # type: ignore[arg-type]
