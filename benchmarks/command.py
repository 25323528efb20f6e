"""`regraft fit` as a person calls it: in a process of its own, with a cache that is given."""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any


def fitted(data: Path, cache: Path, out: Path, *options: str) -> dict[str, Any]:
    """The document that it prints, and ``wall_s``, from the start of the process to its end."""
    command = [sys.executable, "-m", "regraft", "fit", str(data), "--json", "--quiet"]
    environment = os.environ | {"REGRAFT_CACHE": str(cache)}
    start = time.perf_counter()
    done = subprocess.run(
        [*command, "--out", str(out), *options],
        env=environment,
        stdout=subprocess.PIPE,
        check=True,
    )
    seconds = time.perf_counter() - start
    found: dict[str, Any] = json.loads(done.stdout)
    return found | {"wall_s": seconds}


def fitted_cold(data: Path, *options: str) -> dict[str, Any]:
    """From an empty cache: weights to convert, network to compile, features to compute.

    Adds ``sizes``: of the pictures as the networks of the answer read them, in pixels.
    """
    with tempfile.TemporaryDirectory() as folder:
        found = fitted(data, Path(folder) / "cache", Path(folder) / "out", *options)
        record = json.loads(Path(found["record"]).read_bytes())
    return found | {"sizes": [one["spec"]["size"] for one in record["backbones"]]}


def rows_of(found: dict[str, Any]) -> list[dict[str, Any]]:
    """What was tried, shortly."""
    names = ("name", "detail", "score", "seconds", "kept", "why")
    return [{name: row[name] for name in names} for row in found["tried"]]


def probe_accuracy(found: dict[str, Any]) -> float:
    """Of the best frozen probe: what the user would have had without training."""
    rows = (row for row in found["tried"] if row["kind"] == "probe")
    return max(float(row["score"]["value"]) for row in rows)
