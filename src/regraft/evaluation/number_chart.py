"""What a report draws of numbers: answers against what is right."""

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from regraft.evaluation import charts
from regraft.evaluation.charts import Axis, Point, Series

MOST = 6  # charts
RIGHT, ANSWER = Axis("right", charts.NUMBERS), Axis("answer", charts.NUMBERS)


def number_charts(numbers: Sequence[Mapping[str, Any]]) -> list[Markup]:
    """A chart for each number: a point for each example, and where both are equal."""
    found = (_chart(str(one["name"]), one["points"]) for one in numbers[:MOST] if one["points"])
    return [chart for chart in found if chart]


def _chart(name: str, points: Sequence[Sequence[float]]) -> Markup:
    ends = [min(map(min, points)), max(map(max, points))]
    equal = Series("equal", [Point(end, end) for end in ends], 0, dots=[(x, y) for x, y in points])
    return charts.line_chart(name, [equal], RIGHT, ANSWER)
