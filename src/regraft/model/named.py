"""What a person names to be answered for: files, folders, globs, tables, videos, texts."""

import glob
import math
import os
from collections.abc import Sequence
from typing import Any

from regraft.data.dataset import Dataset
from regraft.data.inline import inline_text, inlined
from regraft.data.options import EXTENSIONS
from regraft.data.sheets import FORMATS
from regraft.data.sources import load
from regraft.errors import DataError, UsageError
from regraft.modalities import modality
from regraft.modalities.video import EVERY, WATCHING, is_video, moment_of, moments

LISTED = 20  # files that one message names


def refuse_wrong_every(every: float) -> None:
    """Raise UsageError for what is no time between moments."""
    if not 0 < every < math.inf:
        raise UsageError(f"every: expected seconds above 0, got {every!r}")


def refuse_unwatched(names: Sequence[str]) -> None:
    """Raise UsageError where a time between moments is set, and there is no video.

    names  of moments, and of videos that are not there: it is for these too
    """
    if not any(moment_of(name) or is_video(name) for name in names):
        raise UsageError("every: is for videos; none is named")


def files(source: Any, kind: str, every: float | None = None) -> list[str]:
    """The files that a source names: as given, a folder's (recursively) or a glob's, in order.

    Where pictures are looked at, moments of a video in place of it, one `every` so many seconds.

    Raises DataError that names all sources without a file, UsageError for what names none.
    """
    if isinstance(source, list | tuple):
        return _files_of_all(source, kind, every)
    if isinstance(source, Dataset):
        text, found = "the dataset", source.table["path"].to_list()
    elif isinstance(source, str | os.PathLike):
        text = os.fsdecode(source)
        found = _found(os.path.expanduser(text), kind, every or EVERY)
    else:
        raise UsageError(
            "source: expected a file, a folder, a glob, a list of these, a Dataset, bytes or a PIL "
            f"picture, got {type(source).__name__}"
        )
    if not found:
        raise DataError(f"{text}: no such file, folder or pattern, or nothing readable in it")
    return found


def _files_of_all(sources: Sequence[Any], kind: str, every: float | None) -> list[str]:
    found, wrong = [], []
    for one in sources:
        try:
            found += files(one, kind, every)
        except DataError as error:
            wrong.append(str(error))
    if wrong:
        more = [f"and {len(wrong) - LISTED} more"] if len(wrong) > LISTED else []
        raise DataError("\n".join([*wrong[:LISTED], *more]))
    if not found:
        raise DataError("source: the list is empty; expected files, folders or globs")
    return found


def _found(text: str, kind: str, every: float) -> list[str]:
    if inline_text(text) is not None:
        return [text]  # found before
    if kind in WATCHING and not os.path.exists(text) and (moment := moment_of(text)):
        return [text] if os.path.isfile(moment[0]) else []
    if kind in WATCHING and is_video(text) and os.path.isfile(text):
        return moments(text, every)
    if os.path.isdir(text) or (os.path.isfile(text) and _is_table(text)):
        return list(load(text, modality=kind).table["path"])
    if os.path.exists(text):
        return [text]
    found = sorted(name for name in glob.glob(text, recursive=True) if os.path.isfile(name))
    if kind in WATCHING:
        found = [
            one for name in found for one in (moments(name, every) if is_video(name) else [name])
        ]
    if not found and modality(kind).sayable and not _is_file_name(text, kind):
        return [inlined(text)]
    return found


def _is_table(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in FORMATS


def _is_file_name(text: str, kind: str) -> bool:
    """Whether it ends as files do: then it is taken for one that is not there."""
    ending = os.path.splitext(text)[1].lower()
    return ending in FORMATS or ending[1:] in EXTENSIONS[kind]
