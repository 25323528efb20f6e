"""Interrupts: the first signal is noted, a second works as ever, and handlers come back."""

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import nullcontext

import pytest

from regraft.training.interrupts import SIGNALS, Interrupts


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_is_noted_and_obeyed_later(number: signal.Signals) -> None:
    with Interrupts() as interrupts:
        interrupts.obey()  # nobody has asked
        signal.raise_signal(number)
        assert interrupts.asked == number
        with pytest.raises(KeyboardInterrupt):
            interrupts.obey()


def test_a_second_ctrl_c_works_as_ever() -> None:
    with Interrupts() as interrupts:
        signal.raise_signal(signal.SIGINT)
        assert interrupts.asked == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_after_a_sigterm_ctrl_c_is_still_noted() -> None:
    with Interrupts() as interrupts:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
        assert interrupts.asked == signal.SIGINT


@pytest.mark.parametrize("fails", [False, True])
def test_handlers_come_back(fails: bool) -> None:
    seen: list[int] = []
    before = [signal.signal(number, lambda n, frame: seen.append(n)) for number in SIGNALS]
    try:
        with pytest.raises(ValueError, match="within") if fails else nullcontext(), Interrupts():
            signal.raise_signal(signal.SIGTERM)
            if fails:
                raise ValueError("within")
        assert seen == []
        for number in SIGNALS:
            signal.raise_signal(number)
        assert seen == list(SIGNALS)
    finally:
        for number, handler in zip(SIGNALS, before, strict=True):
            signal.signal(number, handler)


def test_in_another_thread_nothing_is_caught() -> None:
    handlers = [signal.getsignal(number) for number in SIGNALS]
    during: list[object] = []

    def work() -> None:
        with Interrupts() as interrupts:
            during.extend(signal.getsignal(number) for number in SIGNALS)
            interrupts.obey()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert during == handlers


WORKER = """
import os, time
from regraft.training import interrupts
interrupts.PARENT_SECONDS = 0.1
interrupts.leave_to(os.getppid())
print(os.getpid(), flush=True)
time.sleep(60)
"""
here = pytest.mark.skipif(not hasattr(signal, "sigtimedwait"), reason="no such call here")


@here
@pytest.mark.parametrize("number", SIGNALS)
def test_a_worker_obeys_its_parent_alone(number: signal.Signals) -> None:
    with subprocess.Popen([sys.executable, "-c", WORKER], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        stranger = [sys.executable, "-c", f"import os; os.kill({child.pid}, {int(number)})"]
        subprocess.run(stranger, check=True)
        time.sleep(0.25)
        assert child.poll() is None
        os.kill(child.pid, number)
        assert child.wait(10) == 0


@here
def test_a_worker_ends_when_its_parent_is_gone() -> None:
    begin = f"[sys.executable, '-c', {WORKER!r}], stdout=subprocess.PIPE"
    start = f"import subprocess, sys; subprocess.Popen({begin}).stdout.readline()"
    run = subprocess.run([sys.executable, "-c", start], stderr=subprocess.PIPE, timeout=30)
    assert run.returncode == 0  # and the worker's end of the pipe is closed
