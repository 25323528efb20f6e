"""How far what was written down is from what was said: word and character error rates.

Errors are the fewest insertions, deletions and substitutions (Levenshtein 1966) that turn the one
into the other; a rate is their sum over all recordings, divided by what was said in all of them.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from regraft.evaluation.intervals import Interval, bootstrap_ratios

SAME, OTHER, LOST, ADDED = "same", "other", "lost", "added"

METRICS: Mapping[str, tuple[str, str, bool]] = MappingProxyType(
    {
        "wer": (
            "word error rate",
            "words that are wrong, left out or added, per word that was said",
            False,
        ),
        "cer": (
            "character error rate",
            "characters that are wrong, left out or added, per character that was said",
            False,
        ),
        "exact": ("written down without a mistake", "share of the recordings", True),
    }
)


class Edit(NamedTuple):
    """One step from what was said to what was written: a kind, and both sides."""

    kind: str
    said: str
    written: str


def distance(said: Sequence[str], written: Sequence[str]) -> int:
    """The fewest insertions, deletions and substitutions."""
    return int(_costs(said, written)[-1, -1])


def alignment(said: Sequence[str], written: Sequence[str]) -> list[Edit]:
    """The steps of one of the shortest ways."""
    costs, i, j = _costs(said, written), len(said), len(written)
    steps = []
    while i or j:
        here = costs[i, j]
        if i and j and here == costs[i - 1, j - 1] + (said[i - 1] != written[j - 1]):
            i, j = i - 1, j - 1
            kind = SAME if said[i] == written[j] else OTHER
            steps.append(Edit(kind, said[i], written[j]))
        elif i and here == costs[i - 1, j] + 1:
            i -= 1
            steps.append(Edit(LOST, said[i], ""))
        else:
            j -= 1
            steps.append(Edit(ADDED, "", written[j]))
    return steps[::-1]


def _costs(said: Sequence[str], written: Sequence[str]) -> npt.NDArray[np.int32]:
    """(len(said) + 1, len(written) + 1), row by row.

    Insertions run along a row: the least of all beginnings, each a step dearer than the one before.
    """
    steps = np.arange(len(written) + 1, dtype=np.int32)
    numbers = {token: i for i, token in enumerate(dict.fromkeys((*said, *written)))}
    codes = np.array([numbers[token] for token in written], np.int32)
    costs = np.empty((len(said) + 1, len(steps)), np.int32)
    costs[0] = steps
    for i, token in enumerate(said, 1):
        row = costs[i - 1] + 1
        row[1:] = np.minimum(row[1:], costs[i - 1, :-1] + (codes != numbers[token]))
        costs[i] = np.minimum.accumulate(row - steps) + steps
    return costs


class Counted(NamedTuple):
    """Of n recordings: errors (n, 3) and what they are shares of (n, 3), by METRICS in order."""

    errors: npt.NDArray[np.float64]
    of: npt.NDArray[np.float64]


def counted(said: Sequence[str], written: Sequence[str]) -> Counted:
    """Words, characters and whole recordings of plain texts."""
    errors, of = np.zeros((len(said), 3)), np.ones((len(said), 3))
    for i, (a, b) in enumerate(zip(said, written, strict=True)):
        errors[i] = distance(a.split(), b.split()), distance(a, b), a == b
        of[i, :2] = len(a.split()), len(a)
    return Counted(errors, of)


def figures(
    said: Sequence[str],
    written: Sequence[str],
    *,
    groups: Sequence[str] | None,
    resamples: int,
    seed: int,
) -> dict[str, Interval]:
    """METRICS with 95 % intervals by a bootstrap over recordings, or over whole groups."""
    found = counted(said, written)
    ends = bootstrap_ratios(*found, resamples=resamples, seed=seed, groups=groups)
    return dict(zip(METRICS, ends, strict=True))


def mistaken(said: Sequence[str], written: Sequence[str]) -> list[tuple[tuple[str, str], int]]:
    """Pairs of a word and what was written for it, the most frequent first; empty: nothing."""
    pairs: Counter[tuple[str, str]] = Counter()
    for a, b in zip(said, written, strict=True):
        steps = alignment(a.split(), b.split())
        pairs.update((e.said, e.written) for e in steps if e.kind != SAME)
    return pairs.most_common()
