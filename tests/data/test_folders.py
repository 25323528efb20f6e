"""Folders as a source: layouts, links, and what is passed over by name. No pixel is needed."""

import os
import sys
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regraft.data.dataset import Dataset
from regraft.data.findings import Finding
from regraft.data.sources import load
from regraft.errors import DataError

ROOT_MAY_ANYTHING = hasattr(os, "geteuid") and os.geteuid() == 0
NAMES = st.lists(
    st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=40)
    .filter(lambda name: not name.startswith("."))
    .map(lambda name: name + "_"),
    min_size=2,
    max_size=6,
    unique_by=lambda name: unicodedata.normalize("NFC", name).casefold(),
)


@pytest.fixture
def folder(tmp_path):
    def made(*names: str) -> Path:
        for name in names:
            file = tmp_path / "photos" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.mkdir() if name.endswith("/") else file.touch()
        return tmp_path / "photos"

    return made


def rows(data: Dataset, *columns: str) -> list[tuple[str | None, ...]]:
    return data.table.select(columns or ("id", "label")).rows()


def found(data: Dataset, kind: str) -> Finding:
    (finding,) = [finding for finding in data.findings if finding.kind == kind]
    return finding


def kinds(data: Dataset) -> list[str]:
    return [finding.kind for finding in data.findings]


class TestClassFolders:
    def test_the_sub_folder_is_the_class(self, folder):
        data = load(folder("cat/1.jpg", "cat/2.PNG", "dog/1.jpeg", "dog/2.webp"))
        assert rows(data) == [
            ("cat/1.jpg", "cat"),
            ("cat/2.PNG", "cat"),
            ("dog/1.jpeg", "dog"),
            ("dog/2.webp", "dog"),
        ]
        assert data.classes == ("cat", "dog")
        assert (data.split_source, data.findings) == ("none", ())
        assert all(Path(path).is_absolute() and Path(path).exists() for path in data.table["path"])

    def test_nested_folders_belong_to_the_class_above(self, folder):
        data = load(folder("cat/2024/may/1.jpg", "cat/2.jpg", "dog/a/1.jpg", "dog/a/2.jpg"))
        assert [label for _, label in rows(data)] == ["cat", "cat", "dog", "dog"]

    def test_pictures_without_a_class_folder_are_unlabelled(self, folder):
        data = load(folder("1.jpg", "2.jpg"))
        assert rows(data) == [("1.jpg", None), ("2.jpg", None)]
        assert data.classes == data.findings == ()

    def test_pictures_beside_class_folders_are_named(self, folder):
        data = load(folder("stray.jpg", "a/1.jpg", "a/2.jpg", "b/1.jpg", "b/2.jpg"))
        assert found(data, "unlabelled").files == ("stray.jpg",)

    def test_a_relative_folder(self, folder, monkeypatch):
        monkeypatch.chdir(folder("a/1.jpg", "b/1.jpg").parent)
        data = load("photos")
        assert data.root == Path.cwd() / "photos"
        assert data.table["path"][0] == str(Path.cwd() / "photos/a/1.jpg")

    def test_an_empty_class_folder_is_named(self, folder):
        data = load(folder("a/1.jpg", "a/2.jpg", "b/1.jpg", "b/2.jpg", "void/", "texts/x.txt"))
        emptied = [f.files for f in data.findings if f.kind == "empty-class"]
        assert emptied == [("texts",), ("void",)]
        assert data.classes == ("a", "b")

    @given(NAMES)
    def test_any_names(self, tmp_path_factory, names):
        root = tmp_path_factory.mktemp("any")
        for name in names:
            (root / name).mkdir()
            (root / name / f"{name}.jpg").touch()
        data = load(root)
        assert set(rows(data)) == {(f"{name}/{name}.jpg", name) for name in names}

    def test_the_longest_names_that_a_filesystem_takes(self, folder):
        name = "ü" * 125
        assert rows(load(folder(f"{name}/{name}.jpg"))) == [(f"{name}/{name}.jpg", name)]

    def test_folders_deeper_than_python_recurses(self, deep):
        assert rows(load(deep), "label") == [("d",)]

    @pytest.fixture
    def deep(self, tmp_path):
        """1,200 folders in each other, taken down again: what empties tmp_path recurses."""
        root = tmp_path / "photos"
        (root / "d").mkdir(parents=True)
        (root / "d" / "1.jpg").touch()
        for _ in range(1200):
            (root / "d").rename(root / "below")
            (root / "d").mkdir()
            (root / "below").rename(root / "d" / "d")
        yield root
        while (root / "d" / "d").exists():
            (root / "d" / "d").rename(root / "below")
            (root / "d").rmdir()
            (root / "below").rename(root / "d")


class TestPartFolders:
    @pytest.mark.parametrize("validation", ["validation", "val", "valid", "dev", "VAL"])
    def test_parts_above_classes(self, folder, validation):
        names = [
            f"{part}/{c}/{i}.jpg" for part in ("Train", validation) for c in "ab" for i in "12"
        ]
        data = load(folder(*names, "test/a/1.jpg"))
        counts = {part: len(getattr(data, part)) for part in ("train", "validation", "test")}
        assert counts == {"train": 4, "validation": 4, "test": 1}
        assert data.classes == ("a", "b")
        assert data.split_source == "given"

    def test_a_test_folder_without_classes_is_unlabelled(self, folder):
        data = load(folder("train/a/1.jpg", "train/a/2.jpg", "train/b/1.jpg", "test/x.jpg"))
        assert rows(data.test, "id", "label") == [("test/x.jpg", None)]
        assert found(data, "unlabelled").files == ("test/x.jpg",)

    def test_train_alone_is_no_split(self, folder):
        data = load(folder("train/a/1.jpg", "train/b/1.jpg"))
        assert data.classes == ("a", "b")
        assert data.split_source == "none"

    def test_a_class_may_be_called_train(self, folder):
        assert load(folder("train/1.jpg", "bus/1.jpg")).classes == ("bus", "train")

    def test_parts_beside_other_folders_are_refused(self, folder):
        with pytest.raises(DataError, match=r"'test', 'train' are parts.*'cars' lie next"):
            load(folder("train/a/1.jpg", "test/a/1.jpg", "cars/1.jpg"))

    def test_a_folder_without_pictures_beside_parts_is_no_class(self, folder):
        names = [f"{part}/{c}/{i}.jpg" for part in ("train", "test") for c in "ab" for i in "12"]
        data = load(folder(*names, "docs/readme.txt"))
        assert kinds(data) == ["other-files"]
        assert data.split_source == "given"

    def test_an_empty_class_in_one_part(self, folder):
        names = [f"{part}/{c}/{i}.jpg" for part in ("train", "test") for c in "ab" for i in "12"]
        data = load(folder(*names, "train/c/", "test/c/1.jpg"))
        assert found(data, "empty-class").files == ("train/c",)
        assert found(data, "unseen-class").files == ("test/c/1.jpg",)


class TestPassedOver:
    def test_other_files_are_one_note(self, folder):
        data = load(folder("a/1.jpg", "a/notes.txt", "b/1.jpg", "labels.csv", "b/x"))
        finding = found(data, "other-files")
        assert finding.files == ("a/notes.txt", "b/x", "labels.csv")
        assert finding.severity == "note"

    def test_debris_and_hidden_files_are_no_finding(self, folder):
        data = load(
            folder(
                *("a/1.jpg", "a/2.jpg", "b/1.jpg", "b/2.jpg", "a/Thumbs.db", ".DS_Store"),
                *("a/._1.jpg", "__MACOSX/a/1.jpg", ".cache/x.jpg", "b/Desktop.ini", "b/.x.jpg"),
            )
        )
        assert len(data) == 4
        assert data.findings == ()

    def test_nothing_found_tells_what_was_seen(self, folder):
        with pytest.raises(
            DataError, match=r"(?s)no example found.*jpg.*1 other-files: 'a/x.heic'"
        ):
            load(folder("a/x.heic"))

    def test_a_pipe_with_the_name_of_a_picture(self, folder):
        root = folder("a/1.jpg", "a/2.jpg")
        os.mkfifo(root / "a" / "pipe.jpg")
        assert found(load(root), "other-files").files == ("a/pipe.jpg",)

    @pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
    def test_names_that_are_not_utf8(self, folder):
        root = folder("a/1.jpg", "a/2.jpg")
        (root / "a" / os.fsdecode(b"caf\xe9.jpg")).touch()
        (root / os.fsdecode(b"caf\xe9")).mkdir()
        data = load(root)
        assert found(data, "odd-name").files == (r"a/caf\xe9.jpg", r"caf\xe9")
        assert len(data) == 2

    @pytest.mark.skipif(ROOT_MAY_ANYTHING, reason="root opens every folder")
    def test_a_folder_that_cannot_be_opened(self, folder):
        root = folder("a/1.jpg", "a/2.jpg", "b/1.jpg")
        (root / "b").chmod(0)
        try:
            assert found(load(root), "unreadable").files == ("b",)
        finally:
            (root / "b").chmod(0o700)


class TestLinks:
    def test_a_link_inside_the_root_is_followed(self, folder):
        root = folder("a/1.jpg", "b/1.jpg", "c/")
        (root / "b" / "more").symlink_to(root / "a")
        (root / "b" / "2.jpg").symlink_to("../a/1.jpg")
        data = load(root)
        assert rows(data) == [
            ("a/1.jpg", "a"),
            ("b/1.jpg", "b"),
            ("b/2.jpg", "b"),
            ("b/more/1.jpg", "b"),
        ]

    def test_two_links_to_one_folder_are_followed_once_and_in_order(self, folder):
        root = folder("a/1.jpg", "a/2.jpg", "z/1.jpg")
        (root / "z" / "first").symlink_to(root / "a")
        (root / "z" / "second").symlink_to(root / "a")
        data = load(root)
        assert [name for name, label in rows(data) if label == "z"] == [
            "z/1.jpg",
            "z/first/1.jpg",
            "z/first/2.jpg",
        ]
        assert found(data, "link-loop").files == ("z/second",)

    @pytest.mark.parametrize("target", ["..", ".", "../.."])
    def test_loops_are_named(self, folder, target):
        root = folder("a/b/1.jpg", "a/b/2.jpg")
        (root / "a" / "b" / "loop").symlink_to(target)
        data = load(root)
        assert len(data) == 2
        assert found(data, "link-loop").files == ("a/b/loop",)

    def test_loops_through_each_other_end(self, folder):
        root = folder("a/1.jpg", "b/1.jpg")
        (root / "a" / "to").symlink_to(root / "b")
        (root / "b" / "to").symlink_to(root / "a")
        data = load(root)
        assert rows(data, "id") == [("a/1.jpg",), ("a/to/1.jpg",), ("b/1.jpg",), ("b/to/1.jpg",)]
        assert found(data, "link-loop").files == ("a/to/to", "b/to/to")

    def test_a_web_of_links_ends(self, folder):
        names = [f"d{i}" for i in range(12)]
        root = folder(*(f"{name}/1.jpg" for name in names))
        for name in names:
            for other in names:
                (root / name / f"to_{other}").symlink_to(root / other)
        assert len(load(root)) <= 2 * len(names)

    def test_links_that_lead_outside_are_refused(self, folder):
        root = folder("a/1.jpg", "a/2.jpg")
        secret = root.parent / "photos-secret"
        secret.mkdir()
        (secret / "1.jpg").touch()
        (root / "b").symlink_to(secret)
        (root / "a" / "3.jpg").symlink_to(secret / "1.jpg")
        data = load(root)
        finding = found(data, "link-outside")
        assert finding.files == ("a/3.jpg", "b")
        assert finding.severity == "error"
        assert len(data) == 2

    def test_links_to_nothing_and_to_themselves(self, folder):
        root = folder("a/1.jpg", "a/2.jpg")
        (root / "a" / "gone.jpg").symlink_to("nowhere.jpg")
        (root / "a" / "self.jpg").symlink_to("self.jpg")
        assert found(load(root), "link-broken").files == ("a/gone.jpg", "a/self.jpg")

    def test_the_root_may_be_a_link(self, folder):
        root = folder("a/1.jpg", "b/1.jpg")
        (root.parent / "link").symlink_to(root)
        (root / "b" / "2.jpg").symlink_to("../a/1.jpg")
        data = load(root.parent / "link")
        assert len(data) == 3
        assert data.root == root.parent / "link"
