"""A small lesson for all training tests: pictures of three kinds, the probe on them."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch

from regraft.backbones.catalog import DEFAULT, CatalogRow, find
from regraft.backbones.network import load_network
from regraft.evaluation.calibration import fit_temperature
from regraft.modalities import modality
from regraft.modalities.spec import InputSpec
from regraft.training.judging import Held
from regraft.training.plan import Plan
from regraft.training.strategies import strategy
from regraft.training.tuning import Lesson, Ready, held_back, ready
from regraft.transfer.probe import Head, fit_head

KINDS = ("disc", "square", "stripes")
SIZE = 32
EACH = 8


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Beside other test processes, networks on all cores crawl."""
    torch.set_num_threads(1)


class Setting(NamedTuple):
    """What every run of these tests begins with; `later` are the examples of `held`."""

    folder: Path
    row: CatalogRow
    spec: InputSpec
    head: Head
    temperature: float
    lesson: Lesson
    later: Lesson
    held: Held

    def ready(self, name: str = "lp-ft", **settings: object) -> Ready:
        """A run of a strategy; settings of its plan."""
        wanted = strategy(name)
        plan = Plan(
            **{
                "strategy": name,
                "size": self.spec.size,
                "steps": 4,
                "batch": 6,
                **wanted.settings,
                **settings,
            }
        )
        start = (self.row, self.spec, self.head, self.temperature)
        return ready(wanted, *start, self.lesson, plan, modality("image"))


def lesson_of(folder: Path) -> Lesson:
    files = [path for name in KINDS for path in sorted((folder / name).iterdir())]
    shas = [hashlib.sha256(path.read_bytes()).hexdigest() for path in files]
    labels = np.array([KINDS.index(path.parent.name) for path in files])
    return Lesson([str(path) for path in files], shas, labels, len(KINDS))


def setting_of(folder: Path) -> Setting:
    """With what lies in the folder; another process makes the same of it."""
    lesson, later = lesson_of(folder / "train"), lesson_of(folder / "held")
    row = find(DEFAULT)
    spec = replace(row.spec.at(SIZE), crop_fraction=1.0)
    kind, network = modality("image"), load_network(row, spec)
    with torch.no_grad():
        features = network(held_back(lesson, kind, spec).pixels).numpy()
    fit = fit_head(features, lesson.labels, classes=3, widths=network.block_widths)
    temperature = fit_temperature(fit.left_out, lesson.labels)
    held = held_back(later, kind, spec)
    return Setting(folder, row, spec, fit.head, temperature, lesson, later, held)


@pytest.fixture(scope="session")
def setting(write_photos: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Setting:
    folder = tmp_path_factory.mktemp("lesson")
    write_photos(folder / "train", {name: range(EACH) for name in KINDS})
    write_photos(folder / "held", {name: range(100, 104) for name in KINDS})
    return setting_of(folder)
