"""Heat maps: their mass lies where the score comes from; convolutions, tokens, real weights."""

import base64
import io
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from timm.models import save_for_hf
from torch import Tensor, nn

from regraft.backbones.catalog import DEFAULT, families, find
from regraft.backbones.extractor import Extractor
from regraft.backbones.network import FrozenNetwork
from regraft.errors import UsageError
from regraft.modalities.spec import InputSpec
from regraft.model.looking import FOLDS, overlay, plain, prepared, where_it_looked
from regraft.model.model import Model
from regraft.transfer.novelty import Novelty
from regraft.transfer.probe import Head
from regraft.transfer.scaling import BlockScaling
from regraft.verbs.fitted import Fitted

SIZE, PATCH = 64, 8
CLASSES = ("red", "green", "blue")
SPEC = InputSpec(SIZE, "squash", interpolation="box", mean=(0, 0, 0), std=(1, 1, 1))


class Colours(nn.Module):
    """The amounts of red, green and blue of each patch; an in-place layer; their mean."""

    def __init__(self) -> None:
        super().__init__()
        convolution = nn.Conv2d(3, 3, PATCH, PATCH, bias=False)
        with torch.no_grad():
            convolution.weight.copy_(torch.eye(3)[:, :, None, None] / PATCH**2)
        self.layer1 = nn.Sequential(convolution)
        self.relu = nn.ReLU(inplace=True)
        self.fc = nn.Linear(3, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc(self.relu(self.layer1(x)).mean((2, 3)))
        return out


def model_of(extractor: Extractor, rows: np.ndarray, others: int = 0) -> Model:
    """A model with these coefficients (d, c) of the raw features, and `others` of more networks."""
    widths = (*extractor.network.block_widths, *((others,) if others else ()))
    d, c = sum(widths), rows.shape[1]
    coefficients = np.zeros((d + 1, c))
    coefficients[: len(rows)] = rows
    scaling = BlockScaling(np.zeros(d), np.ones(d), widths)
    head = Head(scaling, coefficients, (1.0,) * len(widths), 1.0)
    none = np.zeros((d, 0), np.float32)
    novelty = Novelty(np.zeros(d, np.float32), none, np.zeros(0, np.float32), 1.0)
    names = tuple(f"class {k}" for k in range(c))
    return Model(names, (extractor,), head, 1.0, np.inf, novelty, {})


@pytest.fixture
def colours() -> Model:
    row = replace(find("resnet18"), spec=SPEC)
    extractor = Extractor(row, SPEC, "torch")
    network = FrozenNetwork(Colours(), families()["resnet"], SPEC)
    extractor.__dict__["network"] = network
    return model_of(extractor, np.vstack([np.eye(3), np.eye(3)]), others=5)


@pytest.fixture
def quarters(tmp_path: Path) -> Path:
    """Red above on the left, green above on the right, blue below on the left, else black."""
    pixels = np.zeros((SIZE, SIZE, 3), np.uint8)
    half = SIZE // 2
    for channel, (top, left) in enumerate([(0, 0), (0, half), (half, 0)]):
        pixels[top : top + half, left : left + half, channel] = 200
    Image.fromarray(pixels).save(tmp_path / "quarters.png")
    return tmp_path / "quarters.png"


def mass(heat: np.ndarray | None, row: int, column: int) -> float:
    """Share of the heat in a quarter."""
    assert heat is not None
    h, w = heat.shape[0] // 2, heat.shape[1] // 2
    part = heat[row * h : (row + 1) * h, column * w : (column + 1) * w]
    return float(part.sum() / heat.sum())


def test_the_heat_lies_where_the_score_comes_from(colours: Model, quarters: Path) -> None:
    maps = where_it_looked(colours, [quarters] * 3, [0, 1, 2])
    for heat, (row, column) in zip(maps, [(0, 0), (0, 1), (1, 0)], strict=True):
        assert mass(heat, row, column) > 0.8
        assert heat is not None
        assert heat.shape == (SIZE, SIZE)
        assert heat.dtype == np.float32
        assert (heat.min(), heat.max()) == (0, 1)


def test_what_lowers_a_score_is_not_shown(colours: Model, quarters: Path) -> None:
    rows = np.vstack([np.eye(3), np.eye(3)]) @ np.array([[1.0, -1], [-1, -1], [0, -1]])
    model = model_of(colours.extractors[0], rows)
    against, nothing = where_it_looked(model, [quarters] * 2, [0, 1])
    assert mass(against, 0, 0) > 0.8
    assert nothing is not None
    assert not nothing.any()


def test_the_scaling_of_the_features_counts(colours: Model, quarters: Path) -> None:
    """The same coefficients, but blue features are multiplied by zero."""
    rows = np.tile([[1.0], [0], [5]], (2, 1))
    model = model_of(colours.extractors[0], rows)
    assert mass(where_it_looked(model, [quarters], [0])[0], 1, 0) > 0.6
    scaling = BlockScaling(np.zeros(6), np.array([1.0, 1, 0] * 2), model.head.scaling.widths)
    scaled = replace(model, head=replace(model.head, scaling=scaling))
    assert mass(where_it_looked(scaled, [quarters], [0])[0], 0, 0) > 0.8


def test_a_channel_counts_from_its_mean_over_what_was_learned_from(
    colours: Model, quarters: Path
) -> None:
    """Where red is as usual, it says nothing; where there is none, that is unusual."""
    model = model_of(colours.extractors[0], np.array([[-1.0], [0], [0], [-1], [0], [0]]))
    width = len(model.head.scaling.shift)
    scaling = BlockScaling(np.full(width, 200 / 255), np.ones(width), model.head.scaling.widths)
    usual = replace(model, head=replace(model.head, scaling=scaling))
    (heat,) = where_it_looked(usual, [quarters], [0])
    assert mass(heat, 0, 0) < 0.1
    assert mass(heat, 1, 1) > 0.3


def test_the_network_gives_the_same_afterwards_and_to_other_threads(
    colours: Model, quarters: Path
) -> None:
    network = colours.extractors[0].network
    module: Any = network.module
    pixels = torch.tensor(np.asarray(Image.open(quarters))[None])
    hooks = dict(module.layer1[0]._forward_hooks)
    before, beside = network(pixels), []

    def elsewhere(module: nn.Module, inputs: object, output: object) -> None:
        if threading.current_thread() is threading.main_thread():
            worker = threading.Thread(target=lambda: beside.append(network(pixels)))
            worker.start()
            worker.join()

    registered = module.fc.register_forward_hook(elsewhere)
    where_it_looked(colours, [quarters], [0])
    registered.remove()
    for one in (network(pixels), *beside):
        assert torch.equal(one, before)
        assert not one.requires_grad
    assert len(beside) == 1
    assert dict(module.layer1[0]._forward_hooks) == hooks


def predicted(model: Model, files: list[Path]) -> list[int]:
    features = model.features(files).features
    assert features is not None
    found: list[int] = model.answer(features).scores.argmax(1).tolist()
    return found


def test_it_agrees_with_grad_cam_by_hand(fitted: Fitted) -> None:
    """On real weights: autograd on a twin of the computation, written out."""
    model, file = fitted.model, fitted.data.held_out.table["path"][0]
    first = model.extractors[0]
    net: Any = first.network.module
    number = predicted(model, [Path(file)])[0]
    pixels = prepared(model, file)
    assert pixels is not None
    x = first.network.normalise(torch.tensor(pixels[None]))
    with torch.enable_grad():
        kept, a = [], net.bn1(net.conv_stem(x))
        for block in (block for stage in net.blocks for block in stage):
            a = block(a).detach().requires_grad_()
            kept.append(a.mean((2, 3)))
        last = net.bn2(net.conv_head(a.clone())).mean((2, 3))
        features = torch.cat([*kept, last], 1)[0].double()
        scaling, coefficients = model.head.scaling, torch.tensor(model.head.coefficients)
        normalised = (features - torch.tensor(scaling.shift)) * torch.tensor(scaling.factor)
        (normalised @ coefficients[:-1, number]).backward()
    end = sum(kept[k].shape[1] for k in range(len(kept)))
    mean = torch.tensor(scaling.shift[end - a.shape[1] : end]).view(-1, 1, 1)
    assert a.grad is not None
    cam = (a.grad.mean((2, 3), keepdim=True) * (a - mean)).sum(1, keepdim=True)
    cam = cam.relu().detach().float()
    expected = nn.functional.interpolate(cam, (64, 64), mode="bilinear")[0, 0].numpy()
    assert expected.any()
    heat = where_it_looked(model, [Path(file)], [number])[0]
    assert heat is not None
    assert np.allclose(heat, expected / expected.max(), atol=1e-4)


def test_the_embedded_network_looks_at_every_held_out_picture(fitted: Fitted) -> None:
    files = [Path(path) for path in fitted.data.held_out.table["path"]]
    classes = predicted(fitted.model, files)
    maps = where_it_looked(fitted.model, files, classes)
    assert fitted.model.extractors[0].row.name == find(DEFAULT).name
    for heat in maps:
        assert heat is not None
        assert heat.shape == (64, 64)
        assert heat.min() >= 0
        assert heat.max() == 1


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """A tiny vision transformer with random weights, from a folder."""
    folder = tmp_path_factory.mktemp("vit")
    options: dict[str, Any] = {
        "depth": 2,
        "embed_dim": 24,
        "num_heads": 2,
        "patch_size": 8,
        "img_size": 32,
    }
    torch.manual_seed(0)
    net = timm.create_model("vit_tiny_patch16_224", num_classes=3, **options)
    config = {"pretrained_cfg": {"input_size": [3, 32, 32], "crop_pct": 1.0}}
    save_for_hf(net, str(folder), safe_serialization=True, model_config=config, model_args=options)
    row = find(f"folder:{folder}")
    extractor = Extractor(row, row.spec, "torch")
    width = sum(extractor.network.block_widths)
    rows = np.random.default_rng(0).normal(size=(width, 2))
    return model_of(extractor, rows)


def test_tokens_are_folded_into_their_grid(tokens: Model, quarters: Path) -> None:
    maps = where_it_looked(tokens, [quarters] * 2, [0, 1])
    for heat in maps:
        assert heat is not None
        assert heat.shape == (32, 32)
        assert heat.dtype == np.float32
        assert (heat.min() >= 0, heat.max()) == (True, 1)
    assert maps[0] is not None
    assert maps[1] is not None
    assert not np.array_equal(maps[0], maps[1])


def test_the_prefix_is_no_patch_and_rows_stay_rows() -> None:
    grid = torch.arange(9.0).view(1, 9, 1)
    folded = FOLDS["tokens"](torch.cat([torch.full((1, 2, 1), 99.0), grid], 1), 2)
    assert folded is not None
    assert folded[0, 0].tolist() == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
    whole = torch.arange(24.0).view(1, 2, 3, 4)
    last = FOLDS["nhwc"](whole.permute(0, 2, 3, 1), 0)
    assert last is not None
    assert torch.equal(last, whole)


@pytest.mark.parametrize(
    ("pool", "shape"),
    [
        ("map", (1, 5)),
        ("nhwc", (1, 5)),
        ("tokens", (1, 9, 4)),
        ("tokens", (1, 1, 4)),
        ("auto", (1, 5)),
        ("auto", (1, 9, 4)),
    ],
)
def test_what_is_no_map_is_none(pool: str, shape: tuple[int, ...]) -> None:
    assert FOLDS[pool](torch.zeros(shape), 1) is None


def test_a_file_that_is_gone_has_no_map(colours: Model, quarters: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"nothing")
    files = [tmp_path / "gone.png", quarters, tmp_path / "broken.png"]
    found = where_it_looked(colours, files, [0, 0, 0])
    assert [heat is None for heat in found] == [True, False, True]


def test_all_mistakes_are_told_at_once(colours: Model, quarters: Path) -> None:
    with pytest.raises(UsageError) as caught:
        where_it_looked(colours, [quarters], [0, 3])
    assert caught.value.mistakes == (
        "classes: expected one for each of 1 files, got 2",
        "classes: expected 0 to 2, got 3",
    )


# Pictures


def opened(uri: str) -> np.ndarray:
    kind, _, data = uri.partition("base64,")
    assert kind == "data:image/jpeg;"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))).astype(float)


def test_the_overlay_is_lightest_where_the_heat_is() -> None:
    picture = np.full((100, 120, 3), 128, np.uint8)
    heat = np.zeros((2, 2), np.float32)
    heat[1, 0] = 1
    shown = opened(overlay(picture, heat))
    assert shown.shape == (100, 120, 3)
    light = shown.mean(2)
    assert light[75:, :25].mean() > 160
    assert light[:25].mean() < 100
    assert np.abs(opened(plain(picture)) - 128).max() < 2


def test_the_picture_shines_through() -> None:
    chequer = np.indices((64, 64)).sum(0) // 16 % 2 * np.uint8(255)
    picture = np.repeat(chequer[..., None], 3, 2).astype(np.uint8)
    for value in (0, 1):
        shown = opened(overlay(picture, np.full((7, 7), value, np.float32))).mean(2)
        assert shown[chequer == 255].mean() - shown[chequer == 0].mean() > 60


def test_large_pictures_become_small() -> None:
    rng = np.random.default_rng(0)
    uri = overlay(rng.integers(0, 256, (900, 600, 3), dtype=np.uint8), np.eye(7, dtype=np.float32))
    assert opened(uri).shape == (192, 128, 3)
    assert len(uri) < 30_000


def test_lightness_rises_evenly_with_heat() -> None:
    steps = np.linspace(0, 1, 11, dtype=np.float32)
    black = np.zeros((8, 8, 3), np.uint8)
    light = [opened(overlay(black, np.full((1, 1), v, np.float32))).mean() for v in steps]
    assert (np.diff(light) > 0).all()
