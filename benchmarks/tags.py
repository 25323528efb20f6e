"""Tags and numbers: what is in blood smears and in pictures with several digits, and how many.

    python benchmarks/tags.py --bccd FOLDER --work FOLDER --json out.json

smears-kinds   blood smears (BCCD): which of the kinds of cells are in the picture, official parts.
               Red cells are in nearly every smear, so the means over tags are of the other two
               beside an easy one: look at the figures tag by tag
smears-count   how many red cells are in the picture (as annotated: some are not)
digits-tags    two to four of scikit-learn's digits pasted into a picture of 64 pixels: which ten
               digits are there. Digits of the test pictures were cut from other writers' halves
digits-count   how many of them are in the picture
digits-sum     and what they add up to

A row for each set and strategy: ``probe``, and what --strategy names. The trivial baselines stand
in each row. What is missing is skipped with a word.
"""

import argparse
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

import numpy as np
import portions
import sets
from PIL import Image

SIDE = 64  # pixels of a picture with digits
PICTURES = {"train": 900, "test": 300}
MOST = 4  # digits in a picture
SHOWN = ("map_macro", "f1_micro", "r2", "mae")
PART_OF = {"train": "train", "val": "test"}


class Set(NamedTuple):
    """A manifest and how it is to be read."""

    table: Path
    settings: dict[str, Any]


def smears(asked: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Of each smear the part, which kinds of cells are in it, and how many red ones."""
    folder = asked.bccd
    if folder is None or not (folder / "Annotations").is_dir():
        raise sets.Missing("bccd: name its folder with --bccd")
    for name, part in PART_OF.items():
        listed = (folder / "ImageSets" / "Main" / f"{name}.txt").read_text().split()
        for stem in listed:
            root = ElementTree.parse(folder / "Annotations" / f"{stem}.xml").getroot()
            found = Counter(node.findtext("name", "") for node in root.iter("object"))
            file = str((folder / "JPEGImages" / f"{stem}.jpg").resolve())
            yield {"file": file, "tags": sorted(found), "red": found["RBC"], "split": part}


def smeared(asked: argparse.Namespace, **settings: Any) -> Set:
    rows = list(smears(asked))
    return Set(written(asked.work / "smears.jsonl", rows), {"root": str(asked.bccd), **settings})


def digits(asked: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Pictures of several digits, written once; the digits of the two parts are different ones."""
    from sklearn.datasets import load_digits

    known = load_digits()
    folder = asked.work / "several-digits"
    folder.mkdir(parents=True, exist_ok=True)
    half = len(known.target) // 2
    pools = {"train": np.arange(half), "test": np.arange(half, len(known.target))}
    for part, count in PICTURES.items():
        for number in range(count):
            rng = np.random.default_rng([len(part), number])
            some = rng.choice(pools[part], int(rng.integers(1, MOST + 1)))
            file = folder / f"{part}-{number:04d}.png"
            if not file.exists():
                pasted([known.images[i] for i in some], rng).save(file)
            there = [int(known.target[i]) for i in some]
            yield {
                "file": str(file.resolve()),
                "tags": sorted({str(digit) for digit in there}),
                "count": len(there),
                "sum": sum(there),
                "split": part,
            }


def pasted(pictures: list[np.ndarray], rng: np.random.Generator) -> Image.Image:
    """Digits of 8 × 8, enlarged, each in a quarter of its own."""
    whole = Image.new("L", (SIDE, SIDE), 20)
    quarters = rng.permutation(4)[: len(pictures)]
    for picture, quarter in zip(pictures, quarters, strict=True):
        size = int(rng.integers(20, 30))
        one = Image.fromarray(np.round(picture * 255 / 16).astype(np.uint8)).resize((size, size))
        room = SIDE // 2 - size
        x, y = (int(v) for v in rng.integers(0, room + 1, 2))
        whole.paste(one, (x + SIDE // 2 * (quarter % 2), y + SIDE // 2 * (quarter // 2)))
    return whole.convert("RGB")


def pasted_digits(asked: argparse.Namespace, **settings: Any) -> Set:
    rows = list(digits(asked))
    about = {"root": str(asked.work), "size": 96, **settings}
    return Set(written(asked.work / "several-digits.jsonl", rows), about)


def written(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


SETS: Mapping[str, Callable[[argparse.Namespace], Set]] = {
    "smears-kinds": lambda a: smeared(a, label="tags"),
    "smears-count": lambda a: smeared(a, labels=("red",), task="regression"),
    "digits-tags": lambda a: pasted_digits(a, label="tags"),
    "digits-count": lambda a: pasted_digits(a, labels=("count",), task="regression"),
    "digits-sum": lambda a: pasted_digits(a, labels=("sum",), task="regression"),
}


def measured(one: Set, strategy: str, asked: argparse.Namespace) -> dict[str, Any]:
    """One fit and what it says of the held-out part."""
    from regraft.verbs.fit import fit_and_report

    begin = time.perf_counter()
    settings = {"strategy": strategy, "budget": asked.budget, "backbone": "efficientnet-lite0"}
    record = fit_and_report(str(one.table), **{**settings, **one.settings}).report.record
    ends = ("value", "low", "high")
    kept = next(row for row in record["tried"] if row["kept"])
    return {
        "seconds": round(time.perf_counter() - begin, 1),
        "measured": record["split"]["n"],
        "kept": kept["name"],
        "why": [row["why"] for row in record["tried"] if row["kind"] not in ("baseline", "probe")],
        "metrics": {n: [metric[end] for end in ends] for n, metric in record["metrics"].items()},
        "baselines": {
            row["name"]: row["score"]["value"]
            for row in record["tried"]
            if row["kind"] == "baseline"
        },
        "columns": [
            {k: v for k, v in row.items() if not k.endswith(("_low", "_high"))}
            for row in record.get("per_tag") or record.get("per_number") or ()
        ],
    }


def told(row: Mapping[str, Any]) -> str:
    figures = {
        n: v[0] for n, v in row["metrics"].items() if n in ("map_macro", "f1_micro", "r2", "mae")
    }
    shown = ", ".join(f"{name} {value:.3f}" for name, value in figures.items())
    others = ", ".join(f"{name} {value:.3f}" for name, value in row["baselines"].items())
    return f"{row['set']}, {row['strategy']}: {shown} (kept {row['kept']}; {others})"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    sets.add_arguments(parser)
    portions.add_arguments(parser)
    parser.add_argument("--sets", type=portions.several(str), default=list(SETS))
    parser.add_argument("--strategy", type=portions.several(str), default=["probe"])
    parser.add_argument("--budget", default="10min", help="of a fit that trains")
    asked = parser.parse_args()
    settings = {"budget": asked.budget}
    rows = portions.Portions(asked.json, settings, ("set", "strategy"), asked.max_seconds)
    for name in asked.sets:
        for strategy in asked.strategy:
            if rows.has(name, strategy) or rows.over:
                continue
            try:
                found = measured(SETS[name](asked), strategy, asked)
            except sets.Missing as missing:
                print(f"skipped: {missing}")
                continue
            rows.add({"set": name, "strategy": strategy, **found}, summary=lambda _: {})
            print(told(rows.rows[-1]), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
