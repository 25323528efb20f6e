"""fit, evaluate, predict and doctor on boxes, on a composed set at the smallest size."""

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import regraft
from regraft.data.boxes.composed import SHAPES, compose
from regraft.data.boxes.form import Boxes
from regraft.data.boxes.writing import coco_document
from regraft.data.sources import load
from regraft.errors import BundleError, DataError, UsageError
from regraft.evaluation.detection_calibration import ScoreLine
from regraft.export.bundle import read_bundle, write_bundle
from regraft.model.detecting import DetectionModel
from regraft.model.offered import Offered
from regraft.verbs.detection.export import deployment
from regraft.verbs.detection.prepare import HELD_FROM, divided, held_back, look, rarest
from regraft.verbs.export import export
from regraft.verbs.fit import fit_and_report
from regraft.verbs.fitted import Fitted

QUICK: dict[str, Any] = {"backbone": "efficientnet-lite0", "size": 96, "steps": 6, "batch": 4}
QUICK |= {"resamples": 100}


def shapes_in(folder: Path, pictures: int, seed: int = 0) -> Path:
    boxes = compose(folder, pictures, seed)
    (folder / "annotations.json").write_bytes(coco_document(boxes, SHAPES))
    return folder


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shapes_in(tmp_path_factory.mktemp("boxes") / "shapes", 60)


@pytest.fixture(scope="module")
def found(shapes: Path) -> Fitted:
    return fit_and_report(shapes, **QUICK)


@pytest.fixture(scope="module")
def detector(found: Fitted, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = found.model.save(tmp_path_factory.mktemp("model") / "shapes.regraft")
    return path


def test_a_fit_gives_a_model_and_an_honest_report(found: Fitted, shapes: Path) -> None:
    record = found.report.record
    assert isinstance(found.model, DetectionModel)
    assert record["task"] == "detection"
    assert set(record["metrics"]) >= {"map", "map50", "map75", "map_small", "ar100"}
    assert record["split"]["source"] == "made"
    assert record["split"]["n"] == len(found.data.held_out)
    assert {row["class"] for row in record["boxes_per_class"]} == set(SHAPES)
    assert record["box_training"][0]["steps"] == QUICK["steps"]
    assert "average precision" in str(found.report)
    assert "Predictions over the truth" in found.report.html()


def test_a_bundle_gives_the_same_answers(found: Fitted, detector: Path, shapes: Path) -> None:
    again = regraft.Model.load(detector)
    files = sorted(map(str, (shapes / "images").iterdir()))[:5]
    for one, other in zip(found.model.detect(files), again.detect(files), strict=True):
        assert one.found is not None
        assert other.found is not None
        np.testing.assert_array_equal(one.found.boxes, other.found.boxes)
        np.testing.assert_array_equal(one.found.scores, other.found.scores)
    assert again.thresholds.tolist() == found.model.thresholds.tolist()


def test_evaluate_equals_what_the_fit_has_measured(found: Fitted, detector: Path) -> None:
    report = regraft.evaluate(detector, found.data.held_out, resamples=100)
    assert report.metrics == found.report.metrics


def test_predict_answers_in_pixels_of_the_picture(detector: Path, shapes: Path) -> None:
    (answer,) = regraft.predict(detector, str(shapes / "images/0001.png"), least=0.0)
    assert (answer.width, answer.height) == (128, 96)
    assert answer.objects
    assert all(0 <= o.box[0] < o.box[2] <= 128 for o in answer.objects)
    data = (shapes / "images/0001.png").read_bytes()
    (same,) = regraft.predict(detector, data, least=0.0)
    assert same.objects == answer.objects
    assert not regraft.predict(detector, str(shapes / "images/0001.png"), least=1.0)[0].objects


def test_an_export_finds_the_same_objects(
    found: Fitted, detector: Path, shapes: Path, tmp_path: Path
) -> None:
    proof = export(detector, tmp_path / "out", examples=found.data.held_out, count=4)
    assert proof["examples"] == proof["same_answers"] == 4
    assert proof["largest_difference"] <= proof["limit"]
    assert proof["together"] <= proof["limit"]
    assert proof["metric"]["name"] == "map_of_answers"
    data = (shapes / "images/0001.png").read_bytes()
    (own,) = found.model.predict(data, least=0.02)
    (other,) = regraft.predict(tmp_path / "out", data, least=0.02)
    assert [o.label for o in other.objects] == [o.label for o in own.objects]
    for one, two in zip(own.objects, other.objects, strict=True):
        np.testing.assert_allclose(two.box, one.box, atol=0.05)
    report = regraft.evaluate(tmp_path / "out", found.data.held_out, resamples=50)
    for name, one in report.metrics.items():
        assert one["value"] == pytest.approx(found.report.metrics[name]["value"], abs=1e-3), name
    for path in (detector, tmp_path / "out"):
        answer, broken = Offered.open(path).answer([data, b"no picture"], 5)
        assert (answer["width"], answer["height"]) == (own.width, own.height)
        assert "error" in broken
    told = json.loads((tmp_path / "out/export.json").read_text())
    (tmp_path / "out/export.json").write_text(json.dumps({**told, "line": [1.5, 1.0], "tiles": 2}))
    tiled = replace(found.model, line=ScoreLine(1.5, 1.0), tiles=2)
    assert len(deployment().own(tiled, data).outputs) == 5
    pairs = [regraft.predict(one, data, least=0.02)[0] for one in (tiled, tmp_path / "out")]
    for one, two in zip(*(each.objects for each in pairs), strict=True):
        np.testing.assert_allclose([*two.box, two.score], [*one.box, one.score], atol=0.05)
    assert pairs[0].objects != own.objects
    told["thresholds"] = [0.5]
    (tmp_path / "out/export.json").write_text(json.dumps(told))
    with pytest.raises(BundleError, match="thresholds"):
        regraft.Model.load(tmp_path / "out")


def test_a_forged_bundle_is_refused(detector: Path, tmp_path: Path) -> None:
    bundle = read_bundle(detector)
    told, tensors = bundle.document("model"), bundle.tensors("network")
    first = next(name for name in tensors if name.endswith("cls_logits.weight"))
    forged = [
        (told | {"classes": ["a"]}, tensors),
        (told | {"thresholds": ["x"]}, tensors),
        (told | {"width": 10**6}, tensors),
        (told | {"strides": [1, 2, 3]}, tensors),
        (told | {"row": {**told["row"], "architecture": "os.system"}}, tensors),
        (told, {first: tensors[first]}),
        (told, {**tensors, first: np.full_like(tensors[first], np.nan)}),
    ]
    for number, (model, network) in enumerate(forged):
        path = tmp_path / f"{number}.regraft"
        documents = {"model": model, "record": bundle.document("record")}
        write_bundle(path, documents, {"network": network})
        with pytest.raises(BundleError):
            regraft.Model.load(path)


@pytest.mark.slow
def test_a_run_that_is_cut_off_goes_on_to_the_same_weights(
    shapes: Path, cut_off_at: Callable[[int], AbstractContextManager[None]], tmp_path: Path
) -> None:
    whole = fit_and_report(shapes, run=tmp_path / "whole", **QUICK)
    with cut_off_at(4):
        fit_and_report(shapes, run=tmp_path / "cut", **QUICK)
    again = fit_and_report(shapes, run=tmp_path / "cut", resume=True, **QUICK)
    for name, tensor in whole.model.network.state_dict().items():
        np.testing.assert_array_equal(tensor, again.model.network.state_dict()[name])


def test_settings_without_a_use_are_refused_together(shapes: Path) -> None:
    wrong = {"views": "centre", "weights": "balanced", "size": 100, "loss": "focal", "norm": "x"}
    with pytest.raises(UsageError) as told:
        fit_and_report(shapes, backbone="vit-tiny", augment="cutout", **wrong)
    words = " ".join(told.value.mistakes)
    assert all(f"{name}:" in words for name in (*wrong, "backbone", "augment"))


def test_sets_that_teach_nothing_are_told(tmp_path: Path) -> None:
    source = shapes_in(tmp_path / "few", 3)
    document = json.loads((source / "annotations.json").read_text())
    document["annotations"] = []
    (source / "annotations.json").write_text(json.dumps(document))
    with pytest.raises(UsageError, match="hold no box"):
        fit_and_report(source, **QUICK)
    with pytest.raises(DataError, match="nothing is left to measure on"):
        fit_and_report(shapes_in(tmp_path / "one", 1, 1), **QUICK)


def test_a_model_of_boxes_wants_boxes(detector: Path, photos: Path, shapes: Path) -> None:
    with pytest.raises(UsageError, match="classification"):
        regraft.evaluate(detector, photos)
    with pytest.raises(UsageError, match="heat_maps"):
        regraft.evaluate(detector, shapes, heat_maps=True)


def test_parts_are_stratified_and_copies_stay_together(shapes: Path) -> None:
    from regraft.backbones.store import Store

    with_copies = load(shapes)
    looked = look(with_copies, Store(), None)
    data = divided(looked, (0.6, 0.2, 0.2), 0)
    assert data.split_source == "made"
    assert data.table["label"].null_count() == len(data)
    assert sum(map(len, (data.train, data.validation, data.test))) == 60
    for part in (data.train, data.validation, data.test):
        assert len(set(rarest(part))) >= 3
    train, held = held_back(data.learning, (), 0)
    assert len(held) >= 5
    assert not set(train) & set(held)
    few = data.learning.with_table(data.learning.table[: HELD_FROM - 1])
    assert not len(held_back(few, (), 0)[1])
    twins = [tuple(data.learning.table["id"].to_list())]
    assert len(held_back(data.learning, twins, 0)[0]) in (0, len(data.learning))


def test_load_looks_and_splits(shapes: Path) -> None:
    data = regraft.load(shapes)
    assert data.split_source == "made"
    assert data.table["sha256"].null_count() == 0
    assert len(data.train) + len(data.validation) + len(data.test) == len(data.boxes) == 60


def test_doctor_names_what_is_odd(tmp_path: Path) -> None:
    source = shapes_in(tmp_path / "odd", 14, 5)
    document = json.loads((source / "annotations.json").read_text())
    one = document["annotations"][0]
    images = {image["id"]: image["file_name"] for image in document["images"]}
    name = images[one["image_id"]]
    copy = {"id": 900, "file_name": "images/copy.png", "width": 128, "height": 96}
    (source / "images/copy.png").write_bytes((source / name).read_bytes())
    document["images"].append(copy)
    document["annotations"] += [
        {**one, "id": 901, "bbox": [0, 0, 128, 96]},
        {**one, "id": 902, "bbox": [5, 5, 1, 1]},
        {**one, "id": 903, "bbox": [b + 0.2 for b in one["bbox"]]},
        {**one, "id": 904, "bbox": [-50, 0, 60, 30]},
    ]
    (source / "annotations.json").write_text(json.dumps(document))
    found = regraft.doctor(source)
    kinds = {finding.kind: finding for finding in found.findings}
    assert {"huge-box", "tiny-box", "box-marked-twice", "box-partly-outside"} <= set(kinds)
    assert {"exact-duplicate", "unlabelled-look-alike", "empty-picture"} <= set(kinds)
    assert set(kinds["unlabelled-look-alike"].files) == {name, "images/copy.png"}
    assert found.to_dict()["boxes"]["objects"] == sum(map(len, found.dataset.boxes.values()))
    assert "huge" in found.page()
    back = load(found.write_manifest(tmp_path / "clean.json"), root=source)
    assert 0 < len(back) < len(found.dataset)


def test_tiles_are_kept_asked_for_and_advised(detector: Path, shapes: Path, found: Fitted) -> None:
    from regraft.verbs.detection.start import tiles_for

    picture = str(shapes / "images/0001.png")
    model = regraft.Model.load(detector)
    (one,) = regraft.predict(model, picture, least=0.0)
    (parts,) = regraft.predict(model, picture, least=0.0, tiles=2)
    assert parts.objects != one.objects
    assert all(0 <= o.box[0] < o.box[2] <= 128.001 for o in parts.objects)
    report = regraft.evaluate(model, found.data.held_out, resamples=100, tiles=2)
    assert report.metrics["map"] != found.report.metrics["map"]
    with pytest.raises(UsageError, match="tiles: expected"):
        regraft.predict(model, picture, tiles=0)
    tiny = [Boxes.of([[10, 10, 22, 22]] * 3, [0] * 3, (6000, 4000))]
    assert tiles_for(tiny, 1280)[0] == 5
    assert tiles_for(tiny, 6016)[0] == 1


def test_a_preview_shows_the_boxes(shapes: Path, tmp_path: Path) -> None:
    out = tmp_path / "preview.png"
    settings = {"out": out, "examples": 2, "views": 3, "size": 128}
    made = regraft.preview(shapes, "flip,scale,mosaic=1", **settings)
    assert str(made.augmentations) == "flip=0.5,scale=0.5,mosaic=1"
    assert len(made.examples) == 2
    green = np.array([0x1A, 0x98, 0x50])
    assert (np.asarray(Image.open(out).convert("RGB")) == green).all(2).sum() > 100
    with pytest.raises(UsageError) as told:
        regraft.preview(shapes, "cutout", out=tmp_path / "a.jpg", examples=0, label="x", size=5)
    assert len(told.value.mistakes) == 5


def test_ways_are_compared_on_one_split(shapes: Path, tmp_path: Path) -> None:
    found = regraft.compare(shapes, strategies=("scratch", "transfer"), **QUICK | {"steps": 2})
    record = found.record
    assert record["figure"] == "map"
    assert [row["name"] for row in record["strategies"]] == ["scratch", "transfer"]
    assert record["n"] > 4
    assert all(0 <= row["score"]["value"] <= 1 and row["curve"] for row in record["strategies"])
    page = found.save(tmp_path / "compare.html").read_text()
    assert "mean average precision" in page
    assert "Accuracy" not in page
    assert "the probe" not in page.lower()
    with pytest.raises(UsageError) as told:
        regraft.compare(shapes, strategies=("probe", "copy"), labels=(3,), seeds=(), log="x")
    assert len(told.value.mistakes) >= 4


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_detector_learns_shapes(tmp_path: Path) -> None:
    source = shapes_in(tmp_path / "many", 120, 2)
    settings = {**QUICK, "size": 128, "steps": 120, "batch": 8}
    found = fit_and_report(source, **settings)
    assert found.report.metrics["map50"]["value"] > 0.8
    picture = Image.open(source / "images/0000.png")
    assert regraft.predict(found.model, picture)[0].error is None
