"""Engines: what runs a frozen network fastest on this machine, checked against PyTorch.

An engine takes one picture at a time in each lane: on a CPU the fastest way to run a convolutional
network. Texts and sounds of equal length go together. So the features of an example do not
depend on what it was computed beside, and prediction equals evaluation bit for bit.

The choice between engines is a short measurement, made once per network, size and machine and kept.
"""

import json
import platform
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from regraft.backbones.cache import cache_folder, locked
from regraft.backbones.catalog import CatalogRow
from regraft.backbones.graphs import (
    is_whole,
    make_graph,
    read_object,
    refuse_outside,
    unpack_graph,
    write_onnx,
    write_openvino,
)
from regraft.backbones.installed import installed
from regraft.backbones.parity import PARITY, Vector, difference
from regraft.backbones.readers import Example, reader
from regraft.backbones.runtimes import (
    Engine,
    ONNXEngine,
    OpenVINOEngine,
    TorchEngine,
    lanes,
)
from regraft.backbones.tensorflow_engine import TensorFlowEngine
from regraft.backbones.weights import fingerprint, weight_file
from regraft.errors import BackboneError, MissingExtra, RegraftError, StorageError, UsageError
from regraft.modalities.spec import InputSpec
from regraft.storage import write_atomically

if TYPE_CHECKING:
    from regraft.backbones.network import FrozenNetwork

Load = Callable[[], "FrozenNetwork"]

MEASURE = 0.3  # seconds
COMPARED = (0, 1)  # seeds of the samples; where lengths differ, a graph could fit one of them only
AT_ONCE = 16  # examples that go together, where they may
GRAPHS = 2  # raised when converters write another graph of the same network than before


@dataclass(frozen=True)
class EngineKind:
    """One row of ENGINES.

    needs   distributions that must be installed; ``a|b``: either of them
    extra   that installs them
    file    name of the converted graph; empty: the engine runs the network itself
    beside  names of files that belong to it
    write   network, folder → the graph in it; None: it runs only graphs that came as they are
    open    graph, spec of its input, threads for an example → engine
    check   raises BackboneError for a graph out of a bundle that reaches beyond its own files
    any_size  whether its graphs read every size that their rows allow
    """

    needs: tuple[str, ...]
    extra: str
    file: str = ""
    beside: tuple[str, ...] = ()
    write: Callable[["FrozenNetwork", Path], None] | None = None
    open: Callable[[Path, InputSpec, int | None], Engine] | None = None
    check: Callable[[Path], None] = lambda graph: None
    any_size: bool = False

    @property
    def runs_any(self) -> bool:
        """Whether it runs every network, not only graphs that were made for it elsewhere."""
        return self.write is not None or not self.file

    def version(self) -> str | None:
        """Versions that decide the numbers; None where something is not installed."""
        try:
            return " ".join("-".join(installed(names)) for names in self.needs)
        except PackageNotFoundError:
            return None


ENGINES: Mapping[str, EngineKind] = MappingProxyType(
    {
        "openvino": EngineKind(
            ("openvino",), "openvino", "graph.xml", ("graph.bin",), write_openvino, OpenVINOEngine
        ),
        "onnxruntime": EngineKind(
            *(("onnxruntime", "onnx"), "onnx", "graph.onnx", ()),
            *(write_onnx, ONNXEngine, refuse_outside),
        ),
        "torch": EngineKind(("torch",), "torch"),
        "tensorflow": EngineKind(
            *(("tensorflow|tensorflow-cpu",), "savedmodel", "graph.pb"),
            open=TensorFlowEngine,  # its process checks each graph before it is used
            any_size=True,
        ),
    }
)


def engine_kind(name: str) -> EngineKind:
    """The row of that name. Raises UsageError with the valid names, MissingExtra."""
    if name not in ENGINES:
        raise UsageError(f"engine: {name!r} is not known; choose one of {', '.join(ENGINES)}")
    if ENGINES[name].version() is None:
        raise MissingExtra(name, ENGINES[name].extra)
    return ENGINES[name]


def open_engine(
    name: str, row: CatalogRow, spec: InputSpec, load: Load, threads: int | None = None
) -> Engine:
    """The engine of that name for a network at a size; `load` gives the network if it is needed.

    threads  that it may use for an example; None: what gives most examples a second

    A converted graph is kept in the cache, so that PyTorch is imported only once.

    Raises UsageError and MissingExtra as `engine_kind`, BackboneError where the network cannot be
    converted for the engine or the engine cannot open the graph.
    """
    kind = engine_kind(name)
    if row.graph and row.graph != name:
        raise BackboneError(
            f"{row.name}: is a graph for {row.graph} and runs by no other engine, nor by {name}"
        )
    if not kind.runs_any and not row.graph:
        raise BackboneError(f"{row.name}: is no graph for {name}, which runs nothing else")
    if kind.open is None:
        return TorchEngine(load(), threads=threads)
    folder = cache_folder("graphs") / _graph_key(name, row, spec)
    if not is_whole(folder):
        with locked(folder):
            if not is_whole(folder):  # nobody else was faster
                with _named(name, row, "convert the network"):
                    make_graph(_writing(kind, row, load), folder)
    with _named(name, row, f"open the graph in {folder}"):
        return kind.open(folder / kind.file, spec, threads)


def _writing(kind: EngineKind, row: CatalogRow, load: Load) -> Callable[[Path], None]:
    """What puts the graph into a folder: out of its file, or by converting the network."""

    def unpack(folder: Path) -> None:
        unpack_graph(weight_file(row), (kind.file, *kind.beside), folder)
        kind.check(folder / kind.file)

    def convert(folder: Path) -> None:
        assert kind.write is not None  # else the row has a graph
        kind.write(load(), folder)

    return unpack if row.graph else convert


def engine_of(name: str, network: Any) -> Engine:
    """The engine of that name for a module (1, ...) → (1, d), which has a `sample` and a `spec`.

    Nothing is kept in the cache. Raises UsageError and MissingExtra as `engine_kind`; what
    converters raise goes through.
    """
    kind = engine_kind(name)
    if kind.open is None or kind.write is None:
        return TorchEngine(network)
    with tempfile.TemporaryDirectory(prefix="regraft-graph-") as folder:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            kind.write(network, Path(folder))
        return kind.open(Path(folder) / kind.file, network.spec, None)


@contextmanager
def _named(name: str, row: CatalogRow, what: str) -> Iterator[None]:
    try:
        yield
    except RegraftError:
        raise
    except OSError as error:
        raise StorageError(
            f"{row.name}: the engine {name} cannot {what} ({error}); free some space, or set "
            "REGRAFT_CACHE to a folder that can be written"
        ) from error
    except Exception as error:  # converters and engines raise nearly anything
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise BackboneError(
            f"{row.name}: the engine {name} cannot {what} ({reason[0]}); choose another engine"
        ) from error


def _graph_key(name: str, row: CatalogRow, spec: InputSpec) -> str:
    made = [GRAPHS, name, ENGINES[name].version()]
    parts = [fingerprint(row), *made, spec.size, spec.mean, spec.std]
    return sha256(json.dumps(parts).encode()).hexdigest()[:32]


@cache
def _machine() -> str:
    found = [kind.version() for kind in ENGINES.values() if kind.runs_any]
    return json.dumps([platform.processor(), platform.machine(), lanes(), found])


def choose_engine(row: CatalogRow, spec: InputSpec, load: Load) -> tuple[str, float]:
    """Name of the fastest engine for a network at a size, and its examples per second here.

    Measured once; the answer is kept in the cache. An engine that differs from PyTorch by more than
    PARITY, or fails, is not taken. Raises BackboneError if none is left.
    """
    kept = cache_folder("graphs") / "engines.json"
    key = sha256(f"{fingerprint(row)} {spec.size} {_machine()}".encode()).hexdigest()[:32]
    rates = _rates(read_object(kept).get(key))
    if not rates:
        rates = measure(row, spec, load)
        if not rates:
            raise BackboneError(f"{row.name}: no engine gives the same features as PyTorch")
        with locked(kept):
            write_atomically(kept, json.dumps(read_object(kept) | {key: rates}, indent=1).encode())
    best = max(rates, key=lambda name: rates[name])
    return best, rates[best]


def _rates(record: Any) -> dict[str, float]:
    """What was kept of a measurement; empty where it is no such thing."""
    if not isinstance(record, dict) or not record.keys() <= ENGINES.keys():
        return {}
    return record if all(isinstance(rate, float) for rate in record.values()) else {}


def measure(row: CatalogRow, spec: InputSpec, load: Load) -> dict[str, float]:
    """Examples per second of every engine that is installed, works and agrees with PyTorch."""
    network = load()
    examples = [reader(spec).sample(spec, seed) for seed in COMPARED]
    truths = [*map(TorchEngine(network, "cpu").run, examples)]
    rates = {}
    for name, kind in ENGINES.items():
        with suppress(BackboneError):
            if kind.runs_any and kind.version() is not None:
                engine = open_engine(name, row, spec, load)
                with _named(name, row, "run"):
                    found = [*map(engine.run, examples)]
                    if _agree(truths, found, network.block_widths):
                        rates[name] = round(rate(engine, spec), 1)
    return rates


def _agree(truths: list[Vector], found: list[Vector], widths: tuple[int, ...]) -> bool:
    pairs = zip(truths, found, strict=True)
    return all(difference(truth, other, widths) <= PARITY for truth, other in pairs)


def rate(engine: Engine, spec: InputSpec) -> float:
    """Examples per second with all lanes at work, measured for about MEASURE seconds."""
    read, count = reader(spec), 0
    example = read.sample(spec, 0)
    run: Callable[[Example], Vector] = engine.run
    if read.together:
        example, run = np.stack([example] * AT_ONCE), engine.run_together
    with ThreadPoolExecutor(engine.lanes) as pool:
        list(pool.map(run, [example] * engine.lanes))
        start = time.perf_counter()
        while (seconds := time.perf_counter() - start) < MEASURE:
            count += len(list(pool.map(run, [example] * (4 * engine.lanes))))
    return count * (AT_ONCE if read.together else 1) / seconds
