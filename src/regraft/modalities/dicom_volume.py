"""DICOM as volumes: a series of slices in one folder, or one file of several frames."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from regraft.errors import Unreadable
from regraft.modalities import dicom
from regraft.modalities.volumes import Volume, canonical, refuse_many, refuse_odd

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0])
SLOPED = ("RescaleSlope", "RescaleIntercept")
GAP = 1e-3  # millimetres between slices under which they lie in one place


class _Slice(NamedTuple):
    """One slice: its values (rows, columns), and what places it."""

    values: npt.NDArray[Any]
    tags: Any
    place: float | None


def read(slices: Sequence[bytes | memoryview], file: str, window: str) -> tuple[Volume, str, str]:
    """Bytes of files → volume, whose it is (a digest) and how a voxel is stored.

    One file may hold several frames. Raises Unreadable naming `file`.
    """
    if len(slices) == 1:
        found = dicom.opened(bytes(slices[0]), file, lambda tags: _frames(tags, file))
    else:
        found = [_one(bytes(data), file, n, len(slices)) for n, data in enumerate(slices)]
        found = _in_order(found, file)
    first, middle = found[0].tags, found[len(found) // 2].tags
    values = np.stack([one.values for one in found], -1)  # (rows, columns, slices)
    refuse_odd(values, file)
    turned, spacing = canonical(values, _affine(found), file)
    scale = tuple(float(first.get(name, d) or d) for name, d in zip(SLOPED, (1, 0), strict=True))
    plain = values.dtype.kind == "f"  # then each slice was scaled by its own
    way = str(first.PhotometricInterpretation)
    volume = Volume(
        turned,
        (1.0, 0.0) if plain else (scale[0], scale[1]),
        spacing,
        dicom.told_window(middle),
        window,
        dark=way == dicom.DARK,
    )
    return volume, dicom.patient(first), f"{int(first.BitsStored)}-bit {way}"


def _frames(tags: Any, file: str) -> list[_Slice]:
    """All frames of a file, in their order."""
    from pydicom.pixels.utils import pixel_array

    width, height, frames = dicom.sizes(tags, file)
    refuse_many((width, height, frames), _bytes(tags), file)
    values = np.asarray(pixel_array(tags))
    values = values if frames > 1 else values[None]
    return [_Slice(_grey(one), tags, None) for one in values]


def _one(data: bytes, file: str, n: int, count: int) -> _Slice:
    return dicom.opened(data, f"{file}: slice {n + 1}", lambda tags: _slice(tags, file, count))


def _slice(tags: Any, file: str, count: int) -> _Slice:
    from pydicom.pixels.utils import pixel_array

    width, height, frames = dicom.sizes(tags, file)
    if frames > 1:
        reason = "several files of several frames in one folder; name each file by itself"
        raise Unreadable(file, "several-series", reason)
    refuse_many((width, height, count), _bytes(tags), file)
    return _Slice(_grey(np.asarray(pixel_array(tags))), tags, _place(tags))


def _bytes(tags: Any) -> int:
    """Of a pixel as it is decoded."""
    return max(1, int(tags.BitsAllocated) // 8) * max(1, int(tags.get("SamplesPerPixel") or 1))


def _grey(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Colour frames, as of ultrasound, by the mean of their channels."""
    return values if values.ndim == 2 else values.mean(axis=-1).astype(np.float32)


def _place(tags: Any) -> float | None:
    """Where a slice lies along the normal of its plane, millimetres; None: it does not tell."""
    directions, corner = tags.get("ImageOrientationPatient"), tags.get("ImagePositionPatient")
    if not directions or not corner or len(directions) != 6 or len(corner) != 3:
        number = tags.get("InstanceNumber")
        return None if number in (None, "") else float(number)
    across, down = np.array(directions, float).reshape(2, 3)
    return float(np.cross(across, down) @ np.array(corner, float))


def _in_order(found: list[_Slice], file: str) -> list[_Slice]:
    """By place, each scaled alike or by its own scale. Raises Unreadable for what is no series."""
    series = {str(one.tags.get("SeriesInstanceUID") or "") for one in found}
    if len(series) > 1:
        reason = f"slices of {len(series)} series in one folder; put each into a folder of its own"
        raise Unreadable(file, "several-series", reason)
    if len(shapes := {one.values.shape for one in found}) > 1:
        told = ", ".join(f"{w} × {h}" for h, w in sorted(shapes))
        raise Unreadable(file, "several-series", f"slices of different sizes in one folder: {told}")
    if all(one.place is not None for one in found):
        found = sorted(found, key=lambda one: one.place or 0.0)
    scales = {tuple(str(one.tags.get(name)) for name in SLOPED) for one in found}
    return found if len(scales) == 1 else [_scaled(one) for one in found]


def _scaled(one: _Slice) -> _Slice:
    from pydicom.pixels.processing import apply_modality_lut

    values = np.asarray(apply_modality_lut(one.values, one.tags), np.float32)
    return one._replace(values=values)


def _affine(found: Sequence[_Slice]) -> npt.NDArray[np.float64]:
    """(4, 4) from (row, column, slice) to RAS+ millimetres; where nothing is told, rows go down."""
    tags = found[0].tags
    directions = tags.get("ImageOrientationPatient")
    if not directions or len(directions) != 6:
        directions = [1, 0, 0, 0, 1, 0]
    across, down = np.array(directions, float).reshape(2, 3)
    row, column = (float(v) for v in tags.get("PixelSpacing") or (1, 1))
    normal = np.cross(across, down)
    affine = np.eye(4)
    steps = np.stack([down * row, across * column, normal * _thickness(found)], 1)
    affine[:3, :3] = LPS_TO_RAS @ steps
    return affine


def _thickness(found: Sequence[_Slice]) -> float:
    """Millimetres from slice to slice, by their places, else as the first one tells."""
    tags, places = found[0].tags, [one.place for one in found if one.place is not None]
    if len(places) == len(found) > 1 and tags.get("ImagePositionPatient"):
        gap = float(np.median(np.diff(places)))
        if gap > GAP:
            return gap
    told = tags.get("SpacingBetweenSlices") or tags.get("SliceThickness") or 1.0
    return abs(float(told)) or 1.0
