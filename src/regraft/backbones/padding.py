"""Examples side by side: as they are where all are as long, padded where they are not.

A padded batch is one array whose rows go on with PADDING behind their ends. What runs it cuts it
into pieces of like length first: most of what padding costs is saved so, and what a network gives
for an example does not depend on what is beside it.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

PADDING = -1  # no number of any vocabulary

Array = npt.NDArray[Any]
Places = slice | list[int]
# The places of some examples in a batch, and these examples: arrays or tensors, as the batch is.
Piece = tuple[Places, Any]


def stacked(examples: Sequence[Array]) -> Array:
    """Examples of one shape → (n, ...)."""
    return np.stack(examples)


def padded(examples: Sequence[Array]) -> Array:
    """Lines of numbers (length,) → (n, longest)."""
    out = np.full((len(examples), max(map(len, examples))), PADDING, np.int64)
    for row, example in zip(out, examples, strict=True):
        row[: len(example)] = example
    return out


def unended(examples: Sequence[Array]) -> Array:
    """Sounds (..., length) → (n, ..., longest) float32, behind their ends NaN."""
    longest = max(example.shape[-1] for example in examples)
    out = np.full((len(examples), *examples[0].shape[:-1], longest), np.nan, np.float32)
    for row, example in zip(out, examples, strict=True):
        row[..., : example.shape[-1]] = example
    return out


def evenly(batch: Any, most: int, begin: float = 0.0) -> list[Piece]:
    """At most so many at once, in their order."""
    places = [slice(i, i + most) for i in range(0, len(batch), most)]
    return [(some, batch[some]) for some in places]


def by_length(batch: Any, most: int, begin: float = 0.0) -> list[Piece]:
    """A padded batch in pieces of like length, each without the padding that all its rows have.

    most   rows of a piece
    begin  what a piece costs beside its numbers, in numbers

    The least cost, rows × longest + `begin` of all pieces together, by dynamic programming over
    the rows in the order of their lengths.
    """
    lengths: list[int] = (batch != PADDING).sum(1).tolist()
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    ends = _ends([lengths[i] for i in order], most, begin)
    places = [order[first:end] for first, end in zip([0, *ends], ends, strict=False)]
    return [(some, batch[some][:, : lengths[some[-1]]]) for some in places]


def by_ends(batch: Any, most: int, begin: float = 0.0) -> list[Piece]:
    """A batch of `unended` sounds in pieces of one length each, without any padding.

    Networks of sounds average over time and normalise over it, mostly without a mask: what one
    gives for a sound depends on every padded moment. Lengths are few, see `fronts.STEP`.
    """
    line = batch[(slice(None), *[0] * (batch.ndim - 2))]  # one of the bands tells all ends
    lengths: list[int] = (line == line).sum(-1).tolist()  # NaN alone differs from itself
    pieces: list[Piece] = []
    for length in sorted(set(lengths)):
        places = [i for i, own in enumerate(lengths) if own == length]
        for start in range(0, len(places), most):
            some = places[start : start + most]
            pieces.append((some, batch[some][..., :length]))
    return pieces


def _ends(lengths: Sequence[int], most: int, begin: float) -> list[int]:
    """Where the pieces of rows with rising lengths end."""
    least, first = [0.0], [0]
    for end, longest in enumerate(lengths, 1):
        starts = range(max(0, end - most), end)
        costs = [least[start] + (end - start) * longest + begin for start in starts]
        least.append(min(costs))
        first.append(starts[costs.index(least[-1])])
    ends, end = [], len(lengths)
    while end:
        ends.append(end)
        end = first[end]
    return ends[::-1]
