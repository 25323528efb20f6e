"""Accuracy against time: the best that was there by then, and the area under it.

A curve is a list of (seconds, accuracy), in order of time.
"""

from collections.abc import Iterator, Sequence
from statistics import mean
from typing import Any

import numpy as np

from regraft.recipe import seconds

POINTS = ("15s", "30s", "1min", "2min", "5min", "10min")
NEAR = 1.1  # of a point: what is there by then counts for it, whoever's it is

Curve = Sequence[tuple[float, float]]


def best_by(curve: Curve, end: float) -> float | None:
    """None before the first result."""
    return max((accuracy for when, accuracy in curve if when <= end), default=None)


def area(curve: Curve, floor: float) -> float:
    """Mean of the best so far, over the logarithm of the time from the first point to the last.

    floor  what counts before the first result
    """
    low, high = seconds(POINTS[0]), seconds(POINTS[-1])
    edges = np.unique(np.clip([low, *(when for when, _ in curve), high], low, high))
    best = (best_by(curve, start) for start in edges[:-1])
    heights = [floor if found is None else found for found in best]
    return float(np.dot(heights, np.diff(np.log(edges))) / np.log(high / low))


def time_to(curve: Curve, accuracy: float) -> float | None:
    """Seconds until an accuracy was there; None: never."""
    return next((when for when, found in curve if found >= accuracy), None)


def told(curves: Sequence[Curve], floor: float) -> dict[str, Any]:
    """What the curves of a contender come to, one for each seed: means; None before a result."""
    by = {point: [best_by(curve, NEAR * seconds(point)) for curve in curves] for point in POINTS}
    return {
        "accuracy_by": {
            point: None if None in found else mean(a for a in found if a is not None)
            for point, found in by.items()
        },
        "area": mean(area(curve, floor) for curve in curves),
        "best": mean(max(accuracy for _, accuracy in curve) for curve in curves),
    }


def times_to(curves: Sequence[Curve], accuracy: float) -> list[float | None]:
    """Of each curve, the time to an accuracy."""
    return [time_to(curve, accuracy) for curve in curves]


def ahead(us: str, ours: dict[str, Any], peer: str, theirs: dict[str, Any]) -> Iterator[Any]:
    """The two figures to reach: ahead at every point where a peer has a result, and in the area."""
    pairs = zip(ours["accuracy_by"].values(), theirs["accuracy_by"].values(), strict=True)
    gains = [None if b is None else round((a or 0.0) - b, 4) for a, b in pairs]
    yield {
        "what": f"{us} ahead of {peer} at {', '.join(POINTS)}",
        "goal": "> 0 wherever there is something to compare with",
        "found": gains,
        "met": all(gain > 0 for gain in gains if gain is not None),
    }
    gain = ours["area"] - theirs["area"]
    yield {
        "what": f"{us} ahead of {peer} in the area",
        "goal": "> 0",
        "found": round(gain, 4),
        "met": gain > 0,
    }
