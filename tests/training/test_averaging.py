"""Averages: the moving one by its formula, the path between two states, and what is a state."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from regraft.training.averaging import Average, State, between, copied, moving, put


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


def test_a_state_is_what_learns_and_the_statistics() -> None:
    net = network()
    state = moving(net, {"0.weight", "1.bias"})
    assert set(state) == {"0.weight", "1.bias", "1.running_mean", "1.running_var"}
    assert state["0.weight"].data_ptr() == net[0].weight.data_ptr()  # not copied


def test_a_copy_is_left_alone_and_can_be_put_back() -> None:
    net = network()
    names = {name for name, _ in net.named_parameters()}
    kept = copied(moving(net, names))
    before = net(torch.ones(2, 3))
    with torch.no_grad():
        for tensor in moving(net, names).values():
            tensor.add_(1)
    net.eval()
    put(net, kept)
    net.train()
    torch.testing.assert_close(net(torch.ones(2, 3)), before)
    assert all(p.requires_grad for p in net.parameters())


def test_a_name_that_the_model_lacks_is_no_state_of_it() -> None:
    with pytest.raises(KeyError, match="other"):
        put(network(), {"other": torch.zeros(1)})


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=60), st.floats(0, 0.999))
def test_the_moving_average_has_its_formula(values: list[float], decay: float) -> None:
    average = Average({"w": torch.tensor([values[0]], dtype=torch.float64)}, decay)
    expected = values[0]
    for t, value in enumerate(values):
        average.take({"w": torch.tensor([value], dtype=torch.float64)})
        stays = min(decay, (1 + t) / (10 + t))
        expected = stays * expected + (1 - stays) * value
    assert average.steps == len(values)
    np.testing.assert_allclose(average.state["w"].item(), expected, rtol=1e-9, atol=1e-9)


def test_after_the_first_steps_it_is_that_of_torch() -> None:
    swa = torch.optim.swa_utils
    net = network()
    reference = swa.AveragedModel(net, multi_avg_fn=swa.get_ema_multi_avg_fn(0.9))
    own = dict(net.named_parameters())
    average = Average({n: p.data for n, p in own.items()}, 0.9)
    reference.update_parameters(net)  # torch's first call only copies
    average.steps = 1000
    for step in range(5):
        with torch.no_grad():
            for parameter in own.values():
                parameter.add_(torch.randn(parameter.shape, generator=torch.Generator()) + step)
        average.take({n: p.data for n, p in own.items()})
        reference.update_parameters(net)
    for name, parameter in reference.module.named_parameters():
        torch.testing.assert_close(average.state[name], parameter.data)


def test_the_start_does_not_linger() -> None:
    average = Average({"w": torch.tensor([100.0])}, 0.999)
    for _ in range(20):
        average.take({"w": torch.tensor([1.0])})
    assert average.state["w"].item() < 1.5


def test_taking_changes_neither_the_start_nor_what_is_taken() -> None:
    start, now = {"w": torch.zeros(2)}, {"w": torch.ones(2)}
    Average(start, 0.9).take(now)
    assert start["w"].tolist() == [0, 0]
    assert now["w"].tolist() == [1, 1]


def test_between_lies_on_the_line() -> None:
    start: State = {"w": torch.tensor([0.0, 4.0]), "frozen": torch.ones(1)}
    end: State = {"w": torch.tensor([2.0, 0.0])}
    assert between(start, end, 0.25)["w"].tolist() == [0.5, 3.0]
    assert set(between(start, end, 0.25)) == {"w"}
    for share, whole in ((0.0, start), (1.0, end)):
        assert torch.equal(between(start, end, share)["w"], whole["w"])
