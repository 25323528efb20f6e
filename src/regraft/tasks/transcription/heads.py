"""Heads: from the features of all blocks to logits of characters, as rows of a table.

    spelling  our own: weighs all blocks and looks at a few neighbouring moments
    linear    as checkpoints bring it (Wav2Vec2ForCTC, HubertForCTC ...): a layer on the last block
    decoder   Whisper's: tokens one after the other, from the last block; see `decoder`

A head is its tensors and a few facts beside them, which a bundle carries.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from regraft.tasks.transcription.decoder import DecoderHead, sizes_of
from regraft.tasks.transcription.facts import SPELLING, HeadFacts

INNER, REACH = 192, 5  # width of the spelling head, and moments that a layer of it sees
DROPOUT = 0.1  # while a head learns alone
MOST_WIDTH, MOST_LAYERS, MOST_ANSWERS = 4096, 64, 200_000

State = Mapping[str, Any]


class SpellingHead(nn.Module):
    """(n, sum of widths, moments) features of all blocks, side by side → (n, moments, c) logits.

    alone  it learns on frozen features: then some of them are dropped in each step
    """

    alone = False

    def __init__(self, widths: Sequence[int], characters: int, inner: int = INNER) -> None:
        super().__init__()
        width, *others = dict.fromkeys(widths)
        if others:
            raise ValueError(f"blocks of {sorted({width, *others})} columns cannot be weighed")
        self.blocks, self.width, self.inner = len(widths), width, inner
        self.weights = nn.Parameter(torch.zeros(self.blocks))
        self.even = nn.LayerNorm(width, elementwise_affine=False)
        self.near = nn.Conv1d(width, inner, REACH, padding=REACH // 2)
        self.far = nn.Conv1d(inner, inner, REACH, padding=REACH // 2)
        self.last = nn.Linear(inner, characters)

    @property
    def facts(self) -> HeadFacts:
        """What its tensors do not tell."""
        return SPELLING

    def forward(self, features: Tensor) -> Tensor:
        with torch.autocast(features.device.type, enabled=False):
            blocks = features.float().unflatten(1, (self.blocks, self.width)).transpose(2, 3)
            shares = torch.softmax(self.weights, 0)
            mixed = torch.einsum("b,nbtd->ndt", shares, self.even(blocks))
            x = nn.functional.gelu(self.near(self._thinned(mixed)))
            x = x + nn.functional.gelu(self.far(self._thinned(x)))
            logits: Tensor = self.last(x.transpose(1, 2))
        return logits

    def _thinned(self, x: Tensor) -> Tensor:
        learning = self.alone and torch.is_grad_enabled()
        return nn.functional.dropout(x, DROPOUT, training=learning)


class LinearHead(nn.Module):
    """(n, D, moments) features → (n, moments, c) logits, from the last block alone.

    Networks whose norms stand before their layers have one more behind the last (`normed`).
    """

    alone = False

    def __init__(self, width: int, characters: int, normed: bool, eps: float = 1e-5) -> None:
        super().__init__()
        self.width, self.normed, self.eps = width, normed, eps
        self.norm = nn.LayerNorm(width, eps) if normed else nn.Identity()
        self.last = nn.Linear(width, characters)

    @property
    def facts(self) -> HeadFacts:
        """What its tensors do not tell."""
        return HeadFacts("linear", self.normed, self.eps)

    def forward(self, features: Tensor) -> Tensor:
        with torch.autocast(features.device.type, enabled=False):
            last = features[:, -self.width :].float().transpose(1, 2)
            x = self.norm(last)
            learning = self.alone and torch.is_grad_enabled()
            logits: Tensor = self.last(nn.functional.dropout(x, DROPOUT, training=learning))
        return logits


# --- from and to tensors -------------------------------------------------------------------------


def _spelling_of(state: State, facts: HeadFacts) -> nn.Module:
    blocks, (inner, width, _) = len(state["weights"]), state["near.weight"].shape
    return SpellingHead([width] * blocks, len(state["last.bias"]), inner)


def _linear_of(state: State, facts: HeadFacts) -> nn.Module:
    characters, width = state["last.weight"].shape
    return LinearHead(width, characters, facts.normed, facts.eps)


def _decoder_of(state: State, facts: HeadFacts) -> nn.Module:
    return DecoderHead(sizes_of(state), facts.heads)


Shapes = dict[str, tuple[int, ...]]


def _of_spelling(state: State, facts: HeadFacts, characters: int) -> Shapes:
    near = state.get("near.weight")
    if near is None or near.ndim != 3 or max(near.shape) > MOST_WIDTH:
        raise ValueError("near.weight is missing or of a wrong shape")
    inner, width, reach = near.shape
    return {
        "weights": (len(np.atleast_1d(state.get("weights", ()))),),
        "near.weight": (inner, width, reach),
        "near.bias": (inner,),
        "far.weight": (inner, inner, reach),
        "far.bias": (inner,),
        "last.weight": (characters, inner),
        "last.bias": (characters,),
    }


def _of_linear(state: State, facts: HeadFacts, characters: int) -> Shapes:
    last = state.get("last.weight")
    if last is None or last.ndim != 2 or last.shape[1] > MOST_WIDTH:
        raise ValueError("last.weight is missing or of a wrong shape")
    width = last.shape[1]
    norm: Shapes = {"norm.weight": (width,), "norm.bias": (width,)} if facts.normed else {}
    return {**norm, "last.weight": (characters, width), "last.bias": (characters,)}


def _of_decoder(state: State, facts: HeadFacts, answers: int) -> Shapes:
    """As many answers as its own embeddings: a tokenizer may name fewer."""
    try:
        sizes = sizes_of(state)
    except (KeyError, ValueError, IndexError) as error:
        raise ValueError(f"{error!r:.60}: missing or of a wrong shape") from error
    fits = sizes.answers <= MOST_ANSWERS and max(sizes.width, sizes.positions) <= MOST_WIDTH
    fits = fits and sizes.inner <= 4 * MOST_WIDTH and sizes.layers <= MOST_LAYERS
    if not fits or facts.heads < 1 or sizes.width % facts.heads:
        raise ValueError(f"{sizes} with {facts.heads} heads is no decoder that is used here")
    with torch.device("meta"):
        made = DecoderHead(sizes, facts.heads)
    return {name: tuple(tensor.shape) for name, tensor in made.state_dict().items()}


@dataclass(frozen=True)
class Kind:
    """One row of HEADS.

    made    (tensors, facts) → a head for them, which still has others
    shapes  (arrays, facts, answers) → what they must be; ValueError where the first is amiss
    """

    made: Callable[[State, HeadFacts], nn.Module]
    shapes: Callable[[State, HeadFacts, int], Shapes]


HEADS: Mapping[str, Kind] = MappingProxyType(
    {
        "spelling": Kind(_spelling_of, _of_spelling),
        "linear": Kind(_linear_of, _of_linear),
        "decoder": Kind(_decoder_of, _of_decoder),
    }
)


def head_of(state: dict[str, Any], facts: HeadFacts = SPELLING) -> Any:
    """A head from its tensors. Raises ValueError, KeyError or RuntimeError where they fit none."""
    made = HEADS[facts.kind].made(state, facts)
    made.load_state_dict(state)
    return made.requires_grad_(False).eval()


def wrong_head(state: State, facts: HeadFacts, answers: int) -> Iterator[str]:
    """What keeps arrays from outside from being a head: shapes, and numbers that are none."""
    if facts.kind not in HEADS:
        yield f"model.head.kind: {facts.kind!r:.60} is not one of {', '.join(HEADS)}"
        return
    try:
        expected = HEADS[facts.kind].shapes(state, facts, answers)
    except ValueError as error:
        yield f"head: {error}"
        return
    for name in sorted(expected.keys() ^ state.keys()):
        yield f"head.{name:.60}: {'missing' if name in expected else 'not known here'}"
    for name in sorted(expected.keys() & state.keys()):
        array = state[name]
        if array.shape != expected[name] or array.dtype != np.float32:
            yield f"head.{name}: expected float32 of {expected[name]}, got {array.shape}"
        elif not np.isfinite(array).all():
            yield f"head.{name}: holds numbers that are not finite"
