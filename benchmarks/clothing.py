"""The whole `fit` on clothing photos: accuracy at two sizes, a cold and warm runs of the command.

    python benchmarks/clothing.py DATA_FOLDER --json out.json

DATA_FOLDER has train/ and validation/ with one folder per class. Each run is a process of its own;
the cold one begins with an empty cache (weights to convert, network to compile, features to
compute), the warm ones repeat it.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

import portions
from command import fitted


def measured(data: Path, size: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        asked = ("--backbone", "efficientnet-lite0", "--size", str(size))
        cache = Path(folder) / "cache"
        runs = [fitted(data, cache, Path(folder) / f"out{i}", *asked) for i in range(3)]
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


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--sizes", type=int, nargs="+", default=[128, 224])
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    if not (asked.data / "train").is_dir():
        print(f"skipped: {asked.data} has no train folder")
        return 0
    runs = [measured(asked.data, size) for size in asked.sizes]
    return portions.finish({"machine": portions.machine(), "runs": runs}, asked.json)


if __name__ == "__main__":
    sys.exit(main())
