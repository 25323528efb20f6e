"""Does the ranking name the network that a fit does best with? Its scores against whole fits.

    python benchmarks/ranking.py DATA_FOLDER [--backbone NAME ...] [--size 96 128] [--json out.json]

Every network is ranked, then fitted on all the learning examples and measured on the held-out ones,
at each of the sizes (none: each network's own). Told are, for every score of the ranking, the rank
correlations with the held-out accuracy and the regret: the points that are lost by taking the
network that the score puts first. Correlations over three networks say little; several sizes,
pooled, say more.
"""

import argparse
import platform
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import portions
from scipy.stats import kendalltau, spearmanr

from regraft.backbones.engines import lanes
from regraft.data.dataset import Dataset
from regraft.transfer.ranking import RankRow, rank
from regraft.verbs.fit import fit_and_report
from regraft.verbs.prepare import load

LITE = ("efficientnet-lite0", "efficientnet-lite1", "efficientnet-lite2")

# Scores by which networks could be chosen; more is better.
SCORES: dict[str, Callable[[RankRow], float]] = {
    "leave_one_out": lambda row: row.leave_one_out.value,
    "squared_error": lambda row: -row.error,
    "knn": lambda row: row.knn,
    "logme": lambda row: row.logme,
    "h_score": lambda row: row.h_score,
    "upstream_score": lambda row: row.upstream_score or 0.0,
    "pictures_per_second": lambda row: row.pictures_per_second,
}


def measured(data: Dataset, names: Sequence[str], size: int | None, seed: int) -> dict[str, Any]:
    """The ranking at a size, and the fit of every network that it ranked."""
    start = time.perf_counter()
    ranking = rank(data, backbones=names, size=size, seed=seed)
    cold = time.perf_counter() - start
    start = time.perf_counter()
    rank(data, backbones=names, size=size, seed=seed)
    warm = time.perf_counter() - start
    return {
        "size": size,
        "rank_s": cold,
        "rank_again_s": warm,
        "skipped": [skipped._asdict() for skipped in ranking.skipped],
        "left_out": len(ranking.left_out),
        "networks": [fitted(data, row, size, seed) for row in ranking.rows],
    }


def fitted(data: Dataset, row: RankRow, size: int | None, seed: int) -> dict[str, Any]:
    """A network's scores, and what a whole fit with it reaches on the held-out examples."""
    start = time.perf_counter()
    report = fit_and_report(data, backbone=(row.name,), size=size, seed=seed).report
    return {
        "name": row.name,
        "scores": {name: score(row) for name, score in SCORES.items()},
        "interval": row.leave_one_out.to_dict(),
        "size": row.size,
        "engine": row.engine,
        "stage": row.stage,
        "rank_s": row.seconds,
        "fit_s": time.perf_counter() - start,
        "accuracy": report.record["metrics"]["accuracy"],
    }


def agreement(networks: Sequence[dict[str, Any]]) -> dict[str, dict[str, float | str | None]]:
    """Per score: correlation with the held-out accuracy, what it chooses, and the regret."""
    truth = [network["accuracy"]["value"] for network in networks]
    out: dict[str, dict[str, float | str | None]] = {}
    for name in SCORES:
        scores = [network["scores"][name] for network in networks]
        chosen = max(range(len(scores)), key=scores.__getitem__)
        out[name] = {
            "spearman": correlation(spearmanr, scores, truth),
            "kendall": correlation(kendalltau, scores, truth),
            "chosen": f"{networks[chosen]['name']} at {networks[chosen]['size']} px",
            "regret": max(truth) - truth[chosen],
        }
    return out


def correlation(function: Any, scores: Sequence[float], truth: Sequence[float]) -> float | None:
    """None where one side is constant."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = float(function(scores, truth).statistic)
    return None if found != found else found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--backbone", nargs="+", default=LITE, help="names (default: Lite 0, 1, 2)")
    parser.add_argument("--size", type=int, nargs="+", default=[None], help="pixels, several")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the result to this file")
    asked = parser.parse_args()
    if not asked.data.is_dir():
        print(f"skipped: there is no folder {asked.data}")
        return 0
    data = load(asked.data, seed=asked.seed)
    runs = [measured(data, asked.backbone, size, asked.seed) for size in asked.size]
    result = {
        "data": asked.data.name,
        "learning": len(data.learning),
        "held_out": len(data.held_out),
        "machine": {"python": platform.python_version(), "cores": lanes()},
        "runs": [run | {"agreement": agreement(run["networks"])} for run in runs],
        "pooled": agreement([network for run in runs for network in run["networks"]]),
    }
    return portions.finish(result, asked.json)


if __name__ == "__main__":
    sys.exit(main())
