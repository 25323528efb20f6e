"""Weights in the binary format of CTranslate2 (``model.bin``), read without that library.

    version · specification · revision · count · (name · rank · dims · type · bytes · data)*
            · count · (alias · name)*

Numbers are little-endian; a text is its length, two bytes, then its bytes with a NUL at the end. It
is plain data: nothing in it can run, and every length is compared with what is there. Entries of
Whisper's encoder go one to one onto the names of transformers' WhisperModel.
"""

import re
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

VERSION = 6
MOST_RANK, MOST_ENTRIES = 8, 100_000
# Type number → little-endian dtype; bfloat16 (5) and packed types are not among them.
DTYPES: Mapping[int, str] = MappingProxyType({0: "<f4", 1: "i1", 2: "<i2", 3: "<i4", 4: "<f2"})

Array = npt.NDArray[np.generic]
Entries = dict[str, Array]


@dataclass
class _Bytes:
    """What is left to read. Raises ValueError where more is asked for than there is."""

    data: memoryview
    place: int = 0

    def take(self, count: int, what: str) -> memoryview:
        if count > len(self.data) - self.place:
            raise ValueError(f"ends at byte {len(self.data)}, inside {what}")
        found = self.data[self.place : self.place + count]
        self.place += count
        return found

    def number(self, form: str, what: str) -> int:
        (found,) = struct.unpack(form, self.take(struct.calcsize(form), what))
        return int(found)

    def text(self, what: str) -> str:
        found = bytes(self.take(self.number("<H", what), what))
        if not found.endswith(b"\0") or not found[:-1].isascii() or 0 in found[:-1]:
            raise ValueError(f"{what}: {found!r:.60} is no name")
        return found[:-1].decode()


def read_ctranslate2(data: bytes) -> tuple[str, Entries]:
    """Name of the specification, and the entries by their names.

    Raises ValueError where the bytes are not of this format, to their last one.
    """
    left = _Bytes(memoryview(data))
    if (version := left.number("<I", "the version")) != VERSION:
        raise ValueError(f"is not of CTranslate2's binary version {VERSION}, but of {version}")
    specification = left.text("the specification")
    left.number("<I", "the revision")
    if (count := left.number("<I", "the number of entries")) > MOST_ENTRIES:
        raise ValueError(f"tells of {count:,} entries, more than {MOST_ENTRIES:,}")
    entries: Entries = {}
    for _ in range(count):
        name = left.text("the name of an entry")
        if name in entries:
            raise ValueError(f"{name}: is there twice")
        entries[name] = _entry(left, name)
    for _ in range(left.number("<I", "the number of aliases")):
        alias, name = left.text("an alias"), left.text("the name of an alias")
        if alias in entries or name not in entries:
            raise ValueError(f"{alias}: no alias of {name}")
        entries[alias] = entries[name]
    if left.place != len(data):
        raise ValueError(f"{len(data) - left.place:,} bytes are left over")
    return specification, entries


def _entry(left: _Bytes, name: str) -> Array:
    if (rank := left.number("B", name)) > MOST_RANK:
        raise ValueError(f"{name}: has {rank} axes, more than {MOST_RANK}")
    shape = struct.unpack(f"<{rank}I", left.take(4 * rank, name))
    kind, size = left.number("B", name), left.number("<I", name)
    if kind not in DTYPES:
        raise ValueError(f"{name}: numbers of type {kind} are not read")
    dtype = np.dtype(DTYPES[kind])
    if int(np.prod(shape, dtype=object)) * dtype.itemsize != size:
        raise ValueError(f"{name}: {size} bytes for the shape {shape} of {dtype}")
    return np.frombuffer(left.take(size, name), dtype).reshape(shape)


# --- Whisper -------------------------------------------------------------------------------------

_LAYER, _HERE = r"encoder/layer_(\d+)/", r"encoder.layers.\1."
# Entries under one name there and here: a regex, and the name in transformers.
_RENAMED: tuple[tuple[str, str], ...] = (
    (r"encoder/(conv[12])/(weight|bias)", r"encoder.\1.\2"),
    (r"encoder/position_encodings/encodings", "encoder.embed_positions.weight"),
    (r"encoder/layer_norm/(gamma|beta)", r"encoder.layer_norm.\1"),
    (
        _LAYER + r"self_attention/layer_norm/(gamma|beta)",
        r"encoder.layers.\1.self_attn_layer_norm.\2",
    ),
    (_LAYER + r"self_attention/linear_1/(weight|bias)", r"encoder.layers.\1.self_attn.out_proj.\2"),
    (_LAYER + r"ffn/layer_norm/(gamma|beta)", r"encoder.layers.\1.final_layer_norm.\2"),
    (_LAYER + r"ffn/linear_0/(weight|bias)", r"encoder.layers.\1.fc1.\2"),
    (_LAYER + r"ffn/linear_1/(weight|bias)", r"encoder.layers.\1.fc2.\2"),
)
_STACKED = _LAYER + r"self_attention/linear_0/(weight|bias)"  # query, key and value
_NORMS = {"gamma": "weight", "beta": "bias"}
_ELSEWHERE = re.compile(r"decoder/.*|encoder/num_heads")  # the decoder has no part in features


def whisper_encoder(entries: Mapping[str, Array]) -> Entries:
    """The encoder under the names of transformers' WhisperModel.

    Raises ValueError for an entry that has no place there.
    """
    state: Entries = {}
    for name, array in entries.items():
        if _ELSEWHERE.fullmatch(name):
            continue
        if found := re.fullmatch(_STACKED, name):
            state |= _split(found[1], found[2], array)
        else:
            state[_renamed(name)] = array
    return state


def _renamed(name: str) -> str:
    for pattern, template in _RENAMED:
        if found := re.fullmatch(pattern, name):
            stem, _, last = found.expand(template).rpartition(".")
            return f"{stem}.{_NORMS.get(last, last)}"
    raise ValueError(f"{name}: not an entry of Whisper's encoder")


def _split(layer: str, kind: str, array: Array) -> Entries:
    """Query, key and value of a layer; in Whisper keys have no bias, here it must be zero."""
    if len(array) % 3:
        raise ValueError(f"layer {layer}: {len(array)} rows are no query, key and value")
    parts = dict(zip("qkv", np.split(array, 3), strict=True))
    if kind == "bias" and parts.pop("k").any():
        raise ValueError(f"layer {layer}: its keys have a bias, which Whisper's have not")
    return {f"encoder.layers.{layer}.self_attn.{p}_proj.{kind}": a for p, a in parts.items()}


# Specification → its entries under the names that the network has here.
SPECIFICATIONS: Mapping[str, Callable[[Mapping[str, Array]], Entries]] = MappingProxyType(
    {"WhisperSpec": whisper_encoder}
)


def state_of(data: bytes) -> Entries:
    """The tensors of a file under transformers' names. Raises ValueError."""
    specification, entries = read_ctranslate2(data)
    if specification not in SPECIFICATIONS:
        known = ", ".join(SPECIFICATIONS)
        raise ValueError(f"is a {specification}; only these are read: {known}")
    return SPECIFICATIONS[specification](entries)
