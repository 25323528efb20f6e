"""The one figure by which attempts are compared, for each task, and its words."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple


class Main(NamedTuple):
    """The figure of a task.

    name     among the metrics, and in what leave-one-out told
    title    what a person reads
    reached  "... it" and then the figure
    knows    of how many classes, in words
    """

    name: str
    title: str
    reached: str
    knows: str


USUAL = Main("accuracy", "Accuracy", "is right for", "it tells {} classes apart")
MAIN: Mapping[str, Main] = MappingProxyType(
    {
        "tags": Main(
            "map_macro",
            "Mean average precision",
            "has a mean average precision of",
            "it knows {} tags",
        ),
        "regression": Main("r2", "R²", "explains of the variance", "it tells {} numbers"),
    }
)


def main_figure(record: Mapping[str, Any]) -> Main:
    """Of a report's record."""
    return MAIN.get(record.get("task") or "", USUAL)


def left_out_score(record: Mapping[str, Any]) -> float | None:
    """What leave-one-out told of the model that was kept."""
    found: float | None = (record.get("leave_one_out") or {}).get(main_figure(record).name)
    return found
