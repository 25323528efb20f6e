"""Writing files so that a kill, a full disk or a power cut leaves the old content or the new."""

import errno
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from regraft.errors import StorageError

WAY_OUT = {
    errno.ENOSPC: "free some space or choose another place",
    errno.EDQUOT: "your quota is used up: free some space or choose another place",
    errno.EFBIG: "this filesystem, or the limit that `ulimit -f` shows, allows no file so large",
    errno.EROFS: "choose another place, on a filesystem that can be written",
    errno.EACCES: "ask for write access to its folder or choose another place",
    errno.EPERM: "ask for write access to its folder or choose another place",
    errno.ENOENT: "create its folder first",
    errno.ENOTDIR: "what is named as its folder is a file: choose another place",
    errno.EISDIR: "it is a folder: name a file",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EMFILE: "too many files are open in this program: raise the limit that `ulimit -n` shows",
    errno.EIO: "the disk reports a fault: choose another disk",
}

CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)

UNCHANGED = "any previous file is unchanged"

# What a filesystem answers that has no way to sync a folder; nothing more can be done there.
NO_FOLDER_SYNC = (errno.EINVAL, errno.ENOTSUP)


def write_atomically(path: Path, chunks: Iterable[bytes] | bytes) -> None:
    """Put `chunks`, one after the other, at `path`; others see the old content or the new.

    A temporary file beside it (``.<name>.<random>.tmp``) is written and synced, takes the place of
    `path` by a rename, and then the folder is synced. A link at `path` is replaced, not followed.
    A kill can leave the temporary file behind; nothing ever reads it, and it may be deleted.

    Raises StorageError where the disk is full, the folder is missing or may not be written ...;
    what `chunks` raises goes through. Either way no temporary file stays and the previous file is
    as it was, unless the message says that only the last step, the sync of the folder, failed.
    """
    temporary = path.parent / f".{path.name[:40]}.{secrets.token_hex(8)}.tmp"
    with _opened_folder(path) as folder:
        try:
            _write_synced(path, temporary, chunks)
            with _named(path, UNCHANGED):
                os.replace(temporary, path)
        except BaseException:  # Ctrl-C as well: no temporary file stays
            with suppress(OSError):
                temporary.unlink()
            raise
        with _named(path, "the new file is in place, but a power cut could still undo it"):
            _sync_folder(folder)


def _write_synced(path: Path, temporary: Path, chunks: Iterable[bytes] | bytes) -> None:
    """Write and sync the temporary file; an error while a chunk is made is not a storage error."""
    with _named(path, UNCHANGED):
        descriptor = os.open(temporary, CREATE, 0o666)
    try:
        for chunk in [chunks] if isinstance(chunks, bytes) else chunks:
            with _named(path, UNCHANGED):
                _write_all(descriptor, chunk)
        with _named(path, UNCHANGED):
            os.fsync(descriptor)
    finally:
        with _named(path, UNCHANGED):  # some network filesystems tell only here that they are full
            os.close(descriptor)


def _write_all(descriptor: int, chunk: bytes) -> None:
    rest = memoryview(chunk)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


@contextmanager
def _named(path: Path, state: str) -> Iterator[None]:
    """Turn the system's error into one that names the file, what is now there, and the way out."""
    try:
        yield
    except OSError as error:
        way_out = WAY_OUT.get(error.errno or 0, "choose another place")
        raise StorageError(
            f"{path}: cannot be written: {error.strerror or error}; {way_out}; {state}"
        ) from error


@contextmanager
def _opened_folder(path: Path) -> Iterator[int | None]:
    """The folder of `path`, opened before anything is written so that a bad one fails first."""
    if not hasattr(os, "O_DIRECTORY"):  # Windows syncs no folders
        yield None
        return
    with _named(path, "nothing was written"):
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield folder
    finally:
        os.close(folder)


def _sync_folder(folder: int | None) -> None:
    if folder is None:
        return
    try:
        os.fsync(folder)
    except OSError as error:
        if error.errno not in NO_FOLDER_SYNC:
            raise
