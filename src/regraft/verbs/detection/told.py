"""What a fit of a detector tells: the model's record, and the report's."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from regraft.data.dataset import PARTS, Dataset
from regraft.evaluation.report import Report
from regraft.model.detecting import DetectionModel
from regraft.recipe import Recipe
from regraft.verbs.detection.prepare import boxes_per_class
from regraft.verbs.measuring import short
from regraft.verbs.shown import illustrated
from regraft.verbs.told import LISTED

PICTURES = 24  # of findings in the report


def record_of(
    recipe: Recipe,
    chosen: Mapping[str, str],
    data: Dataset,
    learned: Sequence[str],
    model: DetectionModel,
    training: dict[str, Any],
) -> dict[str, Any]:
    """Provenance of the model, as plain data."""
    ids = {part: getattr(data, part).table["id"].to_list() for part in PARTS}
    return {
        "name": Path(recipe.source).name or data.root.name,
        "recipe": recipe.to_dict(),
        "chosen": dict(chosen),
        "split": {
            "source": data.split_source,
            "how": str(data.split_record.get("how", "as given")),
            "seed": data.split_record.get("seed"),
            "counts": counts(data),
        },
        "examples": ids if len(data) <= LISTED else {},
        "learned": [short(sha) for sha in learned[:LISTED]],
        "backbones": [_network(model)],
        "box_training": [training],
        "reproduce": ["regraft fit --recipe recipe.toml"],
    }


def counts(data: Dataset) -> dict[str, dict[str, int]]:
    """Boxes per part and class."""
    found = {part: boxes_per_class(getattr(data, part)) for part in PARTS}
    return {
        part: {name: int(n) for name, n in zip(data.classes, numbers, strict=True)}
        for part, numbers in found.items()
        if len(getattr(data, part))
    }


def _network(model: DetectionModel) -> dict[str, Any]:
    row = model.row
    return {
        "name": row.name,
        "source": row.source,
        "architecture": row.architecture,
        "licence_code": row.licence_code,
        "licence_weights": row.licence_weights,
        "parameters": sum(p.numel() for p in model.network.parameters()),
        "upstream_score": row.upstream_score,
        "spec": model.spec.to_dict(),
        "engine": "torch",
    }


def report_of(
    measured: dict[str, Any], model: DetectionModel, data: Dataset, timings: Mapping[str, float]
) -> Report:
    """The report of a fit, from what was measured on the held-out part."""
    findings = [*illustrated(data, data.findings, PICTURES)]
    own = {
        k: model.record[k] for k in ("recipe", "chosen", "backbones", "box_training", "reproduce")
    }
    spent = {stage: round(seconds, 3) for stage, seconds in timings.items()}
    left_out = [
        {"file": name, "reason": finding.reason}
        for finding in data.findings
        if finding.kind == "unreadable"
        for name in finding.files
    ]
    split = {**measured["split"], **model.record["split"]}
    told = {"findings": findings, "timings": spent, "left_out": left_out, "split": split}
    return Report(measured | own | told)
