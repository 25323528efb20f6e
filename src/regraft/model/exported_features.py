"""What exported models share whose graph gives numbers of an example in place of features."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from regraft.backbones.features import Pass
from regraft.backbones.reading import file_bytes, hash_files, in_parallel
from regraft.backbones.store import Store, Verdict
from regraft.errors import Unreadable
from regraft.modalities import modality
from regraft.model.encoded import Features
from regraft.model.exported import Graph, OnGraph, opened_graph
from regraft.progress import Progress, Quiet


@dataclass(frozen=True, eq=False)
class OnOutputs(OnGraph):
    """An exported model on `model.OnFeatures`: what it calls features are its graph's outputs.

    strange  novelty above which an example is called unlike the training data
    """

    if TYPE_CHECKING:  # a field of the model that this stands beside

        @property
        def modality(self) -> str: ...

    graph: Graph | None = None
    version: str = ""
    strange: float = np.inf

    @property
    def width(self) -> int:
        """How many numbers the graph gives of an example."""
        raise NotImplementedError

    def encoded(self, examples: Sequence[bytes]) -> Features:
        """(m, width) outputs for what can be read; and the errors."""
        graph, errors = opened_graph(self.graph), dict[int, str]()
        rows = []
        for i, data in enumerate(examples):
            try:
                rows.append(graph.row(self.modality, data))
            except Unreadable as error:
                errors[i] = error.reason
        return np.stack(rows) if rows else np.zeros((0, self.width), np.float32), errors

    def features(
        self,
        files: Sequence[str | Path],
        *,
        store: Store | None = None,
        progress: Progress | None = None,
    ) -> Pass:
        """Outputs for files; the store is of no use here."""
        told = progress or Quiet()
        shas = hash_files(files, told)
        out, looks = np.zeros((len(files), self.width), np.float32), []
        jobs = [(Path(file), sha) for file, sha in zip(files, shas, strict=True)]
        with told.stage("answers of the exported model", len(files)) as advance:
            for i, (row, look) in enumerate(in_parallel(self._seen, jobs)):
                looks.append(look)
                if row is not None:
                    out[i] = row
                advance(1)
        names = tuple(sha if isinstance(sha, str) else "" for sha in shas)
        return Pass(names, tuple(looks), out, (self.width,))

    def _seen(self, jobs: Sequence[tuple[Path, str | Verdict]]) -> list[tuple[Any, Any]]:
        return [self._of_file(path, sha) for path, sha in jobs]

    def _of_file(self, path: Path, sha: str | Verdict) -> tuple[Any, Any]:
        data = file_bytes(path, sha) if isinstance(sha, str) else sha
        if isinstance(data, Verdict):
            return None, data
        try:
            row = opened_graph(self.graph).row(self.modality, data)
            return row, modality(self.modality).decode(data, str(path)).facts
        except Unreadable as error:
            return None, Verdict(error.kind, error.reason)
