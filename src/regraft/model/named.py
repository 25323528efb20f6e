"""What a person names to be answered for: files, folders, globs, tables, videos, texts."""

import glob
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from regraft.data import folders
from regraft.data.dataset import Dataset
from regraft.data.inline import inline_text, inlined
from regraft.data.options import EXTENSIONS
from regraft.data.sheets import FORMATS
from regraft.data.sources import load
from regraft.errors import DataError, UsageError
from regraft.modalities import modality
from regraft.modalities.video import (
    ENDINGS,
    EVERY,
    WATCHING,
    is_video,
    moment_of,
    moments,
    watched,
)

LISTED = 20  # files that one message names
SHOWN = 3  # videos that one line names


def refuse_wrong_every(every: float) -> None:
    """Raise UsageError for what is no time between moments."""
    if not 0 < every < math.inf:
        raise UsageError(f"every: expected seconds above 0, got {every!r}")


def refuse_unwatched(named: Any, names: Sequence[str]) -> None:
    """Raise UsageError where a time between moments is set, and there is no video for it.

    named  by the user: a moment that is named by itself has no use for it
    names  of moments, and of videos that are not there: it is for these too
    """
    single = {one for one in _texts(named) if moment_of(one)}
    if any(name not in single and (moment_of(name) or is_video(name)) for name in names):
        return
    if single:
        raise UsageError(
            f"every: {min(single)} is one moment already; leave it out, or name the whole video"
        )
    raise UsageError("every: is for videos; none is named")


def _texts(named: Any) -> Iterator[str]:
    if isinstance(named, list | tuple):
        for one in named:
            yield from _texts(one)
    elif isinstance(named, str | os.PathLike):
        yield os.fsdecode(named)


def unwatched_in(source: str, kind: str) -> list[str]:
    """Videos in a folder, which are looked at only where a time between moments is set; in order.

    Of what is no folder, and for a modality that looks at none: none.
    """
    folder = os.path.expanduser(source)
    if kind not in WATCHING or not os.path.isdir(folder):
        return []
    whole = os.path.abspath(folder)
    return sorted(os.path.join(whole, name) for name in folders.names(Path(folder), ENDINGS))


def files(source: Any, kind: str, every: float | None = None) -> list[str]:
    """The files that a source names: as given, a folder's (recursively) or a glob's, in order.

    Where pictures are looked at, moments of a video in place of it, one `every` so many seconds;
    videos in a folder are left out where no such time is set, see `unwatched_in`.

    Raises DataError that names all sources without a file, UsageError for what names none.
    """
    if isinstance(source, list | tuple):
        return _files_of_all(source, kind, every)
    if isinstance(source, Dataset):
        text, found = "the dataset", source.table["path"].to_list()
    elif isinstance(source, str | os.PathLike):
        text = os.fsdecode(source)
        found = _found(os.path.expanduser(text), kind, every)
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


def _found(text: str, kind: str, every: float | None) -> list[str]:
    if inline_text(text) is not None:
        return [text]  # found before
    if kind in WATCHING and not os.path.exists(text) and (moment := moment_of(text)):
        return [text] if os.path.isfile(moment[0]) else []
    if kind in WATCHING and is_video(text) and os.path.isfile(text):
        return moments(text, every or EVERY)
    if os.path.isdir(text) and (clips := unwatched_in(text, kind)):
        return _with_clips(text, kind, clips, every)
    if os.path.isdir(text) or (os.path.isfile(text) and _is_table(text)):
        return list(load(text, modality=kind).table["path"])
    if os.path.exists(text):
        return [text]
    found = sorted(name for name in glob.glob(text, recursive=True) if os.path.isfile(name))
    if kind in WATCHING:
        seen = {name: watched(name, every or EVERY) for name in found if is_video(name)}
        found = [one for name in found for one in seen.get(name, [name])]
    if not found and modality(kind).sayable and not _is_file_name(text, kind):
        return [inlined(text)]
    return found


def _with_clips(folder: str, kind: str, clips: Sequence[str], every: float | None) -> list[str]:
    """The pictures of a folder, and the moments of its videos where a time between them is set."""
    pictures = list[str]()
    if any(folders.names(Path(folder), EXTENSIONS[kind])):
        pictures = [*load(folder, modality=kind).table["path"]]
    elif every is None:
        raise DataError(f"{folder}: holds only videos: {left_out(clips)}")
    if every is None:
        return pictures
    seen = {clip: watched(clip, every) for clip in clips}
    return [one for name in sorted([*pictures, *clips]) for one in seen.get(name, [name])]


def left_out(clips: Sequence[str]) -> str:
    """Videos in folders that are not looked at, and what to add, in one line."""
    names = ", ".join(clips[:SHOWN]) + (f" and {len(clips) - SHOWN} more" * (len(clips) > SHOWN))
    return f"{names}; add --every SECONDS (in Python every=) to look at moments of videos"


def _is_table(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in FORMATS


def _is_file_name(text: str, kind: str) -> bool:
    """Whether it ends as files do: then it is taken for one that is not there."""
    ending = os.path.splitext(text)[1].lower()
    return ending in FORMATS or ending[1:] in EXTENSIONS[kind]
