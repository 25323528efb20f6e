"""load(...): which kind of source reads what, which options it obeys, and what can be learnt."""

import os
import sys
from pathlib import Path

import pytest

from regraft.data.dataset import Dataset
from regraft.data.learnable import check_learnable
from regraft.data.options import EXTENSIONS
from regraft.data.sources import SOURCES, Source, load, registered
from regraft.errors import DataError, RegraftError, UsageError


@pytest.fixture
def photos(tmp_path):
    for name in ("cat/1.jpg", "cat/2.jpg", "dog/1.jpg", "dog/2.jpg", "dog/notes.txt", "m.zip"):
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "photos" / name).touch()
    (tmp_path / "photos" / "m.csv").write_text("path,label\ncat/1.jpg,cat\ndog/1.jpg,dog\n")
    return tmp_path / "photos"


def ids(data: Dataset) -> list[str]:
    return data.table["id"].to_list()


class TestKinds:
    @pytest.mark.parametrize("kind", [str, Path])
    def test_folder_manifest_and_file(self, photos, kind):
        assert len(load(kind(photos))) == 4
        assert len(load(kind(photos / "m.csv"))) == 2
        assert len(load(kind(photos / "dog" / "1.jpg"))) == 1

    def test_a_dataset_comes_back_as_it_is(self, photos):
        data = load(photos)
        assert load(data) is data

    def test_one_file_is_unlabelled(self, photos):
        data = load(photos / "dog" / "1.jpg")
        assert data.root == photos / "dog"
        assert data.table.row(0) == ("1.jpg", str(photos / "dog/1.jpg"), None, None, None, None)
        assert data.findings == ()

    def test_a_list_keeps_its_order_and_may_name_any_file(self, photos):
        data = load([photos / "dog" / "notes.txt", str(photos / "cat" / "1.jpg")])
        assert ids(data) == ["dog/notes.txt", "cat/1.jpg"]
        assert data.root == photos

    def test_a_list_that_repeats_a_file(self, photos, monkeypatch):
        monkeypatch.chdir(photos)
        data = load(("cat/1.jpg", photos / "cat" / "1.jpg", "cat/2.jpg"))
        assert ids(data) == ["1.jpg", "2.jpg"]
        assert [f.kind for f in data.findings] == ["repeated-row"]
        assert data.findings[0].files == (str(photos / "cat/1.jpg"),)

    def test_a_home_folder(self, photos, monkeypatch):
        monkeypatch.setenv("HOME", str(photos.parent))
        assert load("~/photos").root == photos

    def test_nothing_is_written(self, photos):
        before = sorted((path, path.stat().st_mtime_ns) for path in photos.rglob("*"))
        load(photos)
        load(photos / "m.csv")
        assert before == sorted((path, path.stat().st_mtime_ns) for path in photos.rglob("*"))


class TestMistakes:
    @pytest.mark.parametrize(
        ("source", "reason"),
        [
            ("nowhere", "'nowhere' does not exist"),
            ("", "'' does not exist"),
            ("nul\0", "does not exist"),
            ("x" * 5000, "does not exist"),
            (7, "a value of type int cannot be read"),
            (None, "a value of type NoneType cannot be read"),
        ],
    )
    def test_what_is_no_source(self, source, reason):
        with pytest.raises(UsageError, match=reason):
            load(source)

    def test_a_file_of_no_known_kind(self, photos):
        with pytest.raises(UsageError, match=r"m.zip.*unpack.*folder.*\.csv.*jpg.*list of files"):
            load(photos / "m.zip")

    def test_a_list_tells_all_that_is_no_file(self, photos):
        with pytest.raises(UsageError) as raised:
            load([photos / "cat", photos / "cat" / "1.jpg", "gone.jpg", 7])
        told = str(raised.value)
        assert ["source[0]" in told, "source[1]" in told] == [True, False]
        assert "source[2]: 'gone.jpg'" in told
        assert "source[3]: 7" in told

    def test_an_empty_list(self):
        with pytest.raises(DataError, match="the list is empty"):
            load([])

    def test_the_modality_is_that_of_most_files(self, photos, tmp_path):
        assert load(photos).modality == "image"
        folder = tmp_path / "mixed"
        for name in ("a/1.wav", "a/2.FLAC", "b/3.mp3", "b/4.jpg"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).touch()
        found = load(folder)
        assert found.modality == "audio"
        assert found.table["id"].to_list() == ["a/1.wav", "a/2.FLAC", "b/3.mp3"]
        assert [f.files for f in found.findings if f.kind == "other-files"] == [("b/4.jpg",)]
        assert load(folder, modality="image").table["id"].to_list() == ["b/4.jpg"]
        assert load([folder / "a/1.wav"]).modality == "audio"
        (folder / "list.csv").write_text("path,label\na/1.wav,x\nb/3.mp3,y\n")
        assert load(folder / "list.csv").modality == "audio"

    def test_an_unknown_modality(self, photos):
        with pytest.raises(UsageError, match="modality: 'smell' is not one of 'audio', 'image'"):
            load(photos, modality="smell")

    def test_options_that_a_source_cannot_obey_are_refused_together(self, photos):
        with pytest.raises(UsageError) as raised:
            load(photos, label="x", root=photos)
        assert raised.value.mistakes == (
            "label: cannot be set for a folder",
            "root: cannot be set for a folder",
        )
        with pytest.raises(UsageError, match="group: cannot be set for a Dataset"):
            load(load(photos), group="x")

    @pytest.mark.skipif(os.name != "posix", reason="other systems refuse such names")
    def test_a_path_that_is_not_utf8(self, tmp_path):
        folder = tmp_path / os.fsdecode(b"caf\xe9")
        folder.mkdir()
        (folder / "1.jpg").touch()
        for source in (folder, folder / "1.jpg", [folder / "1.jpg"]):
            with pytest.raises(DataError, match=r"caf\\udce9.*not valid UTF-8"):
                load(source)


class TestExtensions:
    def test_are_lower_case_and_have_no_dot(self):
        assert all(e == e.lower().strip(".") for table in EXTENSIONS.values() for e in table)
        assert {"jpg", "jpeg", "png", "webp", "bmp", "gif", "tif", "avif"} <= EXTENSIONS["image"]


class TestPlugins:
    """Against a package that is really installed, as far as importlib can tell."""

    @pytest.fixture
    def install(self, tmp_path, monkeypatch):
        def installed(code: str) -> None:
            info = tmp_path / "site" / "pond-1.0.dist-info"
            info.mkdir(parents=True)
            (info / "METADATA").write_text("Metadata-Version: 2.1\nName: pond\nVersion: 1.0\n")
            (info / "entry_points.txt").write_text(
                "[regraft.data_sources]\npond = pond_plugin:POND\n"
            )
            (tmp_path / "site" / "pond_plugin.py").write_text(code)
            monkeypatch.syspath_prepend(str(tmp_path / "site"))
            monkeypatch.delitem(sys.modules, "pond_plugin", raising=False)

        return installed

    def test_a_plugin_is_asked_first_and_obeys_what_it_says(self, install, photos):
        install(
            "from pathlib import Path\n"
            "from regraft.data.dataset import Dataset\n"
            "from regraft.data.sources import Source\n"
            "def accepts(source, options):\n"
            "    return isinstance(source, str) and (Path(source) / 'm.zip').exists()\n"
            "def read(source, options):\n"
            "    return Dataset.of({'id': ['1'], 'path': ['/1'], 'label': [options.label]},\n"
            "                      Path(source))\n"
            "POND = Source('a pond', accepts, read, frozenset({'label'}))\n"
        )
        assert next(registered()).name == "a pond"
        assert load(photos, label="frog").classes == ("frog",)
        with pytest.raises(UsageError, match="group: cannot be set for a pond"):
            load(photos, group="x")
        assert len(load(photos / "m.csv")) == 2

    @pytest.mark.parametrize(
        ("code", "reason"),
        [("import no_such_library", "cannot be loaded: No module"), ("POND = 7", "not a Source")],
    )
    def test_a_broken_plugin_is_named(self, install, photos, code, reason):
        install(code)
        with pytest.raises(RegraftError, match=f"'pond' \\(pond_plugin:POND\\).*{reason}"):
            load(photos)

    def test_built_in_kinds_are_sources(self):
        assert all(isinstance(kind, Source) for kind in SOURCES)
        assert list(registered())[-len(SOURCES) :] == list(SOURCES)


class TestCheckLearnable:
    @staticmethod
    def dataset(labels, splits=None) -> Dataset:
        names = [f"{i}.jpg" for i in range(len(labels))]
        columns = {"id": names, "path": names, "label": labels}
        return Dataset.of(columns | ({"split": splits} if splits else {}), Path("/"))

    def test_two_classes_can_be_learnt(self, photos):
        assert check_learnable(load(photos)) is None
        assert check_learnable(self.dataset(["a", "b"])) is None

    @pytest.mark.parametrize(
        ("labels", "splits", "reason"),
        [
            ([], None, "there are no examples"),
            ([None, None], None, "none of the 2 examples has a label; expected one sub-folder"),
            (["a", "a", None], None, "all 2 examples to learn from are of one class, 'a'"),
            (["a", "b"], ["test", "validation"], "no labelled example to learn from"),
            ([None, "b"], ["train", "test"], "no labelled example to learn from"),
            (["a", "b"], ["train", "test"], "all 1 examples to learn from are of one class, 'a'"),
        ],
    )
    def test_what_cannot_be_learnt(self, labels, splits, reason):
        with pytest.raises(UsageError, match=reason):
            check_learnable(self.dataset(labels, splits))
