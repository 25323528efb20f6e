"""evaluate: Model and labelled examples → Report."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from regraft import __version__
from regraft.backbones.features import Pass
from regraft.backbones.store import Store
from regraft.data.dataset import Dataset, listed
from regraft.errors import DataError, UsageError
from regraft.evaluation.calibration import reliability
from regraft.evaluation.intervals import bootstrap, bootstrap_per_class, bootstrap_share
from regraft.evaluation.metrics import METRICS, confusion_matrix, per_class
from regraft.evaluation.net_benefit import decision_curve
from regraft.evaluation.operating import positive_class
from regraft.evaluation.report import Report
from regraft.model.model import Answers, Model
from regraft.model.opening import opened
from regraft.progress import Progress
from regraft.verbs.further import further_parts
from regraft.verbs.looked import looked
from regraft.verbs.measuring import (
    LIMITS,
    groups_of,
    labelled_examples,
    listed_as,
    not_learned,
    notice_for,
    part_name,
    provenance,
    title_of,
)
from regraft.verbs.robust import EXAMPLES
from regraft.verbs.shown import mistakes, unlike
from regraft.verbs.tasks import carried_out, parameters_of


def evaluate(
    model: Model | str | Path,
    data: Any,
    *,
    split: str | None = None,
    label: str | None = None,
    path_column: str | None = None,
    text: str | None = None,
    group: str | None = None,
    root: str | Path | None = None,
    resamples: int = 1000,
    seed: int = 0,
    heat_maps: bool = False,
    at: str | None = None,
    positive: str | None = None,
    robust: bool = False,
    eps: Sequence[str] = (),
    norm: str | None = None,
    attack: str | None = None,
    attacked: int = EXAMPLES,
    corruptions: bool = False,
    risk: float | None = None,
    unlike: Any = None,
    repair: bool | None = None,
    tiles: int | None = None,
    labels: Sequence[str] = (),
    separator: str | None = None,
    store: Store | None = None,
    progress: Progress | None = None,
) -> Report:
    """Measure a model on labelled examples.

    data   a Dataset (all its labelled rows are measured) or a source for `regraft.load`
    split  part to measure on; None: for a source that has parts, the held-out one
    heat_maps  show where the network looked on some pictures
    at     operating point to measure at, such as ``sensitivity>=0.95``: chosen on the examples that
           the model was judged by when it was fitted, none of these; None: the model's own
    positive  class of it and of the decision curve; None: the model's own, or of two the second
    robust     measure up to `attacked` examples under attack; takes minutes to hours
    eps        shares of black to white, such as ``2/255``; of full scale, of a word piece's vector
    norm, attack  linf or l2 (texts: l2 of each vector); of pictures autoattack, else pgd
    corruptions  measure on noisy, blurred, misspelt … examples too
    risk       share of the answers given that may be wrong; None: with `robust` 0.05
    unlike     a source of other data, nothing of the model's classes: how well it is told apart
    repair, tiles  of boxes: mend faulty ones; parts of a picture in each direction that are looked
               at too, None: as it was fitted
    labels, separator  of tags and numbers, as for `regraft.load`

    Raises UsageError for an unknown class or part, DataError where nothing can be measured.
    """
    read = opened(model)
    told: dict[str, Any] = {"split": split, "root": root, "repair": repair}
    told |= {"label": label, "path_column": path_column, "text": text, "group": group}
    told |= {k: v for k, v in {"labels": labels, "separator": separator}.items() if v}
    under = {"eps": eps, "norm": norm, "attack": attack, "most": attacked}
    how: dict[str, Any] = {"resamples": resamples, "seed": seed, "heat_maps": heat_maps}
    how |= {"robust": under if robust else None, "corruptions": corruptions or None}
    how |= {"risk": risk, "unlike": unlike, "at": at, "positive": positive}
    how |= {} if tiles is None else {"tiles": tiles}
    return _measured(read, data, store=store, progress=progress, **told, **how)


def _measured(read: Any, data: Any, **settings: Any) -> Report:
    """By the function of the model's task. Raises UsageError where it knows no parts."""
    measured = carried_out("evaluate", read.task)
    if "tiles" in settings and "tiles" not in parameters_of(measured):
        raise UsageError(f"tiles: has no use for a model of {read.task}")
    found: Report = measured(read, data, **settings)
    return found


def evaluate_classifier(
    model: Model,
    data: Any,
    *,
    split: str | None = None,
    resamples: int = 1000,
    seed: int = 0,
    heat_maps: bool = False,
    at: str | None = None,
    positive: str | None = None,
    robust: dict[str, Any] | None = None,
    corruptions: bool | None = None,
    risk: float | None = None,
    unlike: Any = None,
    repair: bool | None = None,
    store: Store | None = None,
    progress: Progress | None = None,
    **columns: Any,
) -> Report:
    """`evaluate` of a classifier.

    robust  the settings of the attacks; None: nothing is attacked
    """
    if repair is not None:
        raise UsageError("repair: is for boxes; the model tells classes")
    chosen = positive_class(model.classes, positive, at)
    model = model if at is None else model.at(at, chosen)
    further = further_parts(model, robust, bool(corruptions), risk, unlike)
    found = labelled_examples(data, split, modality=listed_as(model), **columns)
    examples = same_classes(model, found)
    seen = model.features(examples.table["path"].to_list(), store=store, progress=progress)
    notes: dict[str, Any] = {}
    if split is None and examples.split_source != "given" and not isinstance(data, Dataset):
        examples, seen, notes = not_learned(model, examples, seen)
    record = measure(model, examples, seen, resamples=resamples, seed=seed, positive=positive)
    shown: dict[str, Any] = {"looked": looked(model, examples, seen)} if heat_maps else {}
    asked: dict[str, Any] = {"resamples": resamples, "seed": seed, "progress": progress}
    shown |= {part: measured(examples, seen, **asked) for part, measured in further.items()}
    return Report(record | provenance(model) | notes | shown)


def same_classes(model: Model, examples: Dataset) -> Dataset:
    """The examples with the model's classes, in its order."""
    present = set(examples.table["label"])
    if unknown := sorted(present - set(model.classes)):
        raise UsageError(
            f"data: the model does not know the classes {listed(unknown)}; it knows "
            f"{listed(model.classes)}; leave them out or fit a model with them"
        )
    return replace(examples, classes=model.classes)


def measure(
    model: Model,
    examples: Dataset,
    seen: Pass,
    *,
    resamples: int = 1000,
    seed: int = 0,
    positive: str | None = None,
) -> dict[str, Any]:
    """The report's record of a model on labelled examples whose features are there.

    positive  class of the decision curve; None: that of the operating point, else the second of two
    """
    readable = np.array([i not in seen.verdicts for i in range(len(examples))])
    if not readable.any() or seen.features is None:
        raise DataError("there is nothing to measure on: no file can be read")
    labels = examples.targets[readable]
    answers = model.answer(seen.features[readable])
    rows = np.flatnonzero(readable)
    files = [examples.table["id"][int(i)] for i in rows]
    paths = [examples.table["path"][int(i)] for i in rows]
    groups = groups_of(examples, rows)
    probabilities = answers.probabilities
    settings: dict[str, Any] = {"resamples": resamples, "seed": seed, "groups": groups}
    curve = _decisions(model, positive, labels, probabilities, settings)
    settings["decided"] = answers.decided
    name = part_name(examples)
    return {
        "title": title_of(model, examples),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "regraft": __version__,
        "task": model.task,
        "modality": model.modality,
        "classes": list(model.classes),
        "split": {**model.record.get("split", {}), "name": name, "n": len(labels)},
        "metrics": _metrics(labels, probabilities, settings),
        "per_class": _per_class(model, labels, probabilities, settings),
        "confusion": _confusion(labels, answers, model),
        "reliability": reliability(labels, probabilities),
        **curve,
        "temperature": model.temperature,
        "conformal": _conformal(model, labels, answers, settings),
        "mistakes": mistakes(model, labels, answers, files, paths),
        "novelty": unlike(model.modality, answers.unlike, files, paths),
        "left_out": [
            {"file": examples.table["id"][i], "reason": v.reason} for i, v in seen.verdicts.items()
        ],
        "limits": list(LIMITS),
        **notice_for(model, seen),
    }


def _decisions(
    model: Model,
    positive: str | None,
    labels: Any,
    probabilities: Any,
    settings: dict[str, Any],
) -> dict[str, Any]:
    """The operating point and the decision curve, where there is a class that they are about."""
    point = model.operating
    told = {} if point is None else {"operating_point": point.to_dict()}
    named = positive or (None if point is None else point.positive)
    chosen = positive_class(model.classes, named, None)
    if chosen is None:
        return told
    curve = decision_curve(labels, probabilities, model.classes.index(chosen), **settings)
    return {**told, "decisions": {"positive": chosen, "named": named is not None, **curve}}


def _metrics(labels: Any, probabilities: Any, settings: dict[str, Any]) -> dict[str, Any]:
    found = bootstrap(labels, probabilities, **settings)
    return {
        name: {
            **interval.to_dict(),
            "title": METRICS[name].title,
            "higher_is_better": METRICS[name].higher_is_better,
            "definition": METRICS[name].definition,
        }
        for name, interval in found.items()
    }


def _per_class(
    model: Model, labels: Any, probabilities: Any, settings: dict[str, Any]
) -> list[dict[str, Any]]:
    points = per_class(labels, probabilities, settings["decided"])
    intervals = bootstrap_per_class(labels, probabilities, **settings)
    out = []
    for name, point, interval in zip(model.classes, points, intervals, strict=True):
        ends = {
            f"{metric}_{end}": value
            for metric, found in interval.items()
            for end, value in found.to_dict().items()
            if end != "value"
        }
        out.append({"class": name, **point, **ends})
    return out


def _confusion(labels: Any, answers: Answers, model: Model) -> list[list[int]]:
    table = confusion_matrix(labels, answers.decided, len(model.classes))
    return [[int(n) for n in row] for row in table]


def _conformal(
    model: Model, labels: Any, answers: Answers, settings: dict[str, Any]
) -> dict[str, Any]:
    holds = answers.sets[np.arange(len(labels)), labels]
    asked = {name: value for name, value in settings.items() if name != "decided"}
    return {
        "target": model.record.get("recipe", {}).get("coverage", 0.9),
        "coverage": bootstrap_share(holds, **asked).to_dict(),
        "mean_size": float(answers.sets.sum(1).mean()),
        "threshold": model.threshold if np.isfinite(model.threshold) else None,
    }
