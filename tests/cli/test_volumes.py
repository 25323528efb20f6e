"""Volumes by the command line: examples → model → report → answers, and nothing of the patients."""

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from regraft import Model, load

KINDS = ("ball", "plates")
EACH, SIDE = 14, 24
PLANTED = "Zwetschgenknödel"  # in every tag that holds text


def voxels(kind: str, number: int) -> np.ndarray:
    """(24, 24, 12) int16: a ball or plates in noise."""
    rng = np.random.default_rng([KINDS.index(kind), number])
    x, y, z = np.mgrid[:SIDE, :SIDE, : SIDE // 2]
    values = rng.normal(0, 60, x.shape)
    if kind == "ball":
        cx, cy, radius = *rng.integers(9, 15, 2), rng.integers(4, 8)
        inside = (x - cx) ** 2 + (y - cy) ** 2 + (2 * z - 12) ** 2 < radius**2
    else:
        inside = (x + rng.integers(8)) % 8 < 2
    return (values + 500 * inside).astype(np.int16)


def write_nifti(folder: Path) -> Path:
    for kind in KINDS:
        (folder / kind).mkdir(parents=True)
        for number in range(EACH):
            made = nibabel.Nifti1Image(voxels(kind, number), np.diag([1, 1, 2, 1]))
            for name in ("descrip", "db_name", "aux_file", "intent_name"):
                made.header[name] = PLANTED.encode()[: made.header[name].dtype.itemsize]
            ending = "nii.gz" if number % 2 else "nii"
            nibabel.save(made, folder / kind / f"v{number:02}.{ending}")
    return folder


def write_series(folder: Path, planted: bool = True) -> Path:
    """A folder of slices for each volume; two volumes of every patient.

    planted  whether the first slice of each holds the word in every tag of text
    """
    for kind in KINDS:
        for number in range(EACH):
            place = folder / kind / f"study-{number:02}"
            place.mkdir(parents=True)
            values = voxels(kind, number)
            for z in range(values.shape[2]):
                patient = f"{kind}{number // 2}"
                data = one_slice(values[:, :, z].T, z, f"1.2.{number}", patient, planted and not z)
                (place / f"{z:02}.dcm").write_bytes(data)
    return folder


def one_slice(rows: np.ndarray, z: int, series: str, patient: str, planted: bool) -> bytes:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    meta.MediaStorageSOPInstanceUID = generate_uid()
    made = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    made.SpecificCharacterSet = "ISO_IR 192"
    if planted:
        plant(made)
    made.PatientID = f"{PLANTED}-{patient}"
    made.Rows, made.Columns = rows.shape
    made.BitsAllocated = made.BitsStored = 16
    made.HighBit, made.PixelRepresentation, made.SamplesPerPixel = 15, 1, 1
    made.PhotometricInterpretation = "MONOCHROME2"
    made.SeriesInstanceUID = series
    made.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    made.ImagePositionPatient = [0, 0, 2.0 * z]
    made.PixelSpacing = [1, 1]
    made.PixelData = rows.astype("<i2").tobytes()
    out = io.BytesIO()
    made.save_as(out)
    return out.getvalue()


def plant(made: Any) -> None:
    """The word into every tag of text that the dictionary knows, and into private ones."""
    from pydicom.datadict import DicomDictionary

    long = ("LO", "PN", "SH", "LT", "ST", "UT", "UC")
    for tag, (vr, vm, _, retired, keyword) in DicomDictionary.items():
        if vr in long and vm == "1" and not retired and keyword and tag > 0x00080018:
            setattr(made, keyword, PLANTED)
    private = made.private_block(0x0099, PLANTED, create=True)
    private.add_new(1, "LO", PLANTED)


def holding(path: Path) -> list[str]:
    """Names of what holds the planted word, in files and in what is packed in them."""
    needles = [PLANTED.encode(), PLANTED.encode("latin-1"), PLANTED.encode("ascii", "ignore")]
    found = []
    for file in (f for f in path.rglob("*") if f.is_file()):
        contents = {file.name: file.read_bytes()}
        if zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as packed:
                contents |= {f"{file.name}/{n}": packed.read(n) for n in packed.namelist()}
        found += [name for name, data in contents.items() if any(n in data for n in needles)]
    return found


@pytest.mark.parametrize("write", [write_nifti, write_series])
def test_from_volumes_to_answers(write: Any, shell: Any, tmp_path: Path) -> None:
    folder, out = write(tmp_path / "scans"), tmp_path / "out"
    done = shell.invoke(
        *("fit", folder, "--out", out, "--json", "--modality", "volume", "--at", "youden"),
        *("--strategy", "probe", "--views", "axial-3of5,sagittal-3of5", *shell.quick),
    )
    assert done.exit_code == 0, done.stderr
    record = json.loads((out / "report.json").read_text())
    assert record["modality"] == "volume"
    assert record["metrics"]["auroc_macro"]["value"] > 0.8
    assert record["notice"].startswith("Not a medical device")
    assert record["chosen"]["window"].startswith("file")
    assert record["backbones"][0]["spec"]["views"] == ["axial-3of5", "sagittal-3of5"]
    assert "Not a medical device" in (out / "report.html").read_text()
    examples = sorted(p for p in (folder / "ball").iterdir())
    told = shell.document(shell.invoke("predict", out / "model.regraft", *examples[:3], "--json"))
    assert [p["error"] for p in told["predictions"]] == [None] * 3
    measured = shell.invoke("evaluate", out / "model.regraft", folder)
    assert measured.exit_code == 0, measured.stderr
    page, manifest = out / "doctor.html", out / "manifest.csv"
    looked = shell.invoke(
        *("doctor", folder, "--modality", "volume", "--no-label-errors"),
        *("--report", page, "--manifest", manifest),
    )
    assert looked.exit_code == 0, looked.stderr
    assert manifest.read_text().count("\n") == 2 * EACH + 1
    assert holding(out) == []
    assert PLANTED not in done.stdout + done.stderr + looked.stdout


def test_a_series_keeps_its_patient_together_and_a_torn_one_is_refused(
    shell: Any, tmp_path: Path
) -> None:
    folder = write_series(tmp_path / "scans", planted=False)
    names = sorted(p.relative_to(folder).as_posix() for p in folder.glob("*/*"))
    rows = [f"{n},{n.split('/')[0]},{'test' if i % 2 else 'train'}" for i, n in enumerate(names)]
    manifest = folder / "list.csv"
    manifest.write_text("\n".join(["file,label,split", *rows]))
    asked = ("fit", manifest, "--modality", "volume", "--strategy", "probe")
    asked = (*asked, "--views", "axial-3of5", *shell.quick)
    refused = shell.invoke(*asked, "--out", tmp_path / "a", "--json")
    assert refused.exit_code == 1
    told = shell.error(refused)["messages"]
    assert any("medical files of 14 patients in several parts" in line for line in told)
    assert any("patient-" in line for line in told)
    allowed = shell.invoke(*asked, "--out", tmp_path / "b", "--json", "--patients", "shared")
    assert allowed.exit_code == 0, allowed.stderr
    record = json.loads((tmp_path / "b" / "report.json").read_text())
    assert record["recipe"]["patients"] == "shared"
    assert sum(f["kind"] == "group-leak" for f in record["findings"]) == 14
    table = load(folder, modality="volume").table
    assert table["group"].null_count() == 0
    pairs = set(table.select("group", "split").iter_rows())
    assert len(pairs) == len({group for group, _ in pairs}) == 14  # a made split tears none apart


def test_a_fitted_window_is_obeyed_by_predict(shell: Any, tmp_path: Path) -> None:
    folder, out = write_nifti(tmp_path / "scans"), tmp_path / "out"
    asked = ("--window", "250,500", "--strategy", "probe", "--views", "axial-3of5")
    done = shell.invoke("fit", folder, "--out", out, *asked, *shell.quick)
    assert done.exit_code == 0, done.stderr
    model = Model.load(out / "model.regraft")
    assert model.extractors[0].spec.window == "250,500"
    assert 'window = "250,500"' in (out / "recipe.toml").read_text()
