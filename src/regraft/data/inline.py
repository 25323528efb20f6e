"""Examples without a file of their own: their content stands in place of the path.

It is a data URL (RFC 2397), ``data:,How%20do%20I%20pay``, so that whatever goes by paths (the
table of a dataset, the pass over files, reports) goes by it too. It is made here and never taken
from a manifest's column of paths.
"""

import os
from pathlib import Path
from urllib.parse import quote, unquote_to_bytes

from regraft.modalities.base import MOST_BYTES
from regraft.modalities.series import pieces
from regraft.modalities.video import frame_bytes, moment_of

SCHEME = "data:,"


def inlined(text: str) -> str:
    """A text in place of a path."""
    return SCHEME + quote(text, safe=" ")


def inline_bytes(path: str | Path) -> bytes | None:
    """The content that stands in place of a path, UTF-8; None where it is the path of a file."""
    given = str(path)
    return unquote_to_bytes(given.removeprefix(SCHEME)) if given.startswith(SCHEME) else None


def inline_text(path: str) -> str | None:
    """As `inline_bytes`, as text."""
    found = inline_bytes(path)
    return None if found is None else found.decode()


def without_file(path: str | Path) -> bytes | None:
    """The bytes of an example that is no file of its own: a text in place of its path, or a moment
    of a video; None where it is a file or a folder. Raises OSError and Unreadable.
    """
    if (found := inline_bytes(path)) is not None:
        return found
    moment = moment_of(path)
    return None if moment is None or os.path.exists(path) else frame_bytes(*moment)


def contents(path: str | Path) -> bytes:
    """The bytes of an example, wherever they are.

    Raises OSError; Unreadable for a folder that is no series, and for a moment of no video.
    """
    if (found := without_file(path)) is not None:
        return found
    return b"".join(pieces(path, MOST_BYTES)) if Path(path).is_dir() else Path(path).read_bytes()
