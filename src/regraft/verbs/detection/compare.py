"""compare for boxes: ways to train a detector, on the same pictures and the same held-out part.

Every way has the same share of the time, the same split and the same input; what is measured is
mAP on the held-out part, which nothing was chosen by. Curves are of pictures held back.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np

from regraft import __version__
from regraft.backbones.store import Store
from regraft.data.dataset import Dataset
from regraft.data.sources import load
from regraft.errors import UsageError
from regraft.progress import Progress, Quiet
from regraft.recipe import Recipe
from regraft.verbs.compared import Comparison, command
from regraft.verbs.detection.fit import fit_detector
from regraft.verbs.detection.prepare import check_learnable, divided
from regraft.verbs.detection.settings import WAYS
from regraft.verbs.detection.told import counts
from regraft.verbs.first_look import look

USUAL = ("scratch", "copy", "transfer")

Run = dict[str, Any]


def compare_detectors(
    data: Any,
    recipe: Recipe,
    *,
    strategies: Sequence[str] | None = None,
    labels: Sequence[int] = (),
    seeds: Sequence[int] = (0,),
    progress: Progress | None = None,
    store: Store | None = None,
    **settings: Any,
) -> Comparison:
    """`regraft.compare` where pictures have boxes: names of WAYS, each with its share of the time.

    Raises UsageError with all that is wrong, DataError.
    """
    wanted = USUAL if strategies is None else tuple(strategies)
    asked = _asked(recipe, settings, wanted, labels, seeds)
    opened, told = store or Store(), progress or Quiet()
    until = time.monotonic() + asked.budget
    try:
        split = _split(data, asked, opened, told)
        jobs = [(name, seed) for seed in seeds for name in wanted]
        runs: list[Run] = []
        for place, (name, seed) in enumerate(jobs):
            left = max(1.0, (until - time.monotonic()) / (len(jobs) - place))
            own = asked.changed(strategy=(name,), budget=left)
            runs.append(_run(split, own, seed, opened, told))
            told.say(f"{name}, seed {seed}: mAP {runs[-1]['score'] or 0:.3f}")
    finally:
        if store is None:
            opened.close()
    return Comparison(_record(asked, split, wanted, seeds, runs))


def _asked(
    recipe: Recipe,
    settings: dict[str, Any],
    strategies: Sequence[str],
    labels: Sequence[int],
    seeds: Sequence[int],
) -> Recipe:
    mistakes = [*_wrong(strategies, labels, seeds)]
    asked = recipe
    try:
        asked = recipe.changed(**settings)
    except UsageError as error:
        mistakes += error.mistakes
    if asked.strategy:
        mistakes.append("strategy: is for fit; a comparison has strategies")
    if asked.log:
        mistakes.append("log: is for fit; the record of a comparison has all curves")
    if mistakes:
        raise UsageError(*mistakes)
    return asked


def _wrong(strategies: Sequence[str], labels: Sequence[int], seeds: Sequence[int]) -> Iterator[str]:
    if not strategies or len(set(strategies)) < len(strategies):
        yield f"strategies: name one or several, each once, got {', '.join(strategies) or 'none'}"
    if unknown := [name for name in strategies if name not in WAYS]:
        yield f"strategies: for boxes expected some of {', '.join(WAYS)}, got {', '.join(unknown)}"
    if labels:
        yield "labels: a number of examples of each class has no meaning for boxes; leave it out"
    whole = all(type(seed) is int and seed >= 0 for seed in seeds)
    if not seeds or not whole or len(set(seeds)) < len(seeds):
        yield f"seeds: expected whole numbers of 0 or more, each once, got {list(seeds)}"


def _split(data: Any, recipe: Recipe, store: Store, progress: Progress) -> Dataset:
    """The examples and their parts, the same for all."""
    listed = load(data, root=recipe.root, repair=recipe.repair or None)
    check_learnable(listed)
    found = divided(look(listed, store, progress), recipe.parts, recipe.seed)
    check_learnable(found)
    return found


def _run(split: Dataset, recipe: Recipe, seed: int, store: Store, progress: Progress) -> Run:
    """One fit, and what of its report is compared."""
    own = replace(recipe, root=None, repair=False, seed=seed)  # these have been obeyed already
    begin = time.perf_counter()
    fitted = fit_detector(split, own, progress=progress, store=store)
    report = fitted.report.record
    (training,) = report["box_training"]
    return {
        "way": recipe.strategy[0],
        "seed": seed,
        "score": report["metrics"]["map"]["value"],
        "metrics": report["metrics"],
        "seconds": time.perf_counter() - begin,
        "curve": [*_curve(training["curve"])],
        "per_class": {row["class"]: row["ap"] for row in report["boxes_per_class"]},
        "warnings": training["warnings"],
        "backbone": report["backbones"][0]["name"],
        "size": training["size"],
        "n": report["split"]["n"],
    }


def _curve(points: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for point in points:
        value = point["map"] if point["average_map"] is None else point["average_map"]
        if value is not None:
            yield {"seconds": point["seconds"], "accuracy": value}


def _record(
    recipe: Recipe, split: Dataset, wanted: Sequence[str], seeds: Sequence[int], runs: list[Run]
) -> dict[str, Any]:
    return {
        "title": split.root.name,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "regraft": __version__,
        "modality": split.modality,
        "figure": "map",
        "classes": list(split.classes),
        "n": runs[0]["n"],
        "split": {"source": split.split_source, "counts": counts(split)},
        "backbone": runs[0]["backbone"],
        "size": runs[0]["size"],
        "seeds": [*seeds],
        "strategies": [_told(name, [r for r in runs if r["way"] == name]) for name in wanted],
        "warnings": sorted({f"{r['way']}: {w}" for r in runs for w in r["warnings"]}),
        "recipe": recipe.to_dict(),
        "reproduce": [command(recipe, wanted, seeds)],
    }


def _told(name: str, own: Sequence[Run]) -> dict[str, Any]:
    """Means over the seeds; the interval over pictures is that of the first."""
    first, mean = own[0]["metrics"]["map"], _mean([run["score"] for run in own])
    moved = 0.0 if mean is None or first["value"] is None else mean - first["value"]
    ends = {k: None if first[k] is None else first[k] + moved for k in ("low", "high")}
    each = {c: _mean([run["per_class"].get(c) for run in own]) for c in own[0]["per_class"]}
    return {
        "name": name,
        "told": WAYS[name].told,
        "score": {"value": mean} | ends,
        "against_probe": None,
        "map50": _mean([run["metrics"]["map50"]["value"] for run in own]),
        "seconds": float(np.mean([run["seconds"] for run in own])),
        "curve": own[0]["curve"],
        "per_class": {c: value for c, value in each.items() if value is not None},
        "runs": [{"seed": run["seed"], "map": run["score"]} for run in own],
    }


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
