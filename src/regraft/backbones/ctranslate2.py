"""Weights in the binary format of CTranslate2 (``model.bin``), read without that library.

    version · specification · revision · count · (name · rank · dims · type · bytes · data)*
            · count · (alias · name)*

Numbers are little-endian; a text is its length, two bytes, then its bytes with a NUL at the end. It
is plain data: nothing in it can run, and every length is compared with what is there. Entries of
Whisper's encoder and decoder go one to one onto the names of transformers' WhisperModel.
"""

import re
import struct
from collections.abc import Callable, Iterator, Mapping
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

_LAYER = r"(encoder|decoder)/layer_(\d+)/"
# Entries under one name there and here: a regex, and the name in transformers.
_RENAMED: tuple[tuple[str, str], ...] = (
    (r"encoder/(conv[12])/(weight|bias)", r"encoder.\1.\2"),
    (r"decoder/embeddings/(weight)", r"decoder.embed_tokens.\1"),
    (r"(encoder|decoder)/position_encodings/encodings", r"\1.embed_positions.weight"),
    (r"(encoder|decoder)/layer_norm/(gamma|beta)", r"\1.layer_norm.\2"),
    (
        _LAYER + r"self_attention/layer_norm/(gamma|beta)",
        r"\1.layers.\2.self_attn_layer_norm.\3",
    ),
    (_LAYER + r"attention/layer_norm/(gamma|beta)", r"\1.layers.\2.encoder_attn_layer_norm.\3"),
    (_LAYER + r"self_attention/linear_1/(weight|bias)", r"\1.layers.\2.self_attn.out_proj.\3"),
    (_LAYER + r"attention/linear_0/(weight|bias)", r"\1.layers.\2.encoder_attn.q_proj.\3"),
    (_LAYER + r"attention/linear_2/(weight|bias)", r"\1.layers.\2.encoder_attn.out_proj.\3"),
    (_LAYER + r"ffn/layer_norm/(gamma|beta)", r"\1.layers.\2.final_layer_norm.\3"),
    (_LAYER + r"ffn/linear_0/(weight|bias)", r"\1.layers.\2.fc1.\3"),
    (_LAYER + r"ffn/linear_1/(weight|bias)", r"\1.layers.\2.fc2.\3"),
)
# What stands in one array: query, key and value of a layer, and key and value of what is heard.
_STACKED: tuple[tuple[str, str, str], ...] = (
    (_LAYER + r"self_attention/linear_0/(weight|bias)", "self_attn", "qkv"),
    (_LAYER + r"attention/linear_1/(weight|bias)", "encoder_attn", "kv"),
)
_NORMS = {"gamma": "weight", "beta": "bias"}
# How the network is built, which its row or the configuration beside it tells.
_FACTS = re.compile(
    r"(encoder|decoder)/num_heads|decoder/(activation|alibi|alignment_heads|alignment_layer"
    r"|pre_norm|scale_embeddings|start_from_zero_embedding)"
)
_PROJECTION, _EMBEDDINGS = "decoder/projection/weight", "decoder/embeddings/weight"


def whisper_encoder(entries: Mapping[str, Array]) -> Entries:
    """The encoder under the names of transformers' WhisperModel.

    Raises ValueError for an entry that has no place there.
    """
    return _side("encoder", entries)


def whisper_decoder(entries: Mapping[str, Array]) -> Entries:
    """The decoder under the names of transformers' WhisperModel.

    What it answers by are its embeddings of tokens. Raises ValueError for an entry that has no
    place there, and where the answers are others.
    """
    tied = _EMBEDDINGS in entries and np.array_equal(
        entries.get(_PROJECTION, entries[_EMBEDDINGS]), entries[_EMBEDDINGS]
    )
    if not tied:
        raise ValueError(f"{_PROJECTION}: is not {_EMBEDDINGS}, as it is in Whisper")
    return _side("decoder", {n: a for n, a in entries.items() if n != _PROJECTION})


def _side(side: str, entries: Mapping[str, Array]) -> Entries:
    state: Entries = {}
    other = "decoder/" if side == "encoder" else "encoder/"
    for name, array in entries.items():
        if name.startswith(other) or _FACTS.fullmatch(name):
            continue
        state |= _split(name, array) or {_renamed(name): array}
    return state


def _renamed(name: str) -> str:
    for pattern, template in _RENAMED:
        if found := re.fullmatch(pattern, name):
            stem, _, last = found.expand(template).rpartition(".")
            return f"{stem}.{_NORMS.get(last, last)}"
    raise ValueError(f"{name}: not an entry of Whisper's encoder or decoder")


def _split(name: str, array: Array) -> Entries:
    """The parts of a stacked entry; in Whisper keys have no bias, here it must be zero."""
    matches = ((re.fullmatch(row[0], name), *row[1:]) for row in _STACKED)
    for found, attention, letters in matches:
        if found:
            return dict(_parts(found, attention, letters, array))
    return {}


def _parts(
    found: re.Match[str], attention: str, letters: str, array: Array
) -> Iterator[tuple[str, Array]]:
    side, layer, kind = found.groups()
    if len(array) % len(letters):
        told = {"qkv": "query, key and value", "kv": "key and value"}[letters]
        raise ValueError(f"{side} layer {layer}: {len(array)} rows are no {told}")
    parts = dict(zip(letters, np.split(array, len(letters)), strict=True))
    if kind == "bias" and parts.pop("k").any():
        raise ValueError(f"{side} layer {layer}: its keys have a bias, which Whisper's have not")
    for letter, part in parts.items():
        yield f"{side}.layers.{layer}.{attention}.{letter}_proj.{kind}", part


# Specification → part of the network → its entries under the names that it has here.
SPECIFICATIONS: Mapping[str, Mapping[str, Callable[[Mapping[str, Array]], Entries]]] = (
    MappingProxyType({"WhisperSpec": {"encoder": whisper_encoder, "decoder": whisper_decoder}})
)


def state_of(data: bytes, part: str = "encoder") -> Entries:
    """The tensors of a part of a file's network under transformers' names. Raises ValueError."""
    specification, entries = read_ctranslate2(data)
    if specification not in SPECIFICATIONS:
        known = ", ".join(SPECIFICATIONS)
        raise ValueError(f"is a {specification}; only these are read: {known}")
    return SPECIFICATIONS[specification][part](entries)
