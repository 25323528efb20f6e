"""An exported detector."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from regraft.evaluation.detection import Detections
from regraft.evaluation.detection_calibration import PLAIN, ScoreLine
from regraft.modalities.spec import InputSpec
from regraft.model.detecting import DetectionModel
from regraft.model.exported import Graph, Kind, OnGraph, ToldExport, opened_graph, wrong_classes
from regraft.model.packing_detection import wrong_reading

MOST_ANCHORS = 10_000_000
ANCHORS, KNOWN = "anchors", ("anchors", "queries")  # names of `decoding.DECODINGS`


@dataclass(frozen=True)
class ToldBoxes(ToldExport):
    """What export.json says of a detector.

    thresholds  score from which a box of each class is taken
    per_map     anchors on each map, in the order of the outputs
    line, tiles  as of a `DetectionModel`; exports of before they were there do not say them
    decoding    how objects are taken from the outputs: a name of `decoding.DECODINGS`
    """

    classes: tuple[str, ...]
    thresholds: tuple[float, ...]
    per_map: tuple[int, ...]
    line: tuple[float, float] = PLAIN
    tiles: int = 1
    decoding: str = ANCHORS


@dataclass(frozen=True, eq=False)
class ExportedDetector(OnGraph, DetectionModel):
    """A detector that is one graph, see `tasks.detection.deployed`."""

    graph: Graph | None = None
    version: str = ""
    per_map: tuple[int, ...] = ()
    decoding: str = ANCHORS

    @property
    def spec(self) -> InputSpec:
        """The input of the graph."""
        return opened_graph(self.graph).specs[0]

    def inner(self, pixels: Sequence[npt.NDArray[np.uint8]]) -> list[Detections]:
        """What is in pictures of the input's size, each by itself."""
        import torch

        from regraft.tasks.detection.decoding import DECODINGS

        graph, found = opened_graph(self.graph), []
        for one in pixels:
            scores, boxes = (torch.from_numpy(out[0]) for out in graph.run([one[None]]))
            found.append(DECODINGS[self.decoding](scores, boxes, self.per_map))
        return found


def _wrong(told: Mapping[str, Any]) -> Iterator[str]:
    yield from wrong_classes(told["classes"])
    if len(told["thresholds"]) != len(told["classes"]):
        yield "thresholds: expected one for each class"
    if len(told["networks"]) != 1 or len(told["networks"][0]["spec"].get("views", ())) != 1:
        yield "networks: expected one with one view"
    if not all(0 < n < MOST_ANCHORS for n in told["per_map"]):
        yield "per_map: expected numbers of anchors"
    if told.get("decoding", ANCHORS) not in KNOWN:
        yield f"decoding: {told['decoding']!r:.60} is not one of {', '.join(KNOWN)}"
    yield from wrong_reading(told)


def _made(told: Mapping[str, Any], shared: Mapping[str, Any]) -> ExportedDetector:
    return ExportedDetector(
        classes=tuple(told["classes"]),
        row=shared["graph"].rows[0],
        network=None,  # type: ignore[arg-type]
        thresholds=np.array(told["thresholds"], np.float64),
        per_map=tuple(told["per_map"]),
        line=ScoreLine(*told.get("line", ())),
        tiles=told.get("tiles", 1),
        decoding=told.get("decoding", ANCHORS),
        **shared,
    )


KIND = Kind(ToldBoxes, _wrong, _made)
