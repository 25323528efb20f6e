"""The one check of every path that comes from a file: manifests, annotations, archives."""

import os
import re
from pathlib import Path

from regraft.errors import DataError

MAX_PART = 255  # bytes in one part of a path, which is what filesystems allow
MAX_NAME = 4096 - 1  # bytes in all

DRIVE = re.compile(r"[A-Za-z]:")


DOUBLE = ("nii.gz",)  # endings of two parts


def ending(name: str) -> str:
    """The lower-case ending of a file's name, without the dot; ``nii.gz`` is one."""
    plain = name.lower()
    double = next((e for e in DOUBLE if plain.endswith(f".{e}")), None)
    return double or os.path.splitext(plain)[1][1:]


def inside(root: Path, name: str) -> Path:
    """The path ``root / name``, checked to lie below `root` even after links are followed.

    `name` comes from a file and is not trusted: it is relative, its parts are separated by ``/``
    and may be in any script. The path need not exist; a link below the root may lead elsewhere
    below the root.

    Raises DataError, with the name and the reason, for what is not text, empty, too long,
    absolute, or has a drive letter, a backslash, a NUL character or a part ``..``, and where a
    link leads out of the root or cannot be followed.
    """
    if reason := _unfit(name) or _leads_out(root, name):
        raise DataError(f"{_shown(name)}: {reason}; expected the path of a file below {root}")
    return root / name


def _unfit(name: object) -> str | None:
    """Why the name alone is refused, None where it is not."""
    if not isinstance(name, str):
        return f"is a {type(name).__name__}, not text"
    parts = name.split("/")
    rules = (
        (not name.strip("./"), "names no file"),
        ("\0" in name, "has a NUL character"),
        ("\\" in name, r"has a backslash (\); write / between folders"),
        (name.startswith("/"), "is absolute"),
        (DRIVE.match(name), "starts with a drive letter"),
        (any(_climbs(part) for part in parts), "has a part that leads upwards"),
        (_too_long(name, parts), f"is too long (a part may have {MAX_PART} bytes)"),
    )
    return next((reason for broken, reason in rules if broken), None)


def _climbs(part: str) -> bool:
    """``..`` and what Windows takes for it, such as ``...`` and ``.. ``."""
    return part.count(".") >= 2 and not part.strip(". ")


def _too_long(name: str, parts: list[str]) -> bool:
    sizes = [len(part.encode(errors="surrogatepass")) for part in parts]
    return max(sizes) > MAX_PART or sum(sizes) + len(sizes) - 1 > MAX_NAME


def _leads_out(root: Path, name: str) -> str | None:
    try:
        real, home = _real(root / name), _real(root)
    except UnicodeEncodeError:
        return "has characters that no file name can have"
    except OSError as error:
        return f"cannot be followed ({error.strerror})"
    if not os.path.join(real, "").startswith(os.path.join(home, "")):
        return "leads out of the folder through a link"
    return None


def _real(path: Path) -> str:
    """`path` without links; what does not exist, at its end, stays as it is."""
    try:
        return os.path.realpath(path, strict=True)
    except FileNotFoundError:
        return os.path.realpath(path)


def _shown(name: object) -> str:
    text = repr(name)
    return text if len(text) <= 200 else f"{text[:200]}…"
