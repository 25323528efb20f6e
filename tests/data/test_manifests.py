"""Manifests as a source: every mistake is told by row, and none of them is a crash."""

import json
import os
import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from regraft.data.dataset import Dataset
from regraft.data.findings import Finding
from regraft.data.sources import load
from regraft.errors import DataError, RegraftError, UsageError

FILES = ("a.jpg", "b.jpg", "c.jpg", "sub/d.jpg")


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "set"
    for name in FILES:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


@pytest.fixture
def manifest(folder):
    def written(content: str | bytes, name: str = "m.csv") -> Path:
        raw = content.encode() if isinstance(content, str) else content
        (folder / name).write_bytes(raw)
        return folder / name

    return written


def rows(data: Dataset, *columns: str) -> list[tuple[str | None, ...]]:
    return data.table.select(columns or ("id", "label")).rows()


def found(data: Dataset, kind: str) -> Finding:
    (finding,) = [finding for finding in data.findings if finding.kind == kind]
    return finding


TWO = [("a.jpg", "x"), ("sub/d.jpg", "y")]


class TestFormats:
    @pytest.mark.parametrize(
        ("name", "content"),
        [
            ("m.csv", "path,label\na.jpg,x\nsub/d.jpg,y\n"),
            ("m.csv", "path,label\r\na.jpg,x\r\nsub/d.jpg,y"),
            ("m.csv", "path,label\ra.jpg,x\rsub/d.jpg,y\r"),
            ("m.csv", "path;label\na.jpg;x\nsub/d.jpg;y\n"),
            ("m.csv", 'path,label\n"a.jpg","x"\n\n,\nsub/d.jpg,y\n'),
            ("m.csv", "\ufeffpath,label\na.jpg,x\nsub/d.jpg,y\n"),
            ("m.csv", " Path , Label \na.jpg,x\nsub/d.jpg,y\n"),
            ("m.csv", ",path,label\n0,a.jpg,x\n1,sub/d.jpg,y\n"),
            ("M.CSV", "path,label\n./a.jpg,x\nsub//d.jpg,y\n"),
            ("m.tsv", "path\tlabel\na.jpg\tx\nsub/d.jpg\ty\n"),
            ("m.jsonl", '{"path": "a.jpg", "label": "x"}\n\n{"label": "y", "path": "sub/d.jpg"}'),
            ("m.ndjson", '{"path": "a.jpg", "label": "x"}\n{"label": "y", "path": "sub/d.jpg"}'),
        ],
    )
    def test_text_formats(self, manifest, name, content):
        data = load(manifest(content, name))
        assert rows(data) == TWO
        assert data.classes == ("x", "y")
        assert [Path(path).exists() for path in data.table["path"]] == [True, True]

    def test_parquet(self, folder):
        pl.DataFrame(TWO, schema=["path", "label"], orient="row").write_parquet(
            folder / "m.parquet"
        )
        assert rows(load(folder / "m.parquet")) == TWO

    def test_a_line_separator_in_json_is_no_new_row(self, manifest):
        line = json.dumps({"path": "a.jpg", "label": "x\u2028y"}, ensure_ascii=False)
        assert rows(load(manifest(line, "m.jsonl"))) == [("a.jpg", "x\u2028y")]

    def test_a_quoted_line_break_belongs_to_its_row(self, manifest):
        content = 'path,label,text\na.jpg,x,"two\nlines"\nnot there.jpg,y,\n'
        with pytest.raises(DataError, match=r"row 4: 'not there\.jpg' cannot be found"):
            load(manifest(content))


class TestColumns:
    @pytest.mark.parametrize("path", ["file", "FILENAME", "image", "img_path"])
    @pytest.mark.parametrize("label", ["class", "Category", "target"])
    def test_plain_names_are_guessed_and_told(self, manifest, path, label):
        data = load(manifest(f"{path},{label}\na.jpg,x\nsub/d.jpg,y\n"))
        assert rows(data) == TWO
        assert f"path_column is {path!r}, label is {label!r}" in found(data, "columns").reason

    def test_other_names_are_named(self, manifest):
        file = manifest("was,wo,wer,wann\nx,a.jpg,anna,train\ny,sub/d.jpg,bert,test\n")
        data = load(file, path_column="wo", label="was", group="wer", split="wann")
        assert rows(data, "id", "label", "group", "split") == [
            ("a.jpg", "x", "anna", "train"),
            ("sub/d.jpg", "y", "bert", "test"),
        ]

    def test_a_named_column_goes_before_a_plain_one(self, manifest):
        file = manifest("path,label,species\na.jpg,1,x\nsub/d.jpg,2,y\n")
        assert rows(load(file, label="species")) == TWO
        with pytest.raises(UsageError, match="'label', 'species'; say which with label="):
            load(file)

    def test_all_wrong_columns_are_told_at_once_with_those_there_are(self, manifest):
        with pytest.raises(UsageError) as raised:
            load(manifest("wo,was\na.jpg,x\n"), label="wass", group="wer")
        assert len(raised.value.mistakes) == 3
        assert all("'wo', 'was'" in mistake for mistake in raised.value.mistakes)
        assert re.search(
            "(?s)label: .*'wass'.*group: .*'wer'.*path_column, text: ", str(raised.value)
        )

    def test_one_column_for_two_purposes(self, manifest):
        with pytest.raises(UsageError, match="label: the column 'path' is named for two purposes"):
            load(manifest("path,label\na.jpg,x\n"), label="path", path_column="path")

    def test_without_a_column_of_labels_examples_are_unlabelled(self, manifest):
        assert rows(load(manifest("path\na.jpg\n"))) == [("a.jpg", None)]

    def test_groups(self, manifest):
        data = load(manifest("path,label,patient\na.jpg,x,7\nb.jpg,y,\nc.jpg,x,7\n"))
        assert data.table["group"].to_list() == ["7", None, "7"]

    def test_a_repeated_column(self, manifest):
        with pytest.raises(DataError, match="row 1: the columns 'label' appear more than once"):
            load(manifest("path,label,label\na.jpg,x,y\n"))


class TestSplit:
    def test_parts_under_their_usual_names(self, manifest):
        content = "path,label,Subset\na.jpg,x,Train\nb.jpg,y,val\nc.jpg,x,TEST\nsub/d.jpg,y,\n"
        data = load(manifest(content))
        parts = ["train", "validation", "test", None]
        assert data.table["split"].to_list() == parts
        assert data.split_source == "given"
        assert found(data, "no-part").files == ("sub/d.jpg",)

    def test_unknown_parts_are_told_by_row(self, manifest):
        content = "path,label,split\na.jpg,x,train\nb.jpg,y,tset\nc.jpg,x,trian\n"
        with pytest.raises(DataError, match=r"(?s)row 3.*'tset' is not one.*row 4.*'trian' is not"):
            load(manifest(content))

    def test_a_guessed_column_without_any_part_is_not_used_and_told(self, manifest):
        file = manifest("path,label,fold\na.jpg,x,0\nb.jpg,y,1\n")
        data = load(file)
        assert data.split_source == "none"
        assert any("'fold' names no train" in finding.reason for finding in data.findings)
        with pytest.raises(DataError, match="row 2, column 'fold': '0' is not one of"):
            load(file, split="fold")


class TestValues:
    def test_labels_stay_as_they_are_written(self, manifest):
        data = load(manifest("path,label\na.jpg,01\nb.jpg,None\nc.jpg, x \nsub/d.jpg,null\n"))
        assert data.table["label"].to_list() == ["01", "None", " x ", "null"]

    @pytest.mark.parametrize("nothing", ["", " ", "NaN", "nan", "<NA>", "#N/A"])
    def test_missing_labels_are_named_and_not_learnt_from(self, manifest, nothing):
        data = load(manifest(f"path,label\na.jpg,x\nb.jpg,{nothing}\nsub/d.jpg,y\n"))
        assert found(data, "unlabelled").files == ("b.jpg",)
        assert rows(data.learning) == TWO

    @pytest.mark.parametrize(
        ("labels", "expected"),
        [
            ([1, 2, None, 3], ["1", "2", None, "3"]),
            ([1.0, float("nan"), None, 3.0], ["1", None, None, "3"]),
            ([1.5, 2.0, float("inf"), 1e300], ["1.5", "2", "inf", "1e+300"]),
            ([True, False, None, True], ["true", "false", None, "true"]),
            (pl.Series([*"xyxy"], dtype=pl.Categorical), [*"xyxy"]),
            (pl.Series([1, 2, 3, 4], dtype=pl.Date), [f"1970-01-0{d}" for d in (2, 3, 4, 5)]),
        ],
    )
    def test_typed_columns_become_text(self, folder, labels, expected):
        pl.DataFrame({"path": FILES, "label": labels}).write_parquet(folder / "m.parquet")
        assert load(folder / "m.parquet").table["label"].to_list() == expected

    def test_what_is_no_value_is_told_by_row(self, manifest):
        lines = [{"path": "a.jpg", "label": ["x"]}, {"path": {"b": 1}, "label": "y"}]
        lines += [{"path": "c.jpg", "label": "\ud800"}, {"path": 7, "label": "y"}]
        with pytest.raises(DataError) as raised:
            load(manifest("\n".join(map(json.dumps, lines)), "m.jsonl"))
        told = str(raised.value)
        assert "row 1, column 'label': holds a list" in told
        assert "row 2, column 'path': holds a dict" in told
        assert "row 3, column 'label': '\\ud800' has characters" in told
        assert "row 4: '7' cannot be found" in told


class TestPaths:
    def test_every_wrong_path_is_told_by_row(self, manifest, folder):
        (folder / "outside").symlink_to("/etc")
        content = (
            "path,label\n../set/a.jpg,x\n/etc/passwd,x\nsub,x\ngone.jpg,y\n,y\na\\b.jpg,x\n"
            "b\0.jpg,x\noutside/passwd,x\n"
        )
        with pytest.raises(DataError) as raised:
            load(manifest(content))
        told = str(raised.value).splitlines()
        assert [int(re.search(r"m.csv, row (\d+):", line)[1]) for line in told] == [*range(2, 10)]
        expected = ["may lead out", "may lead out", "is not a file", "cannot be found"]
        expected += ["names no file", "backslash", "NUL", "leads out"]
        assert all(reason in line for reason, line in zip(expected, told, strict=True))

    def test_a_thousand_mistakes_are_counted(self, manifest):
        content = "path,label\n" + "".join(f"{i}.jpg,x\n" for i in range(1000))
        with pytest.raises(DataError, match="and 980 more rows") as raised:
            load(manifest(content))
        assert len(str(raised.value).splitlines()) == 21

    def test_root_is_where_the_files_are(self, folder, tmp_path):
        (tmp_path / "tables").mkdir()
        file = tmp_path / "tables" / "m.csv"
        file.write_text(f"path,label\na.jpg,x\n../set/b.jpg,y\n{folder}/sub/d.jpg,y\n")
        data = load(file, root=folder)
        assert rows(data) == [("a.jpg", "x"), ("b.jpg", "y"), ("sub/d.jpg", "y")]
        assert data.root == folder

    def test_root_may_lie_above_the_manifest(self, folder, tmp_path):
        (folder / "sub" / "m.csv").write_text("path,label\n../a.jpg,x\nset/b.jpg,y\n")
        data = load(folder / "sub" / "m.csv", root=tmp_path)
        assert rows(data, "id") == [("set/a.jpg",), ("set/b.jpg",)]

    @pytest.mark.parametrize("name", ["/etc/passwd", "../../../etc/passwd", "../x"])
    def test_nothing_leads_out_of_root(self, manifest, folder, name):
        with pytest.raises(DataError, match="row 2: "):
            load(manifest(f"path,label\n{name},x\n"), root=folder)

    def test_root_that_is_no_folder(self, manifest):
        with pytest.raises(UsageError, match="root: '/nowhere' is not a folder"):
            load(manifest("path\na.jpg\n"), root="/nowhere")


class TestRepeats:
    def test_the_same_row_again_is_read_once(self, manifest):
        data = load(manifest("path,label\na.jpg,x\nb.jpg,y\n./a.jpg,x\n"))
        assert rows(data) == [("a.jpg", "x"), ("b.jpg", "y")]
        assert found(data, "repeated-row").files == ("a.jpg",)

    def test_a_file_told_two_ways_is_a_mistake(self, manifest):
        with pytest.raises(DataError, match=r"rows 2 and 4: 'a.jpg' is told as \('x',\) and"):
            load(manifest("path,label\na.jpg,x\nb.jpg,y\na.jpg,z\n"))


class TestMalformed:
    def test_ragged_rows(self, manifest):
        content = "path,label\na.jpg,x,extra\nb.jpg,y\nc.jpg\n"
        with pytest.raises(DataError, match=r"(?s)row 2: 3 cells; expected 2.*row 4: 1 cells"):
            load(manifest(content))

    @pytest.mark.parametrize("content", ["", "\n\n", "path,label\n", "\ufeff"])
    @pytest.mark.parametrize("name", ["m.csv", "m.tsv"])
    def test_without_rows(self, manifest, content, name):
        with pytest.raises(DataError, match="the manifest has no rows"):
            load(manifest(content, name))

    def test_another_encoding_names_the_byte(self, manifest):
        raw = "\ufeffpath,label\na.jpg,Käse\n".encode("utf-8-sig")[3:].replace(b"\xc3\xa4", b"\xe4")
        offset = raw.index(b"\xe4")
        with pytest.raises(DataError, match=rf"row 2: byte {offset} .*\(0xe4\).*UTF-8.*save it"):
            load(manifest(raw))

    @pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
    def test_utf16(self, manifest, encoding):
        with pytest.raises(DataError, match="byte 0 begins a UTF-16 file; save it as UTF-8"):
            load(manifest("path,label\na.jpg,x\n".encode(encoding)))

    def test_an_open_quote_names_the_row_where_it_begins(self, manifest):
        with pytest.raises(DataError, match="row 3: unexpected end of data; check its quotes"):
            load(manifest('path,label\na.jpg,x\n"b.jpg,y\nc.jpg,x\n'))

    def test_a_cell_of_a_megabyte(self, manifest):
        with pytest.raises(DataError, match="row 2: field larger than field limit"):
            load(manifest(f"path,label\na.jpg,{'x' * 1_000_000}\n"))

    @pytest.mark.parametrize(
        "line", ["{", "[1]", "7", "[" * 100_000, '{"path": ' + "1" * 5000 + "}"]
    )
    def test_lines_that_are_no_json_objects(self, manifest, line):
        with pytest.raises(DataError, match=r"row 1: is "):
            load(manifest(line, "m.jsonl"))

    def test_what_is_no_parquet(self, manifest):
        with pytest.raises(DataError, match="cannot be read as Parquet"):
            load(manifest("path,label\n", "m.parquet"))

    def test_200_damaged_manifests_never_crash(self, manifest):
        """Bytes cut, swapped, doubled and put in at random; the sources stay as they are."""
        rng = np.random.default_rng(0)
        good = b"path,label,patient,split\n" + b"".join(
            f'{name},"{label}",{i},{part}\n'.encode()
            for i, (name, label, part) in enumerate(
                zip(FILES, "xyxy", ("train", "test", "val", "train"), strict=True)
            )
        )
        outcomes = {
            self.outcome(manifest(damaged(good, rng), name))
            for name in ("m.csv", "m.tsv")
            for _ in range(100)
        }
        assert {"read", "DataError", "UsageError"} <= outcomes
        assert all(os.path.getsize(manifest(good).parent / name) == 0 for name in FILES)

    @pytest.mark.parametrize("ending", ["jsonl", "parquet"])
    def test_damaged_manifests_of_other_formats_never_crash(self, manifest, folder, ending):
        rng = np.random.default_rng(1)
        frame = pl.DataFrame({"path": FILES, "label": [*"xyxy"]})
        frame.write_parquet(folder / "good.parquet")
        frame.write_ndjson(folder / "good.jsonl")
        good = (folder / f"good.{ending}").read_bytes()
        outcomes = {self.outcome(manifest(damaged(good, rng), f"m.{ending}")) for _ in range(100)}
        assert "DataError" in outcomes

    @staticmethod
    def outcome(file: Path) -> str:
        try:
            load(file)
        except RegraftError as error:
            return type(error).__name__
        return "read"


def damaged(raw: bytes, rng: np.random.Generator) -> bytes:
    """One to four random injuries."""
    awkward = [
        b'"',
        b"\n",
        b",",
        b"\0",
        b"\xff",
        b"\r",
        b"\xef\xbb\xbf",
        b"\t",
        b"{",
        b"../",
        b"NaN",
    ]
    for _ in range(rng.integers(1, 5)):
        at, to = sorted(rng.integers(0, len(raw) + 1, 2))
        injuries = (
            raw[:at] + raw[to:],
            raw[:to],
            raw[:at] + awkward[rng.integers(len(awkward))] + raw[at:],
            raw[:at] + rng.bytes(3) + raw[at:],
            raw + raw[at:to],
            raw[:at] + raw[at:to][::-1] + raw[to:],
        )
        raw = injuries[rng.integers(len(injuries))]
    return raw
