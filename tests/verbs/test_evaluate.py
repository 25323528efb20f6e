"""evaluate: the figures by another library, on whatever the examples come in."""

import base64
import csv
import io
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn import metrics

import regraft
from regraft.data.dataset import Dataset
from regraft.errors import DataError, UsageError
from regraft.evaluation.intervals import bootstrap
from regraft.evaluation.report import Report
from regraft.model.model import Model
from regraft.verbs.evaluate import evaluate
from regraft.verbs.fitted import Fitted

WritePhotos = Callable[..., Path]

QUICK: dict[str, Any] = {"resamples": 200}
NEW = {"disc": range(200, 206), "square": range(200, 204), "stripes": range(200, 205)}


@pytest.fixture(scope="module")
def unseen(write_photos: WritePhotos, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures that the model did not learn from; one of them lies in the wrong folder."""
    folder = write_photos(tmp_path_factory.mktemp("unseen") / "unseen", NEW)
    return write_photos(folder, {"square": [300]}, {"square": "stripes"})


@pytest.fixture(scope="module")
def report(fitted: Fitted, unseen: Path) -> Report:
    return evaluate(fitted.model, unseen, **QUICK)


def answers(model: Model, files: Sequence[str]) -> np.ndarray:
    """(n, c) probabilities by predict, the classes in the model's order."""
    found = regraft.predict(model, list(files), top=len(model.classes))
    return np.array([[dict(p.top)[name] for name in model.classes] for p in found])


# --- operating points ----------------------------------------------------------------------------


def test_a_point_is_chosen_on_what_was_left_out_and_obeyed_everywhere(
    fitted: Fitted, unseen: Path
) -> None:
    asked = {"at": "sensitivity>=0.9", "positive": "disc"}
    model = fitted.model.at(asked["at"], asked["positive"])
    point, judged = model.operating, model.judged
    assert point is not None
    assert judged is not None
    assert (point.chosen_on, point.n) == ("leave-one-out", len(fitted.data.learning))
    found = judged.probabilities[judged.labels == 0, 0] >= point.threshold
    assert found.mean() == point.sensitivity >= 0.9
    measured = evaluate(fitted.model, unseen, **asked, **QUICK)
    files = sorted(str(path) for path in unseen.rglob("*.png"))
    said = [p.label for p in regraft.predict(model, files)]
    truth = [Path(file).parent.name for file in files]
    p = answers(model, files)
    others = np.array(model.classes)[1:][p[:, 1:].argmax(1)]
    assert said == list(np.where(p[:, 0] >= point.threshold, "disc", others))
    assert measured.metrics["accuracy"]["value"] == metrics.accuracy_score(truth, said)
    table = metrics.confusion_matrix(truth, said, labels=model.classes)
    assert measured.record["confusion"] == table.tolist()
    assert measured.record["operating_point"] == point.to_dict()
    assert measured.record["decisions"]["positive"] == "disc"


def test_a_point_is_kept_in_the_bundle(fitted: Fitted, unseen: Path, tmp_path: Path) -> None:
    model = fitted.model.at("ppv>=0.5", "stripes")
    loaded = Model.load(model.save(tmp_path / "at.regraft"))
    assert loaded.operating == model.operating
    assert loaded.record["operating_point"] == model.operating.to_dict()  # type: ignore[union-attr]
    assert regraft.predict(loaded, unseen) == regraft.predict(model, unseen)
    again = loaded.at("ppv>=0.5", "stripes")
    assert again.operating == model.operating


def test_a_point_that_cannot_be_chosen_is_told(fitted: Fitted, unseen: Path) -> None:
    with pytest.raises(UsageError, match="3 classes an operating point needs the class"):
        evaluate(fitted.model, unseen, at="youden")
    with pytest.raises(UsageError, match="'cat' is not one of the classes"):
        evaluate(fitted.model, unseen, positive="cat")
    bare = replace(fitted.model, judged=None)
    with pytest.raises(UsageError, match="does not hold the scores"):
        evaluate(bare, unseen, at="youden", positive="disc")


# --- figures -------------------------------------------------------------------------------------


def test_the_figures_are_those_of_scikit_learn(
    fitted: Fitted, unseen: Path, report: Report
) -> None:
    files = sorted(str(path) for path in unseen.rglob("*.png"))
    labels = np.array([fitted.model.classes.index(Path(file).parent.name) for file in files])
    p = answers(fitted.model, files)
    said = p.argmax(1)
    macro: dict[str, Any] = {"average": "macro", "zero_division": 0}
    expected = {
        "accuracy": metrics.accuracy_score(labels, said),
        "balanced_accuracy": metrics.balanced_accuracy_score(labels, said),
        "precision_macro": metrics.precision_score(labels, said, **macro),
        "recall_macro": metrics.recall_score(labels, said, **macro),
        "f1_macro": metrics.f1_score(labels, said, **macro),
        "f1_weighted": metrics.f1_score(labels, said, average="weighted", zero_division=0),
        "auroc_macro": metrics.roc_auc_score(labels, p, multi_class="ovr"),
        "log_loss": metrics.log_loss(labels, p),
    }
    found = {name: report.metrics[name]["value"] for name in expected}
    assert found == pytest.approx(expected, abs=1e-12)
    assert report.record["confusion"] == metrics.confusion_matrix(labels, said).tolist()
    assert 0.5 < expected["accuracy"] < 1
    per_class = {row["class"]: row for row in report.record["per_class"]}
    recalls = metrics.recall_score(labels, said, average=None, zero_division=0)
    for name, recall in zip(fitted.model.classes, recalls, strict=True):
        assert per_class[name]["recall"] == pytest.approx(recall)
        assert per_class[name]["support"] == (labels == fitted.model.classes.index(name)).sum()


def test_coverage_and_set_size_are_those_of_the_sets_of_predict(
    fitted: Fitted, unseen: Path, report: Report
) -> None:
    found = regraft.predict(fitted.model, sorted(unseen.rglob("*.png")))
    told = report.record["conformal"]
    held = [Path(p.file).parent.name in p.set for p in found]
    assert told["coverage"]["value"] == pytest.approx(np.mean(held))
    assert told["mean_size"] == pytest.approx(np.mean([len(p.set) for p in found]))
    assert told["target"] == 0.9
    assert report.record["novelty"]["flagged"] == sum(p.unlike for p in found)
    assert report.record["novelty"]["n"] == len(found)


def test_the_same_call_gives_the_same_report(fitted: Fitted, unseen: Path, report: Report) -> None:
    again = evaluate(fitted.model, unseen, **QUICK)
    assert {**again.record, "created": ""} == {**report.record, "created": ""}
    other = evaluate(fitted.model, unseen, resamples=200, seed=1)
    assert other.metrics["log_loss"]["low"] != report.metrics["log_loss"]["low"]
    assert other.metrics["log_loss"]["value"] == report.metrics["log_loss"]["value"]


# --- whatever the examples come in ---------------------------------------------------------------


def values(report: Report) -> dict[str, float | None]:
    return {name: told["value"] for name, told in report.metrics.items()}


def manifest(folder: Path, target: Path, **columns: Callable[[str], str]) -> Path:
    """A CSV of the pictures in a folder: file, kind and further columns made from the name."""
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.png"))
    with target.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["file", "kind", *columns])
        writer.writerows(
            [name, name.split("/")[0], *(make(name) for make in columns.values())] for name in names
        )
    return target


def test_a_folder_a_manifest_a_dataset_and_a_view_give_the_same(
    fitted: Fitted, unseen: Path, report: Report, bundle: Path, tmp_path: Path
) -> None:
    listed = manifest(unseen, tmp_path / "unseen.csv")
    columns = {"path_column": "file", "label": "kind", "root": unseen}
    data = regraft.load(unseen)
    for found in (
        evaluate(bundle, str(unseen), **QUICK),
        evaluate(fitted.model, listed, **columns, **QUICK),
        evaluate(fitted.model, data, **QUICK),
        evaluate(fitted.model, data.with_table(data.table.reverse()), **QUICK),
    ):
        assert values(found) == pytest.approx(values(report), abs=1e-12)
    part = evaluate(fitted.model, data.test, **QUICK)
    assert part.record["split"]["n"] == len(data.test) < len(data)
    assert part.record["split"]["name"] == "test"


def test_the_held_out_part_is_measured_where_there_are_parts(
    fitted: Fitted, unseen: Path, report: Report, photos: Path, tmp_path: Path
) -> None:
    shutil.copytree(photos, tmp_path / "train")
    shutil.copytree(unseen, tmp_path / "test")
    assert values(evaluate(fitted.model, tmp_path, **QUICK)) == values(report)
    learned = evaluate(fitted.model, tmp_path, split="train", **QUICK)
    assert learned.record["split"]["n"] == 66


def test_classes_in_another_order_and_classes_that_are_missing(
    fitted: Fitted, unseen: Path, report: Report
) -> None:
    data = regraft.load(unseen)
    turned = replace(data, classes=data.classes[::-1])
    assert values(evaluate(fitted.model, turned, **QUICK)) == values(report)
    some = data.with_table(data.table.filter(data.table["label"] != "disc"))
    fewer = evaluate(fitted.model, replace(some, classes=("stripes", "square")), **QUICK)
    assert fewer.record["classes"] == list(fitted.model.classes)
    assert fewer.record["split"]["n"] == len(some)
    assert [row["support"] for row in fewer.record["per_class"]] == [0, 5, 5]


def test_an_unknown_class_is_named_with_those_that_are_known(
    fitted: Fitted, unseen: Path, tmp_path: Path
) -> None:
    shutil.copytree(unseen, tmp_path / "more")
    shutil.copytree(unseen / "disc", tmp_path / "more" / "hexagon")
    with pytest.raises(UsageError, match=r"'hexagon'.* knows 'disc', 'square', 'stripes'"):
        evaluate(fitted.model, tmp_path / "more", **QUICK)


def test_files_that_cannot_be_read_are_told_and_not_measured(
    fitted: Fitted, unseen: Path, report: Report, tmp_path: Path
) -> None:
    shutil.copytree(unseen, tmp_path / "with")
    (tmp_path / "with" / "disc" / "bad.png").write_bytes(b"no picture")
    found = evaluate(fitted.model, tmp_path / "with", **QUICK)
    assert values(found) == values(report)
    assert [row["file"] for row in found.record["left_out"]] == ["disc/bad.png"]
    assert found.record["left_out"][0]["reason"]


# --- what was learned from -----------------------------------------------------------------------


def test_what_was_learned_from_is_not_measured(fitted: Fitted, photos: Path) -> None:
    found = evaluate(fitted.model, photos, **QUICK)
    assert found.record["split"]["n"] == len(fitted.data.held_out)
    assert values(found) == pytest.approx(values(fitted.report), abs=1e-12)
    (told,) = (f for f in found.record["findings"] if f["kind"] == "learned-from")
    assert set(told["files"]) == set(fitted.data.learning.table["id"])


def test_where_all_was_learned_from_there_is_nothing_to_measure(
    fitted: Fitted, photos: Path, tmp_path: Path
) -> None:
    for name in fitted.data.learning.table["id"]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(photos / name, tmp_path / name)
    with pytest.raises(DataError, match="learned from every one of these"):
        evaluate(fitted.model, tmp_path, **QUICK)


# --- groups --------------------------------------------------------------------------------------


def test_groups_are_drawn_together(fitted: Fitted, unseen: Path, tmp_path: Path) -> None:
    lot = lambda name: name.split("/")[1][:2]  # by the first digits: two lots
    listed = manifest(unseen, tmp_path / "lots.csv", lot=lambda name: f"{lot(name)}{name[0]}")
    columns = {"path_column": "file", "label": "kind", "root": unseen}
    grouped = evaluate(fitted.model, listed, group="lot", **columns, **QUICK)
    alone = evaluate(fitted.model, listed, **columns, **QUICK)
    data = regraft.load(listed, group="lot", **columns)
    p = answers(fitted.model, data.table["path"].to_list())
    groups = np.unique(data.table["group"].to_list(), return_inverse=True)[1]
    expected = bootstrap(data.targets, p, groups=groups, resamples=200, seed=0)
    for name in ("accuracy", "log_loss", "f1_macro"):
        assert grouped.metrics[name] == pytest.approx(expected[name].to_dict(), abs=1e-12)
    assert grouped.metrics["log_loss"]["low"] != alone.metrics["log_loss"]["low"]
    assert values(grouped) == values(alone)


# --- pictures and pages --------------------------------------------------------------------------


def test_mistakes_are_shown_the_most_confident_first(report: Report, unseen: Path) -> None:
    mistakes = report.record["mistakes"]
    assert "square/300.png" in {told["file"] for told in mistakes}
    sure = [told["probability"] for told in mistakes]
    assert sure == sorted(sure, reverse=True)
    for told in mistakes:
        kind, _, data = told["thumbnail"].partition(",")
        assert kind == "data:image/jpeg;base64"
        with Image.open(io.BytesIO(base64.b64decode(data))) as picture:
            assert max(picture.size) <= 160
        assert told["label"] != told["predicted"] == told["top"][0][0]
        assert (unseen / told["file"]).is_file()


def test_the_record_is_plain_and_its_page_complete(
    report: Report, fitted: Fitted, tmp_path: Path
) -> None:
    assert json.loads(report.json()) == report.record
    for name in ("report.html", "report.json"):
        report.save(tmp_path / name)
    page = (tmp_path / "report.html").read_text().replace("<wbr>", "")
    assert "<script" not in page
    for word in (*fitted.model.classes, "square/300.png", "efficientnet-lite0"):
        assert word in page
    assert report.record["backbones"][0]["engine"] == "openvino"
    assert report.record["recipe"] == fitted.model.record["recipe"]


# --- what cannot be measured ---------------------------------------------------------------------


def test_without_labels_there_is_nothing_to_measure(fitted: Fitted, unseen: Path) -> None:
    for data in (sorted((unseen / "disc").iterdir()), unseen / "disc"):
        with pytest.raises(DataError, match="no example has a label"):
            evaluate(fitted.model, data, **QUICK)


def test_a_part_that_is_none_or_empty_is_told(fitted: Fitted, unseen: Path) -> None:
    data: Dataset = regraft.load(unseen)
    with pytest.raises(UsageError, match="split: 'tset' is not one of train, validation, test"):
        evaluate(fitted.model, data, split="tset", **QUICK)
    bare = data.with_table(data.table.filter(data.table["split"] != "test"))
    with pytest.raises(DataError, match="nothing to measure on"):
        evaluate(fitted.model, bare, split="test", **QUICK)


def test_where_no_file_can_be_read_there_is_nothing_to_measure(
    fitted: Fitted, tmp_path: Path
) -> None:
    (tmp_path / "disc").mkdir()
    (tmp_path / "disc" / "bad.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match="no file can be read"):
        evaluate(fitted.model, tmp_path, **QUICK)
