"""The cache of weights: its folder, its locks, and the pins of hub repositories.

Folder: ``$REGRAFT_CACHE``, else the user's cache folder of the system. ``REGRAFT_OFFLINE=1`` (or
``HF_HUB_OFFLINE=1``): nothing is downloaded.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from regraft.errors import BackboneError, StorageError
from regraft.storage import write_atomically

YES = {"1", "true", "yes", "on"}


def offline_mode() -> bool:
    """Whether the environment forbids downloads."""
    return any(
        os.environ.get(name, "").lower() in YES for name in ("REGRAFT_OFFLINE", "HF_HUB_OFFLINE")
    )


def cache_root() -> Path:
    """Where converted weights and pins are kept; may not exist yet."""
    from platformdirs import user_cache_path

    return Path(os.environ.get("REGRAFT_CACHE") or user_cache_path("regraft")).expanduser()


def cache_folder(name: str = "") -> Path:
    """The cache or a folder in it, made when missing. Raises StorageError."""
    folder = cache_root() / name
    with _cache_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def _cache_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"{path}: the cache cannot be written ({error.strerror or error}); "
            "set REGRAFT_CACHE to a folder that can"
        ) from error


def pins() -> dict[str, Any]:
    """``pins.json``: by repository, its commit and the SHA-256 of its files.

    Raises BackboneError where the file is damaged.
    """
    path = cache_root() / "pins.json"
    try:
        record = json.loads(path.read_bytes()) if path.is_file() else {}
    except ValueError as error:
        raise BackboneError(
            f"{path}: not JSON any more ({error}); mend it, or delete it to resolve all hub "
            "revisions anew"
        ) from error
    return dict(record)


@contextmanager
def pins_for_change() -> Iterator[dict[str, Any]]:
    """The pins under a lock between processes; written when they changed and nothing was raised."""
    path = cache_folder() / "pins.json"
    with locked(path):
        record = pins()
        before = json.dumps(record)
        yield record
        if json.dumps(record) != before:
            write_atomically(path, json.dumps(record, indent=1, sort_keys=True).encode())


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """One process at a time; a killed one frees the lock. Raises StorageError."""
    from filelock import FileLock

    lock = FileLock(path.with_name(f"{path.name}.lock"))
    with _cache_errors(path):
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def file_hash(path: Path) -> str:
    """SHA-256 of a file, hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
