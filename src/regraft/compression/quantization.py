"""Quantization: a network's graph in whole numbers of 8 bits, by the libraries of its engine.

    static    weights and what goes between layers; ranges come from calibration examples (NNCF on
              OpenVINO's graph; Jacob et al. 2018, arXiv 1712.05877)
    dynamic   weights, and what enters a matrix product, measured as it comes (ONNX Runtime): for
              transformers, whose ranges differ from text to text
    weights   weights alone (NNCF): smaller, and no faster

The scales leave a bit unused (a range of 7 bits), so that processors without VNNI do not overflow.
"""

import logging
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from hashlib import sha256
from io import StringIO
from pathlib import Path
from types import MappingProxyType
from typing import Any

from regraft.backbones.cache import cache_folder
from regraft.backbones.catalog import CatalogRow, Weights
from regraft.backbones.engines import engine_kind
from regraft.backbones.extractor import Extractor
from regraft.backbones.fronts import ANY
from regraft.backbones.graphs import pack_graph
from regraft.backbones.readers import Example, reader
from regraft.backbones.runtimes import openvino_core
from regraft.backbones.weights import row_file
from regraft.errors import BackboneError, MissingExtra, RegraftError, UsageError
from regraft.modalities.spec import InputSpec
from regraft.storage import write_atomically

CALIBRATED_ON = 300  # examples
FILE = "graph.safetensors"


@dataclass(frozen=True)
class Method:
    """One row of METHODS.

    told        what it does, a line
    engine      whose graph it makes, and which runs it: a key of ENGINES
    needs       the library, and `extra` that installs it
    calibrated  whether it reads calibration examples
    write       folder with the engine's graph in single precision, spec, examples: the graph in
                whole numbers takes its place
    """

    told: str
    engine: str
    needs: str
    extra: str
    calibrated: bool
    write: Callable[[Path, InputSpec, Sequence[Example]], None]


def quantized(one: Extractor, method: str, examples: Sequence[Example]) -> Extractor:
    """The network of an extractor in whole numbers.

    examples  what the network reads of calibration examples; none where `method` needs none

    Raises UsageError for an unknown method, MissingExtra, BackboneError where the network cannot be
    converted, StorageError.
    """
    row = method_row(method)
    refuse_graph(one.row)
    kind = engine_kind(row.engine)
    assert kind.write is not None, "engines of methods have graphs"
    widths, macs = one.network.block_widths, one.macs // len(one.spec.views)
    with tempfile.TemporaryDirectory(prefix="regraft-int8-") as temporary:
        folder = Path(temporary)
        with _quiet(), _named(one.row, method):
            kind.write(one.network, folder)
            row.write(folder, one.spec, examples)
        data = pack_graph(folder, (kind.file, *kind.beside), widths)
    return Extractor(_kept(one, data, row.engine, method, macs), one.spec, row.engine)


def method_row(name: str) -> Method:
    """The row of that name. Raises UsageError with the valid names, MissingExtra."""
    from importlib.metadata import PackageNotFoundError, version

    if name not in METHODS:
        raise UsageError(f"method: {name!r} is not known; choose one of {', '.join(METHODS)}")
    row = METHODS[name]
    try:
        version(row.needs)
    except PackageNotFoundError:
        raise MissingExtra(row.needs, row.extra) from None
    return row


def refuse_graph(row: CatalogRow) -> None:
    """Raise UsageError for a network that is a graph already."""
    if row.graph:
        raise UsageError(
            f"model: {row.name} is a graph for {row.graph} already; start from the model that it "
            "was made from"
        )


def _kept(one: Extractor, data: bytes, engine: str, method: str, macs: int) -> CatalogRow:
    """The graph in the cache, named by its content, and the row that reads it."""
    own = sha256(data).hexdigest()
    folder = cache_folder(f"quantized/{own}")
    if not (folder / FILE).is_file():
        write_atomically(folder / FILE, data)
    if one.row.tokenizer:
        vocabulary = row_file(one.row, one.row.tokenizer).read_bytes()
        write_atomically(folder / Path(one.row.tokenizer).name, vocabulary)
    return replace(
        one.row,
        name=f"{one.row.name} (int8, {method})",
        weights=Weights("folder", str(folder), FILE, sha256=own),
        spec=one.row.spec.at(one.spec.size),
        gflops=2 * macs / 1e9,
        config="",
        options={},
        tokenizer=Path(one.row.tokenizer).name,
        graph=engine,
        check=None,
        upstream_score=None,
        score_from="",
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Converters print, draw bars and warn; what counts is said in our words."""
    loud = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(loud)


@contextmanager
def _named(row: CatalogRow, method: str) -> Iterator[None]:
    try:
        yield
    except RegraftError:
        raise
    except Exception as error:  # converters raise nearly anything
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise BackboneError(
            f"{row.name}: cannot be brought to whole numbers by {method} ({reason:.300}); choose "
            "another method"
        ) from error


# --- the methods ---------------------------------------------------------------------------------


def _nncf() -> Any:
    """The library, whose import would write an identity for its statistics and send them."""
    absent = object()
    before: Any = sys.modules.get("openvino_telemetry", absent)
    if "nncf" not in sys.modules:
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    try:
        import nncf
    finally:
        sys.modules.pop("openvino_telemetry", None)
        if before is not absent:
            sys.modules["openvino_telemetry"] = before
    return nncf


def _static(folder: Path, spec: InputSpec, examples: Sequence[Example]) -> None:
    nncf = _nncf()
    model = _read(folder, spec)
    kind = {"model_type": nncf.ModelType.TRANSFORMER} if reader(spec).together else {}
    made = nncf.quantize(
        model,
        nncf.Dataset(examples, lambda example: example[None]),
        subset_size=len(examples),
        target_device=nncf.TargetDevice.CPU,
        **kind,
    )
    _save(made, folder)


def _weights(folder: Path, spec: InputSpec, examples: Sequence[Example]) -> None:
    nncf = _nncf()
    _save(nncf.compress_weights(_read(folder, spec)), folder)


def _read(folder: Path, spec: InputSpec) -> Any:
    model, read = openvino_core().read_model(folder / "graph.xml"), reader(spec)
    model.reshape([ANY if read.together else 1, *read.shape(spec)])
    return model


def _save(model: Any, folder: Path) -> None:
    """Beside the graph that was read, which is open, and then in its place."""
    import openvino

    openvino.save_model(model, folder / "made.xml", compress_to_fp16=False)
    for ending in ("xml", "bin"):
        (folder / f"made.{ending}").replace(folder / f"graph.{ending}")


def _dynamic(folder: Path, spec: InputSpec, examples: Sequence[Example]) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(
        folder / "graph.onnx",
        folder / "made.onnx",
        weight_type=QuantType.QInt8,
        per_channel=True,
        reduce_range=True,
        op_types_to_quantize=["MatMul", "Gemm", "Gather"],
    )
    (folder / "made.onnx").replace(folder / "graph.onnx")


METHODS: Mapping[str, Method] = MappingProxyType(
    {
        "static": Method(
            "weights and activations in 8 bits, ranges from calibration examples",
            *("openvino", "nncf", "quantize", True, _static),
        ),
        "dynamic": Method(
            "weights in 8 bits, activations of matrix products as they come",
            *("onnxruntime", "onnxruntime", "onnx", False, _dynamic),
        ),
        "weights": Method(
            "weights in 8 bits, computed in single precision",
            *("openvino", "nncf", "quantize", False, _weights),
        ),
    }
)

# What a network reads → the method that was fastest at the same accuracy (benchmarks/quantize.py).
USUAL: Mapping[str, str] = MappingProxyType(
    {"picture": "static", "text": "dynamic", "sound": "dynamic"}
)
