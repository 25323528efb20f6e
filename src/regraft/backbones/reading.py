"""Reading the user's files: several at once, in order, and nothing that may never end."""

import hashlib
import os
import stat
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import TypeVar

from regraft.backbones.runtimes import lanes
from regraft.backbones.store import Verdict
from regraft.data.inline import inline_bytes, without_file
from regraft.errors import Unreadable
from regraft.modalities.base import MOST_BYTES
from regraft.modalities.series import pieces
from regraft.progress import Progress, Quiet

PIECE = 2**20  # bytes
AHEAD = 4  # handfuls a worker that may wait for the one before them
HANDFUL_SECONDS, HANDFUL_MOST = 0.1, 64  # a handful of jobs: its time, and their number

Job = TypeVar("Job")
Result = TypeVar("Result")


def in_parallel(
    work: Callable[[Sequence[Job]], list[Result]],
    jobs: Sequence[Job],
    seconds: float = HANDFUL_SECONDS,
    most: int = HANDFUL_MOST,
) -> Generator[Result, None, None]:
    """Results in the order of the jobs, which `work` gets in handfuls of about so many seconds.

    most  jobs of a handful

    Closing it waits only for the handfuls that are worked on.
    """
    workers = lanes() + 2  # more than cores: somebody always waits for the disk or the engine
    pool, begun, size = ThreadPoolExecutor(workers), 0, 1
    ahead: deque[Future[tuple[list[Result], float]]] = deque()
    try:
        while ahead or begun < len(jobs):
            while begun < len(jobs) and len(ahead) < AHEAD * workers:
                fair = (len(jobs) - begun) // (2 * workers)  # towards the end nobody is left alone
                handful = jobs[begun : begun + max(1, min(size, fair))]
                ahead.append(pool.submit(_timed, work, handful))
                begun += len(handful)
            results, spent = ahead.popleft().result()
            size = min(most, int(seconds * len(results) / max(spent, 1e-6)))
            yield from results
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _timed(
    work: Callable[[Sequence[Job]], list[Result]], handful: Sequence[Job]
) -> tuple[list[Result], float]:
    start = time.perf_counter()
    return work(handful), time.perf_counter() - start


def file_sha(path: Path) -> str | Verdict:
    """SHA-256 (hex) of a file's bytes, or why it cannot be read."""
    digest = hashlib.sha256()
    refused = _read(path, digest.update)
    return digest.hexdigest() if refused is None else refused


def hash_files(
    files: Sequence[str | Path], progress: Progress | None = None
) -> list[str | Verdict]:
    """SHA-256 (hex) of each file's bytes, or why it cannot be read."""
    out = []
    with (
        (progress or Quiet()).stage("reading files", len(files)) as advance,
        closing(in_parallel(_shas, [Path(file) for file in files])) as hashed,
    ):
        for found in hashed:
            out.append(found)
            advance(1)
    return out


def _shas(paths: Sequence[Path]) -> list[str | Verdict]:
    return [file_sha(path) for path in paths]


def file_size(path: Path) -> int:
    """Bytes of an example; 0 where it cannot be asked."""
    inline = inline_bytes(path)
    if inline is not None:
        return len(inline)
    try:
        return os.stat(path).st_size
    except (OSError, ValueError):
        return 0


def file_bytes(path: Path, sha: str) -> bytes | Verdict:
    """The bytes of a file that had this SHA-256 a moment ago, or why they cannot be had."""
    pieces: list[bytes] = []
    if (refused := _read(path, pieces.append)) is not None:
        return refused
    data = b"".join(pieces)
    if hashlib.sha256(data).hexdigest() != sha:
        return Verdict("changed", "the file changed while it was being read")
    return data


def _read(path: Path, take: Callable[[bytes], object]) -> Verdict | None:
    """Give `take` the bytes in pieces; returns why not, where they cannot be read.

    Of an example without a file it is the content itself. System calls without Python's layers of
    files: each gives up the interpreter's lock, for which the threads would queue.
    """
    try:
        if (found := without_file(path)) is not None:
            take(found)
            return None
        seen = os.stat(path)
        if stat.S_ISDIR(seen.st_mode):
            for piece in pieces(path, MOST_BYTES):
                take(piece)
            return None
        if (refused := _refusal(seen)) is not None:
            return refused
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            size = min(seen.st_size + 1, PIECE)
            while len(piece := os.read(descriptor, size)) == size:
                take(piece)
            take(piece)
        finally:
            os.close(descriptor)
    except Unreadable as error:
        return Verdict(error.kind, error.reason)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        return Verdict("no-access", f"it cannot be read: {getattr(error, 'strerror', '') or error}")
    return None


def _refusal(seen: os.stat_result) -> Verdict | None:
    """Why a path is not even opened: pipes and devices may never end."""
    if not stat.S_ISREG(seen.st_mode):
        return Verdict("not-a-file", "not a regular file")
    if seen.st_size > MOST_BYTES:
        return Verdict("too-large", f"{seen.st_size:,} bytes; at most {MOST_BYTES:,} are read")
    return None
