"""A verb of the command line in a process of its own: begun, watched, stopped as Ctrl-C does.

What it writes goes into files, so that it never waits for a reader, and what it has told is still
there when a page is opened again.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from regraft.ui.watching import Watching

PROGRAM = (sys.executable, "-m", "regraft")
INTERRUPTED = 130  # exit code of a verb that Ctrl-C has stopped
TAIL = 2000  # bytes of stderr that are told where a process died without a document
DOCUMENT = 256 * 2**20  # bytes of a document that is read


class Job:
    """``regraft VERB WORDS... --json --progress jsonl`` at work.

    about  plain data on what was asked, for the page
    """

    def __init__(self, verb: str, words: Sequence[str], about: Mapping[str, Any]) -> None:
        self.verb, self.about = verb, dict(about)
        self.stopping = False
        self._watching, self._place = Watching(), 0
        self._kept = tempfile.TemporaryDirectory(prefix="regraft-ui-")
        self._out, self._err = (Path(self._kept.name) / name for name in ("document", "progress"))
        self._document: dict[str, Any] | None = None
        self._started, self._ended = time.monotonic(), 0.0
        command = [*PROGRAM, verb, "--json", "--progress=jsonl", *words]
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,  # it and what it starts are stopped together, and by us
            )

    @property
    def running(self) -> bool:
        if self._process.poll() is None:
            return True
        self._ended = self._ended or time.monotonic()
        return False

    def stop(self) -> None:
        """As Ctrl-C does: it ends within a step, and what it needs to go on is kept.

        Asked again, it is killed.
        """
        if self.running:
            self._signal(signal.SIGKILL if self.stopping else signal.SIGINT)
            self.stopping = True

    def close(self, seconds: float = 10.0) -> None:
        """Stop it, kill it after so many seconds, and forget what it wrote here."""
        if not self.stopping:
            self.stop()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        self._signal(signal.SIGKILL)  # what it may have left behind, too
        self._process.wait()
        self._kept.cleanup()

    def _signal(self, number: int) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    @property
    def state(self) -> str:
        """running, stopping, done, stopped or failed."""
        if self.running:
            return "stopping" if self.stopping else "running"
        if self._process.returncode == 0:
            return "done"
        code = self._process.returncode
        return "stopped" if self.stopping or code == INTERRUPTED else "failed"

    def document(self) -> dict[str, Any]:
        """What it printed in the end; of one that died the reason as an error."""
        if self.running:
            return {}
        if self._document is None:
            self._document = self._read()
        return self._document

    def _read(self) -> dict[str, Any]:
        try:
            if self._out.stat().st_size <= DOCUMENT:
                found = json.loads(self._out.read_bytes())
                return found if isinstance(found, dict) else {}
        except (OSError, ValueError):
            pass
        code = self._process.returncode
        how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
        last = self._err.read_bytes()[-TAIL:].decode(errors="replace")
        told = [line for line in last.splitlines() if not line.startswith('{"event"')][-5:]
        return {"error": {"kind": "died", "messages": [f"regraft {self.verb} ended {how}", *told]}}

    def to_dict(self) -> dict[str, Any]:
        """Plain data for the page: what was asked, how far it is, what went wrong."""
        self._look()
        error = self.document().get("error", {}) if self.state in ("failed", "stopped") else {}
        spent = (self._ended or time.monotonic()) - self._started
        return {
            "verb": self.verb,
            **self.about,
            "state": self.state,
            "seconds": round(spent, 1),
            **self._watching.to_dict(),
            "errors": error.get("messages", []),
        }

    def _look(self) -> None:
        """At what was written since the last look."""
        with self._err.open("rb") as file:
            file.seek(self._place)
            some = file.read()
        self._place += len(some)
        self._watching.read(some)
