"""Volumes: NIfTI, DICOM series and files of several frames, TIFF of several pages.

A network of pictures sees a volume through slices: each view is one picture, and the features of
the views are averaged, so that slices along an axis are pooled. Which views, leave-one-out decides.
"""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from regraft.errors import MissingExtra, Unreadable, UsageError
from regraft.modalities import dicom, dicom_volume, image, nifti, series
from regraft.modalities.base import Decoded
from regraft.modalities.facts import THUMB, Facts
from regraft.modalities.spec import InputSpec
from regraft.modalities.volumes import CUTS, SETS, Volume, refuse_many, refuse_odd
from regraft.modalities.windows import FILE

if TYPE_CHECKING:
    from regraft.modalities.augment import Augmentations
    from regraft.modalities.usual import Usual

LOOKED = ("axial-3of5", "coronal-3of5", "sagittal-3of5")  # channels of the thumb
TIFF = (b"II*\0", b"MM\0*")


class Raw(Protocol):
    """What pictures can be had from."""

    def picture(self, view: str) -> Image.Image: ...


@dataclass(frozen=True)
class Cuts:
    """The pictures of some views alone: what is kept of a volume for training."""

    pictures: Mapping[str, Image.Image]

    def picture(self, view: str) -> Image.Image:
        if view not in self.pictures:
            raise UsageError(f"views: {view!r} is not one of {', '.join(self.pictures)}")
        return self.pictures[view]


class VolumeModality:
    """See `regraft.modalities.base.Modality`."""

    name = "volume"
    version = f"1 {image.MODALITY.version}"
    extensions = frozenset({"nii", "nii.gz", "dcm", "dicom", "tif", "tiff"})
    inputs: tuple[str, ...] = ("picture",)
    views: tuple[str, ...] = tuple(CUTS)
    parts = True
    sayable = False
    plainly = ("raw pixels", f"ridge on {image.PLAIN} × {image.PLAIN} pixels of three slices")
    baseline = "ridge"

    @property
    def usual(self) -> "tuple[Usual, ...]":
        """Parts of the usual augmentation."""
        return image.MODALITY.usual

    def decode(self, data: bytes, file: str, spec: InputSpec | None = None) -> Decoded:
        """Bytes → volume in canonical orientation.

        Kinds of `Unreadable`: empty, not-a-volume, truncated, damaged, too-large, bomb,
        unsupported, odd-values, odd-affine, several-series, no-memory.
        """
        image.refuse_by_size(data, file)
        window = FILE if spec is None else spec.window
        try:
            return _decoded(data, file, window)
        except (Unreadable, MissingExtra):
            raise
        except MemoryError:
            reason = "there was not enough memory to decode it"
            raise Unreadable(file, "no-memory", reason) from None
        except Exception as error:  # decoders raise nearly anything on damaged bytes
            text = " ".join((str(error) or type(error).__name__).split())[:300]
            raise Unreadable(file, "damaged", f"the decoder gave up: {text}") from None

    def prepare(self, raw: Raw, spec: InputSpec, view: str) -> npt.NDArray[np.uint8]:
        """One slice → (size, size, 3) uint8."""
        return image.MODALITY.prepare(raw.picture(view), spec, "centre")

    def augment(
        self, raw: Raw, spec: InputSpec, wanted: "Augmentations", rng: np.random.Generator
    ) -> npt.NDArray[np.uint8]:
        """The first of the spec's views → (size, size, 3) uint8, changed at random."""
        return image.MODALITY.augment(raw.picture(spec.views[0]), spec, wanted, rng)

    def augmentations(self, text: "str | Augmentations") -> "Augmentations":
        """As of pictures."""
        return image.MODALITY.augmentations(text)

    def compact(self, raw: Raw, spec: InputSpec) -> tuple[Raw, int]:
        """The pictures of the spec's views alone, and their bytes in memory."""
        views = dict.fromkeys((self.views[0], *spec.views))
        kept = {view: image.MODALITY.compact(raw.picture(view), spec) for view in views}
        pictures = {view: picture for view, (picture, _) in kept.items()}
        return Cuts(pictures), sum(size for _, size in kept.values())

    def view_sets(self, facts: Sequence[Facts]) -> Mapping[str, tuple[str, ...]]:
        return SETS

    def plain(self, facts: Facts) -> npt.NDArray[np.float32]:
        """(768,): the middle slices of the three axes squashed to 16 × 16 pixels, in [0, 1]."""
        return image.MODALITY.plain(facts)

    def thumbnail(self, data: bytes, file: str, side: int = 160) -> str:
        """JPEG of the middle axial slice, of at most side × side pixels."""
        picture = self.decode(data, file).raw.picture(self.views[0])
        picture.thumbnail((side, side), Image.Resampling.BICUBIC)
        out = io.BytesIO()
        picture.save(out, "JPEG", quality=72)
        return "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode()

    def clip(self, data: bytes, file: str) -> str | None:
        return None

    def said(self, name: str) -> bytes | None:
        return None

    def natural_size(self, facts: Facts) -> int:
        return min(facts.width, facts.height)


MODALITY = VolumeModality()


def _decoded(data: bytes, file: str, window: str) -> Decoded:
    group, frames = "", 1
    if series.is_series(data) or dicom.is_dicom(data):
        slices = series.unpacked(data, file) if series.is_series(data) else [memoryview(data)]
        _require("nibabel")
        volume, group, mode = dicom_volume.read(slices, file, window)
        form = "DICOM"
    elif data[:4] in TIFF:
        volume, mode = _of_pages(data, file, window)
        form = "TIFF"
    else:
        volume, frames, mode = nifti.read(data, file, window)
        form = "NIfTI"
    across, along = volume.values.shape[:2]
    facts = Facts(across, along, mode, form, 1, frames, _thumb(volume), group)
    return Decoded(volume, facts)


def _of_pages(data: bytes, file: str, window: str) -> tuple[Volume, str]:
    """A TIFF file: each page a slice, from below to above; nothing is told of millimetres."""
    found: list[npt.NDArray[Any]] = []
    for page in image.pages(data, file, series.MOST_SLICES):
        grey = page if page.ndim == 2 else page[..., :3].mean(axis=-1).astype(np.float32)
        if found and grey.shape != found[0].shape:
            raise Unreadable(file, "several-series", "its pages are of different sizes")
        refuse_many((*grey.shape, len(found) + 1), grey.dtype.itemsize, file)
        found.append(grey)
    values = np.stack(found, -1)
    refuse_odd(values, file)
    upright = np.flip(values, 0).swapaxes(0, 1)  # rows go down, y goes up
    return Volume(upright, (1.0, 0.0), (1.0, 1.0, 1.0), None, window), str(values.dtype)


def _thumb(volume: Volume) -> npt.NDArray[np.uint8]:
    sides = (THUMB, THUMB)
    slices = [volume.picture(view).convert("L") for view in LOOKED]
    return np.stack([np.asarray(s.resize(sides, Image.Resampling.BOX)) for s in slices], -1)


def _require(library: str) -> None:
    if find_spec(library) is None:
        raise MissingExtra(library, "medical")
