"""Banking questions of 77 intents: the whole `fit` by the command, and few examples a class.

    OMP_NUM_THREADS=2 python benchmarks/banking77.py FOLDER --json out.json

FOLDER has train.csv and test.csv with the columns text and category. The cold run begins with an
empty cache in a process of its own; the warm one repeats it. For few examples a class, that many
are drawn from the training part by a seed, and measured on the whole test part. Beside it stand
TF-IDF of words and pairs under scikit-learn's ridge, and the features of the last block alone.
"""

import argparse
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import command
import numpy as np
import portions

PARTS = ("train", "test")
ALONE = "last block alone"


def whole(folder: Path, options: Sequence[str]) -> dict[str, Any]:
    """Cold and warm, by the command."""
    with tempfile.TemporaryDirectory() as place:
        cold, warm = (
            command.fitted(folder, Path(place) / "cache", Path(place) / f"out{i}", *options)
            for i in range(2)
        )
    loo = cold["leave_one_out"]["accuracy"]
    return {
        "options": list(options),
        "accuracy": cold["metrics"]["accuracy"],
        "leave_one_out": loo,
        "cold_s": cold["wall_s"],
        "warm_s": warm["wall_s"],
        "stages_cold_s": cold["timings"],
        "stages_warm_s": warm["timings"],
        "tried": command.rows_of(cold),
    }


def features(folder: Path) -> tuple[Any, Any, tuple[int, ...], Any, int]:
    """Of all questions: labels, features and widths, which rows are tests, number of classes."""
    from regraft.backbones.catalog import DEFAULTS, find
    from regraft.backbones.extractor import extractor
    from regraft.backbones.features import pass_over
    from regraft.backbones.store import Store
    from regraft.data.sources import load
    from regraft.modalities import modality

    data = load(str(folder))
    row = find(DEFAULTS["text"])
    with Store() as store:
        files = data.table["path"].to_list()
        seen = pass_over(files, modality("text"), store, extractor(row, row.spec))
    tests = (data.table["split"] == "test").to_numpy()
    return data.targets, seen.features, seen.widths, tests, len(data.classes)


def drawn(labels: Any, learning: Any, each: int, seed: int) -> Any:
    """So many rows of each class."""
    rng = np.random.default_rng(seed)
    rows = np.flatnonzero(learning)
    return np.concatenate([rng.permutation(rows[labels[rows] == c])[:each] for c in set(labels)])


def fitted(data: Any, rows: Any, seed: int) -> float:
    """Accuracy of a whole `fit` on some rows to learn from and all tests."""
    from regraft.verbs.fit import fit_and_report

    some = data.with_table(data.table[rows])
    report = fit_and_report(some, seed=seed, resamples=100).report
    return float(report.metrics["accuracy"]["value"])


def few(folder: Path, counts: Sequence[int], seeds: int) -> Iterator[dict[str, Any]]:
    """Accuracy on the tests after learning from few of each class."""
    from regraft.data.sources import load
    from regraft.transfer.probe import fit_head

    data = load(str(folder))
    labels, found, widths, tests, classes = features(folder)
    held, truth = found[tests], labels[tests]
    last = slice(found.shape[1] - widths[-1], None)
    for each in counts:
        rows: dict[str, list[float]] = {"fit": [], "all blocks": [], ALONE: []}
        for seed in range(seeds):
            some = drawn(labels, ~tests, each, seed)
            both = np.concatenate([some, np.flatnonzero(tests)])
            rows["fit"].append(fitted(data, both, seed))
            fits = {"all blocks": (slice(None), widths), ALONE: (last, widths[-1:])}
            for name, (columns, blocks) in fits.items():
                fit = fit_head(
                    found[some][:, columns],
                    labels[some],
                    classes=classes,
                    widths=blocks,
                    seed=seed,
                )
                answers = fit.head.scores(held[:, columns]).argmax(1)
                rows[name].append(float((answers == truth).mean()))
        yield {
            "each": each,
            **{
                name: {"mean": statistics.mean(r), "sd": statistics.pstdev(r), "worst": min(r)}
                for name, r in rows.items()
            },
        }


def tf_idf(folder: Path) -> float:
    """Accuracy of scikit-learn's TF-IDF of words and pairs under a ridge classifier."""
    import polars as pl
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import RidgeClassifier
    from sklearn.model_selection import GridSearchCV

    train, test = (pl.read_csv(folder / f"{part}.csv") for part in PARTS)
    vectors = TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2), min_df=2)
    learned = vectors.fit_transform(train["text"].to_list())
    search = GridSearchCV(RidgeClassifier(solver="sparse_cg"), {"alpha": [0.3, 1.0, 3.0]}, cv=3)
    ridge = search.fit(learned, train["category"].to_list())
    held = vectors.transform(test["text"].to_list())
    return float((ridge.predict(held) == np.array(test["category"].to_list())).mean())


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--each", type=portions.several(int), default=[1, 5, 10])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--skip-tf-idf", action="store_true", help="it takes a minute or two")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args(arguments)
    if not all((asked.folder / f"{part}.csv").is_file() for part in PARTS):
        print(f"skipped: {asked.folder} has no train.csv and test.csv")
        return 0
    found: dict[str, Any] = {"machine": portions.machine(), "whole": whole(asked.folder, ())}
    found["ten_minutes"] = whole(asked.folder, ("--budget", "10min"))
    with tempfile.TemporaryDirectory() as cache:
        os.environ["REGRAFT_CACHE"] = cache
        found["few"] = list(few(asked.folder, asked.each, asked.seeds))
    if not asked.skip_tf_idf:
        found["tf_idf_ridge"] = tf_idf(asked.folder)
    return portions.finish(found, asked.json)


if __name__ == "__main__":
    sys.exit(main())
