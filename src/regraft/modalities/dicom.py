"""DICOM files as pictures: rescaled, windowed, the right way up in brightness, 8 bits a channel.

Of what a file tells beside its pixels nothing is kept, neither names nor dates nor private tags:
only a digest of the patient's number, so that a split can keep a patient's pictures together.
"""

import hashlib
import io
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from regraft.errors import MissingExtra, Unreadable

PLACE, PREFIX = 128, b"DICM"
DEFLATED = b"1.2.840.10008.1.2.1.99"  # a transfer syntax that is unpacked without any bound
HEAD = 4096  # bytes that name the transfer syntax
SHARE = 0.5  # per cent of the pixels at either end that may be clipped where no window is told
GREY, DARK = ("MONOCHROME1", "MONOCHROME2"), "MONOCHROME1"  # of which the largest value is black

Pixels = npt.NDArray[np.uint8]
Values = npt.NDArray[np.float64]


class Dicom(NamedTuple):
    """The first picture of a file, and what may be told of it."""

    picture: Image.Image
    mode: str
    frames: int
    group: str


def is_dicom(data: bytes) -> bool:
    """Whether the bytes begin as DICOM files do."""
    return data[PLACE : PLACE + len(PREFIX)] == PREFIX


def read(data: bytes, file: str, most_pixels: int) -> Dicom:
    """Bytes → picture. Raises Unreadable naming `file`, MissingExtra without the library pydicom.

    Kinds of `Unreadable`: not-an-image (without pixels), bomb, unsupported (coding), odd-values,
    no-memory, damaged.
    """
    try:
        import pydicom
    except ImportError:
        raise MissingExtra("pydicom", "medical") from None
    if DEFLATED in data[:HEAD]:
        raise Unreadable(file, "unsupported", "a deflated DICOM file; save it without that")
    try:
        with warnings.catch_warnings():  # of odd values in tags that are not read
            warnings.simplefilter("ignore")
            return _read(pydicom.dcmread(io.BytesIO(data)), file, most_pixels)
    except Unreadable:
        raise
    except MemoryError:
        raise Unreadable(file, "no-memory", "there was not enough memory to decode it") from None
    except Exception as error:  # the library raises nearly anything on damaged bytes
        raise Unreadable(file, *_diagnosis(error)) from None


def _diagnosis(error: Exception) -> tuple[str, str]:
    text = " ".join((str(error) or type(error).__name__).split())[:300]
    if isinstance(error, NotImplementedError) or "unable to decompress" in text.lower():
        return "unsupported", f"its pixels are coded in a way that is not read here: {text}"
    return "damaged", f"the decoder gave up: {text}"


def _read(tags: Any, file: str, most_pixels: int) -> Dicom:
    from pydicom.pixels.utils import pixel_array

    if "Rows" not in tags or "Columns" not in tags or "PixelData" not in tags:
        raise Unreadable(file, "not-an-image", "a DICOM file without pixels")
    width, height, frames = int(tags.Columns), int(tags.Rows), int(tags.get("NumberOfFrames") or 1)
    if width * height > most_pixels:
        reason = f"{width} × {height} pixels; more than {most_pixels:,} are refused"
        raise Unreadable(file, "bomb", reason)
    way, bits = str(tags.PhotometricInterpretation), int(tags.BitsStored)
    values = pixel_array(tags, index=0)
    pixels = _grey(values, tags, way, file) if way in GREY else _coloured(values, tags, way, bits)
    number = str(tags.get("PatientID") or "").strip()
    group = f"patient-{hashlib.sha256(number.encode()).hexdigest()[:16]}" if number else ""
    picture = Image.fromarray(pixels).convert("RGB")
    return Dicom(picture, f"{bits}-bit {way}", frames, group)


def _coloured(values: Any, tags: Any, way: str, bits: int) -> Pixels:
    """The library has made RGB of the other colour spaces already."""
    if way == "PALETTE COLOR":
        from pydicom.pixels.processing import apply_color_lut

        values = apply_color_lut(values, tags)
        bits = 8 * values.dtype.itemsize
    return (
        np.round(np.asarray(values, np.float64) * (255 / (2**bits - 1))).clip(0, 255).astype("u1")
    )


def _grey(values: Any, tags: Any, way: str, file: str) -> Pixels:
    from pydicom.pixels.processing import apply_modality_lut, apply_voi

    measured = np.asarray(apply_modality_lut(values, tags), np.float64)
    if not np.isfinite(measured).all():
        raise Unreadable(file, "odd-values", "the pixels hold NaN or infinity")
    if "VOILUTSequence" in tags:
        measured = np.asarray(apply_voi(np.asarray(values), tags, index=0), np.float64)
        low, high = float(measured.min()), float(measured.max())
    else:
        low, high = _window(measured, tags)
    shown = np.clip((measured - low) / max(high - low, 1e-9), 0, 1)
    if way == DARK:
        shown = 1 - shown
    return np.round(255 * shown).astype(np.uint8)


def _window(measured: Values, tags: Any) -> tuple[float, float]:
    """The values that become black and white: of the file's first window (PS3.3 C.11.2.1.2.1), else
    nearly the darkest and the brightest.
    """
    centre, width = (_first(tags.get(name)) for name in ("WindowCenter", "WindowWidth"))
    if centre is None or width is None or width < 1:
        low, high = np.percentile(measured, [SHARE, 100 - SHARE])
        return float(low), float(high)
    linear = str(tags.get("VOILUTFunction") or "LINEAR") == "LINEAR"
    if linear:
        return centre - 0.5 - (width - 1) / 2, centre - 0.5 + (width - 1) / 2
    return centre - width / 2, centre + width / 2


def _first(value: Any) -> float | None:
    if value is None or value == "":
        return None
    several = isinstance(value, Sequence) and not isinstance(value, str)
    return float(value[0] if several else value)
