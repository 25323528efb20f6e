"""A small lesson for all training tests: pictures of three kinds, the probe on them."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import nn

from regraft.backbones.catalog import DEFAULT, CatalogRow, find
from regraft.backbones.network import load_network
from regraft.data.inline import inlined
from regraft.evaluation.calibration import fit_temperature
from regraft.modalities import modality
from regraft.modalities.base import Modality
from regraft.modalities.spec import InputSpec
from regraft.training.judging import Held
from regraft.training.plan import Plan
from regraft.training.strategies import strategy
from regraft.training.tuning import Lesson, Ready, held_back, ready
from regraft.transfer.probe import Head, fit_head

KINDS = ("disc", "square", "stripes")
TOPICS = ("cooking", "trains", "weather")
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
    kind: Modality = modality("image")

    def ready(self, name: str = "lp-ft", **settings: object) -> Ready:
        """A run of a strategy; settings of its plan."""
        wanted = strategy(name).of(self.spec.reads)
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
        return ready(wanted, *start, self.lesson, plan, self.kind)


def lesson_of(folder: Path) -> Lesson:
    files = [path for name in KINDS for path in sorted((folder / name).iterdir())]
    shas = [hashlib.sha256(path.read_bytes()).hexdigest() for path in files]
    labels = np.array([KINDS.index(path.parent.name) for path in files])
    return Lesson([str(path) for path in files], shas, labels, len(KINDS))


def setting_of(folder: Path, row: CatalogRow, size: int = SIZE) -> Setting:
    """With what lies in the folder; another process makes the same of it."""
    lessons = lesson_of(folder / "train"), lesson_of(folder / "held")
    spec = replace(row.spec.at(size), crop_fraction=1.0)
    return begun_setting(folder, row, spec, *lessons, modality("image"))


def begun_setting(
    folder: Path, row: CatalogRow, spec: InputSpec, lesson: Lesson, later: Lesson, kind: Modality
) -> Setting:
    """With the probe on the examples of the lesson."""
    network, prepared = load_network(row, spec), held_back(lesson, kind, row, spec)
    features = Held(prepared.pixels, prepared.labels, prepared.cut, prepared.parts).logits(
        network, torch.device("cpu")
    )
    fit = fit_head(features, lesson.labels, classes=3, widths=network.block_widths)
    temperature = fit_temperature(fit.left_out, lesson.labels)
    held = held_back(later, kind, row, spec)
    return Setting(folder, row, spec, fit.head, temperature, lesson, later, held, kind)


def texts_of(write: Callable[[str, int], str], numbers: range) -> Lesson:
    """Sentences about three topics, of unequal length."""
    said = [(write(topic, n), c) for c, topic in enumerate(TOPICS) for n in numbers]
    shas = [hashlib.sha256(text.encode()).hexdigest() for text, _ in said]
    return Lesson([inlined(text) for text, _ in said], shas, np.array([c for _, c in said]), 3)


def text_setting(folder: Path, write: Callable[[str, int], str]) -> Setting:
    """With the encoder of texts that lies in the folder."""
    row = find(f"folder:{folder}")
    lessons = texts_of(write, range(EACH)), texts_of(write, range(100, 104))
    return begun_setting(folder, row, row.spec, *lessons, modality("text"))


@pytest.fixture(scope="session")
def lesson_folder(
    write_photos: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("lesson")
    write_photos(folder / "train", {name: range(EACH) for name in KINDS})
    write_photos(folder / "held", {name: range(100, 104) for name in KINDS})
    return folder


@pytest.fixture(scope="session")
def setting(lesson_folder: Path) -> Setting:
    """With the embedded network."""
    return setting_of(lesson_folder, find(DEFAULT))


# --- tiny networks, whose runs take a moment -----------------------------------------------------


def lively(net: nn.Module) -> nn.Module:
    """Random weights, also where libraries begin with zeros and ones."""
    generator = torch.Generator().manual_seed(0)
    for name, tensor in net.state_dict().items():
        if tensor.is_floating_point():
            drawn = torch.randn(tensor.shape, generator=generator)
            tensor.copy_(
                drawn.abs() + 0.5 if "var" in name else drawn / max(4, tensor[0].numel()) ** 0.5
            )
    return net.eval()


def write_timm(folder: Path, name: str, **arguments: Any) -> None:
    import timm
    from timm.models import save_for_hf

    net = lively(timm.create_model(name, num_classes=3, **arguments))
    config = {"input_size": [3, SIZE, SIZE], "crop_pct": 1.0}
    settings = {"model_config": {"pretrained_cfg": config}, "model_args": arguments}
    save_for_hf(net, folder, safe_serialization=True, **settings)


def write_transformers(folder: Path, kind: str, config: str, **arguments: Any) -> None:
    import transformers

    net = lively(getattr(transformers, kind)(getattr(transformers, config)(**arguments)))
    net.save_pretrained(folder)
    mean = {"size": SIZE, "image_mean": [0.5] * 3, "image_std": [0.25] * 3}
    (folder / "preprocessor_config.json").write_text(json.dumps(mean))


TINY: dict[str, Callable[[Path], None]] = {
    "resnet": lambda folder: write_timm(
        folder, "resnet18", layers=[1, 1, 1, 1], channels=[8, 12, 16, 20]
    ),
    "vit": lambda folder: write_timm(
        folder,
        "vit_tiny_patch16_224",
        **{"img_size": SIZE, "patch_size": 8, "embed_dim": 12, "depth": 3, "num_heads": 2},
    ),
    "transformers-vit": lambda folder: write_transformers(
        folder,
        "ViTForImageClassification",
        "ViTConfig",
        **{"image_size": SIZE, "patch_size": 8, "hidden_size": 8, "num_hidden_layers": 2},
        **{"num_attention_heads": 2, "intermediate_size": 16, "num_labels": 3},
    ),
}


class Tiny:
    """Settings with tiny networks, each made once: one of TINY, and a size in pixels."""

    def __init__(self, folder: Path, lesson: Path) -> None:
        self.folder, self.lesson = folder, lesson
        self.made: dict[tuple[str, int], Setting] = {}

    def written(self, name: str) -> Path:
        """Its folder."""
        folder = self.folder / name
        if not folder.exists():
            folder.mkdir()
            TINY[name](folder)
        return folder

    def __call__(self, name: str, size: int = SIZE) -> Setting:
        if (name, size) not in self.made:
            row = find(f"folder:{self.written(name)}")
            self.made[name, size] = setting_of(self.lesson, row, size)
        return self.made[name, size]


@pytest.fixture(scope="session")
def tiny(lesson_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return Tiny(tmp_path_factory.mktemp("tiny"), lesson_folder)


@pytest.fixture(scope="session")
def setting_of_texts(write_sentence: Callable[[str, int], str]) -> Callable[[Path], Setting]:
    """With the encoder of texts that lies in a folder."""
    return lambda folder: text_setting(folder, write_sentence)


@pytest.fixture(scope="session")
def begin() -> Callable[..., Setting]:
    """See `begun_setting`."""
    return begun_setting


@pytest.fixture(scope="session")
def texts(
    save_encoder: Callable[..., Path],
    setting_of_texts: Callable[[Path], Setting],
    tmp_path_factory: pytest.TempPathFactory,
) -> Setting:
    """With a small BERT."""
    return setting_of_texts(save_encoder(tmp_path_factory.mktemp("texts") / "bert"))
