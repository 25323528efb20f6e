"""Training on texts: each strategy from the probe on, and what a step costs beside a bare loop.

    OMP_NUM_THREADS=2 python benchmarks/text_training.py FOLDER --json out.json
    python benchmarks/text_training.py FOLDER --each 10 --epochs 2 --seeds 1 --tests 500  # a part

FOLDER has train.csv and test.csv with the columns text and category. For each number of examples a
class (`all`: every one) and each seed the strategies run from the same probe for the same number of
epochs, so that the work is fixed and seconds a step are told apart. The tests are only measured on:
no weights are chosen by them. Told are the accuracies of the probe, of the averaged weights and,
where the strategy computes the head anew, of that head.

A bare loop has the same batches, padded and cut alike, and nothing else in it: forwards, backwards,
clipping, AdamW. Beside it stands the same loop on whole padded batches.
"""

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import banking77
import numpy as np
import portions
import torch

STRATEGIES = ("tune-norm", "lp-ft", "contrastive", "lora", "full")
ALL = "all"
TIMED = 12  # steps in each turn


class Bench:
    """The questions, their frozen features, and runs on some of them."""

    def __init__(self, folder: Path, tests: int | None) -> None:
        from regraft.backbones.catalog import DEFAULTS, find
        from regraft.data.sources import load
        from regraft.modalities import modality

        data = load(str(folder))
        self.files: list[str] = data.table["path"].to_list()
        self.labels, self.features, self.widths, held, self.classes = banking77.features(folder)
        self.row, self.kind = find(DEFAULTS["text"]), modality("text")
        self.learning = np.flatnonzero(~held)
        self.tests = np.random.default_rng(5).permutation(np.flatnonzero(held))[:tests]

    def lesson(self, place: Any) -> Any:
        from hashlib import sha256

        from regraft.training.tuning import Lesson

        files = [self.files[int(i)] for i in place]
        shas = [sha256(file.encode()).hexdigest() for file in files]
        return Lesson(files, shas, self.labels[place], self.classes)

    def drawn(self, each: str, seed: int) -> Any:
        if each == ALL:
            return self.learning
        mask = np.isin(np.arange(len(self.labels)), self.learning)
        return np.sort(banking77.drawn(self.labels, mask, int(each), seed))

    def head(self, features: Any, place: Any, seed: int) -> Any:
        from regraft.transfer.probe import fit_head

        labels = self.labels[place]
        return fit_head(features, labels, classes=self.classes, widths=self.widths, seed=seed)

    def ready(self, name: str, place: Any, seed: int, steps: int, batch: int) -> Any:
        """A run of a strategy, and the probe's accuracy."""
        from regraft.evaluation.calibration import fit_temperature
        from regraft.training.plan import Plan
        from regraft.training.strategies import strategy
        from regraft.training.tuning import ready

        fit = self.head(self.features[place], place, seed)
        temperature = fit_temperature(fit.left_out, self.labels[place])
        wanted = strategy(name).of(self.row.spec.reads)
        length = {"size": self.row.spec.size, "steps": steps, "batch": batch, "seed": seed}
        augment = {"augment": "word-drop=0.05"}
        plan = Plan(**{**augment, **wanted.settings, **length, "strategy": name})
        about = (self.row, self.row.spec, fit.head, temperature, self.lesson(place), plan)
        probe = self.accuracy(fit.head.scores(self.features[self.tests]))
        return ready(wanted, *about, self.kind), probe

    def accuracy(self, scores: Any) -> float:
        return float((scores.argmax(1) == self.labels[self.tests]).mean())

    def features_of(self, network: Any, place: Any) -> Any:
        """(n, d) by a network as it is."""
        from regraft.training.tuning import held_back

        held = held_back(self.lesson(place), self.kind, self.row, self.row.spec)
        out = np.empty((len(place), sum(self.widths)), np.float32)
        with torch.no_grad():
            for at, some in held.cut(held.pixels, 64, 48.0):
                out[at] = network(some).numpy()
        return out


def trained(bench: Bench, name: str, each: str, seed: int, asked: Any) -> dict[str, Any]:
    """One strategy from its probe."""
    from regraft.training.averaging import put
    from regraft.verbs.planning import small_batch

    place = bench.drawn(each, seed)
    batch = small_batch(len(place))
    steps = max(1, round(asked.epochs * len(place) / batch))
    run, probe = bench.ready(name, place, seed, steps, batch)
    training = run.training(patience=None)
    found = training.run()
    put(run.model, found.last if found.average is None else found.average)
    model = run.model.cpu()
    tests = bench.features_of(model.network, bench.tests)
    out = {"strategy": name, "each": each, "seed": seed, "steps": steps, "probe": probe}
    out |= {"trained": bench.accuracy(model.head().scores(tests))}
    out |= {"steps_per_second": found.steps / found.seconds}
    if run.wanted.refits:
        head = bench.head(bench.features_of(model.network, place), place, seed).head
        out["refitted"] = bench.accuracy(head.scores(tests))
    print(out, flush=True)
    return out


# --- what a step costs ---------------------------------------------------------------------------


def bare(run: Any, batches: Sequence[Any], cut: bool) -> float:
    """Seconds a step of a loop with nothing else in it."""
    model, learning = run.model, [p for p in run.model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(learning, lr=1e-6)
    labels, seconds = torch.as_tensor(run.material.labels), []
    for batch in batches:
        begin = time.perf_counter()
        whole = [(slice(None), batch.pixels)]
        pieces = run.material.examples.cut(batch.pixels, 64, 48.0) if cut else whole
        for places, some in pieces:
            truth = labels[batch.places][places]
            costs = torch.nn.functional.cross_entropy(model(some), truth, reduction="sum")
            (costs / len(batch.places)).backward()
        torch.nn.utils.clip_grad_norm_(learning, 5.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        seconds.append(time.perf_counter() - begin)
    return median(seconds)


def own(run: Any, precision: str) -> tuple[float, list[Any]]:
    """Seconds a step of the run itself, loader included, and its batches."""
    changed = replace(run, plan=replace(run.plan, precision=precision, rate=1e-6))
    training = changed.training(patience=None)
    stamps, batches = [time.perf_counter()], []
    for batch in training.batches(range(TIMED), 0):
        training._one_step(batch)
        training.step += 1
        stamps.append(time.perf_counter())
        batches.append(batch)
    return median(np.diff(stamps)), batches


def steps(bench: Bench, rounds: int) -> dict[str, Any]:
    """Shares of the bare loop, and tokens a second."""
    found: list[dict[str, float]] = []
    for _ in range(rounds + 1):  # one warms up
        run, _ = bench.ready("lp-ft", bench.drawn("10", 0), 0, TIMED, 32)
        mine, batches = own(run, "float32")
        half, _ = own(run, "bfloat16")
        tokens = median(int((b.pixels >= 0).sum()) for b in batches)
        padded = median(b.pixels.numel() for b in batches)
        times = {"bare": bare(run, batches, True), "whole": bare(run, batches, False)}
        found.append(times | {"own": mine, "half": half, "tokens": tokens, "padded": padded})
    told = {name: median(row[name] for row in found[1:]) for name in found[0]}
    return told | {
        "share_of_the_bare_loop": median(row["bare"] / row["own"] for row in found[1:]),
        "faster_than_whole_padded_batches": median(row["whole"] / row["own"] for row in found[1:]),
        "bfloat16_faster_than_float32": median(row["own"] / row["half"] for row in found[1:]),
        "tokens_per_second": told["tokens"] / told["own"],
    }


def every(bench: Bench, asked: Any) -> Iterator[dict[str, Any]]:
    for each in asked.each:
        for name in asked.strategies:
            for seed in range(asked.seeds):
                yield trained(bench, name, each, seed, asked)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--each", type=portions.several(str), default=["5", "10", ALL])
    parser.add_argument("--strategies", type=portions.several(str), default=[*STRATEGIES])
    parser.add_argument("--epochs", type=float, default=3.0)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--tests", type=int, help="how many are measured on; by default all")
    parser.add_argument(
        "--rounds", type=int, default=3, help="of the steps that are timed; 0: none"
    )
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args(arguments)
    if not all((asked.folder / f"{part}.csv").is_file() for part in banking77.PARTS):
        print(f"skipped: {asked.folder} has no train.csv and test.csv")
        return 0
    bench = Bench(asked.folder, asked.tests)
    found: dict[str, Any] = {"machine": portions.machine(), "epochs": asked.epochs}
    if asked.rounds:
        found["steps"] = steps(bench, asked.rounds)
        print(found["steps"], flush=True)
    found["runs"] = list(every(bench, asked))
    return portions.finish(found, asked.json)


if __name__ == "__main__":
    sys.exit(main())
