"""evaluate --corruptions: what is left of the accuracy on noisy, blurred, misspelt examples."""

from collections.abc import Sequence
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from regraft.backbones.features import Pass
from regraft.data.dataset import Dataset
from regraft.model.model import Model
from regraft.progress import Progress, Quiet
from regraft.verbs.robust import drawn, share_of

if TYPE_CHECKING:
    from regraft.robustness.corruption import Corruption

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
    most            examples that are corrupted, drawn by the seed, each in every way and severity;
                    None: EXAMPLES

    By the model's own engines. Raises UsageError for a kind of data without corruptions.
    """
    from regraft.robustness.corruptions import SEVERITIES, corrupted, rows_of
    from regraft.robustness.materials import material_of

    material, rows = material_of(model), rows_of(model.modality)
    some = drawn(seen, len(examples), most or EXAMPLES, seed)
    paths, labels = examples.table["path"].to_list(), examples.targets[some]
    whole = material.read(model, [paths[i] for i in some])
    right = np.zeros((len(rows), len(SEVERITIES), len(some)), bool)
    with (progress or Quiet()).stage("corruptions", len(rows)) as advance:
        for c, severity in product(range(len(rows)), SEVERITIES):
            changed = []
            for place, one in zip(some, whole, strict=True):
                entropy = [seed, c, severity, int(place), 51]  # for all planes of it the same
                draws = [np.random.default_rng(entropy) for _ in one]
                pairs = zip(one, draws, strict=True)
                changed.append([corrupted(x, rows[c].name, severity, rng) for x, rng in pairs])
            right[c, SEVERITIES.index(severity)] = material.answers(model, changed) == labels
            advance(int(severity == SEVERITIES[-1]))
    clean = material.answers(model, whole) == labels
    told = {"how": material.how, "note": material.note}
    return told | _told(rows, right, clean, {"resamples": resamples, "seed": seed})


def _told(
    corruptions: "Sequence[Corruption]", right: Any, clean: Any, asked: dict[str, Any]
) -> dict[str, Any]:
    """right  (corruptions, severities, n), clean (n,)"""
    from regraft.robustness.corruptions import SEVERITIES

    shares = right.mean(2)
    rows: list[dict[str, Any]] = [
        {"name": row.name, "kind": row.kind, "accuracies": [float(v) for v in shares[c]]}
        for c, row in enumerate(corruptions)
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
    """Over all, with an interval over the examples: the answers to one of them go together."""
    each = right.mean((0, 1))
    rng = np.random.default_rng(asked["seed"])
    draws = rng.integers(0, len(each), (asked["resamples"], len(each)))
    low, high = np.percentile(each[draws].mean(1), [2.5, 97.5])
    return {"value": float(each.mean()), "low": float(low), "high": float(high)}
