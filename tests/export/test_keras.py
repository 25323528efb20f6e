"""What is written for Keras: each operation gives what PyTorch gives, from a file in safe mode."""

import importlib.util
import json
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from regraft.errors import RegraftError
from regraft.export.keras import open_keras, write_keras
from regraft.export.wanted import Wanted

if importlib.util.find_spec("keras") is None:  # importing it would choose another backend
    pytest.skip("keras is not installed", allow_module_level=True)

# Of a picture (1, 6, 9, 10) and a table (1, 5, 8).
PICTURES: dict[str, Callable[[Tensor], Tensor]] = {
    "turned and back": lambda x: x.permute(0, 2, 3, 1) + 1,
    "beside a weight of each place": lambda x: x * torch.arange(10.0) - torch.ones(6, 1, 1),
    "two pictures": lambda x: functional.relu(x) / (x.sigmoid() + 0.5),
    "less than so many": lambda x: torch.sub(x, x.abs(), alpha=2),
    "limits": lambda x: (
        functional.relu6(x) + x.clamp(min=0.2) + x.clamp(max=0.1) + functional.hardtanh(x)
    ),
    "curves": lambda x: (
        functional.gelu(x) + functional.silu(x) + x.tanh() + functional.gelu(x, approximate="tanh")
    ),
    "powers": lambda x: (x**2 + 1).sqrt().log() + (x**2 + 1).rsqrt() + (x.abs() + 1) ** 0.3,
    "means": lambda x: x.mean((2, 3)),
    "means that stay": lambda x: x * x.mean((2, 3), keepdim=True),
    "means of channels": lambda x: x.mean(1) + x.sum(1) - x.amax(1),
    "largest": lambda x: functional.max_pool2d(x, 3, 2, 1),
    "averages": lambda x: functional.avg_pool2d(x, 2, 2) * 2,
    "averages with a margin": lambda x: functional.avg_pool2d(x, 3, 2, 1),
    "one of all": lambda x: functional.adaptive_avg_pool2d(x, 1).flatten(1),
    "margins": lambda x: functional.pad(x, (1, 2, 3, 0), value=0.5),
    "cut": lambda x: torch.cat([x[:, 1:4], x[:, ::2]], 1),
    "cut of the width": lambda x: x[..., 2:-1][:, :, 3],
    "parts": lambda x: torch.cat(x.chunk(3, 1)[::-1], 1),
    "beside": lambda x: torch.stack([x[:, 0], x[:, -1]], 1).unsqueeze(1).squeeze(1),
    "sure": lambda x: x.softmax(1),
    "in rows": lambda x: x.flatten(2).transpose(1, 2),
    "rolled": lambda x: torch.roll(x, 2, 3),
    "everywhere": lambda x: x[:, :1].expand(-1, 4, -1, -1),
}
TABLES: dict[str, Callable[[Tensor], Tensor]] = {
    "attention": lambda x: functional.scaled_dot_product_attention(x, x * 2, x + 1),
    "attention with a weight": lambda x: functional.scaled_dot_product_attention(
        x, x, x, attn_mask=torch.arange(5.0).expand(5, 5), scale=0.3
    ),
    "product": lambda x: x @ x.transpose(1, 2),
    "units": lambda x: x[:, 0] / (x[:, 0] ** 2).sum(1, keepdim=True).sqrt().clamp_min(1e-12),
    "a token before": lambda x: torch.cat([torch.ones(1, 1, 8), x], 1),
}


def layers() -> tuple[list[nn.Module], list[nn.Module]]:
    """Of pictures and of tables, with weights that are not those they begin with."""
    torch.manual_seed(0)
    pictures: list[nn.Module] = [
        nn.Conv2d(6, 4, 3, stride=2, padding=1),
        nn.Conv2d(6, 6, (1, 3), dilation=2, bias=False),
        nn.Conv2d(6, 6, 3, groups=6),
        nn.Conv2d(6, 12, 3, groups=6, padding=1, stride=2),
        nn.Conv2d(6, 9, 3, groups=3),
        nn.BatchNorm2d(6),
        nn.BatchNorm2d(6, affine=False),
        nn.LayerNorm((6, 9, 10)),
    ]
    tables: list[nn.Module] = [nn.Linear(8, 3), nn.Linear(8, 3, bias=False), nn.LayerNorm(8)]
    for one in (*pictures, *tables):
        for tensor in (*one.parameters(), *one.buffers()):
            if tensor.is_floating_point():
                tensor.data.uniform_(0.5, 1.5)
    return pictures, tables


class All(nn.Module):
    """Each operation for itself, and what layers make."""

    def __init__(self) -> None:
        super().__init__()
        pictures, tables = layers()
        self.pictures, self.tables = nn.ModuleList(pictures), nn.ModuleList(tables)

    def forward(self, picture: Tensor, table: Tensor) -> tuple[Tensor, ...]:
        x = picture.permute(0, 3, 1, 2).float() / 100 - 1
        found = [one(x) for one in (*PICTURES.values(), *self.pictures)]
        return (*found, *(one(table) for one in (*TABLES.values(), *self.tables)))


def wanted(module: nn.Module, *samples: Tensor) -> Wanted:
    return Wanted(module.eval(), samples, [], [()] * len(samples), [])


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, nn.Module]:
    """The file of `All`."""
    file, module = tmp_path_factory.mktemp("keras") / "graph.keras", All()
    samples = (torch.zeros(1, 9, 10, 6, dtype=torch.uint8), torch.zeros(1, 5, 8))
    write_keras(wanted(module, *samples), file)
    return file, module


def given() -> Sequence[Tensor]:
    torch.manual_seed(1)
    return torch.randint(0, 256, (1, 9, 10, 6), dtype=torch.uint8), torch.randn(1, 5, 8)


def test_each_operation_gives_what_pytorch_gives(written: tuple[Path, nn.Module]) -> None:
    file, module = written
    found = open_keras(file)([one.numpy() for one in given()])
    with torch.no_grad():
        right = module(*given())
    assert len(found) == len(right)
    layers = [[str(one) for one in some] for some in (module.pictures, module.tables)]
    names = [*PICTURES, *layers[0], *TABLES, *layers[1]]
    for name, one, other in zip(names, found, right, strict=True):
        assert one.shape == tuple(other.shape), name
        torch.testing.assert_close(torch.tensor(one), other, rtol=1e-5, atol=1e-5, msg=name)


def test_the_file_names_classes_of_keras_alone(written: tuple[Path, nn.Module]) -> None:
    with zipfile.ZipFile(written[0]) as archive:
        config = json.loads(archive.read("config.json"))
    assert {layer["class_name"] for layer in config["config"]["layers"]} >= {
        "Conv2D",
        "DepthwiseConv2D",
        "BatchNormalization",
        "Dense",
    }
    assert {layer["module"].split(".")[0] for layer in config["config"]["layers"]} == {"keras"}


@pytest.mark.parametrize(
    ("what", "name"),
    [
        (lambda x: torch.fft.fft(x).abs(), "fft"),
        (lambda x: functional.max_pool1d(x, 2, ceil_mode=True), "max_pool"),
        (lambda x: functional.conv1d(x, torch.ones(2, 5, 1)), "convolution"),
    ],
)
def test_what_has_no_counterpart_is_named(what: Any, name: str, tmp_path: Path) -> None:
    class One(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return what(x)

    with pytest.raises(RegraftError, match=f"{name}.*use --to onnx, openvino or litert"):
        write_keras(wanted(One(), torch.zeros(1, 5, 8)), tmp_path / "a.keras")
    assert not (tmp_path / "a.keras").exists()
