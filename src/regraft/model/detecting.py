"""DetectionModel: a detector, its classes, the score from which each class is taken, provenance."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from regraft.backbones.catalog import CatalogRow
from regraft.data.inline import contents
from regraft.errors import Unreadable, UsageError
from regraft.evaluation.detection import Detections
from regraft.evaluation.detection_calibration import PLAIN, ScoreLine
from regraft.export.bundle import Bundle, write_bundle
from regraft.modalities import modality
from regraft.modalities.spec import InputSpec
from regraft.model.model import told_network
from regraft.tasks.detection.tiling import MOST_TILES, Region, merged, regions

if TYPE_CHECKING:
    from regraft.tasks.detection.detecting import Detecting

AT_ONCE = 8  # pictures that go through the network together


@dataclass(frozen=True)
class Seen:
    """What was found in one picture.

    found    the surest first, in pixels of the upright picture; None where it cannot be read
    size     width and height of the picture
    seconds  for reading and finding; of pictures that go together an equal share
    error    why there is no answer
    """

    found: Detections | None
    size: tuple[int, int] = (0, 0)
    seconds: float = 0.0
    error: str | None = None


@dataclass(frozen=True, eq=False)
class DetectionModel:
    """A trained detector.

    classes     names in the order of the class numbers
    row         the catalog's row of its backbone
    network     the detector, in evaluation mode
    thresholds  (c,) score from which a box of each class is taken for an object
    record      provenance as plain data
    line        from the network's scores to how often such boxes are right
    tiles       parts of a picture in each direction that are looked at beside the whole; 1: none
    """

    classes: tuple[str, ...]
    row: CatalogRow
    network: "Detecting"
    thresholds: npt.NDArray[np.float64]
    record: dict[str, Any]
    modality: str = "image"
    task: str = "detection"
    line: ScoreLine = PLAIN
    tiles: int = 1
    _turn: Lock = field(default_factory=Lock, repr=False, compare=False)  # one for each network

    @property
    def networks(self) -> list[dict[str, Any]]:
        """Its network as plain data, licences told."""
        return [told_network(self.row, self.spec, "torch")]

    @property
    def spec(self) -> InputSpec:
        """The input of the network."""
        return self.network.spec

    def detect(self, files: Sequence[str | Path]) -> Iterator[Seen]:
        """What is in pictures, whatever its score; a file that cannot be read has an error."""
        for start in range(0, len(files), AT_ONCE):
            yield from self._some([str(file) for file in files[start : start + AT_ONCE]])

    def detect_in(self, data: bytes, name: str) -> Seen:
        """What is in an encoded picture."""
        begin = time.perf_counter()
        return self._all([self._read(data, name)], begin)[0]

    def _some(self, files: Sequence[str]) -> list[Seen]:
        begin = time.perf_counter()
        return self._all([self._opened(file) for file in files], begin)

    def _opened(self, file: str) -> Any:
        try:
            return self._read(contents(file), file)
        except OSError as error:
            return Seen(None, error=f"it cannot be read: {error.strerror or error}")

    def _read(self, data: bytes, name: str) -> Any:
        """(pixels of each region, size), or why there are none."""
        kind = modality(self.modality)
        try:
            decoded = kind.decode(data, name, self.spec)
        except Unreadable as error:
            return Seen(None, error=error.reason)
        size = (decoded.facts.width, decoded.facts.height)
        parts = [_part(decoded.raw, region, size) for region in regions(size, self.tiles)]
        return [kind.prepare(part, self.spec, self.spec.views[0]) for part in parts], size

    def _all(self, read: Sequence[Any], begin: float) -> list[Seen]:
        good = [one for one in read if not isinstance(one, Seen)]
        found = iter(self._found(good))
        each = (time.perf_counter() - begin) / max(1, len(read))
        return [one if isinstance(one, Seen) else Seen(next(found), one[1], each) for one in read]

    def _found(
        self, read: Sequence[tuple[list[npt.NDArray[np.uint8]], tuple[int, int]]]
    ) -> list[Detections]:
        """In each picture, from the pixels of its regions and its size."""
        every = [pixels for parts, _ in read for pixels in parts]
        starts = range(0, len(every), AT_ONCE)
        inner = iter([one for at in starts for one in self.inner(every[at : at + AT_ONCE])])
        found = []
        for parts, size in read:
            where = regions(size, self.tiles)
            some = [self._outwards(next(inner), region) for region in where[: len(parts)]]
            found.append(self.line(merged(some, where, size)))
        return found

    def _outwards(self, found: Detections, region: Region) -> Detections:
        """In pixels of the region."""
        from regraft.tasks.detection.frames import frame

        size = (region[2] - region[0], region[3] - region[1])
        return found._replace(boxes=frame(size, self.spec).outwards(found.boxes, size))

    def inner(self, pixels: Sequence[npt.NDArray[np.uint8]]) -> list[Detections]:
        """What is in pictures of the input's size, in its pixels."""
        import torch

        with self._turn, torch.inference_mode():  # its network keeps things while it runs
            return self.network.found(self.network(torch.from_numpy(np.stack(pixels))))

    def predict(self, source: Any, **settings: Any) -> Any:
        """Objects in a file, a folder, a glob or a list of files; see `regraft.predict`."""
        from regraft.model.predict import predict

        return predict(self, source, **settings)

    def save(self, path: str | Path) -> Path:
        """Write the bundle: one file, whole or not at all. Raises StorageError."""
        from regraft.model.packing_detection import pack

        documents, tensors = pack(self)
        write_bundle(Path(path), documents, tensors)
        return Path(path)

    @classmethod
    def of(cls, bundle: Bundle) -> "DetectionModel":
        """The model in a bundle; no code in it is run. Raises BundleError."""
        from regraft.model.packing_detection import unpack

        return cls(**unpack(bundle))


def tiled(model: DetectionModel, tiles: int | None) -> DetectionModel:
    """The same model with so many parts; None: as it is. Raises UsageError for a wrong number."""
    if tiles is None:
        return model
    if type(tiles) is not int or not 1 <= tiles <= MOST_TILES:
        raise UsageError(f"tiles: expected a whole number from 1 to {MOST_TILES}, got {tiles!r}")
    return replace(model, tiles=tiles)


def _part(raw: Any, region: Region, size: tuple[int, int]) -> Any:
    """A region of a picture that may be smaller than its own size; the whole stays as it is."""
    if region == (0, 0, *size):
        return raw
    across, down = raw.width / size[0], raw.height / size[1]
    left, top, right, low = region
    return raw.crop(
        (round(left * across), round(top * down), round(right * across), round(low * down))
    )
