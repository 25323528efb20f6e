"""Engines give PyTorch's numbers, the fastest sound one is chosen, and graphs survive anything."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest

from regraft.backbones import engines, graphs
from regraft.backbones.cache import cache_folder
from regraft.backbones.catalog import CatalogRow
from regraft.backbones.engines import (
    ENGINES,
    PARITY,
    Engine,
    EngineKind,
    TorchEngine,
    Vector,
    choose_engine,
    difference,
    engine_kind,
    lanes,
    measure,
    open_engine,
    rate,
)
from regraft.backbones.network import FrozenNetwork, load_network
from regraft.backbones.readers import Example
from regraft.errors import BackboneError, MissingExtra, StorageError, UsageError
from regraft.modalities.spec import InputSpec

CONVERTED = [name for name, kind in ENGINES.items() if kind.write]
ANYWHERE = [name for name, kind in ENGINES.items() if kind.runs_any]
SIZES = (64, 96)


def no_load() -> Any:
    pytest.fail("the network is loaded")


def pictures(size: int, count: int = 4) -> list[Example]:
    rng = np.random.default_rng(size)
    noise = [rng.integers(0, 256, (size, size, 3), dtype=np.uint8) for _ in range(count - 2)]
    return [*noise, np.zeros((size, size, 3), np.uint8), np.full((size, size, 3), 255, np.uint8)]


def truth(network: FrozenNetwork, pixels: Example) -> Vector:
    import torch

    with torch.inference_mode():
        out: Vector = network(torch.from_numpy(pixels.copy())[None])[0].numpy()
    return out


@pytest.fixture(scope="module")
def sized(
    row: CatalogRow, network: FrozenNetwork
) -> Callable[[int], tuple[InputSpec, FrozenNetwork]]:
    made = {64: network}

    def at(size: int) -> tuple[InputSpec, FrozenNetwork]:
        if size not in made:
            made[size] = load_network(row, row.spec.at(size))
        return row.spec.at(size), made[size]

    return at


@pytest.fixture
def kinds(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, EngineKind]]:
    """The registry, to be changed by a test."""
    changed = dict(ENGINES)
    monkeypatch.setattr(engines, "ENGINES", MappingProxyType(changed))
    engines._machine.cache_clear()
    yield changed
    engines._machine.cache_clear()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own."""
    monkeypatch.setenv("REGRAFT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "graphs"


# --- numbers -------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", ANYWHERE)
def test_an_engine_equals_the_network(
    name: str, size: int, row: CatalogRow, sized: Callable[[int], tuple[InputSpec, FrozenNetwork]]
) -> None:
    spec, network = sized(size)
    engine = open_engine(name, row, spec, lambda: network)
    assert engine.name == name
    for picture in pictures(size):
        found = engine.run(picture)
        assert found.dtype == np.float32
        assert difference(truth(network, picture), found, network.block_widths) <= PARITY
    again = open_engine(name, row, spec, lambda: network if name == "torch" else no_load())
    assert again.run(picture).tobytes() == found.tobytes()


@pytest.mark.parametrize("name", ANYWHERE)
def test_an_engine_gives_the_same_bits_in_many_threads(
    name: str, row: CatalogRow, spec: InputSpec, network: FrozenNetwork
) -> None:
    engine = open_engine(name, row, spec, lambda: network)
    given = pictures(64, 12)
    for picture in given:
        picture.flags.writeable = False  # as they come from a decoder
    alone = [engine.run(picture) for picture in given]
    before = [vector.tobytes() for vector in alone]
    with ThreadPoolExecutor(2 * lanes() + 1) as pool:
        together = list(pool.map(engine.run, given * 3))
    assert [vector.tobytes() for vector in together] == before * 3
    assert [vector.tobytes() for vector in alone] == before  # they are copies


def test_the_engine_of_torch_leaves_the_network_as_it_was(network: FrozenNetwork) -> None:
    before = {name: value.clone() for name, value in network.state_dict().items()}
    TorchEngine(network, "cpu").run(pictures(64)[0])
    after = network.state_dict()
    assert all((after[name] == value).all() for name, value in before.items())
    assert {p.device.type for p in network.parameters()} == {"cpu"}


def test_difference_is_relative_to_each_block() -> None:
    one = np.array([1, 2, 100, 200], np.float32)
    assert difference(one, one, (2, 2)) == 0
    assert difference(one, one + np.float32([0.02, 0, 0, 0]), (2, 2)) == pytest.approx(0.01, 1e-3)
    assert difference(one, one + np.float32([0, 0, 0.2, 0]), (2, 2)) == pytest.approx(0.001, 1e-3)
    assert difference(one * 0, one * 0, (2, 2)) == 0


@pytest.mark.parametrize("place", range(4))
@pytest.mark.parametrize("odd", [np.nan, np.inf])
def test_what_is_no_number_never_agrees(place: int, odd: float) -> None:
    one = np.array([1, 2, 100, 200], np.float32)
    other = one.copy()
    other[place] = odd
    assert not difference(one, other, (2, 2)) <= PARITY
    assert not difference(other, other, (2, 2)) <= PARITY
    assert not difference(one, one[:3], (2, 2)) <= PARITY


# --- which one -----------------------------------------------------------------------------------


def test_an_unknown_engine_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match="'cuda' is not known; choose one of openvino, onnxrunt"):
        engine_kind("cuda")


def test_a_missing_library_names_its_install_command(kinds: dict[str, EngineKind]) -> None:
    kinds["onnxruntime"] = replace(kinds["onnxruntime"], needs=("no-such-distribution",))
    with pytest.raises(MissingExtra, match=r"onnxruntime is not installed.*regraft\[onnx\]"):
        engine_kind("onnxruntime")
    assert kinds["onnxruntime"].version() is None
    assert "torch-" in str(kinds["torch"].version())


def test_every_engine_that_is_installed_is_measured(
    row: CatalogRow, spec: InputSpec, network: FrozenNetwork, kinds: dict[str, EngineKind]
) -> None:
    kinds["absent"] = EngineKind(("no-such-distribution",), "absent")
    rates = measure(row, spec, lambda: network)
    assert rates.keys() == {"openvino", "onnxruntime", "torch"}
    assert all(pictures_per_second > 1 for pictures_per_second in rates.values())


class Spoiled:
    """A very fast engine with wrong numbers: its first answer to a picture, spoiled, for ever."""

    name, lanes = "spoiled", 2

    def __init__(self, engine: Engine, spoil: Callable[[Vector], Vector]) -> None:
        self.engine, self.spoil = engine, spoil
        self.answers: dict[bytes, Vector] = {}

    def run(self, pixels: Example) -> Vector:
        key = pixels.tobytes()
        if key not in self.answers:
            self.answers[key] = self.spoil(self.engine.run(pixels))
        return self.answers[key]


def noisy(vector: Vector) -> Vector:
    """Too much noise in one feature of the first block only."""
    out = vector.copy()
    out[3] += 2 * PARITY * np.abs(vector[:16]).max()
    return out


def not_a_number(vector: Vector) -> Vector:
    return np.where(np.arange(len(vector)) == len(vector) - 1, np.float32(np.nan), vector)


def out_of_order(vector: Vector) -> Vector:
    raise RuntimeError("out of order")


def spoiled_kind(spoil: Callable[[Vector], Vector]) -> EngineKind:
    openvino = ENGINES["openvino"]
    assert openvino.open is not None
    return replace(openvino, open=lambda *given: Spoiled(openvino.open(*given), spoil))


@pytest.mark.parametrize("spoil", [noisy, not_a_number, out_of_order])
def test_a_fast_engine_with_wrong_numbers_is_not_chosen(
    spoil: Callable[[Vector], Vector],
    row: CatalogRow,
    spec: InputSpec,
    network: FrozenNetwork,
    kinds: dict[str, EngineKind],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sound = spoiled_kind(lambda vector: vector)
    for name in CONVERTED:
        del kinds[name]
    monkeypatch.setattr(engines, "MEASURE", 0.05)
    kinds["fast"] = sound
    assert choose_engine(row, spec, lambda: network)[0] == "fast"  # without the fault it wins
    kinds["fast"] = replace(spoiled_kind(spoil), extra="other")
    rates = measure(row, spec, lambda: network)
    assert rates.keys() == {"torch"}


def test_an_engine_that_cannot_convert_the_network_is_left_out(
    row: CatalogRow, spec: InputSpec, network: FrozenNetwork, kinds: dict[str, EngineKind]
) -> None:
    def cannot(network: FrozenNetwork, folder: Path) -> None:
        (folder / "half").write_text("half of it")
        raise NotImplementedError("no such operator: aten::odd\nand a long trace")

    kinds["poor"] = replace(kinds["openvino"], write=cannot)
    del kinds["openvino"], kinds["onnxruntime"]
    assert measure(row, spec, lambda: network).keys() == {"torch"}
    with pytest.raises(BackboneError, match=r"poor cannot convert .*aten::odd\); choose another"):
        open_engine("poor", row, spec, lambda: network)
    key = engines._graph_key("poor", row, spec)
    assert not [path for path in cache_folder("graphs").glob(f"{key}*") if path.is_dir()]


def test_without_any_sound_engine_there_is_an_error(
    row: CatalogRow, spec: InputSpec, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "measure", lambda row, spec, load: {})
    with pytest.raises(BackboneError, match="no engine gives the same features as PyTorch"):
        choose_engine(row, spec, no_load)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[InputSpec]:
    """Measurements that were made; each finds the same."""
    made: list[InputSpec] = []

    def measure(row: CatalogRow, spec: InputSpec, load: Any) -> dict[str, float]:
        made.append(spec)
        return {"openvino": 700.0, "torch": 60.0}

    monkeypatch.setattr(engines, "measure", measure)
    return made


def test_the_choice_is_measured_once_for_each_size(
    row: CatalogRow, spec: InputSpec, cache: Path, measured: list[InputSpec]
) -> None:
    for _ in range(3):
        assert choose_engine(row, spec, no_load) == ("openvino", 700.0)
        assert choose_engine(row, spec.at(96), no_load) == ("openvino", 700.0)
    assert [s.size for s in measured] == [64, 96]


def test_the_choice_is_measured_anew_with_other_libraries(
    row: CatalogRow,
    spec: InputSpec,
    cache: Path,
    measured: list[InputSpec],
    kinds: dict[str, EngineKind],
) -> None:
    choose_engine(row, spec, no_load)
    kinds["onnxruntime"] = replace(kinds["onnxruntime"], needs=("no-such-distribution",))
    engines._machine.cache_clear()
    choose_engine(row, spec, no_load)
    assert len(measured) == 2


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[]", b"null", b"7"])
def test_a_damaged_record_of_choices_is_made_anew(
    content: bytes, row: CatalogRow, spec: InputSpec, cache: Path, measured: list[InputSpec]
) -> None:
    choose_engine(row, spec, no_load)
    (cache / "engines.json").write_bytes(content)
    assert choose_engine(row, spec, no_load) == ("openvino", 700.0)
    assert len(measured) == 2
    assert choose_engine(row, spec, no_load) == ("openvino", 700.0)
    assert len(measured) == 2


@pytest.mark.parametrize(
    "entry", [7, None, [], {}, {"openvino": "x"}, {"gone": 9.0}, {"engine": 1}]
)
def test_a_damaged_entry_is_made_anew_and_the_others_stay(
    entry: Any, row: CatalogRow, spec: InputSpec, cache: Path, measured: list[InputSpec]
) -> None:
    choose_engine(row, spec.at(96), no_load)
    choose_engine(row, spec, no_load)
    record = json.loads((cache / "engines.json").read_bytes())
    kept, spoiled = record
    (cache / "engines.json").write_text(json.dumps({kept: record[kept], spoiled: entry}))
    assert choose_engine(row, spec, no_load) == ("openvino", 700.0)
    assert json.loads((cache / "engines.json").read_bytes()) == record
    assert len(measured) == 3


def test_the_rate_is_that_of_all_lanes(monkeypatch: pytest.MonkeyPatch) -> None:
    class Sleeping:
        name, lanes = "sleeping", 4

        def run(self, pixels: Example) -> Vector:
            time.sleep(0.01)
            return np.zeros(1, np.float32)

    found = rate(Sleeping(), InputSpec(size=64))
    assert 100 < found <= 400


def test_lanes_are_the_cores_that_may_be_used() -> None:
    assert lanes() == len(os.sched_getaffinity(0))
    code = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))});"
        "from regraft.backbones.runtimes import lanes; print(lanes())"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "1"


# --- the cached graphs ---------------------------------------------------------------------------


def graph(name: str, row: CatalogRow, spec: InputSpec, network: FrozenNetwork) -> Path:
    """The folder of a graph that is there."""
    open_engine(name, row, spec, lambda: network)
    return cache_folder("graphs") / engines._graph_key(name, row, spec)


def truncated(path: Path) -> None:
    os.truncate(path, path.stat().st_size * 2 // 3)


def flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


DAMAGE: list[Callable[[Path], object]] = [
    Path.unlink,
    truncated,
    flipped,
    lambda p: p.write_bytes(b""),
]


@pytest.mark.parametrize("name", CONVERTED)
def test_a_damaged_graph_is_made_anew(
    name: str,
    row: CatalogRow,
    spec: InputSpec,
    network: FrozenNetwork,
    tmp_path: Path,
    kinds: dict[str, EngineKind],
) -> None:
    folder = graph(name, row, spec, network)
    shutil.copytree(folder, tmp_path / "whole")
    expected = open_engine(name, row, spec, no_load).run(pictures(64)[0])
    made = []

    def copy(network: FrozenNetwork, beside: Path) -> None:
        """Stands for the conversion, which takes seconds."""
        made.append(beside)
        for path in (tmp_path / "whole").iterdir():
            if path.name != graphs.DIGESTS:
                shutil.copy(path, beside)

    kinds[name] = replace(kinds[name], write=copy)
    files = sorted(path.name for path in folder.iterdir())
    assert graphs.DIGESTS in files
    for file in files:
        for spoil in DAMAGE:
            spoil(folder / file)
            found = open_engine(name, row, spec, lambda: network).run(pictures(64)[0])
            assert found.tobytes() == expected.tobytes()
    assert len(made) == len(files) * len(DAMAGE)
    open_engine(name, row, spec, no_load)  # now it is whole again


def test_an_empty_folder_in_the_place_of_a_graph(
    row: CatalogRow, spec: InputSpec, network: FrozenNetwork, cache: Path
) -> None:
    whole = graph("onnxruntime", row, spec, network)
    for name in whole.iterdir():
        name.unlink()
    open_engine("onnxruntime", row, spec, lambda: network)
    assert graphs.is_whole(whole)


def test_a_graph_that_the_engine_cannot_open_is_a_named_error(
    row: CatalogRow,
    spec: InputSpec,
    network: FrozenNetwork,
    cache: Path,
    kinds: dict[str, EngineKind],
) -> None:
    def nonsense(network: FrozenNetwork, folder: Path) -> None:
        (folder / "graph.xml").write_text("<no graph>")

    kinds["openvino"] = replace(kinds["openvino"], write=nonsense)
    with pytest.raises(
        BackboneError, match=r"openvino cannot open the graph in .*; choose another"
    ):
        open_engine("openvino", row, spec, lambda: network)


def test_a_full_disk_leaves_no_half_graph(
    row: CatalogRow,
    spec: InputSpec,
    network: FrozenNetwork,
    cache: Path,
    kinds: dict[str, EngineKind],
) -> None:
    def full(network: FrozenNetwork, folder: Path) -> None:
        (folder / "graph.xml").write_text("half")
        raise OSError(28, "No space left on device")

    kinds["openvino"] = replace(kinds["openvino"], write=full)
    with pytest.raises(StorageError, match=r"No space left on device.*REGRAFT_CACHE"):
        open_engine("openvino", row, spec, lambda: network)
    assert not [path for path in cache.iterdir() if path.is_dir()]


CONVERTER = """
import os, sys, time
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from regraft.backbones import engines, graphs
from regraft.backbones.catalog import find

def write(network, folder):
    with open(sys.argv[1], "a") as log:
        log.write("made\\n")
    (folder / "graph.a").write_bytes(b"a" * 100_000)
    print("half", flush=True)
    time.sleep(float(sys.argv[2]))
    (folder / "graph.b").write_bytes(b"b" * 100_000)

def look(graph, spec, threads):
    sizes = [graph.with_suffix(end).stat().st_size for end in (".a", ".b")]
    print(*sizes, flush=True)

row = find("efficientnet-lite0")
kind = engines.EngineKind(("numpy",), "", "graph.a", ("graph.b",), write, look)
engines.ENGINES = MappingProxyType({"slow": kind})
engines.open_engine("slow", row, row.spec.at(64), lambda: None)
"""


def converter(log: Path, seconds: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", CONVERTER, str(log), str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_two_processes_that_convert_at_once_leave_one_whole_graph(
    cache: Path, tmp_path: Path
) -> None:
    children = [converter(tmp_path / "log", 0.5) for _ in range(3)]
    told = [child.communicate(timeout=60)[0].splitlines()[-1] for child in children]
    assert [child.returncode for child in children] == [0, 0, 0]
    assert told == ["100000 100000"] * 3
    assert (tmp_path / "log").read_text() == "made\n"  # two waited for the first
    assert len([path for path in cache.iterdir() if path.is_dir()]) == 1


def test_a_kill_during_a_conversion_leaves_nothing_that_is_read(
    cache: Path, tmp_path: Path
) -> None:
    with converter(tmp_path / "log", 60) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "half\n"
        child.send_signal(signal.SIGKILL)
    assert [path.suffix for path in cache.iterdir() if path.is_dir()] == [".tmp"]
    with converter(tmp_path / "log", 0) as child:
        assert child.stdout is not None
        assert child.stdout.read().splitlines()[-1] == "100000 100000"
    (folder,) = (path for path in cache.iterdir() if path.is_dir())
    assert graphs.is_whole(folder)


REAL = """
import sys
from regraft.backbones.catalog import find
from regraft.backbones.engines import open_engine
from regraft.backbones.network import load_network
import numpy as np
row = find("efficientnet-lite0")
spec = row.spec.at(64)
engine = open_engine("onnxruntime", row, spec, lambda: load_network(row, spec))
print(engine.run(np.zeros((64, 64, 3), np.uint8)).sum())
"""


@pytest.mark.slow
def test_two_real_conversions_at_once(cache: Path) -> None:
    command = [sys.executable, "-c", REAL]
    children = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    told = [child.communicate(timeout=100)[0] for child in children]
    assert [child.returncode for child in children] == [0, 0]
    assert told[0] == told[1]
    assert len([path for path in cache.iterdir() if path.is_dir()]) == 1
