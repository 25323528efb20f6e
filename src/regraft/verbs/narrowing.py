"""One point of a pruning: a narrower network learns again, and gets a head and its calibration."""

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from regraft.backbones.catalog import CatalogRow
from regraft.backbones.extractor import Extractor
from regraft.backbones.features import Pass
from regraft.backbones.operations import seconds_each
from regraft.backbones.store import Store
from regraft.data.dataset import Dataset
from regraft.data.inspection import inspect
from regraft.evaluation.calibration import fit_temperature
from regraft.evaluation.operating import HELD_BACK
from regraft.modalities import modality
from regraft.modalities.augment import DEFAULT
from regraft.model.model import Model, features
from regraft.progress import Progress
from regraft.recipe import Recipe
from regraft.training.plan import Plan
from regraft.training.strategies import Strategy
from regraft.transfer.probe import Head, HeadFit
from regraft.verbs.ground import divided
from regraft.verbs.kept import kept_head
from regraft.verbs.measuring import short
from regraft.verbs.prepare import Prepared
from regraft.verbs.rungs import Judged, Learning, Numbers, Rung, calibrated, features_of, positions
from regraft.verbs.rungs import rows as rows_of
from regraft.verbs.told import judged_on, network_told

if TYPE_CHECKING:
    from torch import Tensor

    from regraft.training.grafted import Grafted
    from regraft.training.teaching import Teaching
    from regraft.training.tuning import Lesson, Ready

# A model → what it is in while it learns again.
Within = Callable[["Grafted"], AbstractContextManager[Any]]

RECOVERY = Strategy(
    "recover",
    "learns again from the network as it was",
    settings={"rate": 1e-3, "shallow": 0.5, "head": 1.0},
    needs="full",
)
BATCH = 32
TAUGHT_BY = 256  # examples that tell which channels are important
MOST_EPOCHS = 30
LEAST_STEPS = 4
SHARE = 0.85  # of the time that is for steps: the rest is for heads and features


@dataclass(frozen=True)
class Lost:
    """A network on the examples held back, and what it takes.

    seconds  for one example, at one thread, the head left out
    """

    accuracy: float
    n: int
    macs: int
    parameters: int
    seconds: float

    def told(self, name: str) -> dict[str, Any]:
        """Plain data."""
        return {"name": name, **asdict(self)}


@dataclass(frozen=True)
class Narrowed:
    """One point: the model, what it is worth on held-back examples, how it was made."""

    target: str
    model: Model
    held: Lost
    how: str
    training: dict[str, Any]


@dataclass(frozen=True)
class Narrower:
    """What all points share: the model, its examples, and which of them are held back."""

    model: Model
    one: Extractor
    data: Dataset
    files: list[str]
    shas: Sequence[str]
    train: Learning
    held: Learning
    seed: int
    store: Store
    progress: Progress

    @classmethod
    def of(cls, model: Model, taught: Dataset, seed: int, store: Store, progress: Progress) -> Self:
        """By the path of a fit: what cannot be read leaves, what is alike stays together."""
        spec = replace(model.extractors[0].spec, views=model.extractors[0].spec.views[:1])
        one = Extractor(model.extractors[0].row, spec, model.extractors[0].engine_name)
        files = taught.table["path"].to_list()
        seen = features([one], files, model.modality, store=store, progress=progress)
        found = inspect(taught, seen.shas, seen.looks)
        source = taught.split_source if taught.split_source == "given" else "none"
        data = replace(found.dataset, classes=model.classes, split_source=source)
        clean = rows_of(seen, positions(taught, data))
        learning = Learning.of(Prepared(data, found.together))
        train, held = divided(learning, seed)
        return cls(
            *(model, one, data, data.table["path"].to_list(), clean.shas),
            *(learning.some(train), learning.some(held), seed, store, progress),
        )

    def seen(self, one: Extractor, place: Numbers) -> Pass:
        """A pass over some of the examples."""
        some = [self.files[int(i)] for i in place]
        return features([one], some, self.model.modality, store=self.store, progress=self.progress)

    def head(self, one: Extractor) -> HeadFit:
        """The closed-form linear head on the examples to train on."""
        seen = self.seen(one, self.train.place)
        return kept_head(
            self.store,
            features_of(seen),
            self.train.labels,
            classes=self.train.classes,
            widths=seen.widths,
            groups=self.train.groups,
            seed=self.seed,
        )

    def lesson(self, some: Learning) -> "Lesson":
        """Files and labels."""
        from regraft.training.tuning import Lesson

        files, shas = ([col[int(i)] for i in some.place] for col in (self.files, self.shas))
        return Lesson(files, shas, some.labels, some.classes)

    def teacher(self) -> "Grafted":
        """The network as it was, under a linear head: its own where that is one."""
        from regraft.training.grafted import grafted

        if self.model.head.kernels:
            fit = self.head(self.one)
            temperature = fit_temperature(fit.left_out, self.train.labels)
            return grafted(self.one.row, self.one.spec, fit.head, temperature)
        return grafted(self.one.row, self.one.spec, self.model.head, self.model.temperature)

    def batches(self) -> "list[tuple[Tensor, Tensor]]":
        """Some examples to train on, as they are, by which channels are weighed."""
        from regraft.training.tuning import held_back

        order = np.random.default_rng([self.seed, 43]).permutation(len(self.train.labels))
        lesson = self.lesson(self.train.some(np.sort(order[:TAUGHT_BY])))
        kind = modality(self.model.modality)
        held = held_back(lesson, kind, self.one.row, self.one.spec)
        return list(zip(held.pixels.split(BATCH), held.labels.split(BATCH), strict=True))

    @cached_property
    def before(self) -> Lost:
        """The network as it was, under the head that the same examples give."""
        scores = self.head(self.one).head.scores(features_of(self.seen(self.one, self.held.place)))
        return self._lost(self.one, scores)

    def _lost(self, one: Extractor, scores: Any) -> Lost:
        right = scores.argmax(1) == self.held.labels
        count = sum(p.numel() for p in one.network.module.parameters())
        seconds = seconds_each(one.engine_on(1), one.spec)
        return Lost(float(right.mean()), len(right), one.macs, count, seconds)

    # --- one point -------------------------------------------------------------------------------

    def recovered(
        self,
        target: str,
        row: CatalogRow,
        seconds: float,
        wanted: Strategy = RECOVERY,
        within: Within = nullcontext,
    ) -> Narrowed:
        """A smaller network after it has learned again for about so many seconds.

        within  what the model is in while it learns
        """
        narrow = Extractor(row, self.one.spec, self.one.engine_name)
        with self.progress.stage(f"{target}: its head", 1) as advance:
            fit = self.head(narrow)
            advance(1)
        began = time.monotonic()
        ready = self._ready(narrow, fit, wanted)
        with within(ready.model):
            steps = self._steps(ready, seconds - (time.monotonic() - began))
            ready = replace(ready, plan=replace(ready.plan, steps=steps))
            told = self._trained(ready, began + seconds if steps > LEAST_STEPS else None)
        tuned = self._tuned(ready, row)
        return self._calibrated(target, tuned, ready, told)

    def _ready(self, narrow: Extractor, fit: HeadFit, wanted: Strategy) -> "Ready":
        """A run of one step: how many there may be is not known yet."""
        from regraft.training.objectives import Taught
        from regraft.training.start import settings_of
        from regraft.training.tuning import ready

        kind, size = modality(self.model.modality), narrow.spec.size
        settings = settings_of(wanted, {"augment": DEFAULT})
        plan = Plan(**settings, size=size, steps=1, batch=BATCH, seed=self.seed)
        temperature = fit_temperature(fit.left_out, self.train.labels)
        about = (wanted, narrow.row, narrow.spec, fit.head, temperature)
        made = ready(*about, self.lesson(self.train), plan, kind)
        objective = Taught(plan, made.material, self._teaching())
        return replace(made, material=replace(made.material, objective=objective))

    def _teaching(self) -> "Teaching":
        """The network as it was answers to each augmented picture anew; no answer is kept."""
        import torch

        from regraft.training.teaching import Teaching

        teacher = self.teacher().eval().requires_grad_(False)
        known = np.ones(len(self.train.labels), bool)
        none = np.zeros((len(known), self.train.classes))

        def see(pixels: "Tensor") -> "Tensor":
            with torch.no_grad():
                answers: Tensor = teacher.to(pixels.device)(pixels)
            return answers

        return Teaching(none, known, known, see=see)

    def _steps(self, ready: "Ready", seconds: float) -> int:
        from regraft.training.tuning import rehearsed

        step, loading = rehearsed(ready.training())
        most = MOST_EPOCHS * len(self.train.labels) // BATCH
        return int(np.clip(SHARE * seconds / (step + loading), LEAST_STEPS, max(LEAST_STEPS, most)))

    def _trained(self, ready: "Ready", until: float | None) -> dict[str, Any]:
        """Train, and put the weights that are best on what is held back into the model."""
        from regraft.training.averaging import put
        from regraft.training.devices import usual_workers
        from regraft.training.terms import Execution

        judge = ready.held(self.lesson(self.held))
        run = ready.training(
            held=judge,
            execution=Execution(workers=usual_workers(), until=until),
            progress=self.progress,
        )
        trained = run.run()
        best, least = trained.last, np.inf
        for state in filter(None, (trained.last, trained.average, trained.best)):
            put(ready.model, state)
            if (loss := judge.score(ready.model, run.device).loss) < least:
                best, least = state, loss
        put(ready.model, best)
        start = None if run.start is None else run.start.accuracy
        curve = [asdict(point) for point in trained.curve]
        return {"steps": trained.steps, "start_accuracy": start, "curve": curve}

    def _tuned(self, ready: "Ready", row: CatalogRow) -> Extractor:
        from regraft.training.tuned import tuned_row

        tuned = tuned_row(ready.model.cpu(), row, ready.spec, ready.wanted.name)
        return Extractor(tuned, ready.spec, self.one.engine_name)

    def _calibrated(
        self, target: str, tuned: Extractor, ready: "Ready", told: dict[str, Any]
    ) -> Narrowed:
        """With the trained head or the closed-form one, by log-loss on what is held back."""
        from regraft.training.judging import score_of

        place = np.union1d(self.train.place, self.held.place)
        seen = self.seen(tuned, place)
        whole = np.full((len(self.files), sum(seen.widths)), np.nan, np.float32)
        whole[place] = features_of(seen)
        held = whole[self.held.place]
        heads: dict[str, Head] = {"trained": ready.model.head(), "solved": self.head(tuned).head}
        losses = {k: score_of(h.scores(held), self.held.labels).loss for k, h in heads.items()}
        name = min(losses, key=lambda k: losses[k])
        scores = heads[name].scores(held)
        looks = self.seen(tuned, np.arange(0)).looks
        rung = Rung(
            kind="pruned",
            extractors=(tuned,),
            seen=Pass(tuple(self.shas), looks, whole, seen.widths),
            head=heads[name],
            judged=Judged(HELD_BACK, self.held.place, self.held.labels, scores),
            seconds=0.0,
        )
        recipe = Recipe.from_dict(self.model.record["recipe"]).changed(at=None, positive=None)
        made = calibrated(rung, self.data, self.train, recipe)
        if (point := self.model.operating) is not None:
            made = made.at(point.asked, point.positive)
        return Narrowed(
            target,
            replace(made, record=self._record(rung)),
            self._lost(tuned, scores),
            f"{told['steps']} steps of learning again, head {name}",
            told,
        )

    def _record(self, rung: Rung) -> dict[str, Any]:
        """The old model's, with what is true of the new one."""
        every = np.union1d(self.train.place, self.held.place)
        own = {
            "backbones": [network_told(one) for one in rung.extractors],
            "learned": [short(self.shas[int(i)]) for i in every],
            "judged_on": judged_on(rung),
            "held_back": {"accuracy": rung.judged.score, "n": len(rung.judged.labels)},
        }
        old = {k: v for k, v in self.model.record.items() if k != "leave_one_out"}
        return {**old, **own}
