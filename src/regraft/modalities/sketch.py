"""Sketch: what a text is known again by, in the bytes that pictures have their thumb in.

digest   of its letters and digits alone, case aside: equal for a text that was typed anew
minhash  of its word triples (Broder 1997): two texts agree in as many places as they share triples
bag      which words and pairs of words appear and how often, by their hashes: for the baseline
"""

import hashlib
import re
import unicodedata
import zlib
from collections import Counter
from itertools import pairwise
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt

from regraft.modalities.facts import THUMB

DIGEST, HASHES = 16, 64
TRIPLE = 3  # words
LEAST_WORDS = 20  # for a minhash: of fewer, two different questions share too much
BAG = (THUMB * THUMB * 3 - DIGEST - 4 * HASHES) // 4  # words and pairs that are kept
HASH_BITS = 24  # of a word or pair; its count, at most 255, has the other 8 of 32
WORDS_READ = 100_000
WORD = re.compile(r"\w+")
NO_HASHES = np.zeros(HASHES, np.uint32)


class Sketch(NamedTuple):
    """See the module.

    minhash  (64,) uint32; all zero for short texts
    bag      (BAG,) uint32: hash × 256 + count, rising; 0 where there are fewer
    """

    digest: bytes
    minhash: npt.NDArray[np.uint32]
    bag: npt.NDArray[np.uint32]

    @classmethod
    def of(cls, text: str) -> Self:
        """Of a text."""
        words = WORD.findall(unicodedata.normalize("NFKC", text).casefold())[:WORDS_READ]
        digest = hashlib.blake2b("".join(words).encode(), digest_size=DIGEST).digest()
        return cls(digest, _minhash(words), _bag(words))

    def packed(self) -> npt.NDArray[np.uint8]:
        """(32, 32, 3) uint8, as `Facts.thumb`."""
        numbers = np.concatenate([self.minhash, self.bag])
        data = self.digest + numbers.astype("<u4").tobytes()
        return np.frombuffer(data, np.uint8).reshape(THUMB, THUMB, 3)

    @classmethod
    def unpacked(cls, thumb: npt.NDArray[np.uint8]) -> Self:
        """From what `packed` gave."""
        data = thumb.tobytes()
        numbers = np.frombuffer(data[DIGEST:], "<u4").astype(np.uint32)
        return cls(data[:DIGEST], numbers[:HASHES], numbers[HASHES:])


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


def _bag(words: list[str]) -> npt.NDArray[np.uint32]:
    """Of what does not fit the pairs go first, then what has the largest hashes.

    So the same ones go in all texts, and two long texts can still be compared.
    """
    out = np.zeros(BAG, np.uint32)
    some: list[int] = []
    for terms in (words, map(" ".join, pairwise(words))):
        counts = Counter(zlib.crc32(term.encode()) >> (32 - HASH_BITS) for term in terms)
        coded = sorted(number << 8 | min(255, count) for number, count in counts.items())
        some += coded[: BAG - len(some)]
    out[: len(some)] = sorted(some)
    return out


def _number(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")
