"""Boxes from files: every format, every fault by file and row, nothing outside the folder."""

import csv
import json
import math
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from regraft.data.boxes.checks import BOX_KINDS
from regraft.data.boxes.composed import SHAPES, compose
from regraft.data.boxes.voc import parsed
from regraft.data.boxes.writing import coco_document
from regraft.data.dataset import Dataset
from regraft.data.sources import load, task_of
from regraft.errors import DataError, RegraftError, UsageError

SIZE = (64, 48)


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("boxes") / "shapes"
    boxes = compose(folder, 12, 3)
    (folder / "annotations.json").write_bytes(coco_document(boxes, SHAPES))
    return folder


def picture(path: Path, size: tuple[int, int] = SIZE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (90, 120, 150)).save(path)
    return path


def coco(folder: Path, boxes: list[Any], **image: Any) -> Path:
    picture(folder / "a.png")
    told = {"id": 1, "file_name": "a.png", "width": SIZE[0], "height": SIZE[1], **image}
    annotations = [
        {"id": i, "image_id": 1, "category_id": 1, "bbox": box, "iscrowd": 0}
        if not isinstance(box, dict)
        else box
        for i, box in enumerate(boxes, 1)
    ]
    document = {"images": [told], "annotations": annotations}
    document["categories"] = [{"id": 1, "name": "cell"}]
    path = folder / "boxes.json"
    path.write_text(json.dumps(document))
    return path


def voc(folder: Path, inner: str, head: str = "") -> Path:
    picture(folder / "JPEGImages" / "a.png")
    (folder / "Annotations").mkdir(exist_ok=True)
    text = f"{head}<annotation><filename>a.png</filename>{inner}</annotation>"
    (folder / "Annotations" / "a.xml").write_text(text)
    return folder


def voc_object(name: str, *corners: object, more: str = "") -> str:
    keys = ("xmin", "ymin", "xmax", "ymax")
    box = "".join(f"<{k}>{v}</{k}>" for k, v in zip(keys, corners, strict=True))
    return f"<object><name>{name}</name>{more}<bndbox>{box}</bndbox></object>"


def yolo(folder: Path, lines: str, names: str = "cell\nwall\n") -> Path:
    picture(folder / "images" / "a.png")
    (folder / "labels").mkdir(exist_ok=True)
    (folder / "labels" / "a.txt").write_text(lines)
    (folder / "classes.txt").write_text(names)
    return folder


def table(folder: Path, rows: list[Any]) -> Path:
    picture(folder / "a.png")
    path = folder / "boxes.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([("path", "label", "x1", "y1", "x2", "y2"), *rows])
    return path


def kinds(data: Dataset) -> list[str]:
    return [finding.kind for finding in data.findings]


# Formats -----------------------------------------------------------------------------------------


def test_each_format_gives_the_same_boxes(tmp_path: Path) -> None:
    sources = [
        coco(tmp_path / "coco", [[10, 5, 20, 30]]),
        voc(tmp_path / "voc", voc_object("cell", 10, 5, 30, 35)),
        yolo(tmp_path / "yolo", f"0 {20 / 64} {20 / 48} {20 / 64} {30 / 48}\n"),
        table(tmp_path / "table", [("a.png", "cell", 10, 5, 30, 35)]),
    ]
    for source in sources:
        data = load(source)
        (boxes,) = data.boxes.values()
        assert data.task == task_of(str(source)) == "detection"
        assert data.classes == ("cell",)
        assert boxes.size == SIZE
        np.testing.assert_allclose(boxes.xyxy, [[10, 5, 30, 35]], atol=1e-9)


@pytest.mark.parametrize(
    ("form", "name"), [("coco", "a.json"), ("csv", "a.csv"), ("voc", "out"), ("yolo", "out")]
)
def test_what_is_written_is_read_back(shapes: Path, tmp_path: Path, form: str, name: str) -> None:
    data = load(shapes)
    path = data.to_annotations(tmp_path / name, form)
    back = load(path, **({"root": shapes} if path.suffix else {}))
    own = sorted(data.boxes.items())
    others = sorted(back.boxes.items(), key=lambda item: item[0].rpartition("/")[2])
    assert back.classes == data.classes
    for (_, a), (_, b) in zip(own, others, strict=True):
        np.testing.assert_allclose(a.xyxy, b.xyxy, atol=1e-6)
        assert a.labels.tolist() == b.labels.tolist()
        assert a.size == b.size


def test_parts_come_from_the_files(tmp_path: Path, shapes: Path) -> None:
    voc(tmp_path / "voc", voc_object("cell", 1, 1, 9, 9))
    picture(tmp_path / "voc/JPEGImages/b.png")
    text = "<annotation><filename>b.png</filename></annotation>"
    (tmp_path / "voc/Annotations/b.xml").write_text(text)
    for part, name in {"train": "a", "val": "b"}.items():
        place = tmp_path / "voc/ImageSets/Main" / f"{part}.txt"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(f"{name}\n")
    data = load(tmp_path / "voc")
    assert data.split_source == "given"
    assert data.train.table["id"].to_list() == ["JPEGImages/a.png"]
    assert data.held_out.table["id"].to_list() == ["JPEGImages/b.png"]
    parts = ["train" if i % 3 else "validation" for i in range(12)]
    whole = load(shapes)
    whole = whole.with_table(whole.table.with_columns(split=pl.Series(parts)))
    for form, name in (("yolo", "yolo"), ("voc", "voc2"), ("csv", "b.csv")):
        back = load(
            whole.to_annotations(tmp_path / name, form),
            **({"root": shapes} if form == "csv" else {}),
        )
        assert (len(back.train), len(back.validation)) == (8, 4)
    folder = tmp_path / "cocos" / "annotations"
    folder.mkdir(parents=True)
    whole.to_annotations(folder / "instances.json", "coco")
    for boxes_file in folder.iterdir():
        document = json.loads(boxes_file.read_text())
        for image in document["images"]:
            place = tmp_path / "cocos" / image["file_name"]
            place.parent.mkdir(exist_ok=True)
            place.write_bytes((shapes / image["file_name"]).read_bytes())
    back = load(tmp_path / "cocos")
    assert (len(back.train), len(back.validation)) == (8, 4)


def test_crowds_difficult_and_empty_pictures_are_kept_as_such(tmp_path: Path) -> None:
    crowd = {"id": 7, "image_id": 1, "category_id": 1, "bbox": [1, 1, 5, 5], "iscrowd": 1}
    (boxes,) = load(coco(tmp_path / "coco", [crowd, [9, 9, 5, 5]])).boxes.values()
    assert boxes.crowd.tolist() == [True, False]
    more = "<difficult>1</difficult>"
    (boxes,) = load(voc(tmp_path / "v", voc_object("cell", 1, 1, 9, 9, more=more))).boxes.values()
    assert boxes.difficult.tolist() == boxes.ignored.tolist() == [True]
    (boxes,) = load(coco(tmp_path / "empty", [])).boxes.values()
    assert len(boxes) == 0


def test_a_picture_without_a_yolo_file_is_not_taken_for_empty(tmp_path: Path) -> None:
    source = yolo(tmp_path, "")
    picture(tmp_path / "images" / "b.png")
    data = load(source)
    assert set(data.boxes) == {"images/a.png"}
    assert "unannotated" in kinds(data)
    assert len(data.labelled) == 1


def test_classes_of_pictures_are_still_classes(photos: Path) -> None:
    assert task_of(str(photos)) == "classification"
    with pytest.raises(UsageError, match="repair"):
        load(photos, repair=True)


# Faults ------------------------------------------------------------------------------------------

FAULTS: dict[str, tuple[Any, ...]] = {
    "box-not-a-number": (math.nan, 1, 9, 9),
    "box-swapped": (30, 5, 10, 35),
    "box-empty": (10, 5, 10, 35),
    "box-outside": (100, 5, 120, 35),
    "box-partly-outside": (40, 5, 90, 35),
}
MENDED = {"box-swapped": [10, 5, 30, 35], "box-partly-outside": [40, 5, 64, 35]}
WRITERS: dict[str, Callable[[Path, Any], Path]] = {
    "csv": lambda folder, c: table(folder, [("a.png", "cell", *c), ("a.png", "cell", 1, 1, 9, 9)]),
    "voc": lambda folder, c: voc(folder, voc_object("cell", *c) + voc_object("cell", 1, 1, 9, 9)),
    "coco": lambda folder, c: coco(folder, [[c[0], c[1], c[2] - c[0], c[3] - c[1]], [1, 1, 8, 8]]),
    "yolo": lambda folder, c: yolo(
        folder,
        f"0 {(c[0] + c[2]) / 128} {(c[1] + c[3]) / 96} {(c[2] - c[0]) / 64} {(c[3] - c[1]) / 48}\n"
        f"0 {5 / 64} {5 / 48} {8 / 64} {8 / 48}\n",
    ),
}


@pytest.mark.parametrize("form", WRITERS)
@pytest.mark.parametrize("kind", FAULTS)
def test_a_fault_is_named_by_file_and_row_and_left_out(
    tmp_path: Path, form: str, kind: str
) -> None:
    source = WRITERS[form](tmp_path, FAULTS[kind])
    data = load(source)
    (finding,) = (f for f in data.findings if f.kind in BOX_KINDS)
    (name,) = data.boxes
    rows = {"csv": "row 2", "voc": "object 1", "coco": "annotation 1 (id 1)", "yolo": "line 1"}
    files = {"csv": "boxes.csv", "voc": "Annotations/a.xml", "coco": "boxes.json"}
    assert finding.kind == kind
    assert finding.files == (name,)
    assert finding.reason.startswith(f"{files.get(form, 'labels/a.txt')}: {rows[form]}: ")
    assert finding.reason.endswith("left out")
    np.testing.assert_allclose(data.boxes[name].xyxy, [[1, 1, 9, 9]], atol=1e-9)
    mended = load(source, repair=True)
    first = mended.boxes[name].xyxy[:-1]
    np.testing.assert_allclose(first, [MENDED[kind]] if kind in MENDED else np.zeros((0, 4)))
    assert kinds(mended) == kinds(data)


def test_unknown_classes_twins_and_broken_lines_are_named(tmp_path: Path) -> None:
    data = load(
        yolo(tmp_path, "7 .5 .5 .1 .1\n0 .5 .5 .1 .1\n0 .5 .5 .1 .1\n0 .5\n-1 .5 .5 .1 .1\n")
    )
    assert len(data.boxes["images/a.png"]) == 1
    told = {f.kind: f.reason for f in data.findings}
    assert told["box-twice"].startswith("labels/a.txt: line 3")
    assert told["box-not-a-number"].startswith("labels/a.txt: line 4")
    reason = next(f.reason for f in data.findings if f.kind == "box-class-unknown")
    assert reason.startswith("labels/a.txt: line 1: class number '7'")


def test_coco_references_and_ids_are_checked(tmp_path: Path) -> None:
    good = {"id": 3, "image_id": 1, "category_id": 1, "bbox": [1, 1, 8, 8]}
    odd = [good, good, {**good, "id": 4, "image_id": 9}, {**good, "id": 5, "category_id": 9}, 5]
    odd.append({**good, "id": 6, "bbox": "no"})
    data = load(coco(tmp_path, odd))
    found = kinds(data)
    assert found.count("odd-entry") == 2  # an id that is there before, and 5
    assert {"picture-unknown", "box-class-unknown", "box-not-a-number"} <= set(found)
    assert len(data.boxes["a.png"]) == 1


@pytest.mark.parametrize(
    "name", ["../a.png", "/etc/passwd", "x/../../a.png", "C:\\a.png", "a\0.png"]
)
def test_nothing_outside_the_folder_is_touched(tmp_path: Path, name: str) -> None:
    picture(tmp_path / "a.png")
    inner = tmp_path / "inner"
    source = coco(inner, [[1, 1, 8, 8]])
    document = json.loads(source.read_text())
    document["images"].append({"id": 2, "file_name": name, "width": 64, "height": 48})
    source.write_text(json.dumps(document))
    data = load(source, root=inner)
    assert "path-refused" in kinds(data)
    assert all(Path(p).is_relative_to(inner) for p in data.table["path"])


def test_missing_pictures_and_other_sizes_are_named(tmp_path: Path) -> None:
    data = load(coco(tmp_path / "a", [[1, 1, 8, 8]], width=48, height=64))
    assert kinds(data)[:1] == ["size-mismatch"]
    assert not data.boxes
    twice = load(coco(tmp_path / "b", [[2, 2, 16, 16]], width=128, height=96), repair=True)
    np.testing.assert_allclose(twice.boxes["a.png"].xyxy, [[1, 1, 9, 9]])
    source = coco(tmp_path / "c", [[1, 1, 8, 8]])
    document = json.loads(source.read_text())
    document["images"].append({"id": 2, "file_name": "gone.png"})
    source.write_text(json.dumps(document))
    assert "picture-missing" in kinds(load(source))
    (tmp_path / "c/a.png").unlink()
    with pytest.raises(DataError, match=r"gone\.png"):
        load(source)


def test_a_rotated_picture_has_its_upright_size(tmp_path: Path) -> None:
    source = coco(tmp_path, [[1, 1, 8, 8]])
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", SIZE).save(tmp_path / "a.jpg", exif=exif)
    source.write_text(source.read_text().replace("a.png", "a.jpg"))
    (finding,) = (f for f in load(source).findings if f.kind == "size-mismatch")
    assert "48 × 64" in finding.reason


# Hostile files -----------------------------------------------------------------------------------

BOMB = '<!DOCTYPE a [<!ENTITY b "bbbbbbbb"><!ENTITY c "&b;&b;&b;&b;">]>'


@pytest.mark.parametrize(
    "head",
    [
        BOMB,
        '<!DOCTYPE a SYSTEM "file:///etc/passwd">',
        '<!DOCTYPE a [<!ENTITY x SYSTEM "/etc/passwd">]>',
    ],
)
def test_document_types_are_refused(head: str) -> None:
    with pytest.raises(DataError, match="document type"):
        parsed(f"{head}<annotation>&b;</annotation>".encode(), "a.xml")


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '{"images": 5}', '{"images": [], "annotations": {}, "categories": []}',
     '{"images": [], "annotations": [], "categories": [{"id": 1}]}', '{"a":' * 20000],
)  # fmt: skip
def test_what_is_no_coco_is_told_plainly(tmp_path: Path, text: str) -> None:
    from regraft.data.boxes.coco import read

    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(DataError, match=r"a\.json|none of the pictures"):
        load(path) if task_of(str(path)) == "detection" else read(path).classes[0]


def fuzzed_coco(rng: np.random.Generator, base: str) -> str:
    """One to three values anywhere replaced, deleted or doubled; some files cut or garbled."""
    document = json.loads(base)
    odd: list[Any] = [None, True, -1, 0, 1e308, math.nan, math.inf, "", "x", [], {}, 10**30, "../a"]
    for _ in range(int(rng.integers(1, 4))):
        spots = []

        def walk(node: Any, spots: list[Any] = spots) -> None:
            for key, value in list(node.items() if isinstance(node, dict) else enumerate(node)):
                spots.append((node, key))
                if isinstance(value, dict | list):
                    walk(value)

        walk(document)
        if not spots:
            break
        node, key = spots[int(rng.integers(len(spots)))]
        action = rng.integers(3)
        if action == 0:
            node[key] = odd[int(rng.integers(len(odd)))]
        elif action == 1:
            del node[key]
        elif isinstance(node, list):
            node.append(node[key])
    return garbled(rng, json.dumps(document))


def garbled(rng: np.random.Generator, text: str) -> str:
    """Now and then cut off or with characters replaced."""
    if rng.random() < 0.15:
        text = text[: int(rng.integers(len(text)))]
    if rng.random() < 0.15:
        place = int(rng.integers(max(1, len(text))))
        text = text[:place] + chr(int(rng.integers(1, 0x2FF))) + text[place + 1 :]
    return text


def fuzz(folder: Path, form: str, number: int) -> None:
    """One damaged annotation file: it is read, or refused with words; sources stay."""
    rng = np.random.default_rng([number, len(form)])
    boxes = [(float(v) for v in rng.uniform(-20, 90, 4)) for _ in range(3)]
    source = WRITERS[form](folder, tuple(boxes[0]))
    target = {
        "coco": source,
        "csv": source,
        "voc": folder / "Annotations/a.xml",
        "yolo": folder / "labels/a.txt",
    }[form]
    text = target.read_text()
    for _ in range(3):
        text = fuzzed_coco(rng, text) if form == "coco" and _ == 0 else garbled(rng, text)
    target.write_text(text)
    with suppress(RegraftError):  # refused, in words
        check_boxes(load(source, repair=bool(number % 2)))
    assert target.read_text() == text


def check_boxes(data: Dataset) -> None:
    for own in data.boxes.values():
        assert np.isfinite(own.xyxy).all()
        assert (own.xyxy[:, 2:] > own.xyxy[:, :2]).all()
        assert (own.xyxy >= 0).all()
        assert (own.xyxy <= [*own.size, *own.size]).all()


@pytest.mark.parametrize("form", WRITERS)
def test_damaged_files_never_crash(tmp_path: Path, form: str) -> None:
    for number in range(25):
        fuzz(tmp_path / str(number), form, number)


@pytest.mark.slow
@pytest.mark.parametrize("form", WRITERS)
def test_a_thousand_damaged_files_never_crash(tmp_path: Path, form: str) -> None:
    for number in range(25, 275):
        fuzz(tmp_path / str(number), form, number)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    corners=st.tuples(*[st.floats(-1e6, 1e6) | st.sampled_from([math.nan, math.inf, 1e308])] * 4)
)
def test_whatever_the_corners_a_box_is_inside_or_named(
    tmp_path_factory: pytest.TempPathFactory, corners: tuple[float, ...]
) -> None:
    source = table(tmp_path_factory.mktemp("p"), [("a.png", "cell", *corners)])
    data = load(source)
    (own,) = data.boxes.values()
    named = [f for f in data.findings if f.kind in BOX_KINDS]
    assert len(own) + len(named) == 1
    if len(own):
        assert own.xyxy.min() >= 0
        assert (own.xyxy <= [[64, 48, 64, 48]]).all()
