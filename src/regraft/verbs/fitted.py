"""What a fit gives, and the folder in which it keeps its state on the way."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from regraft.data.dataset import Dataset
from regraft.evaluation.report import Report
from regraft.verbs.ladder import forget


class Fitted(NamedTuple):
    """The model of its task, the data as split, and the report on the held-out part."""

    model: Any
    data: Dataset
    report: Report


@contextmanager
def kept_folder(run: str | Path | None, resume: bool) -> Iterator[Path | None]:
    """The folder of a run, locked; of a new run emptied of what an older one has left."""
    if run is None:
        yield None
        return
    from regraft.training.checkpoints import run_folder

    with run_folder(Path(run)) as folder:
        if not resume:
            forget(folder)
        yield folder
        forget(folder)  # it has come to its end: there is nothing to go on with
