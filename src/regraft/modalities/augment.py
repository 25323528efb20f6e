"""Augmentation for training: rows of a registry, wanted by name with a strength.

    wanted = parse("light,colour=0.2,mixup")
    augmented(picture, spec, wanted, rng)      one picture, as often as it is seen
    changed(sound, wanted, rng)                one recording
    mixed(pixels, targets, wanted, rng)        one batch of them

All randomness comes from the generator given. Each row gets a child of it by its name, so that a
row changes what it adds and nothing else.
"""

import math
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt
from PIL import Image

from regraft.errors import UsageError
from regraft.modalities import warps
from regraft.modalities.rows import ROWS, BatchRow, PictureRow, Row, SoundRow, TextRow
from regraft.modalities.spec import InputSpec
from regraft.modalities.usual import Usual
from regraft.modalities.warps import Plan

if TYPE_CHECKING:
    from torch import Tensor

    from regraft.modalities.audio import Sound


# In the order in which they are applied.
AUGMENTATIONS: Mapping[str, Row] = {row.name: row for row in ROWS}

NONE, DEFAULT = "none", "light"

# Names for several rows at once.
SETS: Mapping[str, str] = {
    "light": "crop=0.6,flip",
    "medium": "crop,flip,colour,erasing",
    "strong": "crop,flip,randaugment,erasing,mixup",
    "lossless": "crop",
}
SOUND_SETS: Mapping[str, str] = {
    "light": "shift,time-mask,frequency-mask",
    "medium": "shift,tempo,time-mask,frequency-mask",
    "strong": "shift,tempo,hiss,gain,time-mask=0.25,frequency-mask=0.25,mixup",
    "lossless": "shift",
}
TEXT_SETS: Mapping[str, str] = {
    "light": "word-drop",
    "medium": "word-drop,word-swap",
    "strong": "word-drop=0.25,word-swap=0.25",
    "lossless": "word-drop=0.05",
}


@dataclass(frozen=True)
class Kind:
    """What there is for one modality."""

    rows: tuple[type[Row], ...]
    sets: Mapping[str, str]


KINDS: Mapping[str, Kind] = {
    "image": Kind((PictureRow, BatchRow), SETS),
    "audio": Kind((SoundRow, BatchRow), SOUND_SETS),
    "text": Kind((TextRow,), TEXT_SETS),
}


# Of DEFAULT. A mirrored 2 is no 2, and a third of a small object is nothing at all.
USUAL: tuple[Usual, ...] = (
    Usual((("crop=0.6", "crop=0.6"), ("crop=0.8", "crop=0.8")), 0.85),
    Usual((("flip=1", "flip"),), 0.95),
)


class Augmentations(tuple[tuple[str, float], ...]):
    """Rows that are wanted, each a name and a strength, in the order in which they are applied.

    Frozen, hashable, and a list of pairs in JSON, from which it is made again. As text it is what
    `parse` reads. Raises UsageError with all that is wrong.
    """

    __slots__ = ()

    def __new__(cls, rows: Iterable[Iterable[Any]] = ()) -> Self:
        pairs = [tuple(row) for row in rows]
        if mistakes := list(_mistakes(pairs)):
            raise UsageError(*mistakes)
        order = list(AUGMENTATIONS)
        found = ((name, float(strength)) for name, strength in pairs)
        return super().__new__(cls, sorted(found, key=lambda row: order.index(row[0])))

    def __str__(self) -> str:
        return (
            ",".join(f"{name}={strength!r}".removesuffix(".0") for name, strength in self) or NONE
        )

    def told(self) -> list[str]:
        """A line for each row: name, strength and what it does."""
        return [f"{name} {strength:g}: {AUGMENTATIONS[name].told}" for name, strength in self]

    @property
    def mixes(self) -> bool:
        """Whether batches are mixed: then targets are shares of classes."""
        return any(name in _BATCH for name, _ in self)


_PICTURE = {row.name: row for row in ROWS if isinstance(row, PictureRow)}
_SOUND = {row.name: row for row in ROWS if isinstance(row, SoundRow)}
_TEXT = {row.name: row for row in ROWS if isinstance(row, TextRow)}
_BATCH = {row.name: row for row in ROWS if isinstance(row, BatchRow)}


def parse(text: "str | Augmentations", kind: str | None = None) -> Augmentations:
    """``"flip,crop=0.4,rotate=20"`` → Augmentations; ``"none"`` gives none.

    The name of one of the kind's sets stands for its rows; a row that is named beside it goes
    before. What was parsed stays as it is.

    kind  the modality; None: rows of all, and the sets for pictures

    Raises UsageError with all mistakes.
    """
    if isinstance(text, Augmentations):
        return text
    pieces = [piece.strip() for piece in text.split(",")]
    if pieces == [NONE]:
        return Augmentations()
    sets = KINDS[kind or "image"].sets
    of_sets = [pair for piece in pieces if piece in sets for pair in _pairs(sets[piece].split(","))]
    own = _pairs(piece for piece in pieces if piece not in sets)
    named = {name for name, _ in own}
    found = Augmentations([*(p for p in dict(of_sets).items() if p[0] not in named), *own])
    if kind and (foreign := [name for name, _ in found if not _is_of(name, kind)]):
        known = ", ".join(name for name in AUGMENTATIONS if _is_of(name, kind))
        raise UsageError(
            f"augment: {', '.join(foreign)}: not for this kind of data; known: {known}"
        )
    return found


def _is_of(name: str, kind: str) -> bool:
    return isinstance(AUGMENTATIONS[name], KINDS[kind].rows)


def augmented(
    picture: Image.Image, spec: InputSpec, wanted: Augmentations, rng: np.random.Generator
) -> npt.NDArray[np.uint8]:
    """One view of a picture (RGB) for training: (size, size, 3) uint8.

    Without any rows it is what prediction sees. Rows for batches are left to `mixed`.
    """
    seed, plan = int(rng.integers(2**63)), Plan(picture.size, spec)
    for name, strength in wanted:
        if name in _PICTURE:
            plan = _PICTURE[name].plan(plan, strength, _child(seed, name))
    return np.asarray(warps.rendered(picture, plan))


def changed(sound: "Sound", wanted: Augmentations, rng: np.random.Generator) -> "Sound":
    """A recording for training. Rows for batches are left to `mixed`."""
    seed = int(rng.integers(2**63))
    for name, strength in wanted:
        if name in _SOUND:
            sound = _SOUND[name].change(sound, strength, _child(seed, name))
    return sound


def reworded(text: str, wanted: Augmentations, rng: np.random.Generator) -> str:
    """A text for training."""
    seed, some = int(rng.integers(2**63)), text.split()
    for name, strength in wanted:
        if name in _TEXT:
            some = [*_TEXT[name].change(some, strength, _child(seed, name))]
    return " ".join(some) if wanted else text


def mixed(
    pixels: "Tensor", targets: "Tensor", wanted: Augmentations, rng: np.random.Generator
) -> "tuple[Tensor, Tensor]":
    """A batch, mixed as is wanted: pixels (n, size, size, 3) uint8, targets (n, classes) float.

    Each batch is mixed in one way; where several are wanted, all are equally likely.
    """
    seed = int(rng.integers(2**63))
    ways = [(_BATCH[name], strength) for name, strength in wanted if name in _BATCH]
    if not ways:
        return pixels, targets
    row, strength = ways[seed % len(ways)]
    return row.mix(pixels, targets, strength, _child(seed, row.name))


def _child(seed: int, name: str) -> np.random.Generator:
    return np.random.default_rng((seed, zlib.crc32(name.encode())))


# What may be wanted ------------------------------------------------------------------------------


def _pairs(pieces: Iterable[str]) -> list[tuple[str, Any]]:
    """``name`` or ``name=strength`` → name and strength; what is no number stays text."""
    found: list[tuple[str, Any]] = []
    for piece in pieces:
        name, equals, strength = (part.strip() for part in piece.partition("="))
        found.append((name, _number(strength) if equals else _default(name)))
    return found


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _default(name: str) -> float:
    return AUGMENTATIONS[name].default if name in AUGMENTATIONS else 0.0


def _mistakes(pairs: Iterable[tuple[Any, ...]]) -> Iterator[str]:
    seen: set[str] = set()
    for pair in pairs:
        if len(pair) != 2:
            yield f"augment: {pair!r} is not a name and a strength"
            continue
        name, strength = pair
        if name not in AUGMENTATIONS:
            yield f"augment: {_unknown(name)}"
            continue
        if name in seen:
            yield f"augment: {name} is named more than once"
        seen.add(name)
        row = AUGMENTATIONS[name]
        if not _is_number(strength) or not row.lowest <= strength <= row.highest:
            span = f"from {row.lowest:g} to {row.highest:g} ({row.unit})"
            yield f"augment: {name}={strength}: expected a number {span}"


def _is_number(value: object) -> bool:
    return type(value) in (int, float) and math.isfinite(value)  # type: ignore[arg-type]


def _unknown(name: object) -> str:
    known = (*AUGMENTATIONS, *SETS)
    if name in (NONE, *SETS):
        return f"{name!r} has no strength and " + (
            "stands alone" if name == NONE else f"stands for {SETS[str(name)]}"
        )
    close = get_close_matches(str(name).lower(), known, n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    return f"{name!r} is unknown; {hint}Known: {', '.join(known)}, {NONE}"
