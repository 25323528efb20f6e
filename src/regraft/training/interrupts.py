"""Ctrl-C and SIGTERM while a run trains: the step ends, a checkpoint is written, then it stops."""

import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

SIGNALS = (signal.SIGINT, signal.SIGTERM)
PARENT_SECONDS = 5.0  # after which a worker looks whether the process that trains is still there


class Interrupts:
    """While it is entered, the first signal is noted; a second Ctrl-C works as ever.

    In another thread than the main one signals cannot be caught: then nothing is ever noted.
    """

    def __init__(self) -> None:
        self.asked: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.asked = number
        signal.signal(number, self._before[number])

    def obey(self) -> None:
        """Raise KeyboardInterrupt if a signal was noted: all is saved now."""
        if self.asked is not None:
            raise KeyboardInterrupt

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)


def leave_to(parent: int, worker: int = 0) -> None:
    """In a process of the loader: signals to all processes are for the one that trains.

    A terminal and a service manager send them to every process. A worker that ended at once would
    break the step that is being made; it ends when the process that trains says so, or is gone.
    """
    if not hasattr(signal, "sigtimedwait"):  # not Linux
        return
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)

    def wait() -> None:
        told = None
        while os.getppid() == parent and (told is None or told.si_pid != parent):
            told = signal.sigtimedwait(SIGNALS, PARENT_SECONDS)
        os._exit(0)

    threading.Thread(target=wait, daemon=True).start()
