"""The report and the doctor's findings as pages: one file each, no script, nothing loaded.

Here is what needs arithmetic (shares, orders, limits); what it looks like is in `templates`. Names
of files and classes are hostile input: the templates escape everything, and `visible` spells out
what escaping lets through.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, Undefined
from markupsafe import Markup, escape

from regraft.evaluation import charts
from regraft.evaluation.before_after import table_rows
from regraft.evaluation.box_page import galleries, learning_charts, precision_chart
from regraft.evaluation.charts import Axis, Level, Point, Series
from regraft.evaluation.confusions import heat, pairs, shades
from regraft.evaluation.decisions import deciding
from regraft.evaluation.figures import left_out_score, main_figure
from regraft.evaluation.headlines import headline, tried_elsewhere
from regraft.evaluation.number_chart import number_charts
from regraft.evaluation.report import (
    SHARES,
    UNKNOWN,
    clipped,
    duration,
    noun,
    number,
    share,
    span,
    visible,
)
from regraft.evaluation.robust_page import robust_parts
from regraft.evaluation.spoken_page import spoken_parts

MOST_CLASSES = 30  # with more, the confusion matrix is too wide to read as numbers
MOST_COUNTED = 12  # with more, its cells have room for the share only
MOST_PAIRS = 12
MOST_PICTURED = 4  # thumbnails of one finding
MOST_LISTED = 400  # entries of one list; the JSON has them all
REPORT_PICTURES = 1_000_000  # characters of thumbnails on a page
REPORT_CLIPS = 1_500_000  # characters of sounds on a page
DOCTOR_PICTURES = 6_000_000
MOST_LOOKED = 24  # pairs of a picture and its heat map
MOST_OPEN = 2  # training runs whose charts are not folded

# The numbers at the head of the page, where they apply.
KEY_METRICS = (
    "accuracy",
    "balanced_accuracy",
    "worst_class_recall",
    "f1_macro",
    "auroc_macro",
    "ece",
    *("map", "map50", "map75", "ar100"),
    *("wer", "cer", "exact"),
    *("map_macro", "f1_micro", "f1_samples", "subset_accuracy"),
    *("r2", "mae", "rmse", "spearman"),
)
SEVERITIES = {"error": "left out or wrong", "warning": "look at it", "note": "good to know"}

THUMBNAIL = re.compile(r"data:image/(?:jpeg|png|webp|svg\+xml);base64,[A-Za-z0-9+/]+={0,2}")
CLIP = re.compile(r"data:audio/(?:mpeg|ogg|wav);base64,[A-Za-z0-9+/]+={0,2}")
BREAKS = re.compile(r"(?<=[/\\_-])(?=[^/\\_-])")  # where a long file name may go on a new line

AVERAGE = "average_accuracy"
TIME = Axis("time", charts.SECONDS)

Row = dict[str, Any]


@dataclass(frozen=True)
class Section:
    """A part of the report: drawn by ``<name>.html`` where the record has one of its keys."""

    name: str
    title: str
    keys: tuple[str, ...]


SECTIONS = (
    Section("tried", "What was tried", ("tried", "leave_one_out")),
    Section("before_after", "Before and after", ("before_after",)),
    Section("training", "How training went", ("training",)),
    Section("tags", "Tag by tag", ("per_tag",)),
    Section("beside", "Tags beside one another", ("beside",)),
    Section("worst_tags", "Where it was most wrong", ("worst_tags",)),
    Section("numbers", "Number by number", ("per_number",)),
    Section("worst_numbers", "Where it was farthest off", ("worst_numbers",)),
    Section("gallery", "Predictions over the truth", ("gallery",)),
    Section("box_errors", "What goes wrong", ("box_errors",)),
    Section("box_classes", "Class by class", ("boxes_per_class",)),
    Section("transcripts", "Its worst mistakes", ("transcripts",)),
    Section("speech_training", "How training went", ("speech_training",)),
    Section("box_training", "How training went", ("box_training",)),
    Section("confusion", "What it confuses", ("confusion",)),
    Section("classes", "Class by class", ("per_class",)),
    Section("decisions", "One class against the rest", ("operating_point", "decisions")),
    Section("confidence", "How far to trust its confidence", ("reliability", "conformal")),
    Section("mistakes", "Its worst mistakes", ("mistakes",)),
    Section("looked", "Where it looked", ("looked",)),
    Section("robust", "Under attack", ("robust",)),
    Section("corruptions", "On worse examples", ("corruptions",)),
    Section("out_of_distribution", "Other data", ("out_of_distribution",)),
    Section("abstention", "Leaving answers out", ("abstention",)),
    Section("novelty", "Unlike the training data", ("novelty",)),
    Section("findings", "Findings in the data", ("findings", "left_out")),
    Section("split", "How the data was split", ("split",)),
    Section("backbones", "Pretrained networks and licences", ("backbones",)),
    Section(
        "recipe", "Recipe, and how to do it again", ("recipe", "chosen", "timings", "reproduce")
    ),
    Section("limits", "Limits", ("limits",)),
)


def report_page(record: Mapping[str, Any]) -> str:
    """The page of a report's record (its schema: `Report`)."""
    pictures, clips = Pictures(REPORT_PICTURES), Pictures(REPORT_CLIPS, CLIP)
    return draw(
        "report.html",
        record,
        headline=headline(record),
        elsewhere=tried_elsewhere(record),
        sections=_sections(record),
        key_metrics=[name for name in KEY_METRICS if name in record["metrics"]],
        deciding=deciding(record),
        figure=main_figure(record),
        left_out=left_out_score(record),
        training=[_run(run, main_figure(record).title) for run in record.get("training") or ()],
        worst_tags=[
            {**group, "rows": [clips.let(pictures.of(row), "clip") for row in group["rows"]]}
            for group in record.get("worst_tags") or ()
        ],
        worst_numbers=[
            clips.let(pictures.of(row), "clip") for row in record.get("worst_numbers") or ()
        ],
        number_charts=number_charts(record.get("numbers") or ()),
        mistakes=[clips.let(pictures.of(row), "clip") for row in record.get("mistakes") or ()],
        looked=[pictures.of(row, "heatmap") for row in _wrong_first(record.get("looked") or ())],
        changes=table_rows(record["before_after"]) if record.get("before_after") else [],
        **robust_parts(record, pictures, clips),
        **spoken_parts(record, lambda row: clips.let(pictures.of(row), "clip")),
        unlike=[pictures.of(row) for row in (record.get("novelty") or {}).get("examples") or ()],
        galleries=galleries(record.get("gallery") or (), pictures.of),
        groups=_groups(record.get("findings") or (), pictures),
        precision_chart=precision_chart(record.get("curves") or ()),
        learning=[
            {**run, "charts": learning_charts(run)} for run in record.get("box_training") or ()
        ],
        pictures=pictures,
    )


def _sections(record: Mapping[str, Any]) -> list[Section]:
    """Those that the record has something for; a hardened model tells of attacks as well."""
    hardened = any("trade_off" in run for run in record.get("training") or ())
    known = {*record, *(("robust",) if hardened else ())}
    return [s for s in SECTIONS if known & set(s.keys)]


def doctor_page(record: Mapping[str, Any]) -> str:
    """The page of what `regraft doctor` found: what is wrong with the examples, as pictures.

    title, root      what was looked at
    n                examples
    counts           {class: examples}
    findings         as in a report's record
    modality, created, regraft, left_out   as there; may be absent
    """
    pictures = Pictures(DOCTOR_PICTURES)
    return draw(
        "doctor.html",
        record,
        groups=_groups(record.get("findings") or (), pictures),
        pictures=pictures,
    )


def draw(template: str, record: Mapping[str, Any], **parts: object) -> str:
    """A template of this package with a record and what was computed from it."""
    parts = {"noun": noun(record), **parts}
    return _environment().get_template(template).render(record=record, **parts)


@dataclass
class Pictures:
    """Lets thumbnails through until `room` characters are used, and counts those it left out.

    form  of what is let through: an embedded picture, or a sound
    """

    room: int
    form: re.Pattern[str] = THUMBNAIL
    left_out: int = field(default=0, init=False)

    def of(self, row: Mapping[str, Any], *others: str) -> Row:
        """A row with a thumbnail and pictures of other names, or None in their place."""
        return self.let(row, "thumbnail", *others)

    def let(self, row: Mapping[str, Any], *names: str) -> Row:
        """A row with what is let through of these names, or None in their place."""
        return {**row, **{name: self._admitted(row.get(name)) for name in names}}

    def of_finding(self, row: Mapping[str, Any]) -> Row:
        """A finding with its first thumbnails, or None in their place."""
        shown = (row.get("thumbnails") or ())[:MOST_PICTURED]
        return {**row, "thumbnails": [self._admitted(thumbnail) for thumbnail in shown]}

    def _admitted(self, thumbnail: str | None) -> str | None:
        """The thumbnail if it is embedded in this form and there is room for it."""
        if not thumbnail or not self.form.fullmatch(thumbnail):
            return None
        if len(thumbnail) > self.room:
            self.left_out += 1
            return None
        self.room -= len(thumbnail)
        return thumbnail


def _groups(findings: Iterable[Mapping[str, Any]], pictures: Pictures) -> list[Row]:
    """Findings by kind: the grave ones first, then the kinds that have most."""
    by_kind: dict[str, list[Mapping[str, Any]]] = {}
    for finding in findings:
        by_kind.setdefault(finding["kind"], []).append(finding)
    groups: list[Row] = [
        {
            "kind": kind,
            "severity": min((f.get("severity") for f in rows), key=_rank),
            "reason": _common([f["reason"] for f in rows]),
            "findings": [*rows],
            "files": len({file for f in rows for file in f.get("files") or ()}),
        }
        for kind, rows in by_kind.items()
    ]
    groups.sort(key=lambda group: (_rank(group["severity"]), -len(group["findings"])))
    for group in groups:  # in the order of the page, so that the pictures go to what is seen first
        listed = [pictures.of_finding(finding) for finding in group["findings"][:MOST_LISTED]]
        group["findings"][:MOST_LISTED] = listed
    return groups


def _rank(severity: str | None) -> int:
    """The grave ones first; what is not known counts as a warning."""
    ranks = list(SEVERITIES)
    return ranks.index(severity if severity in SEVERITIES else "warning")


def _common(reasons: Sequence[str]) -> str | None:
    """The reason that several findings share, to be told once."""
    return reasons[0] if len(reasons) > 1 and len(set(reasons)) == 1 else None


def _by_reason(left_out: Iterable[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Files left out, by the reason why."""
    reasons: dict[str, list[str]] = {}
    for row in left_out:
        reasons.setdefault(row["reason"], []).append(row["file"])
    return reasons


def _weakest_first(per_class: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Classes by F1; those without a test example, of which nothing is known, at the end."""
    return sorted(per_class, key=lambda row: (not row.get("support"), row.get("f1") or 0.0))


def _wrong_first(looked: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return sorted(looked, key=lambda row: bool(row.get("right")))[:MOST_LOOKED]


def _run(run: Mapping[str, Any], title: str) -> Row:
    """A training run with its charts, its last point and the best accuracy on its way."""
    curve = run.get("curve") or []
    accuracies = [point.get(name) for point in curve for name in ("held_accuracy", AVERAGE)]
    shown = [value for value in accuracies if charts.SHARES.shows(value)]
    return {
        **run,
        "charts": [chart for chart in (_losses(curve), _accuracies(run, curve, title)) if chart],
        "last": curve[-1] if curve else {},
        "best": max(shown, default=None),
    }


def _losses(curve: Sequence[Mapping[str, Any]]) -> Markup:
    series = [Series("training", _line(curve, "loss"), 0)]
    series.append(Series("held back", _line(curve, "held_loss"), 1))
    return charts.line_chart("Loss", series, TIME, Axis("", charts.NUMBERS))


def _accuracies(run: Mapping[str, Any], curve: Sequence[Mapping[str, Any]], title: str) -> Markup:
    series = [Series("held back", _line(curve, "held_accuracy"), 1)]
    series.append(Series("held back, averaged weights", _line(curve, AVERAGE), 2))
    start = Level("the probe before training", run.get("start_accuracy"))
    return charts.line_chart(title, series, TIME, Axis("", charts.SHARES), [start])


def _line(curve: Iterable[Mapping[str, Any]], name: str) -> list[Point]:
    return [Point(point.get("seconds"), point.get(name)) for point in curve]


def _confidence(bins: Iterable[Mapping[str, Any]]) -> Row:
    """Mean confidence, accuracy, and the mean gap between them over the bins."""
    filled = [b for b in bins if b["count"]]
    n = sum(b["count"] for b in filled)

    def mean(value: Callable[[Mapping[str, Any]], float]) -> float | None:
        return sum(b["count"] * value(b) for b in filled) / n if n else None

    return {
        "n": n,
        "most": max((b["count"] for b in filled), default=0),
        "confidence": mean(lambda b: b["confidence"]),
        "accuracy": mean(lambda b: b["accuracy"]),
        "ece": mean(lambda b: abs(b["confidence"] - b["accuracy"])),
    }


def _interval(row: Mapping[str, Any], name: str) -> dict[str, float | None]:
    """An interval out of the keys name, name_low and name_high."""
    return {"value": row.get(name), "low": row.get(f"{name}_low"), "high": row.get(f"{name}_high")}


def _percent(value: float) -> str:
    """0.9 → "90 %": of what was asked for, not measured."""
    return f"{100 * value:g}\u202f%"


def _name(text: object, longest: int | None = None) -> Markup:
    """The name of a file or a class: kept apart from the text around it, free to break."""
    whole = visible(str(text))
    shown = clipped(whole, longest) if longest else whole
    parts = Markup("<wbr>").join(escape(part) for part in BREAKS.split(shown))
    if shown == whole:
        return Markup("<bdi>{}</bdi>").format(parts)
    return Markup('<bdi title="{}">{}</bdi>').format(whole, parts)


def _of_unknown(function: Callable[[Any], str]) -> Callable[[Any], str]:
    """A filter that takes an absent key of the record for an unknown value."""
    return lambda value: function(None if isinstance(value, Undefined) else value)


def _count(value: int | None) -> str:
    """12345 → "12,345"."""
    return UNKNOWN if value is None else f"{value:,}"


def _words(kind: str) -> str:
    """ "exact-duplicate" → "exact duplicate"."""
    return kind.replace("-", " ").replace("_", " ")


def _printed(value: object) -> object:
    """What every expression of a template goes through before it is escaped."""
    if type(value) is str:  # not Markup, which `_name` has made
        return visible(value)
    return UNKNOWN if value is None else value


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("regraft.evaluation"),
        autoescape=True,
        finalize=_printed,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        name=_name,
        words=_words,
        span=span,
        interval=_interval,
        percent=_percent,
        share=_of_unknown(share),
        decimal=_of_unknown(number),
        duration=_of_unknown(duration),
        count=_of_unknown(_count),
        by_reason=_by_reason,
        heat=heat,
        pairs=pairs,
        shades=shades,
        weakest_first=_weakest_first,
        confidence=_confidence,
    )
    environment.globals.update(
        SHARES=SHARES,
        SEVERITIES=SEVERITIES,
        MOST_CLASSES=MOST_CLASSES,
        MOST_COUNTED=MOST_COUNTED,
        MOST_PAIRS=MOST_PAIRS,
        MOST_LISTED=MOST_LISTED,
        MOST_OPEN=MOST_OPEN,
    )
    return environment
