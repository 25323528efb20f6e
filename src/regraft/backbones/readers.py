"""Readers: from an example as its modality prepared it to the numbers that a network reads.

    picture  (size, size, 3) uint8 RGB        as it is
    text     UTF-8 bytes, uint8               numbers of the network's own vocabulary, int64

A reader stands before the network in every engine, so that an example takes one path everywhere.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from regraft.backbones.catalog import CatalogRow
from regraft.backbones.weights import row_file
from regraft.errors import BackboneError
from regraft.modalities.spec import InputSpec

Prepared = npt.NDArray[np.uint8]  # what `Modality.prepare` gives
Example = npt.NDArray[Any]  # what a network reads of one example
Read = Callable[[Prepared], Example]

ANY = -1  # of an axis: any length
LONGEST_TOKEN = 16  # characters; longer texts are cut before they are cut into tokens
SAMPLE_TOKENS = 16  # of the text by which networks are measured: about a question's


@dataclass(frozen=True)
class Reader:
    """One row of READERS.

    open      (row, spec) → what reads examples; loads the network's vocabulary, if it has one
    sample    (spec, seed) → an example: networks are traced, measured and compared by it
    shape     of an example, where ANY stands for any length
    cost      of an example with this spec, in those of one with the network's own
    together  whether examples of equal shape are run at once; what one gives does not depend on
              what is beside it (tested), but a convolutional network is slower so
    """

    open: Callable[[CatalogRow, InputSpec], Read]
    sample: Callable[[InputSpec, int], Example]
    shape: Callable[[InputSpec], tuple[int, ...]]
    cost: Callable[[InputSpec, InputSpec], float]
    together: bool


def reader(spec: InputSpec) -> Reader:
    """The row of what a network with this spec reads."""
    return READERS[spec.reads]


# --- pictures ------------------------------------------------------------------------------------


def _as_it_is(row: CatalogRow, spec: InputSpec) -> Read:
    return lambda pixels: pixels


def _noise(spec: InputSpec, seed: int) -> Example:
    shape = (spec.size, spec.size, 3)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def _area(spec: InputSpec, own: InputSpec) -> float:
    return (spec.size / own.size) ** 2


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

    def read(text: Prepared) -> Example:
        words = text.tobytes().decode()[: LONGEST_TOKEN * spec.size]
        return np.array(vocabulary.encode(words).ids, np.int64)

    return read


def _counting(spec: InputSpec, seed: int) -> Example:
    """Numbers that every vocabulary has."""
    return np.random.default_rng(seed).integers(3, 30, SAMPLE_TOKENS)


def _as_long(spec: InputSpec, own: InputSpec) -> float:
    """The text decides, which is mostly shorter than what could be read."""
    return 1.0


def _line(spec: InputSpec) -> tuple[int, ...]:
    return (ANY,)


READERS: Mapping[str, Reader] = MappingProxyType(
    {
        "picture": Reader(_as_it_is, _noise, _square, _area, together=False),
        "text": Reader(_tokens, _counting, _line, _as_long, together=True),
    }
)
