"""Reading files: in order, a bounded number ahead, and nothing that may never end."""

import hashlib
import os
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regraft.backbones import reading
from regraft.backbones.engines import lanes
from regraft.backbones.reading import AHEAD, file_bytes, file_sha, in_parallel
from regraft.backbones.store import Verdict
from regraft.modalities.base import MOST_BYTES


@given(st.lists(st.integers(), max_size=300))
def test_results_come_in_the_order_of_the_jobs(jobs: list[int]) -> None:
    assert list(in_parallel(lambda job: job * 2, jobs)) == [job * 2 for job in jobs]


def test_several_jobs_run_at_once() -> None:
    together = threading.Barrier(lanes(), timeout=10)
    assert len(list(in_parallel(lambda job: together.wait(), range(lanes())))) == lanes()


def test_only_a_bounded_number_is_ahead() -> None:
    begun: list[int] = []
    results = in_parallel(begun.append, range(100_000))
    next(results)
    time.sleep(0.1)
    assert len(begun) <= AHEAD * (lanes() + 1)
    results.close()


def test_an_error_ends_it_at_its_place() -> None:
    def work(job: int) -> int:
        if job == 5:
            raise ValueError("five")
        return job

    results = in_parallel(work, range(1_000))
    assert [next(results) for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match="five"):
        next(results)


def test_closing_waits_for_what_runs_and_begins_nothing_more() -> None:
    begun, ended = [], []

    def work(job: int) -> None:
        begun.append(job)
        time.sleep(0.05)
        ended.append(job)

    results = in_parallel(work, range(10_000))
    next(results)
    results.close()
    assert len(begun) == len(ended) < 50


def test_hashes_are_those_of_hashlib(tmp_path: Path) -> None:
    for content in (b"", b"abc", os.urandom(1_000_000)):
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


def test_a_file_that_vanishes_after_the_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "_refusal", lambda path: None)
    assert kinds(tmp_path / "gone") == ["no-access", "no-access"]


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "film.jpg").open("wb") as stream:
        stream.truncate(MOST_BYTES + 1)  # no disk space is used
    start = time.perf_counter()
    assert kinds(tmp_path / "film.jpg") == ["too-large", "too-large"]
    assert time.perf_counter() - start < 1
