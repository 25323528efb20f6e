"""How far the leave-one-out estimate is from pictures that were never learned from.

    python benchmarks/leave_one_out.py DATA_FOLDER --size 128 --splits 20 --json out.json

DATA_FOLDER has one folder per class. One validation part of a few hundred pictures tells the
difference only within three points either way; so a share of the pictures is held back at random,
again and again, and the estimate is compared with the accuracy on them, for the linear head, the
wide one and the one of both that `fit` would take. Copies are not kept together: sets with many
need a look first.
"""

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import portions
from label_noise import features

from regraft.data.sources import load
from regraft.transfer.probe import HeadFit, fit_head, fit_wide_head
from regraft.verbs.rungs import CLEARLY

Fit = Callable[..., HeadFit]


def _wide(rows: npt.NDArray[Any], labels: npt.NDArray[Any], **settings: Any) -> HeadFit:
    return fit_wide_head(rows, labels, lasts=[len(settings["widths"]) - 1], **settings)


HEADS: Mapping[str, Fit] = {"linear": fit_head, "wide": _wide}


def one_split(
    rows: npt.NDArray[Any], labels: npt.NDArray[Any], share: float, seed: int, **settings: Any
) -> dict[str, Any]:
    """Estimate and accuracy of each head, learned from all but a share of the pictures."""
    order = np.random.default_rng([seed, 7]).permutation(len(labels))
    held, learned = np.split(order, [round(share * len(labels))])
    found, errors = {}, {}
    for name, fit in HEADS.items():
        made = fit(rows[learned], labels[learned], seed=seed, **settings)
        right = made.head.scores(rows[held]).argmax(1) == labels[held]
        estimate = (made.left_out.argmax(1) == labels[learned]).mean()
        found[name] = {"estimate": float(estimate), "accuracy": float(right.mean())}
        errors[name] = made.error
    taken = "wide" if errors["wide"] < CLEARLY * errors["linear"] else "linear"
    return {"seed": seed, "taken": taken, **found, "fit": found[taken]}


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean over the splits of estimate, accuracy and their difference, in points."""
    told = {}
    for name in (*HEADS, "fit"):
        estimates, accuracies = ([run[name][k] for run in runs] for k in ("estimate", "accuracy"))
        apart = 100 * (np.array(estimates) - accuracies)
        error = float(apart.std(ddof=1) / np.sqrt(len(apart))) if len(apart) > 1 else None
        told[name] = {
            "estimate": float(np.mean(estimates)),
            "accuracy": float(np.mean(accuracies)),
            "estimate_minus_accuracy_points": float(apart.mean()),
            "standard_error_points": error,
        }
    return told


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--size", type=int, default=128, help="pixels")
    parser.add_argument("--splits", type=int, default=20)
    parser.add_argument("--share", type=float, default=0.1, help="of the pictures, held back")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    if not asked.data.is_dir():
        print(f"skipped: there is no folder {asked.data}")
        return 0
    dataset = load(asked.data)
    seen = features(dataset, asked.size)
    assert seen.features is not None
    kept = sorted(seen.facts)
    settings = {"classes": len(dataset.classes), "widths": seen.widths}
    about = (seen.features[kept], dataset.targets[kept], asked.share)
    runs = [one_split(*about, seed, **settings) for seed in range(asked.splits)]
    result = {
        "machine": portions.machine(),
        "pictures": len(kept),
        "size": asked.size,
        "share": asked.share,
        "mean": summary(runs),
        "runs": runs,
    }
    for name, row in result["mean"].items():
        print(name, "  ".join(f"{k} {v:.4f}" for k, v in row.items()))
    return portions.finish(result, asked.json)


if __name__ == "__main__":
    sys.exit(main())
