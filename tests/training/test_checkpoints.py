"""Checkpoints: two files in turn, what is damaged is refused, and one run in a folder at a time."""

import errno
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from regraft.errors import StorageError, UsageError
from regraft.training.checkpoints import Checkpoint, Checkpoints, run_folder

Tiny = Any  # of conftest.py


def checkpoint(step: int) -> Checkpoint:
    tensors = {
        "weights": torch.full((3, 4), float(step)),
        "turned": torch.arange(12.0).view(3, 4).T + step,
        "count": torch.tensor(step),
    }
    return Checkpoint(step, tensors, {"curve": [step, 0.1], "best": None})


@pytest.fixture
def checkpoints(tmp_path: Path) -> Checkpoints:
    return Checkpoints(tmp_path, "key")


def check_is(found: Checkpoint | None, step: int) -> None:
    expected = checkpoint(step)
    assert found is not None
    assert found.step == step
    assert found.document == expected.document
    assert found.tensors.keys() == expected.tensors.keys()
    assert all(torch.equal(found.tensors[name], t) for name, t in expected.tensors.items())


def test_none_is_found_where_none_is(checkpoints: Checkpoints) -> None:
    assert checkpoints.latest() is None
    assert checkpoints.damaged() == []
    checkpoints.forget()


def test_the_newest_is_found_and_two_are_kept(checkpoints: Checkpoints, tmp_path: Path) -> None:
    written = [checkpoints.save(checkpoint(step)) for step in range(1, 6)]
    check_is(checkpoints.latest(), 5)
    assert written == [written[0], written[1]] * 2 + [written[0]]
    assert sorted(tmp_path.iterdir()) == sorted(set(written))
    check_is(Checkpoints(tmp_path, "key").latest(), 5)


@settings(max_examples=40)
@given(steps=st.lists(st.tuples(st.integers(0, 50), st.booleans()), min_size=1, max_size=8))
def test_the_newest_of_two_is_never_overwritten(
    steps: list[tuple[int, bool]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whether by the object that wrote it or by that of a later process."""
    folder = tmp_path_factory.mktemp("run")
    one = Checkpoints(folder, "key")
    for step, is_new in steps:
        one = Checkpoints(folder, "key") if is_new else one
        newest = one.latest()
        kept = max((c for c in (newest, checkpoint(step)) if c), key=lambda c: c.step)
        one.save(checkpoint(step))
        found = one.latest()
        assert found is not None
        assert found.step == kept.step


def test_a_damaged_one_is_told_and_the_one_before_is_used(checkpoints: Checkpoints) -> None:
    for step in (1, 2):
        path = checkpoints.save(checkpoint(step))
    whole = path.read_bytes()
    for place in (0, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        check_is(checkpoints.latest(), 1)
        assert checkpoints.damaged() == [path]
    for length in (0, 1, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        check_is(checkpoints.latest(), 1)
    assert Checkpoints(checkpoints.folder, "key").save(checkpoint(2)) == path
    check_is(checkpoints.latest(), 2)
    assert checkpoints.damaged() == []


def test_a_run_goes_on_from_the_one_before_a_damaged_one(tiny: Tiny, tmp_path: Path) -> None:
    said: list[str] = []

    def run(steps: int) -> Any:
        made = (
            tiny("resnet")
            .ready("tune-norm", steps=steps)
            .training(checkpoints=Checkpoints(tmp_path, "key"))
        )
        made.progress.say = said.append
        made.run()
        return made

    run(2)
    checkpoints = Checkpoints(tmp_path, "key")
    found = checkpoints.latest()
    assert found is not None
    newer = checkpoints.save(Checkpoint(3, found.tensors, found.document))
    newer.write_bytes(newer.read_bytes()[:-5])
    assert run(4).step == 4
    assert said == [
        f"{newer} is damaged and not used; the one before it is",
        "tune-norm: goes on after step 2",
    ]


def test_that_of_another_run_is_not_taken(checkpoints: Checkpoints, tmp_path: Path) -> None:
    path = checkpoints.save(checkpoint(1))
    other = Checkpoints(tmp_path, "other")
    assert other.latest() is None
    path.rename(tmp_path / path.name.replace("key", "other"))
    assert other.latest() is None
    other.save(checkpoint(2))
    check_is(other.latest(), 2)


def test_forgotten_ones_are_gone(checkpoints: Checkpoints, tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path, "other")
    for one in (checkpoints, checkpoints, kept):
        one.save(checkpoint(7))
    checkpoints.forget()
    assert checkpoints.latest() is None
    check_is(kept.latest(), 7)
    checkpoints.save(checkpoint(1))
    check_is(checkpoints.latest(), 1)


# --- faults --------------------------------------------------------------------------------------

SYSTEM_CALLS = ("open", "write", "fsync", "replace", "close")


def calls_of(save: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the system calls of a save, in order."""
    made: list[str] = []

    def recorded(name: str) -> Callable[..., Any]:
        real = getattr(os, name)

        def system_call(*arguments: Any, **options: Any) -> Any:
            made.append(name)
            return real(*arguments, **options)

        return system_call

    with monkeypatch.context() as patch:
        for name in SYSTEM_CALLS:
            patch.setattr(os, name, recorded(name))
        save()
    return made


def failing(name: str, which: int, number: int) -> Callable[..., Any]:
    real, calls = getattr(os, name), iter(range(1, 1000))

    def system_call(*arguments: Any, **options: Any) -> Any:
        if next(calls) == which:
            if name == "close":
                real(*arguments)  # as the system does: the descriptor is gone all the same
            raise OSError(number, os.strerror(number))
        return real(*arguments, **options)

    return system_call


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_every_system_call_may_fail(
    checkpoints: Checkpoints, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    checkpoints.save(checkpoint(1))
    made = calls_of(lambda: checkpoints.save(checkpoint(2)), monkeypatch)
    assert set(made) == set(SYSTEM_CALLS)
    step = 2
    for place, name in enumerate(made[:-1]):  # the last closes the folder: all is done
        which = made[: place + 1].count(name)
        with monkeypatch.context() as patch:
            patch.setattr(os, name, failing(name, which, number))
            with pytest.raises(StorageError, match=r"key-[ab].checkpoint: cannot be written"):
                checkpoints.save(checkpoint(step + 1))
        in_place = place > made.index("replace")
        for one in (checkpoints, Checkpoints(tmp_path, "key")):
            check_is(one.latest(), step + 1 if in_place else step)
        assert len(list(tmp_path.iterdir())) == 2
        step += 2
        checkpoints.save(checkpoint(step))
        check_is(checkpoints.latest(), step)


# --- the folder ----------------------------------------------------------------------------------


def test_the_folder_is_made_and_given(tmp_path: Path) -> None:
    with run_folder(tmp_path / "a" / "b") as folder:
        assert folder == tmp_path / "a" / "b"
        assert folder.is_dir()
    with run_folder(folder):
        pass


def test_a_second_run_is_refused_at_once(tmp_path: Path) -> None:
    with run_folder(tmp_path):
        start = time.monotonic()
        with pytest.raises(UsageError, match="another run is at work here"), run_folder(tmp_path):
            pass
        assert time.monotonic() - start < 1
    with pytest.raises(ValueError, match="of the run"), run_folder(tmp_path):
        raise ValueError("of the run")
    with run_folder(tmp_path):
        pass


def test_processes_that_train_together_share_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with run_folder(tmp_path):
        monkeypatch.setenv("RANK", "1")
        with run_folder(tmp_path) as folder:
            assert folder == tmp_path
        monkeypatch.setenv("RANK", "0")
        with pytest.raises(UsageError, match="another run"), run_folder(tmp_path):
            pass


HOLDS = """
import sys, time
from pathlib import Path
from regraft.training.checkpoints import run_folder
with run_folder(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_killed_process_frees_it(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLDS, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "held\n"
        with pytest.raises(UsageError, match="another run"), run_folder(tmp_path):
            pass
        child.kill()
        child.wait()
        with run_folder(tmp_path):
            pass


def test_what_a_kill_left_behind_is_deleted_and_nothing_else(tmp_path: Path) -> None:
    left = tmp_path / f".{'0123456789abcdef'}-a.checkpoint.{'f' * 16}.tmp"
    others = [tmp_path / name for name in (".notes.tmp", "x.checkpoint.tmp", "k-a.checkpoint")]
    for path in (left, *others):
        path.write_bytes(b"half")
    with run_folder(tmp_path):
        assert not left.exists()
        assert all(path.exists() for path in others)


def test_what_lies_behind_a_running_one_is_left_alone(tmp_path: Path) -> None:
    with run_folder(tmp_path):
        being_written = tmp_path / f".k-a.checkpoint.{'f' * 16}.tmp"
        being_written.touch()
        with pytest.raises(UsageError), run_folder(tmp_path):
            pass
        assert being_written.exists()


@pytest.mark.parametrize("place", ["file", "file/below", "/proc/run"])
def test_a_place_that_is_no_folder_is_named(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(StorageError, match=f"{place}: cannot be written: "),
        run_folder(tmp_path / place),
    ):
        pass
