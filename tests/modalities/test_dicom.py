"""DICOM: the same brightness as an independent implementation, and nothing of the patient."""

import io
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.data import get_testdata_file
from pydicom.pixels.processing import apply_modality_lut, apply_windowing

import regraft
from regraft.errors import Unreadable
from regraft.modalities.image import MODALITY

FILES = Path(pydicom.data.__file__).parent / "test_files"
KINDS = {
    *("empty", "not-an-image", "truncated", "damaged"),
    *("too-large", "bomb", "unsupported", "odd-values"),
}


def tags(name: str = "CT_small.dcm") -> Any:
    return pydicom.dcmread(str(get_testdata_file(name, download=False)))


def written(dataset: Any) -> bytes:
    out = io.BytesIO()
    dataset.save_as(out)
    return out.getvalue()


def seen(dataset: Any) -> Any:
    return np.asarray(MODALITY.decode(written(dataset), "x.dcm").raw)


def outcome(data: bytes) -> str:
    """``read``, or why not."""
    try:
        picture = MODALITY.decode(data, "x.dcm").raw
    except Unreadable as error:
        return error.kind
    assert picture.mode == "RGB"
    return "read"


def test_every_file_of_the_librarys_own_is_read_or_refused_by_name() -> None:
    found = {path.name: outcome(path.read_bytes()) for path in FILES.glob("*.dcm")}
    assert set(found.values()) <= {"read", *KINDS}
    assert Counter(found.values())["read"] >= 40
    for name in ("MR_small.dcm", "SC_rgb_rle_16bit.dcm", "examples_palette.dcm", "JPEG2000.dcm"):
        assert found[name] == "read", name
    expected = {"rtplan.dcm": "not-an-image", "image_dfl.dcm": "unsupported"}
    assert {name: found[name] for name in expected} == expected


@pytest.mark.parametrize("encoding", ["", "_RLE", "_bigendian", "_implicit", "_jp2klossless"])
def test_every_encoding_gives_the_same_picture(encoding: str) -> None:
    np.testing.assert_array_equal(seen(tags(f"MR_small{encoding}.dcm")), seen(tags("MR_small.dcm")))


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT"])
@pytest.mark.parametrize(("centre", "width"), [(40, 400), (-600, 1500), (0, 2)])
def test_windows_are_those_of_an_independent_implementation(
    centre: float, width: float, function: str
) -> None:
    dataset = tags()
    dataset.WindowCenter, dataset.WindowWidth = [centre, 7], [width, 9]  # the first one counts
    dataset.VOILUTFunction = function
    values = apply_modality_lut(dataset.pixel_array, dataset)
    theirs = apply_windowing(values, dataset, index=0)
    low, high = _range(dataset)
    expected = 255 * (theirs - low) / (high - low)
    assert np.abs(seen(dataset)[..., 0] - expected).max() <= 1


def _range(dataset: Any) -> tuple[float, float]:
    """Of what `apply_windowing` gives: that of the stored values, rescaled."""
    ends = np.array([-(2.0 ** (dataset.BitsStored - 1)), 2.0 ** (dataset.BitsStored - 1) - 1])
    low, high = ends * float(dataset.RescaleSlope) + float(dataset.RescaleIntercept)
    return low, high


def test_without_a_window_nearly_all_values_are_told_apart() -> None:
    grey = seen(tags())[..., 0]
    assert (grey.min(), grey.max()) == (0, 255)
    assert len(np.unique(grey)) > 200


def test_monochrome1_is_the_other_way_round() -> None:
    dataset = tags()
    bright = seen(dataset).astype(int)
    dataset.PhotometricInterpretation = "MONOCHROME1"
    assert np.abs(255 - bright - seen(dataset)).max() <= 1


def test_a_file_that_would_fill_the_memory_is_refused() -> None:
    dataset = tags()
    dataset.Rows = dataset.Columns = 65_000
    with pytest.raises(Unreadable, match="65000 × 65000 pixels"):
        MODALITY.decode(written(dataset), "x.dcm")


CT = Path(str(get_testdata_file("CT_small.dcm", download=False))).read_bytes()


@settings(max_examples=80)
@given(st.integers(0, 3000), st.binary(max_size=40), st.integers(0, len(CT)))
def test_damaged_bytes_are_read_or_refused(place: int, patch: bytes, length: int) -> None:
    damaged = CT[:place] + patch + CT[place + len(patch) :]
    assert outcome(damaged) in {"read", *KINDS}
    assert outcome(damaged[:length]) in {"read", *KINDS}


# --- patients ------------------------------------------------------------------------------------

SECRETS = ("Geheim", "4711-0815", "19541107")


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """Two classes, six patients with four pictures of each class."""
    rng = np.random.default_rng(0)
    for patient in range(6):
        for name, level in (("bright", 900), ("dark", 500)):
            for number in range(4):
                dataset = tags()
                pixels = rng.normal(level, 120, (128, 128)).clip(0, 2000)
                dataset.PixelData = pixels.astype(np.int16).tobytes()
                dataset.WindowCenter, dataset.WindowWidth = -300, 2000
                dataset.PatientName, dataset.PatientBirthDate = "Geheim^Gustav", "19541107"
                dataset.PatientID = f"4711-0815-{patient}"
                path = tmp_path / "scans" / name / f"{patient}-{number}.dcm"
                path.parent.mkdir(parents=True, exist_ok=True)
                dataset.save_as(path)
    return tmp_path / "scans"


def test_a_patients_pictures_stay_together(scans: Path) -> None:
    data = regraft.load(scans)
    groups = data.table["group"]
    assert groups.n_unique() == 6
    assert groups.null_count() == 0
    for group in groups.unique():
        assert data.table.filter(groups == group)["split"].n_unique() == 1


def test_nothing_of_a_patient_is_in_what_is_written(scans: Path, tmp_path: Path) -> None:
    from regraft.verbs.fit import fit_and_report

    settings: dict[str, Any] = {"backbone": "efficientnet-lite0", "size": 64, "engine": "torch"}
    fitted = fit_and_report(regraft.load(scans), **settings)
    assert fitted.report.metrics["accuracy"]["value"] >= 0.9
    fitted.model.save(tmp_path / "model.regraft")
    fitted.report.save(tmp_path / "report.html")
    texts = [(tmp_path / "report.html").read_bytes()]
    if zipfile.is_zipfile(tmp_path / "model.regraft"):
        with zipfile.ZipFile(tmp_path / "model.regraft") as bundle:
            texts += [bundle.read(name) for name in bundle.namelist()]
    texts.append((tmp_path / "model.regraft").read_bytes())
    for secret in SECRETS:
        assert not any(secret.encode() in text for text in texts), secret
