"""InputSpec: how an example becomes the numbers that a network reads, as plain data.

The same spec, stored once in the bundle, serves training, validation, prediction, export and
serving, so that preprocessing cannot differ between them.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from types import MappingProxyType
from typing import Any, NamedTuple, Self

from regraft.errors import UsageError
from regraft.modalities.windows import FILE, window_mistake

INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos", "box", "hamming")
FITS = ("crop", "squash", "pad")


class Unit(NamedTuple):
    """What the size of an input counts: its sign, the sizes that there can be, and usual steps."""

    sign: str
    least: int
    most: int
    step: int


# What a network reads → what its size counts.
UNITS: Mapping[str, Unit] = MappingProxyType(
    {
        "picture": Unit("px", 8, 2048, 32),
        "text": Unit("tokens", 8, 2048, 32),
        "sound": Unit("s", 1, 30, 1),
    }
)
FRONTS = ("samples", "log-mel", "filterbank")


@dataclass(frozen=True)
class Hearing:
    """What a network that reads sound makes of samples first; see `regraft.backbones.fronts`.

    front      ``samples``: as they are; ``log-mel``: as Whisper hears; ``filterbank``: as the
               Audio Spectrogram Transformer does
    bands      of the mel scale; 0 for samples
    frames     that are always read, padded; 0: as many as the recording has
    mean, std  of all bands, taken off and divided by
    normalise  samples: each recording is brought to mean 0 and deviation 1; log-mel: to the same
               loudest sample, so that it does not count how far a microphone was
    """

    front: str
    bands: int = 0
    frames: int = 0
    mean: float = 0.0
    std: float = 1.0
    normalise: bool = False

    def mistakes(self) -> Iterator[str]:
        """What of it cannot be used."""
        if self.front not in FRONTS:
            yield f"hears.front: {self.front!r} is not one of {', '.join(FRONTS)}"
        least = 0 if self.front == "samples" else 1
        if type(self.bands) is not int or not least <= self.bands <= 256:
            yield f"hears.bands: {self.bands!r} is not a whole number from {least} to 256"
        if type(self.frames) is not int or not 0 <= self.frames <= 3000:
            yield f"hears.frames: {self.frames!r} is not a whole number up to 3000"
        if not _is_number(self.mean) or not _is_number(self.std) or self.std <= 0:
            yield f"hears.mean, hears.std: {self.mean!r}, {self.std!r} are not numbers (std: > 0)"
        if self.normalise not in (True, False):
            yield f"hears.normalise: {self.normalise!r} is not true or false"


@dataclass(frozen=True)
class InputSpec:
    """Input of a network. What a kind of input has no use for stays as it is.

    size           picture: height and width in pixels that the network reads; text: the most
                   tokens; sound: the most seconds, of the middle
    fit            ``crop``: the shorter side becomes size / crop_fraction, then the centre is cut;
                   ``squash``: both sides become size; ``pad``: the longer side becomes size
    crop_fraction  share of the resized shorter side that the centre crop keeps, in (0, 1]
    views          views of an example whose features are averaged; names of the modality's views
    interpolation  one of INTERPOLATIONS
    mean, std      per channel (R, G, B), on pixel values in [0, 1]
    reads          a key of UNITS: what an example is turned into
    hears          of a network that reads sound, what it makes of it; else None
    window         of medical and 16-bit pictures: which values become black and white, see
                   `modalities.windows`
    shape          picture that is padded: height and width of the rectangle that it is fitted into,
                   the longer one `size`; None: a square
    """

    size: int = 224
    fit: str = "crop"
    crop_fraction: float = 0.875
    interpolation: str = "bicubic"
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    views: tuple[str, ...] = ("centre",)
    reads: str = "picture"
    hears: Hearing | None = None
    window: str = FILE
    shape: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        for name in ("mean", "std", "views", "shape"):
            if isinstance(given := getattr(self, name), list):  # as JSON has it
                object.__setattr__(self, name, tuple(given))
        told: object = self.hears
        if told is not None and not isinstance(told, Hearing):  # as JSON has it
            object.__setattr__(self, "hears", _hearing(told))
        if mistakes := list(self._mistakes()):
            raise UsageError(*mistakes)

    def _mistakes(self) -> Iterator[str]:
        yield from self._wrong_size()
        if self.fit not in FITS:
            yield f"fit: {self.fit!r} is not one of {', '.join(FITS)}"
        if self.interpolation not in INTERPOLATIONS:
            known = ", ".join(INTERPOLATIONS)
            yield f"interpolation: {self.interpolation!r} is not one of {known}"
        if not _is_number(self.crop_fraction) or not 0 < self.crop_fraction <= 1:
            yield f"crop_fraction: {self.crop_fraction!r} is not a number in (0, 1]"
        if not _are_three(self.mean):
            yield f"mean: {self.mean!r} is not three numbers"
        if not _are_three(self.std) or min(self.std) <= 0:
            yield f"std: {self.std!r} is not three numbers above 0"
        if not _are_names(self.views):
            yield f"views: {self.views!r} is not one name or several, each once"
        if self.reads not in UNITS:
            yield f"reads: {self.reads!r} is not one of {', '.join(UNITS)}"
        if (self.hears is not None) != (self.reads == "sound"):
            yield f"hears: goes with reads: sound, and with nothing else; reads: {self.reads!r}"
        elif self.hears is not None:
            yield from self.hears.mistakes()
        if wrong := window_mistake(self.window):
            yield wrong

        if self.shape is not None and not self._is_rectangle(self.shape):
            yield (
                f"shape: {self.shape!r} is not a height and a width of 8 or more, the longer one "
                f"the size, {self.size!r}, of a picture that is padded"
            )

    def _wrong_size(self) -> Iterator[str]:
        sign, least, most, _ = UNITS.get(self.reads, UNITS["picture"])
        if type(self.size) is not int or not least <= self.size <= most:
            yield f"size: {self.size!r} is not a whole number from {least} to {most} ({sign})"

    def _is_rectangle(self, shape: Any) -> bool:
        sides = isinstance(shape, tuple) and len(shape) == 2 and all(type(n) is int for n in shape)
        return sides and min(shape) >= 8 and max(shape) == self.size and self.fit == "pad"

    @property
    def rectangle(self) -> tuple[int, int]:
        """Height and width of a picture as the network reads it."""
        return self.shape or (self.size, self.size)

    @property
    def told(self) -> str:
        """The size with its unit, such as ``224 px`` or ``320 × 416 px``."""
        if self.shape is not None:
            return f"{self.shape[0]} × {self.shape[1]} {UNITS[self.reads].sign}"
        return f"{self.size} {UNITS[self.reads].sign}"

    def at(self, size: int | None) -> Self:
        """The same spec at another size; None leaves it as it is."""
        return self if size is None else replace(self, size=size)

    def of(self, other: Self) -> Self:
        """Another network's own spec, for the same views of whole examples in the same window."""
        return replace(other, crop_fraction=1.0, views=self.views, window=self.window)

    def to_dict(self) -> dict[str, Any]:
        """As plain data, also after a way through JSON; `from_dict` reads it.

        What is as usual for most is left out: features and bundles of before do not have it.
        """
        usual = {"hears": None, "window": FILE, "shape": None}
        return {k: v for k, v in asdict(self).items() if k not in usual or v != usual[k]}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Self:
        """From plain data. Raises UsageError for unknown names and wrong values."""
        known = [f.name for f in fields(cls)]
        if unknown := [str(name) for name in record if name not in known]:
            raise UsageError(
                *(
                    f"{name}: not a part of an input spec; known: {', '.join(known)}"
                    for name in unknown
                )
            )
        return cls(**record)


def _hearing(record: object) -> Hearing:
    if not isinstance(record, Mapping):
        raise UsageError(f"hears: {record!r} is not an object with a front")
    known = [f.name for f in fields(Hearing)]
    if unknown := sorted(set(record) - set(known)):
        raise UsageError(f"hears: {', '.join(unknown)}: not known; known: {', '.join(known)}")
    if "front" not in record:
        raise UsageError("hears.front: missing")
    return Hearing(**record)


def _is_number(value: object) -> bool:
    return type(value) in (int, float) and math.isfinite(value)  # type: ignore[arg-type]


def _are_three(values: object) -> bool:
    return isinstance(values, tuple) and len(values) == 3 and all(map(_is_number, values))


def _are_names(values: object) -> bool:
    if not isinstance(values, tuple) or not values:
        return False
    return all(isinstance(v, str) for v in values) and len(set(values)) == len(values)
