"""DetectionModel: a detector, its classes, the score from which each class is taken, provenance."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from regraft.backbones.catalog import CatalogRow
from regraft.data.inline import contents
from regraft.errors import Unreadable
from regraft.evaluation.detection import Detections
from regraft.export.bundle import Bundle, write_bundle
from regraft.modalities import modality
from regraft.modalities.spec import InputSpec
from regraft.model.model import told_network

if TYPE_CHECKING:
    from regraft.tasks.detection.network import Detector

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
    """

    classes: tuple[str, ...]
    row: CatalogRow
    network: "Detector"
    thresholds: npt.NDArray[np.float64]
    record: dict[str, Any]
    modality: str = "image"
    task: str = "detection"
    _turn: Lock = field(default_factory=Lock, init=False, repr=False, compare=False)

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
        """(pixels, size), or why there are none."""
        kind = modality(self.modality)
        try:
            decoded = kind.decode(data, name, self.spec)
        except Unreadable as error:
            return Seen(None, error=error.reason)
        pixels = kind.prepare(decoded.raw, self.spec, self.spec.views[0])
        return pixels, (decoded.facts.width, decoded.facts.height)

    def _all(self, read: Sequence[Any], begin: float) -> list[Seen]:
        good = [one for one in read if not isinstance(one, Seen)]
        found = iter(self._found([p for p, _ in good], [s for _, s in good]))
        each = (time.perf_counter() - begin) / max(1, len(read))
        return [one if isinstance(one, Seen) else Seen(next(found), one[1], each) for one in read]

    def _found(
        self, pixels: Sequence[npt.NDArray[np.uint8]], sizes: Sequence[tuple[int, int]]
    ) -> list[Detections]:
        from regraft.tasks.detection.frames import frame

        if not pixels:
            return []
        return [
            Detections(frame(size, self.spec).outwards(i.boxes, size), i.scores, i.labels)
            for i, size in zip(self.inner(pixels), sizes, strict=True)
        ]

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
