"""Charts: round ticks that enclose the numbers, what is drawn where, and what is left out."""

import math
import re
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup

from regraft.evaluation import charts
from regraft.evaluation.charts import (
    MOMENTS_LOG,
    MOST_TICKS,
    NUMBERS,
    SECONDS,
    SHARES,
    Axis,
    Level,
    Point,
    Series,
    change_bar,
    interval_bar,
    line_chart,
    marked,
    nice_ticks,
    swatch,
)

TIME, LOSS = Axis("time", SECONDS), Axis("loss", NUMBERS)
NOTHING = (None, math.nan, math.inf, -math.inf, "3", True)


def drawn(figure: Markup) -> ElementTree.Element:
    """The figure as a tree: it is well-formed."""
    return ElementTree.fromstring(str(figure))


def all_of(figure: Markup, kind: str) -> list[ElementTree.Element]:
    return [e for e in drawn(figure).iter() if e.get("class") == kind]


def places(figure: Markup) -> list[tuple[float, float]]:
    """Of the markers in the plot."""
    marks = [e for e in drawn(figure).findall("svg/g/path") if e.get("class") == "mark"]
    found = [re.match(r"M([\d.-]+) ([\d.-]+)m", mark.get("d") or "") for mark in marks]
    return [(float(hit[1]), float(hit[2])) for hit in found if hit]


def words(figure: Markup) -> list[str]:
    return [e.text or "" for e in drawn(figure).iter("text")]


# Ticks

spans = st.tuples(st.floats(-1e9, 1e9), st.one_of(st.just(0.0), st.floats(1e-3, 1e9))).map(
    lambda pair: (pair[0], pair[0] + pair[1])
)


@given(spans)
def test_nice_ticks_are_few_even_and_enclose(span: tuple[float, float]) -> None:
    low, high = span
    ticks = nice_ticks(low, high)
    step = ticks[1] - ticks[0]
    assert 2 <= len(ticks) <= MOST_TICKS
    assert ticks[0] <= low + 1e-6 * step
    assert ticks[-1] >= high - 1e-6 * step
    assert all(math.isclose(b - a, step, rel_tol=1e-3) for a, b in pairwise(ticks))


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0.1, 0.3, [0.1, 0.15, 0.2, 0.25, 0.3]),
        (0, 2.3, [0, 0.5, 1, 1.5, 2, 2.5]),
        (87, 94.2, [86, 88, 90, 92, 94, 96]),
        (0, 0, [0, 1]),
    ],
)
def test_nice_ticks_are_what_people_write(low: float, high: float, expected: list[float]) -> None:
    assert nice_ticks(low, high) == expected


@given(st.floats(0, 1), st.floats(0, 1))
def test_shares_stay_within_none_and_all(a: float, b: float) -> None:
    ticks = charts.share_ticks(min(a, b), max(a, b))
    assert ticks[0][0] >= 0
    assert ticks[-1][0] <= 1
    assert ticks[0][0] - 1e-9 <= min(a, b) <= max(a, b) <= ticks[-1][0] + 1e-9


@pytest.mark.parametrize(
    ("high", "labels"),
    [
        (0.4, "0 s,0.1 s,0.2 s,0.3 s,0.4 s"),
        (88, "0,20 s,40 s,60 s,80 s,100 s"),
        (412, "0,2 min,4 min,6 min,8 min"),
        (3600, "0,20 min,40 min,60 min"),
        (20_000, "0,2 h,4 h,6 h"),
        (10 * 86400, "0 d,2 d,4 d,6 d,8 d,10 d"),
    ],
)
def test_time_is_told_as_clocks_tell_it(high: float, labels: str) -> None:
    assert ",".join(label for _, label in charts.second_ticks(0, high)) == labels


@given(st.floats(0, 1e8))
def test_time_has_few_ticks_that_enclose(high: float) -> None:
    ticks = charts.second_ticks(0, high)
    assert 2 <= len(ticks) <= MOST_TICKS + 1
    assert ticks[0][0] <= 0
    assert ticks[-1][0] >= high * (1 - 1e-6)


def test_logarithmic_time() -> None:
    labels = [label for _, label in charts.moment_ticks(14, 1900)]
    assert labels == ["10 s", "1 min", "10 min", "1 h"]
    labels = [label for _, label in charts.moment_ticks(0.2, 25)]
    assert labels == ["0.1 s", "1 s", "3 s", "10 s", "30 s"]
    assert len(charts.moment_ticks(0.001, 1e9)) <= MOST_TICKS


# The chart


def test_points_are_where_their_numbers_say() -> None:
    figure = line_chart(
        "t", [Series("a", [Point(0, 0.0), Point(10, 1.0), Point(5, 0.5)])], TIME, LOSS
    )
    (x0, y0), (x1, y1), (x2, y2) = sorted(places(figure))
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.2)
    assert y0 - y1 == pytest.approx(y1 - y2, abs=0.2)
    assert x0 < x1 < x2
    assert y0 > y1 > y2  # upwards
    grid = {e.get("d", "").split("H")[0].split()[1] for e in all_of(figure, "grid")}
    assert {f"{y0:.1f}", f"{y2:.1f}"} <= grid  # 0 and 1 are ticks


def test_a_logarithmic_axis_has_equal_factors_at_equal_distances() -> None:
    series = [Series("a", [Point(x, 0.5) for x in (1, 10, 100)])]
    x0, x1, x2 = (
        x for x, _ in sorted(places(line_chart("t", series, Axis("", MOMENTS_LOG), LOSS)))
    )
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.2)
    zero = [Series("a", [Point(0, 0.5), Point(-1, 0.5)])]
    assert line_chart("t", zero, Axis("", MOMENTS_LOG), LOSS) == ""


def test_given_ticks_are_the_only_ones() -> None:
    scale = marked({5.0: "5", 10.0: "10", 20.0: "all"})
    figure = line_chart("t", [Series("a", [Point(5, 0.5), Point(20, 0.7)])], Axis("", scale), LOSS)
    assert words(figure)[-5:-2] == ["5", "10", "all"]
    assert "0.700 at all" in str(figure)


@pytest.mark.parametrize("nothing", NOTHING)
def test_what_is_no_number_is_left_out(nothing: Any) -> None:
    points = [Point(1, nothing), Point(nothing, 1), Point(2, 0.5, nothing, nothing)]
    series = [Series("a", points, dots=[(1, nothing)]), Series("b", [Point(nothing, nothing)])]
    figure = line_chart("t", series, TIME, LOSS, [Level("l", nothing)])
    assert len(places(figure)) == 1
    assert not [e for name in ("line", "range", "run", "level") for e in all_of(figure, name)[1:]]
    assert "<bdi>b</bdi>" not in figure
    assert "<bdi>l</bdi>" not in figure
    assert not re.search(r"nan|inf|None", figure)
    assert line_chart("t", series[1:], TIME, LOSS, [Level("l", 1.0)]) == ""


def test_without_series_there_is_no_chart() -> None:
    assert line_chart("t", [], TIME, LOSS) == ""
    assert line_chart("t", [Series("a", [])], TIME, LOSS) == ""


@given(
    st.lists(st.tuples(st.floats(0, 1e7), st.floats(0, 1)), min_size=1, max_size=40),
    st.sampled_from([SECONDS, MOMENTS_LOG]),
)
def test_everything_is_drawn_inside(points: list[tuple[float, float]], scale: Any) -> None:
    series = [Series("a", [Point(x, y, max(y - 0.1, 0), min(y + 0.1, 1)) for x, y in points])]
    if not (figure := line_chart("t", series, Axis("x", scale), Axis("y", SHARES))):
        assert scale.log
        assert max(x for x, _ in points) == 0
        return
    for x, y in places(figure):
        assert charts.LEFT <= x <= charts.RIGHT
        assert charts.TOP - 0.1 <= y <= charts.HEIGHT - charts.BELOW + 0.1


def test_intervals_levels_and_single_runs_are_drawn() -> None:
    points = [Point(1, 0.5, 0.4, 0.6), Point(2, 0.6, None, 0.7)]
    series = [Series("a", points, 2, dots=[(1, 0.45), (1, 0.55)])]
    figure = line_chart("t", series, TIME, LOSS, [Level("start", 0.3)])
    assert len(all_of(figure, "range")) == 1
    assert len(all_of(figure, "run")) == 2
    assert len(all_of(figure, "level")) == 2  # and in the legend
    assert len(drawn(figure).findall("ul/li")) == 2


def test_a_shift_moves_a_series_aside() -> None:
    both = [Series("a", [Point(1, 0.5)]), Series("b", [Point(1, 0.5)], 1, shift=5)]
    (left, _), (right, _) = places(line_chart("t", both, TIME, LOSS))
    assert right - left == pytest.approx(5, abs=0.1)


def test_crowded_markers_are_thinned_and_the_last_one_stays() -> None:
    points = [Point(k, 0.5) for k in range(1, 1001)]
    found = places(line_chart("t", [Series("a", points)], TIME, LOSS))
    assert 10 < len(found) < 40
    line = all_of(line_chart("t", [Series("a", points)], TIME, LOSS), "line")[0].get("d", "")
    assert line.count("L") == 999
    assert max(found)[0] == pytest.approx(float(line.rpartition("L")[2].split()[0]))


def test_the_chart_is_told_to_those_who_cannot_see_it() -> None:
    series = [Series("train", [Point(3, 0.912), Point(130, 0.2)]), Series("held", [Point(3, 0.5)])]
    tree = drawn(line_chart("Loss", series, TIME, LOSS))
    assert tree.findtext("svg/title") == "Loss"
    expected = "train: 2 points, from 0.912 at 3.0 s to 0.200 at 2 min 10 s; held: 0.500 at 3.0 s"
    assert tree.findtext("svg/desc") == expected
    assert tree.find("svg").get("role") == "img"  # type: ignore[union-attr]


def test_styles_differ_in_more_than_colour_and_begin_again() -> None:
    assert len(set(charts.MARKS)) == len(charts.MARKS) == charts.STYLES
    assert swatch(charts.STYLES + 1) == swatch(1)


@given(st.text(min_size=1))
def test_names_are_text(name: str) -> None:
    series = [Series(name, [Point(1, 0.5)])]
    figure = line_chart(name, series, Axis(name, SECONDS), Axis(name, NUMBERS), [Level(name, 0.1)])
    plain = line_chart("a", [Series("a", [Point(1, 0.5)])], TIME, LOSS, [Level("a", 0.1)])
    figure.encode()
    assert [e.tag for e in drawn(figure).iter()] == [e.tag for e in drawn(plain).iter()]


# Bars


def test_an_interval_lies_on_the_scale_of_its_ticks() -> None:
    bar = interval_bar({"value": 0.9, "low": 0.85, "high": 1.0}, [0.8, 0.9, 1.0], 3)
    assert 'class="range" d="M25.0 8H100.0"' in bar
    assert 'class="dot" d="M50.0 2v12"' in bar
    assert 'd="M0.0 0V16M50.0 0V16M100.0 0V16"' in bar
    alone = interval_bar({"value": 0.9, "low": None}, [0.8, 1.0], 0)
    assert "range" not in alone
    assert "dot" in alone


@pytest.mark.parametrize(
    ("change", "most", "kind", "x", "width"),
    [
        (0.1, 0.2, "better", "50.0", "25.0"),
        (-0.2, 0.2, "worse", "0.0", "50.0"),
        (0.0, 0.0, "better", "50.0", "0.0"),
        (-0.9, 0.2, "worse", "0.0", "50.0"),
    ],
)
def test_changes_go_left_and_right(
    change: float, most: float, kind: str, x: str, width: str
) -> None:
    bar = change_bar(change, most)
    assert f'class="change {kind}"' in bar
    assert f'x="{x}" y="3" width="{width}"' in bar
