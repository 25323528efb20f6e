"""load and the five lines that everything else hangs on."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

import regraft
from regraft.backbones.catalog import DEFAULT
from regraft.errors import UsageError
from regraft.verbs.fitted import Fitted
from regraft.verbs.prepare import Prepared

WritePhotos = Callable[..., Path]


def test_the_five_lines(photos: Path, tmp_path: Path) -> None:
    data = regraft.load(photos)
    model = regraft.fit(data, backbone=DEFAULT, size=64, engine="openvino", resamples=100)
    report = regraft.evaluate(model, data.test, resamples=100)
    model.save(tmp_path / "photos.regraft")
    report.save(tmp_path / "report.html")

    assert report.record["split"]["n"] == len(data.test)
    assert set(model.record["examples"]["test"]) == set(data.test.table["id"])
    assert regraft.Model.load(tmp_path / "photos.regraft").classes == data.classes
    assert (tmp_path / "report.html").read_text().startswith("<!")


def test_a_loaded_dataset_is_split_and_knows_its_files(photos: Path) -> None:
    data = regraft.load(photos, parts=(0.5, 0.25, 0.25), seed=4)
    assert data.split_source == "made"
    assert data.split_record["seed"] == 4
    assert sum(map(len, (data.train, data.validation, data.test))) == len(data) == 66
    assert data.table["sha256"].null_count() == 0
    assert data.table.equals(regraft.load(photos, parts=(0.5, 0.25, 0.25), seed=4).table)
    assert not data.table.equals(regraft.load(photos, parts=(0.5, 0.25, 0.25), seed=5).table)


def test_unreadable_files_are_left_out_by_name(write_photos: WritePhotos, tmp_path: Path) -> None:
    write_photos(tmp_path, {"disc": range(5), "square": range(5)})
    (tmp_path / "disc" / "bad.png").write_bytes(b"no picture")
    data = regraft.load(tmp_path)
    assert "disc/bad.png" not in set(data.table["id"])
    (told,) = (finding for finding in data.findings if finding.kind == "unreadable")
    assert told.files == ("disc/bad.png",)


def test_files_without_labels_are_loaded_and_not_split(photos: Path) -> None:
    files = sorted((photos / "disc").iterdir())
    data = regraft.load(files)
    assert data.table["path"].to_list() == [str(path) for path in files]
    assert data.split_source == "none"
    assert len(data.labelled) == 0


def test_what_is_the_same_thing_is_numbered_alike(
    write_photos: WritePhotos, tmp_path: Path
) -> None:
    """Copies and groups, and what hangs together through both."""
    folder = write_photos(tmp_path / "all", {"disc": range(4), "square": range(4)})
    shutil.copy(folder / "disc" / "000.png", folder / "disc" / "copy.png")
    data = regraft.load(folder)
    grouped = data.with_table(
        data.table.with_columns(
            group=pl.when(pl.col("id").is_in(["disc/copy.png", "disc/001.png"])).then(pl.lit("g"))
        )
    )
    prepared = Prepared(grouped, (("disc/000.png", "disc/copy.png"),))
    numbers = dict(zip(data.table["id"], prepared.left_out_together(grouped), strict=True))
    alike = {numbers[f"disc/{name}.png"] for name in ("000", "001", "copy")}
    assert len(alike) == 1
    assert len(set(numbers.values())) == len(numbers) - 2


def test_parameters_are_checked_together(photos: Path) -> None:
    with pytest.raises(UsageError) as caught:
        regraft.load(photos, parts=(0.5, 0.6, 0.1), seed=-1)
    assert [line.split(":")[0] for line in caught.value.mistakes] == ["seed", "parts"]
    with pytest.raises(UsageError, match="label: cannot be set for a folder"):
        regraft.load(photos, label="kind")


def test_the_report_of_fit_and_the_record_of_its_model_agree(fitted: Fitted) -> None:
    record = fitted.report.record
    assert record["recipe"] == fitted.model.record["recipe"]
    assert record["chosen"] == fitted.model.record["chosen"]
    assert record["tried"] == json.loads(json.dumps(fitted.model.record["tried"]))
