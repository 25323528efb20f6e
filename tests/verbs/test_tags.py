"""fit, evaluate, predict and doctor for tags, on small pictures with any number of shapes."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

import regraft
from regraft.data.sources import load
from regraft.errors import BundleError, UsageError
from regraft.export.bundle import read_bundle, write_bundle
from regraft.model.offered import Offered
from regraft.model.vectors import VectorModel
from regraft.verbs.export import export
from regraft.verbs.fit import fit_and_report
from regraft.verbs.fitted import Fitted

SIDE, N = 64, 90
TAGS = ("disc", "lines", "square")
QUICK: dict[str, Any] = {"backbone": "efficientnet-lite0", "size": SIDE, "engine": "torch"}
QUICK |= {"resamples": 100}


def shapes(number: int) -> tuple[Image.Image, list[str]]:
    """A picture with any number of TAGS in it; the number decides all of it."""
    rng = np.random.default_rng([7, number])
    picture = Image.fromarray(rng.integers(90, 140, (SIDE, SIDE, 3), dtype=np.uint8))
    pen, there = ImageDraw.Draw(picture), [t for t in TAGS if rng.random() < 0.45]
    for tag in there:
        x, y = (int(v) for v in rng.integers(2, 36, 2))
        colour = tuple(int(v) for v in rng.integers(0, 90, 3))
        if tag == "disc":
            pen.ellipse([x, y, x + 24, y + 24], fill=colour)
        elif tag == "square":
            pen.rectangle([x, y, x + 22, y + 22], fill=(250, 250, 250))
        else:
            for row in range(y % 7, SIDE, 7):
                pen.line([0, row, SIDE, row], fill=(200, 30, 30), width=2)
    return picture, there


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest with tags by ; of pictures, one of them unlabelled, one twice with other tags."""
    folder = tmp_path_factory.mktemp("tags")
    rows = []
    for i in range(N):
        picture, there = shapes(i)
        picture.save(folder / f"{i:03d}.png")
        rows.append((f"{i:03d}.png", ";".join(there) or ";"))
    shapes(0)[0].save(folder / "again.png")
    rows += [("again.png", "square"), ("bare.png", "")]
    shapes(1000)[0].save(folder / "bare.png")
    path = folder / "shapes.csv"
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([("file", "tags"), *rows])
    return path


@pytest.fixture(scope="module")
def found(table: Path) -> Fitted:
    return fit_and_report(table, **QUICK)


@pytest.fixture(scope="module")
def bundle(found: Fitted, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = found.model.save(tmp_path_factory.mktemp("model") / "shapes.regraft")
    return path


def test_a_fit_guesses_the_task_and_finds_tags(found: Fitted) -> None:
    record = found.report.record
    assert isinstance(found.model, VectorModel)
    assert found.model.classes == TAGS
    assert record["task"] == "tags"
    assert "';'" in record["chosen"]["task"]
    assert record["metrics"]["map_macro"]["value"] > 0.8
    assert record["leave_one_out"]["map_macro"] > 0.8
    names = {row["name"] for row in record["tried"] if row["kind"] == "baseline"}
    assert names == {"label frequencies", "raw pixels"}
    kept = next(row for row in record["tried"] if row["kept"])
    assert kept["score"]["value"] == pytest.approx(record["metrics"]["map_macro"]["value"])
    assert {row["tag"] for row in record["per_tag"]} == set(TAGS)
    assert all(0 < row["threshold"] < 1 for row in record["per_tag"])
    assert record["beside"]["none"] == sum(
        label == "[]" for label in found.data.held_out.table["label"]
    )


def test_parts_share_the_tags_and_keep_copies_together(found: Fitted) -> None:
    data = found.data
    part = dict(data.table.select("id", "split").iter_rows())
    assert part["again.png"] == part["000.png"]
    assert part["bare.png"] is None
    shares = [np.nanmean(getattr(data, name).labelled.matrix, 0) for name in ("train", "test")]
    np.testing.assert_allclose(*shares, atol=0.12)
    (conflict,) = [f for f in data.findings if f.kind == "conflicting-labels"]
    assert set(conflict.files) == {"again.png", "000.png"}


def test_the_report_shows_tags(found: Fitted) -> None:
    page, table = found.report.html(), str(found.report)
    assert "Tag by tag" in page
    assert "Where it was most wrong" in page
    assert "it knows 3 tags" in page
    assert "mean average precision" in table
    assert "label frequencies" in table


def test_a_bundle_gives_the_same_answers(found: Fitted, bundle: Path, table: Path) -> None:
    again = regraft.Model.load(bundle)
    files = sorted(map(str, table.parent.glob("0*.png")))[:6]
    seen = found.model.features(files)
    first, second = (m.answer(seen.features) for m in (found.model, again))
    np.testing.assert_array_equal(first.values, second.values)
    np.testing.assert_array_equal(again.cuts, found.model.cuts)
    alone = regraft.predict(bundle, Path(files[2]).read_bytes())[0]
    together = regraft.predict(bundle, files)
    assert alone.top == together[2].top
    assert all(dict(one.tags).keys() <= set(TAGS) for one in together)
    rows = list(csv.reader(together.to_csv().splitlines()))
    assert rows[0] == ["file", "tags", "probabilities", "unlike", "error"]
    assert rows[3][1] == ";".join(name for name, _ in together[2].tags)
    assert json.loads(together.to_json())[2]["tags"][0][0] == together[2].tags[0][0]
    assert all(len(one.tags) == 3 for one in regraft.predict(bundle, files, least=0.0))


def test_evaluate_equals_what_the_fit_has_measured(found: Fitted, bundle: Path) -> None:
    report = regraft.evaluate(bundle, found.data.held_out, resamples=100)
    assert report.metrics == found.report.metrics


def test_an_export_answers_is_evaluated_and_served_alike(
    found: Fitted, bundle: Path, tmp_path: Path
) -> None:
    proof = export(found.model, tmp_path / "out", examples=found.data, count=8)
    assert proof["examples"] == proof["same_answers"] == 8
    assert proof["largest_difference"] <= proof["limit"]
    assert proof["metric"]["name"] == "f1_micro"
    assert proof["metric"]["export"] == proof["metric"]["model"] > 0.5
    report = regraft.evaluate(tmp_path / "out", found.data.held_out, resamples=50)
    for name, one in report.metrics.items():
        assert one["value"] == pytest.approx(found.report.metrics[name]["value"], abs=1e-3), name
    data = Path(found.data.table["path"][1]).read_bytes()
    told = [
        Offered.open(path).answer([b"no picture", data], 2) for path in (bundle, tmp_path / "out")
    ]
    for broken, answer in told:
        assert "error" in broken
        assert [one["label"] for one in answer["tags"]] == [
            n for n, _ in found.model.predict(data)[0].tags
        ]
        assert len(answer["top"]) == 2


def test_thresholds_can_be_asked_for(found: Fitted, bundle: Path) -> None:
    model = found.model.at("recall>=0.95")
    judged = model.judged
    assert judged is not None
    for k in range(len(TAGS)):
        there = judged.truth[:, k] > 0
        assert (judged.probabilities[there, k] >= model.cuts[k]).mean() >= 0.95
    report = regraft.evaluate(
        bundle, found.data.held_out, at="probability>=0.999999", resamples=100
    )
    assert report.metrics["recall_micro"]["value"] < 0.2
    with pytest.raises(UsageError, match="expected a share from 0 to 1"):
        found.model.at("recall>=2")


def test_a_damaged_bundle_is_refused(bundle: Path, tmp_path: Path) -> None:
    whole = read_bundle(bundle)
    names = [name for name in ("head", "novelty", "judged")]
    told = {"model": whole.document("model"), "record": whole.document("record")}
    told["model"] |= {"cuts": [0.5, float(-1)], "judged_by": "hearsay"}
    tensors = {name: whole.tensors(name) for name in names}
    bad = tmp_path / "bad.regraft"
    write_bundle(bad, told, tensors)
    with pytest.raises(BundleError, match=r"model\.cuts.*model\.judged_by"):
        regraft.Model.load(bad)


def test_doctor_counts_tags_and_doubts(table: Path) -> None:
    found = regraft.doctor(table, backbone="efficientnet-lite0", size=SIDE, engine="torch")
    told = found.to_dict()
    assert told["task"] == "tags"
    assert sum(told["tags_each"].values()) == N + 1
    assert set(told["classes"]) == set(TAGS)
    assert {"conflicting-labels", "unlabelled"} <= {f.kind for f in found.findings}


def test_a_manifest_comes_back_as_it_was(found: Fitted, tmp_path: Path) -> None:
    path = found.data.to_manifest(tmp_path / "again.csv")
    again = load(path, root=found.data.root)
    assert again.task == "tags"
    assert again.classes == TAGS
    assert again.table["label"].to_list() == found.data.table["label"].to_list()


def test_what_has_no_use_for_tags_is_refused(table: Path) -> None:
    with pytest.raises(UsageError) as error:
        fit_and_report(table, positive="disc", loss="focal", strategy="probe", **QUICK)
    assert any("positive: has no use for tags" in one for one in error.value.mistakes)
    assert any("focal is for classes" in one for one in error.value.mistakes)
    with pytest.raises(UsageError, match="compare: is not there for tags"):
        regraft.compare(table, strategies=("probe",))


def test_training_is_judged_by_cross_entropy_and_kept_or_not(table: Path, tmp_path: Path) -> None:
    asked = {"strategy": "tune-norm", "steps": 4, "batch": 8, "loss": "binary-focal:gamma=1"}
    asked |= {"weights": "effective", "augment": "flip"}
    made = fit_and_report(table, run=tmp_path / "run", **QUICK, **asked)
    record = made.report.record
    (run,) = record["training"]
    assert run["steps"] == 4
    assert "mean binary cross-entropy" in run["chosen"]
    assert run["plan"]["loss"] == "binary-focal:gamma=1"
    row = next(row for row in record["tried"] if row["name"] == "tune-norm")
    assert "mean average precision" in row["why"]
    assert row["held_score"]["value"] > 0.5
    assert any("training, tune-norm" in key for key in record["chosen"])
    assert "Loss and mean average precision while it learned" in made.report.html()
