"""Folders of this machine for whoever chooses one, and where results may go.

Only names of folders are told, and how many files lie beside them; no file is opened. A path comes
from the page and is checked as any other input.
"""

import os
from pathlib import Path
from typing import Any

from regraft.errors import UsageError

LISTED = 1000  # folders of one list
COUNTED = 100_000  # entries of a folder that are looked at
LONGEST = 4096 - 1  # bytes of a path


def folder_of(given: object, what: str = "folder") -> Path:
    """The folder that a path names, links followed. Raises UsageError."""
    path = absolute(given, what)
    try:
        real = path.resolve(strict=True)
    except FileNotFoundError:
        raise UsageError(f"{what}: {path} does not exist") from None
    except (OSError, RuntimeError) as error:
        raise UsageError(f"{what}: {path} cannot be opened: {_reason(error)}") from None
    if not real.is_dir():
        raise UsageError(f"{what}: {path} is a file; choose the folder that it is in")
    return real


def absolute(given: object, what: str) -> Path:
    """A path as it was given, ``~`` replaced. Raises UsageError for what is no absolute path."""
    if not isinstance(given, str) or not given.strip():
        raise UsageError(f"{what}: expected a path")
    try:
        size = len(os.fsencode(given))
    except UnicodeEncodeError:
        raise UsageError(f"{what}: has characters that no file name can have") from None
    if "\0" in given or size > LONGEST:
        raise UsageError(f"{what}: no path is so long or has a NUL character")
    try:
        path = Path(given.strip()).expanduser()
    except RuntimeError:
        raise UsageError(f"{what}: there is no such user: {given[:80]!r}") from None
    if not path.is_absolute():
        raise UsageError(f"{what}: expected a whole path that begins with /, got {given[:80]!r}")
    return path


def listing(folder: Path) -> dict[str, Any]:
    """The folders in a folder, by name, without hidden ones. Raises UsageError.

    files  how many files lie beside them
    left   folders that are not listed because there are too many
    """
    names, files = [], 0
    try:
        with os.scandir(folder) as entries:
            for _, entry in zip(range(COUNTED), entries, strict=False):
                if entry.name.startswith("."):
                    continue
                if _is_folder(entry):
                    names.append(entry.name)
                else:
                    files += 1
    except OSError as error:
        raise UsageError(f"folder: {folder} cannot be opened: {_reason(error)}") from None
    names.sort(key=lambda name: (name.casefold(), name))
    up = None if folder.parent == folder else _text(folder.parent)
    shown = [{"name": _text(name), "path": _text(folder / name)} for name in names[:LISTED]]
    left = len(names) - len(shown)
    return {"at": _text(folder), "up": up, "folders": shown, "left": left, "files": files}


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _text(path: object) -> str:
    """For JSON: bytes that are no UTF-8 are replaced, and such a folder is not found again."""
    return os.fsencode(str(path)).decode("utf-8", "replace")


def _reason(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error)).lower()


def proposed(results: Path, source: Path) -> Path:
    """A new folder for what comes of a source: ``NAME.out``, or with a number."""
    name = source.name or "regraft"
    place, number = results / f"{name}.out", 1
    while place.exists():
        number += 1
        place = results / f"{name}-{number}.out"
    return place


def output(given: object, source: Path) -> Path:
    """Where results may be written: a new or empty folder outside the data. Raises UsageError."""
    path = absolute(given, "results")
    try:
        real = path.resolve()
        taken = real.exists() and (not real.is_dir() or any(real.iterdir()))
    except (OSError, RuntimeError) as error:
        raise UsageError(f"results: {path} cannot be used: {_reason(error)}") from None
    if real == source or real.is_relative_to(source):
        raise UsageError(
            f"results: {path} is inside the data folder, which is only read; name another place"
        )
    if taken:
        raise UsageError(f"results: {path} is there already; name a new folder")
    return real
