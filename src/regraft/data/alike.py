"""Exact and near duplicates among texts, from their sketches.

Exact ones are equal byte by byte. Near ones are equal but for case, blanks and punctuation, or,
where texts are long enough, share nearly all word triples: as estimated by minhash (Broder 1997,
"On the resemblance and containment of documents"), candidates by bands of it.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from regraft.data.duplicates import Duplicates, NearPair
from regraft.modalities.facts import Facts
from regraft.modalities.sketch import HASHES, Sketch

SAME = 0.8  # share of word triples that near duplicates have in common
BAND = 4  # hashes that must agree at once to be a candidate: with 16 bands 0.8 is missed 1 in 5,000


def alike(facts: Sequence[Facts], digests: Sequence[str]) -> Duplicates:
    """Duplicates among texts.

    facts    of each text, its sketch as `thumb`
    digests  SHA-256 of each

    Time grows with the number of texts, not with that of pairs; a group of equal texts is tied by
    pairs with its first one only.
    """
    sketches = [Sketch.unpacked(fact.thumb) for fact in facts]
    groups = _grouped(digests)
    exact = [tuple(group) for group in groups if len(group) > 1]
    first = sorted(group[0] for group in groups)
    pairs: dict[tuple[int, int], NearPair] = {}
    for pair in (*_typed_anew(sketches, first), *_reworded(sketches, first)):
        pairs.setdefault((pair.a, pair.b), pair)
    return Duplicates(sorted(exact), [pairs[key] for key in sorted(pairs)])


def _grouped(
    keys: Sequence[object] | Mapping[int, object], places: Sequence[int] | None = None
) -> list[list[int]]:
    """Places of equal keys, each ascending."""
    groups: dict[object, list[int]] = defaultdict(list)
    for place in range(len(keys)) if places is None else places:
        groups[keys[place]].append(place)
    return [*groups.values()]


def _typed_anew(sketches: Sequence[Sketch], places: Sequence[int]) -> Iterator[NearPair]:
    for group in _grouped([sketch.digest for sketch in sketches], places):
        yield from (NearPair(group[0], other, 1.0, False) for other in group[1:])


def _reworded(sketches: Sequence[Sketch], places: Sequence[int]) -> Iterator[NearPair]:
    long = [i for i in places if sketches[i].minhash.any()]
    for start in range(0, HASHES, BAND):
        keys = {i: sketches[i].minhash[start : start + BAND].tobytes() for i in long}
        for group in _grouped(keys, long):
            for other in group[1:]:
                shared = float(np.mean(sketches[group[0]].minhash == sketches[other].minhash))
                if shared >= SAME:
                    yield NearPair(group[0], other, shared, False)
