"""How examples of each modality are looked over: a row of KINDS_OF for each.

What is odd about single examples, which are copies of one another, and how a person says so.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from regraft.data.alike import alike
from regraft.data.duplicates import THUMB_SIDE, Duplicates, find_duplicates
from regraft.data.findings import Finding
from regraft.data.languages import languages
from regraft.modalities.facts import Facts
from regraft.modalities.samples import MOST_MINUTES, MOST_SECONDS
from regraft.modalities.sketch import Sketch

SMALL = 32  # pixels of the shorter side under which little is left to see,
LARGE = 64  # where the median of the set is this at least
LONG = 5  # longer side / shorter side from which a centre crop shows a fifth or less
FAR = 4  # times larger or smaller than the median picture,
DEVIATIONS = 5  # and that many robust standard deviations (of the logarithm) away from it

BRIEF = 50  # milliseconds of a recording under which hardly anything is heard
HEARD = 1000 * MOST_SECONDS  # milliseconds of the middle of a recording that are heard

TERSE = 3  # characters under which hardly anything is said
ENDLESS = 20_000  # characters of which networks here read a small part

# Mode of the decoder → what a person calls it.
COLOURS: Mapping[str, str] = {
    "RGB": "colour",
    **dict.fromkeys(("L", "1"), "grey"),
    **dict.fromkeys(("P", "PA"), "palette"),
    **dict.fromkeys(("RGBA", "RGBa", "RGBX", "LA", "La"), "transparent"),
    "CMYK": "CMYK (print colours)",
    **dict.fromkeys(("I;16", "I;16L", "I;16B", "I;16N", "I"), "16-bit grey"),
    "F": "floating-point grey",
}
STILL = frozenset({"MPO"})  # photos whose further frames are a preview or the other eye's view


class _Oddity(NamedTuple):
    """One row of ODDITIES: which of the pictures are odd, (n,) bool, and what to say of them."""

    kind: str
    odd: Callable[[Sequence[Facts]], npt.NDArray[np.bool_]]
    reason: str
    severity: str = "note"


def oddities(ids: Sequence[str], facts: Sequence[Facts], kind: "ExampleKind") -> Iterator[Finding]:
    """What is odd about single examples: one finding of each sort with all that have it."""
    for oddity in kind.oddities if facts else ():
        if files := _chosen(ids, oddity.odd(facts)):
            reason = f"{kind.counted(len(files))} {oddity.reason}"
            yield Finding(oddity.kind, files, reason, oddity.severity)
    yield from _modes(ids, facts, kind)


def _chosen(ids: Sequence[str], odd: Iterable[bool]) -> tuple[str, ...]:
    return tuple(name for name, is_odd in zip(ids, odd, strict=True) if is_odd)


def _sides(facts: Sequence[Facts]) -> npt.NDArray[np.int64]:
    """(n, 2): the shorter and the longer side."""
    return np.sort([(fact.width, fact.height) for fact in facts], axis=1)


def _small(facts: Sequence[Facts]) -> npt.NDArray[np.bool_]:
    shorter = _sides(facts)[:, 0]
    return (shorter < SMALL) & bool(np.median(shorter) >= LARGE)


def _long(facts: Sequence[Facts]) -> npt.NDArray[np.bool_]:
    shorter, longer = _sides(facts).T
    return longer > LONG * shorter


def _outlying(facts: Sequence[Facts]) -> npt.NDArray[np.bool_]:
    """Far from the median size; those that are small or long are told of already."""
    sizes = np.log(_sides(facts)).mean(axis=1)
    away = np.abs(sizes - np.median(sizes))
    deviation = 1.4826 * np.median(away)  # of a normal distribution with this median deviation
    far = away > max(np.log(FAR), DEVIATIONS * deviation)
    return far & ~_small(facts) & ~_long(facts)


def _animated(facts: Sequence[Facts]) -> npt.NDArray[np.bool_]:
    return np.array([fact.frames > 1 and fact.format not in STILL for fact in facts])


def _brief(facts: Sequence[Facts]) -> npt.NDArray[np.bool_]:
    return _widths(facts) < BRIEF


def _lengthy(facts: Sequence[Facts]) -> npt.NDArray[np.bool_]:
    return _widths(facts) > HEARD


def _endless_sound(facts: Sequence[Facts]) -> npt.NDArray[np.bool_]:
    return _widths(facts) > MOST_MINUTES * 60_000


def _silent(facts: Sequence[Facts]) -> npt.NDArray[np.bool_]:
    return np.array([not fact.thumb.any() for fact in facts])


def _far_in_time(facts: Sequence[Facts]) -> npt.NDArray[np.bool_]:
    return _far(_widths(facts)) & ~_brief(facts) & ~_lengthy(facts)


def _terse(facts: Sequence[Facts]) -> npt.NDArray[np.bool_]:
    return _widths(facts) < TERSE


def _endless(facts: Sequence[Facts]) -> npt.NDArray[np.bool_]:
    return _widths(facts) > ENDLESS


def _far_in_length(facts: Sequence[Facts]) -> npt.NDArray[np.bool_]:
    return _far(_widths(facts)) & ~_terse(facts) & ~_endless(facts)


def _far(lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Far from the median, by logarithms."""
    away = np.abs(np.log(lengths) - np.log(np.median(lengths)))
    return np.asarray(away > max(np.log(FAR), DEVIATIONS * 1.4826 * np.median(away)))


def _widths(facts: Sequence[Facts]) -> npt.NDArray[np.int64]:
    """Milliseconds of recordings, characters of texts."""
    return np.array([fact.width for fact in facts], np.int64)


ODDITIES = (
    _Oddity("odd-size", _small, f"under {SMALL} pixels, much smaller than the rest", "warning"),
    _Oddity(
        "odd-size", _long, f"more than {LONG} times as long as wide: a centre crop shows a part"
    ),
    _Oddity("odd-size", _outlying, "of a size far from that of the rest"),
    _Oddity("animated", _animated, "with several frames: only the first is looked at"),
)


VOLUME_ODDITIES = (
    _Oddity("odd-size", _small, f"under {SMALL} voxels across, much smaller than the rest"),
    _Oddity("odd-size", _outlying, "of a size far from that of the rest"),
    _Oddity("animated", _animated, "of several moments: only the first is looked at"),
)


SOUND_ODDITIES = (
    _Oddity("silent", _silent, "without any sound", "warning"),
    _Oddity("odd-size", _brief, f"shorter than {BRIEF} ms", "warning"),
    _Oddity(
        "odd-size",
        _lengthy,
        f"longer than {HEARD // 1000} s: the middle is heard, or segments of the whole where these "
        "tell more",
    ),
    _Oddity(
        "odd-size",
        _endless_sound,
        f"longer than {MOST_MINUTES} min: segments are taken from the middle so long",
        "warning",
    ),
    _Oddity("odd-size", _far_in_time, "of a duration far from that of the rest"),
)


TEXT_ODDITIES = (
    _Oddity("odd-size", _terse, f"shorter than {TERSE} characters", "warning"),
    _Oddity(
        "odd-size", _endless, f"longer than {ENDLESS:,} characters: only the beginning is read"
    ),
    _Oddity("odd-size", _far_in_length, "of a length far from that of the rest"),
)

# Copies ------------------------------------------------------------------------------------------


def _alike_pictures(facts: Sequence[Facts], digests: Sequence[str]) -> Duplicates:
    thumbs = np.zeros((len(facts), THUMB_SIDE, THUMB_SIDE, 3), np.uint8)
    for row, fact in zip(thumbs, facts, strict=True):
        row[:] = fact.thumb
    aspects = np.array([fact.width / fact.height for fact in facts], float)
    return find_duplicates(thumbs, digests, aspects)


def _ways(a: Facts, b: Facts, mirrored: bool) -> Iterator[str]:
    """How one picture was made from the other, as far as can be told."""
    resized = (a.width, a.height) != (b.width, b.height)
    if resized:
        yield "resized"
    if mirrored:
        yield "mirrored"
    if a.format != b.format or not (resized or mirrored):
        yield "re-encoded"


def _ways_of_sounds(a: Facts, b: Facts, mirrored: bool) -> Iterator[str]:
    """How one recording was made from the other, as far as can be told."""
    yield "cut, or of another length" if a.width != b.width else "re-encoded"


def _ways_of_texts(a: Facts, b: Facts, mirrored: bool) -> Iterator[str]:
    """How one text was made from the other, as far as can be told."""
    same = Sketch.unpacked(a.thumb).digest == Sketch.unpacked(b.thumb).digest
    yield "case, blanks or punctuation differ" if same else "nearly the same words"


# Rows -------------------------------------------------------------------------------------------


class ExampleKind(NamedTuple):
    """What is odd about examples of a modality, and how a person calls them.

    modes   what is said of those that are otherwise than most: two modes are filled in
    copies  finds those that are copies of one another
    ways    how one of two copies was made from the other, as far as can be told
    read    (ids, files) → findings that only their content tells
    """

    oddities: Sequence[_Oddity]
    noun: str
    modes: str
    copies: Callable[[Sequence[Facts], Sequence[str]], Duplicates]
    ways: Callable[[Facts, Facts, bool], Iterator[str]]
    read: Callable[[Sequence[str], Sequence[str]], Iterable[Finding]] = lambda ids, files: ()

    def counted(self, n: int) -> str:
        return f"1 {self.noun}" if n == 1 else f"{n} {self.noun}s"


STORED = "stored as {} where most are {}; all are turned into "
PICTURES = ExampleKind(ODDITIES, "picture", f"{STORED}RGB", _alike_pictures, _ways)
KINDS_OF: Mapping[str, ExampleKind] = {
    "image": PICTURES,
    "volume": ExampleKind(
        VOLUME_ODDITIES, "volume", f"{STORED}grey slices", _alike_pictures, _ways
    ),
    "audio": ExampleKind(
        SOUND_ODDITIES, "recording", f"{STORED}16 kHz mono", _alike_pictures, _ways_of_sounds
    ),
    "text": ExampleKind(
        *(TEXT_ODDITIES, "text", "in {} letters where most are in {} ones", alike),
        *(_ways_of_texts, languages),
    ),
}


def _modes(ids: Sequence[str], facts: Sequence[Facts], kind: "ExampleKind") -> Iterator[Finding]:
    """Examples stored otherwise than most: one finding for each way."""
    modes = [COLOURS.get(fact.mode, fact.mode) for fact in facts]
    by_number = sorted(set(modes), key=lambda mode: (-modes.count(mode), mode))
    for usual, mode in ((by_number[0], mode) for mode in by_number[1:]):
        files = _chosen(ids, (m == mode for m in modes))
        reason = f"{kind.counted(len(files))} {kind.modes.format(mode, usual)}"
        yield Finding("odd-mode", files, reason, "note")


def kind_of(modality: str) -> ExampleKind:
    """The row of a modality; of one from elsewhere that of pictures."""
    return KINDS_OF.get(modality, PICTURES)
