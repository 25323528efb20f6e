"""The result in one sentence, by the task."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from regraft.evaluation.figures import main_figure
from regraft.evaluation.report import (
    UNKNOWN,
    clipped,
    noun,
    number,
    per_hundred,
    share,
    span,
    visible,
)

ROUNDING = 1e-6  # far less than one example in any set


class Sentence(list[tuple[str, str]]):
    """A sentence in pieces (text, role); the roles are "", "figure" and "name"."""

    def __str__(self) -> str:
        return visible("".join(text for text, _ in self))


def headline(record: Mapping[str, Any]) -> Sentence:
    """The result in plain words, by the task."""
    return HEADLINES.get(record.get("task") or "", _of_classes)(record)


def _of_boxes(record: Mapping[str, Any]) -> Sentence:
    """How much is found, and how much of what is said to be found is right."""
    half, whole = (record["metrics"].get(name) or {} for name in ("map50", "map"))
    if half.get("value") is None:
        return Sentence([("What it finds was not measured: nothing is there to find.", "")])
    sentence = Sentence([("It finds objects with an average precision of ", "")])
    sentence.append((f"{half['value']:.3f}", "figure"))
    inner = span(half, False)
    known = "" if inner == UNKNOWN else f" (95\u202f% interval {inner})"
    rest = f" where half of a box must overlap{known}, and {number(whole.get('value'))} over all "
    return Sentence([*sentence, (f"{rest}overlaps from 0.5 to 0.95.", "")])


def _of_classes(record: Mapping[str, Any]) -> Sentence:
    """The accuracy, its interval, and what costs nothing beside it."""
    accuracy = record["metrics"].get("accuracy") or {}
    if accuracy.get("value") is None:
        return Sentence([("Its accuracy was not measured.", "")])
    sentence = Sentence([("It names the right class for ", "")])
    sentence.append((f"{per_hundred(accuracy['value'])} of 100", "figure"))
    sentence.append((f" {noun(record)} it has not seen{_in_brackets(record, accuracy)}", ""))
    return Sentence([*sentence, *_against(record), (".", "")])


def _of_speech(record: Mapping[str, Any]) -> Sentence:
    """How many words of a hundred are wrong, and what the same answer for all would cost."""
    wer = record["metrics"].get("wer") or {}
    if wer.get("value") is None:
        return Sentence([("What it writes down was not measured.", "")])
    sentence = Sentence([("Of 100 words that are said it gets ", "")])
    sentence.append((f"{per_hundred(wer['value'])} wrong", "figure"))
    inner = span(wer, True)
    known = "" if inner == UNKNOWN else f" (95\u202f% interval {inner})"
    trivial = (record.get("trivial") or {}).get("wer")
    beside = "" if trivial is None else f"; always the same answer, {per_hundred(trivial)}"
    came = ((record.get("as_it_came") or {}).get("wer") or {}).get("value")
    before = "" if came is None else f"; before it learned, {per_hundred(came)}"
    return Sentence([*sentence, (f"{known}{before}{beside}.", "")])


def _of_tags(record: Mapping[str, Any]) -> Sentence:
    """How well it ranks, and how much of what it says is right."""
    metrics = record["metrics"]
    whole, right = (metrics.get(name) or {} for name in ("map_macro", "precision_micro"))
    if whole.get("value") is None:
        return Sentence([("How well it finds tags was not measured: none is there.", "")])
    inner = span(whole, False)
    known = "" if inner == UNKNOWN else f" (95\u202f% interval {inner})"
    found = (metrics.get("recall_micro") or {}).get("value")
    sentence = Sentence([("It finds tags with a mean average precision of ", "")])
    sentence += [(f"{whole['value']:.3f}", "figure"), (known, ""), *_against(record, number)]
    if right.get("value") is not None and found is not None:
        shares = f"{per_hundred(right['value'])} of 100 tags that it says are right"
        sentence.append((f"; {shares}, and it says {per_hundred(found)} of 100 that are there", ""))
    return Sentence([*sentence, (".", "")])


def _of_numbers(record: Mapping[str, Any]) -> Sentence:
    """How far off it is, and how much of the variance it explains."""
    mae, r2 = (record["metrics"].get(name) or {} for name in ("mae", "r2"))
    if mae.get("value") is None:
        return Sentence([("How far off it is was not measured.", "")])
    low, high = mae.get("low"), mae.get("high")
    known = "" if low is None else f" (95\u202f% interval {low:.3g}–{high:.3g})"
    sentence = Sentence([("Its numbers are off by ", ""), (f"{mae['value']:.3g}", "figure")])
    explained = f" on average; it explains {share(r2.get('value'))} of the variance"
    return Sentence([*sentence, (f"{known}{explained}", ""), *_against(record), (".", "")])


HEADLINES: Mapping[str, Callable[[Mapping[str, Any]], Sentence]] = {
    "detection": _of_boxes,
    "transcription": _of_speech,
    "tags": _of_tags,
    "regression": _of_numbers,
}


def _in_brackets(record: Mapping[str, Any], interval: Mapping[str, Any]) -> str:
    low, high = interval.get("low"), interval.get("high")
    if low is None or high is None:
        return ""
    if low == high:  # resampling answers that are all right, or all wrong, shows no spread
        n, which = record["split"].get("n"), "right" if low == 1 else "wrong"
        return f" (all {n} answers were {which}, which leaves the interval unknown)"
    low, high = (per_hundred(end) for end in (low, high))
    return f" (95\u202f% interval {low}–{high}\u202f%)"


def _against(
    record: Mapping[str, Any], form: Callable[[float], str] = per_hundred
) -> Iterator[tuple[str, str]]:
    """The baselines, best first: ", against 31 for raw pixels and 21 for always …"."""
    if tried_elsewhere(record):
        return
    rows = [row for row in record.get("tried") or () if row.get("kind") == "baseline"]
    scored = [(score, row["name"]) for row in rows if (score := _score(row)) is not None]
    for place, (score, name) in enumerate(sorted(scored, reverse=True)):
        joint = ", against " if place == 0 else " and " if place == len(scored) - 1 else ", "
        yield f"{joint}{form(score)} for ", ""
        yield clipped(name), "name"


def tried_elsewhere(record: Mapping[str, Any]) -> bool:
    """Whether the attempts were measured on other examples than the metrics."""
    accuracy = (record["metrics"].get(main_figure(record).name) or {}).get("value")
    kept = [_score(row) for row in record.get("tried") or () if row.get("kept")]
    if accuracy is None:
        return False
    return any(score is not None and abs(score - accuracy) > ROUNDING for score in kept)


def _score(row: Mapping[str, Any]) -> float | None:
    score: float | None = (row.get("score") or {}).get("value")
    return score
