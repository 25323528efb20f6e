"""How many planted duplicates are found, and how many unrelated pictures are taken for one.

    python benchmarks/duplicates.py DATA_FOLDER --json out.json [--limit N] [--sheet out.png]
    python benchmarks/duplicates.py --digits 8 --json out.json

Copies of random pictures (the kinds are the rows of KINDS) are written to a temporary folder; the
data folder is only read. Recall is the share of copies that share a group with their source. The
false rate is the share of all pictures that are in a near pair with a picture of another source.
Pairs that are in the data set itself are listed and drawn (--sheet), to be judged by eye; those
that were found to be one picture are rows of TRUE_TWINS and count as right.
"""

import argparse
import hashlib
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageOps

from regraft.data.duplicates import THUMB_SIDE, Duplicates, NearPair, find_duplicates

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp"}
FILTERS = (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS)
RECALL_GOAL, FALSE_GOAL = 0.95, 0.001

# By file stem: pairs that somebody has looked at and that are one picture.
TRUE_TWINS = {
    # clothing: one photo of black shorts, filed under shorts and under skirt
    frozenset({"6075b4a5-5b1a-4ce0-aea0-9dbfbca7c35c", "637a56e4-7fa6-4f75-8859-0f8902461554"}),
}

Rng = np.random.Generator
Saved = tuple[Image.Image, str, dict[str, Any]]  # picture, format, options of the encoder


def resized(image: Image.Image, low: float, high: float, rng: Rng) -> Image.Image:
    scale = rng.uniform(low, high)
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    return image.resize(size, FILTERS[rng.integers(len(FILTERS))])


def jpeg(image: Image.Image, rng: Rng, low: int = 85, high: int = 95) -> Saved:
    return image, "JPEG", {"quality": int(rng.integers(low, high + 1))}


def either(rng: Rng) -> float:
    return float(rng.choice([0.9, 1.1]))


KINDS: dict[str, Callable[[Image.Image, Rng], Saved]] = {
    "smaller": lambda image, rng: jpeg(resized(image, 0.3, 0.9, rng), rng),
    "larger": lambda image, rng: jpeg(resized(image, 1.1, 2.0, rng), rng),
    "jpeg": lambda image, rng: jpeg(image, rng, 30, 95),
    "webp": lambda image, rng: (image, "WEBP", {"quality": int(rng.integers(30, 96))}),
    "png": lambda image, rng: (image, "PNG", {}),
    "mirrored": lambda image, rng: jpeg(ImageOps.mirror(image), rng),
    "mirrored, smaller": lambda image, rng: jpeg(
        ImageOps.mirror(resized(image, 0.3, 0.9, rng)), rng, 50, 95
    ),
    "brightness": lambda image, rng: jpeg(ImageEnhance.Brightness(image).enhance(either(rng)), rng),
    "contrast": lambda image, rng: jpeg(ImageEnhance.Contrast(image).enhance(either(rng)), rng),
    "grey": lambda image, rng: jpeg(image.convert("L"), rng),
}


class Picture(NamedTuple):
    path: Path
    source: int  # place of the picture that it is, or that it was made from
    kind: str  # "" for a picture of the data set


def upright(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return ImageOps.exif_transpose(image).convert("RGB")


def plant(originals: Sequence[Path], each: int, folder: Path, rng: Rng) -> list[Picture]:
    """Write `each` copies of every kind into `folder`; a copy smaller than a thumb is left out."""
    planted: list[Picture] = []
    for kind, make in {"exact": None, **KINDS}.items():
        for source in rng.choice(len(originals), each, replace=False).tolist():
            path = folder / f"{len(planted)}"
            if make is None:
                path.write_bytes(originals[source].read_bytes())
            else:
                image = upright(originals[source])
                copy, encoder, options = make(image, rng)
                if copy.size != image.size and min(copy.size) < THUMB_SIDE:
                    continue
                copy.save(path, encoder, **options)
            planted.append(Picture(path, source, kind))
    return planted


def find(pictures: Sequence[Picture]) -> tuple[Duplicates, float, float]:
    """The duplicates; seconds for the thumbs, and for finding them."""
    start = time.perf_counter()
    digests = [hashlib.sha256(picture.path.read_bytes()).hexdigest() for picture in pictures]
    thumbs = np.empty((len(pictures), THUMB_SIDE, THUMB_SIDE, 3), np.uint8)
    aspects = np.empty(len(pictures))
    for row, picture in enumerate(pictures):
        image = upright(picture.path)
        thumbs[row] = np.asarray(image.resize((THUMB_SIDE, THUMB_SIDE), Image.Resampling.BOX))
        aspects[row] = image.width / image.height
    read = time.perf_counter()
    duplicates = find_duplicates(thumbs, digests, aspects)
    return duplicates, read - start, time.perf_counter() - read


def recall(pictures: Sequence[Picture], duplicates: Duplicates) -> dict[str, dict[str, float]]:
    """Per kind: how many copies were planted and which share of them was found."""
    group = {place: group[0] for group in duplicates.together() for place in group}
    hits: dict[str, list[bool]] = {}
    for place, picture in enumerate(pictures):
        if picture.kind:
            found = place in group and group[place] == group.get(picture.source)
            hits.setdefault(picture.kind, []).append(found)
    return {k: {"planted": len(v), "recall": round(sum(v) / len(v), 4)} for k, v in hits.items()}


def wrong(pictures: Sequence[Picture], near: Sequence[NearPair]) -> list[NearPair]:
    """Near pairs of different sources that nobody has found to be one picture."""

    def stems(pair: NearPair) -> frozenset[str]:
        return frozenset(pictures[pictures[i].source].path.stem for i in (pair.a, pair.b))

    return [pair for pair in near if len(stems(pair)) == 2 and stems(pair) not in TRUE_TWINS]


def members(pairs: Sequence[NearPair]) -> int:
    return len({place for pair in pairs for place in (pair.a, pair.b)})


def measure(originals: Sequence[Path], each: int, seed: int, sheet: Path | None) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        pictures = [Picture(path, place, "") for place, path in enumerate(originals)]
        pictures += plant(originals, each, Path(name), np.random.default_rng(seed))
        duplicates, reading, finding = find(pictures)
        own = [pair for pair in duplicates.near if pair.b < len(originals)]
        if sheet:
            draw(pictures, own or duplicates.near[:20], sheet)
        kinds = recall(pictures, duplicates)
        false = wrong(pictures, duplicates.near)
    false_own = wrong(pictures, own)
    return {
        "pictures": len(originals),
        "planted": len(pictures) - len(originals),
        "kinds": kinds,
        "near_pairs_in_the_set": [
            [originals[p.a].as_posix(), originals[p.b].as_posix(), round(p.similarity, 4)]
            for p in own
        ],
        "false_rate_in_the_set": members(false_own) / len(originals),
        "false_rate": members(false) / len(pictures),
        "seconds_thumbs": round(reading, 2),
        "seconds_find": round(finding, 3),
    }


def draw(pictures: Sequence[Picture], pairs: Sequence[NearPair], path: Path) -> None:
    """A contact sheet of the pairs, to be judged by eye."""
    side, columns = 150, 5
    rows = -(-len(pairs) // columns)
    sheet = Image.new("RGB", (columns * (2 * side + 10), max(1, rows) * (side + 14)), "white")
    for place, pair in enumerate(pairs):
        x, y = place % columns * (2 * side + 10), place // columns * (side + 14)
        for left, member in ((x, pair.a), (x + side, pair.b)):
            sheet.paste(upright(pictures[member].path).resize((side, side)), (left, y))
        words = f"{pair.a} {pair.b} {pair.similarity:.4f}{' mirrored' * pair.mirrored}"
        ImageDraw.Draw(sheet).text((x, y + side), words, fill="black")
    sheet.save(path)


def write_digits(folder: Path, side: int) -> None:
    """scikit-learn's 1,797 handwritten digits of 8 x 8 pixels, as PNG."""
    from sklearn.datasets import load_digits

    for place, digit in enumerate(load_digits().images):
        image = Image.fromarray((digit * (255 / 16)).astype(np.uint8))
        image.resize((side, side), Image.Resampling.BICUBIC).save(folder / f"{place:04}.png")


def show(result: dict[str, Any]) -> None:
    print(f"{result['pictures']} pictures, {result['planted']} copies planted")
    for kind, row in result["kinds"].items():
        goal = 1.0 if kind == "exact" else RECALL_GOAL
        print(f"  {kind:18} {row['recall']:7.1%} of {row['planted']:4}   goal {goal:.0%}")
    own = len(result["near_pairs_in_the_set"])
    for words, rate in (("in the set", "false_rate_in_the_set"), ("with copies", "false_rate")):
        print(f"  false, {words:11} {result[rate]:7.2%}           goal {FALSE_GOAL:.1%}")
    print(f"  {own} near pairs in the set itself: to be judged by eye (--sheet)")
    print(f"  thumbs {result['seconds_thumbs']} s, find {result['seconds_find']} s")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?", help="pictures, in any depth of folders")
    parser.add_argument("--digits", type=int, metavar="SIDE", help="scikit-learn's digits instead")
    parser.add_argument("--json", type=Path, help="write the result here")
    parser.add_argument("--sheet", type=Path, help="draw the pairs found in the set itself here")
    parser.add_argument("--limit", type=int, help="take a random choice of so many pictures")
    parser.add_argument("--each", type=int, default=100, help="copies of each kind (default 100)")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    if (asked.folder is None) == (asked.digits is None):
        parser.error("name a folder of pictures, or --digits SIDE")
    with tempfile.TemporaryDirectory() as name:
        if asked.digits:
            write_digits(Path(name), asked.digits)
        folder = asked.folder or Path(name)
        if not folder.is_dir():
            print(f"skipped: there is no folder {folder}")
            return 0
        found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
        if asked.limit and asked.limit < len(found):
            chosen = np.random.default_rng(asked.seed).choice(len(found), asked.limit, False)
            found = [found[place] for place in sorted(chosen.tolist())]
        if not found:
            print(f"skipped: there are no pictures in {folder}")
            return 0
        result = measure(found, min(asked.each, len(found)), asked.seed, asked.sheet)
    show(result)
    if asked.json:
        asked.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
