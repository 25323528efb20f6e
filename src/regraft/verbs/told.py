"""What a fit tells: its record for the bundle, and the table of what was tried."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from regraft.backbones.extractor import Extractor
from regraft.backbones.store import Store
from regraft.data.dataset import PARTS, Dataset
from regraft.evaluation.operating import HELD_BACK, LEFT_OUT, positive_class
from regraft.evaluation.report import Report
from regraft.modalities import modality
from regraft.progress import Progress
from regraft.recipe import Recipe
from regraft.transfer.baselines import BASELINES, Baseline
from regraft.transfer.targets import TARGETS, Target
from regraft.verbs.kept import kept_head
from regraft.verbs.measuring import counts, notice_of, short, sizes
from regraft.verbs.rungs import Judged, Learning, Numbers, Rung
from regraft.verbs.shown import illustrated
from regraft.verbs.ways import Way

# How a rung was judged → the key of the record that tells the outcome.
JUDGED = {LEFT_OUT: "leave_one_out", HELD_BACK: "held_back"}
OWN_SCORE = {LEFT_OUT: "loo", HELD_BACK: "held_back"}

PICTURES = 40  # of findings in the report
NOT_SHOWN = ("examples", "learned", "judged_on", "name", "split", "head", "measured")  # in a report
LISTED = 50_000  # examples whose names a bundle holds; more would make it unwieldy


def record(
    recipe: Recipe, chosen: Mapping[str, str], data: Dataset, learning: Learning, best: Rung
) -> dict[str, Any]:
    """Provenance of the model, as plain data."""
    ids = {part: getattr(data, part).table["id"].to_list() for part in PARTS}
    return {
        "name": Path(recipe.source).name or data.root.name,
        "recipe": recipe.to_dict(),
        "chosen": {**chosen, **_positive(recipe, data), **_window(recipe, best)},
        "split": {
            "source": data.split_source,
            "how": str(data.split_record.get("how", "as given")),
            "seed": data.split_record.get("seed"),
            "counts": counts(data),
            "sizes": sizes(data),
        },
        "examples": ids if len(data) <= LISTED else {},
        "learned": [short(best.seen.shas[i]) for i in learning.place[:LISTED]],
        "judged_on": judged_on(best),
        "backbones": [network_told(one) for one in best.extractors],
        "head": {"lambda": best.head.lam, "block_weights": list(best.head.weights)},
        JUDGED[best.judged.how]: _judged(best, learning),
        "reproduce": ["regraft fit --recipe recipe.toml"],
        **({"notice": told} if (told := notice_of(best.seen)) else {}),
    }


def _judged(best: Rung, learning: Learning) -> dict[str, Any]:
    """How good it was on what judged it, and how much it learned from where that is more."""
    n, learned = len(best.judged.labels), len(learning.place)
    found: dict[str, Any] = {learning.target.figure: best.judged.score, "n": n}
    return found | ({"learned": learned} if learned > n and best.taught else {})


def judged_on(rung: Rung) -> list[str]:
    """Which examples the kept scores of a rung are of: so that others can be judged by the same."""
    place = rung.judged.place
    return [short(rung.seen.shas[i]) for i in place] if len(place) <= LISTED else []


def _positive(recipe: Recipe, data: Dataset) -> dict[str, str]:
    """Which class the decision curve is about, where that was not said."""
    two = data.classes if TARGETS[data.task].named else ()
    name = positive_class(two, None, None)
    if recipe.positive or name is None:
        return {}
    return {"positive": f"{name}: the second of two classes; the decision curve is about it"}


def summary(measured: Mapping[str, Any]) -> dict[str, Any]:
    """Of a report's record what the model's own keeps: for the model card."""
    parts = ("title", "value", "low", "high")
    metrics = {
        name: {part: one[part] for part in parts if part in one}
        for name, one in measured["metrics"].items()
    }
    return {"n": measured["split"]["n"], "metrics": metrics, "limits": measured["limits"]}


def _window(recipe: Recipe, best: Rung) -> dict[str, str]:
    """What became black and white in medical and 16-bit pictures, where that was not said."""
    if recipe.window or not any(facts.deep for facts in best.seen.facts.values()):
        return {}
    return {"window": f"{best.extractors[0].spec.window}: as each file tells, else by its values"}


def network_told(one: Extractor) -> dict[str, Any]:
    """What a record tells of a network."""
    row = one.row
    return {
        "name": row.name,
        "source": row.source,
        "architecture": row.architecture,
        "licence_code": row.licence_code,
        "licence_weights": row.licence_weights,
        "parameters": row.parameters,
        "upstream_score": row.upstream_score,
        "fingerprint": one.fingerprint,
        "spec": one.spec.to_dict(),
        "engine": one.engine_name,
        "pictures_per_second": one.rate,
    }


def tried(
    way: Way,
    rungs: Sequence[Rung],
    best: Rung,
    model: Any,
    learning: Learning,
    held: Numbers,
    data: Dataset,
    recipe: Recipe,
    store: Store,
) -> list[dict[str, Any]]:
    """A row per baseline and rung, with its figure (accuracy ...) on the held-out examples.

    model  that came of the best one: where it answers at an operating point, its row says how
           often that is right
    held   (m,) where they stand in the dataset
    """
    truth = _truth(learning.target, held, data)
    rows = [
        _baseline_row(baseline, seconds, way.figure(truth, baseline.scores, recipe))
        for baseline, seconds in _baselines(way, best, learning, held, data, recipe, store)
    ]
    return rows + rung_rows(way, rungs, best, model, held, data, recipe)


def rung_rows(
    way: Way,
    rungs: Sequence[Rung],
    best: Rung,
    model: Any,
    held: Numbers,
    data: Dataset,
    recipe: Recipe,
) -> list[dict[str, Any]]:
    """A row per rung; see `tried`."""
    truth, rows = _truth(way.target, held, data), []
    for rung in rungs:
        scores = rung.head.scores(rung.features[held])
        if rung is best:
            scores = way.answered(model, rung.features[held], scores)
        row = _rung_row(rung, rung is best, way.figure(truth, scores, recipe))
        if rung is best and recipe.at is not None:
            row["detail"] += f"; answers at {recipe.at}"
        rows.append(row | _held_score(way, rung, recipe))
    return rows


def _baseline_row(baseline: Baseline, seconds: float, score: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": baseline.name,
        "kind": "baseline",
        "backbone": None,
        "detail": baseline.detail,
        "score": score,
        "seconds": seconds,
        "kept": False,
        "why": "what any result is measured against",
    }


def _rung_row(rung: Rung, kept: bool, score: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": f"{rung.kind}, taught" if rung.taught else rung.kind,
        "kind": rung.kind,
        "backbone": rung.name,
        "detail": rung.detail,
        "score": score,
        OWN_SCORE[rung.judged.how]: rung.judged.score,
        "loo_error": rung.error,
        "seconds": rung.seconds,
        "kept": kept,
        "why": rung.why,
    }


def announced(rungs: Sequence[Rung], progress: Progress) -> Sequence[Rung]:
    """The rungs, each told as it is found."""
    for rung in rungs:
        progress.found("rung", rung_told(rung))
    return rungs


def rung_told(rung: Rung) -> dict[str, Any]:
    """What is told of a rung as soon as it is there: honest, and not of the held-out examples."""
    n, how = len(rung.judged.labels), JUDGED[rung.judged.how].replace("_", " ")
    target, score = rung.judged.target, rung.judged.score
    told = f"{rung.name}, {rung.detail}: {target.told(score)} ({how}, {n} examples)"
    return {
        "told": told,
        "kind": rung.kind,
        "backbone": rung.name,
        "detail": rung.detail,
        "judged": JUDGED[rung.judged.how],
        "figure": target.figure,
        "score": score,
        "n": n,
        "seconds": round(rung.seconds, 3),
    }


def _held_score(way: Way, rung: Rung, recipe: Recipe) -> dict[str, Any]:
    """On the examples that were held back for choosing, where it was judged on some."""
    if rung.judged.how != HELD_BACK:
        return {}
    return {"held_score": way.figure(rung.judged.labels, rung.judged.scores, recipe)}


def always_row(
    way: Way, learning: Learning, held: Numbers, data: Dataset, recipe: Recipe
) -> dict[str, Any]:
    """The row of the baseline that looks at nothing."""
    always = way.nothing(learning.labels, data.classes, len(held))
    truth = _truth(learning.target, held, data)
    return _baseline_row(always, 0.0, way.figure(truth, always.scores, recipe))


def _truth(target: Target, held: Numbers, data: Dataset) -> Any:
    """What is right for the held-out examples."""
    return target.truth(data.with_table(data.table[held]), data.learning)


def _baselines(
    way: Way,
    best: Rung,
    learning: Learning,
    held: Numbers,
    data: Dataset,
    recipe: Recipe,
    store: Store,
) -> Iterator[tuple[Baseline, float]]:
    start = time.perf_counter()
    yield way.nothing(learning.labels, data.classes, len(held)), time.perf_counter() - start
    start = time.perf_counter()
    facts, kind = best.seen.facts, modality(data.modality)
    learned, measured = (
        np.stack([kind.plain(facts[int(i)]) for i in some]) for some in (learning.place, held)
    )
    found = BASELINES[kind.baseline](
        kind.plainly,
        learned,
        learning.labels,
        measured,
        learning.classes,
        recipe.seed,
        partial(kept_head, store, target=learning.target),
    )
    yield found, time.perf_counter() - start


def how_trained(run: Mapping[str, Any]) -> str:
    """The settings of one run of training, in a line."""
    plan = run["plan"]
    weights = "all classes alike" if plan["weights"] == "none" else f"classes by {plan['weights']}"
    return (
        f"{run['input']}, {run['steps']:,} steps of {plan['batch']}, {plan['optimiser']} at "
        f"{plan['rate']:.2g} ({plan['schedule']}), loss {plan['loss']}, "
        f"{plan['sampling']} sampling, {weights}, "
        f"augmentation {plan['augment']}, BatchNorm {plan['norm']}, {plan['precision']}"
    )


def left_out(data: Dataset) -> list[dict[str, str]]:
    """Files that were not used, with the reason."""
    return [
        {"file": name, "reason": finding.reason}
        for finding in data.findings
        if finding.kind == "unreadable"
        for name in finding.files
    ]


def with_suspects(data: Dataset, judged: Judged, way: Way) -> Dataset:
    """With findings on labels that leave-one-out doubts: it costs nothing more."""
    names = [data.table["id"][int(i)] for i in judged.place]
    doubted = way.suspects(judged.scores, judged.labels, names, data.classes)
    return replace(data, findings=(*data.findings, *doubted))


def whole_report(measured: Mapping[str, Any], told: Mapping[str, Any], data: Dataset) -> Report:
    """What was measured, and of the model's record what a reader of the report asks for."""
    own = {k: v for k, v in told.items() if k not in NOT_SHOWN}
    split = {"split": {**measured["split"], **told["split"]}}
    findings = {"findings": [*illustrated(data, data.findings, PICTURES)]}
    return Report({**measured, **own, **split, **findings, "left_out": left_out(data)})
