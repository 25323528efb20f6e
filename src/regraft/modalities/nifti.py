"""NIfTI files (.nii, .nii.gz) as volumes, through nibabel; never unpacked beyond the bounds."""

import zlib
from typing import Any

import numpy as np

from regraft.errors import MissingExtra, Unreadable
from regraft.modalities.volumes import Volume, canonical, refuse_many, refuse_odd
from regraft.modalities.windows import Ends

GZIP = b"\x1f\x8b"
HEADERS = {348: "Nifti1Header", 540: "Nifti2Header"}  # sizeof_hdr → class of nibabel
MAGIC = {348: (344, (b"n+1\0", b"ni1\0")), 540: (4, (b"n+2\0", b"ni2\0"))}
HEAD = 1024  # bytes that hold any header
MOST_OFFSET = 16 * 2**20  # bytes before the voxels: the header and its extensions
NUMBERS = "iuf"  # kinds of voxels that are read: not complex, not colours


def is_nifti(data: bytes) -> bool:
    """Whether the bytes, or what is packed in them, begin as NIfTI files do."""
    head = _unpacked(data, HEAD)
    return any(head[at : at + 4] in magics for at, magics in MAGIC.values())


def read(data: bytes, file: str, window: str) -> tuple[Volume, int, str]:
    """Bytes → volume, how many of them the file holds in time, and how a voxel is stored.

    Raises Unreadable naming `file`, MissingExtra without nibabel; nearly anything on damaged bytes.
    """
    header = _header(_unpacked(data, HEAD), file)
    shape = tuple(int(n) for n in header.get_data_shape())
    if not 2 <= len(shape) <= 5:
        raise Unreadable(file, "unsupported", f"{len(shape)} axes; expected 3")
    if min(shape) < 1:
        raise Unreadable(file, "damaged", f"its sides are {shape}; expected 1 or more")
    dtype = header.get_data_dtype()
    if dtype.kind not in NUMBERS:
        reason = f"its voxels are {header['datatype']} ({dtype}); expected plain numbers"
        raise Unreadable(file, "unsupported", reason)
    refuse_many(shape[:3], dtype.itemsize, file)
    values = _values(data, header, shape, dtype, file)
    refuse_odd(values, file)
    slope, intercept = (
        default if told is None else float(told)
        for told, default in zip(header.get_slope_inter(), (1.0, 0.0), strict=True)
    )
    if not np.isfinite([slope, intercept]).all():
        raise Unreadable(file, "odd-values", "its scale is no number")
    turned, spacing = canonical(values, np.asarray(header.get_best_affine(), np.float64), file)
    volume = Volume(turned, (slope, intercept), spacing, _told(header), window)
    return volume, int(np.prod(shape[3:])), str(dtype)


def _header(head: bytes, file: str) -> Any:
    try:
        import nibabel
    except ImportError:
        raise MissingExtra("nibabel", "medical") from None
    for size, (at, magics) in MAGIC.items():
        if head[at : at + 4] == magics[1]:
            reason = "a pair of files (.hdr, .img); save it as one file (.nii)"
            raise Unreadable(file, "unsupported", reason)
        if head[at : at + 4] == magics[0]:
            if len(head) < size:
                raise Unreadable(file, "truncated", "the file ends within its header")
            return getattr(nibabel, HEADERS[size])(head[:size], check=True)
    raise Unreadable(file, "not-a-volume", f"not a volume in a known format ({head[:8]!r})")


def _values(data: bytes, header: Any, shape: tuple[int, ...], dtype: Any, file: str) -> Any:
    """(x, y, z), the first in time."""
    space = shape[:3] + (1,) * (3 - len(shape))
    offset, count = int(header.get_data_offset()), int(np.prod(space))
    needed = offset + count * dtype.itemsize
    if not 0 <= offset <= MOST_OFFSET:
        raise Unreadable(file, "damaged", f"its voxels would begin at byte {offset:,}")
    plain = _unpacked(data, needed)
    if len(plain) < needed:
        reason = f"the file ends too early: {len(plain):,} of {needed:,} bytes"
        raise Unreadable(file, "truncated", reason)
    return np.frombuffer(plain, dtype, count, offset).reshape(space, order="F")


def _unpacked(data: bytes, most: int) -> bytes:
    """At most so many bytes, of packed ones what they hold; fewer where they end or are damaged."""
    if not data.startswith(GZIP):
        return data if len(data) <= most else data[:most]
    found, left, rest = [], most, data
    while rest.startswith(GZIP) and left > 0:  # a file may have several members
        reader = zlib.decompressobj(31)
        try:
            found.append(reader.decompress(rest, left))
        except zlib.error:
            break
        left, rest = left - len(found[-1]), reader.unused_data
    return found[0] if len(found) == 1 else b"".join(found)


def _told(header: Any) -> Ends | None:
    """What the file says is black and white, if it does."""
    low, high = float(header["cal_min"]), float(header["cal_max"])
    return (low, high) if np.isfinite([low, high]).all() and high > low else None
