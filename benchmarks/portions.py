"""One JSON file that a measurement fills row by row, so that it can be run in portions.

A row is written as soon as it is there; what is in the file is not measured again. Rows that were
measured with other settings are never mixed: that file is refused.
"""

import argparse
import json
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

Row = dict[str, Any]


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    return {
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": os.environ.get("OMP_NUM_THREADS"),
        "python": platform.python_version(),
        **{name: _version(name) for name in ("torch", "timm", "openvino")},
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """--json and --max-seconds, which all measurements in portions share."""
    parser.add_argument("--json", type=Path, help="filled row by row; what it holds is not redone")
    parser.add_argument(
        "--max-seconds", type=float, default=float("inf"), help="begin nothing after so long"
    )


class Portions:
    """The rows of a measurement, in memory and in its file.

    path      None: nothing is written
    settings  what all rows have in common
    keys      the columns that name a row
    """

    def __init__(
        self, path: Path | None, settings: Mapping[str, Any], keys: Sequence[str], seconds: float
    ) -> None:
        self.path, self.settings, self.keys = path, dict(settings), tuple(keys)
        self.until = time.monotonic() + seconds
        self.rows: list[Row] = self._read() if path and path.exists() else []

    def _read(self) -> list[Row]:
        assert self.path is not None
        found = json.loads(self.path.read_text(encoding="utf-8"))
        there, here = found.get("settings", {}), json.loads(json.dumps(self.settings))
        if other := sorted(name for name in there | here if there.get(name) != here.get(name)):
            told = ", ".join(f"{n}: {there.get(n)} there, {here.get(n)} here" for n in other)
            raise SystemExit(f"{self.path} was measured with other settings ({told})")
        rows: list[Row] = found["rows"]
        return rows

    @property
    def over(self) -> bool:
        """Whether the time is up and nothing more should begin."""
        return time.monotonic() >= self.until

    def has(self, *key: Any) -> bool:
        """Whether a row is there already; `key` are the values of `keys`."""
        return any(tuple(row[name] for name in self.keys) == key for row in self.rows)

    def add(self, *rows: Row, summary: Callable[[list[Row]], dict[str, Any]]) -> None:
        """Take rows, and write all of them with what they come to."""
        self.rows += rows
        self.write(summary)

    def write(self, summary: Callable[[list[Row]], dict[str, Any]]) -> None:
        """The file, whole or not at all."""
        if self.path is None:
            return
        found = {"settings": self.settings, "machine": machine(), **summary(self.rows)}
        text = json.dumps(found | {"rows": self.rows}, indent=1) + "\n"
        new = self.path.with_suffix(".new")
        new.write_text(text, encoding="utf-8")
        new.replace(self.path)


def finish(found: Mapping[str, Any], path: Path | None) -> int:
    """Print what was found, and write it where that was asked for; the exit status."""
    text = json.dumps(found, indent=1)
    print(text)
    if path:
        path.write_text(text + "\n", encoding="utf-8")
    return 0


def told(figures: Sequence[Mapping[str, Any]]) -> str:
    """Figures to reach, one a line; each has what, goal, found and met (None: not measured)."""
    words = {True: "met", False: "NOT met", None: "not measured yet"}
    return "\n".join(
        f"{words[f['met']]:17} {f['what']}: {f['found']} (to reach: {f['goal']})" for f in figures
    )


def several(kind: Callable[[str], Any]) -> Callable[[str], list[Any]]:
    """For argparse: values with commas."""
    return lambda text: [kind(part) for part in text.split(",")]
