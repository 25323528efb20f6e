"""A process that loads everything once, and forks for each run that it is asked for.

    python run_server.py FOLDER        examples, as `setting_of` reads them
    ← ready
    → {"folder": ..., "told": ...}     an order, as `ORDER` has it
    ← pid of the run, which has a process group of its own
    → {"wait": pid}
    ← its exit code, negative for a signal

A run tells what it does, a line each, in the file `told`, and by its exit code how it ended.
"""

import errno
import hashlib
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import torch
from conftest import Setting, setting_of

from regraft.backbones.catalog import find
from regraft.errors import RegraftError
from regraft.progress import Quiet
from regraft.training.checkpoints import Checkpoints, run_folder
from regraft.training.loop import Training
from regraft.training.terms import Execution, Trained
from regraft.training.tuning import Ready

ENDED, FAILED, INTERRUPTED = 0, 3, 130

# network             as `find` takes it
# strategy, settings  of the plan
# checkpoint, workers of `Execution`
# fault               a system call that goes wrong while a checkpoint is written: its name; which
#                     call of that name; the errno, or none for a kill before or after it
# fill                step after which a file takes all the space that is left on the disk
ORDER: dict[str, Any] = {
    "strategy": "lp-ft",
    "settings": {},
    "checkpoint": 0.0,
    "workers": 0,
    "fault": None,
    "fill": None,
}

Tell = Callable[[str], None]


def serve(folder: Path) -> None:
    setting = cache(lambda network: setting_of(folder, find(network)))
    running: set[int] = set()
    print("ready", flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        if pid := order.get("wait"):
            print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
            running.discard(pid)
            continue
        order = ORDER | order
        own = setting(order["network"])
        ready = made(own, order["strategy"], json.dumps(order["settings"]))
        if (pid := os.fork()) == 0:
            os._exit(carry_out(ready, own, order))
        running.add(pid)
        print(pid, flush=True)
    for pid in running:
        os.kill(pid, signal.SIGKILL)
    os._exit(0)  # at once: there is nothing to tidy up


RUNS: dict[tuple[str, str, str], Ready] = {}


def made(setting: Setting, strategy: str, settings: str) -> Ready:
    """Made once for all of its runs."""
    key = (setting.row.name, strategy, settings)
    if key not in RUNS:
        RUNS[key] = setting.ready(strategy, **json.loads(settings))
        RUNS[key].pace()  # loads all that a run needs; nothing moves
        setting.held.score(RUNS[key].model, torch.device("cpu"))
    return RUNS[key]


def carry_out(ready: Ready, setting: Setting, order: dict[str, Any]) -> int:
    os.setsid()
    os.dup2(2, 1)  # stdout is for the answers of the server
    with open(order["told"], "a", buffering=1) as stream:
        tell: Tell = lambda line: print(line, file=stream)
        try:
            with run_folder(Path(order["folder"])) as folder:
                run = prepared(ready, setting, order, folder, tell)
                trained = run.run()
            tell(f"hash {digest(trained)}")
        except RegraftError as error:
            tell(f"{type(error).__name__}: {error}")
            return FAILED
        except KeyboardInterrupt:
            return INTERRUPTED
    return ENDED


class Telling(Quiet):
    """Tells of every step, and of what is said."""

    def __init__(self, tell: Tell) -> None:
        self.tell = tell

    @contextmanager
    def stage(self, name: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
        yield lambda steps: self.tell(f"step {steps}")

    def say(self, message: str) -> None:
        self.tell(f"said {message}")


def prepared(
    ready: Ready, setting: Setting, order: dict[str, Any], folder: Path, tell: Tell
) -> Training:
    run = ready.training(
        held=setting.held,
        checkpoints=Checkpoints(folder, "key"),
        execution=Execution(checkpoint=order["checkpoint"], workers=order["workers"]),
        progress=Telling(tell),
    )
    for name in ("_look", "save", "_one_step"):
        setattr(run, name, between(tell, name.strip("_"), getattr(run, name)))
    if order["fault"]:
        run.save = faulty(run.save, *order["fault"])  # type: ignore[method-assign]
    (folder / "ballast").unlink(missing_ok=True)
    if order["fill"] is not None:
        run.save = filling(run, order["fill"], folder)  # type: ignore[method-assign]
    return run


def between(tell: Tell, name: str, call: Callable[..., None]) -> Callable[..., None]:
    """The call, told of before and after."""

    def told(*arguments: Any) -> None:
        tell(name)
        call(*arguments)
        tell(f"{name} done")

    return told


def faulty(
    save: Callable[[], None], name: str, which: int, number: str | None, moment: str
) -> Callable[[], None]:
    """The save, in which one system call fails, or before or after which the process is killed."""
    real = getattr(os, name)
    calls = iter(range(1, 10_000))

    def system_call(*arguments: Any, **options: Any) -> Any:
        this = next(calls) == which
        if this and number:
            if name == "close":
                real(*arguments)  # as the system does: the descriptor is gone all the same
            code = getattr(errno, number)
            raise OSError(code, os.strerror(code))
        if this and moment == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        given = real(*arguments, **options)
        if this and moment == "after":
            os.kill(os.getpid(), signal.SIGKILL)
        return given

    def saved() -> None:
        setattr(os, name, system_call)
        try:
            save()
        finally:
            setattr(os, name, real)

    return saved


def filling(run: Training, step: int, folder: Path) -> Callable[[], None]:
    """The save, before which at one step the disk fills up."""
    save = run.save

    def saved() -> None:
        if run.step == step:
            with suppress(OSError), open(folder / "ballast", "wb", buffering=0) as file:
                while file.write(bytes(4096)):
                    pass
        save()

    return saved


def digest(trained: Trained) -> str:
    """Of all weights that a run ended with, and of its curve but for the time."""
    states = {"last": trained.last, "average": trained.average, "best": trained.best}
    whole = hashlib.sha256()
    for kind, state in states.items():
        for name, tensor in sorted((state or {}).items()):
            whole.update(f"{kind} {name}".encode() + tensor.contiguous().numpy().tobytes())
    for point in trained.curve:
        numbers = [point.step, point.loss, point.rate, point.held_loss, point.average_loss]
        whole.update(json.dumps(numbers).encode())
    return whole.hexdigest()


if __name__ == "__main__":
    torch.set_num_threads(1)  # a pool of threads would not survive the fork
    serve(Path(sys.argv[1]))
