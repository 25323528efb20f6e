"""Readers: from an example as its modality prepared it to the numbers that a network reads.

    picture  (size, size, 3) uint8 RGB        as it is
    text     UTF-8 bytes, uint8               numbers of the network's own vocabulary, int64
    sound    bytes of float32 samples         as the network's front hears them, see `fronts`

A reader stands before the network in every engine, so that an example takes one path everywhere.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from regraft.backbones.catalog import CatalogRow
from regraft.backbones.fronts import ANY, HEARD, STEP, heard
from regraft.backbones.padding import Piece, by_ends, by_length, evenly, padded, stacked, unended
from regraft.backbones.weights import row_file
from regraft.errors import BackboneError
from regraft.modalities.facts import Facts
from regraft.modalities.samples import RATE, samples_of
from regraft.modalities.segments import seconds_of
from regraft.modalities.spec import Hearing, InputSpec

Prepared = npt.NDArray[np.uint8]  # what `Modality.prepare` gives
Example = npt.NDArray[Any]  # what a network reads of one example
Read = Callable[[Prepared], Example]

# What is left at the smallest size of what a picture at its own takes: for decoding, and for calls
# (Lite0: at 96 px, where 0.18 of the pixels are left, 0.26 of the time).
ANY_SIZE = 0.1
LONGEST_TOKEN = 16  # characters; longer texts are cut before they are cut into tokens
SAMPLE_TOKENS = 16  # of the text by which networks are measured: about a question's
LEAST_SECONDS = STEP / RATE  # the least that is heard
SAMPLE_SECONDS = (1.0, 2.5)  # of the sounds by which networks are measured and compared


@dataclass(frozen=True)
class Reader:
    """One row of READERS.

    open      (row, spec) → what reads examples; loads the network's vocabulary, if it has one
    sample    (spec, seed) → an example: networks are traced and measured by that of seed 0, and
              engines compared by that of seed 1 too, which is longer where lengths differ
    shape     of an example, where ANY stands for any length
    cost      (spec, own, facts) of an example with this spec, in those of the one by which the
              catalog tells the operations; facts are of some of the user's examples, or of none
    together  whether examples of equal shape are run at once; what one gives does not depend on
              what is beside it (tested), but a convolutional network is slower so
    collate   examples → a batch to train on: one array, padded where they are not as long
    cut       (batch, most, begin) → pieces of it that are run one after the other, see `padding`
    """

    open: Callable[[CatalogRow, InputSpec], Read]
    sample: Callable[[InputSpec, int], Example]
    shape: Callable[[InputSpec], tuple[int, ...]]
    cost: Callable[[InputSpec, InputSpec, Sequence[Facts]], float]
    together: bool
    collate: Callable[[Sequence[Example]], Example]
    cut: Callable[[Any, int, float], list[Piece]]


def reader(spec: InputSpec) -> Reader:
    """The row of what a network with this spec reads."""
    return READERS[spec.reads]


# --- pictures ------------------------------------------------------------------------------------


def as_it_is(pixels: Prepared) -> Example:
    """Pictures need no reading."""
    return pixels


def _pixels(row: CatalogRow, spec: InputSpec) -> Read:
    return as_it_is


def _noise(spec: InputSpec, seed: int) -> Example:
    shape = (spec.size, spec.size, 3)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def _area(spec: InputSpec, own: InputSpec, facts: Sequence[Facts]) -> float:
    return ANY_SIZE + (1 - ANY_SIZE) * (spec.size / own.size) ** 2


def _square(spec: InputSpec) -> tuple[int, ...]:
    return (spec.size, spec.size, 3)


# --- texts ---------------------------------------------------------------------------------------


def _tokens(row: CatalogRow, spec: InputSpec) -> Read:
    """By the vocabulary beside the weights; at most `spec.size` tokens, the first ones."""
    from tokenizers import Tokenizer

    path = row_file(row, row.tokenizer)
    try:
        vocabulary = Tokenizer.from_buffer(path.read_bytes())
        vocabulary.no_padding()
        vocabulary.enable_truncation(spec.size)
    except Exception as error:  # the library raises plain Exception
        raise BackboneError(f"{path}: not a vocabulary that can be read: {error}") from error

    return partial(_tokens_of, vocabulary, LONGEST_TOKEN * spec.size)


def _tokens_of(vocabulary: Any, most: int, text: Prepared) -> Example:
    """At most so many characters are looked at."""
    return np.array(vocabulary.encode(text.tobytes().decode()[:most]).ids, np.int64)


def _counting(spec: InputSpec, seed: int) -> Example:
    """Numbers that every vocabulary has."""
    return np.random.default_rng(seed).integers(3, 30, SAMPLE_TOKENS * (1 + seed % 2))


def _as_long(spec: InputSpec, own: InputSpec, facts: Sequence[Facts]) -> float:
    """The text decides, which is mostly shorter than what could be read."""
    return 1.0


def _line(spec: InputSpec) -> tuple[int, ...]:
    return (ANY,)


# --- sounds --------------------------------------------------------------------------------------


def _front(row: CatalogRow, spec: InputSpec) -> Read:
    hearing, most = _hearing(spec), spec.size * RATE
    return lambda prepared: heard(samples_of(prepared)[:most], hearing)


def _hiss(spec: InputSpec, seed: int) -> Example:
    seconds = SAMPLE_SECONDS[seed % len(SAMPLE_SECONDS)]
    noise = np.random.default_rng(seed).normal(0, 0.1, round(seconds * RATE))
    return heard(noise.astype(np.float32), _hearing(spec))


def _seconds(spec: InputSpec, own: InputSpec, facts: Sequence[Facts]) -> float:
    """Seconds that are heard; what always reads as many frames costs the same always."""
    if not facts or _hearing(spec).frames:
        return 1.0
    lasting = (seconds_of(spec.views[0], one.width / 1000, spec.size) for one in facts)
    heard_of = [max(LEAST_SECONDS, seconds) for seconds in lasting]
    return sum(heard_of) / len(heard_of) / SAMPLE_SECONDS[0]


def _as_heard(spec: InputSpec) -> tuple[int, ...]:
    return HEARD[_hearing(spec).front].shape(_hearing(spec))


def _hearing(spec: InputSpec) -> Hearing:
    assert spec.hears is not None, "InputSpec refuses that"
    return spec.hears


READERS: Mapping[str, Reader] = MappingProxyType(
    {
        "picture": Reader(
            _pixels, _noise, _square, _area, together=False, collate=stacked, cut=evenly
        ),
        "text": Reader(
            _tokens, _counting, _line, _as_long, together=True, collate=padded, cut=by_length
        ),
        "sound": Reader(
            _front, _hiss, _as_heard, _seconds, together=True, collate=unended, cut=by_ends
        ),
    }
)
