"""Common corruptions of texts: 12 kinds at 5 severities.

Belinkov and Bisk 2018, "Synthetic and natural noise both break neural machine translation", arXiv
1711.02173; Rychalska et al. 2019, "Models in the wild: on corruption robustness of neural NLP
systems", ICONIP. Severities are our own. Keys are those of a QWERTY keyboard: letters of other
scripts have no neighbours here and stay.
"""

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType

import numpy as np

from regraft.robustness.corruption import Corruption, Rng

KEYS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")


def _neighbours() -> dict[str, str]:
    """Letter → those beside, above and below it."""
    places = {
        key: (row, i + row / 2) for row, keys in enumerate(KEYS) for i, key in enumerate(keys)
    }
    return {
        key: "".join(
            other
            for other, (r, x) in places.items()
            if other != key and abs(r - row) <= 1 and abs(x - column) <= 1
        )
        for key, (row, column) in places.items()
    }


NEAR: Mapping[str, str] = MappingProxyType(_neighbours())
# A scanned character, and what it is taken for.
_LOOKS = "0O O0 o0 1l l1 Il il 5S S5 8B B8 6G G6 Z2 2Z z2 ce ec vu uv gq qg nri hb mrn rn tf ft"
LOOKS: Mapping[str, str] = MappingProxyType({pair[0]: pair[1:] for pair in _LOOKS.split()})


def applied(row: Corruption, text: str, severity: int, rng: Rng) -> str:
    """A text; as it was where nothing of it would be left."""
    return str(row.change(text, row.numbers[severity - 1], rng)).strip() or text


# --- characters ----------------------------------------------------------------------------------


def _each(
    text: str, share: float, rng: Rng, fits: Callable[[str], bool], other: Callable[[str], str]
) -> str:
    """Each character that fits becomes another one with this probability."""
    drawn = rng.random(len(text)) < share
    return "".join(other(c) if hit and fits(c) else c for c, hit in zip(text, drawn, strict=True))


def _typed(text: str, share: float, rng: Rng) -> str:
    """The key beside it was hit."""

    def beside(c: str) -> str:
        found = NEAR[c.lower()][int(rng.integers(len(NEAR[c.lower()])))]
        return found.upper() if c.isupper() else found

    return _each(text, share, rng, lambda c: c.lower() in NEAR, beside)


def _characters_dropped(text: str, share: float, rng: Rng) -> str:
    return _each(text, share, rng, str.isalnum, lambda c: "")


def _characters_doubled(text: str, share: float, rng: Rng) -> str:
    return _each(text, share, rng, str.isalnum, lambda c: c + c)


def _scanned(text: str, share: float, rng: Rng) -> str:
    """Characters are taken for others that look alike."""
    return _each(text, share, rng, LOOKS.__contains__, LOOKS.__getitem__)


def _case(text: str, share: float, rng: Rng) -> str:
    return _each(text, share, rng, str.isalpha, str.swapcase)


def _blanks(text: str, share: float, rng: Rng) -> str:
    """Words run together, and fall apart."""
    joined = _each(text, share, rng, str.isspace, lambda c: "")
    return _each(joined, share / 5, rng, str.isalnum, lambda c: c + " ")


def _punctuation(text: str, share: float, rng: Rng) -> str:
    """Marks are missing."""
    return _each(text, share, rng, lambda c: not (c.isalnum() or c.isspace()), lambda c: "")


def _characters_swapped(text: str, share: float, rng: Rng) -> str:
    """Neighbours inside a word change places; the first and the last of a word stay."""
    out = [*text]
    inside = [
        i
        for i in range(1, len(out) - 2)
        if all(c.isalnum() for c in out[i - 1 : i + 3]) and out[i] != out[i + 1]
    ]
    drawn, last = rng.random(len(inside)) < share, -1
    for place, hit in zip(inside, drawn, strict=True):
        if hit and place > last:
            out[place], out[place + 1] = out[place + 1], out[place]
            last = place + 1
    return "".join(out)


# --- words ---------------------------------------------------------------------------------------


def _words_dropped(text: str, share: float, rng: Rng) -> str:
    words = text.split()
    kept = rng.random(len(words)) >= share
    return " ".join(word for word, stays in zip(words, kept, strict=True) if stays)


def _words_swapped(text: str, share: float, rng: Rng) -> str:
    """Neighbours change places."""
    words = text.split()
    for place in np.flatnonzero(rng.random(max(0, len(words) - 1)) < share):
        words[place], words[place + 1] = words[place + 1], words[place]
    return " ".join(words)


def _words_doubled(text: str, share: float, rng: Rng) -> str:
    words = text.split()
    drawn = rng.random(len(words)) < share
    return " ".join(f"{w} {w}" if hit else w for w, hit in zip(words, drawn, strict=True))


def _cut_off(text: str, share: float, rng: Rng) -> str:
    """The end is missing; one word stays."""
    words = text.split()
    return " ".join(words[: max(1, round(len(words) * (1 - share)))])


_row = partial(Corruption, "text")
_CHARACTERS = (0.02, 0.05, 0.1, 0.15, 0.25)
_WORDS = (0.05, 0.1, 0.2, 0.3, 0.45)

ROWS = (
    _row("typos", "characters", _typed, _CHARACTERS),
    _row("dropped characters", "characters", _characters_dropped, _CHARACTERS),
    _row("doubled characters", "characters", _characters_doubled, _CHARACTERS),
    _row("swapped characters", "characters", _characters_swapped, (0.04, 0.1, 0.2, 0.3, 0.5)),
    _row("misread characters", "characters", _scanned, (0.05, 0.1, 0.2, 0.35, 0.5)),
    _row("case", "form", _case, (0.05, 0.15, 0.3, 0.5, 1.0)),
    _row("blanks", "form", _blanks, (0.05, 0.1, 0.2, 0.35, 0.5)),
    _row("missing punctuation", "form", _punctuation, (0.2, 0.4, 0.6, 0.8, 1.0)),
    _row("dropped words", "words", _words_dropped, _WORDS),
    _row("swapped words", "words", _words_swapped, (0.1, 0.2, 0.35, 0.5, 0.8)),
    _row("doubled words", "words", _words_doubled, _WORDS),
    _row("missing end", "words", _cut_off, (0.1, 0.2, 0.3, 0.45, 0.6)),
)
