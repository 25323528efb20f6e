"""A detector as one PyTorch module for other runtimes: pictures → scores and boxes of all anchors.

What is left is to take each object once: the surest of overlapping boxes of a class, see
`decoding.found_among`.
"""

from typing import Any

from torch import Tensor, nn

from regraft.errors import UsageError
from regraft.tasks.detection.decoding import inside
from regraft.tasks.detection.heads.rows import HEADS, HeadRow
from regraft.tasks.detection.network import Detector
from regraft.tasks.detection.queries.network import QueryDetector
from regraft.tasks.detection.queries.rows import QueryRow

OUTPUTS = ("scores", "boxes")
QUERIES = 300  # of a configuration that does not say how many


class DeployedDetector(nn.Module):
    """(n, height, width, 3) uint8 RGB → the OUTPUTS:

    scores  (n, A, classes) in [0, 1]
    boxes   (n, A, 4) left, top, right, bottom in pixels of the input

    per_map  anchors on each map, in the order of the outputs

    Raises UsageError for a kind that has no such outputs.
    """

    OUTPUTS = OUTPUTS
    DECODING = "anchors"
    anchors: Tensor

    def __init__(self, network: Detector) -> None:
        super().__init__()
        if reason := unfit(network.kind):
            raise UsageError(reason)
        self.network, self.size = network, network.spec.rectangle
        places: Any = network.head.places
        self.per_map: list[int] = places.per_map(self.size)
        anchors = places.anchors.boxes(places.maps(self.size))
        self.register_buffer("anchors", anchors)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        return self.told(self.network(pixels))

    def told(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """Of what the network gives, (n, A, numbers)."""
        scores, boxes = self.network.head.told(outputs, self.anchors)
        return scores, inside(boxes, self.size)


class DeployedQueries(nn.Module):
    """As `DeployedDetector`, of queries: what they answer is in the order of their scores.

    Which query answers for what is decided by scores that may be nearly equal; in this order other
    runtimes, which compute a little differently, tell the same.
    """

    OUTPUTS = OUTPUTS
    DECODING = "queries"

    def __init__(self, network: QueryDetector) -> None:
        super().__init__()
        self.network = network
        self.per_map: list[int] = [int(network.row.options.get("num_queries", QUERIES))]

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        return self.told(self.network(pixels))

    def told(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """Of what the network gives, (n, queries, numbers)."""
        scores, boxes = self.network.told(outputs)
        order = scores.amax(2).topk(scores.shape[1], 1).indices[..., None]
        return scores.gather(1, order.expand_as(scores)), boxes.gather(1, order.expand_as(boxes))


def unfit(kind: HeadRow | QueryRow) -> str:
    """Why detectors of a kind have no fixed outputs; empty where they have."""
    if kind.dense:
        return ""
    others = ", ".join(row.name for row in HEADS.values() if row.dense)
    return (
        f"detector: {kind.name} looks a second time where it has found something, which no single "
        f"graph can tell; fit one of {others}"
    )
