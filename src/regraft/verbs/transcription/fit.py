"""fit for transcripts: list → look → split → the head on frozen moments → the network → measure.

The held-out part is read once, at the end; some recordings of the learning part are held back, by
which weights are chosen and the tuned network is kept or not.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import numpy as np

from regraft.backbones.catalog import CatalogRow
from regraft.backbones.extractor import Extractor
from regraft.backbones.store import Store
from regraft.data.dataset import Dataset
from regraft.data.learnable import measured_part
from regraft.data.sources import load
from regraft.evaluation.report import Report
from regraft.evaluation.transcription import distance
from regraft.modalities import modality
from regraft.modalities.spec import InputSpec
from regraft.model.transcribing import TranscriptionModel
from regraft.progress import Progress, Quiet
from regraft.recipe import Recipe
from regraft.tasks.transcription.network import unfit
from regraft.tasks.transcription.tokens import Tokens
from regraft.tasks.transcription.vocabulary import Vocabulary
from regraft.transfer.inputs import networks
from regraft.verbs.first_look import look
from regraft.verbs.fitted import Fitted, kept_folder
from regraft.verbs.transcription.measure import measure
from regraft.verbs.transcription.prepare import (
    check_learnable,
    divided,
    held_back,
    learnable,
    unknown_characters,
)
from regraft.verbs.transcription.settings import (
    AS_IT_IS,
    FRESH,
    PROBE,
    refuse_wrong_settings,
    strategy_of,
    uses_brought,
)
from regraft.verbs.transcription.told import learning_run, record_of, report_of

LEAST_STEPS, MOST_EPOCHS = 20, {PROBE: 120.0}
TUNED_EPOCHS = 40.0
PROBE_SHARE = 0.6  # of the time, where the network is trained too
MUTE = 0.9  # of the characters held back that are wrong: the head has not begun to spell
SLACK = 1.1  # of a step: what a rehearsal does not see
LOOKS = 10
LISTENED, BEFORE = 24, 60  # recordings that the head is measured on as it came: held back, held out
ONE = "English alone, as far as the checkpoint tells"  # of a decoder
AFTER = 6.0  # seconds for the report
FORWARD = 0.4  # of a step: what its recordings take forwards only

FEW = "recordings with transcripts"  # what there may be too few of

P = ParamSpec("P")
T = TypeVar("T")


def fit_transcriber(
    data: Any,
    recipe: Recipe,
    *,
    progress: Progress | None = None,
    store: Store | None = None,
    run: str | Path | None = None,
    resume: bool = False,
) -> Fitted:
    """Fit a transcriber; see `regraft.verbs.fit.fit_and_report`."""
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
    runs: list[dict[str, Any]] = field(default_factory=list)
    each: float = 0.0  # seconds in which the head as it came writes down a recording

    def obeyed(self, source: Any) -> None:
        """What cannot be obeyed is refused here, before any work."""
        r = self.recipe
        rows = networks(r, None, ("sound",))
        able = [row for row in rows if not unfit(row)]
        self.row: CatalogRow = (rows if r.backbone else able or rows)[0]
        refuse_wrong_settings(r, modality("audio"), [self.row])
        columns = {name: getattr(r, name) for name in ("path_column", "text", "group", "split")}
        settings: dict[str, Any] = {"root": r.root, "task": r.task, **columns}
        self.dataset: Dataset = self._timed("listing", load, source, **settings)
        check_learnable(self.dataset)
        self.kind = modality(self.dataset.modality)
        self.spec = self.row.spec.at(r.size)
        if not r.backbone:
            self.chosen["backbone"] = f"{self.row.name}: the usual one here"
        if not r.strategy:
            self.chosen["strategy"] = f"{self.strategy}: what {r.budget:g} s allow"

    @property
    def strategy(self) -> str:
        return strategy_of(self.recipe)

    def run(self) -> Fitted:
        self._prepare()
        self._begin()
        model = self._learned() if self.strategy != AS_IT_IS else self._as_trained()
        report = self._timed("measuring", self._measure, model)
        return Fitted(model, self.dataset, report)

    def _learned(self) -> TranscriptionModel:
        self._learn_head()
        row = self._learn_network() if self.strategy != PROBE else self.row
        return self._model(row, self.spec)

    def _as_trained(self) -> TranscriptionModel:
        return self._model(self.row, self.steps.trained)

    def _prepare(self) -> None:
        """Looked at, split, and of the learning part some held back."""
        looked = self._timed("reading", look, self.dataset, self.store, self.progress)
        data = divided(looked, self.recipe.parts, self.recipe.seed)
        check_learnable(data)
        if data.split_source == "made":
            shares = " / ".join(f"{p:.0%}" for p in self.recipe.parts)
            self.chosen["split"] = f"{shares}, groups whole: no split was given"
        some, odd = learnable(data, looked, self.spec)
        self.vocabulary = Vocabulary.of(some.texts)
        self.dataset, self.odd = data, odd
        train, held = held_back(some, self.recipe.seed)
        self.train, self.held = some.some(train), some.some(held)
        self.chosen["held back"] = f"{len(held)} of {len(some)} recordings to learn from"

    def _begin(self) -> None:
        """The network and a head to begin with; what this head cannot write is told."""
        self.came: TranscriptionModel | None = None
        self.steps = self._opened(self.recipe)
        if uses_brought(self.recipe, self.row):
            self._hear_brought()
        odd = unknown_characters(measured_part(self.dataset, FEW), self.steps.vocabulary)
        self.dataset = replace(self.dataset, findings=(*self.dataset.findings, *self.odd, *odd))
        if isinstance(self.steps.vocabulary, Tokens):
            code = self.steps.language
            self.chosen["language"] = f"{code}: what the network hears" if code else ONE

    def _opened(self, recipe: Recipe) -> Any:
        from regraft.verbs.transcription.steps import Steps

        about = (recipe, self.row, self.spec, self.kind, self.vocabulary)
        asked = (*about, self.train, self.held, self.progress)
        return self._timed("opening the network", Steps, *asked)

    def _hear_brought(self) -> None:
        """The head that came with the network is used, unless it has no idea of what is said."""
        came = self._as_trained()
        wrong, told = self._as_it_came(came)
        if self.recipe.head is None and self.strategy != AS_IT_IS and wrong > MUTE:
            self.chosen["head"] = f"fresh: as the one of the checkpoint came, {told}"
            self.steps, self.each = self._opened(replace(self.recipe, head=FRESH)), 0.0
        else:
            self.chosen["head"] = f"that of the checkpoint: as it came, {told}; else --head fresh"
            self.came = came

    def _as_it_came(self, came: TranscriptionModel) -> tuple[float, str]:
        """How well it writes before anything is learned: the share that is wrong, and in words."""
        some = self.held.some(range(min(LISTENED, len(self.held))))
        begin = time.monotonic()
        written = [one.text or "" for one in came.transcribe(some.files)]
        self.each = (time.monotonic() - begin) / max(1, len(some))
        errors, of = sum(map(distance, some.texts, written)), sum(map(len, some.texts))
        return errors / max(1, of), f"{errors} of {of} characters held back are wrong"

    def _learn_head(self) -> None:
        """The probe: a head on frozen moments."""
        from regraft.training.averaging import State, copied

        held = self._timed("features", self._moments)
        until = self._until(1.0 if self.strategy == PROBE else PROBE_SHARE)
        self.start: State | None = copied(dict(self.steps.model.head.state_dict()))
        trained = self._run(PROBE, self.steps.head, held, until)
        head = self.steps.model.head.cpu()
        self._take(head, trained, held)
        self.probe = {name: t.clone() for name, t in head.state_dict().items()}
        self.errors = held.judged(head, _cpu())[1] if held else None
        if self._is_mute():
            self.chosen["spelling"] = "hardly begun when the time was over: give a larger budget"

    def _is_mute(self) -> bool:
        """Whether the head still says next to nothing, as all of them do at first."""
        every = sum(map(len, self.held.texts))
        return self.errors is not None and bool(self.errors.sum() > MUTE * every)

    def _moments(self) -> Any:
        self.steps.head(1)
        return self.steps.held_moments()

    def _learn_network(self) -> CatalogRow:
        """The network with its head; the probe stays where that is not surely better."""
        from regraft.verbs.transcription.steps import surely_fewer

        if self.errors is None:
            self._drop("too few recordings to hold some back, by which it could be judged")
            return self.row
        if self._is_mute() and not self._is_asked(self.strategy):
            self._drop("its head has not begun to spell")
            return self.row
        self.steps.add()
        held = self.steps.held_sounds()
        model = self.steps.model
        self.start = None  # the probe, with which it is compared below
        trained = self._run(self.strategy, self.steps.network, held, self._until(1.0))
        self._take(model.cpu(), trained, held)
        after = held.judged(model, _cpu())[1] if held else self.errors
        told = f"{int(after.sum())} wrong characters held back, the probe {int(self.errors.sum())}"
        if surely_fewer(self.errors, after):
            self.chosen["kept"] = f"{self.strategy}: {told}"
            return self.steps.tuned()
        self._drop(told)
        return self.row

    def _drop(self, why: str) -> None:
        self.chosen["kept"] = f"the probe: {self.strategy} is not surely better ({why})"
        self.steps.model.head.load_state_dict(self.probe)

    def _run(self, name: str, make: Callable[..., Any], held: Any, until: float) -> Any:
        """Train one step of the two, as long as is asked for or allowed."""
        from regraft.training.checkpoints import Checkpoints
        from regraft.training.logs import logs
        from regraft.verbs.decisions import Decisions

        path = self.folder and self.folder / f"speech-{name}.decisions.json"
        steps = Decisions(path).decide("steps", lambda: self._length(name, make, until))
        plan = self.steps.plan(name, steps)
        texts = (*self.train.shas, *self.train.texts, *self.held.shas)
        key = plan.key(*texts, self.row.name, self.spec.to_dict())
        folder = self.folder and self.folder / name
        if folder:
            folder.mkdir(exist_ok=True)
        run = make(
            steps,
            held=held,
            until=None if self._is_asked(name) else until,
            checkpoints=folder and Checkpoints(folder, key),
            logs=logs(self.recipe.log, folder, plan) if folder else (),
            patience=self.recipe.patience or None,
            looks=LOOKS,
            progress=self.progress,
        )
        trained = self._timed("training", run.run)
        self.runs.append(learning_run(name, plan, trained, len(self.train)))
        return trained

    def _is_asked(self, name: str) -> bool:
        r = self.recipe
        return name == self.strategy and (r.steps is not None or r.epochs is not None)

    def _length(self, name: str, make: Callable[..., Any], until: float) -> int:
        """Steps: as many as are asked for, else as fit into the time."""
        from regraft.training.tuning import rehearsed

        epoch = len(self.train) / self.steps.plan(name, 1).batch
        if self._is_asked(name):
            return self.recipe.steps or max(1, round((self.recipe.epochs or 1) * epoch))
        seconds = sum(rehearsed(make(1)))
        looks = LOOKS * FORWARD * seconds * len(self.held) / self.steps.plan(name, 1).batch
        allowed = int((until - time.monotonic() - 2 * looks) / (SLACK * seconds))
        most = MOST_EPOCHS.get(name, TUNED_EPOCHS) * epoch
        self.chosen[f"steps, {name}"] = f"what the time allows at {seconds:.2f} s each"
        return int(np.clip(allowed, LEAST_STEPS, max(LEAST_STEPS, most)))

    def _until(self, share: float) -> float:
        """When a step must be over: that share of what is left."""
        now = time.monotonic()
        n = len(measured_part(self.dataset, FEW))
        after = AFTER + self.each * (n + min(BEFORE, n))
        return now + share * max(0.0, self.started + self.recipe.budget - after - now)

    def _take(self, model: Any, trained: Any, held: Any) -> None:
        """Put the best weights into the model."""
        from regraft.training.averaging import put
        from regraft.verbs.transcription.steps import best_state

        start = self.start if self.came else None
        state, self.runs[-1]["chosen"] = best_state(model, trained, held, start)
        put(model, state)
        model.requires_grad_(False).eval()

    def _model(self, row: CatalogRow, spec: InputSpec) -> TranscriptionModel:
        one = Extractor(row, spec, "torch")
        head, facts = self.steps.model.head, self.steps.model.head.facts
        state = {name: t.numpy().copy() for name, t in head.state_dict().items()}
        made = TranscriptionModel(self.steps.vocabulary, one, state, {}, facts)
        told = (self.recipe, self.chosen, self.dataset, self.train.shas, made, self.runs)
        return replace(made, record=record_of(*told))

    def _measure(self, model: TranscriptionModel) -> Report:
        """Read the held-out part, for the first and only time."""
        from regraft.verbs.told import summary

        held = measured_part(self.dataset, FEW)
        settings = {"resamples": self.recipe.resamples, "seed": self.recipe.seed}
        measured = measure(model, held, progress=self.progress, **settings)
        if self.came is not None and self.strategy != AS_IT_IS:
            some = _at_most(held, BEFORE, self.recipe.seed)
            before = measure(self.came, some, progress=self.progress, **settings)
            measured["as_it_came"] = {"n": before["split"]["n"], **before["metrics"]}
        model.record["measured"] = summary(measured)
        return report_of(measured, model, self.dataset, self.timings)

    def _timed(self, stage: str, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        before = time.perf_counter()
        try:
            return function(*args, **kwargs)
        finally:
            spent = time.perf_counter() - before
            self.timings[stage] = self.timings.get(stage, 0) + spent


def _at_most(data: Dataset, most: int, seed: int) -> Dataset:
    """So many of the examples, by chance."""
    if len(data) <= most:
        return data
    chosen = np.sort(np.random.default_rng([seed, 19]).permutation(len(data))[:most])
    return data.with_table(data.table[chosen.tolist()])


def _cpu() -> Any:
    import torch

    return torch.device("cpu")
