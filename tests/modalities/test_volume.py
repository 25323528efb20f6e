"""Volumes: the same voxels as nibabel's and as they were written, and nothing beyond the bounds."""

import gzip
import io
import struct
from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations, product
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nibabel.testing import data_path
from PIL import Image
from pydicom.data import get_testdata_file
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from regraft.data.inline import contents
from regraft.data.sources import load
from regraft.errors import Unreadable, UsageError
from regraft.modalities import image
from regraft.modalities.series import pieces, unpacked
from regraft.modalities.spec import InputSpec
from regraft.modalities.volume import MODALITY
from regraft.modalities.volumes import CUTS, Volume

NIBABEL = Path(data_path)
NAMED = {
    *("empty", "not-a-volume", "not-an-image", "truncated", "damaged", "too-large", "bomb"),
    *("unsupported", "odd-values", "odd-affine", "several-series"),
}
SPEC = InputSpec(size=32)


def decoded(data: bytes, window: str = "file") -> Volume:
    found = MODALITY.decode(data, "x", InputSpec(size=32, window=window)).raw
    assert isinstance(found, Volume)
    return found


def measured(volume: Volume) -> np.ndarray:
    slope, intercept = volume.scale
    return np.asarray(volume.values, float) * slope + intercept


def refused(data: bytes) -> Unreadable:
    with pytest.raises(Unreadable) as caught:
        MODALITY.decode(data, "a volume", SPEC)
    assert caught.value.file.startswith("a volume")
    assert caught.value.kind in NAMED
    assert len(caught.value.reason) > 10
    return caught.value


def voxels(shape: Sequence[int] = (9, 7, 5), dtype: str = "int16", seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-500, 1500, tuple(shape)).astype(dtype)


def nifti(values: Any, affine: Any = None, **header: Any) -> bytes:
    made = nibabel.Nifti1Image(values, np.eye(4) if affine is None else affine)
    for name, value in header.items():
        made.header[name] = value
    found: bytes = made.to_bytes()
    return found


# --- NIfTI ---------------------------------------------------------------------------------------


REFUSED = {"resampled_anat_moved.nii": "odd-values", "row_major.dconn.nii": "unsupported"}
WHOLE = [path for path in sorted(NIBABEL.glob("*.nii*")) if path.name not in REFUSED]


@pytest.mark.parametrize("name", REFUSED)
def test_files_of_the_library_that_are_no_plain_volumes_are_refused_by_name(name: str) -> None:
    assert refused((NIBABEL / name).read_bytes()).kind == REFUSED[name]


@pytest.mark.parametrize("path", WHOLE, ids=lambda path: path.name)
def test_every_nifti_file_of_the_library_is_its_canonical_volume(path: Path) -> None:
    theirs = nibabel.as_closest_canonical(nibabel.load(path))
    found = MODALITY.decode(path.read_bytes(), path.name)
    values = np.asarray(theirs.dataobj, float)
    first = values.reshape(*values.shape[:3], -1)[..., 0]
    np.testing.assert_allclose(measured(found.raw), first, rtol=1e-6)
    assert found.raw.spacing == pytest.approx(theirs.header.get_zooms()[:3], rel=1e-4)
    assert found.facts.format == "NIfTI"
    assert found.facts.medical
    assert found.facts.frames == int(np.prod(values.shape[3:]))


TURNS = [
    np.array([[s[0] * (p[0] == k), s[1] * (p[1] == k), s[2] * (p[2] == k)] for k in range(3)])
    for p, s in product(permutations(range(3)), product((1, -1), repeat=3))
]


@settings(max_examples=30)
@given(st.sampled_from(TURNS), st.tuples(*[st.floats(0.3, 6)] * 3), st.booleans())
def test_however_it_lies_it_is_brought_into_one_orientation(
    turn: np.ndarray, sizes: tuple[float, ...], packed: bool
) -> None:
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag(sizes)
    values = voxels()
    data = nifti(values, affine)
    found = decoded(gzip.compress(data) if packed else data)
    theirs = nibabel.as_closest_canonical(nibabel.Nifti1Image(values, affine))
    np.testing.assert_array_equal(found.values, np.asarray(theirs.dataobj))
    assert found.spacing == pytest.approx(theirs.header.get_zooms(), rel=1e-5)


def test_scale_window_and_second_version() -> None:
    values = voxels()
    made = nibabel.Nifti2Image(values, np.eye(4))
    made.header.set_slope_inter(2.0, -10.0)
    np.testing.assert_allclose(measured(decoded(made.to_bytes())), 2.0 * values - 10)
    told = nifti(values, cal_min=0, cal_max=200)
    assert decoded(told).between() == (0, 200)
    assert decoded(told, "40,400").between() == (-160, 240)
    assert decoded(told, "full").between() == (values.min(), values.max())
    low, high = np.percentile(values, [0.5, 99.5])
    assert decoded(told, "percentile").between() == pytest.approx((low, high))
    assert decoded(nifti(values)).between() == pytest.approx((low, high))


def with_bytes(data: bytes, at: int, form: str, *values: Any) -> bytes:
    packed = struct.pack(form, *values)
    return data[:at] + packed + data[at + len(packed) :]


GOOD = nifti(voxels())
DIM, DATATYPE, OFFSET, SROW = 40, 70, 108, 280


@pytest.mark.parametrize(
    ("data", "kind", "told"),
    [
        (b"", "empty", "0 bytes"),
        (b"no volume at all", "not-a-volume", "not a volume in a known format"),
        (GOOD[:200], "not-a-volume", ""),
        (GOOD[:400], "truncated", "ends too early"),
        (gzip.compress(GOOD, mtime=0)[:300], "truncated", "ends too early"),
        (with_bytes(GOOD, DIM, "<4h", 3, 32000, 32000, 32000), "bomb", "32000 × 32000"),
        (with_bytes(GOOD, DIM, "<4h", 3, -1, 5, 5), "damaged", ""),
        (with_bytes(GOOD, DIM, "<h", 7), "unsupported", "axes"),
        (with_bytes(GOOD, OFFSET, "<f", 1e9), "damaged", "would begin"),
        (with_bytes(GOOD, 344, "4s", b"ni1\0"), "unsupported", "a pair of files"),
        (nifti(voxels(dtype="complex64")), "unsupported", "complex"),
        (nifti(np.full((3, 3, 3), np.nan, "f4")), "odd-values", "NaN or infinity"),
        (with_bytes(GOOD, SROW, "<12f", *[np.nan] * 12), "odd-affine", ""),
        (with_bytes(GOOD, SROW, "<12f", *[0.0] * 12), "odd-affine", "without a size"),
    ],
    ids=lambda one: one if isinstance(one, str) else "data",
)
def test_what_is_wrong_is_named(data: bytes, kind: str, told: str) -> None:
    data = with_bytes(data, 254, "<h", 1) if kind == "odd-affine" else data  # sform counts
    error = refused(data)
    assert (error.kind, told in error.reason) == (kind, True), error.reason


def test_a_packed_bomb_is_not_unpacked() -> None:
    """A gigabyte of zeros in a megabyte, whose header tells of more than is read."""
    header = with_bytes(GOOD, DIM, "<4h", 3, 1024, 1024, 512)[:352]
    assert refused(gzip.compress(header + bytes(2**26))).kind == "bomb"
    quiet = gzip.compress(GOOD + bytes(2**26))  # more than the header tells of is left packed
    np.testing.assert_array_equal(decoded(quiet).values, decoded(GOOD).values)


# --- DICOM ---------------------------------------------------------------------------------------


def one_slice(values: np.ndarray, **tags: Any) -> bytes:
    """A DICOM file of one slice, (rows, columns) int16."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    meta.MediaStorageSOPInstanceUID = generate_uid()
    made = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    made.Rows, made.Columns = values.shape
    made.BitsAllocated = made.BitsStored = 16
    made.HighBit, made.PixelRepresentation, made.SamplesPerPixel = 15, 1, 1
    made.PhotometricInterpretation = "MONOCHROME2"
    made.PixelData = values.astype("<i2").tobytes()
    made.SeriesInstanceUID = "1.2.3"
    for name, value in tags.items():
        setattr(made, name, value)
    out = io.BytesIO()
    made.save_as(out)
    return out.getvalue()


def series(folder: Path, values: np.ndarray, order: Sequence[int], **tags: Any) -> Path:
    """(x, y, z) in RAS+ as axial slices, 2 mm apart, in files whose names are in another order."""
    folder.mkdir(parents=True)
    for name, z in zip(order, range(values.shape[2]), strict=True):
        place = {
            "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],  # to the left, to the back
            "ImagePositionPatient": [-3.0, -4.0, 2.0 * z],
            "PixelSpacing": [0.5, 0.5],
            "PatientID": "4711",
        }
        rows = values[::-1, ::-1, z].T  # columns run to the left, rows to the back
        (folder / f"{name:03}.dcm").write_bytes(one_slice(rows, **{**place, **tags}))
    return folder


def test_a_series_is_its_slices_in_space_whatever_their_names(tmp_path: Path) -> None:
    values = voxels((9, 7, 5))
    folder = series(tmp_path / "s", values, [3, 0, 4, 1, 2], RescaleSlope=2, RescaleIntercept=-9)
    data = contents(folder)
    assert len(unpacked(data, "x")) == 5
    found = MODALITY.decode(data, "s")
    np.testing.assert_array_equal(measured(found.raw), 2.0 * values - 9)
    assert found.raw.spacing == pytest.approx((0.5, 0.5, 2.0))
    assert found.facts.group.startswith("patient-")
    assert found.facts.format == "DICOM"
    assert "4711" not in str(found.facts)


def test_slices_of_their_own_scale_and_window(tmp_path: Path) -> None:
    values = voxels((6, 5, 3))
    folder = series(tmp_path / "s", values, [0, 1, 2])
    path = folder / "001.dcm"
    tags = pydicom.dcmread(path)
    tags.RescaleSlope, tags.RescaleIntercept = 3, 1
    tags.WindowCenter, tags.WindowWidth = 40, 400
    tags.save_as(path)
    found = decoded(contents(folder))
    expected = values.astype(float)
    expected[..., 1] = 3 * expected[..., 1] + 1
    np.testing.assert_allclose(measured(found), expected)
    assert found.between() == (40 - 0.5 - 399 / 2, 40 - 0.5 + 399 / 2)


def test_what_is_no_series_is_named(tmp_path: Path) -> None:
    values = voxels((6, 5, 3))
    mixed = series(tmp_path / "mixed", values, [0, 1, 2])
    (mixed / "9.dcm").write_bytes(one_slice(values[..., 0].T, SeriesInstanceUID="4.5"))
    assert "slices of 2 series in one folder" in refused(contents(mixed)).reason
    uneven = series(tmp_path / "uneven", values, [0, 1, 2])
    (uneven / "9.dcm").write_bytes(one_slice(values[:4, :, 0].T))
    assert "slices of different sizes" in refused(contents(uneven)).reason
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(Unreadable, match="not a regular file, nor a folder of slices"):
        contents(empty)
    with pytest.raises(Unreadable, match="at most 10 are read"):
        list(pieces(mixed, 10))
    assert refused(contents(series(tmp_path / "cut", values, [0, 1, 2]))[:-7]).kind == "truncated"


def test_several_frames_in_one_file() -> None:
    path = Path(str(get_testdata_file("rtdose.dcm", download=False)))
    frames = pydicom.dcmread(path).pixel_array
    found = MODALITY.decode(path.read_bytes(), path.name)
    assert sorted(found.raw.values.shape) == sorted(frames.shape)
    assert found.raw.values.min() == frames.min()
    assert found.raw.values.sum(dtype=int) == frames.sum(dtype=int)


def test_files_of_the_libraries_are_read_or_refused_by_name() -> None:
    files = [*Path(pydicom.data.__file__).parent.glob("test_files/*.dcm"), *NIBABEL.glob("*.dcm")]
    read = 0
    for path in files:
        try:
            read += MODALITY.decode(path.read_bytes(), path.name).facts.format == "DICOM"
        except Unreadable as error:
            assert error.kind in NAMED, path.name  # noqa: PT017
    assert read > 40


# --- slices --------------------------------------------------------------------------------------


def test_slices_are_upright_and_in_millimetres() -> None:
    """A bright corner: right, front and top; voxels three times as high as wide."""
    values = np.zeros((10, 10, 10), np.int16)
    values[7:, 7:, 7:] = 1000
    volume = decoded(nifti(values, np.diag([1.0, 1.0, 3.0, 1.0])))
    axial = np.asarray(volume.picture("axial-5of5").convert("L"))
    assert axial.shape == (10, 10)
    assert axial[:3, 7:].min() == 255  # front is above, right on the right
    assert axial[3:].max() == axial[:, :7].max() == 0
    coronal = np.asarray(volume.picture("coronal-5of5").convert("L"))
    assert coronal.shape == (30, 10)
    assert coronal[:6, 8:].min() > 200  # top is above
    assert coronal[15:].max() < 60
    with pytest.raises(UsageError, match="'front' is not one of"):
        volume.picture("front")


def test_neighbours_are_the_channels() -> None:
    values = np.arange(5, dtype=np.int16) * np.ones((4, 4, 5), np.int16)
    seen = np.asarray(decoded(nifti(values), "2,4").picture("neighbours"))
    assert seen[0, 0].tolist() == [64, 128, 191]


def test_what_is_kept_for_training_gives_the_same_pictures() -> None:
    volume = decoded(nifti(voxels((40, 40, 20))))
    spec = InputSpec(size=32, crop_fraction=1.0, views=("axial-2of5", "coronal-3of5"))
    kept, size = MODALITY.compact(volume, spec)
    assert size < 40 * 40 * 20
    for view in ("centre", *spec.views):
        np.testing.assert_array_equal(
            MODALITY.prepare(kept, spec, view), MODALITY.prepare(volume, spec, view)
        )
    seen = {
        MODALITY.augment(
            kept,
            replace(spec, views=(view,)),
            MODALITY.augmentations("flip"),
            np.random.default_rng(k),
        ).tobytes()
        for k in range(20)
        for view in spec.views
    }
    assert len(seen) == 4  # two views, each as it is and mirrored


def test_every_view_is_within_the_volume() -> None:
    volume = decoded(nifti(voxels((1, 2, 1))))
    for view in CUTS:
        assert min(volume.picture(view).size) >= 1


def test_pages_of_a_tiff_are_slices() -> None:
    values = voxels((4, 9, 7), "uint16") % 4000
    frames = [Image.fromarray(page) for page in values]
    out = io.BytesIO()
    frames[0].save(out, "TIFF", save_all=True, append_images=frames[1:])
    volume = decoded(out.getvalue(), "2000,4000")
    seen = np.asarray(volume.picture("axial-1of5").convert("L"), float)
    np.testing.assert_allclose(seen, values[0] / 4000 * 255, atol=0.51)


# --- windows of pictures -------------------------------------------------------------------------


def test_all_bits_of_a_deep_picture_count_where_that_is_asked() -> None:
    values = np.linspace(1000, 4095, 64 * 64).reshape(64, 64).astype(np.uint16)
    out = io.BytesIO()
    Image.fromarray(values).save(out, "PNG")

    def seen(window: str) -> np.ndarray:
        spec = InputSpec(size=64, crop_fraction=1.0, window=window)
        raw = image.MODALITY.decode(out.getvalue(), "x", spec).raw
        return np.asarray(raw)[..., 0]

    np.testing.assert_array_equal(seen("file"), values >> 8)
    np.testing.assert_array_equal(seen("full"), values >> 8)
    assert len(np.unique(seen("percentile"))) == 256
    by_hand = np.clip((values - 2000.0) / 1000, 0, 1) * 255
    np.testing.assert_allclose(seen("2500,1000"), by_hand, atol=0.51)


def test_a_window_of_its_own_in_two_dimensions() -> None:
    name = str(get_testdata_file("CT_small.dcm", download=False))
    tags = pydicom.dcmread(name)
    spec = InputSpec(size=64, window="40,400")
    seen = np.asarray(image.MODALITY.decode(Path(name).read_bytes(), "x", spec).raw)[..., 0]
    units = tags.pixel_array * float(tags.RescaleSlope) + float(tags.RescaleIntercept)
    np.testing.assert_allclose(seen, np.clip((units + 160) / 400, 0, 1) * 255, atol=0.51)


@pytest.mark.parametrize("window", ["", "40", "40,0", "40,-1", "nan,1", "bone", 3, None])
def test_what_is_no_window_is_told(window: Any) -> None:
    with pytest.raises(UsageError, match="window: "):
        InputSpec(window=window)


def test_the_usual_window_changes_no_key() -> None:
    assert "window" not in InputSpec().to_dict()
    told = InputSpec(window="40,400")
    assert InputSpec.from_dict(told.to_dict()) == told


# --- listing -------------------------------------------------------------------------------------


def test_a_folder_of_slices_is_one_example(tmp_path: Path) -> None:
    values = voxels((6, 5, 3))
    for kind, name in product(("ill", "well"), ("p1", "p2")):
        series(tmp_path / kind / name, values, [0, 1, 2])
    frames = Path(str(get_testdata_file("rtdose.dcm", download=False))).read_bytes()
    for name in ("a.dcm", "b.dcm"):
        (tmp_path / "ill" / name).write_bytes(frames)
    (tmp_path / "well" / "n.nii.gz").write_bytes(gzip.compress(GOOD))
    found = load(tmp_path, modality="volume")
    assert dict(found.table.select("id", "label").iter_rows()) == {
        **{"ill/a.dcm": "ill", "ill/b.dcm": "ill", "ill/p1": "ill", "ill/p2": "ill"},
        **{"well/n.nii.gz": "well", "well/p1": "well", "well/p2": "well"},
    }
    assert load(tmp_path / "ill" / "p1", modality="volume").table["path"].to_list() == [
        str(tmp_path / "ill" / "p1")
    ]
    manifest = tmp_path / "list.csv"
    manifest.write_text("file,label\nill/p1,ill\nwell/n.nii.gz,well\n")
    assert len(load(manifest, modality="volume")) == 2
