"""How long the closed-form head takes, and how good it is, next to scikit-learn's ridge.

    OMP_NUM_THREADS=2 python benchmarks/head.py --json out.json [--rows N] [--dim D,D] [--repeats 5]
    OMP_NUM_THREADS=2 python benchmarks/head.py --json out.json --features X.npy --labels y.npy

Without arrays of your own (--features (n, 3088) of EfficientNet-Lite0's 17 blocks) they are made
from a seed: blocks of one hidden space of which later ones see more. A fifth of the rows is held
out. The head starts from raw features: normalisation, block weights, 25 λ, exact leave-one-out
scores. scikit-learn gets the normalised features for nothing, and the same 25 λ. Contenders take
turns; a ratio is the median of the ratios within one turn.
"""

import argparse
import json
import os
import platform
import resource
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import scipy
import sklearn
from sklearn.linear_model import RidgeClassifierCV, RidgeCV

from regraft.transfer.probe import fit_head, one_hot
from regraft.transfer.ridge import LAMBDAS
from regraft.transfer.scaling import BlockScaling, mean_and_variance

LITE0 = (16, 24, 24, 40, 40, 80, 80, 80, 112, 112, 112, 192, 192, 192, 192, 320, 1280)
HELD = 5  # one of so many rows is held out

Array = npt.NDArray[Any]


class Case(NamedTuple):
    """Raw float32 features (n, d) and labels (n,), to learn from and held out."""

    learned: Array
    labels: Array
    held: Array
    truth: Array
    widths: tuple[int, ...]
    classes: int


def widths_of(dim: int) -> tuple[int, ...]:
    """17 blocks in the proportions of EfficientNet-Lite0."""
    ends = np.round(np.cumsum(LITE0) * dim / sum(LITE0)).astype(int)
    return tuple(int(w) for w in np.diff(ends, prepend=0))


def made(rows: int, dim: int, classes: int, seed: int) -> Case:
    """Each block sees the hidden space through noise that falls with depth."""
    rng = np.random.default_rng(seed)
    total = rows * HELD // (HELD - 1)
    labels = rng.integers(0, classes, total)
    hidden = rng.normal(size=(total, 64)) + 0.45 * rng.normal(size=(classes, 64))[labels]
    widths = widths_of(dim)
    blocks = []
    for noise, width in zip(np.linspace(6, 1, len(widths)), widths, strict=True):
        seen = hidden @ rng.normal(size=(64, width)) / 8
        blocks.append(np.maximum(seen + noise * rng.normal(size=(total, width)), -0.2))
    return split(np.hstack(blocks).astype(np.float32), labels, widths, seed)


def split(features: Array, labels: Array, widths: tuple[int, ...], seed: int) -> Case:
    order = np.random.default_rng(seed).permutation(len(labels))
    held, learned = np.split(order, [len(order) // HELD])
    return Case(
        features[learned], labels[learned], features[held], labels[held], widths,
        int(labels.max()) + 1,
    )  # fmt: skip


class Result(NamedTuple):
    """Scores (m, c) of the held-out rows; the mean squared left-out error; what was chosen."""

    scores: Array
    error: float
    lam: float


Contender = Callable[[Case], Result]


def head(case: Case, weigh: bool = True) -> Result:
    fit = fit_head(case.learned, case.labels, classes=case.classes, widths=case.widths, weigh=weigh)
    return Result(fit.head.scores(case.held), fit.error, fit.head.lam)


def normalised(case: Case) -> tuple[Array, Array, Array, float]:
    """Rows, held-out rows, targets and the mean diagonal of the kernel."""
    scaling = BlockScaling.of(*mean_and_variance(case.learned), case.widths)
    rows = scaling(case.learned)
    scale = float(np.mean(np.sum(rows**2, 1) + 1))
    return rows, scaling(case.held), one_hot(case.labels, case.classes), scale


def ridge_cv(case: Case) -> Contender:
    rows, held, targets, scale = normalised(case)

    def fit(_: Case) -> Result:
        model = RidgeCV(LAMBDAS * scale).fit(rows, targets)
        return Result(model.predict(held), -float(model.best_score_), model.alpha_ / scale)

    return fit


def ridge_classifier_cv(case: Case) -> Contender:
    rows, held, _, scale = normalised(case)

    def fit(_: Case) -> Result:
        model = RidgeClassifierCV(LAMBDAS * scale).fit(rows, case.labels)
        scores = model.decision_function(held).reshape(len(held), -1)
        return Result(scores, -float(model.best_score_) / 4, model.alpha_ / scale)  # targets ±1

    return fit


CONTENDERS: dict[str, Callable[[Case], Contender]] = {
    "head": lambda _: head,
    "head, equal block weights": lambda _: lambda case: head(case, weigh=False),
    "scikit-learn RidgeCV": ridge_cv,
    "scikit-learn RidgeClassifierCV": ridge_classifier_cv,
}


def user_seconds() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_utime


def measured(case: Case, repeats: int) -> dict[str, Any]:
    """One warm-up, then turns in alternating order."""
    contenders = {name: make(case) for name, make in CONTENDERS.items()}
    results = {name: fit(case) for name, fit in contenders.items()}
    wall: dict[str, list[float]] = {name: [] for name in contenders}
    user: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(repeats):
        for name in list(contenders)[:: 1 if turn % 2 else -1]:
            start, spent = time.perf_counter(), user_seconds()
            contenders[name](case)
            wall[name].append(time.perf_counter() - start)
            user[name].append(user_seconds() - spent)
    return {
        "rows": len(case.labels),
        "dim": case.learned.shape[1],
        "blocks": len(case.widths),
        "classes": case.classes,
        "contenders": {
            name: {
                "seconds": round(float(np.median(wall[name])), 3),
                "fastest": round(min(wall[name]), 3),
                "user_seconds": round(float(np.median(user[name])), 3),
                "times_head": round(float(np.median(np.divide(wall[name], wall["head"]))), 2),
                "user_times_head": round(float(np.median(np.divide(user[name], user["head"]))), 2),
                "accuracy": round(float(np.mean(r.scores.argmax(1) == case.truth)), 4),
                "left_out_error": round(r.error, 6),
                "lambda": round(r.lam, 5),
            }
            for name, r in results.items()
        },
    }


def environment() -> dict[str, Any]:
    return {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "scikit-learn": sklearn.__version__,
        "processors": os.cpu_count(),
        "threads": os.environ.get("OMP_NUM_THREADS"),
        "load": os.getloadavg()[0],
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the result to this file")
    parser.add_argument("--rows", type=int, default=3068, help="to learn from")
    parser.add_argument("--dim", default="1800,3088", help="columns, several with commas")
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--features", type=Path, help="your own features (n, 3088) as .npy")
    parser.add_argument("--labels", type=Path, help="their labels (n,) as .npy")
    options = parser.parse_args(arguments)
    if options.features:
        features, labels = np.load(options.features), np.load(options.labels)
        cases = [split(features, labels, widths_of(features.shape[1]), options.seed)]
    else:
        dims = [int(dim) for dim in options.dim.split(",")]
        cases = [made(options.rows, dim, options.classes, options.seed) for dim in dims]
    result = {
        "environment": environment(),
        "cases": [measured(case, options.repeats) for case in cases],
    }
    text = json.dumps(result, indent=1)
    print(text)
    if options.json:
        options.json.write_text(text + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
