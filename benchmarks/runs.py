"""One training run on the pictures of a folder, as the ladder and the comparison begin it.

What partial.py, norm_trap.py and steps.py share.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from regraft.backbones.catalog import CatalogRow
from regraft.backbones.extractor import extractor
from regraft.backbones.features import pass_over
from regraft.backbones.reading import hash_files
from regraft.backbones.store import Store
from regraft.data.dataset import Dataset
from regraft.evaluation.calibration import fit_temperature
from regraft.modalities import modality
from regraft.modalities.spec import InputSpec
from regraft.training.averaging import put
from regraft.training.judging import Held, logits_of
from regraft.training.loop import Training
from regraft.training.plan import Plan
from regraft.training.start import settings_of
from regraft.training.strategies import Strategy
from regraft.training.terms import Trained
from regraft.training.tuning import Lesson, Ready, held_back, ready
from regraft.transfer.probe import Head, HeadFit, fit_head
from regraft.transfer.scaling import BlockScaling

KIND = modality("image")


@dataclass(frozen=True)
class Ground:
    """A network at a size, and examples to learn from, with the closed-form head on them.

    engine  the fastest here
    """

    row: CatalogRow
    spec: InputSpec
    lesson: Lesson
    fit: HeadFit
    engine: str

    def begun(self, wanted: Strategy, plan: Plan, engine: str = "torch") -> Ready:
        """A run of a strategy, from this head."""
        temperature = fit_temperature(self.fit.left_out, self.lesson.labels)
        about = (wanted, self.row, self.spec, self.fit.head, temperature, self.lesson, plan, KIND)
        return ready(*about, engine=engine)


def spec_at(row: CatalogRow, size: int) -> InputSpec:
    """As a fit begins with: the whole shorter side of a picture."""
    return replace(row.spec.at(size), crop_fraction=1.0)


def lesson_of(view: Dataset) -> Lesson:
    """The files of a view, hashed."""
    files = view.table["path"].to_list()
    shas = [str(sha) for sha in hash_files(files)]
    return Lesson(files, shas, view.targets, len(view.classes))


def ground(view: Dataset, row: CatalogRow, size: int, seed: int, store: Store) -> Ground:
    """With the head of frozen features, which the store keeps."""
    lesson, spec = lesson_of(view), spec_at(row, size)
    one = extractor(row, spec)
    seen = pass_over(list(lesson.files), KIND, store, one)
    assert seen.features is not None
    asked = {"classes": lesson.classes, "widths": seen.widths, "seed": seed}
    fit = fit_head(seen.features, lesson.labels, **asked)
    return Ground(row, spec, lesson, fit, one.engine_name)


def plan_of(wanted: Strategy, length: Mapping[str, int], **given: Any) -> Plan:
    """The strategy's plan with some settings of one's own.

    length  size, steps, batch and seed
    """
    return Plan(**settings_of(wanted, given) | length)


def batch_for(examples: int) -> int:
    """As `fit` chooses it."""
    return int(np.clip(examples // 10, 8, 32))


def trained(run: Training) -> Trained:
    """The whole run; the weights that count are in the model afterwards."""
    found = run.run()
    put(run.model, found.last if found.average is None else found.average)
    return found


def accuracy(begun: Ready, held: Held) -> float:
    """Of the model as it is, on examples as `Ready.held` prepares them."""
    device = next(begun.model.parameters()).device
    answers = logits_of(begun.model, held.pixels, device).argmax(1)
    return float((answers == held.labels.numpy()).mean())


def held_of(view: Dataset, row: CatalogRow, spec: InputSpec) -> Held:
    """Examples to measure on, prepared."""
    return held_back(lesson_of(view), KIND, row, spec)


def no_head(widths: Sequence[int], classes: int) -> Head:
    """Stands where only the number of classes is asked for: a strategy with a fresh head."""
    blank = BlockScaling(np.zeros(sum(widths)), np.ones(sum(widths)), tuple(widths))
    return Head(blank, np.zeros((sum(widths) + 1, classes)), (1.0,) * len(widths), 0.0)


@torch.no_grad()
def by_batch_statistics(begun: Ready, pixels: Tensor, labels: Tensor, batch: int) -> float:
    """Accuracy with BatchNorm as it works in training: by the statistics of each batch."""
    from regraft.training.norms import batch_norms

    norms = [(norm, norm.momentum) for norm in batch_norms(begun.model)]
    for norm, _ in norms:
        norm.training, norm.momentum = True, 0.0
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    some = [part for part in order.split(batch) if len(part) > 1]
    right = [(begun.model(pixels[part]).argmax(1) == labels[part]).float() for part in some]
    for norm, momentum in norms:
        norm.training, norm.momentum = False, momentum
    return float(torch.cat(right).mean())
