"""fit: examples and a recipe → Model, up the rungs of the ladder.

    read → look and extract → inspect → split → input → probe(s) → ensemble → training
    → calibrate → measure

Each rung is a row of `tried`. Probes are chosen by leave-one-out, what is trained by examples of
the learning part that are held back; the held-out part is read once, at the end.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from regraft.backbones.catalog import CatalogRow
from regraft.backbones.extractor import Extractor, extractor
from regraft.backbones.features import Pass, pass_over
from regraft.backbones.reading import hash_files
from regraft.backbones.store import Store
from regraft.data.dataset import Dataset
from regraft.data.learnable import check_learnable, measured_part
from regraft.data.sources import load, task_of
from regraft.errors import UsageError
from regraft.evaluation.report import Report
from regraft.modalities import modality
from regraft.modalities.spec import InputSpec
from regraft.model.model import Model
from regraft.progress import Progress, Quiet
from regraft.recipe import Recipe
from regraft.transfer.block_weights import subsample
from regraft.transfer.inputs import candidates, first_input, networks
from regraft.transfer.kernel import MOST
from regraft.verbs import fewer
from regraft.verbs.beside import at, beside, reasons, trainable
from regraft.verbs.fitted import Fitted, kept_folder
from regraft.verbs.forecast import Forecast, for_probes
from regraft.verbs.ground import Ground
from regraft.verbs.kept import kept_head
from regraft.verbs.ladder import climbed, perhaps, refusals
from regraft.verbs.prepare import Prepared, prepare
from regraft.verbs.rungs import (
    Learning,
    Numbers,
    Rung,
    best_probe,
    climb,
    features_of,
    positions,
    rows,
    side_by_side,
    widened,
    with_names,
)
from regraft.verbs.settings import refuse_wrong_settings
from regraft.verbs.tasks import carried_out
from regraft.verbs.teacher import Teacher
from regraft.verbs.told import (
    announced,
    how_trained,
    record,
    summary,
    tried,
    whole_report,
    with_suspects,
)
from regraft.verbs.ways import Way, way_for

GLANCED_AT = 48  # files whose size tells which input to begin with
COMPARED_ON = 512  # learning examples on which inputs are compared
BETTER = 0.98  # of the error: what another input must reach to be taken
TO_OPEN = 15.0  # seconds that opening and measuring another network may take

P = ParamSpec("P")
T = TypeVar("T")


def fit(
    data: Any,
    recipe: Recipe | None = None,
    *,
    progress: Progress | None = None,
    store: Store | None = None,
    run: str | Path | None = None,
    resume: bool = False,
    **settings: Any,
) -> Model:
    """Fit a classifier, a detector where there are boxes, or a transcriber where `task` says so.

    data      a Dataset, or a source as for `regraft.load`
    recipe    what is asked for; None: the defaults
    settings  fields of `Recipe` that replace those of `recipe`, such as ``budget="10min"``
    run       folder for checkpoints of training and its log; None: nothing is kept on the way
    resume    go on with the training that was interrupted in `run`

    Raises UsageError, DataError, BackboneError or StorageError in plain words.
    """
    kept: dict[str, Any] = {"progress": progress, "store": store, "run": run, "resume": resume}
    return fit_and_report(data, recipe, **kept, **settings).model


def fit_and_report(
    data: Any,
    recipe: Recipe | None = None,
    *,
    progress: Progress | None = None,
    store: Store | None = None,
    run: str | Path | None = None,
    resume: bool = False,
    **settings: Any,
) -> Fitted:
    """As `fit`, with the split data and the report on its held-out part."""
    if resume and run is None:
        raise UsageError("resume: name the folder of the interrupted run with `run`")
    asked = (recipe or Recipe()).changed(**settings)
    if isinstance(data, str | Path):
        asked = asked.changed(source=str(data))
    kept: dict[str, Any] = {"progress": progress, "store": store, "run": run, "resume": resume}
    about = ("label", "path_column", "text", "group", "split", "separator")
    said = {name: getattr(asked, name) for name in about} | {"labels": asked.labels or None}
    task = task_of(data, asked.task, **said)
    found: Fitted = carried_out("fit", task)(data, asked, **kept)
    return found


def fit_on_features(
    data: Any,
    asked: Recipe,
    *,
    progress: Progress | None = None,
    store: Store | None = None,
    run: str | Path | None = None,
    resume: bool = False,
    teacher: Teacher | None = None,
) -> Fitted:
    """`fit_and_report` where examples have classes, tags or numbers.

    teacher  from whose answers is learned too; what it brings along has no labels
    """
    opened = store or Store()
    try:
        begun = _Run(asked, opened, progress or Quiet(), teacher)
        networks_to_try = begun.obeyed(data)
        with kept_folder(run if perhaps(asked) else None, resume) as begun.folder:
            return begun.run(networks_to_try)
    finally:
        if store is None:
            opened.close()


@dataclass
class _Run:
    """One run of `fit`: its stages stand below in the order in which they happen."""

    recipe: Recipe
    store: Store
    progress: Progress
    teacher: Teacher | None = None
    folder: Path | None = None
    started: float = field(default_factory=time.monotonic)
    chosen: dict[str, str] = field(default_factory=dict)
    timings: dict[str, float] = field(default_factory=dict)
    training: list[dict[str, Any]] = field(default_factory=list)

    def obeyed(self, source: Any) -> list[CatalogRow]:
        """The networks to try; what cannot be obeyed is refused here, before any work."""
        self._list(source)
        networks_to_try = networks(self.recipe, self.kind.views, self.kind.inputs)
        about = (self.dataset.classes, self.way.target)
        refuse_wrong_settings(self.recipe, self.kind, networks_to_try, *about)
        return networks_to_try

    def run(self, networks_to_try: Sequence[CatalogRow]) -> Fitted:
        """Up the rungs, to the model and its report."""
        self._read()
        routes = len({row.spec.reads for row in networks_to_try})
        first = self._first_extractor(networks_to_try[0], routes)
        self._afford(first)
        seen = self._pass(first)
        prepared = self._prepare(seen)
        kept = positions(self.dataset, prepared.dataset)
        learning = self._learning(prepared)
        plain = learning.untaught()
        first, seen = self._better_input(first, seen, kept, plain)
        spent = self.timings["features"]
        rungs = [self._climb((first,), rows(seen, kept), plain, spent)]
        for row in networks_to_try[1:]:
            wanted = beside(row, first, self.recipe, self.sizes)
            if self.recipe.backbone or self.forecast.affords(row, wanted, TO_OPEN):
                rungs.append(self._another(row, wanted, kept, learning))
                self.chosen |= reasons(row, wanted, first, self.recipe)
        if len(rungs) > 1:
            asked = (rungs, learning, self.recipe.seed, self.store)
            rungs += announced([self._timed("head", side_by_side, *asked)], self.progress)
        if self.teacher is not None:
            rungs.append(self._climb((first,), rows(seen, kept), learning, 0.0))
        own = learning if best_probe(rungs)[0].taught else plain
        rungs += announced(self._wide(best_probe(rungs)[0], own), self.progress)
        about = (prepared.dataset.classes, self.kind, self.recipe.seed, self.store)
        named = self._timed("head", with_names, best_probe(rungs)[0], own, *about)
        rungs += announced(named, self.progress)
        probe, rungs = best_probe(rungs)
        best, more = self._train(prepared, learning, probe, rungs)
        return self._finish(prepared, learning, plain, [*rungs, *more], probe, best)

    def _list(self, source: Any) -> None:
        """The dataset as it is named on disk; no file is opened yet."""
        r = self.recipe
        columns = {name: getattr(r, name) for name in ("label", "path_column", "text", "group")}
        columns |= {"task": r.task, "labels": r.labels, "separator": r.separator}
        self.dataset: Dataset = self._timed(
            "listing", load, source, split=r.split, root=r.root, modality=r.modality, **columns
        )
        check_learnable(self.dataset, self.dataset.task)
        self.chosen |= {f.kind: f.reason for f in self.dataset.findings if f.kind == "task"}
        self.way: Way = way_for(self.dataset.task)
        self.kind = modality(self.dataset.modality)
        if self.teacher is not None:
            self.dataset = self.teacher.joined(self.dataset)

    def _read(self) -> None:
        """The files and their SHA-256."""
        self.files: list[str] = self.dataset.table["path"].to_list()
        self.shas = self._timed("reading", hash_files, self.files, self.progress)

    def _first_extractor(self, row: CatalogRow, routes: int) -> Extractor:
        step = max(1, len(self.files) // GLANCED_AT)
        glance = pass_over(self.files[::step], self.kind, self.store, shas=self.shas[::step])
        facts = [*glance.facts.values()]
        self.sizes = [*map(self.kind.natural_size, facts)]
        self.view_sets = self.kind.view_sets(facts)
        choice = first_input(row, self.recipe, self.sizes)
        one = self._open(row, choice.spec)
        budget = for_probes(self.recipe.budget)
        self.forecast = Forecast(len(self.files), budget, facts=facts, routes=routes)
        self.forecast.learn(one)
        choice = self.forecast.first(choice, row, self.recipe)
        self.chosen |= choice.reasons
        return one if choice.spec == one.spec else at(one, choice.spec)

    def _afford(self, one: Extractor) -> None:
        """Plan the first pass; examples for which there is no time are left out."""
        about = (one.row, one.spec)
        wanted, most = self.forecast.seconds(*about), self.forecast.most(*about)
        some, place = fewer.affordable(self.dataset, most, wanted, self.recipe.seed)
        if len(some) < len(self.files):
            self.dataset = some
            self.chosen["examples"] = fewer.told(some)
            self.files, self.shas = ([c[i] for i in place] for c in (self.files, self.shas))
            self.forecast.files = len(place)
        self.forecast.plan(self.forecast.seconds(*about))

    def _open(self, row: CatalogRow, spec: InputSpec) -> Extractor:
        made = self._timed("opening the network", extractor, row, spec, self.recipe.engine)
        if row.graph:
            self.chosen["engine"] = f"{made.engine_name}: {row.name} is a graph for it"
        elif self.recipe.engine is None:
            self.chosen["engine"] = f"{made.engine_name}: the fastest here that equals PyTorch"
        if row.assumed:
            self.chosen["pixels"] = row.assumed
        return made

    def _pass(self, one: Extractor, some: Numbers | None = None) -> Pass:
        """Features of all files, or of some by their positions."""
        place = range(len(self.files)) if some is None else some
        files = [self.files[i] for i in place]
        shas = [self.shas[i] for i in place]
        about = (files, self.kind, self.store, one, self.progress, shas)
        return self._timed("features", pass_over, *about)

    def _prepare(self, seen: Pass) -> Prepared:
        prepared = self._timed("inspecting", prepare, self.dataset, seen, self.recipe)
        check_learnable(prepared.dataset.learning, prepared.dataset.task)
        if prepared.dataset.split_source == "made":
            shares = " / ".join(f"{p:.0%}" for p in prepared.dataset.split_record["fractions"])
            self.chosen["split"] = f"{shares}, stratified: no split was given"
        return prepared

    def _learning(self, prepared: Prepared) -> Learning:
        """What is learned from, with what a teacher says of it."""
        learning = Learning.of(prepared)
        if self.teacher is None:
            return learning
        given = (prepared, learning, self.store, self.progress)
        return self._timed("teacher", self.teacher.taught, *given)

    def _better_input(
        self, first: Extractor, seen: Pass, kept: Numbers, learning: Learning
    ) -> tuple[Extractor, Pass]:
        """Compare other sizes and views by leave-one-out on some learning examples."""
        some = subsample(learning.strata, COMPARED_ON, self.recipe.seed)
        place, labels = kept[learning.place[some]], learning.labels[some]
        asked: dict[str, Any] = {"groups": learning.groups[some], "classes": learning.classes}
        asked |= {"seed": self.recipe.seed, "weigh": False, "target": learning.target}

        def error(found: Any, widths: Sequence[int]) -> float:
            return kept_head(self.store, found, labels, widths=widths, **asked).error

        best, least = first, error(features_of(seen)[place], seen.widths)
        for choice in candidates(first.row, first.spec, self.recipe, self.view_sets):
            other = at(first, choice.spec)
            if not self.forecast.affords(other.row, other.spec, known=first.spec):
                continue
            part = self._pass(other, place)
            if (found := error(part.features, part.widths)) < BETTER * least:
                best, least = other, found
                self.chosen |= choice.reasons
        return best, seen if best is first else self._pass(best)

    def _another(self, row: CatalogRow, spec: InputSpec, kept: Numbers, learning: Learning) -> Rung:
        """A probe on another network."""
        before = time.perf_counter()
        one = self._open(row, spec)
        seen = rows(self._pass(one), kept)
        return self._climb((one,), seen, learning, time.perf_counter() - before)

    def _wide(self, best: Rung, learning: Learning) -> list[Rung]:
        """The best features under a wider head too, if there is time for it."""
        columns = best.features.shape[1] + MOST * len(best.extractors)
        if self.forecast.affords_head(len(learning.labels), columns):
            return [self._timed("head", widened, best, learning, self.recipe.seed, self.store)]
        return []

    def _climb(self, extractors: Any, seen: Pass, learning: Learning, spent: float) -> Rung:
        seed, store = self.recipe.seed, self.store
        rung = self._timed("head", climb, extractors, seen, learning, seed, store, spent)
        return announced([rung], self.progress)[0]

    def _train(
        self, prepared: Prepared, learning: Learning, probe: Rung, rungs: list[Rung]
    ) -> tuple[Rung, list[Rung]]:
        """The upper rungs, if there are any: the one that is kept, and all."""
        if (reason := refusals(self.recipe, learning)) is not None:
            if reason:
                self.chosen["training"] = f"none: {reason}"
            return probe, []
        singles = [rung for rung in rungs if len(rung.extractors) == 1 and not rung.lasts]
        able = [one for one in singles if trainable(one.extractors[0].row, self.recipe)]
        place = positions(self.dataset, prepared.dataset)
        held = measured_part(prepared.dataset)
        ground = Ground(
            recipe=self.recipe,
            store=self.store,
            progress=self.progress,
            kind=self.kind,
            files=[self.files[int(i)] for i in place],
            shas=probe.seen.shas,
            learning=learning,
            measured=positions(prepared.dataset, held),
            probe=probe,
            single=best_probe(able or singles)[0],
            until=self.started + self.recipe.budget,
            folder=self.folder,
        )
        best, made, self.training = self._timed("training", climbed, ground)
        self.chosen |= {f"training, {run['name']}": how_trained(run) for run in self.training}
        return best, made

    def _finish(
        self,
        prepared: Prepared,
        learning: Learning,
        plain: Learning,
        rungs: list[Rung],
        probe: Rung,
        best: Rung,
    ) -> Fitted:
        data = with_suspects(prepared.dataset, probe.judged, self.way)
        model = self._timed("calibrating", self.way.modelled, best, data, learning, self.recipe)
        model.record.update(record(self.recipe, self.chosen, data, learning, best))
        model.record.update({"training": self.training} if self.training else {})
        report = self._timed("measuring", self._measure, model, data, plain, rungs, best)
        return Fitted(model, data, report)

    def _measure(
        self, model: Model, data: Dataset, learning: Learning, rungs: list[Rung], best: Rung
    ) -> Report:
        """Read the held-out part, for the first and only time."""
        held = measured_part(data)
        place = positions(data, held)
        asked = ("resamples", "seed", "positive")
        settings = {name: getattr(self.recipe, name) for name in asked}
        seen = rows(best.seen, place)
        measured = self.way.measure(model, held, seen, **settings)
        measured |= self.way.looked(model, held, seen, bool(self.training))
        told = model.record
        told["measured"] = summary(measured)
        about = (learning, place, data, self.recipe, self.store)
        told["tried"] = tried(self.way, rungs, best, model, *about)
        told["timings"] = {stage: round(spent, 3) for stage, spent in self.timings.items()}
        return whole_report(measured, told, data)

    def _timed(self, stage: str, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        before = time.perf_counter()
        try:
            return function(*args, **kwargs)
        finally:
            spent = time.perf_counter() - before
            self.timings[stage] = self.timings.get(stage, 0) + spent
