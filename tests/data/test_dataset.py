"""Dataset: its views, what it leaves out, and the manifest that it writes."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from regraft.data.dataset import COLUMNS, Dataset, listed
from regraft.data.findings import Finding
from regraft.data.labels import natural_key
from regraft.data.sources import load
from regraft.errors import DataError, StorageError, UsageError

PARTS_OF_SIX = ["train", "train", "validation", "test", "test", None]


def dataset(labels, splits=None, root=Path("/photos"), groups=None) -> Dataset:
    ids = [f"{i}.jpg" for i in range(len(labels))]
    columns = {"id": ids, "path": [f"{root}/{name}" for name in ids], "label": labels}
    columns |= {"split": splits} if splits else {}
    columns |= {"group": groups} if groups else {}
    return Dataset.of(columns, root)


def ids(data: Dataset) -> list[str]:
    return data.table["id"].to_list()


def kinds(data: Dataset) -> list[str]:
    return [finding.kind for finding in data.findings]


def found(data: Dataset, kind: str) -> Finding:
    (finding,) = [finding for finding in data.findings if finding.kind == kind]
    return finding


class TestConstruction:
    def test_columns_that_are_left_out_are_null(self):
        data = dataset(["a", "b"])
        assert tuple(data.table.columns) == COLUMNS
        assert data.table["sha256"].null_count() == 2
        assert data.split_source == "none"

    def test_all_mistakes_are_told_at_once(self):
        rows = {"id": ["x", "x"], "path": ["/x", "/x"], "split": ["train", "holdout"]}
        with pytest.raises(DataError, match=r"(?s)more than once: 'x'.*split is 'holdout'"):
            Dataset.of(rows, Path("/"))

    def test_a_missing_column_is_named(self):
        with pytest.raises(DataError, match="'group', 'split', 'sha256' are missing"):
            Dataset(pl.DataFrame({"id": ["x"], "path": ["/x"], "label": ["a"]}), Path("/"))

    def test_an_unknown_split_source_is_refused(self):
        with pytest.raises(DataError, match="split_source: 'guessed'"):
            Dataset(dataset(["a"]).table, Path("/"), split_source="guessed")

    def test_a_name_that_is_not_utf8_is_refused_by_name(self):
        with pytest.raises(DataError, match=r"caf\\udce9"):
            Dataset.of({"id": ["caf\udce9"], "path": ["/caf\udce9"]}, Path("/"))

    def test_two_parts_are_a_given_split_and_one_is_none(self):
        assert dataset(["a", "b"], ["train", "test"]).split_source == "given"
        one = dataset(["a", "b"], ["test", "test"])
        assert one.split_source == "none"
        assert kinds(one) == ["one-part", "tiny-class"]
        assert one.table["split"].null_count() == 2

    def test_classes_are_in_natural_order(self):
        names = ["class 10", "class 9", "Class 9", "b", "A", "class 010"]
        expected = ("A", "b", "Class 9", "class 9", "class 010", "class 10")
        assert dataset(names).classes == expected


class TestNaturalKey:
    @given(st.lists(st.text()))
    def test_orders_any_text_and_tells_different_texts_apart(self, texts):
        keys = [natural_key(text) for text in texts]
        assert sorted(keys) == sorted(keys[::-1])
        assert len(set(keys)) == len(set(texts))

    @given(st.lists(st.integers(0, 10**12), min_size=1))
    def test_agrees_with_the_order_of_numbers(self, numbers):
        names = [f"class {n}" for n in numbers]
        assert sorted(names, key=natural_key) == [f"class {n}" for n in sorted(numbers)]

    def test_a_number_longer_than_python_converts(self):
        assert natural_key("9" * 5000) > natural_key("8" * 5000) > natural_key("9" * 4999)


class TestListed:
    def test_names_the_first_and_counts_the_rest(self):
        assert listed("abc") == "'a', 'b', 'c'"
        assert listed("abcde", limit=2) == "'a', 'b' and 3 more"


class TestViews:
    def test_parts_are_views_with_the_classes_of_the_whole(self):
        data = dataset(["a", "b", "a", "b", "c", "c"], PARTS_OF_SIX)
        assert ids(data.train) == ["0.jpg", "1.jpg"]
        assert ids(data.validation) == ["2.jpg"]
        assert ids(data.test) == ["3.jpg", "4.jpg"]
        assert data.train.classes == ("a", "b", "c")

    def test_targets_are_positions_in_classes(self):
        data = dataset(["b", None, "a", "c"])
        targets = data.targets
        assert targets.dtype == np.int64
        assert targets.tolist() == [1, -1, 0, 2]

    def test_targets_of_labels_outside_the_classes(self):
        data = dataset(["b", "a"])
        assert Dataset(data.table, data.root, classes=("b",)).targets.tolist() == [0, -1]

    def test_held_out_is_test_and_else_validation(self):
        assert ids(dataset([*"abab"], ["train", "validation", "test", "test"]).held_out) == [
            "2.jpg",
            "3.jpg",
        ]
        assert ids(dataset([*"aba"], ["train", "train", "validation"]).held_out) == ["2.jpg"]

    def test_a_test_part_without_labels_cannot_be_measured_on(self):
        data = dataset(["a", "b", "a", None], ["train", "train", "validation", "test"])
        assert ids(data.held_out) == ["2.jpg"]

    def test_nothing_held_out_is_an_error_in_plain_words(self):
        with pytest.raises(DataError, match="nothing to measure on"):
            dataset(["a", "b"]).held_out

    def test_a_given_validation_part_is_not_learnt_from(self):
        data = dataset(["a", "b", "a", "b", "c", "c"], PARTS_OF_SIX)
        assert ids(data.learning) == ["0.jpg", "1.jpg"]

    def test_a_made_validation_part_is_learnt_from(self):
        given_split = dataset(["a", "b", "a", "b", "c", "c"], PARTS_OF_SIX)
        data = Dataset(given_split.table, given_split.root, split_source="made")
        assert ids(data.learning) == ["0.jpg", "1.jpg", "2.jpg"]

    def test_without_a_split_all_labelled_examples_are_learnt_from(self):
        assert ids(dataset(["a", None, "b"]).learning) == ["0.jpg", "2.jpg"]

    @given(
        st.lists(
            st.tuples(
                st.sampled_from([None, "a", "b"]),
                st.sampled_from([None, "train", "validation", "test"]),
            ),
            min_size=1,
        ),
        st.sampled_from(["given", "made"]),
    )
    def test_nothing_is_both_learnt_from_and_measured_on(self, rows, source):
        labels, splits = zip(*rows, strict=True)
        made = Dataset(dataset(labels, splits).table, Path("/photos"), split_source=source)
        data = made.with_table(made.table.with_columns(split=pl.Series(splits, dtype=pl.String)))
        try:
            held_out = ids(data.held_out)
        except DataError:
            assert not len(data.test.labelled)
            assert not len(data.validation.labelled)
        else:
            assert held_out
            assert not set(held_out) & set(ids(data.learning))


class TestLeavingOut:
    def test_rows_go_and_findings_come(self):
        reason = Finding("unreadable", ("1.jpg",), "is cut off", "error")
        data = dataset(["a", "b", "b"])
        left = data.without(["1.jpg"], [reason])
        assert ids(left) == ["0.jpg", "2.jpg"]
        assert left.findings == (*data.findings, reason)
        assert len(data) == 3

    def test_a_class_that_loses_its_last_example_goes_too(self):
        left = dataset(["a", "a", "b", "c", "c"]).without(["2.jpg"])
        assert left.classes == ("a", "c")
        assert left.targets.tolist() == [0, 0, 1, 1]
        assert "'b'" in found(left, "empty-class").reason


class TestLabels:
    def test_unlabelled_examples_are_named(self):
        assert found(dataset(["a", None, "a", None]), "unlabelled").files == ("1.jpg", "3.jpg")

    def test_a_set_without_any_label_is_no_finding(self):
        assert dataset([None, None]).findings == ()

    def test_clean_labels_are_no_finding(self):
        assert dataset(["cat", "cat", "dog", "dog"]).findings == ()

    def test_blanks_around_labels(self):
        assert found(dataset(["cat", "cat ", "cat "]), "label-blanks").files == ("1.jpg", "2.jpg")

    @pytest.mark.parametrize("twin", ["Cat", "cat ", " CAT", "cat\u00a0"])
    def test_twins_name_the_rarer(self, twin):
        finding = found(dataset(["cat", "cat", twin]), "label-twins")
        assert finding.files == ("2.jpg",)
        assert finding.severity == "warning"

    def test_twins_by_the_encoding_of_an_accent(self):
        assert found(dataset(["é", "é", "e\u0301"]), "label-twins").files == ("2.jpg",)

    def test_a_class_with_one_example(self):
        assert found(dataset(["a", "b", "b"]), "tiny-class").files == ("0.jpg",)

    def test_in_a_given_split_one_example_in_train_is_few(self):
        data = dataset([*"aabab"], ["train", "train", "train", "test", "test"])
        assert found(data, "tiny-class").files == ("2.jpg",)

    def test_a_class_that_train_does_not_know(self):
        data = dataset([*"aabbac"], ["train", "train", "train", "train", "test", "test"])
        finding = found(data, "unseen-class")
        assert finding.severity == "error"
        assert finding.files == ("5.jpg",)
        assert "'c'" in finding.reason


class TestDescribe:
    def test_counts_per_part_and_class(self):
        data = dataset(["a", "b", "a", "b", "c", None], PARTS_OF_SIX, groups=[*"xxyyz", None])
        assert data.describe() == {
            "examples": 6,
            "labelled": 5,
            "groups": 3,
            "classes": 3,
            "split_source": "given",
            "parts": {
                "train": {"examples": 2, "classes": {"a": 1, "b": 1, "c": 0}},
                "validation": {"examples": 1, "classes": {"a": 1, "b": 0, "c": 0}},
                "test": {"examples": 2, "classes": {"a": 0, "b": 1, "c": 1}},
                "unsplit": {"examples": 1, "classes": {"a": 0, "b": 0, "c": 0}},
            },
        }


class TestToManifest:
    @pytest.fixture
    def photos(self, tmp_path):
        names = ["a/1.jpg", "a/2.jpg", 'b/it\'s, "3".jpg', "b/zwei\nZeilen.jpg", "b/ø\r.jpg"]
        for name in names:
            (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "photos" / name).touch()
        return load(tmp_path / "photos")

    @pytest.mark.parametrize("ending", ["csv", "parquet"])
    def test_comes_back_through_load(self, photos, tmp_path, ending):
        written = photos.to_manifest(tmp_path / f"manifest.{ending}")
        again = load(written, root=photos.root)
        assert again.table.equals(photos.table)
        assert again.classes == photos.classes
        assert len(photos) == 5

    def test_keeps_a_split(self, photos, tmp_path):
        parts = ["train", "test", None, "validation", "train"]
        split = photos.with_table(photos.table.with_columns(split=pl.Series(parts)))
        again = load(split.to_manifest(tmp_path / "m.csv"), root=photos.root)
        assert again.table["split"].to_list() == parts
        assert again.split_source == "given"

    def test_the_data_folder_is_only_written_when_asked(self, photos):
        inside = photos.root / "a" / "m.csv"
        with pytest.raises(UsageError, match="inside the data folder"):
            photos.to_manifest(inside)
        assert not inside.exists()
        assert photos.to_manifest(inside, inside_data=True).exists()

    def test_a_link_into_the_data_folder_is_seen_through(self, photos, tmp_path):
        (tmp_path / "elsewhere").symlink_to(photos.root / "a")
        with pytest.raises(UsageError, match="inside the data folder"):
            photos.to_manifest(tmp_path / "elsewhere" / "m.csv")

    def test_unknown_ending_and_missing_folder(self, photos, tmp_path):
        with pytest.raises(UsageError, match=r"neither .csv nor .parquet"):
            photos.to_manifest(tmp_path / "m.xlsx")
        with pytest.raises(StorageError, match="nowhere"):
            photos.to_manifest(tmp_path / "nowhere" / "m.csv")
