"""Spoken digits of a speaker who was never heard: a network of sounds, and spectrograms.

    OMP_NUM_THREADS=2 python benchmarks/spoken_digits.py FOLDER --json out.json

FOLDER holds recordings named ``DIGIT_SPEAKER_NUMBER.wav``, as the free spoken digit dataset does.
Each speaker is left out once: `regraft fit` learns from the others, by each network and by all of
them side by side, and is measured on that speaker; leave-one-speaker-out among the others chooses.
`regraft rank` puts the networks in order for the same examples. Beside it stands the baseline that
each fit tells of: ridge on log-mel statistics, without any network.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import portions

HERE = ("recordings", ".")


def manifest(folder: Path, out: Path, left_out: str) -> Path:
    """A row per recording; those of one speaker are the test part."""
    import polars as pl

    names = [path.name for path in sorted(folder.glob("*_*_*.wav"))]
    parts = [name.removesuffix(".wav").split("_") for name in names]
    table = pl.DataFrame(
        {
            "path": names,
            "label": [digit for digit, *_ in parts],
            "speaker": [speaker for _, speaker, _ in parts],
            "split": ["test" if speaker == left_out else "train" for _, speaker, _ in parts],
        }
    )
    table.write_csv(out / f"{left_out}.csv")
    return out / f"{left_out}.csv"


def measured(folder: Path, speaker: str, asked: argparse.Namespace) -> dict[str, Any]:
    import regraft
    from regraft.verbs.fit import fit_and_report

    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as out:
        data = regraft.load(manifest(folder, Path(out), speaker), root=folder)
        report = fit_and_report(data, seed=0, budget=asked.budget, backbone=asked.backbone).report
        ranked = regraft.rank(data, backbones=asked.backbone)
    tried = report.record["tried"]
    probes = [row for row in tried if row["kind"] in ("probe", "ensemble")]
    return {
        "speaker": speaker,
        "accuracy": report.metrics["accuracy"]["value"],
        "log_mel_statistics": next(
            row["score"]["value"] for row in tried if row["name"] == "log-mel statistics"
        ),
        **{name: of(probes, name) for name in asked.backbone},
        "chosen": next(row["backbone"] for row in tried if row["kept"]),
        "ranked": [row.name for row in ranked.rows],
        "ranked_errors": {row.name: row.error for row in ranked.rows},
        "tried": tried,
        "learned": len(data.learning),
        "measured": len(data.held_out),
        "seconds": time.perf_counter() - start,
    }


def of(probes: Sequence[dict[str, Any]], name: str) -> float:
    """Accuracy of the first head on a network's own features."""
    return float(next(row["score"]["value"] for row in probes if row["backbone"] == name))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--budget", default="150s", help="of each fit")
    parser.add_argument("--backbone", nargs="+", default=["efficientnet-lite0", "whisper-tiny-en"])
    parser.add_argument("--speakers", nargs="+", help="only these are left out; default: each")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args(arguments)
    folder = next((d for d in (asked.folder / h for h in HERE) if [*d.glob("*_*_*.wav")]), None)
    if folder is None:
        print(f"skipped: {asked.folder} has no recordings named DIGIT_SPEAKER_NUMBER.wav")
        return 0
    speakers = sorted({path.name.split("_")[1] for path in folder.glob("*_*_*.wav")})
    speakers = asked.speakers or speakers
    with tempfile.TemporaryDirectory() as cache:
        os.environ["REGRAFT_CACHE"] = cache
        rows = [measured(folder, speaker, asked) for speaker in speakers]
    summary = {
        name: {"mean": mean(r[name] for r in rows), "worst": min(r[name] for r in rows)}
        for name in ("accuracy", "log_mel_statistics", *asked.backbone)
    }
    summary["ranking_is_right"] = all(  # the first of the ranking is the best on who is left out
        r[r["ranked"][0]] >= max(r[name] for name in asked.backbone) for r in rows
    )
    found = {"machine": portions.machine(), "summary": summary, "rows": rows}
    return portions.finish(found, asked.json)


if __name__ == "__main__":
    sys.exit(main())
