"""What a report draws of boxes: curves of precision, curves of learning."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from regraft.evaluation import charts
from regraft.evaluation.charts import Axis, Point, Series

MOST_CURVES = 8  # classes whose curves are drawn: as many as there are styles
RECALL, PRECISION = Axis("recall", charts.SHARES), Axis("precision", charts.SHARES)
TIME, VALUE = Axis("time", charts.SECONDS), Axis("", charts.NUMBERS)
EVERY = 5  # of the points of a curve, what is drawn


def precision_chart(curves: Sequence[Mapping[str, Any]]) -> Markup:
    """Precision over recall of the first classes, at an overlap of 0.5."""
    drawn = [one for one in curves if one.get("points")][:MOST_CURVES]
    lines = [
        Series(str(one["class"]), [Point(x, y) for x, y in one["points"][::EVERY]], place)
        for place, one in enumerate(drawn)
    ]
    return charts.line_chart("Precision and recall at an overlap of 0.5", lines, RECALL, PRECISION)


def learning_charts(run: Mapping[str, Any]) -> list[Markup]:
    """Loss, and what was found of the pictures held back, against time."""
    points = run.get("curve") or []

    def line(name: str) -> list[Point]:
        return [Point(point.get("seconds"), point.get(name)) for point in points]

    losses = [Series("training", line("loss"), 0)]
    found = [
        Series("mAP50", line("held_accuracy"), 1),
        Series("mAP50, averaged weights", line("average_accuracy"), 2),
        Series("mAP, averaged weights", line("average_map"), 3),
    ]
    made = [
        charts.line_chart("Loss", losses, TIME, VALUE),
        charts.line_chart("Found on pictures held back", found, TIME, VALUE),
    ]
    return [chart for chart in made if chart]


def galleries(
    groups: Sequence[Mapping[str, Any]], admitted: Callable[[Mapping[str, Any]], dict[str, Any]]
) -> list[dict[str, Any]]:
    """Groups of pictures as far as there is room for them on the page."""
    return [{**group, "pictures": [admitted(row) for row in group["pictures"]]} for group in groups]
