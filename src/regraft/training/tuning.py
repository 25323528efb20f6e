"""One strategy on one set of examples: what the ladder and the comparison both do.

run = ready(wanted, row, spec, head, temperature, lesson, plan, kind)
trained = run.training(execution=..., checkpoints=...).run()
"""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from regraft.backbones.catalog import CatalogRow
from regraft.backbones.readers import Example, reader
from regraft.backbones.runtimes import lanes
from regraft.data.inline import contents
from regraft.errors import UsageError
from regraft.modalities.base import Modality
from regraft.modalities.spec import InputSpec
from regraft.progress import Progress
from regraft.training.attacking import Attacking
from regraft.training.devices import fabric_for
from regraft.training.examples import Augmented, Steps, loader
from regraft.training.grafted import Grafted
from regraft.training.judging import Held
from regraft.training.loop import Training
from regraft.training.losses import class_weights
from regraft.training.norms import estimate_norms
from regraft.training.objectives import Taught, Vectors
from regraft.training.plan import Plan
from regraft.training.start import begun, parts_that_learn
from regraft.training.strategies import Strategy
from regraft.training.teaching import Teaching
from regraft.training.terms import Material
from regraft.training.views import KeptViews
from regraft.transfer.probe import Head
from regraft.transfer.targets import CLASSES, Target

TIMED = 2  # steps, after one that warms up
LOOKED_AT = 3  # parts of an example that is held back: all of them would fill the memory
ESTIMATED_ON = 32  # batches that the statistics of BatchNorm are taken from

Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Lesson:
    """Examples to learn from.

    files, shas, labels  (n) of each; in place of labels what else is right: see `Target`
    classes              number of them
    teaching             what a teacher says of them
    """

    files: Sequence[str]
    shas: Sequence[str]
    labels: Numbers
    classes: int
    teaching: Teaching | None = None
    target: Target = CLASSES

    def some(self, place: Numbers) -> "Lesson":
        """Those at some places."""
        files, shas = ([column[int(i)] for i in place] for column in (self.files, self.shas))
        taught = self.teaching and self.teaching.some(place)
        return Lesson(files, shas, self.labels[place], self.classes, taught, self.target)


class Pace(NamedTuple):
    """What a run takes, in seconds.

    step    with the examples that it learns from
    before  computing what is kept of the examples
    """

    step: float
    before: float = 0.0


def rehearsed(run: Training) -> tuple[float, float]:
    """Seconds of a step, and of loading its examples; nothing moves."""
    begin = time.perf_counter()
    batches = list(run.batches(range(TIMED + 1), run.plan.seed))
    loading = (time.perf_counter() - begin) / len(batches)
    with run.rehearsing():
        run.rehearse(batches[0])
        begin = time.perf_counter()
        for batch in batches[1:]:
            run.rehearse(batch)
    return (time.perf_counter() - begin) / TIMED, loading


@dataclass(frozen=True)
class Ready:
    """A run that is ready to begin."""

    wanted: Strategy
    row: CatalogRow
    spec: InputSpec
    model: Grafted
    plan: Plan
    material: Material

    def training(self, **settings: Any) -> Training:
        """The run itself; `settings` are those of `Training`.

        Raises UsageError for a compiled network where its attack goes into what is compiled.
        """
        if (execution := settings.get("execution")) and execution.compiled:
            Attacking.of(self.plan.attack).refuse_compiled()
        parts = parts_that_learn(self.model, self.wanted, self.row, self.plan)
        return Training(self.model, parts, self.plan, self.material, **settings)

    def fill(self, progress: Progress) -> None:
        """Compute what is kept of the examples, if anything is."""
        if isinstance(self.material.examples, KeptViews):
            self.material.examples.fill(progress)

    def held(self, lesson: Lesson) -> Held:
        """Examples to judge on, as this model takes them."""
        return self.taken(held_back(lesson, self.material.examples.modality, self.row, self.spec))

    def taken(self, held: Held) -> Held:
        """Prepared examples as this model takes them."""
        if not isinstance(self.material.examples, KeptViews):
            return held
        run = self.material.examples.engine.run
        vectors = [run(pixels.numpy()) for pixels in held.pixels]
        found = torch.from_numpy(np.stack(vectors))
        return Held(found, held.labels, parts=held.parts, target=held.target)

    def pace(self) -> Pace:
        """What the run takes, by a rehearsal; nothing moves."""
        parts = parts_that_learn(self.model, self.wanted, self.row, self.plan)
        step, loading = rehearsed(Training(self.model, parts, self.plan, self.material))
        if ahead := self.material.examples.ahead:
            return Pace(step, ahead / self.plan.batch * loading / lanes())
        return Pace(step + loading)


def ready(
    wanted: Strategy,
    row: CatalogRow,
    spec: InputSpec,
    head: Head,
    temperature: float,
    lesson: Lesson,
    plan: Plan,
    kind: Modality,
    engine: str = "torch",
) -> Ready:
    """The model of a strategy as it begins, and its examples as they are augmented.

    engine  for the shallow half, where it is run beforehand
    """
    _refuse_attack(wanted, spec, plan)
    model = begun(wanted, row, spec, head, temperature, plan.seed, plan.reinit)
    parsed = kind.augmentations(plan.augment)
    read = reader(spec).open(row, spec)
    examples = Augmented(lesson.files, lesson.shas, kind, spec, parsed, plan.seed, read)
    if wanted.prefix:
        prefix = model.halve(plan.frozen).prefix
        examples = KeptViews(examples, prefix, engine, plan.views)
    material = MATERIALS[lesson.target.losses_of](lesson, examples, plan)
    if lesson.teaching is not None:
        _refuse_unseen(wanted, lesson.teaching)
        material = replace(material, objective=Taught(plan, material, lesson.teaching))
    NORMS[plan.norm](model, material, plan)
    return Ready(wanted, row, spec, model, plan, material)


def _of_classes(lesson: Lesson, examples: Augmented, plan: Plan) -> Material:
    counts = torch.from_numpy(np.bincount(lesson.labels, minlength=lesson.classes))
    weights = None if plan.weights == "none" else class_weights(counts, plan.weights)
    return Material(examples, lesson.labels, lesson.classes, weights)


def _of_vectors(lesson: Lesson, examples: Augmented, plan: Plan) -> Material:
    objective = Vectors(plan, lesson.labels, examples.wanted)
    strata = lesson.target.strata(lesson.labels)
    return Material(examples, strata, lesson.classes, objective=objective)


# By the kind of losses that there are for a target: what a run learns from.
MATERIALS: Mapping[str, Callable[[Lesson, Augmented, Plan], Material]] = MappingProxyType(
    {"classes": _of_classes, "labels": _of_vectors, "values": _of_vectors}
)


def _refuse_attack(wanted: Strategy, spec: InputSpec, plan: Plan) -> None:
    """Raise UsageError where there is nothing that the attack could change."""
    attack = Attacking.of(plan.attack)
    if attack.eps and wanted.prefix:
        raise UsageError(
            f"attack: {wanted.name} keeps activations of the shallow half, and an attack changes "
            "what the network reads; choose another strategy"
        )
    attack.refuse_other(spec.reads)


def _refuse_unseen(wanted: Strategy, teaching: Teaching) -> None:
    """Raise UsageError where the teacher should see pictures that are not there."""
    if teaching.see is not None and wanted.prefix:
        raise UsageError(
            f"consistent: {wanted.name} keeps activations of the shallow half, and the teacher "
            "reads pictures; choose another strategy"
        )


def _as_they_are(model: Grafted, material: Material, plan: Plan) -> None:
    pass


def _estimated(model: Grafted, material: Material, plan: Plan) -> None:
    device = fabric_for(plan.precision).device
    steps = Steps(material.labels, plan.batch, range(ESTIMATED_ON), plan.seed)
    batches = (batch.pixels for batch in loader(material.examples, steps))
    estimate_norms(model.to(device), batches, device)


# How the statistics of BatchNorm are before the first step.
NORMS: dict[str, Callable[[Grafted, Material, Plan], None]] = {
    "frozen": _as_they_are,
    "free": _as_they_are,
    "estimated": _estimated,
}


def held_back(lesson: Lesson, kind: Modality, row: CatalogRow, spec: InputSpec) -> Held:
    """Examples to judge on, prepared as they are when the model is used.

    Where views are parts of an example, LOOKED_AT of them stand for all.
    """
    reads = reader(spec)
    read = reads.open(row, spec)
    views = _spread(spec.views, LOOKED_AT) if kind.parts else spec.views[:1]

    def seen(file: str) -> list[Example]:
        raw = kind.decode(contents(file), file, spec).raw
        return [read(kind.prepare(raw, spec, view)) for view in views]

    with ThreadPoolExecutor(lanes()) as pool:
        by_view = zip(*pool.map(seen, lesson.files), strict=True)
        found = reads.collate([example for some in by_view for example in some])
    labels = torch.from_numpy(lesson.labels)
    return Held(torch.from_numpy(found), labels, reads.cut, len(views), lesson.target)


def _spread(views: Sequence[str], most: int) -> list[str]:
    """At most so many of them, evenly."""
    places = np.linspace(0, len(views) - 1, min(len(views), most)).round().astype(int)
    return [views[i] for i in places]
