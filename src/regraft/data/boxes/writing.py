"""From a dataset to COCO JSON, Pascal VOC, YOLO or CSV; `regraft.load` reads each back.

One file (COCO, CSV) names pictures by their ids, relative to the dataset's root. A folder (VOC,
YOLO) holds copies of the pictures, since these formats tell a picture's place by the folder.
"""

import csv
import io
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any
from xml.etree import ElementTree

from regraft.data.boxes.form import Boxes
from regraft.data.dataset import Dataset
from regraft.errors import StorageError, UsageError
from regraft.storage import write_atomically

PART_NAMES = {"train": "train", "validation": "val", "test": "test"}


def coco_document(boxes: Mapping[str, Boxes], classes: Sequence[str]) -> bytes:
    """COCO JSON: ids of images and annotations from 1, of categories from 1, in order."""
    annotations: list[dict[str, Any]] = []
    images = []
    for number, (name, own) in enumerate(boxes.items(), 1):
        width, height = own.size
        images.append({"id": number, "file_name": name, "width": width, "height": height})
        for place, (left, top, right, low) in enumerate(own.xyxy.tolist()):
            one = {
                "id": len(annotations) + 1,
                "image_id": number,
                "category_id": int(own.labels[place]) + 1,
                "bbox": [left, top, right - left, low - top],
                "area": (right - left) * (low - top),
                "iscrowd": int(own.crowd[place]),
            }
            annotations.append(one | ({"ignore": 1} if own.difficult[place] else {}))
    categories = [{"id": c, "name": name} for c, name in enumerate(classes, 1)]
    document = {"images": images, "annotations": annotations, "categories": categories}
    return json.dumps(document, ensure_ascii=False).encode()


def _coco(data: Dataset, path: Path) -> None:
    """One file; of a split dataset one beside it for each part, ``NAME_train.json`` ..."""
    parts = _parts(data)
    if len(parts) < 2:
        write_atomically(path, coco_document(_boxes(data), data.classes))
        return
    for part, view in parts.items():
        target = path.with_name(f"{path.stem}_{PART_NAMES.get(part, part)}{path.suffix}")
        write_atomically(target, coco_document(_boxes(view), data.classes))


def _rows(data: Dataset, path: Path) -> None:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(("path", "label", "x1", "y1", "x2", "y2", "split", "crowd", "difficult"))
    part_of = dict(data.table.select("id", "split").iter_rows())
    for name, own in _boxes(data).items():
        part = part_of[name] or ""
        if not len(own):
            writer.writerow((name, "", "", "", "", "", part, "", ""))
        for i, corners in enumerate(own.xyxy.tolist()):
            flags = int(own.crowd[i]), int(own.difficult[i])
            writer.writerow((name, data.classes[own.labels[i]], *corners, part, *flags))
    write_atomically(path, out.getvalue().encode())


def _voc(data: Dataset, folder: Path) -> None:
    """Annotations, JPEGImages, and ImageSets/Main for the parts."""
    stems = _copied(data, lambda name, part: folder / "JPEGImages")
    for name, own in _boxes(data).items():
        picture = stems[name]
        tree = _voc_tree(picture.name, own, data.classes)
        target = folder / "Annotations" / f"{picture.stem}.xml"
        _write(target, ElementTree.tostring(tree, encoding="utf-8"))
    for part, view in _parts(data).items():
        lines = "".join(f"{stems[n].stem}\n" for n in view.table["id"] if n in stems)
        name = f"{PART_NAMES.get(part, 'all')}.txt"
        _write(folder / "ImageSets" / "Main" / name, lines.encode())


def _voc_tree(name: str, own: Boxes, classes: Sequence[str]) -> ElementTree.Element:
    tree = ElementTree.Element("annotation")
    ElementTree.SubElement(tree, "filename").text = name
    size = ElementTree.SubElement(tree, "size")
    for key, value in zip(("width", "height", "depth"), (*own.size, 3), strict=True):
        ElementTree.SubElement(size, key).text = str(value)
    for i, corners in enumerate(own.xyxy.tolist()):
        one = ElementTree.SubElement(tree, "object")
        ElementTree.SubElement(one, "name").text = classes[own.labels[i]]
        ElementTree.SubElement(one, "difficult").text = str(int(own.ignored[i]))
        box = ElementTree.SubElement(one, "bndbox")
        for key, value in zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True):
            ElementTree.SubElement(box, key).text = f"{value:.10g}"
    return tree


def _yolo(data: Dataset, folder: Path) -> None:
    """images and labels by part, and data.yaml. What is ignored cannot be said: it is left out."""
    stems = _copied(data, lambda name, part: folder / "images" / part)
    for name, own in _boxes(data).items():
        picture = stems[name]
        kept, scale = own.take(~own.ignored), (*own.size, *own.size)
        lines = []
        for label, corners in zip(kept.labels.tolist(), kept.xyxy.tolist(), strict=True):
            left, top, right, low = (v / s for v, s in zip(corners, scale, strict=True))
            four = ((left + right) / 2, (top + low) / 2, right - left, low - top)
            lines.append(f"{label} " + " ".join(f"{v:.10g}" for v in four) + "\n")
        target = folder / "labels" / picture.parent.name / f"{picture.stem}.txt"
        _write(target, "".join(lines).encode())
    parts = [p for p in dict.fromkeys(picture.parent.name for picture in stems.values())]
    lines = [f"{part}: images/{part}\n" for part in parts]
    names = [
        f"  {c}: {json.dumps(name, ensure_ascii=False)}\n" for c, name in enumerate(data.classes)
    ]
    _write(folder / "data.yaml", "".join(["path: .\n", *lines, "names:\n", *names]).encode())


def _boxes(data: Dataset) -> dict[str, Boxes]:
    return {name: data.boxes[name] for name in data.table["id"] if name in data.boxes}


def _parts(data: Dataset) -> dict[str, Dataset]:
    """Part → view, of the parts that have a picture; ``all`` without a split."""
    if data.table["split"].null_count() == len(data):
        return {"all": data}
    views = {"train": data.train, "validation": data.validation, "test": data.test}
    return {part: view for part, view in views.items() if len(view)}


def _copied(data: Dataset, place: Callable[[str, str], Path]) -> dict[str, Path]:
    """Copies of the annotated pictures under names of their own, by id."""
    copies: dict[str, Path] = {}
    taken: set[str] = set()
    for name, path, part in data.table.select("id", "path", "split").iter_rows():
        if name not in data.boxes:
            continue
        folder = place(name, PART_NAMES.get(part or "train", "train"))
        base, ending = os.path.splitext(name.rpartition("/")[2])
        stem = base if base not in taken else f"{base}-{len(taken)}"
        taken.add(stem)
        copies[name] = folder / f"{stem}{ending}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copies[name])
        except OSError as error:
            raise StorageError(f"{copies[name]}: cannot be written: {error.strerror}") from error
    return copies


def _write(path: Path, data: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"{path.parent}: cannot be made: {error.strerror}") from error
    write_atomically(path, data)


# Form → what writes it.
FORMS: Mapping[str, Callable[[Dataset, Path], None]] = MappingProxyType(
    {"coco": _coco, "csv": _rows, "voc": _voc, "yolo": _yolo}
)
BY_ENDING = MappingProxyType({".json": "coco", ".csv": "csv"})


def write(data: Dataset, path: str | Path, form: str | None = None) -> Path:
    """Write the annotated pictures of a dataset; returns the path.

    path  a file for coco and csv, a folder for voc and yolo; outside the data folder
    form  a name of FORMS; None: by the ending of `path`

    Raises UsageError and StorageError.
    """
    path = Path(path)
    named = form or BY_ENDING.get(path.suffix.lower())
    if named is None or named not in FORMS:
        raise UsageError(f"form: expected one of {', '.join(FORMS)}, got {form or str(path)!r}")
    if not data.boxes:
        raise UsageError("data: has no boxes that could be written")
    if path.resolve().is_relative_to(data.root.resolve()):
        raise UsageError(
            f"path: {str(path)!r} is inside the data folder {str(data.root)!r}, which is only "
            "read; choose another place"
        )
    FORMS[named](data, path)
    return path
