"""Partial fine-tuning with the frozen prefix's activations kept, against running it in each step.

    OMP_NUM_THREADS=2 python benchmarks/partial.py DATA_FOLDER --json out.json
    ... --examples 1000 --epochs 12 --size 128 --seeds 0,1,2

DATA_FOLDER has train/ and validation/ with one folder per class. Both runs begin with the same
closed-form head on the same examples, drawn by the seed, and make the same number of steps of the
strategy `partial`. One computes its views through the shallow part beforehand, in the fastest
engine (or --engine), and then runs only the deep part; the other one runs everything in each step
and augments anew at each turn. The same parameters learn in both, at the same rates.

The wall time is from the closed-form head to the last step, with the views and the compilation of
the engine in it; both decode their pictures themselves. The order of the pairs alternates.

To reach: twice as fast on two cores (median of the pairs), at equal accuracy (mean over the seeds
within 0.5 points).
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean, median
from typing import Any

import numpy as np
import portions
from portions import Portions, Row

FASTER, NEAR = 2.0, 0.005
KEPT, EACH_STEP = "kept", "in each step"


def some_of(view: Any, examples: int, seed: int) -> Any:
    """So many of the examples, drawn in the classes' own proportions."""
    from sklearn.model_selection import train_test_split

    if examples >= len(view):
        return view
    places = np.arange(len(view))
    asked: dict[str, Any] = {"stratify": view.targets, "random_state": seed}
    some, _ = train_test_split(places, train_size=examples, **asked)
    return view.with_table(view.table[np.sort(some)])


def rates(begun: Any) -> dict[str, float]:
    """Names of the parameters that a gradient reaches → rate, as a share of the plan's.

    Of a network in halves, what stands before the deep one runs on a blank picture and gets none.
    """
    from regraft.training.start import parts_that_learn

    parts = parts_that_learn(begun.model, begun.wanted, begun.row, begun.plan)
    begun.model(begun.material.examples.blank()).sum().backward()
    names = {id(p): name for name, p in begun.model.named_parameters() if p.grad is not None}
    begun.model.zero_grad(set_to_none=True)
    return {
        names[id(p)]: part.rate_factor for part in parts for p in part.parameters if id(p) in names
    }


def kept(on: Any, plan: Any, engine: str) -> tuple[Any, Any]:
    """The run with kept activations: as `fit` begins it, views and all."""
    from regraft.progress import Quiet
    from regraft.training.strategies import strategy

    begun = on.begun(strategy("partial"), plan, engine)
    begun.fill(Quiet())
    return begun, begun.training(patience=None)


def in_each_step(on: Any, plan: Any, learning: dict[str, float]) -> tuple[Any, Any]:
    """The same without: the whole network in each step, of which the same parameters learn."""
    from regraft.training.loop import Training
    from regraft.training.strategies import strategy
    from regraft.training.terms import Part

    begun = on.begun(replace(strategy("partial"), prefix=False), plan)
    begun.model.requires_grad_(False)
    own = dict(begun.model.named_parameters())
    parts = [
        Part(
            [own[n].requires_grad_(True) for n, rate in learning.items() if rate == factor], factor
        )
        for factor in dict.fromkeys(learning.values())
    ]
    return begun, Training(begun.model, parts, plan, begun.material, patience=None)


def measured(data: Any, seed: int, asked: argparse.Namespace, store: Any) -> Row:
    import runs

    from regraft.backbones.catalog import find
    from regraft.training.strategies import strategy

    view = some_of(data.learning, asked.examples, seed)
    on = runs.ground(view, find(asked.backbone), asked.size, seed, store)
    batch = runs.batch_for(len(view))
    length = {"size": asked.size, "batch": batch, "seed": seed}
    length["steps"] = max(1, round(asked.epochs * len(view) / batch))
    plan = replace(runs.plan_of(strategy("partial"), length), views=asked.views)
    engine = asked.engine or on.engine
    learning = rates(on.begun(strategy("partial"), plan))
    makers: dict[str, Callable[[], tuple[Any, Any]]] = {
        KEPT: lambda: kept(on, plan, engine),
        EACH_STEP: lambda: in_each_step(on, plan, learning),
    }
    order = [KEPT, EACH_STEP] if seed % 2 == 0 else [EACH_STEP, KEPT]
    found = {name: timed(makers[name], data.held_out) for name in order}
    return {
        "seed": seed,
        "examples": len(view),
        "steps": plan.steps,
        "batch": batch,
        "engine": engine,
        "parameters_that_learn": len(learning),
        **found,
        "times_faster": found[EACH_STEP]["seconds"] / found[KEPT]["seconds"],
    }


def timed(make: Callable[[], tuple[Any, Any]], held_out: Any) -> dict[str, float]:
    import runs

    start = time.perf_counter()
    begun, run = make()
    beginning = time.perf_counter() - start
    runs.trained(run)
    seconds = time.perf_counter() - start
    accuracy = runs.accuracy(begun, begun.held(runs.lesson_of(held_out)))
    return {"seconds": seconds, "before_the_first_step": beginning, "accuracy": accuracy}


def summary(rows: list[Row]) -> dict[str, Any]:
    ratio = median(row["times_faster"] for row in rows)
    gains = [row[KEPT]["accuracy"] - row[EACH_STEP]["accuracy"] for row in rows]
    figures = [
        {
            "what": "times faster with kept activations, median",
            "goal": f">= {FASTER}",
            "found": round(ratio, 2),
            "met": ratio >= FASTER,
        },
        {
            "what": f"accuracy with them minus without, mean of {len(rows)} seeds",
            "goal": "within 0.5 points",
            "found": f"{100 * mean(gains):+.2f} points",
            "met": abs(mean(gains)) <= NEAR,
        },
    ]
    return {"figures": figures}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--examples", type=int, default=1000)
    parser.add_argument("--epochs", type=float, default=12.0)
    parser.add_argument("--views", type=int, default=4, help="of each example that are kept")
    parser.add_argument("--size", type=int, default=128, help="pixels")
    parser.add_argument("--seeds", type=portions.several(int), default=[0, 1, 2, 3, 4])
    parser.add_argument("--engine", help="for the shallow part; the fastest by default")
    parser.add_argument("--backbone", default="efficientnet-lite0")
    portions.add_arguments(parser)
    asked = parser.parse_args(arguments)
    if not (asked.data / "train").is_dir():
        print(f"skipped: {asked.data} has no train folder")
        return 0
    names = ("examples", "epochs", "views", "size", "engine", "backbone")
    settings = {name: getattr(asked, name) for name in names}
    kept_rows = Portions(asked.json, settings, ("seed",), asked.max_seconds)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["REGRAFT_CACHE"] = folder
        run(asked, kept_rows)
    print(portions.told(summary(kept_rows.rows)["figures"]) if kept_rows.rows else "nothing yet")
    return 0


def run(asked: argparse.Namespace, kept_rows: Portions) -> None:
    from regraft.backbones.store import Store
    from regraft.verbs.prepare import load

    with Store() as store:
        data = load(asked.data, store=store)
        for seed in asked.seeds:
            if kept_rows.has(seed) or kept_rows.over:
                continue
            kept_rows.add(measured(data, seed, asked, store), summary=summary)
            row = kept_rows.rows[-1]
            print(f"seed {seed}: {row['times_faster']:.2f} times faster", row, flush=True)


if __name__ == "__main__":
    sys.exit(main())
