"""Boxes on the command line: fit, evaluate, predict, doctor in the forms that users have."""

import json
from pathlib import Path
from typing import Any

import pytest

from regraft.data.boxes.composed import SHAPES, compose
from regraft.data.boxes.writing import coco_document


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli-boxes") / "shapes"
    boxes = compose(folder, 24, 1)
    (folder / "annotations.json").write_bytes(coco_document(boxes, SHAPES))
    return folder


@pytest.fixture(scope="module")
def fitted_boxes(shell: Any, shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    out = tmp_path_factory.mktemp("out") / "out"
    network = ("--backbone", "efficientnet-lite0", "--size", "96", "--steps", "4", "--batch", "4")
    done = shell.invoke("fit", shapes, *network, "--out", out, "--json")
    assert done.exit_code == 0, done.stdout + done.stderr
    return out, shell.document(done)


def test_fit_writes_the_bundle_and_tells_the_figures(fitted_boxes: Any) -> None:
    out, document = fitted_boxes
    assert {"map", "map50"} <= set(document["metrics"])
    assert set(document["metrics"]["map"]) == {"value", "low", "high"}
    assert {p.name for p in out.iterdir()} >= {"model.regraft", "report.html", "report.json"}
    assert "gallery" in json.loads((out / "report.json").read_text())
    assert "backbone" in (out / "recipe.toml").read_text()


def test_evaluate_tells_a_table_or_a_document(shell: Any, shapes: Path, fitted_boxes: Any) -> None:
    model = fitted_boxes[0] / "model.regraft"
    done = shell.invoke("evaluate", model, shapes)
    assert done.exit_code == 0, done.stderr
    assert "mAP50" in done.stdout
    document = shell.document(shell.invoke("evaluate", model, shapes, "--json"))
    assert document["split"]["n"] == 24


def test_predict_in_every_form(shell: Any, shapes: Path, fitted_boxes: Any, tmp_path: Path) -> None:
    model, folder = fitted_boxes[0] / "model.regraft", shapes / "images"
    drawn = tmp_path / "drawn"
    done = shell.invoke("predict", model, folder, "--least", "0.01", "--draw", drawn)
    assert done.exit_code == 0, done.stderr
    assert len(list(drawn.glob("*.jpg"))) == 24
    one = folder / "0001.png"
    answer = shell.document(shell.invoke("predict", model, one, "--json"))["predictions"][0]
    assert (answer["width"], answer["height"]) == (128, 96)
    for ending, begin in {"csv": "path,label,x1", "jsonl": "{", "json": "{"}.items():
        target = tmp_path / f"answers.{ending}"
        assert shell.invoke("predict", model, folder, "--output", target).exit_code == 0
        assert target.read_text().startswith(begin)
    coco = json.loads((tmp_path / "answers.json").read_text())
    assert len(coco["images"]) == 24
    lost = shell.invoke("predict", model, tmp_path / "gone.png", "--json")
    assert lost.exit_code == 1


def test_moments_of_a_video_are_drawn(
    shell: Any, shapes: Path, fitted_boxes: Any, tmp_path: Path
) -> None:
    import av
    from PIL import Image

    model, clip = fitted_boxes[0] / "model.regraft", tmp_path / "clip.mkv"
    with av.open(str(clip), "w") as container:
        stream = container.add_stream("ffv1", rate=2)
        stream.width, stream.height, stream.pix_fmt = 128, 96, "bgr0"
        for name in sorted((shapes / "images").glob("*.png"))[:4]:
            picture = Image.open(name).convert("RGB")
            container.mux(stream.encode(av.VideoFrame.from_image(picture)))
        container.mux(stream.encode())
    drawn, target = tmp_path / "drawn", tmp_path / "found.json"
    words = ("--every", 0.5, "--least", 0.01, "--draw", drawn, "--output", target)
    done = shell.invoke("predict", model, clip, *words)
    assert done.exit_code == 0, done.stderr
    assert {path.name for path in drawn.iterdir()} == {
        f"clip-{t}s.jpg" for t in ("0", "0.5", "1", "1.5")
    }
    images = json.loads(target.read_text())["images"]
    assert [one["file_name"] for one in images] == [f"{clip}#t={t}" for t in (0, 0.5, 1, 1.5)]
    assert {(one["width"], one["height"]) for one in images} == {(128, 96)}


def test_what_is_not_for_boxes_is_refused(shell: Any, shapes: Path, fitted_boxes: Any) -> None:
    model = fitted_boxes[0] / "model.regraft"
    done = shell.invoke("predict", model, shapes / "images", "--top", "3", "--json")
    assert done.exit_code == 2
    assert "--top" in shell.error(done)["messages"][0]
    done = shell.invoke("fit", shapes, "--views", "centre", "--json")
    assert done.exit_code == 2
    assert "views" in shell.error(done)["messages"][0]


def test_doctor_tells_and_writes(shell: Any, shapes: Path, tmp_path: Path) -> None:
    target, page = tmp_path / "clean.json", tmp_path / "page.html"
    done = shell.invoke("doctor", shapes, "--manifest", target, "--report", page, "--json")
    assert done.exit_code == 0, done.stderr
    document = shell.document(done)
    assert document["boxes"]["objects"] == sum(document["classes"].values())
    assert json.loads(target.read_text())["categories"]
    assert "<html" in page.read_text()
