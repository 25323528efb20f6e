"""export: round trips through every format, with the proof; what drifts is refused and named."""

import csv
import json
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import regraft
from regraft.errors import BundleError, RegraftError, UsageError
from regraft.export.formats import FORMATS, export_format
from regraft.export.graph import Classes as Deployed
from regraft.model.exported import load_exported
from regraft.model.model import Model
from regraft.model.offered import Offered
from regraft.transfer.novelty import Novelty
from regraft.transfer.probe import fit_wide_head
from regraft.verbs import deployed
from regraft.verbs import export as exporting
from regraft.verbs.deployed import LIMIT
from regraft.verbs.export import export
from regraft.verbs.fitted import Fitted

TOPICS = ("cooking", "trains", "weather")


@pytest.fixture(scope="module")
def texts(
    save_encoder: Callable[..., Path],
    write_sentence: Callable[[str, int], str],
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Model, Path]:
    """A model of texts, and the table that it was fitted on."""
    place = tmp_path_factory.mktemp("texts")
    table = place / "questions.csv"
    rows = [(write_sentence(topic, n), topic) for n in range(20) for topic in TOPICS]
    with table.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([("text", "label"), *rows])
    network = f"folder:{save_encoder(place / 'encoder')}"
    return regraft.fit(table, backbone=network, engine="torch", resamples=100), table


@pytest.fixture(scope="module")
def pictures(fitted: Fitted, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model of `fitted` as ONNX."""
    folder = tmp_path_factory.mktemp("exports") / "onnx"
    export(fitted.model, folder, to="onnx", examples=photos, count=20)
    return folder


def same(ours: Any, theirs: Any) -> None:
    """The same answers, probabilities within the limit."""
    for one, other in zip(ours, theirs, strict=True):
        assert (one.label, one.set, one.unlike) == (other.label, other.set, other.unlike)
        assert one.error == other.error
        if one.error is None:
            assert abs(one.probability - other.probability) <= LIMIT


# --- round trips ---------------------------------------------------------------------------------


def test_pictures_go_to_onnx_and_back(fitted: Fitted, pictures: Path, photos: Path) -> None:
    proof = json.loads((pictures / "proof.json").read_text())
    assert proof["examples"] == proof["same_answers"] == 20
    assert proof["largest_difference"] <= LIMIT
    assert proof["together"] <= LIMIT
    assert proof["metric"]["model"] == proof["metric"]["export"] > 0.5
    model = Model.load(pictures)
    same(fitted.model.predict(photos), model.predict(photos))


def test_an_export_answers_from_its_zip_archive(
    fitted: Fitted, pictures: Path, photos: Path, tmp_path: Path
) -> None:
    model = Model.load(shutil.make_archive(str(tmp_path / "onnx"), "zip", pictures))
    some = sorted(photos.rglob("*.png"))[:3]
    same(fitted.model.predict(some), model.predict(some))
    data = (photos / "disc" / "001.png").read_bytes()
    same(fitted.model.predict(data), model.predict(data))
    same(fitted.model.predict(b"no picture"), model.predict(b"no picture"))


def test_an_export_is_evaluated_as_its_bundle_is(
    fitted: Fitted, pictures: Path, photos: Path
) -> None:
    ours = regraft.evaluate(fitted.model, fitted.data.test, resamples=50).record
    theirs = regraft.evaluate(pictures, fitted.data.test, resamples=50).record
    assert theirs["confusion"] == ours["confusion"]
    for name, metric in ours["metrics"].items():
        assert theirs["metrics"][name]["value"] == pytest.approx(metric["value"], abs=1e-3), name
    assert theirs["backbones"][0]["engine"] == "onnx"
    with pytest.raises(UsageError, match="heat maps"):
        regraft.evaluate(pictures, fitted.data.test, heat_maps=True)


def test_an_export_is_served(fitted: Fitted, pictures: Path, photos: Path) -> None:
    data = (photos / "disc" / "001.png").read_bytes()
    served = Offered.open(pictures)
    (found,) = served.answer([data], 2)
    assert found["label"] == fitted.model.predict(data)[0].label
    assert served.about()["networks"][0]["licence_weights"] == "Apache-2.0"


@pytest.mark.slow
def test_pictures_go_to_openvino(fitted: Fitted, photos: Path, tmp_path: Path) -> None:
    proof = export(fitted.model, tmp_path / "out", to="openvino", examples=photos, count=8)
    assert proof["largest_difference"] <= LIMIT
    assert {"graph.xml", "graph.bin"} <= set(proof["files"])
    same(
        fitted.model.predict(photos / "disc"), Model.load(tmp_path / "out").predict(photos / "disc")
    )


@pytest.mark.parametrize("to", ["onnx", "openvino"])
def test_texts_of_any_length_go_there_and_back(
    texts: tuple[Model, Path], to: str, tmp_path: Path
) -> None:
    model, table = texts
    proof = export(model, tmp_path / "out", to=to)  # the examples of the fit
    assert proof["examples"] == 60
    assert proof["largest_difference"] <= LIMIT
    loaded = Model.load(tmp_path / "out")
    for text in ("boil", "Is the rain late? " * 12):
        same(model.predict(text), loaded.predict(text))
    same(model.predict(table), loaded.predict(table))


@pytest.mark.slow
def test_texts_go_to_pytorch_which_is_not_opened_here(
    texts: tuple[Model, Path], tmp_path: Path
) -> None:
    model, _ = texts
    proof = export(model, tmp_path / "out", to="torch", count=10)
    assert proof["largest_difference"] <= LIMIT
    with pytest.raises(BundleError, match="can run code"):
        Model.load(tmp_path / "out")


@pytest.mark.slow
def test_several_networks_views_and_a_kernel_head_are_one_graph(
    fitted: Fitted, photos: Path, tmp_path: Path
) -> None:
    (one,) = fitted.model.extractors
    two = replace(one, spec=replace(one.spec.at(96), views=("centre", "whole-mirrored")))
    files = sorted(photos.rglob("*.png"))[::3]
    both = replace(fitted.model, extractors=(one, two))
    raw = both.encoded([file.read_bytes() for file in files])[0]
    labels = np.array([both.classes.index(file.parent.name) for file in files])
    widths = (*one.widths, *two.widths)
    lasts = (len(one.widths) - 1, len(widths) - 1)
    head = fit_wide_head(raw, labels, classes=3, widths=widths, lasts=lasts).head
    model = replace(both, head=head, novelty=Novelty.fit(head.even_scaling()(raw)))
    proof = export(model, tmp_path / "out", to="onnx", examples=photos, count=10)
    assert proof["largest_difference"] <= LIMIT
    told = json.loads((tmp_path / "out" / "export.json").read_text())
    assert [n["spec"]["size"] for n in told["networks"]] == [64, 96]
    same(model.predict(photos / "disc"), Model.load(tmp_path / "out").predict(photos / "disc"))


@pytest.mark.parametrize("to", ["onnx", "openvino"])
def test_two_networks_of_texts_and_a_kernel_head_are_one_graph(
    texts: tuple[Model, Path], to: str, tmp_path: Path
) -> None:
    single, table = texts
    (one,) = single.extractors
    both = replace(single, extractors=(one, replace(one, spec=one.spec.at(16))))
    with table.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    raw = both.encoded([row["text"].encode() for row in rows])[0]
    labels = np.array([both.classes.index(row["label"]) for row in rows])
    lasts = (len(one.widths) - 1, 2 * len(one.widths) - 1)
    head = fit_wide_head(raw, labels, classes=3, widths=2 * one.widths, lasts=lasts).head
    model = replace(both, head=head, novelty=Novelty.fit(head.even_scaling()(raw)))
    proof = export(model, tmp_path / "out", to=to, count=20)
    assert proof["largest_difference"] <= LIMIT
    same(model.predict(table), Model.load(tmp_path / "out").predict(table))


def test_the_example_beside_it_runs(pictures: Path, photos: Path, fitted: Fitted) -> None:
    file = photos / "stripes" / "002.png"
    command = [sys.executable, str(pictures / "example.py"), str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    name, label, probability = done.stdout.rstrip("\n").split("\t")
    (answer,) = fitted.model.predict(file)
    assert (name, label) == (str(file), answer.label)
    assert float(probability) == pytest.approx(answer.probability, abs=2e-4)


def test_a_fixed_batch_is_written_and_told(texts: tuple[Model, Path], tmp_path: Path) -> None:
    proof = export(texts[0], tmp_path / "out", to="onnx", count=5, batch=1)
    assert proof["together"] is None
    assert json.loads((tmp_path / "out" / "export.json").read_text())["batch"] == 1


def test_the_card_tells_figures_and_licences(pictures: Path) -> None:
    import yaml

    _, metadata, text = (pictures / "README.md").read_text().split("---\n", 2)
    told = yaml.safe_load(metadata)
    assert told["license"] == "apache-2.0"
    assert told["pipeline_tag"] == "image-classification"
    names = {m["type"] for m in told["model-index"][0]["results"][0]["metrics"]}
    assert "accuracy" in names
    assert "| Accuracy |" in text
    assert "Apache-2.0" in text
    assert "largest difference" in text


# --- what is refused -----------------------------------------------------------------------------


def drift(texts: tuple[Model, Path], tmp_path: Path) -> str:
    with pytest.raises(RegraftError) as caught:
        export(texts[0], tmp_path / "out", to="onnx", count=6)
    assert list(tmp_path.iterdir()) == []  # nothing is left behind
    return str(caught.value)


def test_a_conversion_that_drifts_is_named(
    texts: tuple[Model, Path], tmp_path: Path, monkeypatch: Any
) -> None:
    right = deployed._wanted

    def wrong(model: Model, batch: int) -> Any:
        found = right(model, batch)
        found.module.head.bias += 0.3 * np.arange(3)  # type: ignore[operator]
        return found

    monkeypatch.setattr(deployed, "_wanted", wrong)
    assert "the stage “conversion” drifted" in drift(texts, tmp_path)


def test_a_head_that_drifts_is_named(
    texts: tuple[Model, Path], tmp_path: Path, monkeypatch: Any
) -> None:
    right = Deployed.scores
    monkeypatch.setattr(Deployed, "scores", lambda self, x: 2 * right(self, x))
    assert "the stage “head” drifted" in drift(texts, tmp_path)


def test_a_network_that_drifts_is_named(
    texts: tuple[Model, Path], tmp_path: Path, monkeypatch: Any
) -> None:
    right = Deployed.features
    monkeypatch.setattr(Deployed, "features", lambda self, *x: 1.5 * right(self, *x))
    assert "the stage “network” drifted" in drift(texts, tmp_path)


def test_a_reading_that_drifts_is_named(
    texts: tuple[Model, Path], tmp_path: Path, monkeypatch: Any
) -> None:
    right = exporting._told

    def wrong(*given: Any) -> Any:
        told = right(*given)
        told["networks"][0]["spec"]["size"] = 8  # so texts are cut after eight tokens
        return told

    monkeypatch.setattr(exporting, "_told", wrong)
    assert "the stage “reading” drifted" in drift(texts, tmp_path)


def test_wrong_requests_are_told_together(texts: tuple[Model, Path], tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep me")
    with pytest.raises(UsageError) as caught:
        export(texts[0], tmp_path / "mine", to="tflite", count=0)
    assert len(caught.value.mistakes) == 3
    assert f"choose one of {', '.join(sorted(FORMATS))}" in str(caught.value)
    assert (tmp_path / "mine" / "notes.txt").read_text() == "keep me"


def test_without_examples_there_is_no_export(texts: tuple[Model, Path], tmp_path: Path) -> None:
    model, _ = texts
    recipe = {**model.record["recipe"], "source": "/nowhere"}
    elsewhere = replace(model, record={**model.record, "recipe": recipe})
    with pytest.raises(UsageError, match="name other examples"):
        export(elsewhere, tmp_path / "out")


def test_an_export_is_not_exported_again(pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="an export already"):
        export(pictures, tmp_path / "out")
    with pytest.raises(BundleError, match="cannot be saved"):
        Model.load(pictures).save(tmp_path / "model.regraft")


FORGERIES: dict[str, Callable[[Path], object]] = {
    "no document": lambda folder: (folder / "export.json").unlink(),
    "no JSON": lambda folder: (folder / "export.json").write_text("{"),
    "graph changed": lambda folder: (folder / "graph.onnx").write_bytes(b"x"),
    "graph missing": lambda folder: (folder / "graph.onnx").unlink(),
    "elsewhere": lambda folder: change(folder, files={"../graph.onnx": "0"}),
    "unknown format": lambda folder: change(folder, to="os.system"),
    "unsafe format": lambda folder: change(folder, to="torch"),
    "unknown task": lambda folder: change(folder, task="x"),
    "one class": lambda folder: change(folder, classes=["a"]),
    "no network": lambda folder: change(folder, networks=[]),
    "wrong type": lambda folder: change(folder, temperature="1"),
    "no files": lambda folder: change(folder, files={}),
}


def change(folder: Path, **parts: Any) -> None:
    told = json.loads((folder / "export.json").read_text()) | parts
    (folder / "export.json").write_text(json.dumps(told))


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forged_export_is_refused(pictures: Path, tmp_path: Path, name: str) -> None:
    shutil.copytree(pictures, tmp_path / "copy")
    FORGERIES[name](tmp_path / "copy")
    with pytest.raises(RegraftError):
        load_exported(tmp_path / "copy")


def test_every_format_is_a_whole_row() -> None:
    assert export_format("onnx") is FORMATS["onnx"]
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    always = {one.partition(">")[0] for one in project["dependencies"]}
    for row in FORMATS.values():
        assert row.extra in project["optional-dependencies"] or always.issuperset(row.needs)
        assert row.needs
        assert "." in row.file
