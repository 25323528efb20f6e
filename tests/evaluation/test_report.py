"""The report: what it refuses, what it says in words, and that its pages hold whatever they are
given: hostile names, absent keys, a thousand findings."""

import html
import json
import math
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from copy import deepcopy
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regraft.data import findings as data_findings
from regraft.errors import StorageError, UsageError
from regraft.evaluation import page
from regraft.evaluation.headlines import headline
from regraft.evaluation.page import SECTIONS, doctor_page, report_page
from regraft.evaluation.report import Report, duration, per_hundred, visible

Record = dict[str, Any]
MakeRecord = Callable[..., Record]

SPLIT = {"name": "test", "n": 300}
HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</style></title><!-- ",
    "{{ 7 * 7 }}{% raw %}",
    "&lt;b&gt; &amp;",
    "photo\u202egpj.exe",
    "שלום עולם",
    "\x1b[31mred\x07",
    "two\nlines",
    "not text \udcff",
    "W" * 300,
]
VOID = {"meta", "img", "br", "wbr"}


# What a report has where it was asked for.
SHARE: Record = {"value": 0.5, "low": 0.4, "high": 0.6}
FURTHER: Record = {
    "robust": {
        **{"norm": "linf", "norm_told": "each value", "attack": "pgd", "n": 8, "clean": SHARE},
        **{"noun": "pictures", "axis": {"title": "ε, of 255", "scale": 255.0}},
        "points": [{"eps": 0.004, "told": "1/255", "accuracy": SHARE, "fell_to": {"pgd": 4}}],
        "checks": [{"name": "steps", "passed": True, "told": "more steps are not weaker"}],
        **{"reliable": True, "why": [], "examples": [], "limits": ["no proof"], "whole": False},
        "as_files": {"eps": "1/255", "n": 4, "misled": 1.0},
    },
    "corruptions": {
        **{"n": 8, "clean": SHARE, "mean": SHARE, "worst": {"name": "fog", "value": 0.2}},
        **{"how": "foggy", "note": "drawn fog"},
        "lowest": {"name": "fog", "severity": 5, "value": 0.1},
        "rows": [{"name": "fog", "kind": "weather", "accuracies": [0.5, 0.4, 0.3, 0.2, 0.1]}],
    },
    "out_of_distribution": {
        **{"measured": True, "name": "other", "inside": 8, "outside": 4, "left_out": []},
        "scores": [{"name": "energy", "told": "low", "source": "", "auroc": SHARE, "fpr95": SHARE}],
        **{"marked": {"inside": SHARE, "outside": SHARE}, "examples": []},
    },
    "abstention": {
        **{"risk": 0.05, "confidence": 0.95, "chosen_on": "leave-one-out", "n": 8, "measured": 8},
        **{"wrong": SHARE, "selection": None, "why": "nothing can be promised"},
        "curve": {
            **{"aurc": SHARE, "best": 0.1, "error": 0.5},
            "points": [{"coverage": 0.5, **SHARE, "best": 0.2}, {"coverage": 1.0, **SHARE}],
        },
    },
}

# What a report of boxes has beside.
BOXES: Record = {
    "gallery": [{"title": "Worst misses", "pictures": []}],
    "box_errors": [{"kind": "missed", "told": "an object that no box is near", "count": 2}],
    "boxes_per_class": [{"class": "cat", "objects": 3, "ap": 0.5, "threshold": 0.4}],
    "box_training": [{"name": "transfer", "told": "", "steps": 9, "epochs": 1.0, "seconds": 2.0}],
}


INTERVAL = {"value": 0.9, "low": 0.88, "high": 0.92}
STANDING: Record = {
    **{"score": INTERVAL, "ece": INTERVAL, "bytes": 4_000_000, "macs": 10**9},
    "latency": [{"threads": 1, "p50": 0.01, "p95": 0.02, "networks": 0.008, "n": 50}],
    "networks": ["net, 64 px, by torch"],
}
BESIDE: Record = {
    "before_after": {
        **{"verb": "distil", "told": "taught by large.regraft", "metric": "accuracy"},
        **{"title": "Accuracy", "n": 200, "examples": "that taught neither", "max_drop": None},
        **{"before": STANDING, "after": STANDING},
        "lost": {"value": 0.0, "low": -0.01, "high": 0.01},
    }
}
# What a report of transcripts has beside.
SPEECH: Record = {
    "transcripts": [
        {
            **{"file": "a.wav", "said": "two", "written": "too", "errors": 1},
            "steps": [["two", "too"], ["", "added"], ["left", ""]],
        }
    ],
    "mistaken": [{"said": "two", "written": "too", "count": 3}],
    "trivial": {"text": "nothing", "wer": 0.9, "cer": 0.9},
    "speech_training": [{**BOXES["box_training"][0], "name": "probe", "chosen": "the last"}],
}
VECTORS: Record = {
    "per_tag": [{"tag": "cat", "support": 3, "answered": 2, "threshold": 0.4, "f1": 0.5}],
    "beside": {
        "tags": ["cat", "dog"],
        "together": [[3, 1], [1, 2]],
        "none": 4,
        "confused": [{"missed": "cat", "said": "dog", "count": 1}],
    },
    "worst_tags": [
        {
            "title": "Missed",
            "rows": [
                {
                    "file": "a.png",
                    "about": "missed: cat",
                    "tags": [{"name": "cat", "probability": 0.1, "there": True, "said": False}],
                }
            ],
        }
    ],
    "per_number": [{"name": "cells", "mean": 9.0, "spread": 2.0, "r2": 0.5, "coverage": 0.9}],
    "numbers": [{"name": "cells", "points": []}],
    "worst_numbers": [{"file": "a.png", "numbers": [{"name": "cells", "right": 1, "answer": 2.5}]}],
}


@pytest.fixture(scope="module")
def full(make_record: MakeRecord) -> Record:
    return make_record() | BOXES | SPEECH | FURTHER | BESIDE | VECTORS


@pytest.fixture
def record(full: Record) -> Record:
    return deepcopy(full)


def minimal(**others: Any) -> Record:
    return {"metrics": {}, "classes": ["cat", "dog"], "split": SPLIT, **others}


class Page(HTMLParser):
    """A page as its tags: which, in what order, with what attributes; and its text."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(source)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), f"an attribute twice: {tag} {attrs}"
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert "svg" in self.open
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

    @property
    def structure(self) -> list[tuple[str, list[str]]]:
        """Tags and attribute names; without what the length of a name may change."""
        return [
            (tag, sorted(set(attributes) - ({"title"} if tag == "bdi" else set())))
            for tag, attributes in self.tags
            if tag != "wbr"
        ]


# The record


def test_the_record_survives_json(record: Record) -> None:
    report = Report(record)
    assert json.loads(report.json()) == report.record == record


def test_what_is_no_number_in_json_becomes_unknown() -> None:
    accuracy = {"value": 0.5, "low": math.nan, "high": -math.inf}
    report = Report(minimal(metrics={"accuracy": accuracy}, conformal={"threshold": math.inf}))
    assert report.metrics == {"accuracy": {"value": 0.5, "low": None, "high": None}}
    assert report.record["conformal"] == {"threshold": None}
    assert "NaN" not in report.json()


def test_the_record_is_a_copy(record: Record) -> None:
    report = Report(record)
    record["metrics"]["accuracy"]["value"] = 0.0
    assert report.metrics["accuracy"]["value"] > 0


def test_a_name_that_is_no_text_can_be_written(tmp_path: Path) -> None:
    report = Report(minimal(left_out=[{"file": "a\udcff.jpg", "reason": "cut short"}]))
    report.save(tmp_path / "r.json")
    assert json.loads((tmp_path / "r.json").read_bytes()) == report.record
    report.save(tmp_path / "r.html")
    assert r"a\udcff.jpg" in Page((tmp_path / "r.html").read_text("utf-8")).text


def test_all_mistakes_of_a_record_are_told_at_once() -> None:
    loop: list[Any] = []
    loop.append(loop)
    wrong = {
        "metrics": {"accuracy": 0.5},
        "classes": ["a", np.str_("b")],
        "confusion": [[1, np.int64(2)]],
        "recipe": {"seed": {1, 2}, ("a", "b"): 0},
        "tried": loop,
    }
    with pytest.raises(UsageError) as caught:
        Report(wrong)
    assert caught.value.mistakes == (
        "record: 'split' is missing",
        "record['metrics']['accuracy']: expected value, low and high, got 0.5",
        "record['confusion'][0][1]: expected text, a number, a list or a dict of these, got int64",
        "record['recipe']['seed']: expected text, a number, a list or a dict of these, got set",
        "record['recipe']: expected keys of text, got ('a', 'b')",
        "record['tried']: expected data that ends, but it holds itself or is too deep",
    )


# Files


@pytest.mark.parametrize("name", ["report.html", "REPORT.HTML", "report.json"])
def test_the_suffix_says_which_form_is_saved(record: Record, tmp_path: Path, name: str) -> None:
    report = Report(record)
    report.save(str(tmp_path / name))
    form = report.json() if name.endswith("json") else report.html()
    assert (tmp_path / name).read_text("utf-8") == form


def test_another_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"ends in \.html or \.json, got .*report\.pdf"):
        Report(minimal()).save(tmp_path / "report.pdf")
    assert not list(tmp_path.iterdir())


def test_a_missing_folder_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="create its folder first"):
        Report(minimal()).save(tmp_path / "none" / "report.html")


# Words


def attempt(name: str, score: float | None, kind: str = "baseline", **others: Any) -> Record:
    return {"name": name, "kind": kind, "score": {"value": score}, **others}


def test_the_headline_says_the_result_and_what_stands_beside_it() -> None:
    accuracy = {"value": 0.9003, "low": 0.871, "high": 0.931}
    tried = [
        attempt("always saying “t-shirt”", 0.211),
        attempt("raw pixels", 0.312),
        attempt("a probe", 0.85, "probe"),
        attempt("two backbones", 0.9003, "ensemble", kept=True),
    ]
    record = minimal(metrics={"accuracy": accuracy}, tried=tried, modality="image")
    assert str(headline(record)).replace("\u202f", " ") == (
        "It names the right class for 90 of 100 pictures it has not seen (95 % interval 87–93 %), "
        "against 31 for raw pixels and 21 for always saying “t-shirt”."
    )


@pytest.mark.parametrize(
    ("accuracy", "tried", "modality", "expected"),
    [
        (1.0, [], "image", "for 100 of 100 pictures it has not seen."),
        (0.9999, [], "text", "for 99.9 of 100 texts it has not seen."),
        (0.9961, [], "audio", "for 99.6 of 100 recordings it has not seen."),
        (0.0, [], "smell", "for 0 of 100 examples it has not seen."),
        (0.5, [attempt("a", 0.1)], None, "has not seen, against 10 for a."),
        (
            0.5,
            [attempt("a", 0.1), attempt("b", 0.004), attempt("c", 0.3), attempt("d", None)],
            None,
            "has not seen, against 30 for c, 10 for a and 0.4 for b.",
        ),
        (0.5, [attempt("W" * 99, 0.1)], None, f"against 10 for {'W' * 59}…."),
    ],
)
def test_headlines_at_the_edges(
    accuracy: float, tried: list[Record], modality: str | None, expected: str
) -> None:
    metrics = {"accuracy": {"value": accuracy, "low": None, "high": None}}
    record = minimal(metrics=metrics, tried=tried, modality=modality)
    assert str(headline(record)).endswith(expected)


@pytest.mark.parametrize(("accuracy", "which"), [(1.0, "right"), (0.0, "wrong")])
def test_an_interval_without_spread_is_not_passed_off_as_certainty(
    accuracy: float, which: str
) -> None:
    metrics = {"accuracy": {"value": accuracy, "low": accuracy, "high": accuracy}}
    record = minimal(metrics=metrics, split={"name": "test", "n": 9})
    expected = f"not seen (all 9 answers were {which}, which leaves the interval unknown)."
    assert str(headline(record)).endswith(expected)
    assert re.search(r"accuracy +\d+\.0 % +–$", str(Report(record)), re.MULTILINE)


def test_a_baseline_measured_on_other_examples_does_not_stand_beside_the_result() -> None:
    tried = [attempt("raw pixels", 0.3), attempt("probe", 0.9, "probe", kept=True)]
    record = minimal(metrics={"accuracy": {"value": 0.8}}, tried=tried, modality="image")
    assert "raw pixels" not in str(headline(record))
    assert "not on those of this report" in Page(report_page(record)).text
    record["metrics"]["accuracy"]["value"] = 0.9
    assert "raw pixels" in str(headline(record))
    assert "not on those of this report" not in Page(report_page(record)).text


def test_without_an_accuracy_the_headline_says_so() -> None:
    assert str(headline(minimal())) == "Its accuracy was not measured."


@given(st.floats(0, 1))
def test_only_none_and_all_are_told_as_none_and_all(value: float) -> None:
    told = float(per_hundred(value))
    assert abs(told - 100 * value) <= 0.5 or value < 1e-3
    assert (told == 0) == (value == 0)
    assert (told == 100) == (value == 1)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (None, "–"),
        (0.01, "< 0.1 s"),
        (0.44, "0.4 s"),
        (9.96, "10 s"),
        (59.7, "1 min 00 s"),
        (200, "3 min 20 s"),
        (3599.6, "1 h 00 min"),
        (3900, "1 h 05 min"),
    ],
)
def test_durations(seconds: float | None, expected: str) -> None:
    assert duration(seconds) == expected


@given(st.text())
def test_what_acts_on_its_surroundings_is_spelled_out(text: str) -> None:
    shown = visible(text)
    shown.encode()
    assert not re.search("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", shown)
    if text.isprintable():
        assert shown == text


# The terminal


def test_the_table_says_what_was_tried_and_how_good_it_is(record: Record) -> None:
    assert str(Report(record)) == Report(record).table()
    table = Report(record).table(width=140)
    assert table.startswith("It names the right class for 89 of 100 pictures")
    assert re.search(r"raw pixels +31\.0 % +28\.0–34\.0 % +30\.0 % +1\.4 s", table)
    assert re.search(
        r"✓ +two backbones · tf_efficientnet_lite0 \+ tf_efficientnet_lite2 +89\.4 %", table
    )
    assert re.search(r"F1 \(macro\) +0\.\d{3} +0\.\d{3}–0\.\d{3}", table)
    assert re.search(r"Accuracy +89\.4 % ", table)


def test_the_table_keeps_to_its_width(record: Record) -> None:
    record["tried"][0]["name"] = "W" * 300
    assert max(map(len, Report(record).table(width=80).splitlines())) <= 80


def test_names_cannot_steer_the_terminal(record: Record) -> None:
    record["tried"] = [attempt(name, 0.5) for name in [*HOSTILE, "[bold]loud[/bold]", "[/]"]]
    table = Report(record).table(width=400)
    table.encode()
    assert not re.search("[\x00-\x09\x0b-\x1f\u202e]", table)
    assert "[bold]loud[/bold]" in table
    assert r"\x1b[31mred\x07" in table


# The page


def ids(source: str) -> set[str | None]:
    return {attributes.get("id") for attributes in Page(source).all("section")}


def test_a_full_record_has_every_section(full: Record) -> None:
    assert ids(report_page(full)) == {section.name for section in SECTIONS}


@pytest.mark.parametrize(
    "section",
    [section for section in SECTIONS if section.name != "split"],  # which every record has
    ids=lambda section: section.name,
)
def test_a_section_appears_only_with_its_keys(full: Record, section: page.Section) -> None:
    rest = {key: value for key, value in full.items() if key not in section.keys}
    assert ids(report_page(rest)) == {s.name for s in SECTIONS} - {section.name}
    for key in section.keys:  # each key alone, and each one empty
        for value in (full[key], type(full[key])()):
            assert section.name in ids(Report(minimal(**{key: value})).html())


def test_a_minimal_record_is_a_page() -> None:
    assert ids(Report(minimal()).html()) == {"split"}


def strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from (text for item in value.values() for text in strings(item))
    elif isinstance(value, list):
        yield from (text for item in value for text in strings(item))


def test_the_page_tells_all_words_of_the_record(full: Record) -> None:
    """Nothing that is in the record is lost on the way, but what is shown in another form."""
    other_form = {"created", "task", "modality", "confusion"}
    source = report_page(full)
    told = html.unescape(re.sub(r"<wbr>", "", source)).lower()
    words = strings({key: value for key, value in full.items() if key not in other_form})
    shown = [text for text in words if text not in ("made", "baseline", "linf")]
    missing = [
        text for text in shown if text.lower() not in told and text.replace("-", " ") not in told
    ]
    assert not missing


def test_the_page_is_complete_in_itself_and_accessible(full: Record) -> None:
    drawn = Page(report_page(full))
    policy = next(m["content"] for m in drawn.all("meta") if "http-equiv" in m) or ""
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'; img-src data:")
    assert not {tag for tag, _ in drawn.tags} & {"script", "link", "iframe", "object", "form"}
    for tag, attributes in drawn.tags:
        assert not [name for name in attributes if name.startswith("on")], tag
        assert (attributes.get("href") or "#").startswith("#")
        assert (attributes.get("src") or "data:image/").startswith("data:image/")
    assert "url(" not in report_page(full)
    assert all(image.get("alt") for image in drawn.all("img"))
    assert len(drawn.all("caption")) == len(drawn.all("table"))
    assert all(cell.get("scope") in ("row", "col") for cell in drawn.all("th"))
    names = [attributes["id"] for _, attributes in drawn.tags if "id" in attributes]
    assert len(names) == len(set(names))
    assert {(a["href"] or "").removeprefix("#") for a in drawn.all("a")} <= set(names)
    levels = [int(tag[1]) for tag, _ in drawn.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(b <= a + 1 for a, b in pairwise(levels))


def renamed(names: list[str], make_record: MakeRecord) -> Record:
    """A small record with these texts wherever a user's file can bring in a text."""
    classes = [f"{k}{name}" for k, name in enumerate(names)]
    record = make_record(classes, n=40, findings=4, signal=0.5)
    record["title"] = names[0]
    record["tried"][0]["name"] = names[0]
    record["split"]["how"] = record["split"]["name"] = names[0]
    for key in ("mistakes", "left_out"):
        for row, name in zip(record[key], names * 20, strict=False):
            row["file"] = name
    for found, name in zip(record["findings"], names * 5, strict=False):
        found["files"] = [name, name]
        found["reason"] = name
    for run, name in zip(record["training"], names, strict=False):
        run["name"] = run["told"] = run["chosen"] = name
        run["warnings"] = [name]
    for row, name in zip(record["looked"], names * 20, strict=False):
        row["file"] = name
    record["tried"][-2]["strategy"] = names[0]
    record["recipe"] = {"source": names[0], "others": names}
    record["chosen"] = {"class": names[0]}
    record["reproduce"] = [names[0]]
    record["limits"] = names
    return record


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_a_hostile_name_is_text(name: str, make_record: MakeRecord) -> None:
    source = Report(renamed([name] * 3, make_record)).html()
    plain = Report(renamed(["plain"] * 3, make_record)).html()
    source.encode()
    assert Page(source).structure == Page(plain).structure
    assert " ".join(visible(name).split()) in Page(source).text


@settings(max_examples=10)
@given(names=st.lists(st.text(min_size=1), min_size=3, max_size=3))
def test_no_name_changes_the_page(names: list[str], make_record: MakeRecord) -> None:
    source, plain = (Report(renamed(n, make_record)).html() for n in (names, ["a", "b", "c"]))
    source.encode()
    found, expected = (Counter(map(str, Page(s).structure)) for s in (source, plain))
    # A reason that several findings share is told once, and files are grouped by it: so names
    # that are equal move elements, but bring in none that are new.
    assert set(found) <= set(expected)


@pytest.mark.parametrize(
    "thumbnail",
    [
        "javascript:alert(1)",
        "https://example.org/a.png",
        "data:image/svg+xml,<svg onload=alert(1)>",
        "data:text/html;base64,AAAA",
        'data:image/png;base64,AAAA" onerror="alert(1)',
        "data:image/png;base64,AAAA\n",
    ],
)
def test_a_thumbnail_is_an_embedded_picture_or_nothing(record: Record, thumbnail: str) -> None:
    record["mistakes"][0]["thumbnail"] = thumbnail
    record["novelty"]["examples"][0]["thumbnail"] = thumbnail
    record["findings"][1]["thumbnails"] = [thumbnail]
    sources = [image["src"] for image in Page(report_page(record)).all("img")]
    assert sources
    assert thumbnail not in sources
    assert not [s for s in sources if not (s or "").startswith("data:image/jpeg;base64,")]


def test_texts_have_no_empty_frames_for_pictures(record: Record) -> None:
    for row in [*record["mistakes"], *record["novelty"]["examples"]]:
        row["thumbnail"] = None
    record["findings"] = []
    assert "no picture" not in Page(report_page(record)).text


# What is drawn


def test_the_matrix_shows_shares_and_counts() -> None:
    record = minimal(confusion=[[3, 1], [0, 0]])
    source = report_page(record)
    assert "cat taken for dog (1 of 4)." in Page(source).text
    cells = re.findall(r'<td class="(\w+)"[^>]*>(\d+)<small>(\d+)', source)
    assert cells == [("hit", "75", "3")]
    assert ">25<small>1</small>" in source
    assert source.count('<td class="none">') == 2


def test_without_mistakes_nothing_is_confused() -> None:
    assert "Nothing: every answer was right." in report_page(minimal(confusion=[[3, 0], [0, 2]]))


def test_many_classes_have_a_compact_matrix(make_record: MakeRecord) -> None:
    record = make_record([f"class {k}" for k in range(77)], n=500)
    drawn = Page(report_page(record))
    assert not [table for table in drawn.all("table") if "matrix" in (table.get("class") or "")]
    squares = {"hit": 0, "miss": 0}
    for path in drawn.all("path"):
        if (kind := path.get("class") or "") in squares:
            squares[kind] += (path["d"] or "").count("M")
    confusion = np.array(record["confusion"])
    hits = int((np.diag(confusion) > 0).sum())
    assert squares == {"hit": hits, "miss": int((confusion > 0).sum()) - hits}


def test_the_weakest_classes_come_first_and_absent_ones_last() -> None:
    rows = [
        {"class": "absent", "support": 0, "precision": 0.0, "recall": 0.0, "f1": 0.0},
        {"class": "good", "support": 9, "precision": 1.0, "recall": 1.0, "f1": 1.0},
        {"class": "weak", "support": 9, "precision": 0.5, "recall": 0.5, "f1": 0.5},
    ]
    table = report_page(minimal(per_class=rows)).split('id="classes"')[1]
    assert re.findall(r'<th scope="row"><bdi>(\w+)', table)[:3] == ["weak", "good", "absent"]


def test_the_diagram_agrees_with_the_metric(record: Record) -> None:
    ece = 100 * record["metrics"]["ece"]["value"]
    assert f"{ece:.1f} percentage points apart" in Page(report_page(record)).text
    drawn = Page(report_page(record))
    filled = [b for b in record["reliability"] if b["count"]]
    assert len(drawn.all("circle")) == len(filled)


@pytest.mark.parametrize(
    ("confidence", "accuracy", "words"),
    [
        (0.9, 0.7, "too sure of itself"),
        (0.7, 0.9, "too modest"),
        (0.8, 0.81, "as sure as it should be"),
    ],
)
def test_too_sure_or_too_modest(confidence: float, accuracy: float, words: str) -> None:
    row = {"low": 0.6, "high": 1, "confidence": confidence, "accuracy": accuracy, "count": 10}
    empty = {"low": 0, "high": 0.6, "confidence": None, "accuracy": None, "count": 0}
    assert f"it is {words}." in Page(report_page(minimal(reliability=[empty, row]))).text


def test_conformal_sets_are_one_sentence() -> None:
    coverage = {"value": 0.91, "low": 0.88, "high": 0.94}
    sets = {"target": 0.9, "coverage": coverage, "mean_size": 1.3, "threshold": 0.2}
    text = Page(report_page(minimal(classes=["a", "b", "c"], conformal=sets))).text
    assert "the right one for 90 % of new examples (a conformal set)" in text
    assert "held it for 91.0 % (88.0–94.0 %), with 1.3 of 3 classes on average" in text
    text = Page(report_page(minimal(conformal={**sets, "mean_size": 2.0}))).text
    assert "every class is in every set" in text


def test_the_recorded_total_is_not_added_to_its_parts() -> None:
    text = Page(report_page(minimal(timings={"features": 40.0, "head": 1.0, "total": 44.0}))).text
    assert "Where the time went: 44 s" in text


# Training and heat maps


def point(seconds: float | None, **others: float | None) -> Record:
    return {"epoch": 1.0, "seconds": seconds, "loss": None, **others}


def test_a_training_run_is_two_charts_and_plain_words(full: Record) -> None:
    source = report_page(full)
    drawn = Page(source)
    charts = source.count('class="curves"') - 4  # of decisions, attacks, corruptions, abstention
    assert charts == 5  # the last run has no point on examples held back
    assert "224 pixels · 8 epochs · 6 min 40 s" in drawn.text
    assert "lp-ft: the averaged weights" in drawn.text
    assert "It learned by heart." in drawn.text
    assert source.count('class="group run" open') == page.MOST_OPEN
    assert source.count("the probe before training") == 2


@pytest.mark.parametrize(
    "curve",
    [
        [],
        [point(None)],
        [point(3.0, loss=math.nan, held_accuracy=math.inf)],
        [{}],
    ],
)
def test_a_run_without_a_number_has_no_chart(curve: list[Record]) -> None:
    run = {"name": "lp-ft", "curve": curve, "start_accuracy": math.nan}
    source = Report(minimal(training=[run])).html()
    assert 'class="curves"' not in source
    assert "Nothing was measured on its way." in Page(source).text


def test_a_single_point_is_drawn() -> None:
    curve = [point(3.0, loss=0.5, held_loss=0.4, held_accuracy=1.0)]
    source = Report(minimal(training=[{"name": "x", "curve": curve}])).html()
    assert source.count('class="curves"') == 2
    assert "nan" not in source.split('id="training"')[1]
    assert "held back: 100.0 % at best" in Page(source).text


def test_a_row_that_was_tried_tells_its_strategy_and_what_was_held_back(full: Record) -> None:
    text = Page(report_page(full)).text
    assert "trained · lp-ft · tf_efficientnet_lite0" in text
    assert "on the pictures held back for choosing: 91.2 % (88.2–94.2 %)" in text


def test_wrong_answers_are_looked_at_first(full: Record) -> None:
    section = report_page(full).split('id="looked"')[1].split("</section>")[0]
    files = re.findall(r"test/<wbr>looked/<wbr>(\d+)\.jpg", section)
    assert [int(name) % 2 for name in files] == [1] * 8 + [0] * 8
    assert section.count("<img") == 32
    assert section.count("taken for") == 8
    assert "is no proof" in section
    many = minimal(looked=full["looked"] * 3)
    assert report_page(many).count('class="pair"') == page.MOST_LOOKED


def test_a_heat_map_is_an_embedded_picture_or_nothing(full: Record) -> None:
    rows = [{**row, "heatmap": None} for row in full["looked"][:2]]
    rows[0]["heatmap"] = "data:image/x-icon;base64,PHN2Zz4="
    source = report_page(minimal(looked=rows))
    assert source.count("<img") == 2
    assert "x-icon" not in source


# Findings


def finding(kind: str, k: int = 0, severity: str = "warning", **others: Any) -> Record:
    return {"kind": kind, "files": [f"{k}.jpg"], "reason": "why", "severity": severity, **others}


def test_findings_are_grouped_the_grave_ones_first() -> None:
    found = [
        finding("odd-size", severity="note"),
        finding("odd-size", 1, severity="note"),
        finding("tiny-class"),
        finding("leak", severity="error"),
        finding("near-duplicate", 0),
        finding("near-duplicate", 1),
    ]
    source = report_page(minimal(findings=found))
    titles = re.findall(r'<span class="title">([\w ]+)</span>', source)
    assert titles == ["leak", "near duplicate", "tiny class", "odd size"]
    assert "2 findings on 2 files" in Page(source).text
    assert list(page.SEVERITIES) == list(data_findings.SEVERITIES)


def test_a_reason_that_a_group_shares_is_told_once() -> None:
    many = [finding("leak", k, reason="the same picture") for k in range(5)]
    assert report_page(minimal(findings=many)).count("the same picture") == 1
    many[0]["reason"] = "another"
    assert report_page(minimal(findings=many)).count("the same picture") == 4


def test_long_lists_are_folded_and_bounded() -> None:
    many = [finding("leak", k) for k in range(3000)]
    left_out = [{"file": f"{k}.png", "reason": "cut short"} for k in range(3000)]
    source = report_page(minimal(findings=many, left_out=left_out))
    assert source.count(".jpg") == source.count(".png") == page.MOST_LISTED
    beyond = "… and 2,600 more; the report saved as JSON lists all."
    assert Page(source).text.count(beyond) == 2


@pytest.mark.parametrize(
    ("clip", "heard"),
    [
        ("data:audio/mpeg;base64,SUQz", True),
        ("data:text/html;base64,SUQz", False),
        ('data:audio/mpeg;base64,SUQz" autoplay onplay="x', False),
        ("https://example.org/a.mp3", False),
        (None, False),
    ],
)
def test_a_clip_is_an_embedded_sound_or_nothing(
    record: Record, clip: str | None, heard: bool
) -> None:
    record["mistakes"][0]["clip"] = clip
    sources = [a.get("src") for tag, a in Page(report_page(record)).tags if tag == "audio"]
    assert sources == ([clip] if heard else [])


def test_clips_stay_within_their_room(record: Record) -> None:
    clip = "data:audio/mpeg;base64," + "A" * 400_000
    record["mistakes"] = [{**record["mistakes"][0], "clip": clip} for _ in range(6)]
    drawn = Page(report_page(record))
    assert len([tag for tag, _ in drawn.tags if tag == "audio"]) == 3


def test_thumbnails_stay_within_their_room(make_record: MakeRecord) -> None:
    record = make_record(n=3000, findings=60)
    picture = "data:image/jpeg;base64," + "A" * 50_000
    for found in record["findings"]:
        found["thumbnails"] = [picture] * 2
    source = report_page(record)
    shown = [len(image["src"] or "") for image in Page(source).all("img")]
    assert sum(shown) <= page.REPORT_PICTURES
    told = re.search(r"([\d,]+) thumbnails were left out", source)
    assert told
    asked = len(record["mistakes"]) + 4 + 2 * (len(record["findings"]) + len(record["looked"]))
    assert int(told[1]) == asked - len(shown)


# Size and speed


@pytest.mark.parametrize("classes", [10, 100])
def test_the_page_is_small_and_quick(make_record: MakeRecord, classes: int) -> None:
    record = make_record([f"class {k}" for k in range(classes)], n=3000, findings=300)
    assert len(report_page(record).encode()) < 1_500_000

    def seconds() -> float:
        start = time.process_time()
        report_page(record)
        return time.process_time() - start

    assert min(seconds() for _ in range(3)) < 0.2


def test_a_report_is_cheap_to_import() -> None:
    code = "import sys, regraft.evaluation.report; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"jinja2", "rich", "numpy", "torch"} & set(run.stdout.split())


# The doctor


def test_the_doctor_shows_what_it_found(full: Record) -> None:
    record = {
        "title": "photos",
        "root": "/data/photos",
        "n": 3409,
        "counts": {"cat": 3000, "<dog>": 409},
        "findings": full["findings"],
        "left_out": full["left_out"],
        "modality": "image",
    }
    drawn = Page(doctor_page(record))
    assert "31 findings in 3,409 pictures of 2 classes." in drawn.text
    assert "<dog> 409" in drawn.text
    assert "/data/photos" in drawn.text
    assert len(drawn.all("img")) == sum(len(found["thumbnails"]) for found in full["findings"])


def test_the_doctor_says_when_all_is_well() -> None:
    text = Page(doctor_page({"title": "photos", "n": 12, "findings": [], "modality": "image"})).text
    assert "Nothing to look at in 12 pictures." in text
