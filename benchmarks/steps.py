"""Training steps a second, loader included, beside a bare PyTorch loop on tensors that lie ready.

    OMP_NUM_THREADS=2 python benchmarks/steps.py --json out.json [--data FOLDER] [--size 128]
    python benchmarks/steps.py --network resnet50 --network vit-base --json gpu.json      # on a GPU

The run is Regraft's own loop with the settings of `lp-ft`: pictures from memory, augmented, moved
to the device, forwards and backwards with frozen BatchNorm folded, clipped, AdamW, moving average.
Beside it, in turn, bare loops with the same batch, threads, precision, memory format
(channels-last), freed memory kept, and optimiser with the same groups, on ready tensors, and
nothing else in them:

- bare:                 the same network with its head, BatchNorm folded as in the run
- bare, not folded:     the same without folding: what one would write
- plain:                the library's own network with a linear classifier, folded; and not folded

All alternate; a ratio is the median over the rounds of the ratios within one round, of the medians
of a step. A profile tells where the run's time goes: waiting for the loader, forwards and
backwards, the rest. Pictures are decoded before (told apart), as they are after the first epoch.

Without --data, pictures are made from a seed. On a GPU the networks are ResNet-50 and ViT-B with
random weights in bfloat16, unless others are named; the name of the device is in the file.

To reach: 0.95 of the bare loop's throughput on a CPU, 0.9 on a GPU; the loader is no bottleneck:
less than 5 % of the time is spent waiting for it.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import portions
import runs
import torch
from turns import WARM, bare_turns, ours

from regraft.backbones.catalog import DEFAULT, CatalogRow, find
from regraft.training.examples import Steps, loader
from regraft.training.memory import kept_memory
from regraft.training.strategies import strategy
from regraft.training.tuning import Lesson, Ready, ready

CLASSES = 10
GOAL = {"cpu": 0.95, "cuda": 0.9}
WAITING = 0.05  # of the time, at most
RATE = 1e-6  # nothing should move far: the weights may be random
MADE = {"cpu": 256, "cuda": 2048}  # pictures
BATCH = {"cpu": 32, "cuda": 128}
NETWORKS = {"cpu": [DEFAULT], "cuda": ["resnet50", "vit-base"]}
PRECISION = {"cpu": "float32", "cuda": "bfloat16"}


def made_pictures(folder: Path, count: int) -> list[str]:
    """Photos of nothing, 400 × 534 pixels, from a seed."""
    from PIL import Image

    rng = np.random.default_rng(0)
    for i in range(count):
        blobs = Image.fromarray(rng.integers(0, 256, (14, 11, 3), dtype=np.uint8))
        picture = np.asarray(blobs.resize((400, 534), Image.Resampling.BICUBIC), np.int16)
        noisy = picture + rng.integers(-8, 9, picture.shape)
        image = Image.fromarray(noisy.clip(0, 255).astype(np.uint8))
        image.save(folder / f"{i:05d}.jpg", quality=90)
    return sorted(str(path) for path in folder.iterdir())


def begun(row: CatalogRow, files: Sequence[str], asked: argparse.Namespace) -> Ready:
    """lp-ft as it begins, but for a fresh head: no features are needed, and a step is the same."""
    weights = "pretrained" if row.source == "package" else "random"
    wanted = replace(strategy("lp-ft"), weights=weights, head="fresh")
    size = asked.size or (row.spec.size if torch.cuda.is_available() else 128)
    length = {"size": size, "steps": WARM + asked.steps, "batch": asked.batch, "seed": 0}
    plan = runs.plan_of(wanted, length, rate=RATE, precision=asked.precision)
    spec = runs.spec_at(row, size)
    head, labels = runs.no_head((1,), CLASSES), np.arange(len(files)) % CLASSES
    shas = [f"{i * 2654435761 % 2**64:064x}" for i in range(len(files))]
    lesson = Lesson(files, shas, labels, CLASSES)
    return ready(wanted, row, spec, head, 1.0, lesson, plan, runs.KIND)


def decoded(run: Ready) -> float:
    """Every picture once into memory; seconds a picture, augmentation included."""
    labels, batch = run.material.labels, run.plan.batch
    steps = Steps(labels, batch, range(-(-len(labels) // batch)), run.plan.seed)
    start = time.perf_counter()
    for _ in loader(run.material.examples, steps):
        pass
    return (time.perf_counter() - start) / len(labels)


def measured(row: CatalogRow, files: Sequence[str], asked: argparse.Namespace) -> dict[str, Any]:
    run = begun(row, files, asked)
    decoding = decoded(run)
    with kept_memory():  # for all, as a run has it
        rounds = [one_round(run, asked.workers) for _ in range(asked.rounds + 1)][
            1:
        ]  # one warms up
    profile = {
        name: median(r["regraft"][name] for r in rounds)
        for name in ("waiting", "forwards_and_backwards")
    }
    return {
        "network": row.name,
        "size": run.plan.size,
        "batch": run.plan.batch,
        "precision": run.plan.precision,
        "steps_per_second": 1 / median(r["regraft"]["step_s"] for r in rounds),
        "share_of": {
            name: median(r["bare"][name] / r["regraft"]["step_s"] for r in rounds)
            for name in rounds[0]["bare"]
        },
        "profile": profile | {"the_rest": 1 - sum(profile.values())},
        "decoding_s_a_picture": decoding,
        "rounds": rounds,
    }


def one_round(run: Ready, workers: int) -> dict[str, Any]:
    mine = ours(run, workers)  # the first turn: it moves the model to the device
    return {"regraft": mine, "bare": {n: work() for n, work in bare_turns(run, CLASSES).items()}}


def figures(results: Sequence[dict[str, Any]], device: str) -> list[dict[str, Any]]:
    found = []
    for result in results:
        share, waiting = result["share_of"]["bare"], result["profile"]["waiting"]
        name, goal = result["network"], GOAL[device]
        found += [
            {
                "what": f"{name}: throughput as a share of the bare loop's",
                "goal": f">= {goal}",
                "found": round(share, 3),
                "met": share >= goal,
            },
            {
                "what": f"{name}: share of the time spent waiting for the loader",
                "goal": f"<= {WAITING}",
                "found": round(waiting, 3),
                "met": waiting <= WAITING,
            },
        ]
    return found


def profiled(row: CatalogRow, files: Sequence[str], asked: argparse.Namespace) -> str:
    """Where a turn spends its time, by PyTorch's profiler."""
    run = begun(row, files, asked)
    decoded(run)
    with torch.profiler.profile() as profiler:
        ours(run, asked.workers)
    key = "self_cuda_time_total" if torch.cuda.is_available() else "self_cpu_time_total"
    return str(profiler.key_averages().table(sort_by=key, row_limit=20, max_name_column_width=40))


def main(arguments: Sequence[str] | None = None) -> int:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="pictures in any depth; made by default")
    parser.add_argument("--network", action="append", help="a name; may be given several times")
    parser.add_argument("--size", type=int, help="pixels; by default 128, on a GPU the network's")
    parser.add_argument("--batch", type=int, default=BATCH[device])
    parser.add_argument("--steps", type=int, default=16, help="that are counted in each turn")
    parser.add_argument("--rounds", type=int, default=5, help="and one more that warms up")
    parser.add_argument("--workers", type=int, help="of the loader; by default as in a fit")
    parser.add_argument("--precision", default=PRECISION[device])
    parser.add_argument("--profile", action="store_true", help="print PyTorch's profile instead")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args(arguments)
    asked.workers = usual(asked.workers)
    with tempfile.TemporaryDirectory() as folder:
        files = pictures(asked.data, Path(folder), MADE[device])
        if not files:
            print(f"skipped: there are no pictures in {asked.data}")
            return 0
        rows = [find(name) for name in asked.network or NETWORKS[device]]
        if asked.profile:
            print("\n".join(profiled(row, files, asked) for row in rows))
            return 0
        results = [measured(row, files, asked) for row in rows]
    found = {
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
        "machine": portions.machine(),
        "workers": asked.workers,
        "figures": figures(results, device),
        "networks": results,
    }
    print(json.dumps(found | {"networks": [short(r) for r in results]}, indent=1))
    print(portions.told(found["figures"]))
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0


def short(result: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in result.items() if name != "rounds"}


def usual(workers: int | None) -> int:
    from regraft.training.devices import usual_workers

    return usual_workers() if workers is None else workers


def pictures(data: Path | None, folder: Path, count: int) -> list[str]:
    if data is None:
        return made_pictures(folder, count)
    found = (p for p in sorted(data.rglob("*")) if p.suffix.lower() in (".jpg", ".jpeg", ".png"))
    return [str(path) for path in found][:count]


if __name__ == "__main__":
    sys.exit(main())
