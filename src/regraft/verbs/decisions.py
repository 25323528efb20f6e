"""What the clock decides on the way up, noted so that a run that goes on decides the same."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from regraft.storage import write_atomically
from regraft.training.devices import agreed, is_first


class Decisions:
    """Decisions by their names, as plain data; in a file where there is one.

    With several processes they are those of the first, which writes.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        there = path is not None and path.exists()
        self._noted: dict[str, Any] = json.loads(path.read_bytes()) if path and there else {}

    def noted(self, name: str) -> bool:
        """Whether it was decided before, in this run or in the one that goes on."""
        return name in self._noted

    def decide(self, name: str, make: Callable[[], Any]) -> Any:
        """The decision of that name; `make` is asked, at its first time, for plain data."""
        if name not in self._noted:
            self._noted[name] = agreed(make())
            if self.path is not None and is_first():
                write_atomically(self.path, json.dumps(self._noted).encode())
        return self._noted[name]
