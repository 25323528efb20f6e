"""Three models, the whole of them, and the small model that it taught, on portions of two sets.

    OMP_NUM_THREADS=2 python benchmarks/ensemble.py --clothing FOLDER --json out.json
    ... --sets clothing,elpv --each 40 --seeds 0,1,2 --max-seconds 1200     # in portions
    ... --epochs 0                                     # frozen networks only: about a minute each

Of each set `--each` pictures of a class are learned from, half as many are a validation part, as
many more have their labels hidden; all others of the set's own measured part are measured on.

The members are of different networks, sizes, strategies and seeds: Lite0 at SIZES[0] tuned, Lite0
at SIZES[1] frozen, Lite1 at SIZES[1] tuned. The student is Lite0 at SIZES[0]. Beside it stands the
same network fitted alone, on the same labels (train, and train with validation: the student learns
from both, so that only what it has over the latter comes from its teacher).

To reach: the student keeps 0.7 of what the whole gains over the single model of its own kind.
The gain in accuracy is a few pictures, so the gain in log-loss stands beside it.
"""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import polars as pl
import portions
import sets
from portions import Portions, Row

import regraft
from regraft.data.dataset import Dataset
from regraft.data.sources import load
from regraft.evaluation.calibration import softmax
from regraft.model.model import Model

SIZES = (96, 128)
KEPT = 0.7
METRICS = ("accuracy", "log_loss")
BUDGET = 3600.0  # seconds: the length of training is set by its epochs
CONTENDERS = (
    *("single", "single, validation too", "best member", "whole", "student"),
    "student, unlabelled",
)


def portion(place: Path, each: int, seed: int) -> tuple[Dataset, list[str]]:
    """Some of a set with its parts, and the files whose labels are hidden."""
    whole = load(place)
    measured = sets.measured_part(place).name
    rng = np.random.default_rng(seed)
    ids = whole.table["id"].to_list()
    labels = whole.table["label"].to_list()
    is_measured = [name.split("/")[0] == measured for name in ids]
    split: list[str | None] = ["test" if held else None for held in is_measured]
    hidden = []
    for label in whole.classes:
        own = [i for i, one in enumerate(labels) if one == label and not is_measured[i]]
        order = [own[i] for i in rng.permutation(len(own))]
        for i in order[:each]:
            split[i] = "train"
        for i in order[each : each + each // 2]:
            split[i] = "validation"
        hidden += [whole.table["path"][i] for i in order[each + each // 2 :][:each]]
    table = whole.table.with_columns(split=pl.Series(split, dtype=pl.String))
    table = table.filter(pl.col("split").is_not_null())
    return replace(whole.with_table(table), split_source="given"), hidden


def merged(data: Dataset) -> Dataset:
    """The same with its validation part learned from too."""
    part = pl.col("split").replace("validation", "train")
    return data.with_table(data.table.with_columns(split=part))


def training(epochs: float) -> dict[str, Any]:
    """Settings of what is trained so long; none: of the closed-form head alone."""
    return {"strategy": "lp-ft", "epochs": epochs} if epochs else {"strategy": "probe"}


def members(data: Dataset, seed: int, epochs: float) -> list[Model]:
    tuned = training(epochs)
    rows: list[dict[str, Any]] = [
        {"backbone": "efficientnet-lite0", "size": SIZES[0], "seed": 10 * seed + 1, **tuned},
        {"backbone": "efficientnet-lite0", "size": SIZES[1], "seed": 10 * seed + 2},
        {"backbone": "efficientnet-lite1", "size": SIZES[1], "seed": 10 * seed + 3, **tuned},
    ]
    rows[1]["strategy"] = "probe"
    return [regraft.fit(data, budget=BUDGET, **row) for row in rows]


def run(place: Path, each: int, seed: int, epochs: float) -> Row:
    data, hidden = portion(place, each, seed)
    begin = time.perf_counter()
    found = members(data, seed, epochs)
    whole = regraft.ensemble(found, data, timed=False)
    student = {"network": "efficientnet-lite0", "size": SIZES[0], "seed": 10 * seed + 1}
    student |= {**training(epochs), "budget": BUDGET, "timed": False}
    taught = regraft.distil(whole.model, data, **student)
    more = regraft.distil(whole.model, data, unlabelled=hidden, **student)
    alone = {k: v for k, v in student.items() if k not in ("network", "timed")}
    both = regraft.fit(merged(data), backbone="efficientnet-lite0", **alone)
    test = data.test
    models = dict(zip(CONTENDERS, (found[0], both, _best(found, whole), whole.model,
                              taught.model, more.model), strict=True))  # fmt: skip
    return {
        "seed": seed,
        "n": len(test),
        "seconds": time.perf_counter() - begin,
        "scores": {name: scores(model, test) for name, model in models.items()},
        "members": [scores(model, test) for model in found],
        "means": means(found, test),
        "kept": next(r["name"] for r in whole.report.record["tried"] if r["kept"]),
        "tried": [
            {key: r[key] for key in ("name", "score", "why")} for r in whole.report.record["tried"]
        ],
        "student": [
            {key: r[key] for key in ("name", "score", "kept", "why")}
            for r in more.report.record["tried"]
        ],
    }


def _best(found: Sequence[Model], whole: Any) -> Model:
    """The member that the validation part calls best."""
    told = whole.report.record["before_after"]["told"]
    number = next(k for k in range(len(found)) if f"before: model {k + 1}," in told)
    return found[number]


def scores(model: Model, test: Dataset) -> dict[str, Any]:
    metrics = regraft.evaluate(model, test, resamples=1000).metrics
    return {name: metrics[name] for name in ("accuracy", "log_loss", "ece")}


def means(found: Sequence[Model], test: Dataset) -> dict[str, float]:
    """Accuracy of the geometric mean of the members' probabilities, and of the arithmetic one."""
    files = test.table["path"].to_list()
    said = []
    for model in found:
        seen = model.features(files)
        order = [model.classes.index(name) for name in test.classes]
        said.append(softmax(model.head.scores(seen.features), model.temperature)[:, order])
    ways = {"geometric": np.exp(np.mean(np.log(said), 0)), "arithmetic": np.mean(said, 0)}
    return {how: float((p.argmax(1) == test.targets).mean()) for how, p in ways.items()}


def kept_share(rows: list[Row], metric: str, small: str, alone: str) -> float | None:
    """Of what the whole gains over a single model, the means over the seeds."""
    value = {name: mean(r["scores"][name][metric]["value"] for r in rows) for name in CONTENDERS}
    gain = value["whole"] - value[alone]
    return None if abs(gain) < 1e-9 else (value[small] - value[alone]) / gain


def summary(rows: list[Row]) -> dict[str, Any]:
    out = []
    names = dict.fromkeys(row["set"] for row in rows)
    for name, metric, alone, small in product(names, METRICS, CONTENDERS[:2], CONTENDERS[-2:]):
        own = [row for row in rows if row["set"] == name]
        found = kept_share(own, metric, small, alone)
        out.append(
            {
                "what": f"{name}: gain in {metric} over “{alone}” kept by “{small}”",
                "goal": f">= {KEPT}",
                "found": None if found is None else round(found, 3),
                "met": None if found is None else found >= KEPT,
            }
        )
    return {"figures": out, "means": {name: averages(rows, name) for name in CONTENDERS}}


def averages(rows: list[Row], contender: str) -> dict[str, dict[str, float]]:
    """Per set: the mean over the seeds."""
    return {
        name: {
            metric: round(
                mean(r["scores"][contender][metric]["value"] for r in rows if r["set"] == name), 4
            )
            for metric in ("accuracy", "log_loss", "ece")
        }
        for name in dict.fromkeys(row["set"] for row in rows)
    }


def show(row: Row) -> None:
    print(f"{row['set']}, seed {row['seed']}: kept {row['kept']}, {row['seconds']:.0f} s")
    for name, one in row["scores"].items():
        a = one["accuracy"]
        ends = f"[{a['low']:.3f}, {a['high']:.3f}]"
        print(f"    {name:24} {a['value']:.3f} {ends}  log-loss {one['log_loss']['value']:.3f}")
    sys.stdout.flush()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    sets.add_arguments(parser)
    parser.add_argument("--sets", type=portions.several(str), default=["clothing", "elpv"])
    parser.add_argument("--each", type=int, default=40, help="pictures of a class")
    parser.add_argument("--epochs", type=float, default=4.0, help="0: nothing is trained")
    parser.add_argument("--seeds", type=portions.several(int), default=[0])
    portions.add_arguments(parser)
    asked = parser.parse_args(arguments)
    os.environ.setdefault("REGRAFT_CACHE", str(asked.work / "cache"))
    settings = {"each": asked.each, "sizes": list(SIZES), "epochs": asked.epochs}
    kept = Portions(asked.json, settings, ("set", "seed"), asked.max_seconds)
    for name in asked.sets:
        if (place := sets.folder(name, asked)) is None:
            continue
        for seed in asked.seeds:
            if kept.has(name, seed) or kept.over:
                continue
            row = {"set": name, **run(place, asked.each, seed, asked.epochs)}
            kept.add(row, summary=summary)
            show(row)
    print(portions.told(summary(kept.rows)["figures"]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
