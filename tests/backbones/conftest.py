"""The embedded network at a small size, loaded once, and small pictures for it."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from regraft.backbones.catalog import DEFAULT, CatalogRow, find
from regraft.modalities.spec import InputSpec

if TYPE_CHECKING:
    from regraft.backbones.network import FrozenNetwork
    from regraft.backbones.runtimes import Engine

SIDE = 64
Draw = Callable[[int], Image.Image]


@pytest.fixture(scope="session")
def row() -> CatalogRow:
    return find(DEFAULT)


@pytest.fixture(scope="session")
def spec(row: CatalogRow) -> InputSpec:
    return row.spec.at(SIDE)


@pytest.fixture(scope="session")
def network(row: CatalogRow, spec: InputSpec) -> "FrozenNetwork":
    from regraft.backbones.network import load_network

    return load_network(row, spec)


@pytest.fixture(scope="session")
def engine(row: CatalogRow, spec: InputSpec, network: "FrozenNetwork") -> "Engine":
    """OpenVINO with the network; its graph stays in the cache of the tests."""
    from regraft.backbones.engines import open_engine

    return open_engine("openvino", row, spec, lambda: network)


@pytest.fixture(scope="session")
def draw() -> Draw:
    """A picture of its own for every number."""

    def drawn(number: int) -> Image.Image:
        rng = np.random.default_rng(number)
        coarse = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
        width, height = (int(side) for side in rng.integers(70, 140, 2))
        return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)

    return drawn


@pytest.fixture
def pictures(tmp_path: Path, draw: Draw) -> list[Path]:
    """A dozen pictures in several formats."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    made = []
    for number in range(12):
        path = folder / f"{number:02}.{('jpg', 'png', 'webp')[number % 3]}"
        draw(number).save(path)
        made.append(path)
    return made
