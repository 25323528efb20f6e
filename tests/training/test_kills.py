"""Whatever ends a run, and whenever: it goes on, and ends with the very weights of a whole run."""

import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from regraft.backbones.catalog import DEFAULT

Tiny = Any  # of conftest.py

SERVER = Path(__file__).with_name("run_server.py")
ENDED, FAILED, INTERRUPTED = 0, 3, 130
LOOKS = 20_000  # a minute and more, for what takes a second

# As much state as there can be: averages, moments, the memory of the schedule.
FULL: dict[str, Any] = {"steps": 20, "batch": 4, "augment": "strong", "sampling": "balanced"}
FULL |= {"schedule": "plateau:patience=0", "rate": 0.02}
DISK = 3_000_000  # bytes: two checkpoints of such a run, and a third that is being written


@dataclass
class Run:
    """One process; what it tells is in `told`."""

    server: "Server"
    pid: int
    told: Path

    def lines(self) -> list[str]:
        return self.told.read_text().splitlines() if self.told.exists() else []

    def wait_for(self, told: Callable[[list[str]], bool]) -> None:
        """Until what it has told is enough; counted in looks, for a machine may fall asleep."""
        for _ in range(LOOKS):
            if told(self.lines()):
                return
            time.sleep(0.003)
        raise AssertionError(self.lines())

    def send(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def send_all(self, number: signal.Signals) -> None:
        """Its loader workers as well, as a terminal and a service manager do."""
        os.killpg(self.pid, number)

    def end(self) -> int:
        """Its exit code."""
        return int(self.server.ask({"wait": self.pid}))

    def begun(self) -> int:
        """The step from which it went on."""
        steps = [line for line in self.lines() if line.startswith("step ")]
        return int(steps[0].split()[1]) if steps else 0

    def step(self) -> int:
        """Steps that were done when it told its last line."""
        return self.begun() + self.lines().count("one_step done")

    def phase(self) -> str:
        """What it was at when it told its last line."""
        last = next((line for line in reversed(self.lines()) if not line.startswith("said")), "")
        if last in ("look", "save", "one_step"):
            return last
        return "between" if self.lines().count("one_step done") else "beginning"

    def hash(self) -> str:
        assert has_ended(self.lines()), self.lines()
        return self.lines()[-1]


@dataclass
class Server:
    """Forks for each run; `disk` is a folder on a small filesystem that only its runs see.

    folder  of what the runs tell; network  of runs that name no other
    """

    process: "subprocess.Popen[str]"
    folder: Path
    disk: Path | None
    network: str
    numbers: Iterator[int] = field(default_factory=count)

    def ask(self, order: dict[str, Any]) -> str:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(json.dumps(order), file=self.process.stdin, flush=True)
        return self.process.stdout.readline()

    def begin(self, folder: Path, **order: Any) -> Run:
        told = self.folder / str(next(self.numbers))
        own = {"network": self.network, "settings": FULL}
        order = {**own, **order, "folder": str(folder), "told": str(told)}
        return Run(self, int(self.ask(order)), told)

    def finish(self, folder: Path, **order: Any) -> Run:
        """A run that nothing disturbs."""
        run = self.begin(folder, **order)
        assert run.end() == ENDED, run.lines()
        return run


ON_A_SMALL_DISK = f'mount -t tmpfs -o size={DISK} tmpfs "$1" && shift && exec "$@"'


@pytest.fixture(scope="module")
def server(
    tiny: Tiny, lesson_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    disk, told = tmp_path_factory.mktemp("disk"), tmp_path_factory.mktemp("told")
    small = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", ON_A_SMALL_DISK, "sh"]
    has_small = shutil.which("unshare") and not subprocess.run([*small, disk, "true"]).returncode
    prefix = [*small, str(disk)] if has_small else []
    command = [*prefix, sys.executable, str(SERVER), str(lesson_folder)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, text=True, **pipes) as process:  # type: ignore[call-overload]
        network = f"folder:{tiny.written('resnet')}"
        assert process.stdout.readline() == "ready\n"
        yield Server(process, told, disk if has_small else None, network)
        process.stdin.close()
        assert process.wait(60) == 0


@dataclass(frozen=True)
class Whole:
    """An undisturbed run: the hash of what it ends with, and seconds from step to step."""

    hash: str
    pause: float


def whole_run(server: Server, folder: Path, **order: Any) -> Whole:
    run, start = server.begin(folder, **order), time.monotonic()
    assert run.end() == ENDED, run.lines()
    return Whole(run.hash(), (time.monotonic() - start) / run.step())


def has_ended(lines: list[str]) -> bool:
    return bool(lines) and lines[-1].startswith("hash ")


@pytest.fixture(scope="module")
def whole(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    return whole_run(server, tmp_path_factory.mktemp("whole"))


# --- kills at any instant ------------------------------------------------------------------------


def kill_again_and_again(
    server: Server, whole: Whole, folder: Path, kills: int, seed: int, **order: Any
) -> list[Run]:
    """Runs that were killed. Some kills hit the same run, until it ends; then another begins."""
    rng, killed = random.Random(seed), list[Run]()
    while len(killed) < kills:
        here = folder / str(next(server.numbers))
        for _ in range(min(8, kills - len(killed))):
            run = server.begin(here, **order)
            wait_for_an_instant(run, rng, whole.pause)
            run.send(signal.SIGKILL)
            if run.end() == ENDED:
                break
            killed.append(run)
        assert server.finish(here, **order).hash() == whole.hash
        left = sorted(path.name for path in here.iterdir())
        assert left == ["key-a.checkpoint", "key-b.checkpoint", "lock"]
    return killed


def wait_for_an_instant(run: Run, rng: random.Random, pause: float) -> None:
    """Up to one step after a line that is drawn, and so at any instant on machines of any speed;
    one in ten in a look, which are few.
    """
    if rng.random() < 0.1:
        run.wait_for(lambda lines: "look" in lines or has_ended(lines))
        return
    told, more = rng.randrange(30), rng.random() * pause
    run.wait_for(lambda lines: len(lines) >= told or has_ended(lines))
    time.sleep(more)


def check_that_they_hit(killed: list[Run], phases: set[str]) -> None:
    """At all times of a run, and most of them after it had gone on from a checkpoint."""
    at = Counter(run.phase() for run in killed)
    assert phases <= set(at), at
    assert sum(run.begun() > 0 for run in killed) > len(killed) / 3
    assert len({run.step() for run in killed}) > 5


def test_a_run_that_is_killed_at_any_instant_ends_with_the_same_weights(
    server: Server, whole: Whole, tmp_path: Path
) -> None:
    killed = kill_again_and_again(server, whole, tmp_path, kills=30, seed=0)
    check_that_they_hit(killed, {"one_step", "save"})


MORE: dict[str, dict[str, Any]] = {
    "large checkpoints": {"network": DEFAULT, "settings": {**FULL, "steps": 10, "frozen": 0.9}},
    "free statistics": {"strategy": "copy", "settings": {"steps": 20, "batch": 4, "average": 0.3}},
    "loader workers": {"workers": 2},
}


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", MORE)
def test_a_hundred_kills(server: Server, tmp_path: Path, name: str) -> None:
    order = MORE[name]
    whole = whole_run(server, tmp_path / "whole", **order)
    killed = kill_again_and_again(server, whole, tmp_path, kills=100, seed=1, **order)
    check_that_they_hit(killed, {"beginning", "one_step", "save", "look"})


# --- what fails while a checkpoint is written ----------------------------------------------------

# Calls of a save: name, and which of that name.
CALLS = [("open", 1), ("open", 2), ("write", 1), ("write", 2), ("write", 5)]
CALLS += [("fsync", 1), ("close", 1), ("replace", 1), ("fsync", 2)]


def test_a_kill_at_any_system_call_of_a_save(server: Server, whole: Whole, tmp_path: Path) -> None:
    for name, which in CALLS:
        moment = "after" if (name, which) == CALLS[-1] else "before"
        run = server.begin(tmp_path, fault=(name, which, None, moment))
        assert run.end() == -signal.SIGKILL, (name, which, run.lines())
        assert run.phase() == "save"
    assert server.finish(tmp_path).hash() == whole.hash


def test_a_fault_at_any_system_call_of_a_save(server: Server, whole: Whole, tmp_path: Path) -> None:
    for (name, which), number in zip(CALLS, ["ENOSPC", "EIO", "EROFS"] * 3, strict=True):
        run = server.begin(tmp_path, fault=(name, which, number, ""))
        assert run.end() == FAILED, (name, which, run.lines())
        told = run.lines()[-1]
        assert told.startswith("StorageError: ")
        assert os.strerror(getattr(errno, number)) in told
        assert ".checkpoint: cannot be written" in told
    assert server.finish(tmp_path).hash() == whole.hash


def test_a_full_disk_is_named_and_the_run_goes_on_where_it_was(
    server: Server, whole: Whole
) -> None:
    if server.disk is None:
        pytest.skip("no small filesystem can be mounted here")
    run = server.begin(server.disk, fill=5)
    assert run.end() == FAILED
    assert "StorageError: " in run.lines()[-1]
    assert "No space left on device; free some space" in run.lines()[-1]
    again = server.finish(server.disk)
    assert again.begun() == 4
    assert again.hash() == whole.hash


# --- asked to stop -------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_that_is_asked_to_stop_keeps_its_last_step(
    server: Server, whole: Whole, tmp_path: Path, workers: int
) -> None:
    rng, order, done = random.Random(workers), {"checkpoint": 1e9, "workers": workers}, 0
    for number in (signal.SIGTERM, signal.SIGINT):
        run = server.begin(tmp_path, **order)
        run.wait_for(lambda lines: "one_step done" in lines)
        time.sleep(rng.random() * 2 * whole.pause)
        asked, start = run.step(), time.monotonic()
        run.send_all(number)
        assert run.end() == INTERRUPTED, run.lines()
        assert time.monotonic() - start < 10
        assert run.begun() == done
        done = run.step()
        assert asked <= done <= asked + 2
    last = server.finish(tmp_path, **order)
    assert last.begun() == done
    assert last.hash() == whole.hash


# --- two at once ---------------------------------------------------------------------------------


def test_a_second_run_in_a_folder_is_refused_until_the_first_is_gone(
    server: Server, whole: Whole, tmp_path: Path
) -> None:
    first = server.begin(tmp_path)
    first.wait_for(lambda lines: "one_step" in lines)
    start = time.monotonic()
    second = server.begin(tmp_path)
    assert second.end() == FAILED
    assert time.monotonic() - start < 1
    assert second.lines() == [
        f"UsageError: {tmp_path}: another run is at work here; wait for it, stop it, or name "
        "another folder"
    ]
    first.send(signal.SIGKILL)
    assert first.end() == -signal.SIGKILL
    assert server.finish(tmp_path).hash() == whole.hash
