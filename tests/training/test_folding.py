"""Folding: the same outputs and the same gradients, and afterwards nothing is left of it."""

from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from regraft.training.folding import folded
from regraft.training.norms import batch_norms

Setting, Tiny = Any, Any  # of conftest.py


def lively(net: nn.Module) -> nn.Module:
    """With statistics, weights and biases that are not those of an untrained one; in float64, where
    rounding moves no value across the kink of a ReLU.
    """
    generator = torch.Generator().manual_seed(0)

    def some(like: Tensor) -> Tensor:
        return torch.rand(like.shape, generator=generator)

    with torch.no_grad():
        for part in batch_norms(net):
            part.running_mean.copy_(some(part.running_mean) - 0.5)
            part.running_var.copy_(some(part.running_var) + 0.5)
            if part.affine:
                part.weight.copy_(some(part.weight) + 0.5)
                part.bias.copy_(some(part.bias) - 0.5)
    return net.double().eval()


def gradients(net: nn.Module, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    net.zero_grad()
    output = net(x)
    (output * torch.linspace(-1, 1, output.numel()).view(output.shape)).sum().backward()
    found = {n: p.grad.clone() for n, p in net.named_parameters() if p.grad is not None}
    return output.detach(), found


def check_that_folding_does_not_show(
    net: nn.Module, x: Tensor, example: Tensor, rounding: float = 1e-9
) -> int:
    output, plain = gradients(net, x)
    with folded(net, example) as count:
        other, grads = gradients(net, x)
    assert (other - output).abs().max() <= rounding * output.abs().max()
    assert grads.keys() == plain.keys()
    for name, grad in plain.items():
        error = (grads[name] - grad).abs().max()
        assert error <= rounding * grad.abs().max().clamp(min=1e-3), name
    again, _ = gradients(net, x)
    assert torch.equal(again, output)
    assert not any("forward" in part.__dict__ for part in net.modules())
    return count


def resnet() -> nn.Module:
    torch.manual_seed(0)
    return lively(timm.create_model("resnet18", pretrained=False, num_classes=5))


def test_in_the_embedded_network_it_does_not_show(setting: Setting) -> None:
    model = setting.ready("lp-ft").model.eval().requires_grad_(True)
    count = check_that_folding_does_not_show(model, setting.held.pixels[:4], blank(setting), 1e-3)
    assert count == len(list(batch_norms(model))) == 49


def blank(setting: Setting) -> Tensor:
    return torch.zeros(1, setting.spec.size, setting.spec.size, 3, dtype=torch.uint8)


@pytest.mark.parametrize("name", ["resnet18", "regnetx_002"])
def test_in_networks_of_timm_it_does_not_show(name: str) -> None:
    torch.manual_seed(0)
    net = lively(timm.create_model(name, pretrained=False, num_classes=5))
    x = torch.randn(2, 3, 40, 40).double()
    count = check_that_folding_does_not_show(net, x, torch.randn(1, 3, 40, 40).double())
    assert count == len(list(batch_norms(net)))


def test_networks_without_batch_norm_have_nothing_to_fold() -> None:
    net = (
        timm.create_model("vit_tiny_patch16_224", img_size=32, depth=2, num_classes=3)
        .double()
        .eval()
    )
    assert (
        check_that_folding_does_not_show(net, torch.randn(2, 3, 32, 32).double(), blank_map()) == 0
    )


def blank_map() -> Tensor:
    return torch.zeros(1, 3, 32, 32).double()


def test_what_learns_meanwhile_is_seen_at_once() -> None:
    """The folded weights are not kept: a step of the optimiser changes the next output."""
    net = resnet()
    x = torch.randn(2, 3, 32, 32).double()
    with folded(net, x[:1]):
        before = net(x)
        optimiser = torch.optim.SGD(net.parameters(), 0.01)
        before.square().mean().backward()
        optimiser.step()
        after = net(x)
    assert not torch.allclose(before, after)
    torch.testing.assert_close(net(x), after)


def test_it_ends_with_an_error_as_well() -> None:
    net = resnet()
    with pytest.raises(ValueError, match="within"), folded(net, blank_map()):
        raise ValueError("within")
    assert not any("forward" in part.__dict__ for part in net.modules())


class Skips(nn.Module):
    """What the convolution gives goes past the BatchNorm as well."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        total: Tensor = self.norm(y) + y
        return total.flatten(1)


class Twice(Skips):
    """One BatchNorm behind two convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.other = nn.Conv2d(3, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        total: Tensor = self.norm(self.conv(x)) + self.norm(self.other(x))
        return total.flatten(1)


class Reflects(Skips):
    """A convolution whose padding is not of zeros."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1, padding_mode="reflect")

    def forward(self, x: Tensor) -> Tensor:
        flat: Tensor = self.norm(self.conv(x)).flatten(1)
        return flat


class Bare(Reflects):
    """A BatchNorm without weight and bias, and one without statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)
        self.norm = nn.Sequential(
            nn.BatchNorm2d(3, affine=False),
            nn.Conv2d(3, 3, 1),
            nn.BatchNorm2d(3, track_running_stats=False),
        )


@pytest.mark.parametrize("as_it_begins", [True, False])
@pytest.mark.parametrize("kind", [Skips, Twice, Reflects, Bare])
def test_where_it_would_show_nothing_is_folded(
    kind: Callable[[], nn.Module], as_it_begins: bool
) -> None:
    """A BatchNorm as it begins changes next to nothing, and later it does."""
    torch.manual_seed(0)
    net = kind().double().eval() if as_it_begins else lively(kind())
    x = torch.randn(2, 3, 6, 6).double()
    state = {name: t.clone() for name, t in net.state_dict().items()}
    with folded(net, x[:1]):
        lively(net)
        inside = net(x)
    torch.testing.assert_close(net(x), inside)
    net.load_state_dict(state)
    check_that_folding_does_not_show(net, x, x[:1])


@pytest.mark.parametrize(
    ("norm", "folds"), [("frozen", True), ("estimated", True), ("free", False)]
)
def test_a_run_folds_unless_statistics_are_free(tiny: Tiny, norm: str, folds: bool) -> None:
    run = tiny("resnet").ready("lp-ft", norm=norm).training()
    with run.rehearsing():
        parts = [part for part in run.model.modules() if "forward" in part.__dict__]
    assert len(parts) == (2 * len(list(batch_norms(run.model))) if folds else 0)
    assert not any("forward" in part.__dict__ for part in run.model.modules())
