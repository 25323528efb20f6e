"""Labels of a manifest that are several tags, or numbers: guessed, read, refused row by row."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regraft.data.labels import bins_of, tags_text
from regraft.data.sources import load, task_of
from regraft.data.splits import split
from regraft.errors import DataError, UsageError

ROWS = 6


@pytest.fixture
def texts(tmp_path: Path) -> Any:
    """({column: cells}, ending) → a manifest of texts with these columns."""

    def write(columns: dict[str, list[Any]], ending: str = "csv") -> Path:
        n = len(next(iter(columns.values())))
        table = {"text": [f"text {i}" for i in range(n)], **columns}
        path = tmp_path / f"table.{ending}"
        if ending == "parquet":
            pl.DataFrame(table).write_parquet(path)
        elif ending == "jsonl":
            rows = [dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True)]
            path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        else:
            pl.DataFrame(table).write_csv(path)
        return path

    return write


PLAIN = [
    ({"tags": ["a;b", "a", "b", ";", None, "c;a"]}, "csv"),
    ({"label": ["a|b", "a", "b", "|", None, "c | a"]}, "csv"),
    ({"label": ['["a", "b"]', '["a"]', '["b"]', "[]", None, '["c", "a"]']}, "csv"),
    ({"tags": [["a", "b"], ["a"], ["b"], [], None, ["c", "a"]]}, "jsonl"),
    ({"tags": [["a", "b"], ["a"], ["b"], [], None, ["c", "a"]]}, "parquet"),
]


@pytest.mark.parametrize(("columns", "ending"), PLAIN)
def test_tags_are_guessed_where_cells_say_so(texts: Any, columns: Any, ending: str) -> None:
    path = texts(columns, ending)
    assert task_of(str(path)) == "tags"
    found = load(path)
    assert (found.task, found.classes) == ("tags", ("a", "b", "c"))
    expected = [[1, 1, 0], [1, 0, 0], [0, 1, 0], [0, 0, 0], [np.nan] * 3, [1, 0, 1]]
    np.testing.assert_array_equal(found.matrix, expected)
    assert len(found.labelled) == 5
    kinds = {finding.kind: finding for finding in found.findings}
    assert "write [] there" in kinds["unlabelled"].reason
    assert kinds["task"].reason.startswith("tags: ")


def test_columns_of_0_and_1_are_tags(texts: Any) -> None:
    flags = {"cat": [1, 0, 0, None], "dog": [1, 1, 0, None]}
    found = load(texts(flags), labels=("dog", "cat"))
    assert (found.task, found.classes) == ("tags", ("dog", "cat"))
    np.testing.assert_array_equal(found.matrix[:3], [[1, 1], [1, 0], [0, 0]])
    assert found.table["label"].to_list() == ['["cat", "dog"]', '["dog"]', "[]", None]


def test_what_could_be_a_class_stays_one(texts: Any) -> None:
    for cells in (["x;1", "x;2", "y", "z"], ["a", "b", "a", "b"], ["1", "0", "1", "0"]):
        assert load(texts({"label": cells})).task == "classification"
    cells = ["x;1", "x;2", "y", "z"]
    found = load(texts({"label": cells}), separator=";")
    assert (found.task, found.classes) == ("tags", ("1", "2", "x", "y", "z"))
    assert load(texts({"label": ["a b", "c"]}), task="tags").classes == ("a b", "c")


def test_numbers_of_one_column_or_several(texts: Any) -> None:
    columns = {"age": ["3", "4.5", "", "-1e2"], "weight": [1, 2, 3, 4]}
    found = load(texts(columns), label="age", task="regression")
    assert found.classes == ("age",)
    assert found.matrix[:, 0].tolist()[:2] == [3, 4.5]
    assert len(found.labelled) == 3
    both = load(texts(columns), labels=("age", "weight"))
    assert both.task == "regression"
    np.testing.assert_array_equal(both.matrix[3], [-100, 4])


def test_all_that_is_wrong_is_told_at_once(texts: Any) -> None:
    with pytest.raises(DataError) as error:
        load(
            texts({"a": [1, 0, 1, 1], "b": ["1", "", "maybe", "0"]}), labels=("a", "b"), task="tags"
        )
    told = str(error.value)
    assert "row 3, column 'b': is empty" in told
    assert "row 4, column 'b': 'maybe' is not 0 or 1" in told
    with pytest.raises(DataError, match="row 2, column 'label': 'old' is not a number"):
        load(texts({"label": ["old", "3"]}), task="regression")
    with pytest.raises(DataError, match="inf' is not a finite number"):
        load(texts({"label": ["inf", "3"]}), task="regression")
    with pytest.raises(DataError, match="a tag without a name"):
        load(texts({"tags": [["a", ""], ["b"]]}, "jsonl"))
    with pytest.raises(UsageError) as wrong:
        load(texts({"a": [1, 0]}), labels=("a", "z"), label="a", separator=";")
    assert len(wrong.value.mistakes) == 3
    with pytest.raises(UsageError, match="task: 'tag' is not known"):
        load(texts({"a": [1, 0]}), task="tag")


def test_a_folder_of_classes_has_no_tags(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "a.png").write_bytes(b"")
    with pytest.raises(UsageError, match="needs a manifest"):
        load(tmp_path, task="tags")


def test_a_manifest_for_each_part_is_one_set(texts: Any, tmp_path: Path) -> None:
    folder = tmp_path / "parts"
    folder.mkdir()
    for part, cells in {"train": ["a;b", "a", "b;c", "c"], "test": ["d", "a"]}.items():
        texts({"tags": cells}).rename(folder / f"{part}.csv")
    found = load(folder)
    assert (found.task, found.classes) == ("tags", ("a", "b", "c", "d"))
    assert any(f.kind == "unseen-class" and "'d'" in f.reason for f in found.findings)


def test_looks_of_a_class_are_told_for_tags_too(texts: Any) -> None:
    cells = ["Cat;dog", "cat;dog", "cat", "dog", "cat;rare", "dog"]
    kinds = {f.kind: f for f in load(texts({"tags": cells}), separator=";").findings}
    assert kinds["label-twins"].files == ("table.csv:2",)
    assert "'rare'" in kinds["tiny-class"].reason


@given(st.lists(st.sets(st.sampled_from("abcd")), min_size=40, max_size=80), st.integers(0, 99))
@settings(max_examples=20)
def test_a_split_shares_out_tags(labels: list[set[str]], seed: int) -> None:
    from dataclasses import replace

    from regraft.data.dataset import Dataset

    n = len(labels)
    columns = {"id": [str(i) for i in range(n)], "path": [f"/x/{i}" for i in range(n)]}
    bare = Dataset.of({**columns, "group": [f"{i // 2}" for i in range(n)]}, Path("/x"))
    table = bare.table.with_columns(label=pl.Series([tags_text(own) for own in labels]))
    data = replace(bare, table=table, task="tags", classes=tuple("abcd"))
    made = split(data, (0.5, 0.25, 0.25), seed)
    assert made.table["split"].null_count() == 0
    assert (made.table.group_by("group").agg(pl.col("split").n_unique())["split"] == 1).all()
    whole = made.matrix.sum(0)
    for part, share in (("train", 0.5), ("validation", 0.25), ("test", 0.25)):
        own = getattr(made, part).matrix.sum(0)
        assert (np.abs(own - share * whole) <= np.maximum(4, 0.2 * whole)).all()


def test_bins_are_of_equal_size_and_keep_equal_numbers_together() -> None:
    rng = np.random.default_rng(0)
    counts = np.bincount(bins_of(rng.normal(size=(200, 2))))
    assert len(counts) == 10
    assert np.ptp(counts) <= 1
    values = rng.integers(0, 3, (50, 1)).astype(float)
    for value in range(3):
        assert len(np.unique(bins_of(values)[values[:, 0] == value])) == 1
