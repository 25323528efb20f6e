"""Spoken digits of a speaker who was never heard: spectrograms through a network for pictures.

    OMP_NUM_THREADS=2 python benchmarks/spoken_digits.py FOLDER --json out.json

FOLDER holds recordings named ``DIGIT_SPEAKER_NUMBER.wav``, as the free spoken digit dataset does.
Each speaker is left out once: `regraft fit` learns from the others and is measured on them. Beside
it stands the baseline that each fit tells of: ridge on log-mel statistics, without any network.
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

    settings: dict[str, Any] = {"budget": asked.budget, "backbone": asked.backbone}
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as out:
        data = regraft.load(manifest(folder, Path(out), speaker), root=folder)
        report = fit_and_report(data, seed=0, **settings).report
    tried = {row["name"]: row["score"]["value"] for row in report.record["tried"]}
    return {
        "speaker": speaker,
        "accuracy": report.metrics["accuracy"]["value"],
        "log_mel_statistics": tried["log-mel statistics"],
        "tried": tried,
        "learned": len(data.learning),
        "measured": len(data.held_out),
        "seconds": time.perf_counter() - start,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--budget", default="60s", help="of each fit")
    parser.add_argument("--backbone", default="efficientnet-lite0")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args(arguments)
    folder = next((d for d in (asked.folder / h for h in HERE) if [*d.glob("*_*_*.wav")]), None)
    if folder is None:
        print(f"skipped: {asked.folder} has no recordings named DIGIT_SPEAKER_NUMBER.wav")
        return 0
    speakers = sorted({path.name.split("_")[1] for path in folder.glob("*_*_*.wav")})
    with tempfile.TemporaryDirectory() as cache:
        os.environ["REGRAFT_CACHE"] = cache
        rows = [measured(folder, speaker, asked) for speaker in speakers]
    summary = {
        name: {"mean": mean(r[name] for r in rows), "worst": min(r[name] for r in rows)}
        for name in ("accuracy", "log_mel_statistics")
    }
    found = {"machine": portions.machine(), "summary": summary, "rows": rows}
    return portions.finish(found, asked.json)


if __name__ == "__main__":
    sys.exit(main())
