"""Texts: decode → characters → UTF-8 bytes, which a network's own vocabulary cuts into tokens.

An example is a file, or a row of a table (see `regraft.data.inline`); its bytes are UTF-8.
"""

import base64
import html
import re
import textwrap
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from regraft.errors import Unreadable, UsageError
from regraft.modalities.base import MOST_BYTES, Decoded
from regraft.modalities.facts import Facts
from regraft.modalities.sketch import Sketch
from regraft.modalities.spec import InputSpec

if TYPE_CHECKING:
    from regraft.modalities.augment import Augmentations
    from regraft.modalities.usual import Usual

MOST_CHARACTERS = 2**18  # of the beginning that are kept: more than any network here reads
WIDEST = 26  # characters of a line of a thumbnail
LINES = 9  # of a thumbnail
NATURAL = 2048  # tokens: reading more than a text has costs nothing
SCRIPT_OF = 400  # characters by which the script is told
NAME_PARTS = re.compile(r"[^\W_\d]+?(?=[A-Z][a-z])|[^\W_]+")  # words of a class's name
CONTROL = re.compile(r"[\0-\x08\x0e-\x1a\x1c-\x1f\x7f-\x84\x86-\x9f]")  # no blank or escape
TOGETHER = dict.fromkeys(("CJK", "HIRAGANA", "KATAKANA"), "Chinese or Japanese")
BOM = b"\xef\xbb\xbf"
OTHER_CODES = (b"\xff\xfe", b"\xfe\xff")  # UTF-16 says so


class TextModality:
    """See `regraft.modalities.base.Modality`."""

    name = "text"
    version = f"2 unicode-{unicodedata.unidata_version}"
    extensions = frozenset({"txt", "text", "md"})
    inputs: tuple[str, ...] = ("text",)
    views: tuple[str, ...] = ("centre",)
    parts = False
    sayable = True
    plainly = ("word counts", "ridge on words and pairs of words, rare ones counting more (TF-IDF)")
    baseline = "tf-idf"

    @property
    def usual(self) -> "tuple[Usual, ...]":
        """Parts of the usual augmentation."""
        from regraft.modalities.words import USUAL

        return USUAL

    def decode(self, data: bytes, file: str, spec: InputSpec | None = None) -> Decoded:
        """Bytes → text without blanks at its ends.

        Kinds of `Unreadable`: empty (nothing but blanks too), not-text (NUL and other control
        characters), encoding (no UTF-8; the byte is told), too-large (bytes).
        """
        if len(data) > MOST_BYTES:
            reason = f"{len(data):,} bytes; at most {MOST_BYTES:,} are read"
            raise Unreadable(file, "too-large", reason)
        text = _decoded(data, file).strip()
        if not text:
            raise Unreadable(file, "empty", "there is no text")
        if strange := _controls(text):
            reason = f"holds the control character {strange!r}: this is no text"
            raise Unreadable(file, "not-text", reason)
        form = "UTF-8 with BOM" if data.startswith(BOM) else "UTF-8"
        thumb = Sketch.of(text[:MOST_CHARACTERS]).packed()
        facts = Facts(len(text), 1, _script(text), form, 1, 1, thumb)
        return Decoded(text[:MOST_CHARACTERS], facts)

    def prepare(self, raw: str, spec: InputSpec, view: str) -> npt.NDArray[np.uint8]:
        """Text → (n,) uint8: UTF-8, as it is."""
        if view not in self.views:
            raise UsageError(f"views: {view!r} is not one of {', '.join(self.views)}")
        return np.frombuffer(raw.encode(), np.uint8)

    def augment(
        self, raw: str, spec: InputSpec, wanted: "Augmentations", rng: np.random.Generator
    ) -> npt.NDArray[np.uint8]:
        """Text → (n,) uint8, changed at random."""
        from regraft.modalities.augment import reworded

        return self.prepare(reworded(raw, wanted, rng), spec, self.views[0])

    def augmentations(self, text: "str | Augmentations") -> "Augmentations":
        """See `augment.parse`."""
        from regraft.modalities.augment import parse

        return parse(text, self.name)

    def compact(self, raw: str, spec: InputSpec) -> tuple[str, int]:
        """The text as it is, and its bytes in memory, about."""
        return raw, 4 * len(raw)

    def view_sets(self, facts: Sequence[Facts]) -> Mapping[str, tuple[str, ...]]:
        return {}

    def plain(self, facts: Facts) -> npt.NDArray[np.float32]:
        """(1400,): numbers of words and pairs of words, then how often each appears."""
        bag = Sketch.unpacked(facts.thumb).bag
        return np.concatenate([bag >> 8, bag & 255]).astype(np.float32)

    def thumbnail(self, data: bytes, file: str, side: int = 160) -> str:
        """The beginning of the text, drawn as SVG of side × side pixels."""
        text = self.decode(data, file).raw
        return _drawn(text, side)

    def clip(self, data: bytes, file: str) -> str | None:
        return None

    def said(self, name: str) -> bytes | None:
        """``card_arrival`` and ``CardArrival`` → ``card arrival``; None for a number."""
        words = " ".join(NAME_PARTS.findall(name)).lower()
        return words.encode() if any(c.isalpha() for c in words) else None

    def natural_size(self, facts: Facts) -> int:
        return NATURAL


MODALITY = TextModality()


def _decoded(data: bytes, file: str) -> str:
    if data.startswith(OTHER_CODES):
        raise Unreadable(file, "encoding", "byte 0 begins a UTF-16 text; save it as UTF-8")
    body = data.removeprefix(BOM)
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        place = error.start + len(data) - len(body)
        reason = f"byte {place} (0x{data[place]:02x}) is not UTF-8; save it as UTF-8"
        raise Unreadable(file, "encoding", reason) from None


def _controls(text: str) -> str:
    """The first character that no text has."""
    found = CONTROL.search(text)
    return found[0] if found else ""


def _script(text: str) -> str:
    """The script of most letters, as their Unicode names begin: ``Latin``, ``Cyrillic`` ..."""
    letters: Counter[str] = Counter()
    for letter, count in Counter(text[:SCRIPT_OF]).items():
        if letter.isalpha():
            letters[_script_of(letter)] += count
    return letters.most_common(1)[0][0] if letters else "no letters"


@cache
def _script_of(letter: str) -> str:
    name = unicodedata.name(letter, "unnamed").split()[0]
    return TOGETHER.get(name, name.capitalize())


def _drawn(text: str, side: int) -> str:
    plain = "".join(c if c.isprintable() else " " for c in text[:1000])  # XML takes no other
    shown = textwrap.wrap(" ".join(plain.split()), WIDEST)
    if len(shown) > LINES:
        shown = [*shown[: LINES - 1], f"{shown[LINES - 1][: WIDEST - 1]}…"]
    step = side / (LINES + 1)
    lines = "".join(
        f'<text x="{side * 0.04:.1f}" y="{(i + 1) * step:.1f}">{html.escape(line)}</text>'
        for i, line in enumerate(shown)
    )
    picture = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{side}" height="{side}" '
        f'viewBox="0 0 {side} {side}" font-family="sans-serif" font-size="{side * 0.068:.1f}">'
        f'<rect width="{side}" height="{side}" fill="#fff"/>{lines}</svg>'
    )
    return "data:image/svg+xml;base64," + base64.b64encode(picture.encode()).decode()
