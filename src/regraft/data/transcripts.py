"""Recordings and what is said in them: a manifest with a column of each."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from regraft.data.dataset import Dataset
from regraft.data.findings import Finding
from regraft.data.manifests import GUESSES, rows_of

# Column names that need no option; a file with these holds no examples that are texts.
COLUMNS: Mapping[str, str] = MappingProxyType(
    {
        "path_column": f"{GUESSES['path_column']} audio audio_path wav recording clip",
        "text": "transcript transcripts transcription text sentence utterance words said",
        "group": f"{GUESSES['group']} client_id voice reader",
        "split": GUESSES["split"],
    }
)
TASK = "transcription"


def read(file: Path, asked: Mapping[str, str | None], root: Path | None = None) -> Dataset:
    """Recordings with their transcripts.

    asked  column names for ``path_column``, ``text``, ``group`` and ``split``; None is guessed
    root   folder of the files; without it the manifest's folder

    Raises UsageError for columns, DataError for rows, all at once.
    """
    rows = rows_of(file, asked, root, COLUMNS, both=True)
    said = rows.columns.pop("text")
    ids = rows.columns["id"]
    transcripts = {str(i): text for i, text in zip(ids, said, strict=True) if text}
    made = Dataset.of(rows.columns, rows.base, modality="audio", findings=rows.findings)
    found = (*made.findings, *_bare([str(i) for i in ids if i not in transcripts], len(ids)))
    return replace(made, task=TASK, transcripts=transcripts, findings=found)


def _bare(names: list[str], of: int) -> Iterator[Finding]:
    if names and len(names) < of:
        reason = f"{len(names)} recordings have no transcript; nothing is learned from them"
        yield Finding("unlabelled", tuple(names), reason)
