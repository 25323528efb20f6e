"""Whisper's decoder, read from a checkpoint: its tensors, its tokens, and how it is asked.

    transformers' WhisperForConditionalGeneration   model.safetensors, generation_config.json
    a package of CTranslate2                        model.bin, config.json

tokenizer.json lies beside either.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from tokenizers import Tokenizer
from torch import Tensor

from regraft.backbones.catalog import CatalogRow
from regraft.backbones.configs import Record, read_config
from regraft.backbones.fronts import HOP
from regraft.backbones.weights import decoder_state, row_file
from regraft.errors import BackboneError
from regraft.modalities.samples import RATE
from regraft.modalities.spec import InputSpec
from regraft.tasks.transcription.decoder import DecoderHead, sizes_of
from regraft.tasks.transcription.tokens import Asked, Tokens

START, TASK, PLAIN, END = (
    *("<|startoftranscript|>", "<|transcribe|>", "<|notimestamps|>"),
    "<|endoftext|>",
)


class Read(NamedTuple):
    """A decoder and what it writes with."""

    head: DecoderHead
    tokens: Tokens


def whisper(row: CatalogRow) -> Read:
    """The decoder of a checkpoint. Raises BackboneError where it cannot be used as it is."""
    config = _config(row)
    if config.get("activation_function", "gelu") != "gelu" or config.get("scale_embedding"):
        raise BackboneError(f"{row.name}: its decoder is not built as Whisper's is")
    state = _renamed(decoder_state(row))
    try:
        head = DecoderHead(sizes_of(state), int(config["decoder_attention_heads"]))
        head.load_state_dict(state)
    except (KeyError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise BackboneError(f"{row.name}: its decoder cannot be used: {reason}") from error
    return Read(head, _tokens(row, head))


def _config(row: CatalogRow) -> Record:
    return read_config(row_file(row, row.config)) if row.config else dict(row.options)


def _renamed(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of the decoder, float32, without the prefix of a whole model."""
    plain = {name.removeprefix("model."): tensor for name, tensor in state.items()}
    return {name: t.float() for name, t in plain.items() if name.startswith("decoder.")}


def as_trained(spec: InputSpec) -> InputSpec:
    """What Whisper was trained to hear: silence up to its thirty seconds, loudness as it is."""
    assert spec.hears is not None, "a network of sounds"
    frames = spec.size * RATE // HOP
    return replace(spec, hears=replace(spec.hears, frames=frames, normalise=False))


# --- tokens --------------------------------------------------------------------------------------


def _tokens(row: CatalogRow, head: DecoderHead) -> Tokens:
    path = row_file(row, _beside(row, "tokenizer.json"))
    data = path.read_bytes()
    try:
        numbers: dict[str, int] = Tokenizer.from_buffer(data).get_vocab(with_added_tokens=True)
    except Exception as error:  # the library raises plain Exception
        raise BackboneError(f"{path}: not a tokenizer that can be read: {error}") from error
    if missing := [token for token in (START, PLAIN, END) if token not in numbers]:
        raise BackboneError(f"{path}: has no {', '.join(missing)}, which Whisper's has")
    told = _generation(row)
    languages = _languages(told, numbers)
    prompt = [START, *([TASK] if languages else []), PLAIN]
    never = told.get("suppress_tokens", told.get("suppress_ids")) or ()
    first = told.get("begin_suppress_tokens", told.get("suppress_ids_begin")) or ()
    asked = Asked(
        prompt=tuple(numbers[token] for token in prompt),
        end=numbers[END],
        never=_whole(never, numbers[END]),
        never_first=_whole(first),
        most=head.sizes.positions - len(prompt) - 1,
    )
    if wrong := [*asked.mistakes(head.sizes.answers)]:
        raise BackboneError(f"{path}: {'; '.join(wrong)}")
    return Tokens(data, asked, languages)


def _beside(row: CatalogRow, name: str) -> str:
    return str(PurePosixPath(row.weights.file).with_name(name))


def _generation(row: CatalogRow) -> Record:
    """What is said of decoding; without it, nothing is kept from being written."""
    name = "config.json" if row.weights.form else "generation_config.json"
    try:
        return read_config(row_file(row, _beside(row, name)))
    except BackboneError:
        return {}


def _languages(told: Record, numbers: Mapping[str, int]) -> dict[str, int]:
    """Code → token; empty for a network of English alone."""
    known: Any = told.get("lang_to_id") or {}
    if not isinstance(known, Mapping) or told.get("is_multilingual") is False:
        return {}
    return {token.strip("<|>"): numbers[token] for token in known if token in numbers}


def _whole(values: Any, end: int = -1) -> tuple[int, ...]:
    """Numbers of tokens; that of the end may always be written."""
    found = values if isinstance(values, list | tuple) else ()
    return tuple(n for n in found if type(n) is int and n >= 0 and n != end)
