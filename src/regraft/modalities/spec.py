"""InputSpec: how an example becomes the numbers that a network reads, as plain data.

The same spec, stored once in the bundle, serves training, validation, prediction, export and
serving, so that preprocessing cannot differ between them.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Self

from regraft.errors import UsageError

INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos", "box", "hamming")
FITS = ("crop", "squash", "pad")
UNITS = {"picture": "px", "text": "tokens"}  # what a network reads → what its size counts


@dataclass(frozen=True)
class InputSpec:
    """Input of a network. What a kind of input has no use for stays as it is.

    size           picture: height and width in pixels that the network reads; text: the most tokens
    fit            ``crop``: the shorter side becomes size / crop_fraction, then the centre is cut;
                   ``squash``: both sides become size; ``pad``: the longer side becomes size
    crop_fraction  share of the resized shorter side that the centre crop keeps, in (0, 1]
    views          views of an example whose features are averaged; names of the modality's views
    interpolation  one of INTERPOLATIONS
    mean, std      per channel (R, G, B), on pixel values in [0, 1]
    reads          a key of UNITS: what an example is turned into
    """

    size: int = 224
    fit: str = "crop"
    crop_fraction: float = 0.875
    interpolation: str = "bicubic"
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    views: tuple[str, ...] = ("centre",)
    reads: str = "picture"

    def __post_init__(self) -> None:
        for name in ("mean", "std", "views"):
            if isinstance(given := getattr(self, name), list):  # as JSON has it
                object.__setattr__(self, name, tuple(given))
        if mistakes := list(self._mistakes()):
            raise UsageError(*mistakes)

    def _mistakes(self) -> Iterator[str]:
        if type(self.size) is not int or not 8 <= self.size <= 2048:
            yield f"size: {self.size!r} is not a whole number from 8 to 2048 (pixels or tokens)"
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

    @property
    def told(self) -> str:
        """The size with its unit, such as ``224 px``."""
        return f"{self.size} {UNITS[self.reads]}"

    def at(self, size: int | None) -> Self:
        """The same spec at another size (pixels); None leaves it as it is."""
        return self if size is None else replace(self, size=size)

    def to_dict(self) -> dict[str, Any]:
        """As plain data, also after a way through JSON; `from_dict` reads it."""
        return asdict(self)

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


def _is_number(value: object) -> bool:
    return type(value) in (int, float) and math.isfinite(value)  # type: ignore[arg-type]


def _are_three(values: object) -> bool:
    return isinstance(values, tuple) and len(values) == 3 and all(map(_is_number, values))


def _are_names(values: object) -> bool:
    if not isinstance(values, tuple) or not values:
        return False
    return all(isinstance(v, str) for v in values) and len(set(values)) == len(values)
