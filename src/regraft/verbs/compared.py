"""What a comparison found, as plain data for its page."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from regraft import __version__
from regraft.data.dataset import Dataset
from regraft.errors import StorageError, UsageError
from regraft.evaluation.intervals import bootstrap
from regraft.recipe import Recipe
from regraft.storage import write_atomically
from regraft.training.strategies import Strategy
from regraft.verbs.measuring import counts
from regraft.verbs.told import left_out
from regraft.verbs.withstanding import over_seeds

if TYPE_CHECKING:
    from regraft.training.averaging import State
    from regraft.training.loop import Training
    from regraft.training.terms import Trained

Numbers = npt.NDArray[np.int64]
ALL = "all"
BUDGET = 600.0  # seconds, by default
NAMED = 8  # files in one sentence
# Where options have other names.
OPTIONS = {"weights": "class_weights", "split": "split_column", "attacked": "examples"}
ONLY_IN_PYTHON = {"seed", "parts", "views", "licence", "resamples"}


@dataclass(frozen=True)
class Outcome:
    """One strategy on one set of examples with one seed.

    right   (m,) whether each measured example was told right
    answer  (m,) the class numbers that were answered
    robust  (k,) whether each of some was still told right under attack; None: not measured
    withstood  what `Withstanding` measured, where that was asked for
    """

    strategy: str
    labels: int | str
    seed: int
    right: npt.NDArray[np.bool_]
    answer: Numbers
    seconds: float
    curve: tuple[dict[str, Any], ...] = ()
    warnings: tuple[str, ...] = ()
    robust: npt.NDArray[np.bool_] | None = None
    withstood: dict[str, Any] | None = None

    @property
    def accuracy(self) -> float:
        """Share of right answers."""
        return float(self.right.mean())


@dataclass(frozen=True)
class Comparison:
    """What a comparison found.

    record    plain data, see `compare_page`
    outcomes  of every single run
    """

    record: dict[str, Any]
    outcomes: tuple[Outcome, ...] = field(repr=False, default=())

    def save(self, path: str | Path) -> Path:
        """Write as a page (.html) or as JSON (.json). Raises UsageError, StorageError."""
        import json

        from regraft.evaluation.compare_page import compare_page

        path = Path(path)
        write = {
            ".html": lambda: compare_page(self.record),
            ".json": lambda: json.dumps(self.record, indent=2) + "\n",
        }
        if path.suffix not in write:
            raise UsageError(f"path: {path} ends in neither .html nor .json")
        if not path.parent.is_dir():
            raise StorageError(f"{path.parent}: no such folder; make it first")
        write_atomically(path, write[path.suffix]().encode())
        return path


def settle(run: "Training", trained: "Trained", start: "State", back: float) -> None:
    """Put the weights that count into the model of a run that has ended: the last ones, averaged
    where it averages, a share `back` of the way to where it began (WiSE-FT).
    """
    from regraft.training.averaging import between, put

    end = trained.last if trained.average is None else trained.average
    put(run.model, between(start, end, 1 - back) if back else end)


def outcome_of(
    name: str,
    labels: int | str,
    seed: int,
    truth: Numbers,
    run: "Training",
    trained: "Trained",
    before: float,
) -> Outcome:
    """Of a run, by the weights that `settle` has put into its model.

    before  seconds until training began
    """
    assert run.held is not None
    answer = run.held.logits(run.model, run.device).argmax(1)
    curve = [
        {
            "seconds": before + p.seconds,
            "accuracy": p.held_accuracy if p.average_accuracy is None else p.average_accuracy,
        }
        for p in trained.curve
    ]
    if run.start is not None:
        curve.insert(0, {"seconds": before, "accuracy": run.start.accuracy})
    seconds, right, warnings = before + trained.seconds, answer == truth, tuple(trained.warnings)
    if curve and curve[-1]["accuracy"] != right.mean():  # of weights that went back
        curve.append({"seconds": seconds, "accuracy": float(right.mean())})
    return Outcome(name, labels, seed, right, answer, seconds, tuple(curve), warnings)


@dataclass(frozen=True)
class Telling:
    """What all outcomes of a comparison share.

    attack  that answers were held against where a strategy learns for that
    notes   what else must be said of the rows
    beyond  settings of `Withstanding`, where it was asked for
    """

    data: Dataset
    measured: Dataset
    recipe: Recipe
    backbone: str
    size: int
    attack: str = ""
    notes: tuple[str, ...] = ()
    beyond: Mapping[str, Any] = field(default_factory=dict)

    @property
    def truth(self) -> Numbers:
        return self.measured.targets

    def record(self, wanted: Sequence[Strategy], outcomes: Sequence[Outcome]) -> dict[str, Any]:
        return {
            "title": self.data.root.name,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "regraft": __version__,
            "modality": self.data.modality,
            "classes": list(self.data.classes),
            "n": len(self.measured),
            "split": {"source": self.data.split_source, "counts": counts(self.data)},
            "backbone": self.backbone,
            "size": self.size,
            "seeds": sorted({o.seed for o in outcomes}),
            "strategies": [self._told(one, outcomes) for one in wanted],
            "warnings": [*self._warnings(outcomes)],
            "left_out": left_out(self.data),
            "recipe": self.recipe.to_dict(),
            "reproduce": [self._command(wanted, outcomes)],
        }

    def _warnings(self, outcomes: Sequence[Outcome]) -> Iterator[str]:
        yield from sorted({f"{o.strategy}: {w}" for o in outcomes for w in o.warnings})
        yield from self.notes
        for o in outcomes:
            for why in (o.withstood or {}).get("robust", {}).get("why", ()):
                yield f"{o.strategy}: the figure under attack is unreliable: {why}"
        if lost := left_out(self.data):
            names = ", ".join(one["file"] for one in lost[:NAMED])
            more = f" and {len(lost) - NAMED} more" if len(lost) > NAMED else ""
            yield f"not readable and left out: {names}{more}"

    def _told(self, wanted: Strategy, outcomes: Sequence[Outcome]) -> dict[str, Any]:
        own = [o for o in outcomes if o.strategy == wanted.name]
        whole = [o for o in own if o.labels == ALL]
        probe = {o.seed: o for o in outcomes if o.strategy == "probe" and o.labels == ALL}
        against = None
        if probe and wanted.name != "probe":
            gains = np.concatenate([1.0 * o.right - probe[o.seed].right for o in whole])
            against = _difference(gains, len(self.truth), self.recipe)
        return {
            "name": wanted.name,
            "told": wanted.told,
            "score": self._score(whole),
            "seconds": float(np.mean([o.seconds for o in whole])),
            "curve": list(whole[0].curve)
            or [{"seconds": whole[0].seconds, "accuracy": whole[0].accuracy}],
            "per_class": self._recalls(whole),
            "by_labels": [*self._by_labels(own)],
            "against_probe": against,
            **self._robust(whole),
        }

    def _robust(self, whole: Sequence[Outcome]) -> dict[str, Any]:
        """What still holds under attack, over the seeds; nothing where it was not measured."""
        if measured := [o.withstood for o in whole if o.withstood is not None]:
            return over_seeds(measured)
        flags = [o.robust for o in whole if o.robust is not None]
        if not flags:
            return {}
        share = float(np.mean([some.mean() for some in flags]))
        return {"robust": {"value": share, "n": len(flags[0]), "attack": self.attack}}

    def _score(self, whole: Sequence[Outcome]) -> dict[str, Any]:
        """Mean over the seeds; the interval over the measured examples is that of the first."""
        sure = np.eye(len(self.data.classes))[whole[0].answer]
        asked = {"resamples": self.recipe.resamples, "seed": self.recipe.seed}
        found = bootstrap(self.truth, sure, metrics=["accuracy"], **asked)["accuracy"]
        mean = float(np.mean([o.accuracy for o in whole]))
        ends = {"low": found.low, "high": found.high}
        moved = mean - whole[0].accuracy
        return {"value": mean} | {k: None if v is None else v + moved for k, v in ends.items()}

    def _recalls(self, whole: Sequence[Outcome]) -> dict[str, float]:
        right = np.mean([o.right for o in whole], 0)
        own = {name: right[self.truth == c] for c, name in enumerate(self.data.classes)}
        return {name: float(found.mean()) for name, found in own.items() if len(found)}

    def _by_labels(self, own: Sequence[Outcome]) -> Iterator[dict[str, Any]]:
        """A point of the learning curve; its interval is two standard errors over the seeds."""
        for k in dict.fromkeys(o.labels for o in own):
            runs = [o.accuracy for o in own if o.labels == k]
            spread = 2 * np.std(runs, ddof=1) / np.sqrt(len(runs)) if len(runs) > 1 else None
            mean = float(np.mean(runs))
            low, high = (None, None) if spread is None else (mean - spread, mean + spread)
            yield {"labels": k, "value": mean, "low": low, "high": high, "runs": runs}

    def _command(self, wanted: Sequence[Strategy], outcomes: Sequence[Outcome]) -> str:
        labels = [k for k in dict.fromkeys(o.labels for o in outcomes) if k != ALL]
        seeds = sorted({o.seed for o in outcomes})
        return command(self.recipe, [one.name for one in wanted], seeds, labels, self.beyond)


def command(
    recipe: Recipe,
    strategies: Sequence[str],
    seeds: Sequence[int],
    labels: Sequence[Any] = (),
    more: Mapping[str, Any] = MappingProxyType({}),
) -> str:
    """What makes the same comparison again: a command line where it can say all of it."""
    usual = Recipe(budget=BUDGET, source=recipe.source).to_dict()
    own = {k: v for k, v in recipe.to_dict().items() if v != usual[k]}
    lists = {"strategies": [*strategies], "labels": [*labels], "seeds": [*seeds]}
    asked, source = {**lists, **own, **more}, recipe.source
    if not source or ONLY_IN_PYTHON & set(asked):
        settings = "".join(f", {name}={value!r}" for name, value in asked.items() if value != [])
        return f"regraft.compare({repr(source) if source else 'data'}{settings})"
    words = (word for name, value in asked.items() for word in _option(name, value))
    return shlex.join(["regraft", "compare", source, *words])


def _option(name: str, value: Any) -> list[str]:
    """A setting as words of the command line; none for an empty list."""
    option = f"--{OPTIONS.get(name, name).replace('_', '-')}"
    if value is True:
        return [option]
    text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
    return [option, text] if text else []


def _difference(gains: npt.NDArray[np.float64], measured: int, recipe: Recipe) -> dict[str, float]:
    """Mean gain over the probe, with a 95 % interval over the measured examples."""
    each = gains.reshape(-1, measured).mean(0)
    rng = np.random.default_rng(recipe.seed)
    means = [each[rng.integers(0, measured, measured)].mean() for _ in range(recipe.resamples)]
    low, high = np.percentile(means, [2.5, 97.5])
    return {"difference": float(each.mean()), "low": float(low), "high": float(high)}
