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
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt
from PIL import Image

from regraft.errors import UsageError
from regraft.modalities import mixing, paints, policies, sounds, warps
from regraft.modalities.spec import InputSpec
from regraft.modalities.usual import Usual
from regraft.modalities.warps import Plan

if TYPE_CHECKING:
    from torch import Tensor

    from regraft.modalities.audio import Sound


@dataclass(frozen=True)
class Row:
    """One augmentation.

    told             what it does, in a plain sentence
    default          strength where none is given
    lowest, highest  strengths that are allowed
    unit             of the strength
    source           paper that it is from
    """

    name: str
    told: str
    default: float
    lowest: float
    highest: float
    unit: str
    source: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain data for tables and JSON."""
        return {name: getattr(self, name) for name in Row.__dataclass_fields__}


@dataclass(frozen=True, kw_only=True)
class PictureRow(Row):
    """An augmentation of one picture: `plan` adds to what will be done with it."""

    plan: Callable[[Plan, float, np.random.Generator], Plan]


@dataclass(frozen=True, kw_only=True)
class SoundRow(Row):
    """An augmentation of one recording."""

    change: Callable[["Sound", float, np.random.Generator], "Sound"]


@dataclass(frozen=True, kw_only=True)
class BatchRow(Row):
    """An augmentation of a batch: `mix` gives its pixels and targets, mixed."""

    mix: Callable[["Tensor", "Tensor", float, np.random.Generator], "tuple[Tensor, Tensor]"]


_ROWS: tuple[Row, ...] = (
    PictureRow(
        "crop",
        "shows a random part of the picture, enlarged",
        *(0.35, 0.01, 1, "least share of the area that is kept"),
        "Szegedy et al. 2015, arXiv 1409.4842",
        plan=warps.crop,
    ),
    PictureRow("flip", "mirrors left and right", 0.5, 0, 1, "probability", plan=warps.flip),
    PictureRow(
        "flip-vertical",
        "mirrors top and bottom",
        *(0.5, 0, 1, "probability"),
        plan=warps.flip_vertical,
    ),
    PictureRow("rotate", "turns the picture", 15, 0, 180, "degrees, either way", plan=warps.rotate),
    PictureRow(
        "perspective",
        "tilts the picture, as if it were seen from aside",
        *(0.3, 0, 0.6, "how far corners move, in shares of half the side"),
        plan=warps.perspective,
    ),
    PictureRow(
        "randaugment",
        "does two operations from a list of fourteen (shifts, tones, sharpness ...)",
        *(9, 0, policies.MOST, "magnitude"),
        "Cubuk et al. 2019, arXiv 1909.13719",
        plan=policies.randaugment,
    ),
    PictureRow(
        "trivialaugment",
        "does one operation from a list of fourteen, weak or strong",
        *(policies.MOST, 0, policies.MOST, "largest magnitude"),
        "Müller and Hutter 2021, arXiv 2103.10158",
        plan=policies.trivialaugment,
    ),
    PictureRow(
        "colour",
        "changes brightness, contrast, saturation and hue",
        *(0.3, 0, 1, "largest change"),
        plan=paints.colour,
    ),
    PictureRow("grey", "takes the colour away", 0.1, 0, 1, "probability", plan=paints.grey),
    PictureRow(
        "blur",
        "blurs the picture",
        *(0.01, 0, 0.1, "largest sigma, in shares of the side"),
        plan=paints.blur,
    ),
    PictureRow(
        "noise",
        "adds noise to each pixel",
        *(0.05, 0, 0.5, "largest sigma, in shares of the range of values"),
        plan=paints.noise,
    ),
    PictureRow(
        "erasing",
        "covers a rectangle with the mean colour",
        *(0.25, 0, 1, "probability"),
        "Zhong et al. 2017, arXiv 1708.04896",
        plan=paints.erasing,
    ),
    SoundRow(
        "shift",
        "begins earlier or later",
        *(0.1, 0, 0.5, "largest, in shares of the recording"),
        change=sounds.shift,
    ),
    SoundRow(
        "tempo",
        "plays faster or slower, higher or lower with it",
        *(0.1, 0, 1, "largest change of speed"),
        change=sounds.tempo,
    ),
    SoundRow(
        "hiss",
        "adds white noise",
        *(0.1, 0, 2, "largest, in shares of the recording's level"),
        change=sounds.hiss,
    ),
    SoundRow(
        "time-mask",
        "is silent for a while",
        *(0.15, 0, 0.5, "largest share of the time"),
        "Park et al. 2019, arXiv 1904.08779",
        change=sounds.time_mask,
    ),
    SoundRow(
        "frequency-mask",
        "silences neighbouring frequencies",
        *(0.15, 0, 0.5, "largest share of the bands"),
        "Park et al. 2019, arXiv 1904.08779",
        change=sounds.frequency_mask,
    ),
    BatchRow(
        "mixup",
        "fades two pictures and their labels into each other",
        *(0.2, 0.01, 10, "alpha: 0.2 mixes little, 1 anything from none to half"),
        "Zhang et al. 2017, arXiv 1710.09412",
        mix=mixing.mixup,
    ),
    BatchRow(
        "cutmix",
        "pastes a rectangle of one picture into another, and mixes their labels",
        *(1, 0.01, 10, "alpha: 1 pastes rectangles of any size"),
        "Yun et al. 2019, arXiv 1905.04899",
        mix=mixing.cutmix,
    ),
)

# In the order in which they are applied.
AUGMENTATIONS: Mapping[str, Row] = {row.name: row for row in _ROWS}

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
    "strong": "shift,tempo,hiss,time-mask=0.25,frequency-mask=0.25,mixup",
    "lossless": "shift",
}


@dataclass(frozen=True)
class Kind:
    """What there is for one modality."""

    rows: tuple[type[Row], ...]
    sets: Mapping[str, str]


KINDS: Mapping[str, Kind] = {
    "image": Kind((PictureRow, BatchRow), SETS),
    "audio": Kind((SoundRow, BatchRow), SOUND_SETS),
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


_PICTURE = {row.name: row for row in _ROWS if isinstance(row, PictureRow)}
_SOUND = {row.name: row for row in _ROWS if isinstance(row, SoundRow)}
_BATCH = {row.name: row for row in _ROWS if isinstance(row, BatchRow)}


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
