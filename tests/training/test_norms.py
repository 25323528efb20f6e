"""Normalisation layers: which they are, and statistics that are estimated as torch does it."""

from typing import Any

import pytest
import timm
import torch
from timm.layers import BatchNormAct2d, LayerNorm2d, RmsNorm
from torch import Tensor, nn

from regraft.training.norms import batch_norms, estimate_norms, norm_parameters


def lively(net: nn.Module) -> nn.Module:
    """With statistics, weights and biases that are not those of an untrained one."""
    generator = torch.Generator().manual_seed(0)
    for part in batch_norms(net):
        for tensor in (part.running_mean, part.running_var, part.weight.data, part.bias.data):
            tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
    return net.eval()


@pytest.mark.parametrize(
    ("layer", "parameters"),
    [
        (nn.BatchNorm2d(4), {"weight", "bias"}),
        (nn.SyncBatchNorm(4), {"weight", "bias"}),
        (BatchNormAct2d(4), {"weight", "bias"}),
        (nn.LayerNorm(4), {"weight", "bias"}),
        (LayerNorm2d(4), {"weight", "bias"}),
        (nn.GroupNorm(2, 4), {"weight", "bias"}),
        (nn.InstanceNorm2d(4, affine=True), {"weight", "bias"}),
        (nn.RMSNorm(4), {"weight"}),
        (RmsNorm(4), {"weight"}),
        (nn.BatchNorm2d(4, affine=False), set()),
        (nn.Linear(4, 4), set()),
        (nn.Conv2d(4, 4, 1), set()),
    ],
    ids=lambda value: type(value).__name__,
)
def test_layers_are_known(layer: nn.Module, parameters: set[str]) -> None:
    assert norm_parameters(layer) == parameters
    inside = nn.ModuleDict({"a": nn.ModuleDict({"b": layer})})
    assert norm_parameters(inside) == {f"a.b.{name}" for name in parameters}


@pytest.mark.parametrize("name", ["resnet18", "vit_tiny_patch16_224", "convnext_atto"])
def test_in_a_network_they_are_all_with_norm_in_their_name(name: str) -> None:
    net = timm.create_model(name, pretrained=False)
    by_name = {n for n, p in net.named_parameters() if ("norm" in n or "bn" in n) and p.ndim == 1}
    downsampling = {n for n, _ in net.named_parameters() if ".downsample.1." in n}
    stem = {"stem.1.weight", "stem.1.bias"} & set(dict(net.named_parameters()))
    assert norm_parameters(net) - by_name <= downsampling | stem | {
        f"stages.{stage}.downsample.0.{kind}" for stage in (1, 2, 3) for kind in ("weight", "bias")
    }
    assert by_name <= norm_parameters(net)


def batches(shapes: list[int]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.rand(n, 3, 8, 8, generator=generator) * 3 - 1 for n in shapes]


def two_layers() -> nn.Module:
    torch.manual_seed(0)
    return lively(
        nn.Sequential(
            nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.ReLU(), nn.Conv2d(5, 4, 3), nn.BatchNorm2d(4)
        )
    )


def test_estimated_statistics_are_those_of_torch() -> None:
    ours, theirs = two_layers(), two_layers()
    some = batches([4, 4, 4])
    estimate_norms(ours, some, torch.device("cpu"))
    torch.optim.swa_utils.update_bn(some, theirs)
    for mine, other in zip(batch_norms(ours), batch_norms(theirs), strict=True):
        torch.testing.assert_close(mine.running_mean, other.running_mean)
        torch.testing.assert_close(mine.running_var, other.running_var)


def test_they_are_the_plain_mean_over_batches() -> None:
    norm: Any = nn.BatchNorm2d(3).eval()
    some = batches([6, 6])
    estimate_norms(norm, some, torch.device("cpu"))
    means = torch.stack([b.mean((0, 2, 3)) for b in some]).mean(0)
    variances = torch.stack([b.transpose(0, 1).flatten(1).var(1) for b in some]).mean(0)
    torch.testing.assert_close(norm.running_mean, means)
    torch.testing.assert_close(norm.running_var, variances)


def test_only_statistics_move_and_modes_stay() -> None:
    net = two_layers()
    before = {name: p.clone() for name, p in net.named_parameters()}
    momenta = [part.momentum for part in batch_norms(net)]
    estimate_norms(net, batches([4]), torch.device("cpu"))
    assert all(torch.equal(before[name], p) for name, p in net.named_parameters())
    assert [part.momentum for part in batch_norms(net)] == momenta
    assert not any(part.training for part in net.modules())
    assert all(p.grad is None and p.requires_grad for p in net.parameters())


def test_a_network_without_batch_norm_stays_as_it_is() -> None:
    net = nn.Sequential(nn.Flatten(), nn.LayerNorm(192), nn.Dropout(0.5)).eval()
    estimate_norms(net, batches([2]), torch.device("cpu"))
    assert not any(part.training for part in net.modules())
