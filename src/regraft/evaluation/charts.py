"""Charts as inline SVG, drawn from plain numbers: axes with round ticks, lines, markers, intervals.

Lines differ in colour, marker and dashes, so that they can be told apart without colours. Colours
are in the pages' style sheet, for light and dark. A number that is None, NaN or infinite is left
out, and so is a chart without any point.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple, TypeGuard

from markupsafe import Markup

from regraft.evaluation.report import clipped, duration, number, share, visible

WIDTH, HEIGHT = 360, 224
LEFT, RIGHT, TOP, BELOW = 44, 352, 26, 42  # where the plot is; pixels below it
INSET = 12  # pixels between the ends of an axis and what is drawn
MOST_TICKS = 6
APART = 11  # pixels between the markers of a line; the last point has one in any case
STYLES = 8  # colours, dashes and markers in the style sheet and in MARKS

# Paths around the point, about 8 pixels wide.
MARKS = (
    "m-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0z",  # disc
    "m-3.6 -3.6h7.2v7.2h-7.2z",  # square
    "m0 -5l4.8 8.4h-9.6z",  # triangle
    "m0 -5.2l5.2 5.2l-5.2 5.2l-5.2 -5.2z",  # diamond
    "m0 5l4.8 -8.4h-9.6z",  # triangle, point down
    "m-1.6 -5h3.2v3.4h3.4v3.2h-3.4v3.4h-3.2v-3.4h-3.4v-3.2h3.4z",  # plus
    "m-4.6 -2.4h9.2v4.8h-9.2z",  # lying bar
    "m-2.4 -4.6h4.8v9.2h-4.8z",  # standing bar
)
STEPS = (1, 2, 2.5, 5, 10)
SECOND_STEPS = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 43200, 86400)
MOMENTS = (0.01, 0.1, 1, 3, 10, 30, 60, 180, 600, 1800, 3600, 10800, 36000, 86400, 864000)
UNITS = ((3600, "h"), (60, "min"), (1, "s"))

Tick = tuple[float, str]


class Point(NamedTuple):
    """A point of a line, with the ends of its interval where they are known."""

    x: float | None
    y: float | None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Series:
    """A line of a chart.

    style  0 … STYLES - 1 (others begin again): its colour, dashes and marker
    shift  pixels to the right, so that intervals at the same place don't hide each other
    dots   single measurements (x, y) behind the points
    """

    name: str
    points: Sequence[Point]
    style: int = 0
    shift: float = 0.0
    dots: Sequence[tuple[float | None, float | None]] = ()


class Level(NamedTuple):
    """A dashed line across a chart: something to compare with."""

    name: str
    y: float | None


@dataclass(frozen=True)
class Scale:
    """How the numbers of an axis are placed and told.

    ticks  (lowest, highest) → (value, label), rising
    told   a value in the words of the chart's description
    log    placed by their logarithm; what is not above zero is left out
    least  where the axis begins, however high the numbers are
    """

    ticks: Callable[[float, float], list[Tick]]
    told: Callable[[float], str] = number
    log: bool = False
    least: float | None = None

    def shows(self, value: Any) -> TypeGuard[float]:
        if type(value) not in (int, float) or not math.isfinite(value):
            return False
        return value > 0 or not self.log

    def place(self, value: float) -> float:
        return math.log(value) if self.log else value


class Axis(NamedTuple):
    title: str
    scale: Scale


# --- ticks ---------------------------------------------------------------------------------------


def nice_ticks(low: float, high: float, most: int = MOST_TICKS) -> list[float]:
    """At most `most` round numbers at equal distances; the first and last enclose low and high."""
    rough = (high - low) / (most - 1) or abs(high) / most or 1.0
    magnitude = 10.0 ** math.floor(math.log10(rough))
    for step in (step * magnitude * ten for ten in (1, 10) for step in STEPS):
        first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
        if last - first < most:
            break
    # Rounded to what the step resolves: 3 * 0.1 is not 0.3.
    digits = max(0, 2 - math.floor(math.log10(step)))
    return [round(k * step, digits) for k in range(first, max(last, first + 1) + 1)]


def number_ticks(low: float, high: float) -> list[Tick]:
    return [(value, f"{value:.6g}") for value in nice_ticks(low, high)]


def share_ticks(low: float, high: float) -> list[Tick]:
    """In per cent, within 0 and 100."""
    ends = (low - 0.02, high + 0.02) if high - low < 0.01 else (low, high)
    low, high = max(ends[0], 0.0), min(ends[1], 1.0)
    return [(v / 100, f"{v:.6g}\u202f%") for v in nice_ticks(100 * low, 100 * high)]


def second_ticks(low: float, high: float) -> list[Tick]:
    """Equal steps of a length that clocks know, all in one unit."""
    if high < MOST_TICKS - 1:
        return [(value, f"{value:.6g} s") for value in nice_ticks(low, high)]
    fits = (s for s in SECOND_STEPS if math.ceil(high / s) - math.floor(low / s) < MOST_TICKS)
    if (step := next(fits, None)) is None:
        return [(86400 * day, f"{day:.6g} d") for day in nice_ticks(low / 86400, high / 86400)]
    size, unit = next((size, unit) for size, unit in UNITS if step % size == 0)
    marks = range(math.floor(low / step), math.ceil(high / step) + 1)
    return [(k * step, f"{k * step // size} {unit}" if k else "0") for k in marks]


def moment_ticks(low: float, high: float) -> list[Tick]:
    """For a logarithmic axis of time: 1 s, 10 s, 1 min …"""
    first = max((m for m in MOMENTS if m <= low), default=MOMENTS[0])
    last = min((m for m in MOMENTS if m >= high), default=MOMENTS[-1])
    marks = [m for m in MOMENTS if first <= m <= last]
    every = math.ceil(len(marks) / MOST_TICKS)
    return [(m, _moment(m)) for m in marks[::-1][::every][::-1]]


def _moment(seconds: float) -> str:
    size, unit = next(((s, u) for s, u in UNITS if seconds >= s), (1, "s"))
    return f"{seconds / size:g} {unit}"


NUMBERS = Scale(number_ticks, least=0.0)
SHARES = Scale(share_ticks, share)
SECONDS = Scale(second_ticks, duration, least=0.0)
MOMENTS_LOG = Scale(moment_ticks, duration, log=True)


def marked(ticks: Mapping[float, str]) -> Scale:
    """A logarithmic axis with these ticks and no others."""
    rows = sorted(ticks.items())
    return Scale(lambda low, high: rows, lambda x: ticks.get(x, f"{x:g}"), log=True)


# --- the chart -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Span:
    """Pixels of the numbers of an axis."""

    scale: Scale
    ticks: list[Tick]
    low: float
    high: float
    start: float
    end: float

    @classmethod
    def of(cls, scale: Scale, values: Iterable[float], start: float, end: float) -> "_Span":
        told = [*values, *([] if scale.least is None else [scale.least])]
        ticks = scale.ticks(min(told), max(told))
        places = [scale.place(v) for v in (*told, *(value for value, _ in ticks))]
        low, high = min(places), max(places)
        half = 0.5 if low == high else 0.0
        return cls(scale, ticks, low - half, high + half, start, end)

    def at(self, value: float) -> float:
        part = (self.scale.place(value) - self.low) / (self.high - self.low)
        return self.start + part * (self.end - self.start)


def line_chart(
    title: str,
    series: Sequence[Series],
    x: Axis,
    y: Axis,
    levels: Sequence[Level] = (),
    height: int = HEIGHT,
) -> Markup:
    """A figure: title, SVG with a description for those who can't see it, legend.

    Empty where no series has a point. All names are escaped.
    """
    series = [_shown(one, x.scale, y.scale) for one in series]
    series = [one for one in series if one.points]
    if not series:
        return Markup()
    levels = [level for level in levels if y.scale.shows(level.y)]
    across = _Span.of(x.scale, (p[0] for p in _all(series)), LEFT + INSET, RIGHT - INSET)
    heights = chain((p[1] for p in _all(series)), _ends(series), (level.y for level in levels))
    bottom, top = height - BELOW, 0 if y.title else TOP - 12
    up = _Span.of(y.scale, (h for h in heights if h is not None), bottom, TOP)
    parts = chain(
        _axes(across, up, x, y),
        (_level(up.at(level.y)) for level in levels if level.y is not None),
        *(_drawn(one, across, up) for one in series),
    )
    told = "; ".join(_told(one, x.scale, y.scale) for one in series)
    return Markup(
        '<figure class="curves"><figcaption>{title}</figcaption>'
        '<svg viewBox="0 {top} {width} {height}" role="img"><title>{title}</title>'
        '<desc>{told}</desc>{drawn}</svg><ul class="legend">{legend}</ul></figure>'
    ).format(
        title=visible(title),
        width=WIDTH,
        top=top,
        height=height - top,
        told=visible(told),
        drawn=Markup().join(parts),
        legend=Markup().join(_legend(series, levels)),
    )


def _shown(series: Series, x: Scale, y: Scale) -> Series:
    """The series with what can be drawn, from left to right."""

    def end(value: float | None) -> float | None:
        return value if y.shows(value) else None

    points = [
        Point(p.x, p.y, end(p.low), end(p.high))
        for p in series.points
        if x.shows(p.x) and y.shows(p.y)
    ]
    dots = [dot for dot in series.dots if x.shows(dot[0]) and y.shows(dot[1])]
    points.sort(key=lambda p: p.x or 0.0)
    return Series(series.name, points, series.style % STYLES, series.shift, dots)


def _all(series: Iterable[Series]) -> Iterator[tuple[float, float]]:
    for one in series:
        for x, y, *_ in (*one.points, *one.dots):
            if x is not None and y is not None:
                yield x, y


def _ends(series: Iterable[Series]) -> Iterator[float | None]:
    return (end for one in series for p in one.points for end in (p.low, p.high))


def _axes(across: _Span, up: _Span, x: Axis, y: Axis) -> Iterator[Markup]:
    for value, label in up.ticks:
        at = f"{up.at(value):.1f}"
        yield Markup('<path class="grid" d="M{} {}H{}"/>').format(LEFT, at, RIGHT)
        yield _text(LEFT - 6, up.at(value) + 3.5, label, "end")
    marks = "".join(f"M{across.at(value):.1f} {up.start}v4" for value, _ in across.ticks)
    yield Markup('<path class="axis" d="M{} {}H{}{}"/>').format(LEFT, up.start, RIGHT, marks)
    for value, label in across.ticks:
        yield _text(across.at(value), up.start + 17, label, "middle")
    if y.title:
        yield _text(0, 11, y.title, "start")
    yield _text(RIGHT, up.start + BELOW - 5, x.title, "end")


def _text(x: float, y: float, text: str, anchor: str) -> Markup:
    return Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>').format(
        x, y, anchor, visible(text)
    )


def _level(y: float) -> Markup:
    return Markup('<path class="level" d="M{} {:.1f}H{}"/>').format(LEFT, y, RIGHT)


def _drawn(series: Series, across: _Span, up: _Span) -> Iterator[Markup]:
    """Dots behind, then intervals, line and markers."""
    places = [
        (across.at(p.x) + series.shift, up.at(p.y), p)
        for p in series.points
        if p.x is not None and p.y is not None
    ]
    yield Markup('<g class="series s{}">').format(series.style)
    dots = ((across.at(x), up.at(y)) for x, y in series.dots if x is not None and y is not None)
    for x, y in dots:
        yield Markup('<circle class="run" cx="{:.1f}" cy="{:.1f}" r="1.8"/>').format(
            x + series.shift, y
        )
    for x, _, p in places:
        if p.low is not None and p.high is not None:
            yield Markup(
                '<path class="range" d="M{0:.1f} {1:.1f}V{2:.1f}m-2.5 0h5M{3:.1f} {1:.1f}h5"/>'
            ).format(x, up.at(p.low), up.at(p.high), x - 2.5)
    if len(places) > 1:
        line = "L".join(f"{x:.1f} {y:.1f}" for x, y, _ in places)
        yield Markup('<path class="line" d="M{}"/>').format(line)
    for x, y in _far_apart([(x, y) for x, y, _ in places]):
        yield _mark(series.style, x, y)
    yield Markup("</g>")


def _far_apart(places: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """From the last place back, those that have room for a marker."""
    kept: list[tuple[float, float]] = []
    for place in reversed(places):
        if not kept or math.dist(place, kept[-1]) >= APART:
            kept.append(place)
    return kept


def _mark(style: int, x: float, y: float) -> Markup:
    return Markup('<path class="mark" d="M{:.1f} {:.1f}{}"/>').format(x, y, MARKS[style])


def swatch(style: int) -> Markup:
    """A short piece of a line with its marker."""
    return Markup(
        '<svg class="swatch series s{}" viewBox="0 0 30 12" width="30" height="12"'
        ' aria-hidden="true"><path class="line" d="M0 6H30"/>{}</svg>'
    ).format(style % STYLES, _mark(style % STYLES, 15, 6))


def _legend(series: Iterable[Series], levels: Iterable[Level]) -> Iterator[Markup]:
    row = Markup("<li>{}<bdi>{}</bdi></li>")
    yield from (row.format(swatch(one.style), visible(clipped(one.name))) for one in series)
    dashed = Markup(
        '<svg class="swatch" viewBox="0 0 30 12" width="30" height="12" aria-hidden="true">'
        '<path class="level" d="M0 6H30"/></svg>'
    )
    yield from (row.format(dashed, visible(clipped(level.name))) for level in levels)


def _told(series: Series, x: Scale, y: Scale) -> str:
    """ "train: 12 points, from 0.912 at 3.0 s to 0.201 at 2 min 10 s"."""
    first, last = (
        f"{y.told(p.y)} at {x.told(p.x)}"
        for p in (series.points[0], series.points[-1])
        if p.x is not None and p.y is not None
    )
    if len(series.points) == 1:
        return f"{series.name}: {first}"
    return f"{series.name}: {len(series.points)} points, from {first} to {last}"


# --- bars of tables ------------------------------------------------------------------------------


def interval_bar(interval: Mapping[str, Any], ticks: Sequence[float], style: int) -> Markup:
    """A value and its interval between the first and the last tick, stretched to the width."""
    low, high = ticks[0], ticks[-1]

    def at(value: float) -> float:
        return 100 * min(max((value - low) / (high - low), 0.0), 1.0)

    grid = "".join(f"M{at(tick):.1f} 0V16" for tick in ticks)
    ends = [interval.get(name) for name in ("low", "value", "high")]
    start, value, end = (at(v) if isinstance(v, int | float) else None for v in ends)
    parts = [Markup('<path class="grid" d="{}"/>').format(grid)]
    if start is not None and end is not None:
        parts.append(Markup('<path class="range" d="M{:.1f} 8H{:.1f}"/>').format(start, end))
    if value is not None:
        parts.append(Markup('<path class="dot" d="M{:.1f} 2v12"/>').format(value))
    return Markup(
        '<svg class="interval s{}" viewBox="0 0 100 16" preserveAspectRatio="none"'
        ' aria-hidden="true">{}</svg>'
    ).format(style % STYLES, Markup().join(parts))


def change_bar(change: float, most: float) -> Markup:
    """A bar from the middle to the right (better) or the left (worse); `most` fills a half."""
    width = 50 * min(abs(change) / most, 1.0) if most else 0.0
    return Markup(
        '<svg class="change {}" viewBox="0 0 100 16" preserveAspectRatio="none" aria-hidden="true">'
        '<rect x="{:.1f}" y="3" width="{:.1f}" height="10"/><path class="zero" d="M50 0V16"/></svg>'
    ).format("worse" if change < 0 else "better", 50 - width if change < 0 else 50.0, width)
