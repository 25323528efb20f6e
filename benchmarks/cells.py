"""Blood cells cut out of smears: red cells, white cells and platelets, by the official smears.

    python benchmarks/cells.py --bccd FOLDER --work FOLDER --json out.json

FOLDER of --bccd has Annotations/ (VOC) and JPEGImages/; the crops are written once, below --work.
Cells of one smear are a group: the official split keeps smears whole, leave-one-out leaves them out
whole, and the intervals are over smears. Some red cells are unlabelled in the source.
"""

import argparse
import json
import os
import platform
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import sets

KEPT = ("accuracy", "balanced_accuracy", "worst_class_recall", "auroc_macro", "ece")
FIGURES = ("recall", "precision", "specificity", "npv", "auroc", "average_precision")


def manifest(crops: Path, out: Path) -> Path:
    """A row per cell: its class, the part of its smear, and the smear as its group."""
    import polars as pl

    files = sorted(crops.glob("*/*/*.png"))
    names = [file.relative_to(crops).as_posix() for file in files]
    columns = {
        "file": names,
        "label": [name.split("/")[1] for name in names],
        "split": [name.split("/")[0] for name in names],
        "group": [file.stem.rpartition("_")[0] for file in files],
    }
    pl.DataFrame(columns).write_csv(out)
    return out


def measured(crops: Path, work: Path, asked: argparse.Namespace) -> dict[str, Any]:
    """One fit, and what it says of the official validation smears."""
    from regraft.verbs.fit import fit_and_report

    listed = manifest(crops, work / "cells.csv")
    start = time.perf_counter()
    settings: dict[str, Any] = {"strategy": asked.strategy, "budget": asked.budget}
    settings |= {"size": asked.size, "backbone": "efficientnet-lite0", "root": str(crops)}
    record = fit_and_report(str(listed), **settings).report.record
    rows = [
        {"class": row["class"], "support": row["support"]}
        | {f: [row[f], row[f"{f}_low"], row[f"{f}_high"]] for f in FIGURES}
        for row in record["per_class"]
    ]
    ends = ("value", "low", "high")
    return {
        "size": asked.size,
        "seconds": round(time.perf_counter() - start, 1),
        "learned": record["split"]["counts"]["train"],
        "measured": record["split"]["n"],
        "metrics": {name: [record["metrics"][name][end] for end in ends] for name in KEPT},
        "per_class": rows,
        "confusion": record["confusion"],
        "classes": record["classes"],
        "tried": [
            {k: row[k] for k in ("name", "detail", "score", "kept")} for row in record["tried"]
        ],
        "findings": {kind: n for kind, n in _counted(record["findings"])},
    }


def _counted(findings: Sequence[dict[str, Any]]) -> list[tuple[str, int]]:
    kinds = [finding["kind"] for finding in findings]
    return [(kind, kinds.count(kind)) for kind in dict.fromkeys(kinds)]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    sets.add_arguments(parser)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--budget", default="5min")
    parser.add_argument("--strategy", default="probe")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args(arguments)
    if (crops := sets.folder("bccd", asked)) is None:
        return
    machine = {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count()}
    found = {"machine": machine, **measured(crops, asked.work, asked)}
    text = json.dumps(found, indent=1)
    print(text)
    if asked.json:
        asked.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
