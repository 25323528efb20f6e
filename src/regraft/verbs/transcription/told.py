"""What a fit of a transcriber tells: the model's record, and the report's."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from regraft.data.dataset import PARTS, Dataset
from regraft.evaluation.report import Report
from regraft.model.transcribing import TranscriptionModel
from regraft.recipe import Recipe
from regraft.verbs.measuring import short
from regraft.verbs.told import LISTED
from regraft.verbs.transcription.measure import OWN, commonest
from regraft.verbs.transcription.prepare import texts_of


def learning_run(name: str, plan: Any, trained: Any, examples: int) -> dict[str, Any]:
    """One step of the training, as plain data."""
    from regraft.training.strategies import strategy

    return {
        "name": name,
        "told": strategy(name).told if name != "probe" else "a head on the frozen network",
        "plan": plan.to_dict(),
        "steps": trained.steps,
        "epochs": trained.steps * plan.batch / max(1, examples),
        "seconds": trained.seconds,
        "warnings": trained.warnings,
        "curve": [_point(point) for point in trained.curve],
    }


def _point(point: Any) -> dict[str, Any]:
    """A look: what is held back is told as the share of wrong characters."""
    own = {"seconds": point.seconds, "epoch": point.epoch, "loss": point.loss, "rate": point.rate}
    held = {"held_loss": point.held_loss, "average_loss": point.average_loss}
    rates = {"held_cer": point.held_accuracy, "average_cer": point.average_accuracy}
    return own | held | {k: None if v is None else 1 - v for k, v in rates.items()}


def record_of(
    recipe: Recipe,
    chosen: Mapping[str, str],
    data: Dataset,
    learned: Sequence[str],
    model: TranscriptionModel,
    runs: Sequence[dict[str, Any]],
) -> dict[str, Any]:
    """Provenance of the model, as plain data."""
    ids = {part: getattr(data, part).table["id"].to_list() for part in PARTS}
    return {
        "name": Path(recipe.source).stem or data.root.name,
        "recipe": recipe.to_dict(),
        "chosen": dict(chosen),
        "commonest": commonest(texts_of(data.learning)),
        "split": {
            "source": data.split_source,
            "how": str(data.split_record.get("how", "as given")),
            "seed": data.split_record.get("seed"),
            "counts": {part: {"recordings": len(names)} for part, names in ids.items() if names},
        },
        "examples": ids if len(data) <= LISTED else {},
        "learned": [short(sha) for sha in learned[:LISTED]],
        "backbones": [_network(model)],
        "speech_training": list(runs),
        "reproduce": ["regraft fit --recipe recipe.toml"],
    }


def _network(model: TranscriptionModel) -> dict[str, Any]:
    row = model.extractor.row
    return {
        "name": row.name,
        "source": row.source,
        "architecture": row.architecture,
        "licence_code": row.licence_code,
        "licence_weights": row.licence_weights,
        "parameters": row.parameters,
        "upstream_score": row.upstream_score,
        "spec": model.spec.to_dict(),
        "engine": "torch",
    }


def report_of(
    measured: dict[str, Any],
    model: TranscriptionModel,
    data: Dataset,
    timings: Mapping[str, float],
) -> Report:
    """The report of a fit, from what was measured on the held-out part."""
    own = {k: model.record[k] for k in OWN}
    spent = {stage: round(seconds, 3) for stage, seconds in timings.items()}
    left_out = [
        {"file": name, "reason": finding.reason}
        for finding in data.findings
        if finding.kind in ("unreadable", "not-learned")
        for name in finding.files
    ]
    split = {**measured["split"], **model.record["split"]}
    findings = [finding.to_dict() for finding in data.findings]
    told = {"findings": findings, "timings": spent, "left_out": left_out, "split": split}
    return Report(measured | own | told)
