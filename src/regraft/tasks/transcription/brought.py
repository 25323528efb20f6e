"""Heads that checkpoints bring: a network that can already write down what is said.

    Wav2Vec2ForCTC, HubertForCTC, WavLMForCTC    a linear layer, and vocab.json beside it
    WhisperForConditionalGeneration              its decoder, and tokenizer.json beside it

It is used as it is, or learned from on. Characters that both the checkpoint and the transcripts
have keep their rows; those that only the transcripts have begin at nothing.
"""

import json
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from regraft.backbones.catalog import CatalogRow
from regraft.backbones.configs import Record, read_config
from regraft.backbones.weights import read_state, row_file, weight_file
from regraft.errors import BackboneError
from regraft.modalities.spec import InputSpec
from regraft.tasks.transcription.heads import LinearHead
from regraft.tasks.transcription.tokens import Tokens
from regraft.tasks.transcription.vocabulary import Vocabulary
from regraft.tasks.transcription.whisper import as_trained, whisper

VOCABULARY, TOKENIZER = "vocab.json", "tokenizer_config.json"
LAYER = "lm_head"
NOTHING = "{row.name} brings no head that writes ({row.architecture})"
MOST_NUMBERS = 100_000


class Brought(NamedTuple):
    """A head that came with a network, and what it writes with."""

    head: Any
    vocabulary: Vocabulary | Tokens
    spec: InputSpec  # of what it was trained to hear


class Spelt(NamedTuple):
    """What vocab.json says.

    rows   character, as it is written down here → number of its row
    blank  number of the row that stands for none
    """

    rows: dict[str, int]
    blank: int


def brings(row: CatalogRow) -> bool:
    """Whether a checkpoint of this architecture can write down what is said by itself."""
    if row.family not in BROUGHT:
        return False
    return (
        re.fullmatch(BROUGHT[row.family].of, f"{row.weights.form}:{row.architecture}") is not None
    )


def brought(row: CatalogRow, characters: tuple[str, ...]) -> Brought:
    """The head that a checkpoint brings, for its own characters and for these.

    Raises BackboneError where it cannot be used as it is.
    """
    return BROUGHT[row.family].read(row, characters)


def _of_ctc(row: CatalogRow, characters: tuple[str, ...]) -> Brought:
    config = read_config(row_file(row, row.config))
    if config.get("add_adapter"):
        raise BackboneError(f"{row.name}: its head reads what an adapter gives, which is not read")
    state = read_state(weight_file(row))
    weight, bias = (state.get(f"{LAYER}.{name}") for name in ("weight", "bias"))
    if weight is None or bias is None or weight.ndim != 2 or len(weight) != len(bias):
        raise BackboneError(f"{row.name}: there is no layer {LAYER} among its weights")
    told = spelt(row, len(bias))
    vocabulary = Vocabulary(tuple(sorted({*told.rows, *characters})))
    normed = bool(config.get("do_stable_layer_norm"))
    eps = float(config.get("layer_norm_eps", 1e-5))
    head = LinearHead(weight.shape[1], len(vocabulary), normed, eps)
    with torch.no_grad():
        _put(head.last.weight, weight.float(), vocabulary, told, 0.0)
        _put(head.last.bias, bias.float(), vocabulary, told, float(bias.min()))
        if normed:
            for name in ("weight", "bias"):
                getattr(head.norm, name).copy_(_norm(row, state, name))
    return Brought(head, vocabulary, row.spec)


def _of_whisper(row: CatalogRow, characters: tuple[str, ...]) -> Brought:
    return Brought(*whisper(row), as_trained(row.spec))


def _norm(row: CatalogRow, state: Mapping[str, Tensor], name: str) -> Tensor:
    """Of the norm behind the last block, under the prefix that the checkpoint has."""
    for key, tensor in state.items():
        if key == f"encoder.layer_norm.{name}" or key.endswith(f".encoder.layer_norm.{name}"):
            return tensor.float()
    raise BackboneError(f"{row.name}: there is no encoder.layer_norm.{name} among its weights")


def _put(to: Tensor, source: Tensor, vocabulary: Vocabulary, told: Spelt, new: float) -> None:
    """Rows of the same character, and of none; `new` where the checkpoint does not know it."""
    to.fill_(new)
    to[0] = source[told.blank]
    for i, character in enumerate(vocabulary.characters, 1):
        if character in told.rows:
            to[i] = source[told.rows[character]]


def spelt(row: CatalogRow, rows: int) -> Spelt:
    """What vocab.json says of a head with so many rows. Raises BackboneError."""
    path = row_file(row, VOCABULARY)
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise BackboneError(f"{path}: cannot be read as JSON: {error}") from error
    if not _is_vocabulary(found, rows):
        raise BackboneError(f"{path}: expected characters with the numbers of {rows} rows")
    told = _tokenizer(row)
    blank = _named(told.get("pad_token")) or "<pad>"
    between = _named(told.get("word_delimiter_token")) or "|"
    if blank not in found:
        raise BackboneError(f"{path}: has no {blank!r:.40}, which stands for no character")
    special = {blank, *(_named(told.get(f"{name}_token")) for name in ("unk", "bos", "eos"))}
    named = {" " if c == between else c: n for c, n in found.items() if c not in special}
    single = {c: n for c, n in named.items() if len(c) == 1}
    if lost := sorted(c for c in named.keys() - single.keys() if not c.startswith(("<", "["))):
        raise BackboneError(f"{path}: expected single characters, got {', '.join(lost[:5])}")
    # Case is not heard: the row of a small letter goes before that of its capital.
    lower = {c.lower(): n for c, n in single.items() if len(c.lower()) == 1}
    return Spelt(lower | {c: n for c, n in single.items() if c == c.lower()}, found[blank])


def _tokenizer(row: CatalogRow) -> Record:
    """tokenizer_config.json, where there is one."""
    try:
        return read_config(row_file(row, TOKENIZER))
    except BackboneError:
        return {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}


def _named(token: object) -> str:
    """A token, which stands as text or with its settings."""
    found = token.get("content") if isinstance(token, Mapping) else token
    return found if isinstance(found, str) else ""


def _is_vocabulary(found: object, rows: int) -> bool:
    if not isinstance(found, dict) or not 1 < len(found) <= MOST_NUMBERS:
        return False
    numbers = [*found.values()]
    whole = all(type(n) is int and 0 <= n < rows for n in numbers)
    return whole and len(set(numbers)) == len(numbers) and all(found)


class Row(NamedTuple):
    """One row of BROUGHT: a regex over ``form:architecture`` that bring a head; what reads it."""

    of: str
    read: Callable[[CatalogRow, tuple[str, ...]], Brought]


# Family of a network → the head that comes with it.
BROUGHT: Mapping[str, Row] = MappingProxyType(
    {
        "transformers-wav2vec2": Row(r":\w+ForCTC", _of_ctc),
        "transformers-whisper": Row(r"ctranslate2:\w+|:\w+ForConditionalGeneration", _of_whisper),
    }
)
