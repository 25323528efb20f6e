"""Five sets of pictures for measurements, as folders with a part to learn from and a measured one.

clothing  photos of garments, 10 classes: a folder with train/ and validation/, read where it lies
elpv      solar cells, from the package elpv-dataset: two classes, as is usual: defect probability
          0 or 1/3 is functional, 2/3 or 1 is defective. The package's authors split cells at
          random, 3 : 1; here whole modules are kept together, which is harder (see `_modules`)
digits    scikit-learn's 1,797 digits of 8 × 8 pixels: 100 of each class to learn from
bccd      blood cells cut out of smears by their boxes, 3 classes; official train and val smears
fashion   Fashion-MNIST of Debian's package dataset-fashion-mnist: 300 and 100 of each class

Pictures are written once, into --work; what is missing is skipped with a word.
"""

import argparse
import gzip
import itertools
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt
from PIL import Image

SEED = 0  # of all draws and splits here
MODULE = 60  # cells of a solar module
DIGITS = 100  # of each class to learn from
FASHION = {"train": ("train", 300), "test": ("t10k", 100)}  # part → file, pictures of each class
FASHION_FOLDER = Path("/usr/share/datasets/fashion-mnist")  # where Debian's package puts it
FASHION_CLASSES = (
    *("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag"),
    "ankle-boot",
)
SMALLEST = 8  # pixels: boxes with a shorter side hold no cell

Bytes = npt.NDArray[np.uint8]


class Missing(Exception):
    """A set that is not on this machine; says what to do."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where the sets are, and where their pictures go."""
    default = Path(tempfile.gettempdir()) / "regraft-benchmarks"
    parser.add_argument("--work", type=Path, default=default, help="folder for pictures and cache")
    parser.add_argument("--clothing", type=Path, help="folder with train/ and validation/")
    parser.add_argument("--bccd", type=Path, help="folder with Annotations/ and JPEGImages/")
    parser.add_argument("--fashion", type=Path, default=FASHION_FOLDER)


def folder(name: str, asked: argparse.Namespace) -> Path | None:
    """The folder of a set, its pictures written where need be; None, and a word, if it is missing.

    asked  with what `add_arguments` adds
    """
    if name not in SETS:
        raise SystemExit(f"{name!r} is not one of {', '.join(SETS)}")
    try:
        if name == "clothing":
            return _given(asked.clothing, "clothing", "train")
        return _once(asked.work / name, lambda place: WRITERS[name](place, asked))
    except Missing as error:
        print(f"skipped: {name}: {error}")
        return None


def measured_part(place: Path) -> Path:
    """The sub-folder that nothing is learned from."""
    return next(place / part for part in ("test", "validation") if (place / part).is_dir())


def _given(place: Path | None, option: str, holds: str) -> Path:
    if place is None or not (place / holds).is_dir():
        raise Missing(f"give --{option} with a folder that has {holds}/, got {place}")
    return place


def _once(target: Path, write: Callable[[Path], None]) -> Path:
    """Written aside and renamed: a folder that is there is whole."""
    if not target.is_dir():
        target.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
        try:
            write(aside / "new")
            (aside / "new").rename(target)
        finally:
            shutil.rmtree(aside)
    return target


def _place(root: Path, part: str, label: str, name: str) -> Path:
    path = root / part / label / name
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


# --- solar cells ---------------------------------------------------------------------------------


def _write_elpv(root: Path, asked: argparse.Namespace) -> None:
    from sklearn.model_selection import StratifiedGroupKFold

    source = _elpv_folder()
    cells = [line.split() for line in (source / "labels.csv").read_text().splitlines()]
    strata = [f"{float(grade):.2f} {kind}" for _, grade, kind in cells]
    folds = StratifiedGroupKFold(4, shuffle=True, random_state=SEED)
    _, test = next(folds.split(strata, strata, _modules([kind for *_, kind in cells])))
    measured = set(test.tolist())
    for i, (file, grade, _) in enumerate(cells):
        label = "defective" if float(grade) > 0.5 else "functional"
        part = "test" if i in measured else "train"
        shutil.copyfile(source / file, _place(root, part, label, Path(file).name))


def _elpv_folder() -> Path:
    from importlib.util import find_spec

    found = find_spec("elpv_dataset")
    if found is None or found.origin is None:
        raise Missing("pip install elpv-dataset")
    return Path(found.origin).parent / "data"


def _modules(kinds: list[str]) -> list[int]:
    """A number for the module of each cell.

    The package does not name them, but its cells stand module after module: in every run of one
    kind (mono, poly) each 60 cells are taken as one. That gives 44 or so, as many as there are.
    """
    numbers: list[int] = []
    for _, run in itertools.groupby(kinds):
        first = numbers[-1] + 1 if numbers else 0
        numbers += [first + i // MODULE for i, _ in enumerate(run)]
    return numbers


# --- digits, cells, fashion ----------------------------------------------------------------------


def _write_digits(root: Path, asked: argparse.Namespace) -> None:
    from regraft.verbs.demo import write_digits

    write_digits(root, DIGITS, SEED)


def _write_bccd(root: Path, asked: argparse.Namespace) -> None:
    source = _given(asked.bccd, "bccd", "Annotations")
    for listed, part in (("train", "train"), ("val", "test")):
        for name in (source / "ImageSets" / "Main" / f"{listed}.txt").read_text().split():
            with Image.open(source / "JPEGImages" / f"{name}.jpg") as opened:
                smear = opened.convert("RGB")
            for i, (label, box) in enumerate(_boxes(source / "Annotations" / f"{name}.xml")):
                smear.crop(box).save(_place(root, part, label, f"{name}_{i:02d}.png"))


def _boxes(path: Path) -> Iterator[tuple[str, tuple[int, int, int, int]]]:
    for thing in ElementTree.parse(path).iter("object"):
        ends = (thing.findtext(f"bndbox/{end}") for end in ("xmin", "ymin", "xmax", "ymax"))
        left, top, right, bottom = (int(end or 0) for end in ends)
        if min(right - left, bottom - top) >= SMALLEST:
            yield str(thing.findtext("name")), (left, top, right, bottom)


def _write_fashion(root: Path, asked: argparse.Namespace) -> None:
    if not (asked.fashion / "train-images-idx3-ubyte.gz").is_file():
        raise Missing(f"apt-get install dataset-fashion-mnist, or give --fashion; {asked.fashion}")
    rng = np.random.default_rng(SEED)
    for part, (file, each) in FASHION.items():
        pictures = _idx(asked.fashion / f"{file}-images-idx3-ubyte.gz", 16).reshape(-1, 28, 28)
        labels = _idx(asked.fashion / f"{file}-labels-idx1-ubyte.gz", 8)
        for c, label in enumerate(FASHION_CLASSES):
            for i in np.sort(rng.permutation(np.flatnonzero(labels == c))[:each]):
                Image.fromarray(pictures[i]).save(_place(root, part, label, f"{i:05d}.png"))


def _idx(path: Path, header: int) -> Bytes:
    with gzip.open(path) as stream:
        return np.frombuffer(stream.read(), np.uint8, offset=header)


WRITERS: Mapping[str, Callable[[Path, argparse.Namespace], Any]] = MappingProxyType(
    {
        "elpv": _write_elpv,
        "digits": _write_digits,
        "bccd": _write_bccd,
        "fashion": _write_fashion,
    }
)
SETS = ("clothing", *WRITERS)
