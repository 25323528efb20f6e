"""Fewer channels: accuracy against latency for targets and importances, after learning again.

    python benchmarks/prune.py DATA_FOLDER --budget 900 --json out.json

DATA_FOLDER has train/ and validation/ with one folder per class. A probe is fitted on Lite0; each
row prunes it to one target by one importance and lets it learn again for as long as told. Times
are of both models in turn.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import portions

import regraft
from regraft.model.model import Model

TARGETS = ("macs=0.75", "macs=0.5", "latency=0.7")
IMPORTANCES = ("taylor", "l1", "bn-scale")
FASTER, POINTS = 1.4, 1.0  # at half the multiply-adds
KEYS = ("target", "importance")


def measured(model: Model, target: str, importance: str, budget: float) -> dict[str, Any]:
    small = regraft.prune(model, target=target, importance=importance, budget=budget, max_drop=None)
    record, told = small.record["before_after"], small.record["pruned"]
    before, after = record["before"], record["after"]
    return {
        "target": target,
        "importance": importance,
        "steps": told["training"]["steps"],
        "start_accuracy": told["training"]["start_accuracy"],
        "curve": told["curve"],
        "n": record["n"],
        "accuracy": [side["score"] for side in (before, after)],
        "points_lost": {end: 100 * v for end, v in record["lost"].items()},
        "bytes": [side["bytes"] for side in (before, after)],
        "macs": [side["macs"] for side in (before, after)],
        "faster_networks": before["latency"][0]["networks"] / after["latency"][0]["networks"],
        "faster_answers": before["latency"][0]["p50"] / after["latency"][0]["p50"],
    }


def figures(rows: list[portions.Row]) -> dict[str, Any]:
    half = [r for r in rows if r["target"] == "macs=0.5"]
    best = min(half, key=lambda r: r["points_lost"]["value"]) if half else None
    ratio = best and best["faster_networks"]
    lost = best and best["points_lost"]["value"]
    return {
        "figures": [
            {
                "what": "half the multiply-adds: times faster",
                "goal": FASTER,
                "found": ratio,
                "met": None if ratio is None else ratio >= FASTER,
            },
            {
                "what": "half the multiply-adds: points lost",
                "goal": POINTS,
                "found": lost,
                "met": None if lost is None else lost <= POINTS,
            },
        ]
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--backbone", default="efficientnet-lite0")
    parser.add_argument("--targets", type=portions.several(str), default=list(TARGETS))
    parser.add_argument("--importances", type=portions.several(str), default=list(IMPORTANCES))
    parser.add_argument("--budget", type=float, default=900.0, help="seconds for each row")
    portions.add_arguments(parser)
    asked = parser.parse_args()
    if not (asked.data / "train").is_dir():
        print(f"skipped: {asked.data} has no train folder")
        return 0
    settings = {"size": asked.size, "backbone": asked.backbone, "budget": asked.budget}
    found = portions.Portions(asked.json, settings, KEYS, asked.max_seconds)
    model = regraft.fit(asked.data, backbone=asked.backbone, size=asked.size, strategy=("probe",))
    for target in asked.targets:
        for importance in asked.importances:
            if not (found.over or found.has(target, importance)):
                row = measured(model, target, importance, asked.budget)
                found.add(row, summary=figures)
    print(portions.told(figures(found.rows)["figures"]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
