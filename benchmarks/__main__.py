"""All benchmarks that can run here, one after the other, each with its JSON in a folder.

    python -m benchmarks --out out/bench [--clothing FOLDER] [--bccd FOLDER] [--imagenet FOLDER]
    python -m benchmarks --out out/bench --only head,digits

What needs a folder that was not named is skipped with a word; so is what has its JSON already. The
rows of BENCHMARKS tell what each one is given.
"""

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
FOLDERS = {
    "clothing": "photos of garments with train/ and validation/",
    "bccd": "blood smears with Annotations/ and JPEGImages/",
    "fsdd": "recordings of spoken digits",
    "banking77": "questions: train.csv and test.csv with text and category",
    "model": "model.regraft, as fit wrote it (a file)",
    "imagenet": "photos named imagenet_NN_LABEL.jpg",
}


class Benchmark(NamedTuple):
    """One run of a script.

    words  of its command line; {clothing} and the like stand for folders
    """

    name: str
    script: str
    words: str = ""

    @property
    def needs(self) -> list[str]:
        return [name for name in FOLDERS if f"{{{name}" in self.words]


BENCHMARKS = (
    Benchmark("digits", "digits.py"),
    Benchmark("head", "head.py"),
    Benchmark("head_streamed", "head_streamed.py"),
    Benchmark("duplicates_digits_8", "duplicates.py", "--digits 8"),
    Benchmark("memory", "memory.py"),
    Benchmark("steps", "steps.py"),
    Benchmark("clothing", "clothing.py", "{clothing}"),
    Benchmark("extraction", "extraction.py", "{clothing}/train"),
    Benchmark("label_noise", "label_noise.py", "{clothing}/train"),
    Benchmark("leave_one_out", "leave_one_out.py", "{clothing}/train"),
    Benchmark("ranking", "ranking.py", "{clothing}"),
    Benchmark("duplicates_clothing", "duplicates.py", "{clothing}"),
    Benchmark("fine_tuning", "fine_tuning.py", "{clothing}"),
    Benchmark("partial", "partial.py", "{clothing}"),
    Benchmark("ensemble", "ensemble.py", "--clothing {clothing}"),
    Benchmark("serving", "serving.py", "--model {model} --pictures {clothing}/validation"),
    Benchmark("detection", "detection.py", "{bccd}"),
    Benchmark("spoken_digits", "spoken_digits.py", "{fsdd}"),
    Benchmark("banking77", "banking77.py", "{banking77}"),
    Benchmark("text_features", "text_features.py", "{banking77}"),
    Benchmark("cells", "cells.py", "--bccd {bccd} --work {work}"),
    Benchmark("text_training", "text_training.py", "{banking77}"),
    Benchmark("pretrained_check", "pretrained_check.py", "{imagenet}"),
    Benchmark("guard", "guard.py", "--clothing {clothing} --bccd {bccd} --work {work}"),
    Benchmark("norm_trap", "norm_trap.py", "--work {work}"),
    Benchmark("robust_clothing", "robust.py", "clothing --clothing {clothing} --work {work}"),
    Benchmark(
        "robust_digits",
        "robust.py",
        "digits --work {work} --size 64 --eps 8/255,16/255 --train-eps 8/255",
    ),
    Benchmark("against_fastai", "against_fastai.py", "{clothing}"),
    Benchmark("trainers", "against_trainers.py", "clothing --clothing {clothing} --work {work}"),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what can be run; 1 where one of them failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of the JSON files")
    parser.add_argument(
        "--only", help="names, with commas; " + ", ".join(b.name for b in BENCHMARKS)
    )
    for name, told in FOLDERS.items():
        parser.add_argument(f"--{name}", type=Path, help=told)
    asked = parser.parse_args(arguments)
    known = {one.name: one for one in BENCHMARKS}
    wanted = asked.only.split(",") if asked.only else list(known)
    if unknown := [name for name in wanted if name not in known]:
        parser.error(f"--only: {', '.join(unknown)} is not known; known: {', '.join(known)}")
    asked.out.mkdir(parents=True, exist_ok=True)
    return int(any([_failed(known[name], asked) for name in wanted]))


def _failed(one: Benchmark, asked: argparse.Namespace) -> bool:
    """Run one, unless a folder is missing or its result is there."""
    result = asked.out / f"{one.name}.json"
    if missing := [f"--{name}" for name in one.needs if getattr(asked, name) is None]:
        print(f"{one.name}: skipped, it needs {' and '.join(missing)}", flush=True)
        return False
    if result.exists():
        print(f"{one.name}: {result} is there", flush=True)
        return False
    places = {name: getattr(asked, name) for name in FOLDERS} | {"work": asked.out / "work"}
    words = [word.format(**places) for word in one.words.split()]
    command = [sys.executable, str(HERE / one.script), *words, "--json", str(result)]
    print("+", *command, flush=True)
    return subprocess.run(command, check=False).returncode != 0


if __name__ == "__main__":
    sys.exit(main())
