"""fit: honest choices, splits and wishes obeyed or refused, and every run repeatable."""

import csv
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import regraft
from regraft.backbones.catalog import DEFAULT
from regraft.backbones.features import pass_over
from regraft.backbones.store import Store
from regraft.data.sources import load
from regraft.errors import DataError, UsageError
from regraft.modalities import modality
from regraft.recipe import Recipe
from regraft.verbs.fit import fit, fit_and_report
from regraft.verbs.fitted import Fitted
from regraft.verbs.prepare import Prepared, prepare
from regraft.verbs.rungs import Learning

WritePhotos = Callable[..., Path]

QUICK: dict[str, Any] = {"backbone": DEFAULT, "size": 64, "engine": "openvino", "resamples": 100}
VOLATILE = {"created", "timings"}  # keys of a report that differ from run to run


def lasting(fitted: Fitted) -> dict[str, Any]:
    """The report without dates and durations."""
    record = {k: v for k, v in fitted.report.record.items() if k not in VOLATILE}
    record["tried"] = [{k: v for k, v in row.items() if k != "seconds"} for row in record["tried"]]
    return record


def heads_are_equal(one: Fitted, other: Fitted) -> bool:
    pairs = zip(one.model.head.tensors().values(), other.model.head.tensors().values(), strict=True)
    same = all(np.array_equal(a, b) for a, b in pairs)
    return same and (one.model.temperature, one.model.threshold) == (
        other.model.temperature,
        other.model.threshold,
    )


def looked_at(folder: Path, **recipe: Any) -> Prepared:
    """A folder as `fit` sees it before it learns."""
    dataset = load(folder)
    with Store() as store:
        seen = pass_over(list(dataset.table["path"]), modality("image"), store)
    return prepare(dataset, seen, Recipe(**recipe))


# --- what was tried ------------------------------------------------------------------------------


def test_baselines_stand_beside_the_probe_and_all_are_measured_alike(fitted: Fitted) -> None:
    tried = fitted.report.record["tried"]
    assert [row["kind"] for row in tried] == ["baseline", "baseline", "probe", "probe"]
    for row in tried:
        assert 0 <= row["score"]["low"] <= row["score"]["value"] <= row["score"]["high"] <= 1
        assert row["why"]
        assert row["seconds"] >= 0
    assert [row["detail"].split(", ")[-1] for row in tried[2:]] == [
        "closed-form head",
        "closed-form wide head",
    ]
    assert sorted(row["kept"] for row in tried) == [False, False, False, True]
    (kept,) = (row for row in tried if row["kept"])
    linear, wide = (row["loo_error"] for row in tried[2:])
    assert kept is tried[3 if wide < 0.98 * linear else 2]
    assert kept["score"]["value"] == fitted.report.metrics["accuracy"]["value"]
    assert tried[2]["score"]["value"] > max(row["score"]["value"] for row in tried[:2]) + 0.3
    assert tried == json.loads(json.dumps(fitted.model.record["tried"]))


def test_the_majority_is_that_of_what_was_learned_from(
    write_photos: WritePhotos, tmp_path: Path
) -> None:
    """More discs to learn from, more squares to measure on: the baseline says disc."""
    write_photos(tmp_path / "train", {"disc": range(14), "square": range(8)})
    write_photos(tmp_path / "test", {"disc": range(30, 33), "square": range(30, 36)})
    tried = fit_and_report(tmp_path, **QUICK).report.record["tried"]
    assert tried[0]["score"]["value"] == pytest.approx(3 / 9)


@pytest.fixture(scope="module")
def few(write_photos: WritePhotos, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """So few pictures that any engine is through with them at once."""
    folder = tmp_path_factory.mktemp("few")
    write_photos(folder / "train", {"disc": range(7), "square": range(7)})
    return write_photos(folder / "test", {"disc": range(50, 53), "square": range(50, 53)}).parent


@pytest.fixture(scope="module")
def several(few: Path) -> Fitted:
    """Two networks, on the engine that needs no conversion."""
    names = "efficientnet-lite0,efficientnet-lite1"
    return fit_and_report(few, backbone=names, size=64, engine="torch", resamples=100)


def test_each_network_is_tried_and_all_together(several: Fitted) -> None:
    rows = [row for row in several.report.record["tried"] if row["kind"] != "baseline"]
    linear, wide = rows[:3], rows[3]
    least = min(linear, key=lambda row: row["loo_error"])
    assert (wide["kind"], wide["backbone"]) == (least["kind"], least["backbone"])
    assert [(row["kind"], row["backbone"]) for row in linear] == [
        ("probe", "efficientnet-lite0"),
        ("probe", "efficientnet-lite1"),
        ("ensemble", "efficientnet-lite0 + efficientnet-lite1"),
    ]
    kept = [row for row in rows if row["kept"]]
    assert kept == [wide if wide["loo_error"] < 0.98 * least["loo_error"] else least]
    assert len({row["loo_error"] for row in rows}) == 4


def test_what_is_kept_is_what_the_model_is(several: Fitted) -> None:
    (kept,) = (row for row in several.report.record["tried"] if row["kept"])
    model = several.model
    assert " + ".join(one.row.name for one in model.extractors) == kept["backbone"]
    assert {one.engine_name for one in model.extractors} == {"torch"}
    assert {one.spec.size for one in model.extractors} == {64}
    assert [one["name"] for one in several.report.record["backbones"]] == [
        one.row.name for one in model.extractors
    ]
    assert several.report.metrics["accuracy"]["value"] == kept["score"]["value"]


def test_a_model_of_several_networks_is_kept_and_answers(several: Fitted, tmp_path: Path) -> None:
    held = several.data.held_out
    loaded = regraft.Model.load(several.model.save(tmp_path / "two.regraft"))
    answers = regraft.predict(loaded, held)
    assert answers == regraft.predict(several.model, held)
    right = [p.label == label for p, label in zip(answers, held.table["label"], strict=True)]
    assert np.mean(right) == several.report.metrics["accuracy"]["value"]


# --- the split -----------------------------------------------------------------------------------


@pytest.fixture
def divided(write_photos: WritePhotos, tmp_path: Path) -> Path:
    folder = tmp_path / "divided"
    write_photos(folder / "train", {"disc": range(12), "square": range(12)})
    write_photos(folder / "validation", {"disc": range(40, 44), "square": range(40, 44)})
    write_photos(folder / "test", {"disc": range(50, 56), "square": range(50, 56)})
    return folder


def test_a_given_split_is_obeyed(divided: Path) -> None:
    found = fit_and_report(divided, **QUICK)
    record = found.model.record
    assert record["split"]["source"] == "given"
    assert {part: len(ids) for part, ids in record["examples"].items()} == {
        "train": 24,
        "validation": 8,
        "test": 12,
    }
    assert all(name.startswith("train/") for name in record["examples"]["train"])
    assert record["leave_one_out"]["n"] == 24
    assert found.report.record["split"]["n"] == 12
    assert "split" not in record["chosen"]


def test_nothing_of_the_test_part_is_learned_from(divided: Path, tmp_path: Path) -> None:
    """Other pictures and other labels there, and the model is the same bit for bit."""
    before = fit_and_report(divided, **QUICK)
    test = divided / "test"
    (test / "disc").rename(tmp_path / "kept")
    (test / "square").rename(test / "disc")
    (tmp_path / "kept").rename(test / "square")
    (test / "disc" / "050.png").unlink()
    after = fit_and_report(divided, **QUICK)
    assert heads_are_equal(before, after)
    assert before.model.record["learned"] == after.model.record["learned"]
    accuracy = [found.report.metrics["accuracy"]["value"] for found in (before, after)]
    assert accuracy[0] > 0.8
    assert accuracy[1] < 0.2


def test_a_made_split_is_recorded_and_repeats(photos: Path) -> None:
    first, second = (fit_and_report(photos, seed=5, **QUICK) for _ in range(2))
    assert heads_are_equal(first, second)
    assert lasting(first) == lasting(second)
    told = first.report.record["split"]
    assert (told["source"], told["seed"], told["name"]) == ("made", 5, "test")
    parts = first.model.record["examples"]
    assert sorted(chain(*parts.values())) == sorted(first.data.table["id"])
    assert first.model.record["chosen"]["split"].startswith("70% / 15% / 15%")
    assert [sum(told["counts"][part].values()) for part in ("train", "validation", "test")] == [
        len(parts[part]) for part in ("train", "validation", "test")
    ]


def test_another_seed_is_another_split(photos: Path, fitted: Fitted) -> None:
    other = fit_and_report(photos, seed=6, parts=(0.5, 0.1, 0.4), **QUICK)
    assert other.model.record["examples"] != fitted.model.record["examples"]
    assert not heads_are_equal(other, fitted)


def test_a_split_that_was_made_before_stays(photos: Path) -> None:
    data = regraft.load(photos, parts=(0.6, 0.2, 0.2), seed=3)
    found = fit_and_report(data, seed=9, **QUICK)
    assert found.data.table.equals(data.table)
    assert found.report.record["split"]["seed"] == 3
    assert found.model.record["chosen"]["split"].startswith("60% / 20% / 20%")


def test_groups_stay_in_one_part_and_are_left_out_together(photos: Path, tmp_path: Path) -> None:
    names = sorted(path.relative_to(photos).as_posix() for path in photos.rglob("*.png"))
    rows = [
        (name, name.split("/")[0], f"{name.split('/')[0]}{i // 4}") for i, name in enumerate(names)
    ]
    with (tmp_path / "photos.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([("file", "kind", "lot"), *rows])
    columns = {"path_column": "file", "label": "kind", "group": "lot", "root": str(photos)}
    found = fit_and_report(tmp_path / "photos.csv", **columns, **QUICK)
    table = found.data.table
    assert (
        table.group_by("group").agg(pl.col("split").n_unique())["split"].to_list()
        == [1] * table["group"].n_unique()
    )


# --- duplicates ----------------------------------------------------------------------------------


@pytest.fixture
def twice(write_photos: WritePhotos, tmp_path: Path) -> Path:
    """Labels that say nothing about the pictures, and each picture twice under its label."""
    rng = np.random.default_rng(0)
    folder = write_photos(tmp_path / "all", {"disc": range(12), "square": range(12)})
    for path in sorted(folder.rglob("*.png")):
        place = tmp_path / "twice" / str(rng.choice(["a", "b"]))
        place.mkdir(parents=True, exist_ok=True)
        for copy in ("one", "two"):
            shutil.copy(path, place / f"{path.parent.name}-{path.stem}-{copy}.png")
    return tmp_path / "twice"


def test_copies_are_in_one_part_and_left_out_together(twice: Path) -> None:
    prepared = looked_at(twice)
    table = prepared.dataset.table.with_columns(
        pl.col("id").str.slice(0, pl.col("id").str.len_chars() - 8).alias("of")
    )
    assert table["of"].n_unique() == 24
    assert table.group_by("of").agg(pl.col("split").n_unique())["split"].to_list() == [1] * 24
    learning = Learning.of(prepared)
    of = [table["of"][int(i)] for i in learning.place]
    assert (
        len(set(zip(of, learning.groups, strict=True))) == len(set(of)) == len(set(learning.groups))
    )


def test_a_copy_cannot_answer_for_the_other(twice: Path) -> None:
    """Were they left out one by one, leave-one-out would be right nearly always."""
    found = fit_and_report(twice, **QUICK)
    assert found.model.record["leave_one_out"]["accuracy"] < 0.75
    assert any(finding["kind"] == "exact-duplicate" for finding in found.report.record["findings"])


def test_copies_across_a_given_split_are_told(divided: Path) -> None:
    shutil.copy(divided / "train" / "disc" / "003.png", divided / "test" / "disc" / "copy.png")
    found = fit_and_report(divided, **QUICK)
    (leak,) = (f for f in found.report.record["findings"] if f["kind"] == "leak")
    assert set(leak["files"]) == {"train/disc/003.png", "test/disc/copy.png"}


# --- what cannot be read or is little ------------------------------------------------------------


def test_unreadable_files_are_left_out_and_listed(divided: Path) -> None:
    bad = {"train/disc/empty.png": b"", "test/square/text.png": b"no picture"}
    for name, data in bad.items():
        (divided / name).write_bytes(data)
    found = fit_and_report(divided, **QUICK)
    told = {row["file"]: row["reason"] for row in found.report.record["left_out"]}
    assert set(told) == set(bad)
    assert all(told.values())
    assert not set(bad) & set(chain(*found.model.record["examples"].values()))
    assert found.report.record["split"]["n"] == 12


def test_a_file_that_vanished_after_loading_is_left_out(divided: Path) -> None:
    """A prepared dataset is looked at again: no zeros are learned in its place."""
    data = regraft.load(divided)
    (divided / "train" / "disc" / "000.png").unlink()
    found = fit_and_report(data, **QUICK)
    assert [row["file"] for row in found.report.record["left_out"]] == ["train/disc/000.png"]
    assert found.model.record["leave_one_out"]["n"] == 23


def test_two_classes_of_few_examples_make_a_model(
    write_photos: WritePhotos, tmp_path: Path
) -> None:
    write_photos(tmp_path, {"disc": range(6), "stripes": range(6)})
    found = fit_and_report(tmp_path, **QUICK)
    assert found.model.classes == ("disc", "stripes")
    assert found.report.metrics["accuracy"]["value"] is not None
    path = found.model.save(tmp_path / "model.regraft")
    assert regraft.Model.load(path).predict(tmp_path / "disc" / "000.png")[0].label


def test_a_class_with_a_single_example_is_learned_and_told(
    write_photos: WritePhotos, tmp_path: Path
) -> None:
    write_photos(tmp_path, {"disc": range(10), "square": range(10), "stripes": [0]})
    found = fit_and_report(tmp_path, **QUICK)
    assert found.model.classes == ("disc", "square", "stripes")
    tiny = [f for f in found.report.record["findings"] if f["kind"] == "tiny-class"]
    assert tiny
    assert "stripes" in tiny[0]["reason"]
    assert "stripes/000.png" in found.model.record["examples"]["train"]


@pytest.mark.parametrize(
    ("numbers", "error", "words"),
    [
        ({"disc": range(8)}, UsageError, "one class"),
        ({"disc": range(2), "square": [0]}, DataError, "too few examples"),
        ({"disc": [0], "square": [0]}, DataError, "too few examples"),
        ({"train/disc": range(4), "test/square": range(4)}, UsageError, "one class"),
        ({".": range(4)}, UsageError, "has a label"),
    ],
)
def test_what_cannot_be_learned_from_is_told_plainly(
    numbers: dict[str, Any],
    error: type[Exception],
    words: str,
    write_photos: WritePhotos,
    tmp_path: Path,
) -> None:
    write_photos(tmp_path / "data", numbers, {".": "disc"})
    with pytest.raises(error, match=words):
        fit(tmp_path / "data", **QUICK)


def test_an_empty_folder_and_a_missing_one_are_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no example found"):
        fit(tmp_path, **QUICK)
    with pytest.raises(UsageError, match="does not exist"):
        fit(tmp_path / "nowhere", **QUICK)


def test_a_folder_of_unreadable_files_is_told(write_photos: WritePhotos, tmp_path: Path) -> None:
    for path in write_photos(tmp_path, {"disc": range(4), "square": range(4)}).rglob("*.png"):
        path.write_bytes(b"damaged")
    with pytest.raises((DataError, UsageError), match=r"no example|no label|has a label"):
        fit(tmp_path, **QUICK)


# --- what was asked ------------------------------------------------------------------------------


def test_a_recipe_from_the_record_repeats_the_run(fitted: Fitted, photos: Path) -> None:
    told = Recipe.from_dict(json.loads(json.dumps(fitted.model.record["recipe"])))
    for recipe in (told, Recipe.from_toml(told.to_toml())):
        again = fit_and_report(recipe.source, recipe)
        assert lasting(again) == lasting(fitted)
        assert heads_are_equal(again, fitted)
    assert told.source == str(photos)


def test_size_views_and_engine_are_obeyed(few: Path) -> None:
    views = ("whole-mirrored", "centre")
    model = fit(few, backbone=DEFAULT, size=48, views=views, engine="torch", resamples=100)
    (one,) = model.extractors
    assert (one.spec.size, one.spec.views, one.engine_name) == (48, views, "torch")
    assert set(model.record["chosen"]) == {"positive"}


def test_a_tiny_budget_still_gives_a_model(few: Path) -> None:
    """The first network at the first size; the default that was chosen has a reason."""
    found = fit_and_report(few, budget="0.001s", engine="torch", resamples=100)
    kinds = [row["kind"] for row in found.report.record["tried"]]
    assert kinds == ["baseline", "baseline", "probe"]
    (one,) = found.model.extractors
    assert (one.row.name, one.spec.size) == (DEFAULT, 128)
    chosen = found.model.record["chosen"]
    assert chosen["size"] == "128 px: the pictures are small (64 px)"
    assert set(chosen) == {"size", "positive"}


@pytest.mark.slow
def test_inputs_are_compared_by_leave_one_out_and_the_choice_has_a_reason(photos: Path) -> None:
    """Of 64 px: 96, 128 and 224 px are tried; all defaults that were chosen are told."""
    found = fit_and_report(photos, backbone=DEFAULT, resamples=100)
    assert set(found.model.record["chosen"]) == {"size", "engine", "split"}
    errors = {}
    for size in (96, 128, 224):
        told = fit_and_report(photos, backbone=DEFAULT, size=size, views="centre", resamples=100)
        errors[size] = told.report.record["tried"][2]["loo_error"]
    assert errors[found.model.extractors[0].spec.size] < 1.1 * min(errors.values())


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"backbone": "efficientnet-lite9"}, "efficientnet-lite0"),
    ({"backbone": DEFAULT, "licence": "mit"}, f"backbone: {DEFAULT}: .*Apache-2.0"),
    ({"licence": "no-licence"}, "no-licence"),
    ({"engine": "abacus"}, "engine: 'abacus' is not known"),
    ({"views": "left"}, "views: 'left' is not one of centre"),
    ({"size": 16}, "size: "),
    ({"size": 0}, "size: expected 1"),
    ({"budget": "soon"}, "budget: "),
    ({"label": "kind"}, "label: cannot be set for a folder"),
    ({"colour": "red"}, "colour: no such setting"),
]


@pytest.mark.parametrize(("asked", "words"), REFUSED)
def test_what_cannot_be_obeyed_is_refused(asked: dict[str, Any], words: str, photos: Path) -> None:
    with pytest.raises(UsageError, match=words):
        fit(photos, **asked)


def test_columns_cannot_be_set_for_a_dataset(fitted: Fitted) -> None:
    with pytest.raises(UsageError, match="label: cannot be set for a Dataset"):
        fit(fitted.data, label="kind", **QUICK)


# --- the user's files, other processes -----------------------------------------------------------


def state(folder: Path) -> dict[str, tuple[str, int, int]]:
    """Of everything in a folder: content, time of change, mode."""
    return {
        str(path.relative_to(folder)): (
            hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "",
            path.stat().st_mtime_ns,
            path.stat().st_mode,
        )
        for path in [folder, *folder.rglob("*")]
    }


def test_the_users_files_stay_as_they_are(divided: Path) -> None:
    (divided / "train" / "disc" / "bad.png").write_bytes(b"damaged")
    before = state(divided)
    found = fit_and_report(divided, **QUICK)
    regraft.evaluate(found.model, divided, resamples=100)
    regraft.predict(found.model, divided / "test")
    assert state(divided) == before


CHILD = """
import json, sys, time
start = time.perf_counter()
from regraft.verbs.fit import fit_and_report
settings = json.loads(sys.argv[2])
print("begun", flush=True)
found = fit_and_report(sys.argv[1], **settings)
told = {"record": found.report.record, "torch": "torch" in sys.modules}
print(json.dumps({**told, "seconds": time.perf_counter() - start}))
"""


def child(folder: Path, cache: Path, settings: dict[str, Any]) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, str(folder), json.dumps(settings)],
        env={**os.environ, "REGRAFT_CACHE": str(cache)},
        stdout=subprocess.PIPE,
        text=True,
    )


def killed(folder: Path, cache: Path, settings: dict[str, Any], after: float) -> bool:
    """Begin a fit and kill it so many seconds after it began; whether it had not ended by then."""
    run = child(folder, cache, settings)
    assert run.stdout is not None
    assert run.stdout.readline() == "begun\n"
    time.sleep(after)
    run.kill()
    run.communicate()
    return run.returncode != 0


def ended(folder: Path, cache: Path, settings: dict[str, Any]) -> dict[str, Any]:
    run = child(folder, cache, settings)
    out, _ = run.communicate()
    assert run.returncode == 0
    told: dict[str, Any] = json.loads(out.splitlines()[-1])
    told["record"].pop("title")
    return told


def without_volatile(record: dict[str, Any]) -> dict[str, Any]:
    kept = {k: v for k, v in record.items() if k not in (*VOLATILE, "title")}
    kept["tried"] = [{k: v for k, v in row.items() if k != "seconds"} for row in kept["tried"]]
    return kept


@pytest.fixture
def warm_cache(fitted: Fitted, tmp_path: Path) -> Path:
    """A cache with the converted network and no features yet, so that kills fall into the work."""
    del fitted  # made it
    cache, warm = tmp_path / "cache", Path(os.environ["XDG_CACHE_HOME"]) / "regraft"
    for name in ("graphs", "weights"):
        if (warm / name).is_dir():
            shutil.copytree(warm / name, cache / name)
    return cache


def test_a_killed_run_is_taken_up_with_the_same_numbers(
    photos: Path, fitted: Fitted, warm_cache: Path
) -> None:
    """And once features are kept, a run needs no PyTorch."""
    settings = {k: v for k, v in fitted.model.record["recipe"].items() if k != "source"}
    assert any(killed(photos, warm_cache, settings, after) for after in (0.1, 0.5))
    resumed = ended(photos, warm_cache, settings)
    expected = without_volatile(fitted.report.record)
    assert without_volatile(resumed["record"]) == expected
    again = ended(photos, warm_cache, settings)
    assert without_volatile(again["record"]) == expected
    assert not again["torch"]
    assert again["seconds"] < 40  # a few; other work may be going on beside it


@pytest.mark.slow
def test_kills_at_any_instant_leave_the_numbers_as_they_are(
    write_photos: WritePhotos, fitted: Fitted, warm_cache: Path, tmp_path: Path
) -> None:
    """Of 900 pictures, with features kept 256 at a time: kills fall between transactions too."""
    kinds = {kind: range(300) for kind in ("disc", "square", "stripes")}
    folder = write_photos(tmp_path / "many", kinds)
    settings = {**QUICK, "budget": 600}
    whole = ended(folder, shutil.copytree(warm_cache, tmp_path / "whole"), settings)
    rng = np.random.default_rng(0)
    for after in rng.uniform(0, whole["seconds"], 30):
        killed(folder, warm_cache, settings, float(after))
    resumed = ended(folder, warm_cache, settings)
    assert without_volatile(resumed["record"]) == without_volatile(whole["record"])


# --- operating points ----------------------------------------------------------------------------


def test_an_operating_point_is_asked_for_kept_and_told(
    write_photos: WritePhotos, tmp_path: Path
) -> None:
    kinds = {"disc": range(40), "square": range(40)}
    folder = write_photos(tmp_path / "two", kinds)
    found = fit_and_report(folder, at="sensitivity>=0.95", strategy="probe", **QUICK)
    point, record = found.model.operating, found.report.record
    assert point is not None
    assert point.positive == "square"
    assert (point.sensitivity or 0) >= 0.95
    assert record["operating_point"] == point.to_dict() == found.model.record["operating_point"]
    assert record["chosen"]["positive"].startswith("square: the second of two classes")
    kept = next(row for row in record["tried"] if row["kept"])
    assert kept["score"]["value"] == pytest.approx(record["metrics"]["accuracy"]["value"])
    assert "from a probability of" in str(found.report)
    page = found.report.html()
    assert "sensitivity&gt;=0.95" in page
    assert "10.1177/0272989X06295361" in page


def test_what_cannot_be_decided_is_refused_before_any_work(
    write_photos: WritePhotos, tmp_path: Path
) -> None:
    folder = write_photos(tmp_path / "three", {k: range(4) for k in ("disc", "square", "stripes")})
    with pytest.raises(UsageError) as caught:
        fit(folder, at="sens>=0.9", **QUICK)
    told = "\n".join(caught.value.mistakes)
    assert "3 classes an operating point needs the class" in told
    assert "is no operating point" in told
    with pytest.raises(UsageError, match="'dog' is not one of the classes"):
        fit(folder, positive="dog", **QUICK)
