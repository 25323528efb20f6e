"""What a detector answers: objects with boxes, as data, CSV, COCO and drawn pictures."""

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from regraft.errors import UsageError
from regraft.model.answers import AnswerList
from regraft.model.detecting import DetectionModel, Seen, tiled
from regraft.progress import Progress, Quiet


@dataclass(frozen=True)
class FoundObject:
    """One object.

    score  in [0, 1]
    box    left, top, right, bottom in pixels of the upright picture
    """

    label: str
    score: float
    box: tuple[float, float, float, float]


@dataclass(frozen=True)
class Found:
    """The answer for one picture.

    file     as the user named it
    objects  the surest first
    width, height  of the upright picture
    seconds  for reading the picture and finding
    error    why there is no answer
    """

    file: str
    objects: tuple[FoundObject, ...] = ()
    width: int = 0
    height: int = 0
    seconds: float = 0.0
    error: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


class FoundList(AnswerList[Found]):
    """Answers in the order of the pictures."""

    def to_csv(self) -> str:
        """path, label, x1, y1, x2, y2, score, error: a row per object, one for an empty picture."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(("path", "label", "x1", "y1", "x2", "y2", "score", "error"))
        for one in self:
            if not one.objects:
                writer.writerow((one.file, "", "", "", "", "", "", one.error or ""))
            for o in one.objects:
                writer.writerow((one.file, o.label, *o.box, o.score, ""))
        return out.getvalue()

    def to_coco(self) -> str:
        """A COCO document with scores: images, annotations, categories."""
        names = sorted({o.label for one in self for o in one.objects})
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for number, one in enumerate((one for one in self if one.error is None), 1):
            size = {"width": one.width, "height": one.height}
            images.append({"id": number, "file_name": one.file, **size})
            for o in one.objects:
                left, top, right, low = o.box
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": number,
                        "category_id": names.index(o.label) + 1,
                        "bbox": [left, top, right - left, low - top],
                        "area": (right - left) * (low - top),
                        "iscrowd": 0,
                        "score": o.score,
                    }
                )
        categories = [{"id": c, "name": name} for c, name in enumerate(names, 1)]
        document = {"images": images, "annotations": annotations, "categories": categories}
        return json.dumps(document, ensure_ascii=False) + "\n"


def found_in_turn(
    model: DetectionModel,
    source: Any,
    *,
    top: int = 5,
    least: float | None = None,
    tiles: int | None = None,
    store: object = None,
    progress: Progress | None = None,
) -> Iterator[Found]:
    """Objects in pictures, one picture after the other.

    least  score from which boxes are taken; None: the model's own for each class
    tiles  parts of a picture in each direction that are looked at too; None: as the model has it
    """
    from regraft.model.encoded import MEMORY
    from regraft.model.named import files
    from regraft.model.predict import encoded, in_memory

    if least is not None and not 0 <= least <= 1:
        raise UsageError(f"least: expected a score from 0 to 1, got {least!r}")
    model = tiled(model, tiles)
    if in_memory(source):
        data = source if isinstance(source, bytes) else encoded(source)
        yield _answer(model, MEMORY, model.detect_in(data, MEMORY), least)
        return
    names = files(source, model.modality)
    with (progress or Quiet()).stage("finding objects", len(names)) as advance:
        for name, seen in zip(names, model.detect(names), strict=True):
            yield _answer(model, name, seen, least)
            advance(1)


def _answer(model: DetectionModel, name: str, seen: Seen, least: float | None) -> Found:
    if seen.found is None:
        return Found(name, error=seen.error)
    sure = seen.found.above(model.thresholds if least is None else least)
    objects = tuple(
        FoundObject(model.classes[label], float(score), tuple(map(float, box)))  # type: ignore[arg-type]
        for box, score, label in zip(*sure, strict=True)
    )
    return Found(name, objects, *seen.size, seen.seconds)


def draw(one: Found, target: Path, classes: tuple[str, ...]) -> None:
    """Write a picture with its boxes as JPEG. Raises StorageError."""
    import numpy as np

    from regraft.data.inline import contents
    from regraft.evaluation.detection import Detections
    from regraft.modalities import modality
    from regraft.model.drawing import with_boxes
    from regraft.storage import write_atomically

    picture = modality("image").decode(contents(one.file), one.file, None).raw
    found = Detections(
        np.array([o.box for o in one.objects], float).reshape(-1, 4),
        np.array([o.score for o in one.objects], float),
        np.array([classes.index(o.label) for o in one.objects], np.int64),
    )
    out = io.BytesIO()
    shown = with_boxes(picture, (one.width, one.height), found, None, None, classes)
    shown.save(out, "JPEG", quality=90)
    write_atomically(target, out.getvalue())
