"""evaluate --corruptions: what is left of the accuracy on noisy, blurred, foggy pictures."""

from typing import Any

import numpy as np

from regraft.backbones.features import Pass
from regraft.data.dataset import Dataset
from regraft.model.model import Model
from regraft.progress import Progress, Quiet
from regraft.verbs.robust import drawn, share_of

EXAMPLES = 200


def corruptions(
    model: Model,
    examples: Dataset,
    seen: Pass,
    *,
    most: int | None = None,
    resamples: int = 1000,
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """The part ``corruptions`` of a report's record; see `Report`.

    examples, seen  labelled examples and the pass over them
    most            examples that are corrupted, drawn by the seed, each 75 times; None: EXAMPLES

    By the model's own engines. Raises UsageError for a model that does not read pictures.
    """
    from regraft.robustness.corruptions import CORRUPTIONS, SEVERITIES, corrupted
    from regraft.robustness.prepared import answers, planes_of, prepared

    some = drawn(seen, len(examples), most or EXAMPLES, seed)
    paths, labels = examples.table["path"].to_list(), examples.targets[some]
    planes = planes_of(model)
    whole = prepared(model, planes, [paths[i] for i in some])
    right = np.zeros((len(CORRUPTIONS), len(SEVERITIES), len(some)), bool)
    with (progress or Quiet()).stage("corruptions", len(CORRUPTIONS)) as advance:
        for c, name in enumerate(CORRUPTIONS):
            for s, severity in enumerate(SEVERITIES):
                changed = whole.copy()
                for i, views in enumerate(changed):
                    for p in range(len(views)):
                        rng = np.random.default_rng([seed, c, severity, int(some[i]), 51])
                        views[p] = corrupted(views[p], name, severity, rng)
                right[c, s] = answers(model, planes, changed) == labels
            advance(1)
    clean = answers(model, planes, whole) == labels
    return _told(right, clean, {"resamples": resamples, "seed": seed})


def _told(right: Any, clean: Any, asked: dict[str, Any]) -> dict[str, Any]:
    """right  (corruptions, severities, n), clean (n,)"""
    from regraft.robustness.corruptions import CORRUPTIONS, SEVERITIES

    shares = right.mean(2)
    rows: list[dict[str, Any]] = [
        {"name": row.name, "kind": row.kind, "accuracies": [float(v) for v in shares[c]]}
        for c, row in enumerate(CORRUPTIONS.values())
    ]
    worst = min(rows, key=lambda row: np.mean(row["accuracies"]))
    lowest = np.unravel_index(shares.argmin(), shares.shape)
    return {
        "n": len(clean),
        "clean": share_of(clean, asked),
        "mean": _mean(right, asked),
        "worst": {"name": worst["name"], "value": float(np.mean(worst["accuracies"]))},
        "lowest": {
            "name": rows[int(lowest[0])]["name"],
            "severity": SEVERITIES[int(lowest[1])],
            "value": float(shares.min()),
        },
        "rows": rows,
    }


def _mean(right: Any, asked: dict[str, Any]) -> dict[str, Any]:
    """Over all 75, with an interval over the examples: those of one picture go together."""
    each = right.mean((0, 1))
    rng = np.random.default_rng(asked["seed"])
    draws = rng.integers(0, len(each), (asked["resamples"], len(each)))
    low, high = np.percentile(each[draws].mean(1), [2.5, 97.5])
    return {"value": float(each.mean()), "low": float(low), "high": float(high)}
