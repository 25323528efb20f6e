"""Pruned networks: as many channels as asked for, the same answers when they are loaded again."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from regraft.backbones.catalog import CatalogRow, Weights, catalog, families, family_of
from regraft.backbones.extractor import Extractor
from regraft.backbones.narrowing import narrow
from regraft.backbones.network import FrozenNetwork, load_network
from regraft.backbones.operations import multiply_adds
from regraft.backbones.sources import source
from regraft.backbones.weights import weight_file
from regraft.compression.pruning import (
    Target,
    channels,
    pruned,
    refuse_unfit,
)
from regraft.compression.sparsity import sparse
from regraft.errors import BackboneError, UsageError
from regraft.training.grafted import Grafted
from regraft.transfer.scaling import BlockScaling

SIZE = 32
Saved = Callable[..., Extractor]

NETWORKS = {
    "resnet10t": {},
    "vgg11_bn": {"mlp_ratio": 0.01},  # else its layer of 4,096 is 400 MB
    "tf_efficientnet_lite0": {},
    "vgg11": {"mlp_ratio": 0.01},
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Saved:
    """(architecture of timm) → an extractor on random weights in a folder."""

    def save(architecture: str) -> Extractor:
        folder = tmp_path_factory.mktemp(architecture)
        spec = replace(catalog()["efficientnet-lite0"].spec.at(SIZE), crop_fraction=1.0)
        family = family_of("timm", architecture).name
        row = CatalogRow(
            *(architecture, "timm", architecture, family, Weights("folder", str(folder)), spec),
            classes="own",
            num_classes=7,
            options=NETWORKS[architecture],
        )
        torch.manual_seed(0)
        module = source("timm").build(row)
        for part in module.modules():
            if isinstance(part, torch.nn.BatchNorm2d):
                part.weight.data.uniform_(0.5, 1.5)
        state = {name: t.contiguous() for name, t in module.state_dict().items()}
        save_file(state, folder / "model.safetensors")
        return Extractor(row, spec, "torch")

    return save


def grafted(one: Extractor) -> Grafted:
    """Under a head that says something of every block."""
    network = load_network(one.row, one.spec)
    widths = network.block_widths
    scaling = BlockScaling(np.zeros(sum(widths)), np.ones(sum(widths)), widths)
    model = Grafted(network, scaling, 3)
    torch.nn.init.normal_(model.linear.weight, std=0.1, generator=torch.Generator().manual_seed(0))
    return model


def batches() -> list[tuple[torch.Tensor, torch.Tensor]]:
    rng = np.random.default_rng(0)
    pixels = torch.from_numpy(rng.integers(0, 256, (4, SIZE, SIZE, 3), dtype=np.uint8))
    return [(pixels, torch.tensor([0, 1, 2, 0]))]


@pytest.mark.parametrize(
    ("architecture", "importance"),
    [("resnet10t", "l1"), ("vgg11_bn", "bn-scale"), ("tf_efficientnet_lite0", "taylor")],
)
def test_half_the_operations_are_left_and_its_file_gives_the_network_again(
    saved: Saved, architecture: str, importance: str
) -> None:
    one = saved(architecture)
    model = grafted(one)
    before = multiply_adds(model.network)
    parameters = [p.detach().clone() for p in model.parameters()]
    ((_, row),) = pruned(model, one, [Target("macs", 0.5)], importance, batches())
    small = Extractor(row, one.spec, "torch")
    assert 0.25 * before < small.macs <= 0.5 * before
    assert row.narrow
    assert row.parameters == sum(p.numel() for p in small.network.module.parameters())
    shapes, old = channels(small), channels(one)
    for name, (out, into) in shapes.items():
        head = families()[row.family].is_head(name)
        assert out == old[name][0] if head else out >= 0.25 * old[name][0]
        assert into <= old[name][1]
    assert any(shapes[name] != old[name] for name in shapes)
    with torch.no_grad():
        found = small.network(batches()[0][0])
    assert found.shape == (4, sum(small.network.block_widths))
    assert torch.isfinite(found).all()
    assert all(torch.equal(p, q) for p, q in zip(parameters, model.parameters(), strict=True))


def test_the_curve_goes_down_and_measures_what_it_is_asked_for(saved: Saved) -> None:
    one = saved("resnet10t")
    targets = [Target("params", 0.4), Target("bytes", 0.8)]
    found = list(pruned(grafted(one), one, targets, "l1", batches()))
    assert [str(target) for target, _ in found] == ["bytes=0.8", "params=0.4"]
    sizes = [
        row.parameters / sum(p.numel() for p in one.network.module.parameters()) for _, row in found
    ]
    assert 0.4 >= sizes[1] > 0.2
    assert 0.81 >= sizes[0] > sizes[1]


def test_what_cannot_be_reached_above_the_floor_is_told(saved: Saved) -> None:
    one = saved("resnet10t")
    with pytest.raises(BackboneError, match=r"macs=0\.1 cannot be reached"):
        list(pruned(grafted(one), one, [Target("macs", 0.1)], "l1", batches(), floor=0.9))


def test_taylor_keeps_the_channels_that_the_loss_depends_on(saved: Saved) -> None:
    """What the head does not read of the last block may go; here only that of one block counts."""
    one = saved("resnet10t")
    model = grafted(one)
    pick = {
        name: list(pruned(model, one, [Target("macs", 0.6)], name, batches()))
        for name in ("taylor", "l1")
    }
    kept = {name: channels(Extractor(rows[0][1], one.spec, "torch")) for name, rows in pick.items()}
    assert kept["taylor"] != kept["l1"]


@pytest.mark.parametrize("text", ["macs", "macs=", "macs=2", "macs=0", "speed=0.5", "macs=nan"])
def test_a_target_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="macs, params, bytes, latency"):
        Target.of(text)


def test_networks_without_channels_are_refused() -> None:
    row = catalog()["minilm-l6"]
    assert "do not offer 'prune'" in next(refuse_unfit(Extractor(row, row.spec, "torch")))


def test_an_importance_that_a_network_cannot_have_is_refused(saved: Saved) -> None:
    one = saved("vgg11")
    assert "vgg11 has no BatchNorm" in next(refuse_unfit(one, "bn-scale"))
    assert not list(refuse_unfit(one, "l1"))
    assert not list(refuse_unfit(saved("resnet10t"), "bn-scale"))


def test_the_smallest_weights_of_all_layers_become_zero(saved: Saved) -> None:
    one = saved("resnet10t")
    made = sparse(one, 0.5)
    assert made.zeros == pytest.approx(0.5, abs=1e-4)
    assert len(set(made.layers.values())) > 1  # not half of each layer
    before, after = (load_file(weight_file(row)) for row in (one.row, made.extractor.row))
    assert before.keys() == after.keys()
    gone = torch.cat([before[f"{n}.weight"][after[f"{n}.weight"] == 0].abs() for n in made.layers])
    stay = torch.cat([before[f"{n}.weight"][after[f"{n}.weight"] != 0].abs() for n in made.layers])
    assert gone.max() <= stay.min()
    assert all(torch.equal(before[k], after[k]) for k in before if k.startswith(("fc", "bn1")))
    assert not any((t == 0).any() for n, t in one.network.module.named_parameters() if t.ndim == 4)
    with torch.no_grad():
        assert torch.isfinite(made.extractor.network(batches()[0][0])).all()
    assert made.extractor.macs == one.macs
    assert "sparsity=0.5" in made.extractor.row.name


def test_shapes_that_are_larger_or_of_another_kind_are_refused(saved: Saved) -> None:
    """Before anything is allocated."""
    one = saved("resnet10t")
    state = load_file(weight_file(one.row))
    first = next(name for name, t in state.items() if t.ndim == 4)
    wrong = (torch.empty(10**6, 3, 3, 3, device="meta"), torch.zeros(8, 3, 5, 5), torch.zeros(8))
    for tensor in wrong:
        with pytest.raises(BackboneError, match="not those of a narrower ResNet"):
            narrow(source("timm").build(one.row), {**state, first: tensor})


def test_weights_with_fewer_channels_are_refused_where_the_row_does_not_tell(saved: Saved) -> None:
    one = saved("resnet10t")
    ((_, row),) = pruned(grafted(one), one, [Target("macs", 0.8)], "l1", batches())
    with pytest.raises(BackboneError, match="wrong shape"):
        load_network(replace(row, narrow=False), one.spec)
    assert isinstance(load_network(row, one.spec), FrozenNetwork)
    assert Path(row.weights.origin).parent.name == "pruned"
