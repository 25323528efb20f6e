"""The comparison of strategies on the same examples as a page: which was best, by how much, and at
what cost in time and in labels.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from markupsafe import Markup

from regraft.evaluation import charts
from regraft.evaluation.charts import Axis, Point, Series
from regraft.evaluation.headlines import Sentence
from regraft.evaluation.page import draw
from regraft.evaluation.plain_data import plain_copy
from regraft.evaluation.report import clipped, noun, per_hundred

REQUIRED = ("strategies", "n")
PROBE, COPY = "probe", "copy"  # what the best strategy is held against
ALL = "all"  # in place of a number of labels: every one there is
MOST_CHANGES = 20  # classes in the table of changes
WIDEST = 20  # pixels over which the marks of one number of labels are spread
TALL = 280  # pixels of charts where lines lie close together


@dataclass(frozen=True)
class Figure:
    """What a score is.

    title     in a table and on an axis
    headline  what the best strategy's score says, before its figure and after
    of_class  what the score of a class is
    """

    title: str
    headline: tuple[str, str]
    of_class: str

    @property
    def capital(self) -> str:
        """Its title at the beginning of a line."""
        return self.title[0].upper() + self.title[1:] if self.title.islower() else self.title


# Name of the figure in a record → what it is.
FIGURES: Mapping[str, Figure] = MappingProxyType(
    {
        "accuracy": Figure(
            "accuracy",
            ("right for ", ""),
            "Recall of each class (how many of its {noun} were found)",
        ),
        "map": Figure(
            "mAP",
            ("mean average precision ", " on"),
            "Average precision of each class",
        ),
    }
)

Row = dict[str, Any]
Record = Mapping[str, Any]


def compare_page(record: Record) -> str:
    """One self-contained page: no script, nothing loaded from anywhere.

    Only `strategies` and `n` are required; any other key may be absent, and then its part of the
    page is. Shares are in [0, 1], ends of intervals at 95 % confidence or None.

        title, created (ISO 8601), regraft (version), modality or noun ("pictures")
        figure      a name of FIGURES: what scores are; by default accuracy
        classes     [name]
        n           examples that every strategy was measured on
        split       name, source, how, seed, counts, as in a report's record
        backbone    name; size (pixels)
        strategies  [{name, told (what it is), score {value, low, high}, seconds,
                      curve [{seconds, accuracy}], per_class {class: recall},
                      by_labels [{labels (per class, or "all"), value, low, high, runs [value]}],
                      against_probe {difference, low, high} or None, robust {value, n, attack}
                      where one of them learns against an attack; where asked for robust {value,
                      low, high, n, clean, attack, reliable, why, whole} and corrupted {value,
                      low, high, n, clean, worst} of some of the examples}]
        warnings    [sentence]
        reproduce   [command line]

    Raises UsageError where a required key is missing or the record is not plain data.
    """
    plain = plain_copy(record, REQUIRED, _odd_strategies(record))
    rows = _rows(plain["strategies"])
    parts: Row = {
        "noun": plain.get("noun") or noun(plain),
        "headline": compare_headline(plain),
        "figure": _figure(plain),
        "rows": rows,
        "best": _best(rows),
        "beyond": next((row["robust"] for row in rows if "corrupted" in row), None),
        "ticks": _score_ticks(rows),
        "time_chart": _against_time(rows, _figure(plain)),
        "labels_chart": _against_labels(rows, _figure(plain)),
        "label_counts": _label_counts(rows),
        "changes": _changes(plain, rows),
        "reference": _reference(rows),
        "interval_bar": charts.interval_bar,
        "change_bar": charts.change_bar,
        "swatch": charts.swatch,
        "points": points,
        "MOST_CHANGES": MOST_CHANGES,
    }
    return draw(
        "compare.html", plain, sections=[s for s in SECTIONS if s.there(plain, parts)], **parts
    )


@dataclass(frozen=True)
class Section:
    """A part of the page: drawn by the template's macro of its name where there is something."""

    name: str
    title: str
    there: Callable[[Record, Row], Any]


SECTIONS = (
    Section("strategies", "The strategies", lambda record, parts: True),
    Section("time", "Against time", lambda record, parts: parts["time_chart"]),
    Section("labels", "Against labels", lambda record, parts: parts["labels_chart"]),
    Section("changes", "Class by class", lambda record, parts: parts["changes"]),
    Section("warnings", "Warnings", lambda record, parts: record.get("warnings")),
    Section("reproduce", "How to do it again", lambda record, parts: record.get("reproduce")),
)


def compare_headline(record: Record) -> Sentence:
    """Which strategy was best, and by how much over the probe and over the naive copy."""
    rows = record["strategies"]
    if (best := _best(rows)) is None:
        return Sentence([("No strategy was measured.", "")])
    what = record.get("noun") or noun(record)
    score, figure = best["score"], _figure(record)
    before, after = figure.headline
    sentence = Sentence([(clipped(best["name"]), "name"), (f" is best: {before}", "")])
    sentence.append((f"{per_hundred(score['value'])} of 100", "figure"))
    sentence.append((f"{after} {what} it has not seen{_span(score)}", ""))
    told = [*_over_probe(best, rows), *_over_copy(best, rows)]
    for place, text in enumerate(told):
        sentence.append((", " if place == 0 else " and ", ""))
        sentence.extend(text)
    return Sentence([*sentence, (".", "")])


def _figure(record: Record) -> Figure:
    return FIGURES.get(str(record.get("figure") or "accuracy"), FIGURES["accuracy"])


def _span(score: Mapping[str, Any]) -> str:
    low, high = score.get("low"), score.get("high")
    if low is None or high is None or low == high:
        return ""
    return f" (95\u202f% interval {per_hundred(low)}–{per_hundred(high)}\u202f%)"


def _over_probe(best: Record, rows: Iterable[Record]) -> Iterator[list[tuple[str, str]]]:
    """How far above the probe, and whether that may be chance."""
    probe = _named(rows, PROBE)
    if probe is None or best["name"] == PROBE:
        return
    against = best.get("against_probe") or {}
    difference = against.get("difference")
    if difference is None:
        difference = best["score"]["value"] - probe["score"]["value"]
    low, high = against.get("low"), against.get("high")
    chance = ""
    if low is not None and high is not None:
        verdict = "which may be chance, " if low <= 0 <= high else ""
        chance = f" ({verdict}interval {points(low)} to {points(high)})"
    yield [(_apart(difference, " percentage points"), ""), (PROBE, "name"), (chance, "")]


def _over_copy(best: Record, rows: Iterable[Record]) -> Iterator[list[tuple[str, str]]]:
    copy = _named(rows, COPY)
    if copy is not None and best["name"] != COPY:
        difference = best["score"]["value"] - copy["score"]["value"]
        yield [(_apart(difference, ""), ""), (COPY, "name")]


def _apart(difference: float, unit: str) -> str:
    return f"{100 * abs(difference):.1f}{unit} {'below' if difference < 0 else 'above'} "


def points(difference: float | None) -> str:
    """A difference of shares in percentage points, with its sign: "+3.1", "−0.4", "±0"."""
    if difference is None:
        return "–"
    told = f"{100 * abs(difference):.1f}"
    if float(told) == 0:
        return "±0"
    return ("+" if difference > 0 else "\u2212") + told


def _odd_strategies(record: Record) -> Iterator[str]:
    given = record.get("strategies", [])
    if not isinstance(given, list | tuple):
        yield f"record['strategies']: expected a list, got {type(given).__name__}"
        return
    for place, row in enumerate(given):
        if not (isinstance(row, dict) and isinstance(row.get("name"), str)):
            yield f"record['strategies'][{place}]: expected a dict with a name, got {row!r}"


def _rows(strategies: Iterable[Record]) -> list[Row]:
    """The strategies, each with a style of its own in all charts."""
    return [{**row, "style": place} for place, row in enumerate(strategies)]


def _score(row: Record) -> float | None:
    value = (row.get("score") or {}).get("value")
    return value if charts.SHARES.shows(value) else None


def _best(rows: Iterable[Record]) -> Any:
    """The highest score; of equals the one that took less time. None where nothing was measured."""
    scored = [(value, row) for row in rows if (value := _score(row)) is not None]
    ranked = sorted(scored, key=lambda pair: (-pair[0], pair[1].get("seconds") or 0.0))
    return ranked[0][1] if ranked else None


def _named(rows: Iterable[Record], name: str) -> Any:
    return next((r for r in rows if r["name"] == name and _score(r) is not None), None)


def _reference(rows: Sequence[Row]) -> Row | None:
    """What classes are compared with: the probe, or else the first strategy."""
    return next((row for row in rows if row["name"] == PROBE), rows[0] if rows else None)


def _score_ticks(rows: Iterable[Row]) -> list[charts.Tick]:
    """Of the scale on which the table draws the scores: only as wide as they need."""
    scores = [row.get("score") or {} for row in rows]
    told = (score.get(name) for score in scores for name in ("low", "value", "high"))
    ends: list[float] = [value for value in told if charts.SHARES.shows(value)]
    return charts.share_ticks(min(ends), max(ends)) if ends else []


# --- charts --------------------------------------------------------------------------------------


def _against_time(rows: Iterable[Row], figure: Figure) -> Markup:
    series = [Series(row["name"], _over_time(row), row["style"]) for row in rows]
    time = Axis("time, logarithmic", charts.MOMENTS_LOG)
    scores = Axis(figure.title, charts.SHARES)
    title = f"{figure.capital} against time"
    return charts.line_chart(title, series, time, scores, height=TALL)


def _over_time(row: Row) -> list[Point]:
    """Its curve; where it was not measured on its way, its score in the end."""
    if curve := row.get("curve"):
        return [Point(point.get("seconds"), point.get("accuracy")) for point in curve]
    score = row.get("score") or {}
    return [Point(row.get("seconds"), score.get("value"), score.get("low"), score.get("high"))]


def _against_labels(rows: Sequence[Row], figure: Figure) -> Markup:
    ticks = _label_places(rows)
    measured = [row for row in rows if row.get("by_labels")]
    series = [_over_labels(row, ticks, place, len(measured)) for place, row in enumerate(measured)]
    labels = Axis("labels of each class, logarithmic", charts.marked({v: k for k, v in ticks}))
    scores = Axis(figure.title, charts.SHARES)
    title = f"{figure.capital} against labels"
    return charts.line_chart(title, series, labels, scores, height=TALL)


def _over_labels(row: Row, ticks: list[tuple[str, float]], place: int, of: int) -> Series:
    places = dict(ticks)
    points_of, dots = [], []
    for told in row["by_labels"]:
        x = places.get(str(told.get("labels")))
        points_of.append(Point(x, told.get("value"), told.get("low"), told.get("high")))
        dots += [(x, run) for run in told.get("runs") or ()]
    shift = min(5.0, WIDEST / of) * (place - (of - 1) / 2)
    return Series(row["name"], points_of, row["style"], shift, dots)


def _label_counts(rows: Iterable[Row]) -> list[str]:
    """The numbers of labels as text, rising, "all" at the end."""
    told = [point.get("labels") for row in rows for point in row.get("by_labels") or ()]
    numbers = sorted({n for n in told if type(n) is int and n > 0})
    return [*map(str, numbers), *([ALL] if ALL in told else [])]


def _label_places(rows: Iterable[Row]) -> list[tuple[str, float]]:
    """Where the numbers of labels are on the axis; "all" as far on as the last two are apart."""
    names = _label_counts(rows)
    places = [float(name) for name in names if name != ALL]
    if len(names) > len(places):
        ratio = places[-1] / places[-2] if len(places) > 1 else 2.0
        places.append(places[-1] * ratio if places else 1.0)
    return list(zip(names, places, strict=True))


def _changes(record: Record, rows: Sequence[Row]) -> Row | None:
    """Recall of each class against the reference: the largest changes first."""
    reference = _reference(rows)
    others = [row for row in rows if row is not reference and row.get("per_class")]
    if reference is None or not reference.get("per_class") or not others:
        return None
    before = reference["per_class"]
    table = []
    for name in record.get("classes") or list(before):
        changes = [_change(before.get(name), row["per_class"].get(name)) for row in others]
        told = [abs(change) for change in changes if change is not None]
        if told:
            row = {"class": name, "before": before.get(name), "changes": changes}
            table.append((max(told), row))
    if not table:
        return None
    table.sort(key=lambda pair: -pair[0])
    return {"others": others, "rows": [row for _, row in table], "most": table[0][0]}


def _change(before: Any, after: Any) -> float | None:
    known = charts.SHARES.shows(before) and charts.SHARES.shows(after)
    return after - before if known else None
