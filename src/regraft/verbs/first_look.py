"""The first look at examples that have no classes: what cannot be read, copies, odd ones, leaks."""

from dataclasses import dataclass, replace

from regraft.backbones.features import Pass, pass_over
from regraft.backbones.store import Store
from regraft.data.dataset import Dataset
from regraft.data.inspection import inspect
from regraft.modalities import modality
from regraft.progress import Progress


@dataclass(frozen=True, eq=False)
class Looked:
    """What was looked at.

    dataset   readable pictures, with their SHA-256 and all findings
    together  ids that are copies of one picture
    seen      of every row of the dataset as it was given
    """

    dataset: Dataset
    together: tuple[tuple[str, ...], ...]
    seen: Pass


def look(dataset: Dataset, store: Store, progress: Progress | None) -> Looked:
    """One look at each file: what cannot be read, copies, odd sizes, leaks."""
    files = dataset.table["path"].to_list()
    seen = pass_over(files, modality(dataset.modality), store, None, progress)
    plain = replace(dataset, task="classification", classes=(), boxes={}, transcripts={})
    found = inspect(plain, seen.shas, seen.looks)
    clean = replace(dataset, table=found.dataset.table, findings=found.dataset.findings)
    return Looked(clean, found.together, seen)
