"""The store: looks at files and frozen features, kept by content: nothing is computed twice.

One SQLite file in the cache folder. Keys are the SHA-256 of an example's bytes and, for features,
the space they live in (network, preprocessing, view, engine; see features.py): a changed file is a
new example, a changed setting a new space. SQLite brings what the store promises: a kill loses at
most the last transaction, several runs may read and write at once, and a full disk leaves what was
there. Every row carries a checksum; one that does not fit is absent, and so computed again.
"""

import json
import os
import sqlite3
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np
import numpy.typing as npt

from regraft.backbones.cache import cache_folder, locked
from regraft.errors import StorageError, UsageError
from regraft.modalities.facts import THUMB, Facts

T = TypeVar("T")

NAME = "store-1.sqlite3"  # the number goes up with SCHEMA: another version is another file
LIMIT = 20 * 2**30  # bytes; REGRAFT_CACHE_LIMIT sets another
ASK = 500  # keys in one question: SQLite takes at most 999 variables
PRAGMAS = (
    "PRAGMA page_size = 16384",  # most vectors fit into one: writing takes half as long
    "PRAGMA auto_vacuum = INCREMENTAL",  # before the first table: lets `trim` give space back
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = NORMAL",
    f"PRAGMA journal_size_limit = {64 * 2**20}",
)
SCHEMA = (
    """CREATE TABLE IF NOT EXISTS looks (
        modality TEXT NOT NULL, sha TEXT NOT NULL, crc INTEGER NOT NULL, record BLOB NOT NULL,
        thumb BLOB NOT NULL, PRIMARY KEY (modality, sha))""",
    """CREATE TABLE IF NOT EXISTS spaces (
        id INTEGER PRIMARY KEY, key TEXT UNIQUE NOT NULL, record TEXT NOT NULL, used REAL NOT NULL)
    """,
    """CREATE TABLE IF NOT EXISTS features (
        space INTEGER NOT NULL, sha TEXT NOT NULL, crc INTEGER NOT NULL, vector BLOB NOT NULL,
        PRIMARY KEY (space, sha))""",
)
DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


@dataclass(frozen=True)
class Verdict:
    """Why a file cannot be decoded: what `Unreadable` says of it, without its name."""

    kind: str
    reason: str


Look = Facts | Verdict


class Store:
    """Looks and features by content. Use from one thread; several processes may share the file.

    path   of the SQLite file; None: in the cache folder
    limit  bytes that `trim` leaves; None: REGRAFT_CACHE_LIMIT, else 20 GiB

    A file that turns out damaged is set aside, as `damaged` then tells, and a new one is begun: all
    it held can be computed again.

    Raises StorageError where the file cannot be opened, read or written, UsageError for a
    REGRAFT_CACHE_LIMIT that is no number.
    """

    def __init__(self, path: Path | None = None, limit: int | None = None) -> None:
        self.path = path or cache_folder("features") / NAME
        self.limit = _limit() if limit is None else limit
        self.damaged: Path | None = None
        with self._named():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._sql = self._connected()
        self._safely(self._prepare)

    def _connected(self) -> sqlite3.Connection:
        made = sqlite3.connect(self.path, timeout=60, isolation_level=None)
        made.text_factory = lambda text: text.decode(errors="replace")  # of damaged rows
        return made

    def _prepare(self) -> None:
        for pragma in PRAGMAS:
            self._sql.execute(pragma).fetchall()
        for table in SCHEMA:
            self._sql.execute(table)

    def close(self) -> None:
        """Nothing can be asked afterwards."""
        self._sql.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # --- looks -----------------------------------------------------------------------------------

    def looks(self, shas: Sequence[str], modality: str) -> dict[str, Look]:
        """What is known of examples, by SHA-256; those never looked at are absent.

        modality  its name and version: whatever decides what is seen
        """
        question = "SELECT sha, crc, record, thumb FROM looks WHERE modality = ? AND sha IN ({})"
        return {
            sha: _look(*parts)
            for sha, crc, *parts in self._ask(question, modality, shas)
            if _crc(sha, *parts) == crc
        }

    def keep_looks(self, looks: Mapping[str, Look], modality: str) -> None:
        """Remember what was seen."""
        rows = []
        for sha, look in looks.items():
            parts = _look_parts(look)
            rows.append((modality, sha, _crc(sha, *parts), *parts))
        self._write(
            lambda: self._sql.executemany(
                "INSERT OR REPLACE INTO looks VALUES (?, ?, ?, ?, ?)", rows
            )
        )

    # --- features --------------------------------------------------------------------------------

    def space(self, key: str) -> dict[str, Any] | None:
        """What was noted of a space; None where it is new."""
        question = "SELECT record FROM spaces WHERE key = ?"
        found = self._safely(lambda: self._sql.execute(question, (key,)).fetchone())
        return None if found is None else json.loads(found[0])

    def features(self, space: str, shas: Sequence[str]) -> dict[str, npt.NDArray[np.float32]]:
        """Vectors (d,) of examples in a space, by SHA-256; absent where none is there and whole."""
        return {sha: np.frombuffer(v, "<f4") for sha, v in self.blobs(space, shas).items()}

    def blobs(self, space: str, keys: Sequence[str]) -> dict[str, bytes]:
        """What was kept in a space, by its key; absent where nothing is there and whole."""
        question = (
            "SELECT f.sha, f.crc, f.vector FROM features f JOIN spaces s ON s.id = f.space"
            " WHERE s.key = ? AND f.sha IN ({})"
        )
        whole = {
            key: blob
            for key, crc, blob in self._ask(question, space, keys)
            if _crc(key, blob) == crc
        }
        if whole:
            self._note_use(space)
        return whole

    def keep_features(
        self, space: str, record: Mapping[str, Any], vectors: Mapping[str, npt.NDArray[Any]]
    ) -> None:
        """Remember vectors (d,) float32 of examples; `record` is noted of a new space."""
        blobs = {sha: np.ascontiguousarray(v, "<f4").tobytes() for sha, v in vectors.items()}
        self.keep_blobs(space, record, blobs)

    def keep_blobs(self, space: str, record: Mapping[str, Any], blobs: Mapping[str, bytes]) -> None:
        """Remember bytes by their keys in a space; `record` is noted of a new space."""
        noted = json.dumps(dict(record), sort_keys=True)

        def write() -> None:
            self._sql.execute(
                "INSERT INTO spaces (key, record, used) VALUES (?, ?, ?)"
                " ON CONFLICT (key) DO UPDATE SET used = excluded.used",
                (space, noted, time.time()),
            )
            ((number,),) = self._sql.execute("SELECT id FROM spaces WHERE key = ?", (space,))
            self._sql.executemany(
                "INSERT OR REPLACE INTO features VALUES (?, ?, ?, ?)",
                ((number, key, _crc(key, blob), blob) for key, blob in blobs.items()),
            )

        self._write(write)

    def _note_use(self, space: str) -> None:
        """For the order of `trim`; not worth an error, on a full disk one can still read."""
        with suppress(sqlite3.Error):
            self._sql.execute("UPDATE spaces SET used = ? WHERE key = ?", (time.time(), space))

    def trim(self, limit: int | None = None) -> int:
        """Drop the spaces that were used longest ago until the file is under `limit` bytes, then
        looks at files that are in no space.

        The space used last always stays. Returns the number of bytes that were freed.
        """
        limit = self.limit if limit is None else limit
        before = self._size()
        while self._size() > limit and self._drop_oldest_space():
            pass
        if self._size() > limit:
            orphans = "DELETE FROM looks WHERE sha NOT IN (SELECT sha FROM features)"
            self._write(lambda: self._sql.execute(orphans))
        if freed := before - self._size():
            # executescript, for execute would stop after the first page
            self._safely(lambda: self._sql.executescript("PRAGMA incremental_vacuum"))
            self._safely(lambda: self._sql.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall())
        return freed

    def _drop_oldest_space(self) -> bool:
        """Whether there was one besides the space used last."""

        def write() -> bool:
            numbers = self._sql.execute("SELECT id FROM spaces ORDER BY used").fetchall()
            if len(numbers) > 1:
                self._sql.execute("DELETE FROM features WHERE space = ?", numbers[0])
                self._sql.execute("DELETE FROM spaces WHERE id = ?", numbers[0])
            return len(numbers) > 1

        return self._write(write)

    def _size(self) -> int:
        """Bytes in use: pages that were freed do not count."""

        def ask(pragma: str) -> int:
            return int(self._sql.execute(f"PRAGMA {pragma}").fetchone()[0])

        return self._safely(lambda: (ask("page_count") - ask("freelist_count")) * ask("page_size"))

    # --- SQLite ----------------------------------------------------------------------------------

    def _ask(self, question: str, first: str, shas: Sequence[str]) -> Iterator[tuple[Any, ...]]:
        wanted = list(dict.fromkeys(shas))
        for start in range(0, len(wanted), ASK):
            some = wanted[start : start + ASK]
            marks = ",".join("?" * len(some))
            yield from self._safely(partial(self._fetch, question.format(marks), (first, *some)))

    def _fetch(self, question: str, values: tuple[str, ...]) -> list[tuple[Any, ...]]:
        return self._sql.execute(question, values).fetchall()

    def _write(self, work: Callable[[], T]) -> T:
        """All that `work` writes, or nothing."""

        def transaction() -> T:
            self._sql.execute("BEGIN IMMEDIATE")
            try:
                done = work()
                self._sql.execute("COMMIT")
            finally:
                if self._sql.in_transaction:
                    self._sql.execute("ROLLBACK")
            return done

        return self._safely(transaction)

    def _safely(self, work: Callable[[], T]) -> T:
        """Do `work`; where the file turns out damaged, do it once more in a new one."""
        with self._named():
            try:
                return work()
            except sqlite3.DatabaseError as error:
                if not _is_damage(error):
                    raise
            with locked(self.path):
                return self._anew(work)

    def _anew(self, work: Callable[[], T]) -> T:
        self.close()
        self._sql = self._connected()
        try:  # another run may have begun a new file meanwhile
            self._prepare()
            return work()
        except sqlite3.DatabaseError as error:
            if not _is_damage(error):
                raise
        self.close()
        self.damaged = _set_aside(self.path)
        self._sql = self._connected()
        self._prepare()
        return work()

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise StorageError(
                f"{self.path}: the feature store cannot be used ({error}); free some space, or set "
                "REGRAFT_CACHE to a folder that can be written"
            ) from error


def _limit() -> int:
    given = os.environ.get("REGRAFT_CACHE_LIMIT", str(LIMIT))
    if not given.isdecimal():
        raise UsageError(f"REGRAFT_CACHE_LIMIT: {given!r} is not a number of bytes, say {LIMIT}")
    return int(given)


def _is_damage(error: sqlite3.DatabaseError) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in DAMAGE


def _set_aside(path: Path) -> Path:
    """Rename the database; one that was set aside before is replaced: they must not pile up."""
    aside = path.with_name(f"{path.name}.damaged")
    for suffix in ("-shm", "-wal", ""):  # the journal first: a new file must never meet an old one
        found = path.with_name(path.name + suffix)
        if found.exists():
            found.replace(aside.with_name(aside.name + suffix))
    return aside


def _crc(sha: str, *parts: Any) -> int:
    """Of a row, its key among it; -1, which fits none, where damage has changed the types."""
    crc = zlib.crc32(sha.encode())
    for part in parts:
        if not isinstance(part, bytes):
            return -1
        crc = zlib.crc32(part, crc)
    return crc


def _look_parts(look: Look) -> tuple[bytes, bytes]:
    """Record and thumb; a verdict has no thumb."""
    if isinstance(look, Verdict):
        return json.dumps({"kind": look.kind, "reason": look.reason}).encode(), b""
    return json.dumps(look.to_dict()).encode(), look.thumb.tobytes()


def _look(record: bytes, thumb: bytes) -> Look:
    told = json.loads(record)
    if not thumb:
        return Verdict(**told)
    return Facts(**told, thumb=np.frombuffer(thumb, np.uint8).reshape(THUMB, THUMB, 3))
