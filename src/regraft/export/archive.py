"""A sealed archive: named bytes in one file that proves to be whole and exactly as written.

It is a ZIP archive, so that any archive tool opens it, in the one form that `_frame` writes:
entries are stored as they are, without folders, compression, dates or links, sorted by name, the
manifest last; the archive's comment is ``regraft-sha256:`` and the SHA-256 of all bytes before
these 64 digits. The same content gives the same bytes.

The reader takes only names and sizes from the archive, builds the frame anew and asks for equality,
so nothing in it is left to interpretation: that is why these few lines are written here, and not
left to a library whose strength is lenience.
"""

import hashlib
import os
import re
import stat
import struct
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import NoReturn
from zlib import crc32

from regraft.errors import BundleError
from regraft.storage import write_atomically

MANIFEST = "manifest.json"

MAX_CONTENT = 4_000_000_000  # bytes of all entries; a plain ZIP archive ends at 4 GiB
MAX_ARCHIVE = MAX_CONTENT + 1_000_000
MAX_ENTRIES = 64  # the manifest among them
MAX_BYTES = {  # of one entry, by the ending of its name
    "json": 10_000_000,  # which Python reads into at most 0.6 GB
    "md": 64_000_000,
    "html": 64_000_000,
    "svg": 64_000_000,
    "safetensors": MAX_CONTENT,
}
ENDINGS = tuple(MAX_BYTES)

ENTRY_NAME = re.compile(rf"[A-Za-z0-9][A-Za-z0-9_-]{{0,62}}\.({'|'.join(ENDINGS)})")
NAME_FORM = "up to 63 characters out of A-Z a-z 0-9 _ - and the ending"

# PKWARE's APPNOTE.TXT, 4.3.7 (local header), 4.3.12 (central directory) and 4.3.16 (end).
LOCAL, CENTRAL, END = b"PK\x03\x04", b"PK\x01\x02\x14\x03", b"PK\x05\x06"
SHARED = struct.Struct("<5H3L2H")  # version, flags, method, time, date; CRC-32, sizes; lengths
CENTRAL_TAIL = struct.Struct("<3H2L")  # comment length, disk, inner and outer attributes, start
END_TAIL = struct.Struct("<4H2LH")  # disks, counts; size, start of directory; comment length
LOCAL_SIZE = len(LOCAL) + SHARED.size
CENTRAL_SIZE = len(CENTRAL) + SHARED.size + CENTRAL_TAIL.size
ZIP_2_0, STORED, FIRST_DAY, PLAIN_FILE = 20, 0, 1 << 5 | 1, 0o100644 << 16

SEAL, SEAL_DIGITS = b"regraft-sha256:", 64
END_SIZE = len(END) + END_TAIL.size + len(SEAL) + SEAL_DIGITS

NOT_PLAIN = (
    "is no plain archive: Regraft writes each entry once, stored as it is, one after the other, "
    "with no links, folders, comments, dates or gaps"
)
FETCH_AGAIN = "fetch the file again, or save the model again"


def write_archive(path: Path, payloads: Mapping[str, bytes]) -> str:
    """Write the entries as one sealed file; returns the SHA-256 of the file.

    Names and sizes are the caller's to check, by `unfit_entry`. Raises StorageError.
    """
    whole = hashlib.sha256()
    write_atomically(path, _sealed(payloads, whole))
    return whole.hexdigest()


def read_archive(path: Path) -> tuple[dict[str, bytes], str]:
    """The entries of a sealed file, and the SHA-256 of the file. Raises BundleError."""
    data = read_file(path, MAX_ARCHIVE)
    sha256 = _check_seal(path, data)
    return _unpacked(path, data), sha256


def refuse(path: Path, reason: str, way_out: str = FETCH_AGAIN) -> NoReturn:
    raise BundleError(f"{path}: {reason}; {way_out}")


def read_file(path: Path, limit: int) -> bytes:
    """The content of a regular file; a pipe or a device is refused without waiting for it."""

    def open_at_once(name: str, flags: int) -> int:
        return os.open(name, flags | getattr(os, "O_NONBLOCK", 0))

    try:
        with open(path, "rb", opener=open_at_once) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                refuse(path, "is not a regular file", "name a file")
            if status.st_size > limit:
                refuse(path, f"has {status.st_size:,} bytes; at most {limit:,} are expected")
            return file.read(status.st_size)
    except OSError as error:
        refuse(path, f"cannot be read: {error.strerror}", "check its path and its permissions")


def _frame(payloads: Mapping[str, bytes]) -> Iterator[bytes]:
    """All bytes before the digits of the seal, piece by piece: the definition of the format."""
    position, directory = 0, b""
    for name in sorted(payloads, key=lambda name: (name == MANIFEST, name)):
        payload, size = payloads[name], len(payloads[name])
        sizes = (crc32(payload), size, size, len(name), 0)
        shared = SHARED.pack(ZIP_2_0, 0, STORED, 0, FIRST_DAY, *sizes)
        directory += CENTRAL + shared + CENTRAL_TAIL.pack(0, 0, 0, PLAIN_FILE, position)
        directory += name.encode("ascii")
        yield LOCAL + shared + name.encode("ascii")
        yield payload
        position += LOCAL_SIZE + len(name) + size
    count, comment = len(payloads), len(SEAL) + SEAL_DIGITS
    yield directory
    yield END + END_TAIL.pack(0, 0, count, count, len(directory), position, comment) + SEAL


def _sealed(payloads: Mapping[str, bytes], whole: "hashlib._Hash") -> Iterator[bytes]:
    """The whole file; `whole` has seen all of it when the iterator ends."""
    for piece in _frame(payloads):
        whole.update(piece)
        yield piece
    digits = whole.hexdigest().encode()
    whole.update(digits)
    yield digits


def _check_seal(path: Path, data: bytes) -> str:
    """The SHA-256 of the whole file, whose last 64 characters are that of the rest."""
    if not data:
        refuse(path, "is empty")
    if not data.startswith(LOCAL):
        refuse(path, "is not a bundle", "name a file that Regraft saved")
    if len(data) < END_SIZE or not data.endswith(SEAL, 0, len(data) - SEAL_DIGITS):
        refuse(path, "does not end in a seal: it is cut off, or Regraft did not write it")
    digits = data[-SEAL_DIGITS:]
    digest = hashlib.sha256(memoryview(data)[:-SEAL_DIGITS])
    if digits != digest.hexdigest().encode():
        refuse(path, "its content does not match the SHA-256 in its seal: it is damaged")
    digest.update(digits)
    return digest.hexdigest()


def _unpacked(path: Path, data: bytes) -> dict[str, bytes]:
    """The entries, by names and sizes from the directory, once the frame proves to be ours."""
    _, _, count, _, _, directory, _ = END_TAIL.unpack_from(data, len(data) - END_SIZE + len(END))
    if count > MAX_ENTRIES:
        refuse(path, f"has {count} entries; at most {MAX_ENTRIES} are expected")
    payloads: dict[str, bytes] = {}
    position = 0
    for _ in range(count):
        name, size = _directory_row(path, data, directory)
        directory += CENTRAL_SIZE + len(name)
        position += LOCAL_SIZE + len(name)
        payloads[name] = data[position : position + size]
        position += size
    if not _is_framed(data, payloads):
        refuse(path, NOT_PLAIN)
    return payloads


def _directory_row(path: Path, data: bytes, position: int) -> tuple[str, int]:
    """Name and size in bytes of the entry whose row of the directory starts at a position."""
    row = data[position : position + CENTRAL_SIZE]
    if len(row) < CENTRAL_SIZE or not row.startswith(CENTRAL):
        refuse(path, NOT_PLAIN)
    *_, size, length, _ = SHARED.unpack_from(row, len(CENTRAL))
    position += CENTRAL_SIZE
    name = data[position : position + length].decode("latin-1")
    if reason := unfit_entry(name, size):
        refuse(path, f"entry {name!r:.80}: {reason}")
    return name, size


def unfit_entry(name: str, size: int, endings: Collection[str] = ENDINGS) -> str | None:
    """Why no entry has such a name or size, None where it may."""
    match = ENTRY_NAME.fullmatch(name)
    if not match or match[1] not in endings:
        return f"is no name of an entry; expected {NAME_FORM} {', '.join(endings)}"
    if size > (limit := MAX_BYTES[match[1]]):
        return f"has {size:,} bytes; at most {limit:,} are expected"
    return None


def _is_framed(data: bytes, payloads: Mapping[str, bytes]) -> bool:
    """Whether `data` is, up to the digits, what `_frame` makes of the entries."""
    position = 0
    for piece in _frame(payloads):
        if not data.startswith(piece, position):
            return False
        position += len(piece)
    return position == len(data) - SEAL_DIGITS
