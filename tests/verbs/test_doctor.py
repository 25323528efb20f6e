"""doctor(...): planted problems are found by name, copies are cleaned, and no file is touched."""

import csv
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image
from threadpoolctl import threadpool_limits

from regraft.backbones.catalog import DEFAULT, find
from regraft.backbones.extractor import extractor
from regraft.backbones.features import pass_over
from regraft.backbones.store import Store
from regraft.data.findings import Finding
from regraft.data.sources import load
from regraft.errors import DataError, UsageError
from regraft.modalities import modality
from regraft.progress import Advance, Quiet
from regraft.transfer.noise import label_noise
from regraft.transfer.probe import fit_head
from regraft.verbs.doctor import DROPPED, Diagnosis, doctor

FLIPPED = 0.1
AT = {"engine": "torch", "size": 64}


def photo(seed: int, tint: tuple[int, int, int] = (255, 255, 255)) -> Image.Image:
    """Soft blobs in shades of a colour, unlike those of any other seed."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 1)) * np.array(tint) / 255
    small = Image.fromarray(coarse.astype(np.uint8))
    return small.resize((120, 90), Image.Resampling.BICUBIC)


TINTS = {"blue": (0, 80, 255), "red": (255, 60, 0)}


def fill(root: Path, n: int = 8, first: int = 0) -> Path:
    """A clean folder: n pictures for each of two classes."""
    for start, (name, tint) in enumerate(TINTS.items()):
        (root / name).mkdir(parents=True)
        for i in range(n):
            photo(first + 1000 * start + i, tint).save(root / name / f"{i:03}.png")
    return root


def look(source: object, **options: object) -> Diagnosis:
    """Without a network: what one look at each file tells."""
    return doctor(source, look_for_label_errors=False, **options)


def kinds(diagnosis: Diagnosis) -> set[str]:
    return {finding.kind for finding in diagnosis.findings}


def files(diagnosis: Diagnosis, kind: str) -> list[tuple[str, ...]]:
    return [finding.files for finding in diagnosis.findings if finding.kind == kind]


def fingerprints(root: Path) -> dict[str, tuple[str, int, int]]:
    """Everything under a folder: contents, times, modes."""
    return {
        path.as_posix(): (
            hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "",
            path.stat().st_mtime_ns,
            path.stat().st_mode,
        )
        for path in [root, *sorted(root.rglob("*"))]
    }


class Told(Quiet):
    """Remembers the stages that it was told of."""

    def __init__(self) -> None:
        self.stages: list[str] = []

    @contextmanager
    def stage(self, name: str, total: int | None = None) -> Iterator[Advance]:
        self.stages.append(name)
        yield lambda steps: None


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return fill(tmp_path / "photos")


@pytest.fixture
def sick(folder: Path) -> Path:
    """A folder with one problem of each kind that the files alone show."""
    (folder / "blue" / "empty.jpg").touch()
    shutil.copy(folder / "blue" / "000.png", folder / "blue" / "exact.png")
    shutil.copy(folder / "blue" / "001.png", folder / "red" / "conflict.png")
    photo(2, TINTS["blue"]).resize((90, 68)).save(folder / "blue" / "near.jpg", quality=90)
    photo(50, TINTS["blue"]).resize((24, 20)).save(folder / "blue" / "small.png")
    photo(51, TINTS["red"]).convert("CMYK").save(folder / "red" / "print.jpg")
    frames = [photo(i, TINTS["red"]) for i in range(60, 63)]
    frames[0].save(folder / "red" / "film.webp", save_all=True, append_images=frames[1:])
    (folder / "rare").mkdir()
    photo(70).save(folder / "rare" / "a.png")
    return folder


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Linear algebra on all cores crawls where other test processes use them too."""
    with threadpool_limits(1):
        yield


# What is found -----------------------------------------------------------------------------------


def test_every_planted_problem_is_named(sick: Path) -> None:
    diagnosis = look(sick)
    assert files(diagnosis, "unreadable") == [("blue/empty.jpg",)]
    exact = {("blue/000.png", "blue/exact.png"), ("blue/001.png", "red/conflict.png")}
    assert set(files(diagnosis, "exact-duplicate")) == exact
    assert files(diagnosis, "conflicting-labels") == [("blue/001.png", "red/conflict.png")]
    assert files(diagnosis, "near-duplicate") == [("blue/002.png", "blue/near.jpg")]
    assert files(diagnosis, "odd-size") == [("blue/small.png",)]
    assert files(diagnosis, "odd-mode") == [("red/print.jpg",)]
    assert files(diagnosis, "animated") == [("red/film.webp",)]
    assert files(diagnosis, "tiny-class") == [("rare/a.png",)]
    assert (diagnosis.n, len(diagnosis.dataset)) == (24, 23)
    assert diagnosis.classes == {"blue": 11, "rare": 1, "red": 11}
    assert not diagnosis.clean


def test_a_clean_folder_has_no_findings(folder: Path) -> None:
    diagnosis = doctor(folder, **AT)
    assert diagnosis.findings == ()
    assert diagnosis.clean
    assert diagnosis.together == ()


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    """Given parts with a copy of a training picture among the test pictures."""
    fill(tmp_path / "set" / "train")
    fill(tmp_path / "set" / "test", first=300)
    copy = photo(0, TINTS["blue"]).resize((100, 75))
    copy.save(tmp_path / "set" / "test" / "blue" / "leak.jpg", quality=90)
    return tmp_path / "set"


def test_a_leak_between_given_parts_is_found_and_the_copy_in_train_goes(parts: Path) -> None:
    diagnosis = look(parts)
    assert files(diagnosis, "leak") == [("test/blue/leak.jpg", "train/blue/000.png")]
    kept = set(diagnosis.cleaned().table["id"])
    assert "test/blue/leak.jpg" in kept
    assert set(diagnosis.dataset.table["id"]) - kept == {"train/blue/000.png"}


@pytest.fixture
def grouped(folder: Path, tmp_path: Path) -> Path:
    """A manifest whose patient "p" is in train and in test."""
    names = sorted(path.relative_to(tmp_path).as_posix() for path in folder.rglob("*.png"))
    rows = [
        {
            "file": name,
            "label": name.split("/")[1],
            "patient": "p" if i < 3 else str(i),
            "split": "test" if i % 2 else "train",
        }
        for i, name in enumerate(names)
    ]
    manifest = tmp_path / "list.csv"
    pl.DataFrame(rows).write_csv(manifest)
    return manifest


def test_a_group_in_two_parts_is_found_and_can_be_left_out(grouped: Path) -> None:
    diagnosis = look(grouped, group="patient")
    (leak,) = files(diagnosis, "group-leak")
    assert leak == tuple(f"photos/blue/{i:03}.png" for i in range(3))
    gone = set(leak) - set(diagnosis.cleaned(["group-leak"]).table["id"])
    assert gone == {"photos/blue/000.png", "photos/blue/002.png"}


def test_without_labels_the_files_are_looked_at_and_the_rest_is_told(folder: Path) -> None:
    told = Told()
    diagnosis = doctor(folder / "red", progress=told)
    assert kinds(diagnosis) == {"labels-not-checked"}
    assert diagnosis.clean
    assert not any(name.startswith("features") for name in told.stages)


# Labels ------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """400 handwritten digits, a tenth of them in the folder of another digit."""
    from sklearn.datasets import load_digits

    root = tmp_path_factory.mktemp("digits")
    pixels, truth = load_digits(return_X_y=True)
    rng = np.random.default_rng(0)
    some = rng.permutation(len(truth))[:400]
    for place, i in enumerate(some):
        wrong = place < FLIPPED * len(some)
        label = (truth[i] + rng.integers(1, 10)) % 10 if wrong else truth[i]
        (root / str(label)).mkdir(exist_ok=True)
        picture = Image.fromarray((pixels[i].reshape(8, 8) * 15.9).astype(np.uint8))
        target = root / str(label) / f"{'wrong' if wrong else 'right'}-{i}-{truth[i]}.png"
        picture.resize((64, 64), Image.Resampling.BICUBIC).save(target)
    return root


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with Store(tmp_path_factory.mktemp("store") / "features.sqlite3") as opened:
        yield opened


@pytest.fixture(scope="session")
def diagnosis(digits: Path, store: Store) -> Diagnosis:
    """The one run that imports torch and computes features; the others read the store."""
    return doctor(digits, store=store, **AT)


def test_wrong_labels_are_suspected_and_the_right_one_is_told(diagnosis: Diagnosis) -> None:
    suspects = [f for f in diagnosis.findings if f.kind == "label-suspect"]
    found = {file for finding in suspects for file in finding.files}
    wrong = {name for name in diagnosis.dataset.table["id"] if "wrong" in name}
    assert len(wrong) == 40
    assert len(found & wrong) >= 36
    assert len(found & wrong) >= 0.7 * len(found)
    told = [f"suggest '{f.files[0][-5]}'" in f.reason for f in suspects if f.files[0] in wrong]
    assert np.mean(told) > 0.9
    assert all(f.score is not None and 0 <= f.score <= 1 for f in suspects)


def test_the_noise_score_tells_wrong_labels_from_right_ones(
    digits: Path, store: Store, diagnosis: Diagnosis
) -> None:
    from sklearn.metrics import roc_auc_score

    dataset = load(digits)
    row = find(DEFAULT)
    network = extractor(row, replace(row.spec.at(64), crop_fraction=1.0), "torch")
    told = Told()
    seen = pass_over(dataset.table["path"].to_list(), modality("image"), store, network, told)
    assert told.stages == ["reading files"]  # all features are in the store
    fit = fit_head(seen.features, dataset.targets, classes=10, widths=seen.widths)
    wrong = ["wrong" in name for name in dataset.table["id"]]
    assert roc_auc_score(wrong, label_noise(fit.left_out, dataset.targets)) >= 0.9


def test_suspects_are_kept_unless_asked_for(diagnosis: Diagnosis) -> None:
    assert len(diagnosis.cleaned()) == len(diagnosis.dataset)
    assert "label-suspect" in {f.kind for f in diagnosis.cleaned().findings}
    without = diagnosis.cleaned((*DROPPED, "label-suspect"))
    suspects = {file for (file,) in files(diagnosis, "label-suspect")}
    assert set(without.table["id"]) == set(diagnosis.dataset.table["id"]) - suspects


def test_a_second_run_reads_the_store_and_says_the_same(
    digits: Path, store: Store, diagnosis: Diagnosis
) -> None:
    told = Told()
    again = doctor(digits, store=store, progress=told, **AT)
    assert told.stages == ["reading files"]
    assert again.to_dict() == diagnosis.to_dict()


def test_a_second_run_never_imports_torch(digits: Path, store: Store, diagnosis: Diagnosis) -> None:
    code = (
        "import sys; from pathlib import Path; from regraft.backbones.store import Store\n"
        "from regraft.verbs.doctor import doctor\n"
        "found = doctor(sys.argv[1], store=Store(Path(sys.argv[2])), engine='torch', size=64)\n"
        "print(len(found.findings), 'torch' in sys.modules)"
    )
    command = [sys.executable, "-c", code, str(digits), str(store.path)]
    one = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
    run = subprocess.run(command, capture_output=True, text=True, check=True, env=one)
    assert run.stdout.split() == [str(len(diagnosis.findings)), "False"]


def test_a_dataset_that_was_diagnosed_can_be_diagnosed_again(
    diagnosis: Diagnosis, store: Store
) -> None:
    assert doctor(diagnosis.dataset, store=store, **AT).to_dict() == diagnosis.to_dict()


# What is given back ------------------------------------------------------------------------------


def test_to_dict_is_json_with_names_relative_to_the_root(sick: Path) -> None:
    record = json.loads(json.dumps(look(sick).to_dict()))
    assert record["root"] == str(sick)
    assert (record["n"], record["classes"]) == (24, {"blue": 11, "rare": 1, "red": 11})
    keys = {"kind", "files", "reason", "severity", "score"}
    assert all(set(finding) == keys for finding in record["findings"])
    names = {name for finding in record["findings"] for name in finding["files"]}
    assert all((sick / name).is_file() for name in names)


def test_to_csv_has_a_row_per_finding_and_file(sick: Path) -> None:
    odd = sick / "blue" / 'a,"b"\n.jpg'
    odd.touch()
    diagnosis = look(sick)
    rows = list(csv.DictReader(diagnosis.to_csv().splitlines(keepends=True)))
    assert len(rows) == sum(max(1, len(f.files)) for f in diagnosis.findings)
    unreadable = {row["file"] for row in rows if row["kind"] == "unreadable"}
    assert unreadable == {"blue/empty.jpg", 'blue/a,"b"\n.jpg'}
    assert {row["severity"] for row in rows if row["kind"] == "unreadable"} == {"error"}


def test_the_page_shows_what_was_found(sick: Path) -> None:
    page = look(sick).page()
    assert page.startswith("<!doctype html>") or page.startswith("<!DOCTYPE html>")
    assert "data:image/jpeg;base64," in page
    assert "conflict.png" in page
    assert "<script" not in page


def test_the_page_has_a_bounded_number_of_pictures(diagnosis: Diagnosis) -> None:
    each = tuple(Finding("odd-size", (name,), "odd") for name in diagnosis.dataset.table["id"])
    assert replace(diagnosis, findings=each).page().count("data:image/jpeg") == 300
    together = (Finding("odd-size", tuple(diagnosis.dataset.table["id"]), "odd"),)
    assert 1 <= replace(diagnosis, findings=together).page().count("data:image/jpeg") <= 6


def test_cleaned_keeps_one_of_each_copy_and_none_of_a_conflict(sick: Path) -> None:
    diagnosis = look(sick)
    clean = diagnosis.cleaned()
    gone = set(diagnosis.dataset.table["id"]) - set(clean.table["id"])
    assert gone == {"blue/exact.png", "blue/001.png", "red/conflict.png"}
    left_out = {
        f.reason.split(": ")[1]: set(f.files) for f in clean.findings if f.kind == "left-out"
    }
    assert left_out == {
        "exact-duplicate": {"blue/exact.png"},
        "conflicting-labels": {"blue/001.png", "red/conflict.png"},
    }
    assert kinds(look(clean)) & set(DROPPED) == {"unreadable"}  # told still, though it is gone


def test_cleaned_takes_other_kinds_too(sick: Path) -> None:
    diagnosis = look(sick)
    clean = diagnosis.cleaned(["tiny-class", "odd-size", "near-duplicate"])
    gone = set(diagnosis.dataset.table["id"]) - set(clean.table["id"])
    assert gone == {"rare/a.png", "blue/small.png", "blue/near.jpg"}
    assert clean.classes == ("blue", "red")
    assert len(diagnosis.cleaned([])) == len(diagnosis.dataset)


def test_an_unlabelled_copy_goes_before_a_labelled_one(folder: Path, tmp_path: Path) -> None:
    shutil.copy(folder / "red" / "000.png", folder / "red" / "b.png")
    rows = ["file,label", "photos/red/000.png,", "photos/red/b.png,red", "photos/blue/000.png,blue"]
    (tmp_path / "list.csv").write_text("\n".join(rows))
    clean = look(tmp_path / "list.csv").cleaned()
    assert clean.table["id"].to_list() == ["photos/red/b.png", "photos/blue/000.png"]


@pytest.mark.parametrize("name", ["clean.csv", "clean.parquet"])
def test_the_manifest_reads_back_as_the_cleaned_dataset(
    sick: Path, tmp_path: Path, name: str
) -> None:
    diagnosis = look(sick)
    written = diagnosis.write_manifest(tmp_path / name)
    back = load(written, root=sick)
    clean = diagnosis.cleaned()
    columns = ["id", "path", "label", "split"]
    assert back.table.select(columns).equals(clean.table.select(columns))


# Nothing is touched ------------------------------------------------------------------------------


def test_no_file_is_touched_even_where_all_are_writable_or_none_is(sick: Path) -> None:
    for mode in (0o755, 0o555):
        for path in (sick, *sick.rglob("*")):
            os.chmod(path, mode)
        before = fingerprints(sick)
        diagnosis = look(sick)
        diagnosis.page()
        diagnosis.cleaned()
        with pytest.raises(UsageError, match="only read"):
            diagnosis.write_manifest(sick / "clean.csv")
        assert fingerprints(sick) == before
    for path in (sick, *sick.rglob("*")):
        os.chmod(path, 0o755)


# What cannot be done -----------------------------------------------------------------------------


def test_parameters_that_would_have_no_effect_are_refused(folder: Path) -> None:
    with pytest.raises(UsageError) as refused:
        look(folder, backbone=DEFAULT, size=96)
    assert len(refused.value.mistakes) == 2


def test_an_unknown_kind_to_leave_out_is_refused(folder: Path) -> None:
    with pytest.raises(UsageError, match="'odd' cannot be left out; expected some of unreadable"):
        look(folder).cleaned(["odd"])


def test_no_examples_are_an_error(folder: Path) -> None:
    empty = load(folder)
    with pytest.raises(DataError, match="no examples"):
        doctor(empty.with_table(empty.table.clear()))
