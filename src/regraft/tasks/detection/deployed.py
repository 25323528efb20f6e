"""A detector as one PyTorch module for other runtimes: pictures → scores and boxes of all anchors.

What is left is to take each object once: the surest of overlapping boxes of a class, see
`decoding.found_among`.
"""

import torch
from torch import Tensor, nn

from regraft.tasks.detection.decoding import inside
from regraft.tasks.detection.network import Detector
from regraft.tasks.detection.targets import decoded


class DeployedDetector(nn.Module):
    """(n, height, width, 3) uint8 RGB → the OUTPUTS:

    scores  (n, A, classes) in [0, 1]
    boxes   (n, A, 4) left, top, right, bottom in pixels of the input
    """

    OUTPUTS = ("scores", "boxes")
    anchors: Tensor

    def __init__(self, network: Detector) -> None:
        super().__init__()
        self.network, self.classes = network, network.classes
        self.size = network.spec.rectangle
        self.register_buffer("anchors", network.placed(*self.size))

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        return self.told(self.network(pixels))

    def told(self, output: Tensor) -> tuple[Tensor, Tensor]:
        """Of what the network gives, (n, A, classes + 4)."""
        boxes = decoded(output[..., self.classes :], self.anchors)
        return torch.sigmoid(output[..., : self.classes]), inside(boxes, self.size)
