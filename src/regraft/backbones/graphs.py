"""Graphs that engines have made of networks, kept in the cache whole or not at all.

A graph may also be all that there is of a network: one whose weights are whole numbers. Then its
files are arrays of bytes in one safetensors file, which takes the place of the weights.
"""

import json
import shutil
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from regraft.backbones.cache import file_hash
from regraft.backbones.fronts import ANY
from regraft.backbones.readers import reader
from regraft.errors import BackboneError

if TYPE_CHECKING:
    from regraft.backbones.network import FrozenNetwork

DIGESTS = "sha256.json"  # of a graph's files; written last
WIDTHS, LENGTH = "widths", ":length"  # names of arrays beside those of files
PACKED = 6  # of zlib: whole numbers hardly shrink, the description of a graph to a tenth
MOST_BYTES = 4_000_000_000  # of one file of a graph


def make_graph(write: Callable[[Path], None], folder: Path) -> None:
    """Write beside the place and rename: another run sees the whole graph or none."""
    beside = folder.with_name(f"{folder.name}.tmp")
    for left in (beside, folder):  # by a kill, or damaged
        shutil.rmtree(left, ignore_errors=True)
    beside.mkdir()
    try:
        with warnings.catch_warnings():  # those of converters are not the user's concern
            warnings.simplefilter("ignore")
            write(beside)
        digests = {path.name: file_hash(path) for path in beside.iterdir()}
        (beside / DIGESTS).write_text(json.dumps(digests))
        beside.replace(folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def is_whole(folder: Path) -> bool:
    """Whether all files of a graph are there as they were written."""
    digests = read_object(folder / DIGESTS)
    try:
        return bool(digests) and all(file_hash(folder / n) == d for n, d in digests.items())
    except OSError:
        return False


def read_object(path: Path) -> dict[str, Any]:
    """A JSON object; empty where the file is missing or damaged."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


# --- what engines read ---------------------------------------------------------------------------


def write_openvino(network: "FrozenNetwork", folder: Path) -> None:
    """``graph.xml`` and ``graph.bin``, in single precision."""
    import openvino
    import torch

    # Tracing here, once and without checks, takes half the time that the converter takes for it.
    traced = torch.jit.freeze(torch.jit.trace(network, (network.sample,), check_trace=False))
    model = openvino.convert_model(traced, example_input=network.sample)
    openvino.save_model(model, folder / "graph.xml", compress_to_fp16=False)


def write_onnx(network: "FrozenNetwork", folder: Path) -> None:
    """``graph.onnx``, in single precision."""
    import torch

    shape = enumerate(reader(network.spec).shape(network.spec), 1)
    varying = [0, *(i for i, n in shape if n == ANY)]
    torch.onnx.export(
        network,
        (network.sample,),
        folder / "graph.onnx",
        input_names=["examples"],
        output_names=["features"],
        dynamic_axes={"examples": varying, "features": [0]} if len(varying) > 1 else None,
        dynamo=False,
    )


# --- a graph in place of weights -----------------------------------------------------------------


def pack_graph(folder: Path, names: Sequence[str], widths: Sequence[int]) -> bytes:
    """Files of a graph as one safetensors file.

    widths  columns of each block of the features that it gives
    """
    from safetensors.numpy import save

    arrays = {WIDTHS: np.array(widths, np.int64)}
    for name in names:
        data = zlib.compress((folder / name).read_bytes(), PACKED)
        arrays[name] = np.frombuffer(data, np.uint8)
        arrays[f"{name}{LENGTH}"] = np.array([(folder / name).stat().st_size], np.int64)
    return save(arrays)


def unpack_graph(path: Path, names: Sequence[str], folder: Path) -> None:
    """Write the files of a graph into a folder; no others are looked at.

    Raises BackboneError where the file holds no such graph.
    """
    arrays = _arrays(path)
    for name in names:
        data, length = arrays.get(name), arrays.get(f"{name}{LENGTH}")
        if data is None or data.dtype != np.uint8 or length is None or length.shape != (1,):
            raise BackboneError(f"{path}: holds no graph: {name} is missing")
        (folder / name).write_bytes(_unpacked(path, name, data.tobytes(), int(length[0])))


def refuse_outside(path: Path) -> None:
    """Raise BackboneError where an ONNX file reads others, which it may name anywhere."""
    import onnx

    try:
        model = onnx.load(str(path), load_external_data=False)
    except Exception as error:  # protobuf's own
        raise BackboneError(f"{path}: is no ONNX graph: {error}") from error
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in _tensors(model)):
        raise BackboneError(f"{path}: reads data from other files, which a bundle's graph must not")


def _tensors(message: Any) -> Iterator[Any]:
    """Every tensor in a protobuf message, however deep."""
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        for one in value if isinstance(value, Sequence) or field.is_repeated else [value]:
            if field.message_type.name == "TensorProto":
                yield one
            else:
                yield from _tensors(one)


def graph_widths(path: Path) -> tuple[int, ...]:
    """Columns of each block of the features. Raises BackboneError."""
    widths = _arrays(path).get(WIDTHS)
    if widths is None or widths.dtype != np.int64 or widths.ndim != 1 or not (widths > 0).all():
        raise BackboneError(f"{path}: holds no graph: the widths of its features are missing")
    return tuple(int(width) for width in widths)


def _unpacked(path: Path, name: str, data: bytes, length: int) -> bytes:
    """At most as many bytes as are told: a small file must not fill the disk."""
    unzip = zlib.decompressobj()
    try:
        found = unzip.decompress(data, max(1, length)) if 0 <= length <= MOST_BYTES else b""
    except zlib.error as error:
        raise BackboneError(f"{path}: {name} is damaged: {error}") from error
    if len(found) != length or not unzip.eof:
        raise BackboneError(f"{path}: {name} is not as long as it is told to be")
    return found


def _arrays(path: Path) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise BackboneError(f"{path}: not a safetensors file: {error}") from error
