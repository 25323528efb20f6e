"""Reading files: in order, a bounded number ahead, and nothing that may never end."""

import hashlib
import os
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regraft.backbones.reading import (
    AHEAD,
    HANDFUL_MOST,
    PIECE,
    file_bytes,
    file_sha,
    in_parallel,
)
from regraft.backbones.runtimes import lanes
from regraft.backbones.store import Verdict
from regraft.modalities.base import MOST_BYTES

Result = TypeVar("Result")


def each(work: Callable[[int], Result]) -> Callable[[Sequence[int]], list[Result]]:
    return lambda handful: [work(job) for job in handful]


@given(st.lists(st.integers(), max_size=300))
def test_results_come_in_the_order_of_the_jobs(jobs: list[int]) -> None:
    assert list(in_parallel(each(lambda job: job * 2), jobs)) == [job * 2 for job in jobs]


def test_several_jobs_run_at_once() -> None:
    together = threading.Barrier(lanes(), timeout=10)
    work = each(lambda job: together.wait())
    assert len(list(in_parallel(work, range(lanes())))) == lanes()


def test_quick_jobs_come_in_large_handfuls_and_slow_ones_alone() -> None:
    sizes: list[int] = []

    def work(handful: Sequence[int]) -> list[int]:
        sizes.append(len(handful))
        return list(handful)

    list(in_parallel(work, range(10_000)))
    assert max(sizes) == HANDFUL_MOST
    assert len(sizes) < 1_000
    sizes.clear()

    def slow(handful: Sequence[int]) -> list[int]:
        time.sleep(0.015 * len(handful))
        return work(handful)

    list(in_parallel(slow, range(100), 0.01))
    assert set(sizes) == {1}


def test_the_last_handfuls_are_small() -> None:
    handfuls: set[tuple[int, ...]] = set()

    def work(handful: Sequence[int]) -> list[int]:
        handfuls.add(tuple(handful))
        return list(handful)

    list(in_parallel(work, range(1_000)))
    assert max(map(len, handfuls)) > 1
    assert {(997,), (998,), (999,)} <= handfuls


def test_only_a_bounded_number_is_ahead() -> None:
    begun: list[int] = []
    results = in_parallel(each(begun.append), range(100_000))
    next(results)
    time.sleep(0.1)
    assert len(begun) <= AHEAD * (lanes() + 2) * HANDFUL_MOST
    results.close()


def test_an_error_ends_it() -> None:
    def work(job: int) -> int:
        if job == 5:
            raise ValueError("five")
        return job

    results = in_parallel(each(work), range(1_000))
    with pytest.raises(ValueError, match="five"):
        list(results)


def test_closing_waits_for_what_runs_and_begins_nothing_more() -> None:
    begun, ended = [], []

    def work(job: int) -> None:
        begun.append(job)
        time.sleep(0.05)
        ended.append(job)

    results = in_parallel(each(work), range(10_000))
    next(results)
    results.close()
    assert len(begun) == len(ended) < 50


def test_hashes_are_those_of_hashlib(tmp_path: Path) -> None:
    for length in (0, 1, 100, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE):
        content = os.urandom(length)
        (tmp_path / "f").write_bytes(content)
        digest = hashlib.sha256(content).hexdigest()
        assert file_sha(tmp_path / "f") == digest
        assert file_bytes(tmp_path / "f", digest) == content


def kinds(path: Path) -> list[str]:
    found = [file_sha(path), file_bytes(path, "0" * 64)]
    return [f.kind if isinstance(f, Verdict) else "read" for f in found]


def test_a_changed_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"now another")
    assert kinds(tmp_path / "f") == ["read", "changed"]


def test_what_is_no_file_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/dev/zero")
    for path in (tmp_path, tmp_path / "pipe", tmp_path / "link", Path("/dev/zero")):
        assert kinds(path) == ["not-a-file", "not-a-file"]


def test_what_cannot_be_reached(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    names = ["missing", "loop", "a\0b", "x" * 300]
    for name in names:
        assert kinds(tmp_path / name) == ["no-access", "no-access"]
    assert "No such file" in file_sha(tmp_path / "missing").reason  # type: ignore[union-attr]


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "film.jpg").open("wb") as stream:
        stream.truncate(MOST_BYTES + 1)  # no disk space is used
    start = time.perf_counter()
    assert kinds(tmp_path / "film.jpg") == ["too-large", "too-large"]
    assert time.perf_counter() - start < 1
