"""What a report draws of transcripts: curves of learning, and mistakes word by word."""

from collections.abc import Callable, Mapping
from typing import Any

from markupsafe import Markup

from regraft.evaluation import charts
from regraft.evaluation.charts import Axis, Point, Series

TIME, VALUE = Axis("time", charts.SECONDS), Axis("", charts.NUMBERS)
# Not as shares: what is added counts too, so that there may be more mistakes than characters.
RATE = Axis("", charts.NUMBERS)

Row = dict[str, Any]
Admit = Callable[[Row], Row]


def spoken_parts(record: Mapping[str, Any], admit: Admit) -> Row:
    """What the templates of transcripts need.

    admit  lets a row's picture and sound through while there is room on the page
    """
    runs = record.get("speech_training") or ()
    return {
        "speech": [{**run, "charts": spelling_charts(run)} for run in runs],
        "transcripts": [admit(row) for row in record.get("transcripts") or ()],
    }


def spelling_charts(run: Mapping[str, Any]) -> list[Markup]:
    """Loss, and wrong characters of what is held back, against time."""
    points = run.get("curve") or []

    def line(name: str) -> list[Point]:
        return [Point(point.get("seconds"), point.get(name)) for point in points]

    losses = [
        Series("training", line("loss"), 0),
        Series("held back", line("held_loss"), 1),
        Series("held back, averaged weights", line("average_loss"), 2),
    ]
    wrong = [
        Series("as they are", line("held_cer"), 1),
        Series("averaged weights", line("average_cer"), 2),
    ]
    made = [
        charts.line_chart("Loss a character", losses, TIME, VALUE),
        charts.line_chart("Wrong characters held back", wrong, TIME, RATE),
    ]
    return [chart for chart in made if chart]
