"""How well wrong labels are found: leave-one-out of the closed-form head against cross-validation.

    python benchmarks/label_noise.py DATA_FOLDER --flip 0.1 --json out.json

DATA_FOLDER has one folder per class. A share of the labels is flipped in memory; the score of every
example is compared with the flips by AUROC. The reference is what is usually done: out-of-fold
probabilities of scikit-learn's logistic regression in 5 folds, scored by 1 - p(label), on the
standardised features of the last block and of all blocks. Wrong labels that are in the data set
itself count as false alarms for all.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import portions

from regraft.backbones.catalog import DEFAULT, find
from regraft.backbones.extractor import extractor
from regraft.backbones.features import Pass, pass_over
from regraft.backbones.store import Store
from regraft.data.dataset import Dataset
from regraft.data.inspection import FEW
from regraft.data.sources import load
from regraft.modalities import modality
from regraft.progress import Quiet
from regraft.transfer.noise import label_noise, suspects
from regraft.transfer.probe import fit_head

FOLDS = 5

Scores = npt.NDArray[np.floating]
Labels = npt.NDArray[np.int64]


def features(dataset: Dataset, size: int) -> Pass:
    """Features in a store of their own, so that the time is that of a first run."""
    row = find(DEFAULT)
    network = extractor(row, replace(row.spec.at(size), crop_fraction=1.0))
    with tempfile.TemporaryDirectory() as folder, Store(Path(folder) / "store.sqlite3") as store:
        files = dataset.table["path"].to_list()
        return pass_over(files, modality("image"), store, network, Quiet())


def flipped(labels: Labels, share: float, rng: np.random.Generator) -> tuple[Labels, Labels]:
    """Labels of which a share is another class of the set, and the rows where they are."""
    rows = rng.choice(len(labels), round(share * len(labels)), replace=False)
    classes = labels.max() + 1
    wrong = labels.copy()
    wrong[rows] = (wrong[rows] + rng.integers(1, classes, len(rows))) % classes
    return wrong, rows


def by_cross_validation(rows: Scores, labels: Labels, seed: int) -> Scores:
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    found = cross_val_predict(model, rows, labels, cv=folds, method="predict_proba")
    return 1 - found[np.arange(len(labels)), labels]


def measured(score: Callable[[], Scores], truth: npt.NDArray[np.bool_]) -> dict[str, Any]:
    from sklearn.metrics import average_precision_score, roc_auc_score

    start = time.perf_counter()
    scores = score()
    return {
        "seconds": round(time.perf_counter() - start, 2),
        "auroc": round(float(roc_auc_score(truth, scores)), 4),
        "average_precision": round(float(average_precision_score(truth, scores)), 4),
    }


def compare(
    seen: Pass, kept: npt.NDArray[np.bool_], true: Labels, flip: float, seed: int
) -> dict[str, Any]:
    assert seen.features is not None
    rows, widths = seen.features[kept], seen.widths
    labels, wrong = flipped(true, flip, np.random.default_rng(seed))
    truth = np.zeros(len(labels), np.bool_)
    truth[wrong] = True

    def ours() -> Scores:
        fit = fit_head(rows, labels, classes=int(labels.max()) + 1, widths=widths, seed=seed)
        return label_noise(fit.left_out, labels)

    alarms = np.zeros(len(labels), np.bool_)
    alarms[suspects(ours(), labels)] = True  # also a run to warm up
    return {
        "seed": seed,
        "flipped": len(wrong),
        "leave-one-out": measured(ours, truth)
        | {
            "suspects": int(alarms.sum()),
            "suspects_that_were_flipped": round(float(truth[alarms].mean()), 4),
            "flipped_that_are_suspects": round(float(alarms[truth].mean()), 4),
        },
        "5 folds, last block": measured(
            lambda: by_cross_validation(rows[:, -widths[-1] :], labels, seed), truth
        ),
        "5 folds, all blocks": measured(lambda: by_cross_validation(rows, labels, seed), truth),
    }


def show(result: dict[str, Any]) -> None:
    print(f"{result['pictures']} pictures at {result['size']} px: {result['features_s']} s")
    for run in result["runs"]:
        print(f"seed {run['seed']}: {run['flipped']} labels flipped")
        for name, row in run.items():
            if isinstance(row, dict):
                print(f"  {name:20}", "  ".join(f"{k} {v}" for k, v in row.items()))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--flip", type=float, default=0.1, help="share of the labels")
    parser.add_argument("--size", type=int, default=128, help="pixels")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    if not asked.data.is_dir():
        print(f"skipped: there is no folder {asked.data}")
        return 0
    dataset = load(asked.data)
    start = time.perf_counter()
    seen = features(dataset, asked.size)
    seconds = time.perf_counter() - start
    targets, facts = dataset.targets, seen.facts
    counts = np.bincount(targets[targets >= 0], minlength=len(dataset.classes))
    kept = np.array([i in facts and t >= 0 and counts[t] >= FEW for i, t in enumerate(targets)])
    true = np.unique(targets[kept], return_inverse=True)[1]
    result = {
        "machine": portions.machine(),
        "pictures": int(kept.sum()),
        "classes": int(true.max()) + 1,
        "size": asked.size,
        "flip": asked.flip,
        "features_s": round(seconds, 1),
        "runs": [compare(seen, kept, true, asked.flip, seed) for seed in asked.seeds],
    }
    show(result)
    return portions.finish(result, asked.json)


if __name__ == "__main__":
    sys.exit(main())
