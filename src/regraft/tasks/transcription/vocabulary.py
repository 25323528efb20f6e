"""The characters that transcripts are made of, and from a network's best path to text."""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, Self

from regraft.errors import UsageError

BLANK = 0  # the number that stands for no character
MOST = 4000  # characters
KEPT = "LMN"  # Unicode categories: letters, marks, numbers
APOSTROPHES = "'’"  # a part of words


def plain(text: str) -> str:
    """As it is written down here: lower case, words of letters and numbers, single blanks.

    Neither case nor punctuation can be heard; both sides of a comparison go through this.
    """
    letters = (c if _is_kept(c) else " " for c in unicodedata.normalize("NFKC", text).lower())
    words = "".join(letters).replace("’", "'").split()
    return " ".join(word for word in (w.strip("'") for w in words) if word)


def _is_kept(character: str) -> bool:
    return character in APOSTROPHES or unicodedata.category(character)[0] in KEPT


@dataclass(frozen=True)
class Vocabulary:
    """Characters in the order of their numbers, which begin at 1."""

    characters: tuple[str, ...]
    kind: ClassVar[str] = "ctc"  # a key of `answering.ANSWERS`

    def __post_init__(self) -> None:
        if mistakes := self.mistakes(self.characters):
            raise UsageError(*mistakes)

    @staticmethod
    def mistakes(characters: Sequence[str]) -> list[str]:
        """What keeps characters from being a vocabulary."""
        found = []
        if not 1 <= len(characters) <= MOST:
            found.append(f"vocabulary: {len(characters)} characters; expected 1 to {MOST}")
        if any(len(c) != 1 for c in characters) or len(set(characters)) < len(characters):
            found.append("vocabulary: expected single characters, each once")
        return found

    @classmethod
    def of(cls, transcripts: Iterable[str]) -> Self:
        """All characters of plain transcripts. Raises UsageError where there is none."""
        counts = Counter(c for text in transcripts for c in text)
        return cls(tuple(sorted(counts)))

    def __len__(self) -> int:
        """Of the network's answers: the characters and BLANK."""
        return len(self.characters) + 1

    def numbers(self, text: str) -> list[int]:
        """Of a plain text; characters that are not known are left out."""
        places = {c: i for i, c in enumerate(self.characters, 1)}
        return [places[c] for c in text if c in places]

    def unknown(self, text: str) -> set[str]:
        """Characters of a text that cannot be written."""
        return {*text} - {*self.characters}

    def text(self, path: Sequence[int]) -> str:
        """What a path says: repetitions are one, blanks are none."""
        pairs = zip([BLANK, *path], path, strict=False)
        said = [c for before, c in pairs if c not in (before, BLANK)]
        return " ".join("".join(self.characters[c - 1] for c in said).split())


def moments_for(numbers: Sequence[int]) -> int:
    """The fewest moments in which these characters can be told: like neighbours need a blank."""
    return len(numbers) + sum(a == b for a, b in pairwise(numbers))
