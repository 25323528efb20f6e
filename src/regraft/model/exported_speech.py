"""An exported transcriber."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from regraft.modalities.spec import InputSpec
from regraft.model.exported import Graph, Kind, OnGraph, ToldExport, opened_graph
from regraft.model.transcribing import TranscriptionModel
from regraft.tasks.transcription.vocabulary import Vocabulary

TINY = np.float32(1e-30)


@dataclass(frozen=True)
class ToldSpeech(ToldExport):
    """What export.json says of a transcriber."""

    characters: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class ExportedTranscriber(OnGraph, TranscriptionModel):
    """A transcriber that is one graph, see `tasks.transcription.deployed`."""

    graph: Graph | None = None
    version: str = ""

    @property
    def spec(self) -> InputSpec:
        """The input of the graph."""
        return opened_graph(self.graph).specs[0]

    def read(self, prepared: npt.NDArray[np.uint8]) -> npt.NDArray[Any]:
        """What the graph hears of samples."""
        return opened_graph(self.graph).reads[0](prepared)

    def log_probabilities(self, heard: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """(moments, c) of what is heard."""
        (found,) = opened_graph(self.graph).run([heard[None]])
        return np.log(np.maximum(np.asarray(found[0], np.float32), TINY))


def _wrong(told: Mapping[str, Any]) -> Iterator[str]:
    yield from Vocabulary.mistakes(told["characters"])
    specs = [network["spec"] for network in told["networks"]]
    if len(specs) != 1 or specs[0].get("reads") != "sound":
        yield "networks: expected one that reads sound"


def _made(told: Mapping[str, Any], shared: Mapping[str, Any]) -> ExportedTranscriber:
    return ExportedTranscriber(
        vocabulary=Vocabulary(tuple(told["characters"])),
        extractor=None,  # type: ignore[arg-type]
        head={},
        **shared,
    )


KIND = Kind(ToldSpeech, _wrong, _made)
