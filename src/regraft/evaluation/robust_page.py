"""The parts of a report about attacks, worse examples, other data and answers left out, as charts:
curves over ε, between accuracy and robustness, and of the risk over the coverage.
"""

from collections.abc import Iterable, Iterator, Mapping
from statistics import fmean
from typing import Any, Protocol

from markupsafe import Markup

from regraft.evaluation.charts import NUMBERS, SHARES, Axis, Level, Point, Series, line_chart

MOST = 8  # pictures beside their change


class Admits(Protocol):
    """What lets pictures through while there is room; see `page.Pictures`."""

    def of(self, row: Mapping[str, Any], *others: str) -> dict[str, Any]: ...

    def let(self, row: Mapping[str, Any], *names: str) -> dict[str, Any]: ...


def robust_parts(record: Mapping[str, Any], pictures: Admits, clips: Admits) -> dict[str, Any]:
    """What the templates of these parts draw beside the record."""
    found = record.get("robust") or {}
    others = record.get("out_of_distribution") or {}
    return {
        "others": [clips.let(pictures.of(row), "clip") for row in others.get("examples") or ()],
        "risk_chart": _risks(record.get("abstention") or {}),
        "robust_chart": _curve(found) if found else Markup(),
        "attacked": [
            clips.let(pictures.of(row, "change", "changed"), "clip")
            for row in (found.get("examples") or ())[:MOST]
        ],
        "trade_offs": [*_trade_offs(record)],
        **_corruptions(record.get("corruptions") or {}),
    }


def _corruptions(found: Mapping[str, Any]) -> dict[str, Any]:
    """A line for each kind over the severities, from the clean accuracy down."""
    rows = [{**row, "mean": _mean(row["accuracies"])} for row in found.get("rows") or ()]
    kinds = dict.fromkeys(row["kind"] for row in rows)
    lines = []
    for style, kind in enumerate(kinds):
        own = [row["accuracies"] for row in rows if row["kind"] == kind]
        means = [found["clean"]["value"], *map(_mean, zip(*own, strict=True))]
        lines.append(Series(kind, [Point(x, y) for x, y in enumerate(means)], style))
    chart = line_chart(
        "Right answers as examples get worse",
        lines,
        Axis("severity", NUMBERS),
        Axis("right answers", SHARES),
    )
    ordered = sorted(rows, key=lambda row: row["mean"])
    return {"corruption_chart": chart, "corruption_rows": ordered}


def _risks(found: Mapping[str, Any]) -> Markup:
    """How often the surest answers are wrong, beside what no order of them could do better."""
    rows = (found.get("curve") or {}).get("points") or ()
    own = [Point(p["coverage"], p["value"], p["low"], p["high"]) for p in rows]
    best = [Point(p["coverage"], p.get("best")) for p in rows]
    return line_chart(
        "Wrong answers among those that are given",
        [
            Series("the surest answers", own, 0),
            Series("if the wrong ones were the least sure", best, 1),
        ],
        Axis("share of the examples answered (coverage)", SHARES),
        Axis("wrong (risk)", SHARES),
        [Level("asked for", found.get("risk"))],
    )


def _mean(values: Iterable[float]) -> float:
    return fmean(values)


def _curve(found: Mapping[str, Any]) -> Markup:
    scale, title = found["axis"]["scale"], found["axis"]["title"]
    rows = [(0.0, found["clean"]), *((p["eps"] * scale, p["accuracy"]) for p in found["points"])]
    points = [Point(x, a.get("value"), a.get("low"), a.get("high")) for x, a in rows]
    return line_chart(
        "Right answers as the changes grow",
        [Series(found["attack"], points)],
        Axis(title, NUMBERS),
        Axis("right answers", SHARES),
    )


def _trade_offs(record: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for run in record.get("training") or ():
        if (told := run.get("trade_off")) is None:
            continue
        kept = next((p["how"] for p in told["points"] if p["kept"]), "none")
        yield {**told, "name": run["name"], "kept": kept, "chart": _between(told)}


def _between(told: Mapping[str, Any]) -> Markup:
    others = [Point(p["clean"], p["robust"]) for p in told["points"] if not p["kept"]]
    kept = [Point(p["clean"], p["robust"]) for p in told["points"] if p["kept"]]
    return line_chart(
        "Between accuracy and robustness",
        [Series("weights that were tried", others, 0), Series("kept", kept, 1)],
        Axis("right on examples as they are", SHARES),
        Axis("right under attack", SHARES),
    )
