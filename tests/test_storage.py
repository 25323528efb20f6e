"""The old content or the new, whatever fails and whenever the process dies."""

import errno
import hashlib
import os
import random
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regraft.errors import StorageError
from regraft.storage import write_atomically

OLD, NEW = b"old" * 1000, b"new" * 2000
CHUNKS = (NEW[:1], NEW[1:3000], NEW[3000:])

# Every call that the system can fail, or before and after which it can kill: name, which call of
# that name, and whether the new file is in place once it has been made.
STEPS = {
    "open the folder": ("open", 1, False),
    "create the temporary file": ("open", 2, False),
    "write the first chunk": ("write", 1, False),
    "write the last chunk": ("write", 3, False),
    "sync the file": ("fsync", 1, False),
    "close the file": ("close", 1, False),
    "rename": ("replace", 1, True),
    "sync the folder": ("fsync", 2, True),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "model.regraft"
    path.write_bytes(OLD)
    return path


def left_beside(path: Path) -> list[str]:
    return [name for name in os.listdir(path.parent) if name != path.name]


def failing(name: str, call: int, number: int) -> Callable[..., Any]:
    """The system call `name`, which fails at its `call`-th use with the errno `number`."""
    real, calls = getattr(os, name), iter(range(1, 1000))

    def system_call(*arguments: Any, **options: Any) -> Any:
        if next(calls) == call:
            if name == "close":
                real(*arguments)  # as the system does: the descriptor is gone all the same
            raise OSError(number, os.strerror(number))
        return real(*arguments, **options)

    return system_call


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("number", ["ENOSPC", "EDQUOT", "EROFS", "EACCES", "EIO", "ENXIO"])
def test_a_failing_step_leaves_a_whole_file_and_names_it(
    path: Path, monkeypatch: pytest.MonkeyPatch, step: str, number: str
) -> None:
    name, call, _ = STEPS[step]
    code = getattr(errno, number)
    with monkeypatch.context() as patch:
        patch.setattr(os, name, failing(name, call, code))
        with pytest.raises(StorageError) as caught:
            write_atomically(path, CHUNKS)
    message = str(caught.value)
    assert str(path) in message
    assert os.strerror(code) in message
    assert "choose another" in message
    assert path.read_bytes() == (NEW if step == "sync the folder" else OLD)
    assert ("unchanged" in message or "nothing was written" in message) == (
        step != "sync the folder"
    )
    assert not left_beside(path)
    write_atomically(path, CHUNKS)
    assert path.read_bytes() == NEW


@pytest.mark.parametrize("step", STEPS)
def test_a_failing_step_leaves_no_file_where_there_was_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    name, call, _ = STEPS[step]
    with monkeypatch.context() as patch:
        patch.setattr(os, name, failing(name, call, errno.ENOSPC))
        with pytest.raises(StorageError, match="free some space"):
            write_atomically(tmp_path / "new", CHUNKS)
    assert os.listdir(tmp_path) == (["new"] if step == "sync the folder" else [])


KILLED_AT = """
import os, signal, sys
from pathlib import Path
from regraft.storage import write_atomically

path, name, call, moment = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4]
real, calls = getattr(os, name), 0

def system_call(*arguments, **options):
    global calls
    calls += 1
    if calls == call and moment == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    result = real(*arguments, **options)
    if calls == call:
        os.kill(os.getpid(), signal.SIGKILL)
    return result

new = b"new" * 2000
setattr(os, name, system_call)
write_atomically(path, [new[:1], new[1:3000], new[3000:]])
"""


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("step", STEPS)
def test_a_kill_at_any_step_leaves_a_whole_file(path: Path, step: str, moment: str) -> None:
    name, call, in_place_after = STEPS[step]
    arguments = [sys.executable, "-c", KILLED_AT, str(path), name, str(call), moment]
    assert subprocess.run(arguments, check=False).returncode == -signal.SIGKILL
    replaced = in_place_after and (step, moment) != ("rename", "before")
    assert path.read_bytes() == (NEW if replaced else OLD)
    write_atomically(path, b"next")  # what the killed one left behind is not in the way
    assert path.read_bytes() == b"next"
    assert all(name.endswith(".tmp") for name in left_beside(path))


WRITES_FOR_EVER = """
import hashlib, itertools, sys
from pathlib import Path
from regraft.storage import write_atomically

for count in itertools.count():
    body = count.to_bytes(8, "big") * 40_000
    write_atomically(Path(sys.argv[1]), [hashlib.sha256(body).digest(), body[:9], body[9:]])
    print(count, flush=True)
"""


def is_whole(content: bytes) -> bool:
    count = content[32:40]
    return content[32:] == count * 40_000 and content[:32] == hashlib.sha256(content[32:]).digest()


@pytest.mark.parametrize("seed", range(8))
def test_a_kill_at_a_random_instant_leaves_a_whole_file(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "state"
    command = [sys.executable, "-c", WRITES_FOR_EVER, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "0\n"
        end = time.monotonic() + random.Random(seed).uniform(0, 0.1)
        while time.monotonic() < end:
            assert is_whole(path.read_bytes())  # what others see meanwhile
        child.kill()
        told = [int(line) for line in child.stdout]
    content = path.read_bytes()
    assert is_whole(content)
    assert int.from_bytes(content[32:40], "big") >= max(told, default=0)  # what was told is there


FILLS_THE_DISK = """
import os, subprocess, sys
from pathlib import Path
from regraft.errors import StorageError
from regraft.storage import write_atomically

path = Path(sys.argv[1], "model.regraft")
write_atomically(path, b"old")
for options, content in (("remount", bytes(1_000_000)), ("remount,ro", b"")):
    subprocess.run(["mount", "-o", options, path.parent], check=True)
    try:
        write_atomically(path, content)
    except StorageError as error:
        print(error)
    assert path.read_bytes() == b"old" and os.listdir(path.parent) == [path.name]
"""
IN_A_SMALL_DISK = 'mount -t tmpfs -o size=256k tmpfs "$1" && exec "$2" -c "$3" "$1"'


def test_a_full_and_a_read_only_disk_are_named_and_the_old_file_stays(tmp_path: Path) -> None:
    small = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", IN_A_SMALL_DISK, "sh"]
    if not shutil.which("unshare") or subprocess.run([*small, tmp_path, "true"]).returncode != 0:
        pytest.skip("no small filesystem can be mounted here")
    run = subprocess.run(
        [*small, tmp_path, sys.executable, FILLS_THE_DISK], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    full, read_only = run.stdout.splitlines()
    assert "No space left on device; free some space" in full
    assert "Read-only file system; choose another place" in read_only


BEYOND_A_LIMIT = """
import os, resource, sys
from pathlib import Path
from regraft.errors import StorageError
from regraft.storage import write_atomically

path = Path(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    write_atomically(path, (bytes(7_000) for _ in range(100)))
except StorageError as error:
    print(error)
"""


def test_a_file_that_grows_beyond_a_limit_half_way_leaves_the_old_one(path: Path) -> None:
    command = [sys.executable, "-c", BEYOND_A_LIMIT, str(path)]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert f"{path}: cannot be written: File too large" in run.stdout
    assert path.read_bytes() == OLD
    assert not left_beside(path)


@pytest.mark.parametrize("error", [ValueError, OSError, KeyboardInterrupt])
def test_what_the_chunks_raise_goes_through(path: Path, error: type[BaseException]) -> None:
    def chunks() -> Iterator[bytes]:
        yield NEW
        raise error("while a chunk is made")

    with pytest.raises(error, match="while a chunk is made"):
        write_atomically(path, chunks())
    assert path.read_bytes() == OLD
    assert not left_beside(path)


def test_every_step_is_made_in_order(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []

    def recorded(name: str) -> Callable[..., Any]:
        real = getattr(os, name)

        def system_call(*arguments: Any, **options: Any) -> Any:
            is_folder = name == "fsync" and stat.S_ISDIR(os.fstat(arguments[0]).st_mode)
            made.append(f"{name} folder" if is_folder else name)
            return real(*arguments, **options)

        return system_call

    with monkeypatch.context() as patch:
        for name in ("write", "fsync", "replace"):
            patch.setattr(os, name, recorded(name))
        write_atomically(path, CHUNKS)
    assert made == ["write", "write", "write", "fsync", "replace", "fsync folder"]


def test_a_write_that_takes_only_a_part_goes_on(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda descriptor, rest: real(descriptor, rest[:7]))
        write_atomically(path, CHUNKS)
    assert path.read_bytes() == NEW


def test_a_filesystem_that_syncs_no_folders_will_do(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", failing("fsync", 2, errno.EINVAL))
        write_atomically(path, NEW)
    assert path.read_bytes() == NEW


@given(st.lists(st.binary(max_size=100)))
def test_the_chunks_are_the_file(chunks: list[bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "file")
        write_atomically(path, iter(chunks))
        assert path.read_bytes() == b"".join(chunks)
        write_atomically(path, b"".join(chunks))
        assert path.read_bytes() == b"".join(chunks)
        assert not left_beside(path)


@pytest.mark.parametrize("name", ["x" * 255, "ä" * 127, "模型" * 42, ".hidden", "a b\n.tmp"])
def test_any_name_that_the_filesystem_takes_can_be_written(tmp_path: Path, name: str) -> None:
    write_atomically(tmp_path / name, NEW)
    assert (tmp_path / name).read_bytes() == NEW


def test_a_link_is_replaced_and_what_it_points_to_stays(path: Path) -> None:
    link = path.with_name("latest")
    link.symlink_to(path)
    write_atomically(link, NEW)
    assert not link.is_symlink()
    assert link.read_bytes() == NEW
    assert path.read_bytes() == OLD


def test_the_file_is_as_readable_as_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    write_atomically(tmp_path / "ours", NEW)
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize(
    ("name", "way_out"),
    [
        ("missing/file", "create its folder first"),
        ("model.regraft/file", "what is named as its folder is a file"),
        ("folder", "it is a folder: name a file"),
        ("x" * 300, "choose a shorter name"),
    ],
)
def test_a_place_that_cannot_be_written_says_what_to_do(
    path: Path, name: str, way_out: str
) -> None:
    path.with_name("folder").mkdir()
    with pytest.raises(StorageError, match=way_out):
        write_atomically(path.parent / name, NEW)
    assert left_beside(path) == ["folder"]
