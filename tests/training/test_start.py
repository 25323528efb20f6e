"""How a run begins: what it begins with, what of it may move, and whose setting counts."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from regraft.backbones.network import load_network
from regraft.errors import UsageError
from regraft.training.grafted import Grafted, body_depths
from regraft.training.plan import Plan
from regraft.training.schedules import SCHEDULES
from regraft.training.start import begun, parts_that_learn, settings_of
from regraft.training.strategies import STRATEGIES, strategy

Setting, Tiny = Any, Any  # of conftest.py


@pytest.fixture
def small(tiny: Tiny) -> Setting:
    return tiny("resnet")


def start_of(name: str, small: Setting, seed: int = 0) -> Grafted:
    begin = (small.row, small.spec, small.head, small.temperature)
    return begun(strategy(name), *begin, seed)


def weights(model: Grafted) -> Tensor:
    return torch.cat([p.detach().reshape(-1) for p in model.parameters()])


@pytest.mark.parametrize(("name", "drawn"), [("lp-ft", False), ("copy", True), ("scratch", True)])
def test_the_seed_decides_what_is_drawn_and_nothing_else_moves(
    small: Setting, name: str, drawn: bool
) -> None:
    torch.manual_seed(9)
    expected = torch.rand(1)
    torch.manual_seed(9)
    one, same, other = (start_of(name, small, seed) for seed in (0, 0, 1))
    assert torch.equal(torch.rand(1), expected)
    assert torch.equal(weights(one), weights(same))
    assert torch.equal(weights(one), weights(other)) is not drawn


def test_scratch_knows_nothing_and_the_others_all(small: Setting) -> None:
    pretrained = load_network(small.row, small.spec).module.state_dict()
    for name, known in {"lp-ft": True, "copy": True, "scratch": False}.items():
        body = start_of(name, small).body()
        kernel = body["layer1.0.conv1.weight"]
        assert torch.equal(kernel, pretrained["layer1.0.conv1.weight"]) is known


@pytest.mark.parametrize("kind", ["resnet", "vit"])
def test_the_deepest_layers_begin_anew_and_the_head_forgets_what_they_gave(
    kind: str, tiny: Tiny
) -> None:
    small = tiny(kind)
    begin = (strategy("lp-ft"), small.row, small.spec, small.head, small.temperature, 0)
    usual, anew = begun(*begin), begun(*begin, reinit=0.4)
    depths = body_depths(usual, small.row)
    own, other = dict(usual.named_parameters()), dict(anew.named_parameters())
    moved = [any(not torch.equal(own[n], other[n]) for n in group) for group in depths]
    taken = int(0.4 * len(depths))
    assert moved == [False] * (len(depths) - taken) + [True] * taken
    begins, forgotten = 0, []
    for width in small.head.scaling.widths:
        here = slice(begins, begins + width)
        forgotten.append(not anew.linear.weight[:, here].any())
        assert forgotten[-1] or torch.equal(
            anew.linear.weight[:, here], usual.linear.weight[:, here]
        )
        begins += width
    assert forgotten == sorted(forgotten)  # shallow ones are kept, deep ones forgotten
    assert {True, False} == set(forgotten)
    same = begun(*begin, reinit=0.4)
    assert torch.equal(weights(anew), weights(same))


@pytest.mark.parametrize("name", ["scratch", "tune-norm"])
def test_random_layers_are_refused_where_they_mean_nothing(name: str, small: Setting) -> None:
    begin = (small.row, small.spec, small.head, small.temperature)
    with pytest.raises(UsageError, match="reinit: "):
        begun(strategy(name), *begin, 0, reinit=0.2)


def test_a_fresh_head_sees_the_last_feature_alone(small: Setting) -> None:
    model = start_of("copy", small)
    width = small.head.scaling.widths[-1]
    assert not model.linear.weight[:, :-width].any()
    assert model.linear.weight[:, -width:].any(0).all()
    assert not model.factor[:-width].any()
    assert torch.equal(model.factor[-width:], torch.ones(width))
    bound = width**-0.5  # as PyTorch draws it
    assert model.linear.weight.abs().max() <= bound
    assert model.linear.bias.any()


def depths(small: Setting, name: str = "lp-ft", **settings: Any) -> list[int]:
    """How many parameters each part has; the head is the last."""
    plan = Plan(name, small.spec.size, 10, **settings)
    parts = parts_that_learn(start_of(name, small), strategy(name), small.row, plan)
    return [len(part.parameters) for part in parts]


def test_a_frozen_share_stands_still(small: Setting) -> None:
    whole = depths(small)
    assert len(whole) == 6  # the stem, four stages, the head
    assert depths(small, frozen=0.4) == whole[2:]
    assert depths(small, frozen=1.0) == whole[-1:]
    model = start_of("lp-ft", small)
    plan = Plan("lp-ft", 32, 10, frozen=0.4)
    moving = {
        id(p)
        for part in parts_that_learn(model, strategy("lp-ft"), small.row, plan)
        for p in part.parameters
    }
    assert {id(p) for p in model.parameters() if p.requires_grad} == moving


def test_rates_go_in_geometric_steps(small: Setting) -> None:
    plan = Plan("lp-ft", 32, 10, shallow=0.01)
    parts = parts_that_learn(start_of("lp-ft", small), strategy("lp-ft"), small.row, plan)
    factors = [part.rate_factor for part in parts]
    np.testing.assert_allclose(factors, [*np.geomspace(0.01, 1, 5), 1])


def test_only_norms_learn_in_tune_norm(small: Setting) -> None:
    model = start_of("tune-norm", small)
    parts_that_learn(model, strategy("tune-norm"), small.row, Plan("tune-norm", 32, 10))
    learning = {name for name, p in model.named_parameters() if p.requires_grad}
    body = {name for name in learning if not name.startswith("linear.")}
    assert body
    assert all("bn" in name or "downsample.1" in name for name in body)


@pytest.mark.parametrize("name", STRATEGIES)
def test_settings_of_a_strategy_make_a_plan(name: str) -> None:
    plan = Plan(**{**settings_of(strategy(name), {}), "size": 32, "steps": 1})
    assert plan.strategy == name
    assert all(getattr(plan, field) == v for field, v in strategy(name).settings.items())


def test_what_the_user_has_set_counts() -> None:
    settings = settings_of(strategy("copy"), {"optimiser": "lion", "norm": "frozen"})
    assert (settings["optimiser"], settings["norm"]) == ("lion", "frozen")
    assert settings["schedule"] == "constant"


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_that_rises_by_itself_has_no_warm_up(name: str) -> None:
    settings = settings_of(strategy("lp-ft"), {"schedule": name})
    assert settings.get("warmup") == (0.0 if SCHEDULES[name].rises else None)
    asked = settings_of(strategy("lp-ft"), {"schedule": name, "warmup": 0.3})
    assert asked["warmup"] == 0.3
