"""The BatchNorm trap: ten digits a class, naive fine-tuning with BatchNorm free, frozen, estimated.

    OMP_NUM_THREADS=2 python benchmarks/norm_trap.py --json out.json
    ... --seeds 0,1,2,3,4 --rates 1e-3,3e-4,1e-4 --size 128 --steps 100

A strategy (`copy`: a fresh head, one rate, Adam; or another by --strategy) learns from 100 of
scikit-learn's digits, ten of each class drawn by the seed, and is measured on the 1,697 others.
Everything is the same but for the statistics of BatchNorm: free, as libraries leave them, frozen
at those of the pretraining, or estimated once on the 100 pictures and then frozen.

Told are, at the end of training: the loss on the last batches; accuracy on the 100 pictures as the
network sees them in training, by the statistics of each batch; accuracy on the same 100 as the
network is used afterwards, by its running statistics; and accuracy on the test pictures. With free
statistics the first two look perfect and the others do not: that is the trap. There is no figure to
reach; these are for the documentation.

Several rates, because BatchNorm does two things. Its statistics are the trap; but it also takes the
scale out of each layer, so that a rate which is far too high does less harm. A frozen one is a
fixed scale and shift, and the same naive rate can destroy the network: freezing asks for a rate
that suits it.
"""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import portions
import sets
from portions import Portions, Row

NORMS = ("free", "frozen", "estimated")
LABELS = 10
COLUMNS = ("train_loss", "train_by_batch", "train", "test")


def measured(
    folder: Path, norm: str, rate: float, seed: int, asked: argparse.Namespace, store: Any
) -> Row:
    import runs

    from regraft.backbones.catalog import find
    from regraft.training.strategies import strategy
    from regraft.verbs.prepare import load

    data, row, way = load(folder, store=store), find(asked.backbone), strategy(asked.strategy)
    on = runs.ground(data.learning, row, asked.size, seed, store)
    length = {"size": asked.size, "steps": asked.steps, "batch": asked.batch, "seed": seed}
    start = time.perf_counter()
    begun = on.begun(way, runs.plan_of(way, length, norm=norm, rate=rate))
    found = runs.trained(begun.training(patience=None))
    learned, held = (runs.held_of(view, row, on.spec) for view in (data.learning, data.held_out))
    return {
        "norm": norm,
        "rate": rate,
        "seed": seed,
        "train_loss": found.curve[-1].loss,
        "train_by_batch": runs.by_batch_statistics(
            begun, learned.pixels, learned.labels, asked.batch
        ),
        "train": runs.accuracy(begun, learned),
        "test": runs.accuracy(begun, held),
        "measured": len(held.labels),
        "warnings": found.warnings,
        "seconds": time.perf_counter() - start,
    }


def summary(rows: list[Row]) -> dict[str, Any]:
    """Mean and standard deviation over the seeds."""
    found: dict[str, Any] = {}
    for norm, rate in dict.fromkeys((row["norm"], row["rate"]) for row in rows):
        own = [row for row in rows if (row["norm"], row["rate"]) == (norm, rate)]
        told = found[f"{norm}, {rate:g}"] = {"seeds": len(own)}
        for name in COLUMNS:
            values = [row[name] for row in own]
            spread = stdev(values) if len(values) > 1 else None
            told[name] = {"mean": mean(values), "sd": spread}
    return {"by_norm_and_rate": found}


def show(found: dict[str, Any]) -> None:
    print(f"{'BatchNorm, rate':18}" + "".join(f"{name:>18}" for name in COLUMNS))
    for norm, told in found.items():
        values = ((told[name]["mean"], told[name]["sd"] or 0.0) for name in COLUMNS)
        print(f"{norm:18}" + "".join(f"{m:11.3f} ± {sd:.2f}" for m, sd in values))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=portions.several(int), default=[0, 1, 2, 3, 4])
    parser.add_argument("--norms", type=portions.several(str), default=list(NORMS))
    parser.add_argument("--rates", type=portions.several(float), default=[1e-3, 3e-4, 1e-4])
    parser.add_argument("--size", type=int, default=128, help="pixels")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--batch", type=int, default=10)
    parser.add_argument("--strategy", default="copy", help="copy, or lp-ft for what suits few")
    parser.add_argument("--backbone", default="efficientnet-lite0")
    sets.add_arguments(parser)
    portions.add_arguments(parser)
    asked = parser.parse_args(arguments)
    os.environ.setdefault("REGRAFT_CACHE", str(asked.work / "cache"))
    from regraft.backbones.store import Store
    from regraft.verbs.demo import write_digits

    settings = {
        name: getattr(asked, name) for name in ("size", "steps", "batch", "backbone", "strategy")
    }
    kept = Portions(asked.json, settings, ("norm", "rate", "seed"), asked.max_seconds)
    with Store() as store:
        for seed in asked.seeds:
            folder = write_digits(asked.work / "norm-trap" / str(seed), LABELS, seed)
            for norm, rate in product(asked.norms, asked.rates):
                if not kept.has(norm, rate, seed) and not kept.over:
                    kept.add(measured(folder, norm, rate, seed, asked, store), summary=summary)
                    print({k: v for k, v in kept.rows[-1].items() if k != "warnings"}, flush=True)
    show(summary(kept.rows)["by_norm_and_rate"])
    return 0


if __name__ == "__main__":
    sys.exit(main())
