"""Speech recognition on real voices: numbers of one to four digits, a speaker who was never heard.

    OMP_NUM_THREADS=2 python benchmarks/spoken_numbers.py DATA WORK --json out.json
    python benchmarks/spoken_numbers.py DATA WORK --speakers theo --strategies zero-shot  # a part

DATA holds recordings named ``DIGIT_SPEAKER_NUMBER.wav``, as the free spoken digit dataset does. In
WORK recordings of one speaker are joined to numbers, with pauses between them. Each of `--speakers`
is the test once; `regraft fit --task transcribe` learns from the others.
"""

import argparse
import csv
import time
from pathlib import Path
from typing import Any

import numpy as np
import portions
from spoken_digits import HERE

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
EACH, TESTS = 60, 80  # numbers of a speaker to learn from, and of the one who is the test
DIGITS = (1, 4)
PAUSE = (0.05, 0.3)  # seconds
STRATEGIES = ("zero-shot", "probe", "lp-ft")


def joined(recordings: Path, speaker: str, number: int, out: Path) -> tuple[str, str]:
    """A file with one number that a speaker says, and its words."""
    import soundfile

    rng = np.random.default_rng([number, *speaker.encode()])
    digits = rng.integers(0, 10, rng.integers(DIGITS[0], DIGITS[1] + 1))
    pieces: list[Any] = []
    for digit in digits:
        some = sorted(recordings.glob(f"{digit}_{speaker}_*.wav"))
        sound, rate = soundfile.read(some[rng.integers(len(some))])
        pieces += [sound, np.zeros(round(rate * rng.uniform(*PAUSE)))]
    name = f"{speaker}-{number}.wav"
    soundfile.write(out / name, np.concatenate(pieces), rate)
    return name, " ".join(NAMES[digit] for digit in digits)


def manifest(recordings: Path, work: Path, speakers: list[str], unheard: str) -> Path:
    """A row for each number; those of the speaker who is left out are the test."""
    work.mkdir(parents=True, exist_ok=True)
    path = work / f"without-{unheard}.csv"
    with open(path, "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("path", "text", "speaker", "split"))
        for speaker in speakers:
            test = speaker == unheard
            for number in range(TESTS if test else EACH):
                said = joined(recordings, speaker, number, work)
                rows.writerow((*said, speaker, "test" if test else "train"))
    return path


def measured(path: Path, strategy: str, budget: float) -> dict[str, Any]:
    from regraft.verbs.fit import fit_and_report

    begin = time.perf_counter()
    report = fit_and_report(str(path), task="transcribe", strategy=strategy, budget=budget).report
    told: dict[str, Any] = {"seconds": time.perf_counter() - begin}
    for name in ("wer", "cer"):
        told |= {f"{name}_{key}".removesuffix("_value"): v for key, v in _ends(report, name)}
    return told | {"kept": report.record["chosen"].get("kept", strategy)}


def _ends(report: Any, name: str) -> list[tuple[str, float]]:
    return [(key, report.metrics[name][key]) for key in ("value", "low", "high")]


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    by = {r["strategy"]: [s["wer"] for s in rows if s["strategy"] == r["strategy"]] for r in rows}
    return {name: {"mean_wer": float(np.mean(w)), "worst": max(w)} for name, w in by.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--speakers", nargs="+", help="who is the test, one after the other; all")
    parser.add_argument("--strategies", nargs="+", default=STRATEGIES)
    parser.add_argument("--budget", type=float, default=180.0)
    portions.add_arguments(parser)
    asked = parser.parse_args()
    places = [asked.data / place for place in HERE if any((asked.data / place).glob("*_*_*.wav"))]
    if not places:
        print(f"skipped: {asked.data} has no recordings DIGIT_SPEAKER_NUMBER.wav")
        return
    speakers = sorted({path.name.split("_")[1] for path in places[0].glob("*_*_*.wav")})
    settings = {"budget": asked.budget, "each": EACH, "tests": TESTS, "digits": DIGITS}
    done = portions.Portions(asked.json, settings, ("speaker", "strategy"), asked.max_seconds)
    for speaker in asked.speakers or speakers:
        path = manifest(places[0], asked.work, speakers, speaker)
        for strategy in asked.strategies:
            if done.over or done.has(speaker, strategy):
                continue
            row = {"speaker": speaker, "strategy": strategy}
            row |= measured(path, strategy, asked.budget)
            done.add(row, summary=summary)
            print(row, flush=True)


if __name__ == "__main__":
    main()
