"""Boxes: mAP against time, `transfer` beside `scratch`, on blood cells or any annotated set.

    OMP_NUM_THREADS=2 python benchmarks/detection.py bccd/ --json out.json

FOLDER is what `regraft fit` takes, with a train and a held-out part (BCCD: the official train and
val). Each row is one whole fit within its budget, by a way, a budget and a seed; its figures are
those on the held-out part, read once. `time_to` is the first look at pictures held back from
training whose averaged weights reach mAP50 0.88: looks cost time and are part of the budget. The
load of the machine stands in each row: figures of time count only where it was quiet.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import portions

REACHED = 0.88  # mAP50
WAYS = ("transfer", "scratch")
LONG = 1800.0
GOALS = {"map50": 0.93, "map": 0.62}
AHEAD = 0.10  # points of mAP that `scratch` must stay behind at the same time


def fitted(data: Path, way: str, budget: float, seed: int, options: dict[str, Any]) -> portions.Row:
    """One fit within its budget."""
    from regraft.verbs.fit import fit_and_report

    before, begin = os.getloadavg(), time.perf_counter()
    with tempfile.TemporaryDirectory() as run:
        found = fit_and_report(data, budget=budget, strategy=way, seed=seed, run=run, **options)
    seconds = time.perf_counter() - begin
    record = found.report.record
    (training,) = record["box_training"]
    return {
        "way": way,
        "budget": budget,
        "seed": seed,
        "seconds": seconds,
        "load": [round(load, 2) for load in (*before, *os.getloadavg())],
        "metrics": {name: one["value"] for name, one in record["metrics"].items()},
        "interval": {name: found.report.metrics[name] for name in ("map", "map50")},
        "per_class": {row["class"]: row["ap"] for row in record["boxes_per_class"]},
        "n": record["split"]["n"],
        "steps": training["steps"],
        "epochs": training["epochs"],
        "training_s": training["seconds"],
        "curve": training["curve"],
        "timings": record["timings"],
        "time_to": first_at(training["curve"]),
    }


def first_at(curve: Sequence[dict[str, Any]]) -> float | None:
    """Seconds of training until the averaged weights reach REACHED; None where they do not."""
    times = (p["seconds"] for p in curve if (p["average_accuracy"] or 0.0) >= REACHED)
    return next(times, None)


def summary(rows: list[portions.Row]) -> dict[str, Any]:
    """Mean figures by way and budget, and what of the goals is met."""
    means: dict[str, dict[str, Any]] = {}
    for way, budget in sorted({(row["way"], row["budget"]) for row in rows}):
        some = [row for row in rows if (row["way"], row["budget"]) == (way, budget)]
        means[f"{way} {budget:g} s"] = {
            name: statistics.mean(row["metrics"][name] for row in some) for name in GOALS
        } | {"seconds": statistics.mean(row["seconds"] for row in some), "runs": len(some)}
    return {"means": means, "goals": goals(rows)}


def goals(rows: Sequence[portions.Row]) -> list[dict[str, Any]]:
    """Figures to reach; None where they were not measured."""
    long = [r for r in rows if r["way"] == "transfer" and r["budget"] == LONG]
    told = [
        _goal(f"{name} in 30 min", [r["metrics"][name] for r in long], g)
        for name, g in GOALS.items()
    ]
    short = [r["metrics"]["map50"] for r in rows if r["way"] == "transfer" and r["budget"] == 150]
    return [*told, _goal("mAP50 in 2.5 min", short, REACHED), _ahead(rows)]


def _goal(what: str, values: Sequence[float], goal: float) -> dict[str, Any]:
    found = statistics.mean(values) if values else None
    return {
        "what": what,
        "goal": goal,
        "found": found,
        "met": None if found is None else found >= goal,
    }


def _ahead(rows: Sequence[portions.Row]) -> dict[str, Any]:
    pairs = {(r["way"], r["budget"], r["seed"]): r["metrics"]["map"] for r in rows}
    gaps = [
        value - pairs["scratch", budget, seed]
        for (way, budget, seed), value in pairs.items()
        if way == "transfer" and ("scratch", budget, seed) in pairs
    ]
    return _goal("mAP ahead of scratch, least over budgets", [min(gaps)] if gaps else [], AHEAD)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--budgets", type=portions.several(float), default=[60, 150, 600, LONG])
    parser.add_argument("--ways", type=portions.several(str), default=list(WAYS))
    parser.add_argument("--seeds", type=portions.several(int), default=[0])
    parser.add_argument("--backbone", default="efficientnet-lite0")
    parser.add_argument("--detector", help="kind of detector; by default the usual one")
    parser.add_argument("--size", type=int, help="longer side of the input; by default chosen")
    parser.add_argument("--steps", type=int, help="so many whatever the budget: a trial")
    portions.add_arguments(parser)
    asked = parser.parse_args(arguments)
    if not asked.folder.exists():
        print(f"{asked.folder} is not there: nothing was measured")
        return 0
    names = ("backbone", "detector", "size", "steps")
    options = {k: v for k in names if (v := getattr(asked, k)) is not None}
    settings = {"set": asked.folder.name, **options}
    kept = portions.Portions(asked.json, settings, ("way", "budget", "seed"), asked.max_seconds)
    for seed in asked.seeds:
        for budget in asked.budgets:
            for way in asked.ways:
                if kept.over or kept.has(way, budget, seed):
                    continue
                row = fitted(asked.folder, way, budget, seed, options)
                kept.add(row, summary=summary)
                print(
                    way, f"{budget:g} s", row["metrics"]["map50"], row["metrics"]["map"], flush=True
                )
    print(portions.told(goals(kept.rows)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
