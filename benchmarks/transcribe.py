"""Speech recognition on words spoken by espeak-ng: voices held out, three amounts to learn from.

    OMP_NUM_THREADS=2 python benchmarks/transcribe.py WORK --json out.json
    python benchmarks/transcribe.py WORK --each 20 --strategies probe --budget 60  # a part

WORK gets the recordings, once: every voice says other lines of one to four words. The test has
voices that are never learned from; `new words` are lines of words that nobody says in training, so
that spelling, and not only telling words apart, is measured. A strategy is a `regraft fit` within
the budget; its probe is the same head on the frozen encoder. Needs espeak-ng (Debian has it).
"""

import argparse
import csv
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import portions

LEARNED = ("m1", "m2", "m3", "m5", "m7", "f1", "f2", "f4", "adam", "Andy", "Annie", "linda")
UNHEARD = ("m4", "m6", "f3", "f5")
WORDS = (
    "zero one two three four five six seven eight nine yes no go stop left right up down on off "
    "open close begin end start back next red green blue black white yellow house tree river "
    "mountain water fire wind north south east west morning evening winter summer mother father "
    "brother sister doctor teacher garden kitchen window table paper letter number money market"
)
NEW = (
    "seventeen eleven light dark forest ocean stone thunder spring autumn daughter uncle lawyer "
    "painter bedroom ceiling chair pencil picture question silver golden bridge village"
)
ESPEAK = "espeak-ng"
RATES = (130, 190)  # words a minute
TESTS = 30  # lines of each unheard voice, of either kind


def line(words: str, rng: np.random.Generator) -> str:
    return " ".join(rng.choice(words.split(), rng.integers(1, 5)))


def speak(path: Path, text: str, voice: str, rng: np.random.Generator) -> None:
    if path.exists():
        return
    rate, pitch = rng.integers(*RATES), rng.integers(40, 60)
    words = ["-v", f"en-us+{voice}", "-s", str(rate), "-p", str(pitch), "-w", str(path), text]
    subprocess.run([ESPEAK, *words], check=True, capture_output=True)


def corpus(folder: Path, each: int) -> tuple[Path, Path]:
    """The manifest to fit on, with its test, and the manifest of new words."""
    (folder / "wav").mkdir(parents=True, exist_ok=True)
    rows, fresh = [], []
    for v, voice in enumerate((*LEARNED, *UNHEARD)):
        unheard = voice in UNHEARD
        for i in range(TESTS if unheard else each):
            rng = np.random.default_rng([v, i])
            text, name = line(WORDS, rng), f"wav/{voice}-{i}.wav"
            speak(folder / name, text, voice, rng)
            rows.append((name, text, voice, "test" if unheard else "train"))
            if unheard:
                text, name = line(NEW, rng), f"wav/{voice}-new-{i}.wav"
                speak(folder / name, text, voice, rng)
                fresh.append((name, text, voice))
    paths = folder / f"each-{each}.csv", folder / "new-words.csv"
    headers = ("path", "text", "speaker", "split"), ("path", "text", "speaker")
    for path, header, some in zip(paths, headers, (rows, fresh), strict=True):
        with open(path, "w", newline="") as file:
            csv.writer(file).writerows([header, *some])
    return paths


def measured(manifest: Path, fresh: Path, strategy: str, budget: float) -> dict[str, Any]:
    import regraft
    from regraft.verbs.fit import fit_and_report

    begin = time.perf_counter()
    asked = {"task": "transcribe", "strategy": strategy, "budget": budget}
    fitted = fit_and_report(str(manifest), **asked)
    seconds = time.perf_counter() - begin
    record = fitted.report.record
    told: dict[str, Any] = {name: m["value"] for name, m in fitted.report.metrics.items()}
    told |= {
        f"{n}_{e}": fitted.report.metrics[n][e] for n in ("wer", "cer") for e in ("low", "high")
    }
    again = regraft.evaluate(fitted.model, str(fresh)).metrics
    told |= {f"new_{name}": again[name]["value"] for name in ("wer", "cer")}
    told |= {"trivial_wer": record["trivial"]["wer"], "seconds": seconds}
    told["steps"] = {run["name"]: run["steps"] for run in record["speech_training"]}
    return told | {"kept": record["chosen"].get("kept", "the probe")}


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {f"{r['strategy']}, {r['each']} lines a voice": {"wer": r["wer"]} for r in rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("work", type=Path)
    parser.add_argument("--each", type=int, nargs="+", default=[20, 60, 150])
    parser.add_argument("--strategies", nargs="+", default=["probe", "lp-ft", "lora", "full"])
    parser.add_argument("--budget", type=float, default=600.0)
    portions.add_arguments(parser)
    asked = parser.parse_args()
    if shutil.which(ESPEAK) is None:
        print(f"skipped: {ESPEAK} is not here (apt-get install {ESPEAK})", file=sys.stderr)
        return
    settings = {"budget": asked.budget, "learned": LEARNED, "unheard": UNHEARD, "tests": TESTS}
    keys = ("each", "strategy")
    done = portions.Portions(asked.json, settings, keys, asked.max_seconds)
    for each in asked.each:
        manifest, fresh = corpus(asked.work, each)
        for strategy in asked.strategies:
            if done.over or done.has(each, strategy):
                continue
            row = {"each": each, "strategy": strategy}
            row |= measured(manifest, fresh, strategy, asked.budget)
            done.add(row, summary=summary)
            print(row, flush=True)


if __name__ == "__main__":
    main()
