"""Predictions over truth as small pictures: misses, false alarms, poorly placed, confusions."""

import base64
import io
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from regraft.data.boxes.form import Boxes
from regraft.data.inline import contents
from regraft.errors import DataError
from regraft.evaluation.detection import Detections
from regraft.evaluation.detection_errors import RIGHT, Judged, judged
from regraft.modalities import modality
from regraft.model.drawing import with_boxes

EACH = 6  # pictures of one kind of mistake
SIDE = 420  # pixels of the longer side
QUALITY = 78


class Group(NamedTuple):
    """One part of the gallery: pictures with most of some kinds of mistakes."""

    title: str
    kinds: tuple[str, ...]


GROUPS = (
    Group("Worst misses", ("missed",)),
    Group("False alarms", ("background", "duplicate", "both")),
    Group("Poorly placed", ("place",)),
    Group("Confused", ("class",)),
)


def gallery(
    model: Any,
    sure: Sequence[Detections],
    there: Sequence[Boxes],
    names: Sequence[str],
    paths: Sequence[str],
) -> list[dict[str, Any]]:
    """Groups of pictures, the worst first; then some where all is right."""
    every = [judged(f, t) for f, t in zip(sure, there, strict=True)]
    shown: set[int] = set()

    def picture(i: int, told: str) -> dict[str, Any]:
        shown.add(i)
        return {
            "file": names[i],
            "told": told,
            "thumbnail": drawn(paths[i], sure[i], there[i], every[i], model.classes),
        }

    groups = []
    for group in GROUPS:
        worst = sorted(_most(group, every, sure), reverse=True)
        rows = [picture(i, told) for _, i, told in worst if i not in shown][:EACH]
        if rows:
            groups.append({"title": group.title, "pictures": rows})
    good = [i for i, one in enumerate(every) if not one.missed and {*one.kinds} <= {RIGHT}]
    if rows := [picture(i, "all is right") for i in good if i not in shown][:EACH]:
        groups.append({"title": "All found", "pictures": rows})
    return groups


def _most(
    group: Group, every: Sequence[Judged], sure: Sequence[Detections]
) -> Iterator[tuple[float, int, str]]:
    """How bad, which picture, and in words."""
    for i, (one, found) in enumerate(zip(every, sure, strict=True)):
        mistakes = [found.scores[k] for k, kind in enumerate(one.kinds) if kind in group.kinds]
        missed = len(one.missed) if "missed" in group.kinds else 0
        if mistakes or missed:
            what = (
                f"{missed} missed"
                if missed
                else f"{len(mistakes)}, the surest at {max(mistakes):.2f}"
            )
            yield missed + float(sum(mistakes)), i, what


def drawn(
    path: str,
    found: Detections,
    there: Boxes | None,
    one: Judged | None,
    classes: Sequence[str],
    side: int = SIDE,
) -> str | None:
    """A JPEG as a data URI, or None where the file cannot be read any more."""
    try:
        picture = modality("image").decode(contents(path), path).raw
    except (OSError, DataError):
        return None
    size = there.size if there is not None else picture.size
    out = io.BytesIO()
    with_boxes(picture, size, found, there, one, classes, side).save(out, "JPEG", quality=QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode()
