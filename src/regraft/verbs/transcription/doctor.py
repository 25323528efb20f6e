"""doctor for transcripts: what is odd about recordings and what they are said to hold."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from regraft.backbones.store import Store
from regraft.data.dataset import Dataset
from regraft.data.findings import Finding
from regraft.data.sources import load
from regraft.errors import UsageError
from regraft.modalities.facts import Facts
from regraft.progress import Progress
from regraft.tasks.transcription.vocabulary import plain
from regraft.verbs.doctor import Diagnosis
from regraft.verbs.first_look import Looked, look

FAST, SLOW = 30.0, 1.0  # characters a second beyond which nobody speaks, and hardly anybody does
RARE = 3  # recordings with a character, under which it can hardly be learned


@dataclass(frozen=True, eq=False)
class SpokenDiagnosis(Diagnosis):
    """As `Diagnosis`; there are no classes."""

    def to_dict(self) -> dict[str, Any]:
        """Also how many transcripts, words and characters there are."""
        texts = [plain(text) for text in self.dataset.transcripts.values()]
        words = [word for text in texts for word in text.split()]
        told = {"transcripts": len(texts), "words": len(words), "different_words": len({*words})}
        characters = "".join(sorted({*"".join(texts)} - {" "}))
        return super().to_dict() | {
            "task": "transcription",
            "said": told | {"characters": characters},
        }


def doctor_of_transcripts(
    data: Any,
    *,
    root: str | Path | None = None,
    path_column: str | None = None,
    text: str | None = None,
    group: str | None = None,
    split: str | None = None,
    progress: Progress | None = None,
    store: Store | None = None,
    look_for_label_errors: bool = True,
    seed: int = 0,
    task: str | None = None,
    **unused: Any,
) -> SpokenDiagnosis:
    """Look for what is wrong with recordings and their transcripts; see `regraft.doctor`."""
    if wrong := [name for name, value in unused.items() if value is not None]:
        raise UsageError(*(f"{name}: has no use for transcripts" for name in wrong))
    columns: dict[str, Any] = {"path_column": path_column, "text": text, "group": group}
    told = {"root": root, "split": split, "task": "transcribe", **columns}
    dataset = data if isinstance(data, Dataset) else load(data, **told)
    opened = store or Store()
    try:
        looked = look(dataset, opened, progress)
    finally:
        if store is None:
            opened.close()
    clean = looked.dataset
    odd = [*_pace(looked), *_characters(clean), *_copies(clean, looked)]
    whole = replace(clean, findings=(*clean.findings, *odd))
    return SpokenDiagnosis(whole, whole.findings, looked.together, len(dataset), {})


def _pace(looked: Looked) -> Iterator[Finding]:
    """Too many characters for the time, or hardly any: a transcript that may be another's."""
    pairs = zip(looked.seen.shas, looked.seen.looks, strict=True)
    seconds = {sha: one.width / 1000 for sha, one in pairs if isinstance(one, Facts)}
    rows = looked.dataset.table.select("id", "sha256").iter_rows()
    known = [(n, sha) for n, sha in rows if n in looked.dataset.transcripts]
    paces = {
        n: len(plain(looked.dataset.transcripts[n])) / max(0.05, seconds[sha]) for n, sha in known
    }
    fast = tuple(name for name, pace in paces.items() if pace > FAST)
    slow = tuple(name for name, pace in paces.items() if pace < SLOW)
    if fast:
        reason = f"more than {FAST:g} characters a second: is the transcript theirs?"
        yield Finding("pace", fast, reason)
    if slow:
        reason = f"less than {SLOW:g} characters a second: is something left out?"
        yield Finding("pace", slow, reason)


def _characters(data: Dataset) -> Iterator[Finding]:
    """Characters that few transcripts have."""
    texts = {name: {*plain(text)} for name, text in data.transcripts.items()}
    every = sorted({c for some in texts.values() for c in some})
    rare = {c: [n for n, some in texts.items() if c in some] for c in every}
    for c, names in rare.items():
        if len(names) < RARE and len(texts) >= 10 * RARE:
            reason = f"only {len(names)} transcripts hold {c!r}: it can hardly be learned"
            yield Finding("rare-character", tuple(names), reason, "note")


def _copies(data: Dataset, looked: Looked) -> Iterator[Finding]:
    """Copies of one recording with different words."""
    for names in looked.together:
        known = [n for n in names if n in data.transcripts]
        texts = [plain(data.transcripts[n]) for n in known]
        if len(np.unique(texts)) > 1:
            told = " and ".join(map(repr, dict.fromkeys(texts)))
            yield Finding("conflicting-labels", tuple(known), f"copies said to hold {told}")
