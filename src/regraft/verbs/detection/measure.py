"""evaluate for boxes: a model and pictures with boxes → the record of a report."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from regraft import __version__
from regraft.backbones.store import Store
from regraft.data.boxes.form import Boxes
from regraft.data.dataset import PARTS, Dataset, listed
from regraft.data.learnable import asked_part
from regraft.data.sources import load
from regraft.errors import DataError, UsageError
from regraft.evaluation.detection import (
    METRICS,
    Detections,
    Precision,
    average_precision,
    figures,
)
from regraft.evaluation.detection_calibration import (
    PLAIN,
    ScoreLine,
    fit_score_line,
    score_calibration,
)
from regraft.evaluation.detection_errors import KINDS, breakdown, confusion
from regraft.evaluation.detection_intervals import best_threshold, curve, intervals
from regraft.evaluation.report import Report
from regraft.model.detecting import DetectionModel, tiled
from regraft.progress import Progress, Quiet
from regraft.verbs.detection.gallery import gallery

USUAL_THRESHOLD = 0.4
FEWEST_OBJECTS = 5  # of a class on pictures held back, from which its threshold is chosen

LIMITS = (
    "The figures hold for pictures like those measured here; other cameras, places or times can be "
    "harder.",
    "Intervals are 95 % bootstrap intervals over the measured pictures; they do not cover the "
    "choice of the pictures to learn from.",
    "Objects that nobody annotated count as false alarms where they are found.",
)
UNUSED = ("label", "path_column", "text", "group")


class Thresholds(NamedTuple):
    """The score from which boxes of each class are taken.

    scores  (c,)
    record  of each class, as plain data
    why     in a sentence
    line    that makes scores say how often boxes are right, and in a sentence what it does
    """

    scores: npt.NDArray[np.float64]
    record: dict[str, Any]
    why: str
    line: ScoreLine = PLAIN
    lined: str = "as the network gives them: too few boxes on pictures held back"


def thresholds(
    model: DetectionModel, files: Sequence[str], boxes: Sequence[Boxes], seed: int
) -> Thresholds:
    """Where F1 is largest on pictures held back, by scores that are calibrated on them first."""
    usual = np.full(len(model.classes), USUAL_THRESHOLD)
    if not files:
        return Thresholds(usual, {}, f"{USUAL_THRESHOLD:g}: too few pictures to hold some back")
    found, there, _ = _read(model, files, boxes, Quiet())
    classes = len(model.classes)
    plain = average_precision(found, there, classes).matches
    line = fit_score_line(plain)
    whole = average_precision([line(f) for f in found], there, classes)
    record: dict[str, Any] = {}
    for c, (name, one) in enumerate(zip(model.classes, whole.matches, strict=True)):
        best = best_threshold(one, seed=seed)
        if best is not None and one.objects.sum() >= FEWEST_OBJECTS:
            usual[c] = best.score
            record[name] = best._asdict()
    told = ", ".join(f"{n} {usual[c]:.2f}" for c, n in enumerate(model.classes[:8]))
    why = f"largest F1 on {len(files)} pictures held back: {told}"
    if line == PLAIN:
        return Thresholds(usual, record, why)
    before, after = (score_calibration(m)["ece"] for m in (plain, whole.matches))
    lined = f"calibrated: on pictures held back {before:.3f} away from how often boxes are right, "
    return Thresholds(usual, record, why, line, f"{lined}now {after:.3f}")


def _read(
    model: DetectionModel, files: Sequence[str], boxes: Sequence[Boxes], progress: Progress
) -> tuple[list[Detections], list[Boxes], dict[int, str]]:
    """What is found and what is there in readable pictures; of the others the reasons."""
    found, there, lost = [], [], {}
    with progress.stage("finding objects", len(files)) as advance:
        for i, (seen, own) in enumerate(zip(model.detect(files), boxes, strict=True)):
            if seen.found is None:
                lost[i] = str(seen.error)
            else:
                found.append(seen.found)
                there.append(own)
            advance(1)
    return found, there, lost


def evaluate_detector(
    model: DetectionModel,
    data: Any,
    *,
    split: str | None = None,
    root: str | Path | None = None,
    repair: bool | None = None,
    resamples: int = 1000,
    seed: int = 0,
    heat_maps: bool = False,
    tiles: int | None = None,
    store: Store | None = None,
    progress: Progress | None = None,
    **columns: Any,
) -> Report:
    """Measure a detector on pictures with boxes; see `regraft.evaluate`.

    tiles  parts of a picture in each direction that are looked at too; None: as the model has it
    """
    wrong = [f"{name}: has no use for boxes" for name, v in columns.items() if v is not None]
    wrong += ["heat_maps: there are none for boxes"] if heat_maps else []
    if split is not None and split not in PARTS:
        wrong.append(f"split: {split!r} is not one of {', '.join(PARTS)}")
    if wrong:
        raise UsageError(*wrong)
    model = tiled(model, tiles)
    whole = data if isinstance(data, Dataset) else load(data, root=root, repair=repair)
    chosen = asked_part(whole, model.task, split, not isinstance(data, Dataset))
    return Report(measure(model, chosen, resamples=resamples, seed=seed, progress=progress))


def measure(
    model: DetectionModel,
    data: Dataset,
    *,
    resamples: int = 1000,
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """The report's record of a detector on annotated pictures."""
    known = data.labelled
    ids, files = known.table["id"].to_list(), known.table["path"].to_list()
    if not ids:
        raise DataError("there is nothing to measure on: no picture has an annotation")
    boxes = [renumbered(known.boxes[name], known.classes, model.classes) for name in ids]
    found, there, lost = _read(model, files, boxes, progress or Quiet())
    if not found:
        raise DataError("there is nothing to measure on: no picture can be read")
    names = [name for i, name in enumerate(ids) if i not in lost]
    paths = [path for i, path in enumerate(files) if i not in lost]
    told, whole = figures(found, there, len(model.classes))
    ends = intervals(whole, len(found), resamples=resamples, seed=seed)
    sure = [f.above(model.thresholds) for f in found]
    parts = known.table["split"].drop_nulls().unique().to_list()
    name, where = str(model.record.get("name", "model")), data.root.name
    return {
        "title": name if name == where else f"{name} on {where}",
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "regraft": __version__,
        "task": model.task,
        "modality": model.modality,
        "classes": list(model.classes),
        "split": {
            **model.record.get("split", {}),
            "name": str(parts[0]) if len(parts) == 1 else "all",
            "n": len(found),
        },
        "metrics": _metrics(told, ends),
        "boxes_per_class": _per_class(model, whole, ends),
        "curves": [
            {"class": c, "points": [list(p) for p in curve(one)]}
            for c, one in zip(model.classes, whole.matches, strict=True)
        ],
        "box_calibration": score_calibration(whole.matches),
        "box_confusion": confusion(sure, there, len(model.classes)),
        "box_errors": _errors(breakdown(found, there, len(model.classes)), sure, there, model),
        "gallery": gallery(model, sure, there, names, paths),
        "left_out": [{"file": ids[i], "reason": reason} for i, reason in lost.items()],
        "limits": list(LIMITS),
        **{
            k: model.record[k]
            for k in ("recipe", "chosen", "backbones", "reproduce", "box_training")
            if k in model.record
        },
    }


def renumbered(boxes: Boxes, own: Sequence[str], wanted: Sequence[str]) -> Boxes:
    """Boxes with the class numbers of a model. Raises UsageError for a class it does not know."""
    if tuple(own) == tuple(wanted):
        return boxes
    used = {own[c] for c in boxes.labels.tolist()}
    if unknown := sorted(used - set(wanted)):
        raise UsageError(
            f"data: the model does not know the classes {listed(unknown)}; it knows "
            f"{listed(wanted)}; leave them out or fit a model with them"
        )
    places = {c: wanted.index(own[c]) for c in set(boxes.labels.tolist())}
    labels = [places[c] for c in boxes.labels.tolist()]
    return Boxes.of(boxes.xyxy, labels, boxes.size, boxes.crowd, boxes.difficult)


def _metrics(told: dict[str, float | None], ends: dict[str, Any]) -> dict[str, Any]:
    found = {}
    for name, value in told.items():
        low, high = ends.get(name) or (None, None)
        title, definition = METRICS[name]
        found[name] = {
            "value": value,
            "low": low,
            "high": high,
            "title": title,
            "higher_is_better": True,
            "definition": definition,
        }
    return found


def _per_class(
    model: DetectionModel, whole: Precision, ends: dict[str, Any]
) -> list[dict[str, Any]]:
    rows = []
    for c, (name, one) in enumerate(zip(model.classes, whole.matches, strict=True)):
        low, high = ends["classes"][c] or (None, None)
        table, recall = whole.precision[c], one.recall()
        cut = _at_threshold(one, float(model.thresholds[c]))
        rows.append(
            {
                "class": name,
                "objects": int(one.objects.sum()),
                "ap": whole.per_class[c],
                "ap_low": low,
                "ap_high": high,
                "ap50": None if table is None else float(table[0].mean()),
                "ap75": None if table is None else float(table[5].mean()),
                "ar": None if recall is None else float(recall.mean()),
                "threshold": float(model.thresholds[c]),
                **cut,
            }
        )
    return rows


def _at_threshold(one: Any, least: float) -> dict[str, Any]:
    """Precision and recall of what the model takes for objects, at an overlap of 0.5."""
    taken = (one.scores >= least) & ~one.ignored[0]
    right, all_of_it = int((one.hits[0] & taken).sum()), int(taken.sum())
    objects = int(one.objects.sum())
    return {
        "precision": right / all_of_it if all_of_it else None,
        "recall": right / objects if objects else None,
    }


def _errors(
    lost: dict[str, dict[str, float]],
    sure: Sequence[Detections],
    there: Sequence[Boxes],
    model: DetectionModel,
) -> list[dict[str, Any]]:
    """Kinds of mistakes: what they are, how many at the thresholds, what they cost."""
    at = breakdown(sure, there, len(model.classes))
    return [
        {"kind": kind, "told": told, "count": int(at[kind]["count"]), "lost": lost[kind]["lost"]}
        for kind, told in KINDS.items()
    ]
