"""Time and memory of the head on more rows than fit into memory: both against their number.

    OMP_NUM_THREADS=2 python benchmarks/head_streamed.py --json out.json
    OMP_NUM_THREADS=2 python benchmarks/head_streamed.py --rows 1_000_000 --json out.json
    OMP_NUM_THREADS=2 python benchmarks/head_streamed.py --rows 200_000,400_000 --dim 1792

Features are made chunk by chunk from a seed each time they are asked for, and never stored; the
time that takes is told apart. Each size runs in a process of its own, so that its peak memory is
its own.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from regraft.transfer.probe import fit_head_streamed

CLASSES, BLOCKS = 10, 16
MEMORY_GOAL = 2 * 2**30
LINEAR_GOAL = 1.15  # time for a row at the largest size, against the smallest

Array = npt.NDArray[Any]


class Made:
    """Chunks made when they are asked for; counts the seconds that takes."""

    def __init__(self, rows: int, dim: int, chunk: int, seed: int) -> None:
        self.rows, self.dim, self.chunk, self.seed = rows, dim, chunk, seed
        self.centres = np.random.default_rng(seed).normal(0, 0.12, (CLASSES, dim))
        self.seconds = 0.0

    def __call__(self) -> Iterator[tuple[Array, Array]]:
        for start in range(0, self.rows, self.chunk):
            began = time.perf_counter()
            made = self._chunk(start, min(self.chunk, self.rows - start))
            self.seconds += time.perf_counter() - began
            yield made

    def _chunk(self, start: int, size: int) -> tuple[Array, Array]:
        rng = np.random.default_rng([self.seed, start])
        labels = rng.integers(0, CLASSES, size)
        features = rng.standard_normal((size, self.dim), dtype=np.float32)
        features += self.centres[labels]
        return features, labels


def one(rows: int, dim: int, chunk: int, seed: int) -> dict[str, Any]:
    """Fit once, in this process."""
    chunks = Made(rows, dim, chunk, seed)
    widths = [len(part) for part in np.array_split(np.arange(dim), BLOCKS)]
    base = resource.getrusage(resource.RUSAGE_SELF)
    start = time.perf_counter()
    fit = fit_head_streamed(chunks, classes=CLASSES, widths=widths, seed=seed)
    seconds = time.perf_counter() - start
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, labels = next(chunks())
    return {
        "rows": rows,
        "dim": dim,
        "chunk": chunk,
        "seconds": round(seconds, 2),
        "seconds_making_rows": round(chunks.seconds, 2),
        "seconds_fitting": round(seconds - chunks.seconds, 2),
        "user_seconds": round(used.ru_utime - base.ru_utime, 2),
        "peak_bytes": used.ru_maxrss * (1 if sys.platform == "darwin" else 1024),
        "left_out_error": fit.error,
        "left_out_accuracy": float(np.mean(fit.left_out[: len(labels)].argmax(1) == labels)),
        "lambda": fit.head.lam,
    }


def in_a_process(rows: int, options: argparse.Namespace) -> dict[str, Any]:
    command = [sys.executable, __file__, "--one", "--rows", str(rows), "--dim", str(options.dim)]
    command += ["--chunk", str(options.chunk), "--seed", str(options.seed)]
    print(f"{rows:,} rows ...", file=sys.stderr, flush=True)
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def summary(cases: Sequence[dict[str, Any]]) -> dict[str, Any]:
    each = [case["user_seconds"] / case["rows"] for case in cases]
    growth = each[-1] / each[0]
    peak = max(case["peak_bytes"] for case in cases)
    return {
        "user_seconds_for_a_row_largest_over_smallest": round(growth, 3),
        "linear": len(cases) < 2 or growth < LINEAR_GOAL,
        "peak_gib": round(peak / 2**30, 3),
        "within_memory_goal": peak <= MEMORY_GOAL,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the result to this file")
    parser.add_argument("--rows", default="100_000,200_000,400_000", help="several with commas")
    parser.add_argument("--dim", type=int, default=1792)
    parser.add_argument("--chunk", type=int, default=4096, help="rows at a time")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    sizes = sorted(int(rows) for rows in options.rows.split(","))
    if options.one:
        print(json.dumps(one(sizes[0], options.dim, options.chunk, options.seed)))
        return 0
    cases = [in_a_process(rows, options) for rows in sizes]
    result = {
        "environment": {
            "python": platform.python_version(),
            "numpy": np.__version__,
            "processors": os.cpu_count(),
            "threads": os.environ.get("OMP_NUM_THREADS"),
            "load": os.getloadavg()[0],
        },
        "cases": cases,
        **summary(cases),
    }
    text = json.dumps(result, indent=1)
    print(text)
    if options.json:
        options.json.write_text(text + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
