"""Long recordings, heard piece by piece: neighbours overlap, and of each its inner part counts."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from regraft.backbones.fronts import STEP
from regraft.modalities.samples import RATE, Samples

AT_ONCE = 20.0  # seconds of a piece, where the network hears so much
EDGE = 1.5  # seconds at an inner end that the neighbour hears better

Scores = npt.NDArray[np.float32]


class Chunk(NamedTuple):
    """Samples from `start` to `end`, of which those from `first` to `last` count."""

    start: int
    end: int
    first: int
    last: int


def chunks(n: int, most: float) -> Iterator[Chunk]:
    """Pieces of n samples, none longer than `most` seconds."""
    size = round(min(AT_ONCE, most) * RATE)
    edge = min(round(EDGE * RATE), size // 4)
    start = 0
    while True:
        end = min(n, start + size)
        first = start + edge if start else 0
        last = n if end == n else end - edge
        yield Chunk(start, end, first, last)
        if end == n:
            return
        start = end - 2 * edge


def heard_in_pieces(samples: Samples, most: float, scores: Callable[[Samples], Scores]) -> Scores:
    """(moments, c) of a whole recording.

    scores  samples → (moments, c), the moments evenly over them padded to whole steps
    """
    found = []
    for chunk in chunks(len(samples), most):
        piece = samples[chunk.start : chunk.end]
        own = scores(piece)
        padded = -(-len(piece) // STEP) * STEP
        first, last = (
            round((place - chunk.start) / padded * len(own)) for place in (chunk.first, chunk.last)
        )
        found.append(own[first : last if chunk.end < len(samples) else None])
    return np.concatenate(found)
