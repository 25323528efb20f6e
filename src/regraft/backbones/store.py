"""The store: looks at files and frozen features, kept by content, so that nothing is computed twice.

One SQLite file in the cache folder. Keys are the SHA-256 of an example's bytes and, for features,
the space they live in (network, preprocessing, view, engine; see features.py): a changed file is a
new example, a changed setting a new space. SQLite brings what the store promises: a kill loses at
most the last transaction, several runs may read and write at once, and a full disk leaves what was
there. Every vector carries a checksum; one that does not fit is computed again.
"""

import json
import os
import sqlite3
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from regraft.backbones.cache import cache_folder
from regraft.errors import StorageError
from regraft.modalities.facts import THUMB, Facts

LIMIT = 20 * 2**30  # bytes; REGRAFT_CACHE_LIMIT sets another
ASK = 500  # keys in one question: SQLite takes at most 999 variables
SCHEMA = """
CREATE TABLE IF NOT EXISTS looks (
    sha TEXT PRIMARY KEY, modality TEXT NOT NULL, record TEXT NOT NULL, thumb BLOB);
CREATE TABLE IF NOT EXISTS spaces (
    id INTEGER PRIMARY KEY, key TEXT UNIQUE NOT NULL, record TEXT NOT NULL, used REAL NOT NULL);
CREATE TABLE IF NOT EXISTS features (
    space INTEGER NOT NULL, sha TEXT NOT NULL, crc INTEGER NOT NULL, vector BLOB NOT NULL,
    PRIMARY KEY (space, sha));
"""


@dataclass(frozen=True)
class Verdict:
    """Why a file cannot be decoded: what `Unreadable` says of it, without its name."""

    kind: str
    reason: str


Look = Facts | Verdict


class Store:
    """Looks and features by content. Use from one thread; several processes may share the file.

    path  of the SQLite file; None: in the cache folder

    Raises StorageError where it cannot be opened or written. A file that is no database any more is
    set aside under another name and a new one is begun: all it held can be computed again.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or cache_folder("features") / "features.sqlite3"
        with self._named():
            try:
                self._open()
            except sqlite3.DatabaseError as error:
                if isinstance(error, sqlite3.OperationalError):
                    raise
                self._set_aside()
                self._open()

    def _open(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._sql = sqlite3.connect(self.path, timeout=60, isolation_level=None)
        self._sql.execute("PRAGMA journal_mode=WAL")
        self._sql.execute("PRAGMA synchronous=NORMAL")
        self._sql.executescript(SCHEMA)

    def _set_aside(self) -> None:
        self._sql.close()
        for suffix in ("", "-wal", "-shm"):
            found = self.path.with_name(self.path.name + suffix)
            if found.exists():
                found.replace(found.with_name(f"{found.name}.damaged-{int(time.time())}"))

    def close(self) -> None:
        self._sql.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def looks(self, shas: Sequence[str], modality: str) -> dict[str, Look]:
        """What is known of examples, by SHA-256; those never looked at are absent."""
        question = "SELECT sha, record, thumb FROM looks WHERE modality = ? AND sha IN ({})"
        rows = self._ask(question, modality, shas)
        return {sha: _look(json.loads(record), thumb) for sha, record, thumb in rows}

    def keep_looks(self, looks: Mapping[str, Look], modality: str) -> None:
        """Remember what was seen."""
        rows = [(sha, modality, *_look_record(look)) for sha, look in looks.items()]
        with self._transaction():
            self._sql.executemany("INSERT OR REPLACE INTO looks VALUES (?, ?, ?, ?)", rows)

    def space(self, key: str) -> dict[str, Any] | None:
        """What was noted of a space; None where it is new."""
        with self._named():
            found = self._sql.execute("SELECT record FROM spaces WHERE key = ?", (key,)).fetchone()
        return None if found is None else json.loads(found[0])

    def features(self, space: str, shas: Sequence[str]) -> dict[str, npt.NDArray[np.float32]]:
        """Vectors of examples in a space, by SHA-256; absent where there is none that is whole."""
        question = (
            "SELECT f.sha, f.crc, f.vector FROM features f JOIN spaces s ON s.id = f.space"
            " WHERE s.key = ? AND f.sha IN ({})"
        )
        found = self._ask(question, space, shas)
        return {
            sha: np.frombuffer(vector, "<f4")
            for sha, crc, vector in found
            if zlib.crc32(vector) == crc
        }

    def keep_features(
        self, space: str, record: Mapping[str, Any], vectors: Mapping[str, npt.NDArray[Any]]
    ) -> None:
        """Remember vectors (d,) float32 of examples; `record` is noted of a new space."""
        noted = json.dumps(dict(record), sort_keys=True)
        with self._transaction():
            self._sql.execute(
                "INSERT INTO spaces (key, record, used) VALUES (?, ?, ?)"
                " ON CONFLICT (key) DO UPDATE SET used = excluded.used",
                (space, noted, time.time()),
            )
            ((number,),) = self._sql.execute("SELECT id FROM spaces WHERE key = ?", (space,))
            blobs = ((sha, np.ascontiguousarray(v, "<f4").tobytes()) for sha, v in vectors.items())
            self._sql.executemany(
                "INSERT OR REPLACE INTO features VALUES (?, ?, ?, ?)",
                ((number, sha, zlib.crc32(blob), blob) for sha, blob in blobs),
            )

    def trim(self, limit: int | None = None) -> int:
        """Drop the spaces that were used longest ago until the file is under `limit` bytes.

        The space used last always stays. Returns the number of bytes that were freed.
        """
        limit = limit or int(os.environ.get("REGRAFT_CACHE_LIMIT", LIMIT))
        before = self._size()
        while self._size() > limit:
            with self._transaction():
                oldest = self._sql.execute("SELECT id FROM spaces ORDER BY used").fetchall()
                if len(oldest) < 2:
                    break
                self._sql.execute("DELETE FROM features WHERE space = ?", oldest[0])
                self._sql.execute("DELETE FROM spaces WHERE id = ?", oldest[0])
        if freed := before - self._size():
            with self._named():
                self._sql.execute("VACUUM")
        return freed

    def _size(self) -> int:
        """Bytes in use: pages that were freed do not count."""
        with self._named():
            ((pages,),) = self._sql.execute("PRAGMA page_count")
            ((free,),) = self._sql.execute("PRAGMA freelist_count")
            ((size,),) = self._sql.execute("PRAGMA page_size")
        return int((pages - free) * size)

    def _ask(self, question: str, first: str, shas: Sequence[str]) -> Iterator[tuple[Any, ...]]:
        wanted = list(dict.fromkeys(shas))
        for start in range(0, len(wanted), ASK):
            some = wanted[start : start + ASK]
            marks = ",".join("?" * len(some))
            with self._named():
                yield from self._sql.execute(question.format(marks), (first, *some)).fetchall()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._named():
            self._sql.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._sql.execute("ROLLBACK")
                raise
            self._sql.execute("COMMIT")

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise StorageError(
                f"{self.path}: the feature store cannot be used ({error}); free some space, or set "
                "REGRAFT_CACHE to a folder that can be written"
            ) from error


def _look_record(look: Look) -> tuple[str, bytes | None]:
    if isinstance(look, Verdict):
        return json.dumps({"kind": look.kind, "reason": look.reason}), None
    return json.dumps(look.to_dict()), look.thumb.tobytes()


def _look(record: dict[str, Any], thumb: bytes | None) -> Look:
    if thumb is None:
        return Verdict(**record)
    return Facts(**record, thumb=np.frombuffer(thumb, np.uint8).reshape(THUMB, THUMB, 3))
