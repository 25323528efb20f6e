"""A composed set: shapes with exact boxes on noise, all of it decided by a seed.

    python -m regraft.data.boxes.composed FOLDER [PICTURES] [SEED]

Discs, squares and triangles of any colour and size, some over one another, some pictures empty.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from regraft.data.boxes.form import Boxes
from regraft.storage import write_atomically

SHAPES = ("disc", "square", "triangle")
SIZE = (128, 96)  # width and height in pixels
MOST = 4  # shapes in a picture
SIDES = (16, 44)  # pixels
COVERED = 0.3  # share of a shape that a later one may cover


def compose(
    folder: Path, pictures: int = 60, seed: int = 0, size: tuple[int, int] = SIZE
) -> dict[str, Boxes]:
    """Write PNG files into `folder`/images; returns what is in each, by its name."""
    found = {}
    for number in range(pictures):
        picture, boxes = composed(number, seed, size)
        name = f"images/{number:04d}.png"
        (folder / "images").mkdir(parents=True, exist_ok=True)
        picture.save(folder / name)
        found[name] = boxes
    return found


def composed(number: int, seed: int = 0, size: tuple[int, int] = SIZE) -> tuple[Image.Image, Boxes]:
    """One picture and what is in it; classes are places in SHAPES."""
    rng = np.random.default_rng([seed, number])
    low = int(rng.integers(40, 120))
    noise = rng.integers(low, low + 90, (size[1], size[0], 3), dtype=np.uint8)
    picture = Image.fromarray(noise)
    pen = ImageDraw.Draw(picture)
    corners: list[tuple[int, int, int, int]] = []
    labels: list[int] = []
    for _ in range(int(rng.integers(0, MOST + 1))):
        side = int(rng.integers(*SIDES))
        left = int(rng.integers(0, size[0] - side))
        top = int(rng.integers(0, size[1] - side))
        label = int(rng.integers(len(SHAPES)))
        colour = tuple(int(v) for v in rng.integers(0, 256, 3))
        box = (left, top, left + side, top + side)
        if any(_covers(box, other) > COVERED for other in corners):
            continue
        _draw(pen, SHAPES[label], box, colour)
        corners.append(box)
        labels.append(label)
    return picture, Boxes.of(corners, labels, size)


def _covers(box: Any, other: Any) -> float:
    """Share of `other` that lies within `box`."""
    width = min(box[2], other[2]) - max(box[0], other[0])
    height = min(box[3], other[3]) - max(box[1], other[1])
    area = (other[2] - other[0]) * (other[3] - other[1])
    return max(0, width) * max(0, height) / area


def _draw(pen: Any, shape: str, box: tuple[int, int, int, int], colour: Any) -> None:
    left, top, right, low = box[0], box[1], box[2] - 1, box[3] - 1  # PIL draws the last pixel too
    if shape == "disc":
        pen.ellipse([left, top, right, low], fill=colour)
    elif shape == "square":
        pen.rectangle([left, top, right, low], fill=colour)
    else:
        pen.polygon([(left, low), ((left + right) / 2, top), (right, low)], fill=colour)


def main(words: list[str]) -> None:
    from regraft.data.boxes.writing import coco_document

    folder = Path(words[0])
    numbers = [int(word) for word in words[1:]]
    pictures, seed = (numbers + [60, 0][len(numbers) :])[:2]
    boxes = compose(folder, pictures, seed)
    write_atomically(folder / "annotations.json", coco_document(boxes, SHAPES))


if __name__ == "__main__":
    main(sys.argv[1:])
