"""Weights in CTranslate2's format: what is read, and that nothing damaged or strange is."""

import struct
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from regraft.backbones.catalog import available, find
from regraft.backbones.ctranslate2 import read_ctranslate2, state_of
from regraft.backbones.network import load_network
from regraft.backbones.weights import weight_file
from regraft.errors import BackboneError

KINDS = {"f4": 0, "i1": 1, "i2": 2, "i4": 3, "f2": 4}
Array = Any


def name_of(text: str) -> bytes:
    raw = text.encode() + b"\0"
    return struct.pack("<H", len(raw)) + raw


def written(
    entries: dict[str, Array],
    aliases: Mapping[str, str] = MappingProxyType({}),
    specification: str = "WhisperSpec",
    version: int = 6,
) -> bytes:
    """As CTranslate2's own ModelSpec.save writes it."""
    out = struct.pack("<I", version) + name_of(specification) + struct.pack("<II", 3, len(entries))
    for name, array in entries.items():
        array = np.asarray(array)
        out += name_of(name) + struct.pack(f"<B{array.ndim}I", array.ndim, *array.shape)
        out += struct.pack("<BI", KINDS[array.dtype.str[1:]], array.nbytes) + array.tobytes()
    out += struct.pack("<I", len(aliases))
    return out + b"".join(name_of(a) + name_of(n) for a, n in aliases.items())


def encoder(layers: int = 2, d: int = 4) -> dict[str, Array]:
    rng = np.random.default_rng(0)

    def made(*shape: int) -> Array:
        return rng.standard_normal(shape).astype(np.float16)

    out = {"encoder/conv1/weight": made(d, 8, 3), "encoder/num_heads": np.int16(2)}
    out |= {"encoder/position_encodings/encodings": made(9, d)}
    out |= {"encoder/layer_norm/gamma": made(d), "encoder/layer_norm/beta": made(d)}
    for i in range(layers):
        at = f"encoder/layer_{i}"
        bias = made(3 * d)
        bias[d : 2 * d] = 0
        out |= {f"{at}/self_attention/linear_0/weight": made(3 * d, d)}
        out |= {f"{at}/self_attention/linear_0/bias": bias}
        out |= {f"{at}/self_attention/linear_1/weight": made(d, d)}
        out |= {f"{at}/self_attention/layer_norm/gamma": made(d)}
        out |= {f"{at}/ffn/linear_0/bias": made(8), f"{at}/ffn/layer_norm/beta": made(d)}
    return out | {"decoder/embeddings/weight": made(6, d)}


def test_entries_come_back_as_they_were_written() -> None:
    entries = {"a": np.arange(6, dtype="<f4").reshape(2, 3), "b/c": np.int16(-3), "d": np.int8([1])}
    specification, found = read_ctranslate2(written(entries, {"e": "a"}, "AnySpec"))
    assert specification == "AnySpec"
    assert list(found) == ["a", "b/c", "d", "e"]
    for name, array in entries.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].shape == np.shape(array)
    np.testing.assert_array_equal(found["e"], entries["a"])


def test_queries_keys_and_values_are_taken_apart() -> None:
    entries = encoder()
    state = state_of(written(entries, {"decoder/projection/weight": "decoder/embeddings/weight"}))
    stacked = entries["encoder/layer_1/self_attention/linear_0/weight"]
    parts = [state[f"encoder.layers.1.self_attn.{p}_proj.weight"] for p in "qkv"]
    np.testing.assert_array_equal(np.concatenate(parts), stacked)
    assert "encoder.layers.1.self_attn.k_proj.bias" not in state
    np.testing.assert_array_equal(
        state["encoder.layers.0.final_layer_norm.bias"],
        entries["encoder/layer_0/ffn/layer_norm/beta"],
    )
    assert not [name for name in state if "decoder" in name]


def decoder(layers: int = 2, d: int = 4) -> dict[str, Array]:
    rng = np.random.default_rng(1)

    def made(*shape: int) -> Array:
        return rng.standard_normal(shape).astype(np.float16)

    out = {f"decoder/{name}": np.int8(1) for name in ("pre_norm", "activation", "alibi")}
    out |= {"decoder/num_heads": np.int16(2), "decoder/embeddings/weight": made(12, d)}
    out |= {"decoder/position_encodings/encodings": made(9, d)}
    out |= {f"decoder/layer_norm/{name}": made(d) for name in ("gamma", "beta")}
    for i in range(layers):
        for part, lines in {"self_attention": (3, 1), "attention": (1, 2, 1)}.items():
            at = f"decoder/layer_{i}/{part}"
            out |= {f"{at}/layer_norm/{name}": made(d) for name in ("gamma", "beta")}
            out |= {f"{at}/linear_{j}/weight": made(n * d, d) for j, n in enumerate(lines)}
            out |= {f"{at}/linear_{j}/bias": made(n * d) for j, n in enumerate(lines)}
        at = f"decoder/layer_{i}"
        out[f"{at}/self_attention/linear_0/bias"][d : 2 * d] = 0
        out[f"{at}/attention/linear_1/bias"][:d] = 0
        out |= {f"{at}/ffn/layer_norm/{name}": made(d) for name in ("gamma", "beta")}
        out |= {f"{at}/ffn/linear_0/weight": made(8, d), f"{at}/ffn/linear_0/bias": made(8)}
        out |= {f"{at}/ffn/linear_1/weight": made(d, 8), f"{at}/ffn/linear_1/bias": made(d)}
    return out


def test_the_decoder_fits_transformers_own_entry_by_entry() -> None:
    from regraft.tasks.transcription.decoder import DecoderHead, sizes_of

    entries = encoder() | decoder()
    aliases = {"decoder/projection/weight": "decoder/embeddings/weight"}
    state = state_of(written(entries, aliases), "decoder")
    head = DecoderHead(sizes_of(state), 2)
    assert {n: tuple(t.shape) for n, t in head.state_dict().items()} == {
        n: a.shape for n, a in state.items()
    }
    heard = entries["decoder/layer_1/attention/linear_1/weight"]
    at = "decoder.layers.1.encoder_attn"
    parts = [state[f"{at}.{p}_proj.weight"] for p in "kv"]
    np.testing.assert_array_equal(np.concatenate(parts), heard)
    other = entries | {"decoder/projection/weight": entries["decoder/embeddings/weight"] * 2}
    with pytest.raises(ValueError, match="projection"):
        state_of(written(other), "decoder")


ODD: dict[str, bytes] = {
    "is not of CTranslate2's binary version 6": written(encoder(), version=7),
    "is a TransformerSpec": written(encoder(), specification="TransformerSpec"),
    "encoder/strange: not an entry": written({"encoder/strange": np.float32([1])}),
    "b: no alias of c": written({"a": np.float32([1])}, {"b": "c"}),
    "a: no alias of a": written({"a": np.float32([1])}, {"a": "a"}),
    "3 bytes are left over": written(encoder()) + b"abc",
    "its keys have a bias": written(
        {"encoder/layer_0/self_attention/linear_0/bias": np.ones(6, np.float32)}
    ),
    "4 rows are no query": written(
        {"encoder/layer_0/self_attention/linear_0/bias": np.ones(4, np.float32)}
    ),
    "numbers of type 9": written({"a": np.int8([7])}).replace(
        b"\x01\x01\0\0\0\x07", b"\x09\x01\0\0\0\x07"
    ),
    "more than 100,000": struct.pack("<I", 6)
    + name_of("WhisperSpec")
    + struct.pack("<II", 3, 2**31),
    "has 255 axes": written({"a": np.int8([1])}).replace(b"a\0\x01", b"a\0\xff"),
}


@pytest.mark.parametrize("message", ODD)
def test_what_is_odd_is_refused(message: str) -> None:
    with pytest.raises(ValueError, match=message):
        state_of(ODD[message])


@given(st.data())
def test_damage_never_does_more_than_to_be_refused(data: st.DataObject) -> None:
    whole = written(encoder(1))
    place = data.draw(st.integers(0, len(whole) - 1))
    patch = data.draw(st.binary(min_size=1, max_size=8))
    for damaged in (whole[:place], whole[:place] + patch + whole[place + len(patch) :]):
        try:
            state = state_of(damaged)
        except ValueError:
            continue
        assert all(isinstance(array, np.ndarray) for array in state.values())


def test_every_shortened_file_is_refused() -> None:
    whole = written(encoder(1))
    for end in range(0, len(whole), 7):
        with pytest.raises(ValueError, match=r"ends at byte|is no name"):
            read_ctranslate2(whole[:end])


# --- the network of the package ------------------------------------------------------------------


def test_the_default_for_sounds_is_here_and_whole() -> None:
    row = find("whisper-tiny-en")
    assert available(row), "part of the extra `speech`"
    path = weight_file(row)
    assert path.suffix == ".safetensors"
    assert path.stat().st_size < 20e6  # without its decoder
    network = load_network(row)
    assert network.block_widths == (384,) * 5
    assert sum(p.numel() for p in network.module.parameters()) == row.parameters


def test_its_positions_are_sines_as_whisper_has_them() -> None:
    """Radford et al. 2022 give the encoder's positions by a formula, not by training."""
    network: Any = load_network(find("whisper-tiny-en")).module
    found = network.encoder.embed_positions.weight
    rates = torch.exp(-np.log(10000) / 191 * torch.arange(192))
    angles = torch.arange(1500)[:, None] * rates
    expected = torch.cat([angles.sin(), angles.cos()], 1)
    torch.testing.assert_close(found.detach(), expected, atol=2e-3, rtol=0)


def test_a_changed_file_is_not_opened(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from regraft.backbones import weights

    row = find("whisper-tiny-en")
    forged = tmp_path / "model.bin"
    forged.write_bytes(written(encoder()))
    package = weights.Carrier(lambda row, name: forged, None, "", converts=True)
    monkeypatch.setattr(weights, "CARRIERS", {"package": package})
    with pytest.raises(BackboneError, match="it was not opened"):
        weight_file(row)
