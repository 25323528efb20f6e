"""The comparison as a page: what it says in words, what it draws, and any names it is given."""

import math
import re
from collections.abc import Callable
from copy import deepcopy
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regraft.errors import UsageError
from regraft.evaluation.compare_page import (
    MOST_CHANGES,
    SECTIONS,
    compare_headline,
    compare_page,
    points,
)

Record = dict[str, Any]
MakeRecord = Callable[..., Record]
VOID = {"meta", "img", "br", "wbr"}
HOSTILE = ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "{{ 7 * 7 }}", "a\u202eb"]


class Page(HTMLParser):
    """Tags with attributes, and the text."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(source)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture
def record(make_comparison: MakeRecord) -> Record:
    return make_comparison()


def minimal(*strategies: Record, **others: Any) -> Record:
    return {"strategies": list(strategies), "n": 300, **others}


def strategy(name: str, value: float | None, **others: Any) -> Record:
    return {"name": name, "score": {"value": value, "low": None, "high": None}, **others}


def ids(source: str) -> list[str | None]:
    return [attributes.get("id") for attributes in Page(source).all("section")]


# Words


def test_the_headline_says_which_is_best_and_by_how_much(record: Record) -> None:
    assert str(compare_headline(record)).replace("\u202f", " ") == (
        "lp-ft is best: right for 93 of 100 pictures it has not seen (95 % interval 91–95 %), "
        "3.8 percentage points above probe (interval +1.8 to +5.8) and 6.6 above copy."
    )


@pytest.mark.parametrize(
    ("strategies", "expected"),
    [
        ([], "No strategy was measured."),
        ([strategy("a", None), strategy("b", math.nan)], "No strategy was measured."),
        ([strategy("a", 0.5)], "a is best: right for 50 of 100 examples it has not seen."),
        (
            [strategy("probe", 0.9), strategy("copy", 0.8)],
            "probe is best: right for 90 of 100 examples it has not seen, 10.0 above copy.",
        ),
        (
            [strategy("probe", 0.8), strategy("a", 0.81), strategy("copy", None)],
            "it has not seen, 1.0 percentage points above probe.",
        ),
        (
            [
                strategy("probe", 0.8),
                strategy("a", 0.81, against_probe={"difference": 0.01, "low": -0.1, "high": 0.2}),
            ],
            "1.0 percentage points above probe (which may be chance, interval −10.0 to +20.0).",
        ),
        (
            [strategy("slow", 0.5, seconds=9), strategy("fast", 0.5, seconds=1)],
            "fast is best: right for 50 of 100 examples it has not seen.",
        ),
    ],
)
def test_headlines_at_the_edges(strategies: list[Record], expected: str) -> None:
    assert str(compare_headline(minimal(*strategies))).endswith(expected)


@pytest.mark.parametrize(
    ("difference", "expected"),
    [(None, "–"), (0.0, "±0"), (-0.0004, "±0"), (0.0311, "+3.1"), (-0.25, "−25.0")],
)
def test_points(difference: float | None, expected: str) -> None:
    assert points(difference) == expected


# The page


def test_a_full_record_has_every_section(record: Record) -> None:
    assert ids(compare_page(record)) == [section.name for section in SECTIONS]


@pytest.mark.parametrize(
    ("key", "of_strategies", "section"),
    [
        ("by_labels", True, "labels"),
        ("per_class", True, "changes"),
        ("warnings", False, "warnings"),
        ("reproduce", False, "reproduce"),
    ],
)
def test_a_section_appears_only_with_its_key(
    record: Record, key: str, of_strategies: bool, section: str
) -> None:
    for holder in record["strategies"] if of_strategies else [record]:
        del holder[key]
    assert section not in ids(compare_page(record))


def test_a_minimal_record_is_a_page() -> None:
    source = compare_page(minimal())
    assert ids(source) == ["strategies"]
    assert "No strategy was tried." in source
    assert ids(compare_page(minimal({"name": "a"}))) == ["strategies"]


def test_the_page_is_complete_in_itself_and_accessible(record: Record) -> None:
    source = compare_page(record)
    drawn = Page(source)
    assert not {tag for tag, _ in drawn.tags} & {"script", "link", "iframe", "object", "form"}
    for tag, attributes in drawn.tags:
        assert not [name for name in attributes if name.startswith("on")], tag
        assert (attributes.get("href") or "#").startswith("#")
    assert "url(" not in source
    assert len(drawn.all("caption")) == len(drawn.all("table")) == 3
    assert all(cell.get("scope") in ("row", "col") for cell in drawn.all("th"))
    names = [attributes["id"] for _, attributes in drawn.tags if "id" in attributes]
    assert len(names) == len(set(names))
    assert {(a["href"] or "").removeprefix("#") for a in drawn.all("a")} <= set(names)
    charts = [svg for svg in drawn.all("svg") if svg.get("role") == "img"]
    assert len(charts) == source.count("<desc>") == 2
    assert all(svg.get("aria-hidden") for svg in drawn.all("svg") if svg not in charts)


def test_every_strategy_is_in_the_table(record: Record) -> None:
    text = Page(compare_page(record)).text.replace("\u202f", " ")
    assert "lp-ft bestwhat lp-ft does 92.7 %90.7–94.7 % +3.8+1.8 to +5.8 7 min 00 s" in text
    assert "probewhat probe does 88.9 %86.9–90.9 % – 14 s" in text
    assert "the scale runs from 60 % to 100 %" in text
    assert text.count("best") == 2  # in the headline and in one row


def test_a_strategy_without_a_curve_is_a_point_in_time(record: Record) -> None:
    descriptions = re.findall(r"<desc>(.*?)</desc>", compare_page(record))
    assert (
        "probe: 88.9\u202f% at 14 s; copy: 3 points, from 20.0\u202f% at 3 min 33 s"
        in descriptions[0]
    )


def test_learning_curves_have_all_at_the_end(record: Record) -> None:
    source = compare_page(record)
    described = re.findall(r"<desc>(.*?)</desc>", source)[1]
    assert "probe: 4 points, from 58.9\u202f% at 5 to 81.4\u202f% at all" in described
    section = source.split('id="labels"')[1].split("</section>")[0]
    assert re.findall(r'text-anchor="middle">([^<]+)<', section) == ["5", "10", "20", "all"]
    assert section.count('class="run"') == 4 * 4 * 2
    assert section.count('class="range"') == 4 * 4
    assert re.findall(r'<th scope="col" class="right">(\w+)', section) == ["5", "10", "20", "all"]


def test_classes_that_change_most_come_first() -> None:
    before = {f"class {k}": 0.5 for k in range(30)}
    after = {f"class {k}": 0.5 + (-1) ** k * k / 100 for k in range(30)}
    rows = [strategy("probe", 0.5, per_class=before), strategy("a", 0.5, per_class=after)]
    section = compare_page(minimal(*rows)).split('id="changes"')[1].split("</section>")[0]
    names = re.findall(r'<th scope="row"><bdi>class (\d+)', section)
    assert names == [str(k) for k in range(29, 29 - MOST_CHANGES, -1)]
    assert "The 20 classes of 30 that change most" in section
    assert re.findall(r'class="change (\w+)"', section)[:2] == ["worse", "better"]


def test_without_a_probe_the_first_strategy_is_what_is_compared_with(record: Record) -> None:
    record["strategies"] = record["strategies"][1:]
    section = compare_page(record).split('id="changes"')[1].split("</section>")[0]
    assert "under <strong><bdi>copy</bdi></strong>" in section


def test_what_is_not_known_is_left_out(record: Record) -> None:
    broken = record["strategies"][1]
    broken["score"] = {"value": math.nan, "low": None}
    broken["curve"] = [{"seconds": None, "accuracy": 0.5}, {"seconds": 3.0, "accuracy": math.nan}]
    broken["per_class"] = dict.fromkeys(broken["per_class"])
    broken["by_labels"] = [{"labels": 5, "value": None}, {"labels": "many", "value": 0.5}]
    broken["seconds"] = broken["against_probe"] = None
    source = compare_page(record)
    assert not re.search(r"\b(nan|None|inf)\b", source.split('<main id="main">')[1])
    assert "copy:" not in "".join(re.findall(r"<desc>(.*?)</desc>", source))


# Names


def renamed(record: Record, names: list[str]) -> Record:
    """The record with these texts wherever a user's file can bring in a text."""
    record = deepcopy(record)
    given = record["classes"][: len(names)]
    classes = {c: f"{k}{name}" for k, (c, name) in enumerate(zip(given, names, strict=True))}
    record["classes"] = list(classes.values())
    for row, name in zip(record["strategies"][1:], names, strict=True):
        row["name"] = row["told"] = name
        row["per_class"] = {classes[c]: v for c, v in row["per_class"].items() if c in classes}
    probe = record["strategies"][0]
    probe["per_class"] = {classes[c]: v for c, v in probe["per_class"].items() if c in classes}
    record["title"] = record["backbone"] = record["split"]["how"] = names[0]
    record["warnings"] = record["reproduce"] = names
    return record


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_a_hostile_name_is_text(record: Record, name: str) -> None:
    source, plain = (compare_page(renamed(record, [n] * 3)) for n in (name, "plain"))
    source.encode()
    found, expected = (
        [tag for tag, _ in Page(s).tags if tag not in ("wbr",)] for s in (source, plain)
    )
    assert found == expected
    assert "\u202e" not in source
    assert "49" not in re.findall(r"<h1>(.*?)</h1>", source)[0]


@settings(max_examples=20)
@given(names=st.lists(st.text(min_size=1), min_size=3, max_size=3))
def test_no_name_changes_the_page(names: list[str], make_comparison: MakeRecord) -> None:
    source = compare_page(renamed(make_comparison(), names))
    source.encode()
    expected = {tag for tag, _ in Page(compare_page(renamed(make_comparison(), ["x-y"] * 3))).tags}
    assert {tag for tag, _ in Page(source).tags} - {"wbr"} <= expected


def test_all_mistakes_of_a_record_are_told_at_once() -> None:
    with pytest.raises(UsageError) as caught:
        compare_page({"strategies": [{"name": 3}, {"name": "a", "score": {1, 2}}]})
    assert caught.value.mistakes == (
        "record: 'n' is missing",
        "record['strategies'][0]: expected a dict with a name, got {'name': 3}",
        "record['strategies'][1]['score']: expected text, a number, a list or a dict of these, "
        "got set",
    )
