"""ensemble: models of the same classes → one model of them, chosen on answers that are honest.

    open → check → honest parts → features → methods by cross-validation → calibrate → measure

The whole is a model like any other: networks side by side, or one of averaged weights, under one
head. It is chosen on examples that taught no member, and measured on others.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from regraft.backbones.features import pass_over
from regraft.backbones.store import Store
from regraft.data.dataset import Dataset, listed
from regraft.data.findings import Finding
from regraft.data.sources import load
from regraft.errors import DataError, UsageError
from regraft.evaluation.before_after import refuse_drop
from regraft.evaluation.report import Report
from regraft.modalities import modality
from regraft.model.model import Model
from regraft.progress import Progress, Quiet
from regraft.recipe import Recipe
from regraft.training.settings import unknown
from regraft.verbs.before_after import before_and_after
from regraft.verbs.bench import Bench, bench_of
from regraft.verbs.evaluate import measure, same_classes
from regraft.verbs.fitted import Fitted
from regraft.verbs.ladder import FEWEST_HELD
from regraft.verbs.measuring import listed_as, short
from regraft.verbs.members import Member, members
from regraft.verbs.pooling import METHODS, Tried, kept_of, tried
from regraft.verbs.prepare import Prepared, prepare
from regraft.verbs.rungs import Learning, Rung, calibrated, positions, rows
from regraft.verbs.tasks import carried_out
from regraft.verbs.told import LISTED, always_row, left_out, record, rung_rows, summary
from regraft.verbs.ways import OF_CLASSES

MEMBER = "member"
# Of the record of the model, what its report shows too.
SHOWN = (
    *("tried", "timings", "chosen", "recipe", "reproduce", "backbones", "held_back"),
    *("before_after", "members"),
)


class Wanted(NamedTuple):
    """What is asked of an ensemble, and when it was begun, of time.perf_counter()."""

    method: str | None
    max_drop: float | None
    timed: bool
    begin: float


def ensemble(
    models: Sequence[Any],
    data: Any,
    *,
    method: str | None = None,
    seed: int | None = None,
    parts: Sequence[float] | None = None,
    coverage: float = 0.9,
    resamples: int = 1000,
    max_drop: float | None = None,
    timed: bool = True,
    progress: Progress | None = None,
    store: Store | None = None,
    **columns: Any,
) -> Fitted:
    """Make one model of several that tell the same classes.

    models   two or more of `Model`, or paths of bundles
    data     a Dataset or a source as for `regraft.load`, with examples that taught no member: a
             part ``validation`` or what all members were judged by to choose by, and a test part
    method   a row of `verbs.pooling.METHODS`; None: the one with the least log-loss by
             cross-validation, or one with fewer networks that comes close
    seed, parts  of the split, where none is given; None: those of the first model
    max_drop  points of accuracy that the whole may lose against the best member; None: any
    timed    measure the latency of both too, which takes some seconds
    columns  of a manifest: label, group, path_column, text, split; and root

    Raises UsageError where the models do not belong together, DataError where too few examples are
    left that taught none of them, RegraftError where too much is lost.
    """
    begin = time.perf_counter()
    found = members(models)
    if method is not None and method not in METHODS:
        raise UsageError(unknown("method", method, METHODS))
    own = found[0].model.record.get("recipe", {})
    usual = {name: own.get(name, getattr(Recipe, name)) for name in ("seed", "parts")}
    given = {"seed": seed, "parts": None if parts is None else tuple(parts)}
    given = {name: value for name, value in (given | columns).items() if value is not None}
    asked = Recipe(coverage=coverage, resamples=resamples).changed(**(usual | given))
    if isinstance(data, str | Path):
        asked = asked.changed(source=str(data))
    opened = store or Store()
    try:
        made = carried_out("ensemble", found[0].model.task)
        wanted = Wanted(method, max_drop, timed, begin)
        run: Fitted = made(found, data, asked, wanted, opened, progress or Quiet())
        return run
    finally:
        if store is None:
            opened.close()


def ensemble_of_classifiers(
    found: Sequence[Member],
    data: Any,
    asked: Recipe,
    wanted: Wanted,
    store: Store,
    progress: Progress,
) -> Fitted:
    """`ensemble` of classifiers that were checked."""
    prepared = _prepared(found[0].model, data, asked, store, progress)
    parts = honest_parts(prepared, found)
    bench = bench_of(
        found,
        parts.used,
        parts.learned,
        parts.choose,
        prepared.left_out_together(parts.choose),
        seed=asked.seed,
        store=store,
        progress=progress,
    )
    names, refused = _possible(bench, wanted.method)
    ways = []
    for name in names:
        ways.append(tried(bench, name, METHODS))
        progress.say(f"{name}: log-loss {ways[-1].loss:.3f}, {ways[-1].accuracy:.1%} right")
    return _finished(bench, parts, ways, refused, asked, wanted)


def _prepared(model: Model, data: Any, asked: Recipe, store: Store, progress: Progress) -> Prepared:
    """The examples: read, looked at, cleaned and split as for `fit`, with the models' classes."""
    names = ("label", "path_column", "text", "group", "split", "root")
    columns = {name: getattr(asked, name) for name in names}
    dataset = load(data, modality=listed_as(model), **columns)
    files = dataset.table["path"].to_list()
    seen = pass_over(files, modality(dataset.modality), store, None, progress)
    found = prepare(dataset, seen, asked)
    labelled = found.dataset.labelled
    if not len(labelled):
        raise DataError("there is nothing to choose by: no example has a label")
    same_classes(model, labelled)
    table = found.dataset.table.with_columns(sha256=pl.Series(_shas(seen, dataset, found.dataset)))
    whole = replace(found.dataset.with_table(table), classes=model.classes)
    return replace(found, dataset=whole)


def _shas(seen: Any, dataset: Dataset, kept: Dataset) -> list[str]:
    return [str(seen.shas[int(i)]) for i in positions(dataset, kept)]


# --- which examples ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Parts:
    """Examples by what the members know of them.

    whole   all, with parts as they are used here: ``validation`` to choose by, ``test`` to measure
            on, ``train`` for those that a member learned from
    """

    whole: Dataset

    @property
    def choose(self) -> Dataset:
        return self.whole.validation

    @property
    def measured(self) -> Dataset:
        return self.whole.test

    @property
    def learned(self) -> Dataset:
        return self.whole.train

    @property
    def used(self) -> Dataset:
        """To choose by and to measure on."""
        return self.whole.with_table(
            self.whole.table.filter(pl.col("split").is_in(["validation", "test"]))
        )


def honest_parts(prepared: Prepared, found: Sequence[Member]) -> Parts:
    """Which examples can be chosen by, and which measured on. Raises DataError where few are left.

    Nothing is measured on that a member learned from, nor what belongs together with such an
    example. A given split is obeyed; else what all members were judged by before is chosen by, and
    all that is new to them measured on.
    """
    data = prepared.dataset
    names = [short(sha) for sha in data.table["sha256"]]
    taught = np.array([any(name in one.learned for one in found) for name in names])
    units = prepared.left_out_together(data)
    new = ~np.isin(units, np.unique(units[taught]))
    honest = np.array([all(one.is_honest_on(name) for one in found) for name in names])
    labelled = data.table["label"].is_not_null().to_numpy()
    held = np.isin(np.arange(len(data)), positions(data, data.held_out))
    choose, measured = honest & labelled & ~held, new & labelled & held
    judged = honest & labelled & ~new
    if data.split_source == "made" and judged.sum() >= FEWEST_HELD:
        choose, measured = judged, new & labelled
    _refuse_few(int(choose.sum()), int(measured.sum()), names, found)
    split = np.select([measured, choose, ~new], ["test", "validation", "train"], "").tolist()
    parts = pl.Series([part or None for part in split], dtype=pl.String)
    table = data.table.with_columns(split=parts)
    lost = tuple(data.table["id"][int(i)] for i in np.flatnonzero(held & labelled & ~measured))
    return Parts(replace(data.with_table(table), findings=(*data.findings, *_learned(lost))))


def _learned(lost: Sequence[str]) -> list[Finding]:
    """The examples of the held-out part that cannot be measured on."""
    if not lost:
        return []
    reason = (
        f"a member learned from {len(lost)} examples of the part to measure on, or from their "
        "duplicates: they were not measured on"
    )
    return [Finding("learned-from", tuple(lost), reason, "warning")]


def _refuse_few(choose: int, measured: int, names: Sequence[str], found: Sequence[Member]) -> None:
    """Raise DataError where nothing honest can be said, with what each member learned from."""
    if choose >= FEWEST_HELD and measured:
        return
    counts = [sum(name in one.learned for name in names) for one in found]
    told = ", ".join(f"{one.name} {n}" for one, n in zip(found, counts, strict=True))
    raise DataError(
        f"of {len(names)} examples {choose} are left to choose by ({FEWEST_HELD} are needed) and "
        f"{measured} to measure on: the members learned from the others ({told}). Fit them with "
        "the same --seed, so that they hold back the same examples, or give examples that are new "
        "to all of them"
    )


def _possible(bench: Bench, method: str | None) -> tuple[list[str], dict[str, str]]:
    """Methods to try, and why the others cannot be. UsageError for one asked for."""
    reasons = {name: row.refusal(bench) for name, row in METHODS.items()}
    if method is not None and (reason := reasons[method]):
        raise UsageError(f"method: {method}: {reason}")
    refused = {name: reason for name, reason in reasons.items() if reason}
    return [n for n in METHODS if n not in refused and method in (None, n)], refused


# --- the whole -----------------------------------------------------------------------------------


def _finished(
    bench: Bench,
    parts: Parts,
    ways: Sequence[Tried],
    refused: dict[str, str],
    asked: Recipe,
    wanted: Wanted,
) -> Fitted:
    kept = kept_of(ways)
    rungs = [*_members(bench), *(_told(way, way is kept, len(bench.labels)) for way in ways)]
    best = rungs[len(bench.members) + [*ways].index(kept)]
    learning = Learning(bench.choose, bench.labels, bench.groups, len(bench.data.classes))
    model = calibrated(best, bench.data, learning, asked)
    chosen = _chosen(kept, ways, refused)
    told = record(asked, chosen, parts.whole, learning, best)
    model.record.update(told | _of_members(bench, told))
    held = parts.measured
    place = positions(bench.data, held)
    settings = {name: getattr(asked, name) for name in ("resamples", "seed")}
    measured = measure(model, held, rows(best.seen, place), **settings)
    model.record["measured"] = summary(measured)
    attempts = rung_rows(OF_CLASSES, rungs, best, model, place, bench.data, asked)
    for row, one in zip(attempts, bench.members, strict=False):  # they come first
        row["name"] = one.name
    model.record["tried"] = [always_row(OF_CLASSES, learning, place, bench.data, asked), *attempts]
    model.record["before_after"] = _against_the_best(bench, model, kept, held, asked, wanted)
    refuse_drop(model.record["before_after"])
    model.record["timings"] = {"total": round(time.perf_counter() - wanted.begin, 3)}
    own = {name: model.record[name] for name in SHOWN if name in model.record}
    split = {"split": {**measured["split"], **told["split"]}}
    findings = {"findings": [one.to_dict() for one in parts.whole.findings]}
    report = Report(measured | own | split | findings | {"left_out": left_out(parts.whole)})
    return Fitted(model, parts.whole, report)


def _members(bench: Bench) -> list[Rung]:
    """Each member alone, judged by the same examples."""
    rungs = []
    for k, one in enumerate(bench.members):
        alone = tuple(float(k == i) for i in range(len(bench.members)))
        spec = one.model.extractors[0].spec.told
        rung = bench.rung(MEMBER, alone, spec)
        rungs.append(replace(rung, why="one of the members"))
    return rungs


def _told(way: Tried, is_kept: bool, n: int) -> Rung:
    """The rung of a method with how it was judged."""
    why = f"log-loss {way.loss:.3f}, {way.accuracy:.1%} right of {n} to choose by, cross-validated"
    return replace(way.rung, why=f"kept: {why}" if is_kept else why)


def _chosen(kept: Tried, ways: Sequence[Tried], refused: dict[str, str]) -> dict[str, str]:
    """What was chosen for the user, and why; nothing where a method was asked for."""
    if len(ways) == 1:
        return {"members": kept.rung.detail}
    networks = "1 network" if kept.networks == 1 else f"{kept.networks} networks"
    told = {"method": f"{kept.name}: {METHODS[kept.name].told} {kept.rung.detail}; {networks}"}
    return told | {f"not tried: {name}": reason for name, reason in refused.items()}


def _of_members(bench: Bench, told: dict[str, Any]) -> dict[str, Any]:
    """What the record of the whole tells of its members; it has learned what any of them has."""
    learned = dict.fromkeys(told["learned"])
    for one in bench.members:
        learned |= dict.fromkeys(one.model.record.get("learned", ()))
    names = " ".join(one.name for one in bench.members)
    notices = [n for one in bench.members if (n := one.model.record.get("notice"))]
    taught = {sha for one in bench.members for sha in one.learned if not one.is_clean_of(sha)}
    return {
        "learned": [*learned][:LISTED],
        "only_chosen_by": [sha for sha in told["judged_on"] if sha not in taught],
        "members": [
            {
                "name": one.name,
                "networks": [network["name"] for network in one.model.networks],
                "recipe": one.model.record.get("recipe", {}),
            }
            for one in bench.members
        ],
        "reproduce": [f"regraft ensemble {names} --data {listed([told['name']])}"],
        **({"notice": notices[0]} if notices else {}),
    }


def _against_the_best(
    bench: Bench, model: Model, kept: Tried, held: Dataset, asked: Recipe, wanted: Wanted
) -> dict[str, Any]:
    """The whole beside the best member, which was chosen on the same examples."""
    number = int(np.argmax(METHODS["best"].choose(bench, np.arange(len(bench.labels)))))
    one = bench.members[number]
    told = f"{kept.name} of {len(bench.members)} models ({kept.rung.detail}); before: {one.name}"
    return before_and_after(
        one.model,
        model,
        held,
        verb="ensemble",
        told=f"{told}, the best of them",
        which="that taught no member",
        max_drop=wanted.max_drop,
        resamples=asked.resamples,
        seed=asked.seed,
        timed=wanted.timed,
        store=bench.store,
        progress=bench.progress,
    )
