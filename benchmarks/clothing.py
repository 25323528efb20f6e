"""The whole `fit` on clothing photos: accuracy at two sizes, a cold and warm runs of the command.

    python benchmarks/clothing.py DATA_FOLDER --json out.json

DATA_FOLDER has train/ and validation/ with one folder per class. Each run is a process of its own;
the cold one begins with an empty cache (weights to convert, network to compile, features to
compute), the warm ones repeat it.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any


def fit(data: Path, size: int, cache: str, out: str) -> dict[str, Any]:
    """One `regraft fit` from the shell; the document it prints, and its wall time in seconds."""
    command = [sys.executable, "-m", "regraft", "fit", str(data), "--json", "--quiet"]
    command += ["--backbone", "efficientnet-lite0", "--size", str(size), "--out", out]
    start = time.perf_counter()
    done = subprocess.run(
        command, env=os.environ | {"REGRAFT_CACHE": cache}, stdout=subprocess.PIPE, check=True
    )
    seconds = time.perf_counter() - start
    return json.loads(done.stdout) | {"wall_s": seconds}


def measured(data: Path, size: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        runs = [fit(data, size, f"{folder}/cache", f"{folder}/out{i}") for i in range(3)]
    cold, *warm = runs
    accuracy = cold["metrics"]["accuracy"]
    loo = cold["leave_one_out"]["accuracy"]
    return {
        "size": size,
        "accuracy": accuracy,
        "leave_one_out": loo,
        "leave_one_out_minus_accuracy": loo - accuracy["value"],
        "cold_s": cold["wall_s"],
        "warm_s": [run["wall_s"] for run in warm],
        "warm_equals_cold": all(run["metrics"] == cold["metrics"] for run in warm),
        "stages_cold_s": cold["timings"],
        "stages_warm_s": warm[-1]["timings"],
        "tried": [
            {k: row[k] for k in ("name", "detail", "score", "kept")} for row in cold["tried"]
        ],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--sizes", type=int, nargs="+", default=[128, 224])
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    if not (asked.data / "train").is_dir():
        print(f"skipped: {asked.data} has no train folder")
        return
    machine = {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count()}
    found = {"machine": machine, "runs": [measured(asked.data, size) for size in asked.sizes]}
    text = json.dumps(found, indent=1)
    print(text)
    if asked.json:
        asked.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
