"""Videos: a moment of one stands in place of a picture, by name ``clip.mp4#t=12.4``.

The name is that of the W3C's Media Fragments: seconds from the beginning. What is seen there is the
frame that a player shows at that moment, upright, as a BMP. PyAV (FFmpeg) decodes.
"""

import io
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from math import ceil
from pathlib import Path
from typing import Any

from regraft.errors import DataError, MissingExtra, Unreadable

ENDINGS = frozenset({"mp4", "m4v", "mov", "mkv", "webm", "avi", "mpg", "mpeg", "mts", "wmv"})
WATCHING = frozenset({"image"})  # modalities whose models look at videos
EVERY = 1.0  # seconds between moments, where nobody says so
MOST_MOMENTS = 100_000  # of one video
NAME = re.compile(r"(?P<file>.+)#t=(?P<seconds>\d+(\.\d+)?)")
NEAR = 6e-4  # seconds: names of moments tell thousandths
MOST_ASPECT = 4.0  # of a pixel; anamorphic films have 4/3, broadcasts 64/45
QUARTER = 90  # degrees; other turns are no player's either

_open = threading.local()  # .reader: a thread goes through a video in order, and opens it once


def is_video(path: str | os.PathLike[str]) -> bool:
    """Whether a file's name ends as those of videos do."""
    return os.path.splitext(path)[1].lower().lstrip(".") in ENDINGS


def moment_of(path: str | os.PathLike[str]) -> tuple[str, float] | None:
    """The video and the seconds that a name tells; None where it is another name."""
    found = NAME.fullmatch(os.fspath(path))
    if found is None or not is_video(found["file"]):
        return None
    return found["file"], float(found["seconds"])


def moments(path: str, every: float) -> list[str]:
    """Names of a moment every so many seconds of a video, from its first frame on.

    Raises DataError where it is no video, or has too many; MissingExtra.
    """
    return _moments(path, _seconds(path), every)


def watched(path: str, every: float) -> list[str]:
    """As `moments`, of a file that was not named by itself: what is no video has one moment, at its
    beginning, whose answer tells why it cannot be seen.
    """
    try:
        seconds = _seconds(path)
    except DataError:
        return [f"{path}#t=0"]
    return _moments(path, seconds, every)


def _seconds(path: str) -> float:
    with _opened(path) as (container, stream):
        return _duration(container, stream)


def _moments(path: str, seconds: float, every: float) -> list[str]:
    count = max(1, ceil(seconds / every - 1e-6))  # the end itself shows nothing more
    if count > MOST_MOMENTS:
        raise DataError(
            f"{path}: {count:,} moments, one every {every:g} s; at most {MOST_MOMENTS:,} can be "
            "looked at; choose a longer time between them"
        )
    return [f"{path}#t={_told(i * every)}" for i in range(count)]


def _told(seconds: float) -> str:
    """Milliseconds and all, however late: `g` would round what comes after a thousand seconds."""
    return f"{seconds:.3f}".rstrip("0").rstrip(".")


def plain_name(path: str) -> str:
    """A name for a file about an example, without its ending: ``clip-12.4s``."""
    if (moment := moment_of(path)) is None:
        return Path(path).stem
    return f"{Path(moment[0]).stem}-{_told(moment[1])}s"


def frame_bytes(file: str, seconds: float) -> bytes:
    """The frame of a moment as BMP. Raises Unreadable, OSError."""
    reader = getattr(_open, "reader", None)
    seen = os.stat(file)
    key = (file, seen.st_size, seen.st_mtime_ns)
    if reader is None or reader.key != key:
        if reader is not None:
            reader.close()
        _open.reader = reader = None  # what follows may fail
        reader = _open.reader = _Reader(file, key)
    try:
        return reader.at(seconds)
    except BaseException:
        reader.close()
        _open.reader = None
        raise


class _Reader:
    """An open video and its last two frames; forwards it goes on decoding, backwards it seeks."""

    def __init__(self, file: str, key: Any) -> None:
        self.file, self.key = file, key
        self._opening = _opened(file)
        try:
            self._container, self._stream = self._opening.__enter__()
        except DataError as error:
            raise Unreadable(file, "not-a-video", str(error).removeprefix(f"{file}: ")) from None
        self._lasts = _duration(self._container, self._stream)
        self._frames = self._decoded()
        self._shown: Any = None
        self._next: Any = next(self._frames, None)

    def close(self) -> None:
        with suppress(Exception):  # FFmpeg's own, of a file that could not be read
            self._opening.__exit__(None, None, None)

    def at(self, seconds: float) -> bytes:
        import av

        try:
            return _bmp(self._frame(seconds), self._aspect())
        except av.error.FFmpegError as error:  # of going back, and of colours that are unknown
            reason = f"no frame can be had there ({error.strerror})"
            raise Unreadable(self.file, "damaged", reason) from None

    def _frame(self, seconds: float) -> Any:
        if seconds > self._lasts + NEAR:
            raise Unreadable(self.file, "past-end", f"the video lasts {self._lasts:.3g} s only")
        if self._shown is not None and self._time(self._shown) > seconds:
            self._rewind(seconds)
        while self._next is not None and (
            self._shown is None or self._time(self._next) <= seconds + NEAR
        ):
            self._shown, self._next = self._next, next(self._frames, None)
        if self._shown is None:
            raise Unreadable(self.file, "damaged", "no frame of the video can be decoded")
        return self._shown

    def _aspect(self) -> float:
        """Width of a pixel as it is shown, in its heights; 1 where nothing or nonsense is told."""
        told = float(self._stream.sample_aspect_ratio or 1)
        return told if 1 / MOST_ASPECT <= told <= MOST_ASPECT else 1.0

    def _rewind(self, seconds: float) -> None:
        base = self._stream.time_base
        start = self._stream.start_time or 0
        self._container.seek(start + int(seconds / base), stream=self._stream, backward=True)
        self._frames = self._decoded()
        self._shown, self._next = None, next(self._frames, None)

    def _decoded(self) -> Iterator[Any]:
        import av

        try:
            yield from self._container.decode(self._stream)
        except av.error.FFmpegError:
            return  # cut off: what came before is there

    def _time(self, frame: Any) -> float:
        """Seconds from the first frame on."""
        start = self._stream.start_time or 0
        return float(((frame.pts or 0) - start) * self._stream.time_base)


@contextmanager
def _opened(path: str) -> Iterator[tuple[Any, Any]]:
    """The container and its first stream of pictures. Raises DataError, MissingExtra."""
    try:
        import av
    except ImportError:
        raise MissingExtra("PyAV, which reads videos,", "video") from None
    try:
        container = av.open(path, mode="r", metadata_errors="replace")
    except (av.error.FFmpegError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{path}: it is no video that can be read ({reason})") from None
    with container:
        if not container.streams.video:
            raise DataError(f"{path}: there are no pictures in it, only sound")
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        yield container, stream


def _duration(container: Any, stream: Any) -> float:
    """Seconds; of a file that does not tell, by the times of its packets."""
    import av

    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    if container.duration is not None:
        return float(container.duration / av.time_base)
    times = [p.pts for p in container.demux(stream) if p.pts is not None]
    return float((max(times) - min(times)) * stream.time_base) if times else 0.0


def _bmp(frame: Any, aspect: float) -> bytes:
    """Upright, with square pixels: what is stored too narrow becomes wider, else higher."""
    out = io.BytesIO()
    picture = frame.to_image()
    if aspect != 1:
        width, height = picture.size
        picture = picture.resize((round(width * max(aspect, 1)), round(height / min(aspect, 1))))
    turn = round(getattr(frame, "rotation", 0) or 0) % 360
    if turn and turn % QUARTER == 0:
        picture = picture.rotate(turn, expand=True)
    picture.save(out, "BMP")
    return out.getvalue()
