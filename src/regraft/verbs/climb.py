"""One strategy on the ladder: planned by the clock, trained, and kept only where it clearly gains.

probe on the examples to train on → plan → train → which weights → tuned network
→ mixed with the best so far, or dropped
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from regraft.backbones.extractor import Extractor
from regraft.backbones.features import Pass
from regraft.evaluation.operating import HELD_BACK
from regraft.transfer.probe import Head
from regraft.transfer.stacking import stacked
from regraft.verbs.choosing import Mix, largest_share, mixed_answer, weight_candidates
from regraft.verbs.hardening import USUAL_WISH, Hardening, guarded
from regraft.verbs.lessons import Lessons
from regraft.verbs.planning import Planned
from regraft.verbs.rungs import Judged, Rung, features_of, input_told

if TYPE_CHECKING:
    from regraft.training.averaging import State
    from regraft.training.judging import Held
    from regraft.training.terms import Execution, Trained
    from regraft.training.tuning import Ready


class Climb:
    """One turn on the ladder; its stages stand below in their order."""

    def __init__(self, lessons: Lessons, planned: Planned) -> None:
        self.lessons, self.planned = lessons, planned
        self.ground, self.held = lessons.ground, lessons.held
        self.told: dict[str, Any] = {}

    def run(self, best: Rung) -> list[Rung]:
        """The tuned rung, and the mix with the best so far if that is kept."""
        begin = time.perf_counter()
        ready = self.planned.planner.ready(self.planned.plan)
        start, trained = self._trained(ready)
        how = self._chosen(ready, start, trained)
        tuned = self._tuned(ready, how, time.perf_counter() - begin)
        return self._mixed(tuned, best, time.perf_counter() - begin)

    # --- the run ----------------------------------------------------------------------------------

    def _trained(self, ready: "Ready") -> "tuple[State, Trained]":
        from regraft.training.averaging import copied
        from regraft.training.checkpoints import Checkpoints
        from regraft.training.logs import logs

        folder, recipe = self.ground.folder, self.ground.recipe
        ready.fill(self.ground.progress)
        self.judge: Held = ready.held(self.lessons.lesson(self.held))
        run = ready.training(
            held=self.judge,
            execution=self._execution(),
            checkpoints=folder and Checkpoints(folder, ready.plan.key(self.ground.key)),
            logs=logs(recipe.log, folder, ready.plan) if folder else (),
            progress=self.ground.progress,
            **self._patience(),
        )
        start = copied(run.moving)
        trained = run.run()
        self.device, self.start_score = run.device, run.start
        self.told = {
            "name": self.planned.turn.name,
            "told": self.planned.turn.wanted.told,
            "size": ready.plan.size,
            "input": ready.spec.told,
            "plan": ready.plan.to_dict(),
            "steps": trained.steps,
            "curve": [asdict(point) for point in trained.curve],
            "warnings": trained.warnings,
            "start_accuracy": None if run.start is None else run.start.accuracy,
        }
        return start, trained

    def _patience(self) -> dict[str, Any]:
        """As asked; what learns against attacks loses on plain pictures, and that ends no run."""
        asked = self.ground.recipe.patience
        if asked is None:
            return {} if self.planned.turn.wanted.aims == "accuracy" else {"patience": None}
        return {"patience": asked or None}

    def _execution(self) -> "Execution":
        from regraft.training.devices import usual_workers
        from regraft.training.terms import Execution

        recipe = self.ground.recipe
        return Execution(
            workers=usual_workers() if recipe.workers is None else recipe.workers,
            micro=recipe.micro_batch,
            until=self.planned.until,
            compiled=recipe.compile,
        )

    # --- what is kept -----------------------------------------------------------------------------

    def _chosen(self, ready: "Ready", start: "State", trained: "Trained") -> str:
        """Put the best weights into the model; how they came to be."""
        from regraft.training.averaging import put

        best, told = CHOOSING[self.planned.turn.wanted.aims](self, ready, start, trained)
        put(ready.model, best)
        self.told |= told
        return str(self.told.pop("how"))

    def by_loss(
        self, ready: "Ready", start: "State", trained: "Trained"
    ) -> "tuple[State, dict[str, str]]":
        """The weights with the least held-back loss, and what is told of them."""
        from regraft.training.averaging import put

        best, least, how = start, self.start_score.loss if self.start_score else np.inf, "none"
        for name, state in weight_candidates(trained, start):
            put(ready.model, state)
            score = self.judge.score(ready.model, self.device)
            if score.loss < least:
                best, least, how = state, score.loss, name
        losing = self.held.target.losing
        chosen = f"weights: {how}; {losing} {least:.3f} on the examples held back"
        return best, {"how": how, "chosen": chosen}

    def by_wish(
        self, ready: "Ready", start: "State", trained: "Trained"
    ) -> "tuple[State, dict[str, Any]]":
        """The weights that are worth most by the user's wish for robust accuracy."""
        recipe = self.ground.recipe
        wish = USUAL_WISH if recipe.wish is None else recipe.wish
        return Hardening(ready, self.judge, wish, recipe.seed).chosen(start, trained)

    def _tuned(self, ready: "Ready", how: str, seconds: float) -> Rung:
        """The tuned network with its own head, its features where they are needed."""
        from regraft.training.tuned import tuned_row

        model, network = ready.model.cpu(), self.lessons.network
        row = tuned_row(model, self.lessons.row, ready.spec, self.planned.turn.wanted.name)
        one = Extractor(row, ready.spec, network.engine_name, network.rate)
        one = self._looking(one, model.head())
        place = np.union1d(self.held.place, self.ground.measured)
        if self.planned.turn.wanted.refits:
            place = np.union1d(place, self.lessons.train.place)
        seen = self.lessons.seen(one, place)
        whole = np.full((len(self.ground.files), sum(seen.widths)), np.nan, np.float32)
        whole[place] = features_of(seen)
        probe, head = self.ground.probe, self._head(model.head(), whole, seen.widths)
        target, unseen = self.held.target, whole[self.held.place]
        head = target.settled(head, head.scores(unseen), self.held.labels)
        scores = head.scores(unseen)
        epochs = self.told["steps"] / self.planned.planner.epoch
        return Rung(
            kind=self.planned.turn.wanted.name,
            extractors=(one,),
            seen=Pass(probe.seen.shas, probe.seen.looks, whole, seen.widths),
            head=head,
            judged=Judged(HELD_BACK, self.held.place, self.held.labels, scores, target),
            seconds=seconds,
            detail=f"{input_told(one.spec)}, {epochs:.1f} epochs, {how} weights",
        )

    def _looking(self, one: Extractor, head: Head) -> Extractor:
        """The tuned network with one view, as it was trained, or with those of the probe where
        they were asked for or lose less on the examples held back: its head has never seen the
        others.
        """
        views, asked = self.lessons.network.spec.views, self.ground.recipe.views
        more = replace(one, spec=replace(one.spec, views=views))
        if more.spec == one.spec or self.planned.turn.wanted.aims != "accuracy":
            return one
        if asked:
            return more
        target = self.held.target
        losses = []
        for each in (one, more):
            scores = head.scores(features_of(self.lessons.seen(each, self.held.place)))
            losses.append(target.mean_loss(scores, self.held.labels))
        return more if losses[1] < losses[0] else one

    def _head(self, own: Head, features: np.ndarray, widths: tuple[int, ...]) -> Head:
        """The trained head or, where it refits, the closed-form one if that is better.

        features  (n, d) of all examples by the tuned network
        """
        heads = [own]
        if self.planned.turn.wanted.refits:
            heads.append(self.lessons.head(features[self.lessons.train.place], widths).head)
        held = features[self.held.place]
        mean_loss = self.held.target.mean_loss
        losses = [mean_loss(head.scores(held), self.held.labels) for head in heads]
        return heads[int(np.argmin(losses))]

    def _mixed(self, tuned: Rung, best: Rung, seconds: float) -> list[Rung]:
        """The tuned rung with the reason why it is kept or not, and the mix if there is one."""
        mix = MIXING[self.planned.turn.wanted.aims](self, tuned, best)
        if mix.share in (0.0, 1.0):
            return [replace(tuned, why=mix.why)]
        judged = best.judged
        own = judged.target.temperature(judged.scores, judged.labels)
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
            judged=replace(tuned.judged, scores=mix.scores),
            seconds=seconds,
            detail=f"{mix.share:.0%} {tuned.kind}, {1 - mix.share:.0%} the best before it",
            why=mix.why,
        )
        return [replace(tuned, why="kept as a part of the ensemble"), together]

    def mixed_by_loss(self, tuned: Rung, best: Rung) -> Mix:
        """By log-loss and right answers, with the best so far."""
        scores, temperature = self._honest(best)
        held, train = len(self.held.labels), len(self.lessons.train.labels)
        most = largest_share(held, held + train)
        about = (self.held.labels, most, self.held.target)
        return mixed_answer(tuned.judged.scores, scores / temperature, *about)

    def alone_or_not(self, tuned: Rung, best: Rung) -> Mix:
        """A hardened network: beside another one its answers would not hold."""
        scores = tuned.judged.scores
        return guarded(self.told, scores, self.held.target.temperature(scores, self.held.labels))

    def _honest(self, best: Rung) -> tuple[Any, float]:
        """Scores of the best so far on the held-back examples, by a head that never saw them."""
        if best.judged.how == HELD_BACK:
            judged = best.judged
            return judged.scores, judged.target.temperature(judged.scores, judged.labels)
        train = self.lessons.train
        about = (best.seen.widths, best.lasts, best.taught)
        fit = self.lessons.head(best.features[train.place], *about)
        scores = fit.head.scores(best.features[self.held.place])
        learned = train if best.taught else train.untaught()
        some = learned.judging
        return scores, train.target.temperature(fit.left_out[some], learned.labels[some])


# What a strategy aims at → how its weights are chosen, and whether they stay alone.
CHOOSING: Mapping[str, Callable[[Climb, Any, Any, Any], tuple[Any, dict[str, Any]]]] = (
    MappingProxyType({"accuracy": Climb.by_loss, "robustness": Climb.by_wish})
)
MIXING: Mapping[str, Callable[[Climb, Rung, Rung], Mix]] = MappingProxyType(
    {"accuracy": Climb.mixed_by_loss, "robustness": Climb.alone_or_not}
)
