"""Boxes drawn on pictures: what was found over what is there."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from PIL import Image, ImageDraw, ImageFont

from regraft.data.boxes.form import Boxes
from regraft.evaluation.detection import Detections
from regraft.evaluation.detection_errors import RIGHT, Judged

if TYPE_CHECKING:
    from regraft.tasks.detection.targets import Truth

# What is drawn → colour and width of its line: told in the legend of the page.
LINES: Mapping[str, tuple[str, int]] = MappingProxyType(
    {
        "right": ("#1a9850", 2),
        "missed": ("#d73027", 3),
        "background": ("#fc8d00", 3),
        "duplicate": ("#fc8d00", 2),
        "both": ("#fc8d00", 2),
        "place": ("#8e44ad", 3),
        "class": ("#2b6cb0", 3),
        "truth": ("#ffffff", 1),
    }
)


def with_boxes(
    picture: Image.Image,
    size: tuple[int, int],
    found: Detections,
    there: Boxes | None,
    one: Judged | None,
    classes: Sequence[str],
    side: int | None = None,
) -> Image.Image:
    """A picture with boxes drawn on it.

    size  width and height that the boxes are in
    side  of the longer side of what comes back, in pixels; None: as large as `picture`
    """
    scale = 1.0 if side is None else min(1.0, side / max(picture.size))
    shown = picture.convert("RGB").resize(
        (max(1, round(picture.width * scale)), max(1, round(picture.height * scale))),
        Image.Resampling.BILINEAR,
    )
    pen, factor = ImageDraw.Draw(shown), shown.width / size[0]
    if there is not None:
        missed = set(one.missed) if one else set()
        for i, corners in enumerate(there.xyxy):
            kind = "missed" if i in missed else "truth"
            _outline(pen, corners * factor, kind)
            if i in missed:
                _label(pen, corners * factor, classes[there.labels[i]], kind)
    for k in range(len(found.scores)):
        kind = one.kinds[k] if one and one.kinds[k] in LINES else RIGHT
        _outline(pen, found.boxes[k] * factor, kind)
        _label(
            pen, found.boxes[k] * factor, f"{classes[found.labels[k]]} {found.scores[k]:.2f}", kind
        )
    return shown


def with_truth(pixels: Any, truth: "Truth", classes: Sequence[str]) -> Image.Image:
    """Pixels (height, width, 3) uint8 as a network sees them, with what is learned from them."""
    shown = Image.fromarray(pixels)
    pen = ImageDraw.Draw(shown)
    for corners in truth.ignored.tolist():
        _outline(pen, corners, "truth")
    for corners, label in zip(truth.boxes.tolist(), truth.labels.tolist(), strict=True):
        _outline(pen, corners, RIGHT)
        _label(pen, corners, classes[label], RIGHT)
    return shown


def _outline(pen: ImageDraw.ImageDraw, corners: Any, kind: str) -> None:
    colour, width = LINES[kind]
    left, top, right, low = (float(v) for v in corners)
    pen.rectangle([left, top, max(left, right - 1), max(top, low - 1)], outline=colour, width=width)


def _label(pen: ImageDraw.ImageDraw, corners: Any, text: str, kind: str) -> None:
    font = ImageFont.load_default(10)
    left, top = float(corners[0]), max(0.0, float(corners[1]) - 12)
    pen.rectangle(pen.textbbox((left + 1, top), text, font=font), fill=LINES[kind][0])
    pen.text((left + 1, top), text, fill="#ffffff", font=font)
