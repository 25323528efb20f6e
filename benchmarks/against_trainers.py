"""Accuracy against time: `regraft fit` beside fastai and the Hugging Face Trainer, 15 s to 10 min.

    OMP_NUM_THREADS=2 python benchmarks/against_trainers.py clothing --clothing FOLDER --json c.json
    OMP_NUM_THREADS=2 python benchmarks/against_trainers.py elpv --json e.json
    ... --contenders regraft,fastai --max-seconds 1500  # in portions, into one file

Everybody gets the same files, split, EfficientNet-Lite0 weights and cores, and starts as a process
from nothing: imports and decoding are in the time. Regraft runs once for each budget, from an empty
cache; its accuracy counts from the end of the whole command, report included. The trainers need the
length of their schedule: a short run tells how long an epoch takes, then they get as many as end by
2, 5 and 10 min; after each epoch they are measured, and the time for that is not counted. A curve
is the best that was there by then, over all runs of a contender; before its first result a
contender has what always saying the commonest class gives.

--size is that of the trainers' pictures. Regraft chooses its own and the file says which; the
contender regraft-same-size is made to use the trainers'. What the trainers' scripts do:
fastai_peer.py, trainer_peer.py; trainer-fast is the Trainer with ten times its default rate and
batches of 32.

To reach: Regraft ahead of both at every point (what is there within 10 % of it counts, for all
alike), and in the area under the curve on a log axis of time.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import curves
import portions
import sets
from command import fitted_cold, probe_accuracy, rows_of
from portions import Portions, Row

from regraft.recipe import seconds

HORIZONS = ("2min", "5min", "10min")  # by which the trainers' runs end
AIM = 1.03  # of a horizon: where a run is meant to end, by forecast
HERE = Path(__file__).parent
OURS = {"regraft": False, "regraft-same-size": True}  # whether the size is the trainers'
FAST = ("learning_rate=5e-4", "per_device_train_batch_size=32")


class Peer(NamedTuple):
    """A trainer: its script, further arguments, and its epochs before those that are counted."""

    script: str
    own: tuple[str, ...] = ()
    frozen: int = 0


PEERS = {
    "fastai": Peer("fastai_peer.py", frozen=1),
    "trainer": Peer("trainer_peer.py"),
    "trainer-fast": Peer("trainer_peer.py", FAST),
}


def ours(data: Path, contender: str, asked: argparse.Namespace, seed: int, kept: Portions) -> None:
    options = ["--backbone=efficientnet-lite0", f"--seed={seed}"]
    options += [f"--size={asked.size}"] if OURS[contender] else []
    for budget in asked.budgets:
        if kept.has(contender, seed, budget) or kept.over:
            continue
        found = fitted_cold(data, *options, "--budget", budget)
        accuracy = found["metrics"]["accuracy"]["value"]
        row = named(contender, seed, budget) | {
            "wall_s": found["wall_s"],
            "points": [{"seconds": found["wall_s"], "accuracy": accuracy}],
            "probe": probe_accuracy(found),
            "sizes": found["sizes"],
            "stages_s": found["timings"],
            "tried": rows_of(found),
        }
        told_and_kept(row, kept)


def theirs(
    data: Path, contender: str, asked: argparse.Namespace, seed: int, kept: Portions
) -> None:
    """A run of one epoch, then those that end by the horizons."""
    if not kept.has(contender, seed, "1 epoch") and not kept.over:
        run_peer(data, contender, asked, seed, "1 epoch", 1, kept)
    first = [r for r in kept.rows if (r["contender"], r["seed"]) == (contender, seed)][:1]
    for horizon in asked.horizons if first else ():
        if kept.has(contender, seed, horizon) or kept.over:
            continue
        if (epochs := fitting(first[0], PEERS[contender], seconds(horizon))) > 1:
            run_peer(data, contender, asked, seed, horizon, epochs, kept)
        else:
            print(f"{contender}: no more than the run of one epoch ends by {horizon}")


def fitting(row: Row, peer: Peer, horizon: float) -> int:
    """Epochs that end by the horizon, from the times of the run of one epoch."""
    ends = [row["setup_s"], *(point["seconds"] for point in row["points"])]
    return int((AIM * horizon - ends[peer.frozen]) / (ends[-1] - ends[-2]))


def run_peer(
    data: Path,
    contender: str,
    asked: argparse.Namespace,
    seed: int,
    run: str,
    epochs: int,
    kept: Portions,
) -> None:
    peer, part = PEERS[contender], sets.measured_part(data).name
    begun = time.time()
    numbers = [str(n) for n in (asked.size, epochs, seed, begun)]
    command = [asked.peer, str(HERE / peer.script), str(data), part, *numbers, *peer.own]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    row = named(contender, seed, run) | {"epochs": epochs, "wall_s": time.time() - begun} | found
    told_and_kept(row, kept)


def named(contender: str, seed: int, run: str) -> Row:
    return {"contender": contender, "seed": seed, "run": run}


def told_and_kept(row: Row, kept: Portions) -> None:
    kept.add(row, summary=lambda rows: summary(rows, kept.settings["floor"]))
    best = max(point["accuracy"] for point in row["points"])
    size = f" at {row['sizes']} px" if "sizes" in row else f", {row['epochs']} epochs"
    print(
        f"{row['contender']}{size}, {row['run']}, seed {row['seed']}: {best:.3f} "
        f"after {row['points'][-1]['seconds']:.0f} s",
        flush=True,
    )


# --- what they come to ----------------------------------------------------------------------------


def summary(rows: list[Row], floor: float) -> dict[str, Any]:
    """Means over the seeds; the time to a peer's best accuracy for each seed."""
    by_name = {name: curves_of(rows, name) for name in dict.fromkeys(r["contender"] for r in rows)}
    found = {name: curves.told(own, floor) for name, own in by_name.items()}
    pairs = [(us, peer) for us in OURS for peer in PEERS if us in found and peer in found]
    for us, peer in pairs:
        needed = curves.times_to(by_name[us], found[peer]["best"])
        found[us].setdefault("seconds_to_the_best_of", {})[peer] = needed
    figures = [f for us, peer in pairs for f in curves.ahead(us, found[us], peer, found[peer])]
    return {"contenders": found, "figures": figures}


def curves_of(rows: list[Row], contender: str) -> list[curves.Curve]:
    """One for each seed, over all runs."""
    own = [row for row in rows if row["contender"] == contender]
    return [
        sorted((p["seconds"], p["accuracy"]) for r in own if r["seed"] == seed for p in r["points"])
        for seed in sorted({row["seed"] for row in own})
    ]


def shown(by: dict[str, float | None]) -> str:
    return "  ".join(f"{point} {'-' if a is None else f'{a:.3f}'}" for point, a in by.items())


def commonest(data: Path) -> float:
    """Share of the measured part that is of the class that is commonest there."""
    counts = [len([*folder.iterdir()]) for folder in sets.measured_part(data).iterdir()]
    return max(counts) / sum(counts)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("set", choices=sets.SETS)
    listed, usual = portions.several(str), ["regraft", "fastai", "trainer"]
    parser.add_argument("--contenders", type=listed, default=usual)
    parser.add_argument(
        "--budgets", type=listed, default=list(curves.POINTS), help="of Regraft's runs"
    )
    parser.add_argument("--horizons", type=listed, default=list(HORIZONS), help="of the trainers'")
    parser.add_argument("--seeds", type=portions.several(int), default=[0])
    parser.add_argument("--size", type=int, default=128, help="of the trainers' pictures")
    parser.add_argument("--peer", default=sys.executable, help="an interpreter with the trainers")
    sets.add_arguments(parser)
    portions.add_arguments(parser)
    asked = parser.parse_args(arguments)
    if (data := sets.folder(asked.set, asked)) is None:
        return 0
    os.environ.setdefault("OMP_NUM_THREADS", "2")
    settings = {"set": asked.set, "size": asked.size, "floor": round(commonest(data), 4)}
    kept = Portions(asked.json, settings, ("contender", "seed", "run"), asked.max_seconds)
    for seed in asked.seeds:
        for contender in asked.contenders:
            (ours if contender in OURS else theirs)(data, contender, asked, seed, kept)
    found = summary(kept.rows, settings["floor"])
    for name, told in found["contenders"].items():
        print(f"{name:18} {shown(told['accuracy_by'])}  area {told['area']:.3f}")
    print(portions.told(found["figures"]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
