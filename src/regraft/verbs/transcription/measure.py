"""evaluate for transcripts: a model and recordings → the record of a report."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from regraft import __version__
from regraft.backbones.store import Store
from regraft.data.dataset import PARTS, Dataset
from regraft.data.learnable import asked_part
from regraft.data.sources import load
from regraft.errors import DataError, UsageError
from regraft.evaluation.report import Report
from regraft.evaluation.transcription import METRICS, alignment, counted, figures, mistaken
from regraft.model.transcribing import TranscriptionModel
from regraft.progress import Progress, Quiet
from regraft.verbs.shown import clip, thumbnail
from regraft.verbs.transcription.prepare import texts_of

SHOWN = 18  # worst recordings
MOST_PAIRS = 20
OWN = ("recipe", "chosen", "backbones", "reproduce", "speech_training")
LIMITS = (
    "The figures hold for speakers, words and rooms like those measured here; others can be "
    "harder.",
    "Case and punctuation do not count: they are neither learned nor compared.",
    "Intervals are 95 % bootstrap intervals over the measured recordings (over their groups, where "
    "these are known); they do not cover the choice of what was learned from.",
)


def evaluate_transcriber(
    model: TranscriptionModel,
    data: Any,
    *,
    split: str | None = None,
    root: str | Path | None = None,
    path_column: str | None = None,
    text: str | None = None,
    group: str | None = None,
    resamples: int = 1000,
    seed: int = 0,
    store: Store | None = None,
    progress: Progress | None = None,
    **unused: Any,
) -> Report:
    """Measure a transcriber on recordings with transcripts; see `regraft.evaluate`."""
    wrong = [f"{name}: has no use for transcripts" for name, v in unused.items() if v]
    if split is not None and split not in PARTS:
        wrong.append(f"split: {split!r} is not one of {', '.join(PARTS)}")
    if wrong:
        raise UsageError(*wrong)
    columns: dict[str, Any] = {"path_column": path_column, "text": text, "group": group}
    told = {"root": root, "task": "transcribe", **columns}
    whole = data if isinstance(data, Dataset) else load(data, **told)
    chosen = asked_part(whole, model.task, split, not isinstance(data, Dataset))
    return Report(measure(model, chosen, resamples=resamples, seed=seed, progress=progress))


def measure(
    model: TranscriptionModel,
    data: Dataset,
    *,
    resamples: int = 1000,
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """The report's record of a transcriber on recordings with transcripts."""
    known = data.labelled
    ids, files = known.table["id"].to_list(), known.table["path"].to_list()
    written, lost = _written(model, files, progress or Quiet())
    texts = texts_of(known)
    there = [i for i in range(len(ids)) if i not in lost and texts[i]]
    if not there:
        raise DataError("there is nothing to measure on: no recording with a transcript is read")
    said, own = [texts[i] for i in there], [written[i] for i in there]
    groups = known.table["group"].to_list()
    units = [groups[i] or ids[i] for i in there] if any(groups) else None
    how: dict[str, Any] = {"groups": units, "resamples": resamples, "seed": seed}
    parts = known.table["split"].drop_nulls().unique().to_list()
    name, where = str(model.record.get("name", "model")), data.root.name
    return {
        "title": name if name == where else f"{name} on {where}",
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "regraft": __version__,
        "task": model.task,
        "modality": model.modality,
        "classes": [],
        "split": {
            **model.record.get("split", {}),
            "name": str(parts[0]) if len(parts) == 1 else "all",
            "n": len(there),
        },
        "metrics": _metrics(figures(said, own, **how)),
        "trivial": _trivial(said, model),
        "transcripts": _worst([ids[i] for i in there], [files[i] for i in there], said, own),
        "mistaken": [
            {"said": a, "written": b, "count": n} for (a, b), n in mistaken(said, own)[:MOST_PAIRS]
        ],
        "left_out": [{"file": ids[i], "reason": reason} for i, reason in lost.items()],
        "limits": list(LIMITS),
        **{key: model.record[key] for key in OWN if key in model.record},
    }


def _written(
    model: TranscriptionModel, files: Sequence[str], progress: Progress
) -> tuple[list[str], dict[int, str]]:
    """What is written down of each; of those that cannot be read the reasons."""
    found, lost = [], {}
    with progress.stage("writing down", len(files)) as advance:
        for i, one in enumerate(model.transcribe(files)):
            if one.text is None:
                lost[i] = str(one.error)
            found.append(one.text or "")
            advance(1)
    return found, lost


def _metrics(found: dict[str, Any]) -> dict[str, Any]:
    return {
        name: {
            **found[name].to_dict(),
            "title": title,
            "definition": definition,
            "higher_is_better": higher,
        }
        for name, (title, definition, higher) in METRICS.items()
    }


def _trivial(said: Sequence[str], model: TranscriptionModel) -> dict[str, Any]:
    """What it costs to write down always the same: the commonest of what was learned from."""
    text = str(model.record.get("commonest", ""))
    found = counted(said, [text] * len(said))
    rates = found.errors.sum(0) / found.of.sum(0)
    return {"text": text, "wer": float(rates[0]), "cer": float(rates[1])}


def _worst(
    ids: Sequence[str], files: Sequence[str], said: Sequence[str], written: Sequence[str]
) -> list[dict[str, Any]]:
    """Recordings with mistakes, most of them in words first."""
    errors = counted(said, written).errors
    order = sorted(range(len(ids)), key=lambda i: (-errors[i, 0], -errors[i, 1], ids[i]))
    return [
        {
            "file": ids[i],
            "said": said[i],
            "written": written[i],
            "errors": int(errors[i, 0]),
            "steps": [
                [step.said, step.written] for step in alignment(said[i].split(), written[i].split())
            ],
            "thumbnail": thumbnail("audio", files[i]),
            "clip": clip("audio", files[i]),
        }
        for i in order[:SHOWN]
        if errors[i, 1]
    ]


def commonest(texts: Sequence[str]) -> str:
    """The text that most recordings have; the first by name of several."""
    counts = Counter(texts)
    return min(counts, key=lambda text: (-counts[text], text)) if counts else ""
