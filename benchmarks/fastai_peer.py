"""fastai's `fine_tune(EPOCHS)`: accuracy on the measured part after each epoch, with the time.

    python fastai_peer.py TRAIN_AND_TEST_FOLDER MEASURED_PART SIZE EPOCHS SEED BEGUN

Its usual set-up: Resize, default batch size and rates, two loader workers; one epoch frozen, then
EPOCHS free in one cycle of the rate.
"""

import sys
from typing import Any

from fastai.callback.core import Callback
from fastai.vision.all import (
    ImageDataLoaders,
    Normalize,
    Resize,
    accuracy,
    set_seed,
    vision_learner,
)
from peers import ARCHITECTURE, Clock, put_weights


class Timed(Callback):  # type: ignore[misc]
    """Tells the clock when epochs end; after fastai's own recorder."""

    order = 60

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock

    def before_train(self) -> None:
        self.clock.training()

    def before_validate(self) -> None:
        self.clock.evaluating()

    def after_epoch(self) -> None:
        self.clock.evaluated(float(self.recorder.values[-1][-1]))


def main(data: str, part: str, size: str, epochs: str, seed: str, begun: str) -> None:
    clock = Clock(float(begun))
    set_seed(int(seed))
    loaders: Any = ImageDataLoaders.from_folder(
        data,
        train="train",
        valid=part,
        item_tfms=Resize(int(size)),
        batch_tfms=[Normalize.from_stats([0.5] * 3, [0.5] * 3)],
        num_workers=2,
        seed=int(seed),
    )
    learner = vision_learner(
        loaders, ARCHITECTURE, pretrained=False, metrics=accuracy, cbs=Timed(clock)
    )
    put_weights(learner.model[0].model)
    with learner.no_bar(), learner.no_logging():
        learner.fine_tune(int(epochs))
    clock.tell()


if __name__ == "__main__":
    main(*sys.argv[1:])
