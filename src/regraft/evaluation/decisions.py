"""What a report says of deciding: the operating point, its figures and the decision curve."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from regraft.evaluation import charts
from regraft.evaluation.charts import Axis, Level, Point, Series

# Keys of a row of per_class → what a person reads.
FIGURES: Mapping[str, tuple[str, str]] = {
    "recall": ("Sensitivity", "of those that are, how many it found"),
    "specificity": ("Specificity", "of those that are not, how many it let pass"),
    "precision": ("Positive predictive value", "of those it called so, how many are"),
    "npv": ("Negative predictive value", "of those it let pass, how many are not"),
    "auroc": ("AUROC", "chance that one that is gets a higher probability than one that is not"),
    "average_precision": ("Average precision", "mean precision over all thresholds"),
}
LISTED = (5, 10, 15, 20, 30, 40, 50, 60, 70, 80, 90)  # thresholds in the table, per cent
BELOW = 0.15  # of the largest net benefit: how far below 0 the chart reaches


def deciding(record: Mapping[str, Any]) -> dict[str, Any] | None:
    """What the templates need of a report's record; None where there is nothing to say."""
    point, curve = record.get("operating_point"), record.get("decisions") or {}
    positive = (point or curve).get("positive")
    if positive is None:
        return None
    rows = [row for row in record.get("per_class") or () if row["class"] == positive]
    points = curve.get("points") or ()
    return {
        "positive": positive,
        "named": curve.get("named", True),
        "point": point,
        "row": rows[0] if rows else {},
        "figures": FIGURES,
        "chart": _chart(points),
        "prevalence": curve.get("prevalence"),
        "listed": [p for p in points if round(100 * p["threshold"]) in LISTED],
    }


def _chart(points: Sequence[Mapping[str, Any]]) -> Markup:
    most = max((p["value"] for p in points if p["value"] is not None), default=0.0)
    floor = -BELOW * max(most, 0.01)
    series = [
        Series("acting on its answers", _line(points, "value", floor), 0),
        Series("acting on all", _line(points, "all", floor), 1),
    ]
    return charts.line_chart(
        "Net benefit",
        series,
        Axis("probability from which one would act", charts.SHARES),
        Axis("", charts.NUMBERS),
        [Level("acting on none", 0.0)],
    )


def _line(points: Iterable[Mapping[str, Any]], name: str, floor: float) -> list[Point]:
    told = ((p["threshold"], p[name]) for p in points)
    return [Point(t, value) for t, value in told if value is not None and value >= floor]
