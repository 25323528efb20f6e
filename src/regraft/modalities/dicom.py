"""DICOM files as pictures: rescaled, windowed, the right way up in brightness, 8 bits a channel.

Of what a file tells beside its pixels nothing is kept, neither names nor dates nor private tags:
only a digest of the patient's number, so that a split can keep a patient's pictures together.
"""

import hashlib
import io
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from regraft.errors import MissingExtra, Unreadable
from regraft.modalities.windows import FILE, Ends, ends, shown

PLACE, PREFIX = 128, b"DICM"
DEFLATED = b"1.2.840.10008.1.2.1.99"  # a transfer syntax that is unpacked without any bound
HEAD = 4096  # bytes that name the transfer syntax
GREY, DARK = ("MONOCHROME1", "MONOCHROME2"), "MONOCHROME1"  # of which the largest value is black

T = TypeVar("T")
Pixels = npt.NDArray[np.uint8]


class Dicom(NamedTuple):
    """The first picture of a file, and what may be told of it."""

    picture: Image.Image
    mode: str
    frames: int
    group: str


def is_dicom(data: bytes) -> bool:
    """Whether the bytes begin as DICOM files do."""
    return data[PLACE : PLACE + len(PREFIX)] == PREFIX


def read(data: bytes, file: str, most_pixels: int, window: str = FILE) -> Dicom:
    """Bytes → picture, see `opened`."""
    return opened(data, file, lambda tags: _read(tags, file, most_pixels, window))


def opened(data: bytes, file: str, use: Callable[[Any], T]) -> T:
    """What `use` makes of the tags of a file.

    Raises Unreadable naming `file`, MissingExtra without the library pydicom. Kinds of
    `Unreadable`: not-an-image (without pixels), bomb, unsupported (coding), odd-values, no-memory,
    damaged.
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
            return use(pydicom.dcmread(io.BytesIO(data)))
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


def has_frames(path: str) -> bool:
    """Whether a file says that it holds several frames; False where it cannot be read.

    Raises MissingExtra without the library pydicom.
    """
    try:
        import pydicom
    except ImportError:
        raise MissingExtra("pydicom", "medical") from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tags = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["NumberOfFrames"])
        return int(tags.get("NumberOfFrames") or 1) > 1
    except Exception:  # what is wrong with it is told when it is decoded
        return False


def sizes(tags: Any, file: str) -> tuple[int, int, int]:
    """Width and height in pixels, and the number of frames. Raises Unreadable."""
    if "Rows" not in tags or "Columns" not in tags or "PixelData" not in tags:
        raise Unreadable(file, "not-an-image", "a DICOM file without pixels")
    return int(tags.Columns), int(tags.Rows), int(tags.get("NumberOfFrames") or 1)


def patient(tags: Any) -> str:
    """A digest of the patient's number; empty where the file tells none."""
    number = str(tags.get("PatientID") or "").strip()
    return f"patient-{hashlib.sha256(number.encode()).hexdigest()[:16]}" if number else ""


def _read(tags: Any, file: str, most_pixels: int, window: str) -> Dicom:
    from pydicom.pixels.utils import pixel_array

    width, height, frames = sizes(tags, file)
    if width * height > most_pixels:
        reason = f"{width} × {height} pixels; more than {most_pixels:,} are refused"
        raise Unreadable(file, "bomb", reason)
    way, bits = str(tags.PhotometricInterpretation), int(tags.BitsStored)
    values = pixel_array(tags, index=0)
    if way in GREY:
        pixels = _grey(values, tags, way, file, window)
    else:
        pixels = _coloured(values, tags, way, bits)
    picture = Image.fromarray(pixels).convert("RGB")
    return Dicom(picture, f"{bits}-bit {way}", frames, patient(tags))


def _coloured(values: Any, tags: Any, way: str, bits: int) -> Pixels:
    """The library has made RGB of the other colour spaces already."""
    if way == "PALETTE COLOR":
        from pydicom.pixels.processing import apply_color_lut

        values = apply_color_lut(values, tags)
        bits = 8 * values.dtype.itemsize
    return (
        np.round(np.asarray(values, np.float64) * (255 / (2**bits - 1))).clip(0, 255).astype("u1")
    )


def _grey(values: Any, tags: Any, way: str, file: str, window: str) -> Pixels:
    from pydicom.pixels.processing import apply_modality_lut, apply_voi

    measured = np.asarray(apply_modality_lut(values, tags), np.float64)
    if not np.isfinite(measured).all():
        raise Unreadable(file, "odd-values", "the pixels hold NaN or infinity")
    if "VOILUTSequence" in tags and window == FILE:
        measured = np.asarray(apply_voi(np.asarray(values), tags, index=0), np.float64)
        between = float(measured.min()), float(measured.max())
    else:
        between = ends(window, told_window(tags), lambda: measured, None)
    low, high = between
    return shown(-measured, (-high, -low)) if way == DARK else shown(measured, between)


def told_window(tags: Any) -> Ends | None:
    """What becomes black and white by the file's first window (PS3.3 C.11.2.1.2.1), if any."""
    centre, width = (_first(tags.get(name)) for name in ("WindowCenter", "WindowWidth"))
    if centre is None or width is None or width < 1:
        return None
    linear = str(tags.get("VOILUTFunction") or "LINEAR") == "LINEAR"
    if linear:
        return centre - 0.5 - (width - 1) / 2, centre - 0.5 + (width - 1) / 2
    return centre - width / 2, centre + width / 2


def _first(value: Any) -> float | None:
    if value is None or value == "":
        return None
    several = isinstance(value, Sequence) and not isinstance(value, str)
    return float(value[0] if several else value)
