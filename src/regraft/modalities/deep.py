"""Pictures of more than 8 bits a channel → 8 bits, by the window that the input spec names."""

from collections.abc import Callable, Mapping

import numpy as np
from PIL import Image

from regraft.errors import Unreadable
from regraft.modalities.windows import NAMED, ends, shown

Conversion = Callable[[Image.Image], Image.Image]
WHOLE = (0.0, 65535.0)  # of 16 bits


def from_16_bit(picture: Image.Image, file: str, window: str) -> Conversion:
    """16-bit grey; 32-bit integers that hold more than 16 bits are refused.

    Of the full range it is the high byte; other windows use all bits.
    """
    between = ends(window, None, lambda: np.asarray(picture), WHOLE)

    def convert(strip: Image.Image) -> Image.Image:
        values = np.asarray(strip)
        low, high = int(values.min()), int(values.max())
        if low < 0 or high > 65535:
            reason = f"integer grey values from {low} to {high}; expected 0 to 65535"
            raise Unreadable(file, "odd-values", reason)
        seen = (values >> 8).astype(np.uint8) if between == WHOLE else shown(values, between)
        return Image.fromarray(seen).convert("RGB")

    return convert


def from_float(picture: Image.Image, file: str, window: str) -> Conversion:
    """Floating-point grey in [0, 1] or [0, 255]: the largest value of the picture tells which."""
    low, high = (float(v) for v in picture.getextrema())  # type: ignore[arg-type]
    if window in NAMED and (low < 0 or high > 255):
        reason = f"float grey values from {low:g} to {high:g}; expected 0 to 1 or 0 to 255"
        raise Unreadable(file, "odd-values", reason)
    top = 1.0 if high <= 1 else 255.0
    between = ends(window, None, lambda: np.asarray(picture), (0.0, top))

    def convert(strip: Image.Image) -> Image.Image:
        values = np.asarray(strip)
        if not np.isfinite(values).all():
            raise Unreadable(file, "odd-values", "the pixels hold NaN or infinity")
        whole = between == (0.0, top)  # then a whole number stays as it is, bit for bit
        scaled = np.round(values * (255 / top)).astype(np.uint8) if whole else None
        return Image.fromarray(shown(values, between) if scaled is None else scaled).convert("RGB")

    return convert


# Mode of the decoder → (picture, file, window) → what makes RGB of each strip of it.
DEEP: Mapping[str, Callable[[Image.Image, str, str], Conversion]] = {
    **dict.fromkeys(("I;16", "I;16L", "I;16B", "I;16N", "I"), from_16_bit),
    "F": from_float,
}
