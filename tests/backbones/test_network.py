"""FrozenNetwork against what each library computes by its own means, on small checkpoints."""

import copy
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import transformers
from safetensors.torch import load_file, save_file
from timm.models import save_for_hf
from torch import Tensor, nn
from torchvision import models

from regraft.backbones.catalog import DEFAULT, CatalogRow, families, find
from regraft.backbones.network import (
    POOLS,
    FrozenNetwork,
    Normalise,
    class_names,
    load_network,
    synthetic_picture,
)
from regraft.errors import BackboneError, UsageError
from regraft.modalities.spec import InputSpec

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.3, 0.25)


def pictures(size: int, count: int = 3, seed: int = 0) -> Tensor:
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.integers(0, 256, (count, size, size, 3), dtype=np.uint8))


def normalised(pixels: Tensor) -> Tensor:
    """By the book, in double precision."""
    x = pixels.double() / 255
    x = (x - torch.tensor(MEAN).double()) / torch.tensor(STD).double()
    return x.permute(0, 3, 1, 2).float().contiguous()


def lively(module: nn.Module, seed: int = 1) -> nn.Module:
    """Random weights at which every block matters; fresh ones have gains of zero."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in module.state_dict().items():
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 2.0, generator=generator)
        elif tensor.ndim == 1:
            tensor.normal_(0.5, 0.3, generator=generator)
        elif tensor.is_floating_point():
            tensor.normal_(0.0, (2 / tensor[0].numel()) ** 0.5, generator=generator)
    return module.eval()


# --- the same features, by the means of each library ---------------------------------------------


def space(x: Tensor) -> Tensor:
    return x.flatten(2).mean(2)


def cls_and_patches(x: Tensor, prefix: int) -> Tensor:
    return torch.cat([x[:, 0], x[:, prefix:].mean(1)], 1)


def resnet_by_hand(net: Any, x: Tensor) -> list[Tensor]:
    x = net.maxpool(torch.relu(net.bn1(net.conv1(x))))
    kept = []
    for layer in (net.layer1, net.layer2, net.layer3, net.layer4):
        for block in layer:
            x = block(x)
            kept.append(space(x))
    return [*kept, space(x)]


def efficientnet_by_hand(net: Any, x: Tensor) -> list[Tensor]:
    x, kept = net.bn1(net.conv_stem(x)), []
    for stage in net.blocks:
        for block in stage:
            x = block(x)
            kept.append(space(x))
    return [*kept, space(net.bn2(net.conv_head(x)))]


def mobilenet_by_hand(net: Any, x: Tensor) -> list[Tensor]:
    """Its head pools before the last convolution."""
    x, kept = net.bn1(net.conv_stem(x)), []
    for stage in net.blocks:
        for block in stage:
            x = block(x)
            kept.append(space(x))
    x = net.conv_head(x.mean((2, 3), keepdim=True))
    return [*kept, net.act2(x).flatten(1)]


def convnext_by_hand(net: Any, x: Tensor) -> list[Tensor]:
    x, kept = net.stem(x), []
    for stage in net.stages:
        x = stage.downsample(x)
        for block in stage.blocks:
            x = block(x)
            kept.append(space(x))
    return [*kept, net.head.norm(x.mean((2, 3), keepdim=True)).flatten(1)]


def vit_by_timm(net: Any, x: Tensor) -> list[Tensor]:
    final, maps = net.forward_intermediates(x, output_fmt="NLC", return_prefix_tokens=True)
    kept = [torch.cat([prefix[:, 0], patches.mean(1)], 1) for patches, prefix in maps]
    return [*kept, final[:, 0]]


def swin_by_hand(net: Any, x: Tensor) -> list[Tensor]:
    x, kept = net.patch_embed(x), []
    for layer in net.layers:
        x = layer.downsample(x)
        for block in layer.blocks:
            x = block(x)
            kept.append(x.flatten(1, 2).mean(1))
    return [*kept, net.norm(x).mean((1, 2))]


def stages_by_timm(net: Any, x: Tensor) -> list[Tensor]:
    """timm's own stage outputs, and the feature it gives without a classifier."""
    maps = net.forward_intermediates(x, intermediates_only=True)
    net.reset_classifier(0)
    return [*(space(m) for m in maps), net(x)]


def vit_by_transformers(prefix: int) -> Callable[[Any, Tensor], list[Tensor]]:
    def by_transformers(net: Any, x: Tensor) -> list[Tensor]:
        base = getattr(net, net.base_model_prefix, net)
        states = base(x, output_hidden_states=True)
        kept = [cls_and_patches(h, prefix) for h in states.hidden_states[1:]]
        return [*kept, cls_and_patches(states.last_hidden_state, prefix)]

    return by_transformers


def convnext_by_transformers(net: Any, x: Tensor) -> list[Tensor]:
    base = getattr(net, net.base_model_prefix, net)
    x, kept = base.embeddings(x), []
    for stage in base.encoder.stages:
        for down in stage.downsampling_layer:
            x = down(x)
        for layer in stage.layers:
            x = layer(x)
            kept.append(space(x))
    return [*kept, base.layernorm(x.mean((2, 3)))]


def resnet_by_transformers(net: Any, x: Tensor) -> list[Tensor]:
    base = getattr(net, net.base_model_prefix, net)
    x, kept = base.embedder(x), []
    for stage in base.encoder.stages:
        for layer in stage.layers:
            x = layer(x)
            kept.append(space(x))
    return [*kept, space(x)]


def swin_by_transformers(net: Any, x: Tensor) -> list[Tensor]:
    """Its hidden states are those before every stage; one block a stage makes them all of them."""
    base = getattr(net, net.base_model_prefix, net)
    kept: list[Tensor] = []
    hooks = [
        block.register_forward_hook(
            lambda m, i, o: kept.append((o[0] if isinstance(o, tuple) else o).mean(1))
        )
        for layer in base.encoder.layers
        for block in layer.blocks
    ]
    pooled = base(x).pooler_output
    for hook in hooks:
        hook.remove()
    return [*kept, pooled]


# --- checkpoints as the libraries write them -----------------------------------------------------


def save_timm(name: str, size: int, **arguments: Any) -> Callable[[Path], nn.Module]:
    def save(folder: Path) -> nn.Module:
        net = lively(timm.create_model(name, num_classes=5, **arguments))
        config = {"input_size": [3, size, size], "mean": MEAN, "std": STD, "crop_pct": 1.0}
        save_for_hf(
            net,
            folder,
            safe_serialization=True,
            model_config={"pretrained_cfg": config},
            model_args=arguments,
        )
        return net

    return save


def save_torchvision(name: str, size: int) -> Callable[[Path], nn.Module]:
    def save(folder: Path) -> nn.Module:
        net = lively(models.get_model(name, num_classes=5))
        save_file(net.state_dict(), folder / "model.safetensors")
        spec = InputSpec(size=size, mean=MEAN, std=STD).to_dict()
        config = {"source": "torchvision", "architecture": name, "num_classes": 5, "input": spec}
        (folder / "config.json").write_text(json.dumps(config))
        return net

    return save


def save_transformers(kind: str, config: str, **arguments: Any) -> Callable[[Path], nn.Module]:
    def save(folder: Path) -> nn.Module:
        settings = getattr(transformers, config)(**arguments)
        net = lively(getattr(transformers, kind)(settings))
        net.save_pretrained(folder)
        size = arguments.get("image_size", 32)
        processor = {"size": size, "image_mean": MEAN, "image_std": STD}
        (folder / "preprocessor_config.json").write_text(json.dumps(processor))
        return net

    return save


@dataclass(frozen=True)
class Case:
    save: Callable[[Path], nn.Module]
    features: Callable[[Any, Tensor], list[Tensor]]
    widths: tuple[int, ...]
    family: str
    size: int = 32
    classes: int = 5


VIT = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
VIT |= {"image_size": 32, "patch_size": 8}
CASES = {
    "timm-resnet": Case(
        save_timm("resnet18", 32, layers=[1, 2, 1, 1], channels=[8, 12, 16, 20]),
        resnet_by_hand,
        (8, 12, 12, 16, 20, 20),
        "resnet",
    ),
    "timm-efficientnet": Case(
        save_timm("efficientnet_lite0", 32),
        efficientnet_by_hand,
        (16, 24, 24, 40, 40, 80, 80, 80, 112, 112, 112, 192, 192, 192, 192, 320, 1280),
        "efficientnet",
    ),
    "timm-mobilenet": Case(
        save_timm("mobilenetv3_small_050", 32),
        mobilenet_by_hand,
        (8, 16, 16, 24, 24, 24, 24, 24, 48, 48, 48, 288, 1024),
        "efficientnet",
    ),
    "timm-convnext": Case(
        save_timm("convnext_atto", 64, depths=[1, 1, 2, 1], dims=[8, 12, 16, 20]),
        convnext_by_hand,
        (8, 12, 16, 16, 20, 20),
        "convnext",
        64,
    ),
    "timm-vit": Case(
        save_timm(
            "vit_tiny_patch16_224",
            32,
            img_size=32,
            patch_size=8,
            embed_dim=12,
            depth=3,
            num_heads=2,
        ),
        vit_by_timm,
        (24, 24, 24, 12),
        "vit",
    ),
    "timm-vit-registers": Case(
        save_timm(
            "vit_small_patch14_reg4_dinov2",
            28,
            img_size=28,
            patch_size=7,
            embed_dim=12,
            depth=2,
            num_heads=2,
        ),
        vit_by_timm,
        (24, 24, 12),
        "vit",
        28,
    ),
    "timm-swin": Case(
        save_timm(
            "swin_tiny_patch4_window7_224",
            32,
            img_size=32,
            window_size=4,
            embed_dim=8,
            depths=(2, 1),
            num_heads=(1, 2),
        ),
        swin_by_hand,
        (8, 8, 16, 16),
        "swin",
    ),
    "timm-any": Case(
        save_timm("test_nfnet", 64), stages_by_timm, (64, 32, 64, 96, 192, 192), "timm-any", 64
    ),
    "torchvision-resnet": Case(
        save_torchvision("resnet18", 64),
        resnet_by_hand,
        (64, 64, 128, 128, 256, 256, 512, 512, 512),
        "resnet",
        64,
    ),
    "transformers-vit": Case(
        save_transformers("ViTForImageClassification", "ViTConfig", num_labels=5, **VIT),
        vit_by_transformers(1),
        (16, 16, 16),
        "transformers-vit",
    ),
    "transformers-deit": Case(
        save_transformers("DeiTForImageClassification", "DeiTConfig", num_labels=5, **VIT),
        vit_by_transformers(2),
        (16, 16, 16),
        "transformers-deit",
    ),
    "transformers-dinov2": Case(
        save_transformers("Dinov2Model", "Dinov2Config", **VIT),
        vit_by_transformers(1),
        (16, 16, 16),
        "transformers-dinov2",
        classes=0,
    ),
    "transformers-dinov2-registers": Case(
        save_transformers("Dinov2WithRegistersModel", "Dinov2WithRegistersConfig", **VIT),
        vit_by_transformers(5),
        (16, 16, 16),
        "transformers-dinov2-registers",
        classes=0,
    ),
    "transformers-convnext": Case(
        save_transformers(
            "ConvNextForImageClassification",
            "ConvNextConfig",
            num_labels=5,
            depths=[1, 1, 2, 1],
            hidden_sizes=[8, 12, 16, 20],
        ),
        convnext_by_transformers,
        (8, 12, 16, 16, 20, 20),
        "transformers-convnext",
    ),
    "transformers-resnet": Case(
        save_transformers(
            "ResNetForImageClassification",
            "ResNetConfig",
            num_labels=5,
            embedding_size=8,
            depths=[1, 2],
            hidden_sizes=[8, 12],
            layer_type="basic",
        ),
        resnet_by_transformers,
        (8, 12, 12, 12),
        "transformers-resnet",
    ),
    "transformers-swin": Case(
        save_transformers(
            "SwinForImageClassification",
            "SwinConfig",
            num_labels=5,
            image_size=32,
            patch_size=4,
            window_size=4,
            embed_dim=8,
            depths=[2, 1],
            num_heads=[1, 2],
        ),
        swin_by_transformers,
        (8, 8, 16, 16),
        "transformers-swin",
    ),
}


@dataclass(frozen=True)
class Loaded:
    case: Case
    original: nn.Module
    row: CatalogRow
    network: FrozenNetwork


@pytest.fixture(scope="module", params=list(CASES))
def loaded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    case, folder = CASES[request.param], tmp_path_factory.mktemp("checkpoint")
    original = case.save(folder)
    row = find(f"folder:{folder}")
    return Loaded(case, original, row, load_network(row))


@torch.no_grad()
def test_features_equal_the_librarys_own(loaded: Loaded) -> None:
    pixels = pictures(loaded.case.size)
    original = copy.deepcopy(loaded.original)
    expected = loaded.case.features(original, normalised(pixels))
    features = loaded.network.features(pixels)
    assert loaded.row.family == loaded.case.family
    assert [tuple(x.shape) for x in features] == [tuple(x.shape) for x in expected]
    for name, ours, theirs in zip(loaded.network.block_names, features, expected, strict=True):
        scale = float(theirs.abs().max())
        assert float(theirs.std()) > 0, name
        torch.testing.assert_close(ours, theirs, atol=2e-5 * scale, rtol=2e-4, msg=name)
    whole = loaded.network(pixels)
    assert whole.dtype == torch.float32
    assert torch.equal(whole, torch.cat(features, 1))


def test_widths_and_names_tell_the_columns(loaded: Loaded) -> None:
    network = loaded.network
    assert network.block_widths == loaded.case.widths
    assert len(network.block_names) == len(network.block_widths) == len(set(network.block_names))
    assert network.block_names[-1] == "last"
    assert network(pictures(loaded.case.size, 2)).shape == (2, sum(network.block_widths))


@torch.no_grad()
def test_logits_equal_the_librarys_own(loaded: Loaded) -> None:
    pixels = pictures(loaded.case.size)
    if not loaded.case.classes:
        with pytest.raises(BackboneError, match="no logits"):
            loaded.network.logits(pixels)
        return
    expected = loaded.original(normalised(pixels))
    expected = getattr(expected, "logits", expected)
    logits = loaded.network.logits(pixels)
    assert logits.shape == (3, loaded.case.classes)
    torch.testing.assert_close(logits, expected, atol=1e-4 * float(expected.abs().max()), rtol=1e-3)


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore::FutureWarning")
def test_a_trace_gives_the_same(loaded: Loaded) -> None:
    traced = torch.jit.trace(loaded.network, pictures(loaded.case.size, 2), check_trace=False)
    pixels = pictures(loaded.case.size, 2, seed=5)
    torch.testing.assert_close(traced(pixels), loaded.network(pixels), rtol=1e-4, atol=1e-4)


def test_it_is_frozen(loaded: Loaded) -> None:
    network = loaded.network
    assert not any(p.requires_grad for p in network.parameters())
    network.train()
    assert not any(module.training for module in network.modules())
    before = {name: t.clone() for name, t in network.state_dict().items()}
    network(pictures(loaded.case.size))
    assert all(torch.equal(before[name], t) for name, t in network.state_dict().items())


def test_a_copy_is_independent(loaded: Loaded) -> None:
    pixels, twin = pictures(loaded.case.size), copy.deepcopy(loaded.network)
    expected = loaded.network(pixels)
    assert torch.equal(twin(pixels), expected)
    for parameter in twin.parameters():
        parameter.zero_()
    assert torch.equal(loaded.network(pixels), expected)
    assert not torch.equal(twin(pixels), expected)


def test_depth_groups_hold_every_parameter(loaded: Loaded) -> None:
    names = [name for name, _ in loaded.original.named_parameters()]
    groups = families()[loaded.row.family].depth_groups(names)
    assert sorted(name for group in groups for name in group) == sorted(names)


# --- sizes ---------------------------------------------------------------------------------------


RESIZABLE = ["timm-vit", "timm-swin", "timm-resnet", "transformers-vit", "transformers-dinov2"]


@pytest.mark.parametrize("loaded", RESIZABLE, indirect=True)
def test_another_size_keeps_the_widths_and_reads_that_size(loaded: Loaded) -> None:
    network = load_network(loaded.row, loaded.row.spec.at(64))
    assert network.size == 64
    assert network.block_widths == loaded.network.block_widths
    assert bool(torch.isfinite(network(pictures(64))).all())
    assert len(network.logits(pictures(64))) == 3 if network.classes else True


@pytest.mark.parametrize("loaded", ["transformers-vit"], indirect=True)
def test_a_size_the_patches_do_not_fill_is_refused(loaded: Loaded) -> None:
    with pytest.raises(UsageError, match="32 px or more, a multiple of 8; got 36"):
        load_network(loaded.row, loaded.row.spec.at(36))


def test_a_size_below_the_smallest_is_refused() -> None:
    row = find(DEFAULT)
    with pytest.raises(UsageError, match="efficientnet-lite0 reads 32 px or more; got 16"):
        load_network(row, row.spec.at(16))


@pytest.mark.slow
def test_torchvisions_vit_reads_one_size_only() -> None:
    family = families()["torchvision-vit"]
    with pytest.raises(UsageError, match="reads 224 pixels only, not 256"):
        FrozenNetwork(models.vit_b_16(), family, InputSpec(size=256), native=224)


# --- VGG, in memory: its classifier alone has 100 million weights ---------------------------------


@torch.no_grad()
def test_vgg_gives_its_five_blocks_and_the_second_hidden_layer() -> None:
    with torch.device("meta"):
        net: Any = models.vgg11(num_classes=5)
    net.classifier[0] = nn.Linear(512 * 49, 24, device="meta")
    net.classifier[3], net.classifier[6] = nn.Linear(24, 12), nn.Linear(12, 5)
    lively(net.to_empty(device="cpu"))
    network = FrozenNetwork(
        net, families()["torchvision-vgg"], InputSpec(size=64, mean=MEAN, std=STD), classes=5
    )
    assert network.block_widths == (64, 128, 256, 512, 512, 12)
    pixels = pictures(64)
    x, expected = normalised(pixels), []
    for layer in net.features:
        x = layer(x)
        if isinstance(layer, nn.MaxPool2d):
            expected.append(space(x))
    expected.append(net.classifier[:6](net.avgpool(x).flatten(1)))
    torch.testing.assert_close(network(pixels), torch.cat(expected, 1), rtol=1e-4, atol=1e-3)


@pytest.mark.slow
def test_vgg11_loads_from_a_folder(tmp_path: Path) -> None:
    original = save_torchvision("vgg11", 64)(tmp_path)
    network = load_network(find(f"folder:{tmp_path}"))
    pixels = pictures(64)
    with torch.no_grad():
        expected = original(normalised(pixels))
    torch.testing.assert_close(network.logits(pixels), expected, rtol=1e-3, atol=1e-3)


# --- the embedded default ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lite0() -> FrozenNetwork:
    return load_network(find(DEFAULT), offline=True)


def test_the_default_loads_without_a_network_and_passes_its_check(lite0: FrozenNetwork) -> None:
    assert len(lite0.block_names) == 17
    assert sum(lite0.block_widths) == 3088
    row = find(DEFAULT)
    assert row.check is not None
    logits = lite0.logits(synthetic_picture(224))[0, :8]
    torch.testing.assert_close(logits, torch.tensor(row.check.logits), atol=0.02, rtol=0)


def test_the_wrong_variant_takes_the_weights_and_is_refused() -> None:
    wrong = replace(find(DEFAULT), architecture="efficientnet_lite0")
    load_network(replace(wrong, check=None))  # nothing else would have told
    with pytest.raises(BackboneError, match=r"fails its self-check.*another variant"):
        load_network(wrong)


@pytest.mark.parametrize("name", ["efficientnet-lite1", "efficientnet-lite2"])
def test_the_larger_ones_pass_their_checks(name: str) -> None:
    row = find(name)
    network = load_network(row)
    assert network.size == row.spec.size


def test_wrong_normalisation_would_fail_the_check() -> None:
    row = find(DEFAULT)
    wrong = replace(row, spec=replace(row.spec, mean=(0.485, 0.456, 0.406)))
    with pytest.raises(BackboneError, match="self-check"):
        load_network(wrong)


def test_batches_and_threads_do_not_mix(lite0: FrozenNetwork) -> None:
    pixels = [pictures(224, 1, seed) for seed in range(4)]
    alone = [lite0(p) for p in pixels]
    together: list[Tensor] = [torch.empty(0)] * 4

    def run(i: int) -> None:
        for _ in range(3):
            together[i] = lite0(pixels[i])

    threads = [threading.Thread(target=run, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one, other in zip(alone, together, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(lite0(torch.cat(pixels)), torch.cat(alone), rtol=1e-3, atol=1e-3)


def test_weights_lie_channels_last(lite0: FrozenNetwork) -> None:
    normal = lite0.normalise(pictures(32))
    assert normal.is_contiguous(memory_format=torch.channels_last)
    kernels = [m.weight for m in lite0.modules() if isinstance(m, nn.Conv2d)]
    assert all(k.is_contiguous(memory_format=torch.channels_last) for k in kernels)


def test_normalisation_is_by_the_book() -> None:
    spec = InputSpec(size=8, mean=MEAN, std=STD)
    pixels = torch.arange(256, dtype=torch.uint8).repeat(3).view(-1, 8, 8, 3)
    ours = Normalise(spec)(pixels)
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours, normalised(pixels), atol=1e-6, rtol=1e-6)


def test_class_names_are_imagenets() -> None:
    names = class_names(find(DEFAULT))
    assert len(names) == 1000
    assert (names[0], names[999]) == (
        "tench, Tinca tinca",
        "toilet tissue, toilet paper, bathroom tissue",
    )
    categories = models.get_model_weights("resnet18").DEFAULT.meta["categories"]
    same = [ours.lower().startswith(c.lower()) for ours, c in zip(names, categories, strict=True)]
    assert sum(same) > 900  # the tables shorten differently; the order is one


def test_networks_without_names_say_so() -> None:
    with pytest.raises(BackboneError, match="no class names are known"):
        class_names(find("dinov2-small"))
    assert class_names(replace(find(DEFAULT), labels=("a", "b"))) == ["a", "b"]


# --- refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize("loaded", ["timm-convnext", "transformers-vit"], indirect=True)
def test_a_checkpoint_that_lacks_an_entry_is_refused(loaded: Loaded, tmp_path: Path) -> None:
    source = Path(loaded.row.weights.origin)
    for path in source.glob("*.json"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    state = load_file(source / "model.safetensors")
    gone = next(name for name in state if name.endswith("bias"))
    state["surplus.weight"] = state.pop(gone)
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    row = find(f"folder:{tmp_path}")
    with pytest.raises(BackboneError, match=r"missing: .*bias; unexpected: surplus\.weight"):
        load_network(row)


@pytest.mark.parametrize("loaded", ["timm-resnet", "transformers-convnext"], indirect=True)
def test_a_checkpoint_of_another_shape_is_refused(loaded: Loaded, tmp_path: Path) -> None:
    source = Path(loaded.row.weights.origin)
    for path in source.glob("*.json"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    state = load_file(source / "model.safetensors")
    name = next(n for n, t in state.items() if t.ndim == 2)
    state[name] = state[name][:, :-1].contiguous()
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    row = find(f"folder:{tmp_path}")
    with pytest.raises(BackboneError, match=r"wrong shape .*\(5, \d+\) for \(5, \d+\)"):
        load_network(row)


def test_a_family_that_does_not_fit_is_told() -> None:
    net, spec = timm.create_model("resnet18", layers=[1, 1, 1, 1]), InputSpec(size=32)
    with pytest.raises(BackboneError, match="family swin: ResNet has no modules as in"):
        FrozenNetwork(net, families()["swin"], spec)
    wrong = replace(families()["resnet"], last="input:head")
    with pytest.raises(BackboneError, match="family resnet: ResNet has no module as in 'head'"):
        FrozenNetwork(net, wrong, spec)


def test_a_block_that_never_runs_is_told() -> None:
    class Idle(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer1 = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3))
            self.fc = nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(self.layer1[0](x).mean((2, 3)))

    with pytest.raises(BackboneError, match=r"'layer1\.1' gives nothing in a call"):
        FrozenNetwork(Idle(), families()["resnet"], InputSpec(size=32))


def test_a_size_that_the_module_cannot_read_is_told() -> None:
    net = timm.create_model("vit_tiny_patch16_224", img_size=32, depth=1)
    with pytest.raises(BackboneError, match="cannot read 40 px"):
        FrozenNetwork(net, replace(families()["vit"], resize="any"), InputSpec(size=40))


def test_pools_by_shape_tell_layouts_apart() -> None:
    x = torch.arange(2 * 5 * 3 * 3.0).view(2, 5, 3, 3)
    expected = POOLS["map"](x, 0)
    assert torch.equal(POOLS["auto"](x, 0), expected)
    assert torch.allclose(POOLS["auto"](x.permute(0, 2, 3, 1), 0), expected)
    assert torch.allclose(POOLS["auto"](x.flatten(2).mT, 0), expected)
