"""Sketch: what a text is known again by, in the bytes that pictures have their thumb in.

digest   of its letters and digits alone, case aside: equal for a text that was typed anew
minhash  of its word triples (Broder 1997): two texts agree in as many places as they share triples
bag      how often words appear, hashed to so many places: for the baseline
"""

import hashlib
import math
import re
import unicodedata
import zlib
from collections import Counter
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt

from regraft.modalities.facts import THUMB

DIGEST, HASHES = 16, 64
TRIPLE = 3  # words
LEAST_WORDS = 20  # for a minhash: of fewer, two different questions share too much
BAG = THUMB * THUMB * 3 - DIGEST - 4 * HASHES  # places
STEPS = 32  # of a bag's values in one unit of the logarithm
WORDS_READ = 100_000
WORD = re.compile(r"\w+")
NO_HASHES = np.zeros(HASHES, np.uint32)


class Sketch(NamedTuple):
    """See the module.

    minhash  (64,) uint32; all zero for short texts
    bag      (BAG,) uint8
    """

    digest: bytes
    minhash: npt.NDArray[np.uint32]
    bag: npt.NDArray[np.uint8]

    @classmethod
    def of(cls, text: str) -> Self:
        """Of a text."""
        words = WORD.findall(unicodedata.normalize("NFKC", text).casefold())[:WORDS_READ]
        digest = hashlib.blake2b("".join(words).encode(), digest_size=DIGEST).digest()
        return cls(digest, _minhash(words), _bag(words))

    def packed(self) -> npt.NDArray[np.uint8]:
        """(32, 32, 3) uint8, as `Facts.thumb`."""
        data = self.digest + self.minhash.astype("<u4").tobytes() + self.bag.tobytes()
        return np.frombuffer(data, np.uint8).reshape(THUMB, THUMB, 3)

    @classmethod
    def unpacked(cls, thumb: npt.NDArray[np.uint8]) -> Self:
        """From what `packed` gave."""
        data = thumb.tobytes()
        end = DIGEST + 4 * HASHES
        minhash = np.frombuffer(data[DIGEST:end], "<u4").astype(np.uint32)
        return cls(data[:DIGEST], minhash, np.frombuffer(data[end:], np.uint8))


def _minhash(words: list[str]) -> npt.NDArray[np.uint32]:
    if len(words) < LEAST_WORDS:
        return NO_HASHES
    triples = {" ".join(words[i : i + TRIPLE]) for i in range(len(words) - TRIPLE + 1)}
    numbers = np.array([_number(triple) for triple in triples], np.uint64)
    odd = np.random.default_rng(0).integers(0, 2**63, (HASHES, 2), dtype=np.uint64) | np.uint64(1)
    least = np.full(HASHES, 2**32 - 1, np.uint32)
    for k, (factor, more) in enumerate(odd):  # multiply-shift hashing; uint64 wraps around
        least[k] = (numbers * factor + more >> np.uint64(32)).min()
    return least


def _bag(words: list[str]) -> npt.NDArray[np.uint8]:
    out = bytearray(BAG)
    for place, count in Counter(zlib.crc32(word.encode()) % BAG for word in words).items():
        out[place] = min(255, round(STEPS * (1 + math.log(count))))
    return np.frombuffer(bytes(out), np.uint8)


def _number(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")
