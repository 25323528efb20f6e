"""One strategy on the ladder: planned by the clock, trained, and kept only where it clearly gains.

examples held back → probe on the others → plan → train → which weights → tuned network
→ mixed with the best so far, or dropped
"""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from regraft.backbones.features import Extractor, Pass, pass_over
from regraft.errors import UsageError
from regraft.evaluation.calibration import fit_temperature
from regraft.storage import write_atomically
from regraft.training.plan import Plan
from regraft.training.strategies import Strategy, refusal
from regraft.transfer.inputs import fitting
from regraft.transfer.probe import HeadFit
from regraft.verbs.choosing import mixed_answer, stacked, weight_candidates
from regraft.verbs.ground import Ground, divided
from regraft.verbs.kept import kept_head
from regraft.verbs.rungs import HELD_BACK, Judged, Learning, Numbers, Rung, features_of

if TYPE_CHECKING:
    from regraft.training.averaging import State
    from regraft.training.terms import Trained
    from regraft.training.tuning import Lesson, Ready

LEAST_EPOCHS = 0.5
WANTED_EPOCHS = 4.0  # a smaller picture is taken where the time is too short for so many
MOST_EPOCHS = 30.0
SMALLER = (1.0, 0.85, 0.7, 0.57)  # sizes to choose from, as shares of the probe's
AFTER = 10.0  # seconds for opening the tuned network, calibrating, measuring and the report
SLACK = 1.04  # of the forecast of a step: the machine is never quite the same

# Fields of a recipe that a plan takes over.
PLANNED = (
    "rate",
    "optimiser",
    "schedule",
    "loss",
    "augment",
    "sampling",
    "weights",
    "norm",
    "weight_decay",
    "average",
    "precision",
)


class Climb:
    """One strategy on the ladder; its stages stand below in their order."""

    def __init__(self, ground: Ground, wanted: Strategy, until: float) -> None:
        self.ground, self.wanted, self.until = ground, wanted, until
        self.recipe, self.row = ground.recipe, ground.single.extractors[0].row
        self.told: dict[str, Any] = {}

    def run(self, best: Rung) -> list[Rung] | None:
        """The tuned rung, and the mix with the best so far if that is kept; None: not tried."""
        if reason := refusal(self.wanted, self.row):
            if self.recipe.strategy:
                raise UsageError(f"strategy: {reason}")
            return None
        begin = time.perf_counter()
        train, held = divided(self.ground.learning, self.recipe.seed)
        self.train, self.held = self.ground.learning.some(train), self.ground.learning.some(held)
        if (ready := self._planned()) is None:
            return None
        start, trained = self._trained(ready)
        how = self._chosen(ready, start, trained)
        tuned = self._tuned(ready, how, time.perf_counter() - begin)
        return self._mixed(tuned, best, time.perf_counter() - begin)

    # --- the plan ---------------------------------------------------------------------------------

    def _planned(self) -> "Ready | None":
        """A run with as many steps as the time allows; None where that is too few."""
        if (kept := self._kept_plan()) is not None:
            return self._ready(kept)
        size = self._sizes()[0]
        ready = self._ready(self._plan(size, 1))
        each = ready.step_seconds()
        if (smaller := self._affordable_size(size, each)) != size:
            ready = self._ready(self._plan(smaller, 1))
            each = ready.step_seconds()
        steps = self.recipe_steps() or self._steps(ready, each)
        if steps < 1:
            self.ground.progress.say(f"{self.wanted.name}: not tried, the time is too short")
            return None
        plan = replace(ready.plan, steps=steps)
        self._keep_plan(plan)
        return replace(ready, plan=plan)

    def recipe_steps(self) -> int | None:
        """Steps as the user set them, by number or by epochs."""
        if self.recipe.steps is not None:
            return self.recipe.steps
        if self.recipe.epochs is not None:
            return max(1, round(self.recipe.epochs * len(self.train.labels) / self._batch()))
        return None

    def _batch(self) -> int:
        """Small sets get small batches: at least ten steps an epoch, down to 8."""
        return self.recipe.batch or int(np.clip(len(self.train.labels) // 10, 8, 32))

    def _plan(self, size: int, steps: int) -> Plan:
        from regraft.training.start import settings_of

        given = {name: getattr(self.recipe, name) for name in PLANNED}
        set_by_user = {name: value for name, value in given.items() if value is not None}
        settings = settings_of(self.wanted, set_by_user)
        settings |= {"batch": self._batch(), "seed": self.recipe.seed}
        return Plan(**{**settings, "size": size, "steps": steps})

    def _sizes(self) -> list[int]:
        """From the probe's size down; only that where the user has set it."""
        base = self.ground.single.extractors[0].spec.size
        if self.recipe.size is not None:
            return [base]
        sizes = {fitting(self.row, max(64, round(base * share / 32) * 32)) for share in SMALLER}
        return sorted({size for size in sizes if size <= base} | {base}, reverse=True)

    def _affordable_size(self, first: int, each: float) -> int:
        """The largest size at which WANTED_EPOCHS fit into the time, else the smallest."""
        epoch = each * len(self.train.labels) / self._batch()
        left = self._left()
        for size in self._sizes():
            if epoch * (size / first) ** 2 * WANTED_EPOCHS <= left:
                return size
        return self._sizes()[-1]

    def _left(self) -> float:
        """Seconds for training itself."""
        return self.until - time.monotonic() - self._afterwards()

    def _afterwards(self) -> float:
        """Seconds for what comes after the last step: weights compared, features, the report."""
        one = self.ground.single.extractors[0]
        examples = len(self.held.labels) + len(self.ground.measured)
        rate = (one.rate or 50.0) / len(one.spec.views)
        return AFTER + 2 * examples / rate

    def _deadline(self) -> float:
        return self.until - self._afterwards()

    def _steps(self, ready: "Ready", each: float) -> int:
        """As many as fit, at most MOST_EPOCHS; 0 where they are less than LEAST_EPOCHS."""
        epoch = len(self.train.labels) / ready.plan.batch
        looking = 4 * each / ready.plan.batch * len(self.held.labels)  # all looks of a short run
        fitting_in = (self._left() - looking) / (each * SLACK)
        if fitting_in < LEAST_EPOCHS * epoch:
            return 0
        return int(min(fitting_in, MOST_EPOCHS * epoch))

    def _key(self) -> str:
        examples = sorted(self.ground.shas[int(i)] for i in self.ground.learning.place)
        plain = self._plan(8, 0)
        return plain.key(self.ground.single.extractors[0].fingerprint, *examples)

    def _kept_plan(self) -> Plan | None:
        """The plan of a run that is to go on: its steps were decided by the clock of that day."""
        if self.ground.folder is None:
            return None
        path = self.ground.folder / f"{self._key()}.plan.json"
        return Plan.from_dict(json.loads(path.read_bytes())) if path.exists() else None

    def _keep_plan(self, plan: Plan) -> None:
        if self.ground.folder is not None:
            path = self.ground.folder / f"{self._key()}.plan.json"
            write_atomically(path, json.dumps(plan.to_dict()).encode())

    # --- the run ----------------------------------------------------------------------------------

    def _extractor(self, size: int) -> Extractor:
        one = self.ground.single.extractors[0]
        return Extractor(
            one.row, replace(one.spec.at(size), views=one.spec.views[:1]), one.engine_name
        )

    def _ready(self, plan: Plan) -> "Ready":
        """The run from the probe on the examples to train on, at the plan's size."""
        from regraft.training.tuning import ready

        one = self._extractor(plan.size)
        fit = self._start_head(one)
        temperature = fit_temperature(fit.left_out, self.train.labels)
        return ready(
            self.wanted,
            self.row,
            one.spec,
            fit.head,
            temperature,
            self._lesson(self.train),
            plan,
            self.ground.kind,
        )

    def _start_head(self, one: Extractor) -> HeadFit:
        seen = self._pass(one, self.train.place)
        return self._head(features_of(seen), seen.widths)

    def _head(self, features: Any, widths: Sequence[int]) -> HeadFit:
        """The closed-form head on the features (n, d) of the examples to train on."""
        return kept_head(
            self.ground.store,
            features,
            self.train.labels,
            classes=self.train.classes,
            widths=widths,
            groups=self.train.groups,
            seed=self.recipe.seed,
        )

    def _pass(self, one: Extractor, place: Numbers) -> Pass:
        files, shas = self._of(place)
        ground = self.ground
        return pass_over(files, ground.kind, ground.store, one, ground.progress, shas)

    def _of(self, place: Numbers) -> tuple[list[str], list[str]]:
        whole = self.ground.files, self.ground.shas
        files, shas = ([column[int(i)] for i in place] for column in whole)
        return files, shas

    def _lesson(self, learning: Learning) -> "Lesson":
        from regraft.training.tuning import Lesson

        return Lesson(*self._of(learning.place), learning.labels, learning.classes)

    def _trained(self, ready: "Ready") -> "tuple[State, Trained]":
        from regraft.training.averaging import copied
        from regraft.training.checkpoints import Checkpoints
        from regraft.training.logs import logs
        from regraft.training.terms import Execution
        from regraft.training.tuning import held_back

        folder = self.ground.folder
        self.judge = held_back(self._lesson(self.held), self.ground.kind, ready.spec)
        run = ready.training(
            held=self.judge,
            execution=Execution(until=None if self.recipe_steps() else self._deadline()),
            checkpoints=folder and Checkpoints(folder, self._key()),
            logs=logs(self.recipe.log, folder, ready.plan) if folder else (),
            progress=self.ground.progress,
        )
        start = copied(run.moving())
        trained = run.run()
        self.device, self.start_score = run.device, run.start
        self.told = {
            "name": self.wanted.name,
            "told": self.wanted.told,
            "size": ready.plan.size,
            "plan": ready.plan.to_dict(),
            "steps": trained.steps,
            "curve": [asdict(point) for point in trained.curve],
            "warnings": trained.warnings,
            "start_accuracy": None if run.start is None else run.start.accuracy,
        }
        return start, trained

    # --- what is kept -----------------------------------------------------------------------------

    def _chosen(self, ready: "Ready", start: "State", trained: "Trained") -> str:
        """Put the weights with the least held-back loss into the model; how they came to be."""
        from regraft.training.averaging import put

        best, least, how = start, self.start_score.loss if self.start_score else np.inf, "none"
        for name, state in weight_candidates(trained, start):
            put(ready.model, state)
            score = self.judge.score(ready.model, self.device)
            if score.loss < least:
                best, least, how = state, score.loss, name
        put(ready.model, best)
        self.told["chosen"] = f"weights: {how}; log-loss {least:.3f} on the examples held back"
        return how

    def _tuned(self, ready: "Ready", how: str, seconds: float) -> Rung:
        """The tuned network with its own head, its features where they are needed."""
        from regraft.training.tuned import tuned_row

        model = ready.model.cpu()
        row = tuned_row(model, self.row, ready.spec, self.wanted.name)
        views = self.ground.single.extractors[0].spec.views
        engine = self.ground.single.extractors[0].engine_name
        one = Extractor(row, replace(ready.spec, views=views), engine)
        place = np.unique(np.concatenate([self.held.place, self.ground.measured]))
        seen = self._pass(one, place)
        whole = np.full((len(self.ground.files), sum(seen.widths)), np.nan, np.float32)
        whole[place] = features_of(seen)
        head, probe = model.head(), self.ground.probe
        scores = head.scores(whole[self.held.place])
        epochs = self.told["steps"] * ready.plan.batch / len(self.train.labels)
        return Rung(
            kind=self.wanted.name,
            extractors=(one,),
            seen=Pass(probe.seen.shas, probe.seen.looks, whole, seen.widths),
            head=head,
            judged=Judged(HELD_BACK, self.held.place, self.held.labels, scores),
            seconds=seconds,
            detail=f"{ready.plan.size} px, {epochs:.1f} epochs, {how} weights",
        )

    def _mixed(self, tuned: Rung, best: Rung, seconds: float) -> list[Rung]:
        """The tuned rung with the reason why it is kept or not, and the mix if there is one."""
        scores, temperature = self._honest(best)
        mix = mixed_answer(tuned.judged.scores, scores / temperature, self.held.labels)
        if mix.share in (0.0, 1.0):
            return [replace(tuned, why=mix.why)]
        own = fit_temperature(best.judged.scores, best.judged.labels)
        factors = ((1 - mix.share) / own, mix.share / mix.temperature)
        seen = Pass(
            best.seen.shas,
            best.seen.looks,
            np.hstack([best.features, tuned.features]),
            (*best.seen.widths, *tuned.seen.widths),
        )
        together = Rung(
            kind="ensemble",
            extractors=(*best.extractors, *tuned.extractors),
            seen=seen,
            head=stacked((best.head, tuned.head), factors),
            judged=Judged(HELD_BACK, self.held.place, self.held.labels, mix.scores),
            seconds=seconds,
            detail=f"{mix.share:.0%} {self.wanted.name}, {1 - mix.share:.0%} the best before it",
            why=mix.why,
        )
        return [replace(tuned, why="kept as a part of the ensemble"), together]

    def _honest(self, best: Rung) -> tuple[Any, float]:
        """Scores of the best so far on the held-back examples, by a head that never saw them."""
        if best.judged.how == HELD_BACK:
            return best.judged.scores, fit_temperature(best.judged.scores, best.judged.labels)
        fit = self._head(best.features[self.train.place], best.seen.widths)
        scores = fit.head.scores(best.features[self.held.place])
        return scores, fit_temperature(fit.left_out, self.train.labels)
