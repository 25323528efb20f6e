"""Volume: grey values in space, and the pictures that are cut from them.

Axes are brought into the canonical order (RAS+): x from left to right, y from back to front, z from
below to above, by the file's own affine. A picture is one slice, or neighbouring ones as its
channels, in millimetres: where voxels are longer one way, it is stretched.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from regraft.errors import Unreadable, UsageError
from regraft.modalities.windows import Ends, ends, sampled, shown

MOST_VOXELS = 160_000_000  # 610 slices of 512 × 512
MOST_UNPACKED = 400 * 2**20  # bytes in memory
STRETCH = 1.02  # of voxels' sides, up to which a picture is left as it is
MOST_STRETCH = 20.0
LONGEST = 1024  # side of a picture after it was stretched, pixels
EVENLY = 5  # slices along an axis, in the middle of fifths

AXIAL, CORONAL, SAGITTAL = 2, 1, 0


class Cut(NamedTuple):
    """A view: across which axis, how far along it (0 to 1), which neighbours are its channels."""

    axis: int
    part: float
    neighbours: tuple[int, ...] = (0,)


def _evenly(name: str, axis: int) -> dict[str, Cut]:
    return {f"{name}-{k + 1}of{EVENLY}": Cut(axis, (k + 0.5) / EVENLY) for k in range(EVENLY)}


# The usual one first: InputSpec's own.
CUTS: Mapping[str, Cut] = MappingProxyType(
    {
        "centre": Cut(AXIAL, 0.5),
        "neighbours": Cut(AXIAL, 0.5, (-1, 0, 1)),
        **_evenly("axial", AXIAL),
        **_evenly("coronal", CORONAL),
        **_evenly("sagittal", SAGITTAL),
    }
)
SETS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "five axial slices": tuple(_evenly("axial", AXIAL)),
        "five coronal slices": tuple(_evenly("coronal", CORONAL)),
        "five sagittal slices": tuple(_evenly("sagittal", SAGITTAL)),
        "the middle slice of each axis": ("axial-3of5", "coronal-3of5", "sagittal-3of5"),
        "the middle axial slice and its neighbours as channels": ("neighbours",),
    }
)


@dataclass(frozen=True, eq=False)
class Volume:
    """See the module.

    values   (x, y, z) as stored, in canonical order; a view of the decoder's own array
    scale    (slope, intercept) of the values
    spacing  of the voxels along each axis, millimetres
    told     the values that the file says are black and white
    dark     the largest value is black
    window   see `windows`
    """

    values: npt.NDArray[Any]
    scale: tuple[float, float]
    spacing: tuple[float, float, float]
    told: Ends | None
    window: str
    dark: bool = False

    def between(self) -> Ends:
        """The values that become black and white, the same for all slices."""
        return ends(self.window, self.told, self._sample, None)

    def _sample(self) -> npt.NDArray[Any]:
        slope, intercept = self.scale
        return np.asarray(sampled(self.values), np.float64) * slope + intercept

    def picture(self, view: str) -> Image.Image:
        """One of CUTS as RGB, the head or the front of the body above. Raises UsageError."""
        if view not in CUTS:
            raise UsageError(f"views: {view!r} is not one of {', '.join(CUTS)}")
        axis, part, neighbours = CUTS[view]
        n, between = self.values.shape[axis], self.between()
        middle = min(n - 1, int(part * n))
        places = [min(n - 1, max(0, middle + step)) for step in neighbours]
        channels = [self._slice(axis, place, between) for place in places]
        seen = Image.fromarray(np.stack(channels * (3 // len(channels)), -1))
        across, along = [self.spacing[i] for i in range(3) if i != axis]
        return stretched(seen, across, along)

    def _slice(self, axis: int, place: int, between: Ends) -> npt.NDArray[np.uint8]:
        slope, intercept = self.scale
        values = np.asarray(np.take(self.values, place, axis), np.float64) * slope + intercept
        seen = shown(values, between)
        # The first axis of a cut runs to the right, the second one up.
        return np.ascontiguousarray(np.rot90(255 - seen if self.dark else seen))


def stretched(picture: Image.Image, across: float, along: float) -> Image.Image:
    """With square pixels, no side longer than LONGEST because of that."""
    ratio = max(across, along) / min(across, along)
    if ratio <= STRETCH:
        return picture
    ratio = min(ratio, MOST_STRETCH)
    width, height = picture.size
    wide, high = (width * ratio, height) if across > along else (width, height * ratio)
    shrink = min(1.0, LONGEST / max(wide, high))
    size = (max(1, round(wide * shrink)), max(1, round(high * shrink)))
    return picture.resize(size, Image.Resampling.BICUBIC)


def canonical(
    values: npt.NDArray[Any], affine: npt.NDArray[np.float64], file: str
) -> tuple[npt.NDArray[Any], tuple[float, float, float]]:
    """Values (i, j, k) and their affine (4, 4) to RAS+ → values in canonical order, and spacing.

    Raises Unreadable (odd-affine) where the affine does not tell three directions.
    """
    from nibabel.affines import voxel_sizes
    from nibabel.orientations import apply_orientation, io_orientation

    if not np.isfinite(affine).all():
        raise Unreadable(file, "odd-affine", "its affine holds NaN or infinity")
    sizes = voxel_sizes(affine)
    if not (np.isfinite(sizes).all() and sizes.min() > 0):
        reason = "its affine tells voxels without a size; repair its header"
        raise Unreadable(file, "odd-affine", reason)
    turned = io_orientation(affine)
    if np.isnan(turned).any():
        raise Unreadable(file, "odd-affine", "its affine does not tell three directions")
    order = np.argsort(turned[:, 0])
    x, y, z = (float(sizes[i]) for i in order)
    return apply_orientation(values, turned), (x, y, z)


def refuse_many(shape: tuple[int, ...], size: int, file: str) -> None:
    """Raise Unreadable for a shape that is none, of too many voxels or too many bytes.

    size  of a voxel, bytes
    """
    if min(shape) < 1:
        raise Unreadable(file, "damaged", f"its sides are {shape}; expected 1 or more")
    voxels = 1
    for side in shape:
        voxels *= int(side)
    sides = " × ".join(map(str, shape))
    if voxels > MOST_VOXELS:
        raise Unreadable(file, "bomb", f"{sides} voxels; more than {MOST_VOXELS:,} are refused")
    if voxels * size > MOST_UNPACKED:
        reason = f"{sides} voxels of {size} bytes; more than {MOST_UNPACKED:,} bytes are refused"
        raise Unreadable(file, "bomb", reason)


def refuse_odd(values: npt.NDArray[Any], file: str) -> None:
    """Raise Unreadable where values are no numbers, slab by slab to spare memory."""
    if values.dtype.kind == "f" and not all(np.isfinite(slab).all() for slab in values):
        raise Unreadable(file, "odd-values", "the voxels hold NaN or infinity; put a number there")
