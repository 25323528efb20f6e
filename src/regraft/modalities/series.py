"""A series: a folder of DICOM slices that is one example, as one run of bytes.

    MAGIC, then of each file, in the order of the names: its length (LENGTH) and its bytes

So whatever goes by an example's bytes (its SHA-256, the pass over files, thumbnails) goes by a
series too: its identity is that of all its slices.
"""

import os
import stat
import struct
from collections.abc import Iterator
from pathlib import Path

from regraft.errors import Unreadable

MAGIC = b"regraft series\0\n"
ENDINGS = ("dcm", "dicom")  # of the files that are slices
MOST_SLICES = 4096
LENGTH = struct.Struct("<Q")
PIECE = 2**20  # bytes


def slices_of(folder: str | Path) -> list[str]:
    """The files in a folder that are slices, in the order of their names. Raises OSError."""
    with os.scandir(folder) as entries:
        names = [
            entry.name
            for entry in entries
            if entry.is_file(follow_symlinks=False) and is_slice(entry.name)
        ]
    return [os.path.join(folder, name) for name in sorted(names)]


def is_slice(name: str) -> bool:
    """Whether a file is a DICOM file by its ending."""
    return os.path.splitext(name)[1].lower().lstrip(".") in ENDINGS and name[:1] != "."


def pieces(folder: str | Path, most: int) -> Iterator[bytes]:
    """The bytes of a series.

    most  bytes in all

    Raises OSError, and Unreadable (not-a-file, too-large) where the folder is no series.
    """
    names = slices_of(folder)
    if not names:
        raise Unreadable(str(folder), "not-a-file", "not a regular file, nor a folder of slices")
    if len(names) > MOST_SLICES:
        reason = f"{len(names):,} slices; more than {MOST_SLICES:,} are refused"
        raise Unreadable(str(folder), "too-large", reason)
    if (total := sum(os.stat(name).st_size for name in names)) > most:
        reason = f"{total:,} bytes in all; at most {most:,} are read"
        raise Unreadable(str(folder), "too-large", reason)
    yield MAGIC
    for name in names:
        yield from _file(name)


def _file(name: str) -> Iterator[bytes]:
    descriptor = os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        seen = os.fstat(descriptor)
        left = seen.st_size if stat.S_ISREG(seen.st_mode) else 0
        yield LENGTH.pack(left)
        while left and (piece := os.read(descriptor, min(left, PIECE))):
            left -= len(piece)
            yield piece
        if left:
            raise OSError(None, "a slice became shorter while it was read")
    finally:
        os.close(descriptor)


def is_series(data: bytes) -> bool:
    """Whether the bytes are those of a series."""
    return data.startswith(MAGIC)


def unpacked(data: bytes, file: str) -> list[memoryview]:
    """The slices of a series, without a copy. Raises Unreadable where it is cut off."""
    place, view = len(MAGIC), memoryview(data)
    found: list[memoryview] = []
    while place < len(data):
        if place + LENGTH.size > len(data):
            raise Unreadable(file, "truncated", "the series ends too early")
        (length,) = LENGTH.unpack_from(data, place)
        place += LENGTH.size
        if length > len(data) - place or len(found) >= MOST_SLICES:
            raise Unreadable(file, "truncated", "the series ends too early")
        found.append(view[place : place + length])
        place += length
    return found
