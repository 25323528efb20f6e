"""Segments: the parts in which a long recording is heard, as views of it.

    centre          the middle
    segment-2of8    the second of eight that lie evenly over the whole and overlap

How many there are is fixed by the view's set, so that a recording of any length costs no more than
that. Of a recording that is no longer than one of them, all are the whole of it.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from regraft.modalities.facts import Facts
from regraft.modalities.samples import RATE, Samples

OVERLAP = 0.25  # of a segment with the next one, where they are not as long as they may be
LEAST = 5.0  # seconds of a segment
LONG = 0.9  # quantile of the recordings' lengths that decides which sets are worth a trial
# Segments of a set → seconds of a long recording from which it is worth a trial. So many reach from
# end to end up to about 75 s, three minutes, eight minutes.
SETS: Mapping[int, float] = MappingProxyType({3: 8.0, 8: 20.0, 20: 90.0})


class Place(NamedTuple):
    """Which one of how many."""

    number: int
    of: int


def _names(of: int) -> dict[str, Place]:
    return {f"segment-{k + 1}of{of}": Place(k, of) for k in range(of)}


# The usual one first: InputSpec's own.
VIEWS: Mapping[str, Place] = MappingProxyType(
    {"centre": Place(0, 1)} | {name: place for of in SETS for name, place in _names(of).items()}
)


def sets_for(facts: Sequence[Facts]) -> dict[str, tuple[str, ...]]:
    """Sets of views that are worth a trial for recordings like these, by what they are called."""
    if not facts:
        return {}
    long = float(np.quantile([one.width for one in facts], LONG)) / 1000
    return {f"{of} segments": tuple(_names(of)) for of, least in SETS.items() if long > least}


def reaches_out(views: Sequence[str]) -> bool:
    """Whether any of the views shows more than the middle."""
    return any(VIEWS[view].of > 1 for view in views if view in VIEWS)


def segment(samples: Samples, view: str, most: float) -> Samples:
    """The part of a recording, mono at RATE, that a view shows: at most `most` seconds."""
    place = VIEWS[view]
    length = _length(len(samples), place.of, round(most * RATE))
    free = len(samples) - length
    start = free // 2 if place.of == 1 else round(free * place.number / (place.of - 1))
    return samples[start : start + length]


def seconds_of(view: str, whole: float, most: float) -> float:
    """Of what a view shows of a recording of so many seconds."""
    return _length(round(whole * RATE), VIEWS[view].of, round(most * RATE)) / RATE


def _length(whole: int, of: int, most: int) -> int:
    """Samples of each of so many segments."""
    if of == 1:
        return min(whole, most)
    wanted = whole / (of - (of - 1) * OVERLAP)
    return min(whole, most, max(round(wanted), round(LEAST * RATE)))
