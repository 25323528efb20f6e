"""InputSpec: how an example becomes the numbers that a network reads, as plain data.

The same spec, stored once in the bundle, serves training, validation, prediction, export and
serving, so that preprocessing cannot differ between them.
"""

from dataclasses import asdict, dataclass, replace
from typing import Any, Self

from regraft.errors import UsageError

INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos", "box", "hamming")
FITS = ("crop", "squash", "pad")


@dataclass(frozen=True)
class InputSpec:
    """Input of an image network.

    size           height and width in pixels that the network reads
    fit            ``crop``: the shorter side becomes size / crop_fraction, then the centre is cut;
                   ``squash``: both sides become size; ``pad``: the longer side becomes size
    crop_fraction  share of the resized shorter side that the centre crop keeps, in (0, 1]
    views          views of an example whose features are averaged; names of the modality's views
    interpolation  one of INTERPOLATIONS
    mean, std      per channel (R, G, B), on pixel values in [0, 1]
    """

    size: int = 224
    fit: str = "crop"
    crop_fraction: float = 0.875
    interpolation: str = "bicubic"
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    views: tuple[str, ...] = ("centre",)

    def __post_init__(self) -> None:
        object.__setattr__(self, "mean", tuple(self.mean))
        object.__setattr__(self, "std", tuple(self.std))
        object.__setattr__(self, "views", tuple(self.views))
        if mistakes := list(self._mistakes()):
            raise UsageError(*mistakes)

    def _mistakes(self) -> Any:
        if not 8 <= self.size <= 2048:
            yield f"size: {self.size} is not between 8 and 2048 pixels"
        if self.fit not in FITS:
            yield f"fit: {self.fit!r} is not one of {', '.join(FITS)}"
        if self.interpolation not in INTERPOLATIONS:
            known = ", ".join(INTERPOLATIONS)
            yield f"interpolation: {self.interpolation!r} is not one of {known}"
        if not 0 < self.crop_fraction <= 1:
            yield f"crop_fraction: {self.crop_fraction} is not in (0, 1]"
        if len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0:
            yield f"mean, std: expected three numbers, std above 0, got {self.mean}, {self.std}"
        if not self.views:
            yield "views: at least one view is needed"

    def at(self, size: int | None) -> Self:
        """The same spec at another size (pixels); None leaves it as it is."""
        return self if size is None else replace(self, size=size)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> Self:
        return cls(**record)
