"""Training on boxes: examples with their objects, the objective, and what is held back."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol, cast

import numpy as np
import torch
from torch import Tensor, nn

from regraft.data.boxes.form import Boxes
from regraft.data.inline import contents
from regraft.errors import TrainingStopped
from regraft.evaluation.detection import Detections, average_precision
from regraft.modalities.base import Modality
from regraft.modalities.spec import InputSpec
from regraft.tasks.detection.augment import augmented
from regraft.tasks.detection.detecting import Detecting
from regraft.tasks.detection.frames import frame
from regraft.tasks.detection.mosaic import END, PARTS, Seen, mosaic
from regraft.tasks.detection.targets import Truth
from regraft.tasks.detection.tiling import magnified
from regraft.training.attacking import ONCE, Network
from regraft.training.examples import Augmented, Turn
from regraft.training.judging import Score

AT_ONCE = 8


class BoxBatch(NamedTuple):
    """pixels (n, height, width, 3) uint8, places (n,) of the examples, and what is in each."""

    pixels: Tensor
    places: Tensor
    truths: tuple[Truth, ...]


@dataclass(frozen=True)
class Truths:
    """What is in the pictures of a batch; places give some of them."""

    each: Sequence[Truth]
    device: torch.device

    def __len__(self) -> int:
        return len(self.each)

    def __getitem__(self, places: Any) -> "Truths":
        chosen = torch.arange(len(self.each))[places].tolist()
        return Truths([self.each[i] for i in chosen], self.device)


class BoxedExamples(Augmented):
    """As `Augmented`, but an item is (pixels, place, truth).

    boxes   of each file
    epochs  of the run: mosaics end after a share of them
    tiles   parts of a picture in each direction that are looked at: as many turns see one of them
    """

    def __init__(
        self,
        files: Sequence[str],
        shas: Sequence[str],
        boxes: Sequence[Boxes],
        modality: Modality,
        spec: InputSpec,
        wanted: Mapping[str, float],
        seed: int,
        epochs: float = float("inf"),
        tiles: int = 1,
    ) -> None:
        super().__init__(files, shas, modality, spec, wanted, seed)
        self.boxes, self.epochs, self.tiles = [*boxes], epochs, tiles

    def __getitem__(self, turn: Turn) -> Any:
        numbers = [self.seed, turn.epoch, int(self.shas[turn.place][:15], 16)]
        rng = np.random.default_rng(numbers)

        def seen(place: int) -> Seen:
            about = (self._example(place), self.boxes[place], self.spec, self.wanted, rng)
            return augmented(*about, self._zoom(rng))

        share = self.wanted.get("mosaic", 0.0) if turn.epoch < END * self.epochs else 0.0
        if share and rng.random() < share:
            others = rng.integers(len(self), size=PARTS - 1).tolist()
            pixels, truth = mosaic(seen, [turn.place, *others], self.spec, rng)
        else:
            pixels, truth = seen(turn.place)
        return pixels, turn.place, truth

    def _zoom(self, rng: np.random.Generator) -> float:
        """1: as the whole is seen, else as parts are; as often as there are of each."""
        if self.tiles == 1 or rng.random() < 1 / (1 + self.tiles**2):
            return 1.0
        return magnified(self.tiles)

    def _compact(self, raw: Any) -> tuple[Any, int]:
        (rows, columns), size = self.spec.rectangle, self.spec.size * self.tiles
        shape = self.spec.shape and (rows * self.tiles, columns * self.tiles)
        return self.modality.compact(raw, replace(self.spec, size=size, shape=shape))

    def collate(self, items: Sequence[Any]) -> Any:
        """Items as one batch."""
        pixels = torch.from_numpy(np.stack([pixels for pixels, _, _ in items]))
        places = torch.tensor([place for _, place, _ in items])
        return BoxBatch(pixels, places, tuple(truth for _, _, truth in items))

    def blank(self) -> Tensor:
        return torch.zeros(1, *self.spec.rectangle, 3, dtype=torch.uint8)


class GivesLosses(Protocol):
    """What is asked of a `Detector`."""

    def losses(self, outputs: Tensor, truths: Sequence[Truth], box: str) -> Tensor:
        """(n,) of what the network gave; `box` is a name of its losses."""
        ...


class Objects:
    """Objects with boxes: the objective of a detector."""

    compares = False
    rounds = ONCE

    def __init__(self, model: GivesLosses, box: str) -> None:
        """box  a name of the model's losses"""
        self.model, self.box = model, box

    def targets(
        self, batch: Any, device: torch.device, rng: np.random.Generator
    ) -> tuple[Tensor, Truths]:
        """Pixels and truths on the device."""
        truths = [Truth(*(part.to(device) for part in truth)) for truth in batch.truths]
        return batch.pixels.to(device, non_blocking=True), Truths(truths, device)

    def losses(self, outputs: Tensor, targets: Truths, *embeddings: Tensor) -> Tensor:
        return self.model.losses(outputs, targets.each, self.box)

    def alone(
        self, network: Network, bare: Network, examples: Tensor, targets: Truths, progress: float
    ) -> Iterator[Tensor]:
        """On the pictures as they are."""
        yield self.losses(network(examples).float(), targets)


Asked = Callable[[Tensor, Sequence[Truth]], Tensor]  # pixels and truths → (n,) losses


class Matched(Objects):
    """As `Objects`, for detectors that need to know the objects while they look: with queries."""

    def losses(self, outputs: Tensor, targets: Truths, *embeddings: Tensor) -> Tensor:
        """What the network gave: losses already."""
        return outputs

    def alone(
        self, network: Network, bare: Network, examples: Tensor, targets: Truths, progress: float
    ) -> Iterator[Tensor]:
        yield cast(Asked, network)(examples, targets.each)


def prepared_pictures(files: Sequence[str], kind: Modality, spec: InputSpec) -> Tensor:
    """(m, height, width, 3) uint8 as they are when the model is used."""

    def pixels(file: str) -> Any:
        raw = kind.decode(contents(file), file, spec).raw
        return kind.prepare(raw, spec, spec.views[0])

    shape = (0, *spec.rectangle, 3)
    found = [pixels(file) for file in files]
    return torch.from_numpy(np.stack(found)) if found else torch.zeros(shape, dtype=torch.uint8)


@dataclass(frozen=True)
class HeldBoxes:
    """Pictures that nothing is learned from.

    pixels  (m, height, width, 3) uint8 as prepared
    boxes   of each, in pixels of the picture
    """

    pixels: Tensor
    boxes: Sequence[Boxes]
    spec: InputSpec
    majority: float = -1.0  # no answer is right as a rule

    def score(self, model: nn.Module, device: torch.device) -> Score:
        """1 - mAP, and mAP50. Raises TrainingStopped where the outputs are no numbers."""
        assert isinstance(model, Detecting)
        found = detections(model, self.pixels, self.boxes, self.spec, device)
        result = average_precision(found, self.boxes, model.classes)
        return Score(1 - (result.map or 0.0), result.map50 or 0.0)


@torch.no_grad()
def detections(
    model: Detecting,
    pixels: Tensor,
    boxes: Sequence[Boxes],
    spec: InputSpec,
    device: torch.device,
) -> list[Detections]:
    """What a detector finds in prepared pictures, in pixels of the pictures."""
    was = [(part, part.training) for part in model.modules()]
    model.eval()
    found = []
    try:
        for start in range(0, len(pixels), AT_ONCE):
            outputs = model(pixels[start : start + AT_ONCE].to(device)).float()
            if not bool(torch.isfinite(outputs).all()):
                raise TrainingStopped(
                    "for examples that are held back, what the network gives is no number any "
                    "more. Lower the rate"
                )
            own = boxes[start : start + AT_ONCE]
            inner = model.found(outputs)
            found += [_outwards(i, b, spec) for i, b in zip(inner, own, strict=True)]
    finally:
        for part, training in was:
            part.training = training
    return found


def _outwards(inner: Detections, boxes: Boxes, spec: InputSpec) -> Detections:
    corners = frame(boxes.size, spec).outwards(inner.boxes, boxes.size)
    return Detections(corners, inner.scores, inner.labels)
