"""Networks as if in whole numbers: rounded as they will be, with gradients, and put back."""

import pytest
import torch
from torch import nn

from regraft.compression.simulated import RoundedInput, RoundedWeight, simulated


def network() -> nn.Sequential:
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 5)
    return nn.Sequential(*layers)


def batch(seed: int = 1) -> torch.Tensor:
    return torch.rand((6, 3, 8, 8), generator=torch.Generator().manual_seed(seed))


def test_weights_are_whole_numbers_of_a_scale_for_each_output() -> None:
    weight = torch.randn((4, 3, 3, 3), generator=torch.Generator().manual_seed(0))
    scales = weight.flatten(1).abs().amax(1) / 63
    steps = RoundedWeight()(weight) / scales[:, None, None, None]
    assert torch.allclose(steps, steps.round(), atol=1e-3)
    assert steps.abs().max() <= 63.01
    assert (RoundedWeight()(weight) - weight).abs().flatten(1).amax(1).le(scales / 2 + 1e-6).all()
    assert RoundedWeight()(torch.zeros(2, 3)).eq(0).all()


def test_what_enters_is_rounded_by_the_range_that_was_seen() -> None:
    rounded, layer = RoundedInput(), nn.Linear(2, 2)
    x = torch.tensor([[-1.0, 3.0]])
    assert rounded(layer, (x,))[0] is x  # it only looks yet
    rounded.begins = False
    with torch.no_grad():
        (y,) = rounded(layer, (torch.linspace(-2, 4, 100),))
    step = 4 / 255
    assert y.min() == pytest.approx(-1, abs=step)
    assert y.max() == pytest.approx(3, abs=step)
    assert torch.allclose(y / step, (y / step).round(), atol=1e-3)
    assert (rounded.low, rounded.high) == (-1.0, 3.0)  # nothing is learned without gradients


def test_it_learns_through_rounding_and_keeps_what_it_learned() -> None:
    model, x = network(), batch()
    plain, before = model(x), {name: p.clone() for name, p in model.named_parameters()}
    with simulated(model, [batch(2)]):
        with torch.no_grad():
            answers = model(x)
        assert not torch.equal(answers, plain)
        assert torch.allclose(answers, plain, atol=0.1)
        optimiser = torch.optim.SGD(model.parameters(), 0.1)
        model(x).square().sum().backward()
        optimiser.step()
    after = dict(model.named_parameters())
    assert list(after) == list(before)
    assert list(model.state_dict()) == list(network().state_dict())
    assert all(not torch.equal(after[name], before[name]) for name in before)
    assert type(model[0]) is nn.Conv2d
    steps = (
        after["0.weight"] / (after["0.weight"].flatten(1).abs().amax(1) / 63)[:, None, None, None]
    )
    assert not torch.allclose(steps, steps.round(), atol=1e-3)  # in single precision
    assert not model[0]._forward_pre_hooks


def test_it_is_put_back_after_an_interrupt() -> None:
    model, x = network(), batch()
    plain = model(x)
    with pytest.raises(KeyboardInterrupt), simulated(model, [x]):
        raise KeyboardInterrupt
    assert torch.equal(model(x), plain)
