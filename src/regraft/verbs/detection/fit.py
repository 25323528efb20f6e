"""fit for boxes: list → look → split → input and anchors → pace → train → thresholds → measure.

The held-out part is read once, at the end; some pictures of the learning part are held back for
looks at the run and for the score from which a box is taken.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import numpy as np

from regraft.backbones.store import Store
from regraft.data.dataset import Dataset
from regraft.data.learnable import measured_part
from regraft.data.sources import load
from regraft.evaluation.report import Report
from regraft.modalities import modality
from regraft.model.detecting import DetectionModel
from regraft.progress import Progress, Quiet
from regraft.recipe import Recipe
from regraft.tasks.detection.tiling import regions
from regraft.verbs.detection.beginnings import beginning_of
from regraft.verbs.detection.measure import measure, thresholds
from regraft.verbs.detection.prepare import (
    check_learnable,
    divided,
    held_back,
    rarest_of_each,
    unseen_classes,
)
from regraft.verbs.detection.settings import USUAL, WAYS, Way, refuse_wrong_settings
from regraft.verbs.detection.told import record_of
from regraft.verbs.first_look import look
from regraft.verbs.fitted import Fitted, kept_folder

LEAST_STEPS = 5
MOST_EPOCHS = 120.0
SLACK = 1.08  # of a step: what a rehearsal does not see
FORWARD = 0.45  # of a step: the share that finding takes
LOOKS = 6
AFTER = 4.0  # seconds for the report
MEASURED = 3.0  # intervals and pictures, in passes over the held-out part
BETTER = 0.02  # mAP by which weights of an earlier look must be ahead of the last average

FEW = "annotated pictures"  # what there may be too few of

P = ParamSpec("P")
T = TypeVar("T")


def fit_detector(
    data: Any,
    recipe: Recipe,
    *,
    progress: Progress | None = None,
    store: Store | None = None,
    run: str | Path | None = None,
    resume: bool = False,
) -> Fitted:
    """Fit a detector; see `regraft.verbs.fit.fit_and_report`."""
    opened = store or Store()
    try:
        begun = _Run(recipe, opened, progress or Quiet())
        begun.obeyed(data)
        with kept_folder(run, resume) as begun.folder:
            return begun.run()
    finally:
        if store is None:
            opened.close()


@dataclass
class _Run:
    """One fit: its stages stand below in the order in which they happen."""

    recipe: Recipe
    store: Store
    progress: Progress
    folder: Path | None = None
    started: float = field(default_factory=time.monotonic)
    chosen: dict[str, str] = field(default_factory=dict)
    timings: dict[str, float] = field(default_factory=dict)
    after: float = AFTER  # seconds that measuring takes

    def obeyed(self, source: Any) -> None:
        """What cannot be obeyed is refused here, before any work."""
        r = self.recipe
        self.way: Way = WAYS.get((*r.strategy, USUAL)[0], WAYS[USUAL])
        self.beginning = beginning_of(r, self.way)
        refuse_wrong_settings(r, self.beginning.mistakes())
        settings: dict[str, Any] = {"root": r.root, "repair": r.repair or None}
        self.dataset: Dataset = self._timed("listing", load, source, **settings)
        check_learnable(self.dataset)
        self.kind = modality(self.dataset.modality)

    def run(self) -> Fitted:
        self._prepare()
        self._begin()
        trained = self._train()
        model = self._timed("calibrating", self._model, trained)
        report = self._timed("measuring", self._measure, model)
        return Fitted(model, self.dataset, report)

    def _prepare(self) -> None:
        """Looked at, split, and of the learning part some held back."""
        from regraft.verbs.detection.start import Pictures

        looked = self._timed("reading", look, self.dataset, self.store, self.progress)
        data = divided(looked, self.recipe.parts, self.recipe.seed)
        data = replace(data, findings=(*data.findings, *unseen_classes(data)))
        check_learnable(data)
        if data.split_source == "made":
            shares = " / ".join(f"{p:.0%}" for p in self.recipe.parts)
            self.chosen["split"] = f"{shares}, stratified by rarest class: no split was given"
        measured_part(data, FEW)
        self.dataset = data
        learning = data.learning
        train, held = held_back(learning, looked.together, self.recipe.seed)

        def some(places: Any) -> Pictures:
            table = learning.table[places]
            ids = table["id"].to_list()
            boxes = [data.boxes[name] for name in ids]
            return Pictures(table["path"].to_list(), table["sha256"].to_list(), boxes)

        self.train, self.held = some(train), some(held)
        self.chosen["held back"] = f"{len(held)} of {len(learning)} pictures to learn from"

    def _begin(self) -> None:
        """The network and its input."""
        about = (self.train.boxes, self.dataset.classes)
        self.begun = self._timed("opening the network", self.beginning.begin, *about)
        self.network, self.spec, self.row = self.begun.network, self.begun.spec, self.begun.row
        self.detector = self.beginning.kind
        self.chosen |= self.begun.chosen

    def _train(self) -> dict[str, Any]:
        from regraft.training.boxed import HeldBoxes, prepared_pictures
        from regraft.training.checkpoints import Checkpoints
        from regraft.training.logs import logs
        from regraft.training.tuning import rehearsed
        from regraft.verbs.decisions import Decisions

        pixels = prepared_pictures(self.held.files, self.kind, self.spec)
        self.judge = HeldBoxes(pixels, self.held.boxes, self.spec) if len(self.held) else None
        path = self.folder and self.folder / "boxes.decisions.json"
        decisions = Decisions(path)
        steps = decisions.decide("steps", lambda: self._steps(sum(rehearsed(self._training(1)))))
        plan = self._plan(steps)
        begun, tiles = self.chosen.get("start", ""), self.recipe.tiles or 1
        about = (self.row.name, self.detector.name, begun, tiles, self.spec.to_dict())
        key = plan.key(*self.train.shas, *about, self.network.key)
        own = None if self._has_length() else self.started + self.recipe.budget - self.after
        run = self._training(
            steps,
            held=self.judge,
            until=own,
            checkpoints=self.folder and Checkpoints(self.folder, key),
            logs=logs(self.recipe.log, self.folder, plan) if self.folder else (),
            patience=self.recipe.patience or None,
            looks=LOOKS,
            progress=self.progress,
        )
        trained = self._timed("training", run.run)
        return self._chosen_weights(run, trained, plan)

    def _has_length(self) -> bool:
        return self.recipe.steps is not None or self.recipe.epochs is not None

    def _plan(self, steps: int) -> Any:
        from regraft.verbs.detection.start import plan_for

        about = (self.way, self.detector, self.recipe, self.spec)
        return plan_for(*about, len(self.train), steps)

    def _training(self, steps: int, until: float | None = None, **settings: Any) -> Any:
        from regraft.tasks.detection.augment import parse
        from regraft.training.boxed import BoxedExamples
        from regraft.training.devices import usual_workers
        from regraft.training.loop import Training
        from regraft.training.terms import Execution, Material

        plan, t, r = self._plan(steps), self.train, self.recipe
        wanted = parse(plan.augment)
        about = (t.files, t.shas, t.boxes, self.kind, self.spec, wanted, plan.seed)
        epochs = plan.steps * plan.batch / len(t)
        examples = BoxedExamples(*about, epochs=epochs, tiles=r.tiles or 1)
        rarest = np.array(rarest_of_each(t.boxes, len(self.dataset.classes)), np.int64)
        objective = self.beginning.objective(self.network, plan.loss)
        material = Material(examples, rarest, len(self.dataset.classes), objective=objective)
        workers = usual_workers() if r.workers is None else r.workers
        how: dict[str, Any] = {"compiled": r.compile, "folds": self.beginning.folds}
        execution = Execution(workers, r.micro_batch, until=until, **how)
        parts = self.beginning.parts(self.begun, plan)
        return Training(self.network, parts, plan, material, execution=execution, **settings)

    def _steps(self, seconds: float) -> int:
        """As many as are asked for, else as fit into the time that is left."""
        plan, r = self._plan(1), self.recipe
        epoch = len(self.train) / plan.batch
        finding = FORWARD * seconds / plan.batch
        views = len(regions((1, 1), r.tiles or 1))
        self.after = AFTER + MEASURED * finding * views * len(measured_part(self.dataset, FEW))
        if self._has_length():
            return r.steps or max(1, round((r.epochs or 1) * epoch))
        left = r.budget - (time.monotonic() - self.started) - self.after
        left -= 2 * LOOKS * finding * len(self.held)
        fit = int(left / (seconds * SLACK))
        self.chosen["steps"] = f"what {r.budget:g} s allow at {seconds:.2f} s each"
        return int(np.clip(fit, LEAST_STEPS, max(LEAST_STEPS, MOST_EPOCHS * epoch)))

    def _chosen_weights(self, run: Any, trained: Any, plan: Any) -> dict[str, Any]:
        """The average at the end, but for weights of an earlier look that were clearly better."""
        from regraft.training.averaging import put

        state, why = trained.average or trained.last, "the averaged weights at the end"
        last = trained.curve[-1] if trained.curve else None
        now = None if last is None else last.average_loss or last.held_loss
        if trained.best is not None and now is not None and run.best[0] < now - BETTER:
            state, why = trained.best, "those of an earlier look: they find more that is held back"
        put(self.network, state)
        self.network.cpu().requires_grad_(False).eval()
        epochs = trained.steps * plan.batch / max(1, len(self.train))
        return {
            "name": self.way.name,
            "told": self.way.told,
            "detector": self.detector.name,
            "size": plan.size,
            "plan": plan.to_dict(),
            "steps": trained.steps,
            "epochs": epochs,
            "seconds": trained.seconds,
            "curve": [_point(point) for point in trained.curve],
            "start_accuracy": None,
            "warnings": trained.warnings,
            "chosen": why,
        }

    def _model(self, told: dict[str, Any]) -> DetectionModel:
        classes = self.dataset.classes
        cuts = np.full(len(classes), 0.5)
        tiles = self.recipe.tiles or 1
        made = DetectionModel(classes, self.row, self.network, cuts, {}, tiles=tiles)
        found = thresholds(made, self.held.files, self.held.boxes, self.recipe.seed)
        self.chosen["thresholds"], self.chosen["scores"] = found.why, found.lined
        record = record_of(self.recipe, self.chosen, self.dataset, self.train.shas, made, told)
        record["thresholds"] = found.record
        return replace(made, thresholds=found.scores, record=record, line=found.line)

    def _measure(self, model: DetectionModel) -> Report:
        """Read the held-out part, for the first and only time."""
        from regraft.verbs.detection.told import report_of
        from regraft.verbs.told import summary

        held = measured_part(self.dataset, FEW)
        settings = {"resamples": self.recipe.resamples, "seed": self.recipe.seed}
        measured = measure(model, held, progress=self.progress, **settings)
        model.record["measured"] = summary(measured)
        return report_of(measured, model, self.dataset, self.timings)

    def _timed(self, stage: str, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        before = time.perf_counter()
        try:
            return function(*args, **kwargs)
        finally:
            spent = time.perf_counter() - before
            self.timings[stage] = self.timings.get(stage, 0) + spent


def _point(point: Any) -> dict[str, Any]:
    """A look for the report: what is held back is told as mAP50."""
    return {
        "epoch": point.epoch,
        "seconds": point.seconds,
        "loss": point.loss,
        "rate": point.rate,
        "held_loss": None,
        "held_accuracy": point.held_accuracy,
        "average_accuracy": point.average_accuracy,
        "map": None if point.held_loss is None else 1 - point.held_loss,
        "average_map": None if point.average_loss is None else 1 - point.average_loss,
    }
