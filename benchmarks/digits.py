"""Handwritten digits, ten labels a class, many seeds: the probe beside raw pixels.

    python benchmarks/digits.py --seeds 20 --json out.json

Everything is chosen inside each fit, from its 100 labelled pictures alone.
"""

import argparse
import json
import tempfile
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from regraft.verbs.demo import demo


def run(folder: Path, seed: int, labels: int) -> dict[str, Any]:
    made = demo(folder / str(seed), seed=seed, labels=labels, backbone="efficientnet-lite0")
    raw = next(row for row in made.report.record["tried"] if row["name"] == "raw pixels")
    return {
        "seed": seed,
        "probe": made.report.metrics["accuracy"]["value"],
        "raw_pixels": raw["score"]["value"],
        "leave_one_out": made.model.record["leave_one_out"]["accuracy"],
        "size": made.model.extractors[0].spec.size,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--labels", type=int, default=10)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = [run(Path(folder), seed, asked.labels) for seed in range(asked.seeds)]
    summary = {
        name: {"mean": mean(r[name] for r in rows), "sd": stdev(r[name] for r in rows)}
        for name in ("probe", "raw_pixels", "leave_one_out")
    }
    text = json.dumps({"labels_per_class": asked.labels, **summary, "seeds": rows}, indent=1)
    print(text)
    if asked.json:
        asked.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
