"""Drums of a kit that was never heard: no speech, so another network than for speech may be right.

    OMP_NUM_THREADS=2 python benchmarks/drum_sounds.py FOLDER --json out.json

FOLDER holds drumkits of Hydrogen, each a folder with a drumkit.xml, as the Debian package
hydrogen-drumkits installs them (/usr/share/hydrogen/data/drumkits; GPL-2 and freer). What an
instrument is called tells its class. The kits are put into folds; each fold is left out once:
`regraft fit` learns from the others by each network and by all of them side by side. `regraft rank`
puts the networks in order on the same examples, and the one that it puts first is compared with the
best on the kits that were left out.
"""

import argparse
import os
import re
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import polars as pl
import portions
from spoken_digits import of

# Class → what its instruments are called; the first that fits.
CLASSES = {
    "hand drum": r"bongo|conga|djembe|cajon|darbu|tabla|dun",
    "hi-hat": r"hat|hh\b|\bhh|hihat",
    "cymbal": r"crash|ride|china|splash|cymbal|sizzle|bell\b",
    "kick": r"kick|bass ?drum|\bbd|\bkik",
    "snare": r"snare|\bsd|rim|side ?stick|\bsn",
    "tom": r"tom",
    "clap": r"clap|snap",
    "cowbell": r"cow ?bell|agogo|block",
}
ORDER = ("hand drum", "hi-hat", "cowbell", "cymbal", "kick", "snare", "tom", "clap")
FEWEST = 12  # samples of a class


def samples(folder: Path) -> pl.DataFrame:
    """path, label and kit of every sample whose instrument has a telling name."""
    rows = []
    for told in sorted(folder.glob("*/drumkit.xml")):
        for instrument in _named(ET.parse(told).getroot(), "instrument"):
            name = " ".join(part.text or "" for part in instrument if _tag(part) == "name").lower()
            label = next((c for c in ORDER if re.search(CLASSES[c], name)), None)
            files = {f.text for f in _named(instrument, "filename") if f.text}
            rows += [
                (f"{told.parent.name}/{file}", label, told.parent.name)
                for file in sorted(files)
                if label and (told.parent / file).is_file()
            ]
    table = pl.DataFrame(rows, schema=["path", "label", "group"], orient="row").unique("path")
    often = table["label"].value_counts().filter(pl.col("count") >= FEWEST)["label"]
    return table.filter(pl.col("label").is_in(often.to_list())).sort("path")


def _named(element: ET.Element, name: str) -> list[ET.Element]:
    return [one for one in element.iter() if _tag(one) == name]


def _tag(element: ET.Element) -> str:
    return element.tag.rpartition("}")[2]


def folds(table: pl.DataFrame, count: int) -> list[list[str]]:
    """Kits in folds of about as many samples, the largest kits first."""
    sizes = table["group"].value_counts().sort(["count", "group"], descending=True)
    found: list[list[str]] = [[] for _ in range(count)]
    full = [0] * count
    for kit, size in sizes.iter_rows():
        place = full.index(min(full))
        found[place].append(kit)
        full[place] += size
    return found


def measured(
    table: pl.DataFrame, folder: Path, kits: list[str], asked: argparse.Namespace
) -> dict[str, Any]:
    import regraft
    from regraft.verbs.fit import fit_and_report

    start = time.perf_counter()
    part = pl.when(pl.col("group").is_in(kits)).then(pl.lit("test")).otherwise(pl.lit("train"))
    with tempfile.TemporaryDirectory() as out:
        table.with_columns(part.alias("split")).write_csv(Path(out) / "kits.csv")
        data = regraft.load(Path(out) / "kits.csv", root=folder)
        report = fit_and_report(data, seed=0, budget=asked.budget, backbone=asked.backbone).report
        ranked = regraft.rank(data, backbones=asked.backbone)
    tried = report.record["tried"]
    probes = [row for row in tried if row["kind"] in ("probe", "ensemble")]
    return {
        "kits": kits,
        "accuracy": report.metrics["accuracy"]["value"],
        **{name: of(probes, name) for name in asked.backbone},
        "chosen": next(row["backbone"] for row in tried if row["kept"]),
        "ranked": [row.name for row in ranked.rows],
        "ranked_errors": {row.name: row.error for row in ranked.rows},
        "tried": tried,
        "learned": len(data.learning),
        "measured": len(data.held_out),
        "seconds": time.perf_counter() - start,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--budget", default="150s", help="of each fit")
    parser.add_argument("--folds", type=int, default=4)
    parser.add_argument("--backbone", nargs="+", default=["efficientnet-lite0", "whisper-tiny-en"])
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args(arguments)
    if not [*asked.folder.glob("*/drumkit.xml")]:
        print(f"skipped: {asked.folder} has no drumkits of Hydrogen")
        return 0
    table = samples(asked.folder)
    with tempfile.TemporaryDirectory() as cache:
        os.environ["REGRAFT_CACHE"] = cache
        rows = [measured(table, asked.folder, kits, asked) for kits in folds(table, asked.folds)]
    names = ("accuracy", *asked.backbone)
    means = {name: mean(row[name] for row in rows) for name in names}
    best = max(asked.backbone, key=lambda name: means[name])
    summary: dict[str, Any] = {
        "means": means,
        "classes": dict(table["label"].value_counts().sort("label").iter_rows()),
        "kits": table["group"].n_unique(),
        "best": best,
        "ranked_first": [row["ranked"][0] for row in rows],
    }
    found = {"machine": portions.machine(), "summary": summary, "rows": rows}
    return portions.finish(found, asked.json)


if __name__ == "__main__":
    sys.exit(main())
