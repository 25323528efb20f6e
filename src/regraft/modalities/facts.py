"""Facts: what one look at an example tells, kept by content so that a file is looked at once."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

THUMB = 32  # side of the fingerprint picture, pixels
# Modes of more than 8 bits, as decoders name them.
DEEP = frozenset(
    {"I;16", "I;16L", "I;16B", "I;16N", "I", "F"}
    | {"int16", "uint16", "int32", "uint32", "float32", "float64"}
)
MEDICAL = frozenset({"DICOM", "NIfTI"})  # formats that hold medical pictures


@dataclass(frozen=True)
class Facts:
    """What the decoder saw.

    width, height  of the upright picture at its full size, pixels; of a recording its milliseconds
                   and 1; of a text its characters and 1
    mode, format   as the decoder names them (``RGB``, ``L``, ``CMYK`` ...; ``JPEG``, ``PNG`` ...)
    orientation    EXIF orientation that the file tells, 1 to 8; 1 is upright
    frames         number of frames (1 for a still picture)
    thumb          (32, 32, 3) uint8: the whole upright picture squashed, for finding duplicates
                   and for the baseline; of a text the bytes of its `Sketch`
    group          whom the file says that it is of, as a digest; empty: it says nothing
    """

    width: int
    height: int
    mode: str
    format: str
    orientation: int
    frames: int
    thumb: npt.NDArray[np.uint8]
    group: str = ""

    @property
    def medical(self) -> bool:
        """Whether it is of a format that medicine uses."""
        return self.format in MEDICAL

    @property
    def deep(self) -> bool:
        """Whether it holds more than the 8 bits that are shown, so that a window matters."""
        return self.medical or self.mode in DEEP

    def to_dict(self) -> dict[str, Any]:
        """Everything but the thumb, as plain data."""
        return {k: getattr(self, k) for k in self.__dataclass_fields__ if k != "thumb"}
