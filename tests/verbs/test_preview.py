"""preview: one picture of what a network sees in training, and nothing of the user's is changed."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from regraft.backbones.catalog import DEFAULT, find
from regraft.data.sources import load
from regraft.errors import DataError, UsageError
from regraft.modalities.augment import parse
from regraft.modalities.image import MODALITY
from regraft.verbs import sheet
from regraft.verbs.preview import Preview, preview

CLASSES = ("Bär", "cat", "dog")
SPOILT = "cat/spoilt.png"


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of five pictures of other shapes and colours; one file is no picture."""
    folder, rng = tmp_path_factory.mktemp("preview") / "photos", np.random.default_rng(0)
    for place, name in enumerate(CLASSES):
        (folder / name).mkdir(parents=True)
        for i in range(5):
            picture = Image.new("RGB", (90 + 20 * i, 80), tuple(rng.integers(0, 256, 3).tolist()))
            ImageDraw.Draw(picture).regular_polygon((45, 40, 25), 3 + place, 10 * i, "white")
            picture.save(folder / name / f"a picture with a long name, number {i}.png")
    (folder / SPOILT).write_bytes(b"no picture")
    return folder


def drawn(photos: Path, folder: Path, augment: str = "light", **settings: Any) -> Preview:
    settings = {"size": 32, "examples": 4, "views": 3} | settings
    return preview(photos, augment, out=folder / "preview.png", **settings)


def state(folder: Path) -> dict[str, tuple[bytes, int]]:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def columns(path: Path, row: int) -> list[Any]:
    """The pictures of a row, counted from below, as they were drawn."""
    found, side = np.asarray(Image.open(path)), sheet.SMALLEST
    top = len(found) - sheet.MARGIN - (row + 1) * (side + sheet.GAP)
    lefts = (sheet._left(i, side) for i in range(99))
    return [found[top : top + side, x : x + side] for x in lefts if x + side < found.shape[1]]


def test_one_picture_is_written_and_the_data_stay_as_they_are(photos: Path, tmp_path: Path) -> None:
    before = state(photos)
    made = drawn(photos, tmp_path, "flip,crop=0.4")
    assert [path.name for path in tmp_path.iterdir()] == ["preview.png"]
    assert state(photos) == before
    assert made.path == tmp_path / "preview.png"
    assert (made.size, made.augmentations) == (32, parse("flip,crop=0.4"))
    with Image.open(made.path) as picture:
        assert (picture.format, picture.mode) == ("PNG", "RGB")
    json.dumps(made.to_dict())


def test_the_first_column_is_what_prediction_sees(photos: Path, tmp_path: Path) -> None:
    made = drawn(photos, tmp_path, "flip=1", views=2)
    spec = find(DEFAULT).spec.at(32)
    for row, name in enumerate(reversed(made.examples)):
        raw = MODALITY.decode((photos / name).read_bytes(), name, spec).raw
        usual = MODALITY.prepare(raw, spec, "centre").repeat(4, 0).repeat(4, 1)  # 32 px become 128
        first, *others = columns(made.path, row)
        assert np.array_equal(first, usual)
        assert len(others) == 2
        assert all(np.array_equal(view, usual[:, ::-1]) for view in others)


def test_examples_are_spread_over_classes_and_differ_by_seed(photos: Path, tmp_path: Path) -> None:
    chosen = [drawn(photos, tmp_path, examples=6, views=1, seed=seed).examples for seed in range(4)]
    for names in chosen:
        assert sorted(Path(name).parent.name for name in names) == sorted(CLASSES * 2)
    assert len(set(chosen)) > 1
    assert len({drawn(photos, tmp_path, examples=1, seed=seed).examples for seed in range(9)}) > 2


def test_the_same_seed_gives_the_same_bytes(photos: Path, tmp_path: Path) -> None:
    def contents(seed: int) -> bytes:
        return drawn(photos, tmp_path, "strong,cutmix", seed=seed).path.read_bytes()

    assert contents(3) == contents(3) != contents(4)


def test_an_unreadable_file_is_skipped_with_a_word(photos: Path, tmp_path: Path) -> None:
    class Heard:
        said: list[str] = []  # noqa: RUF012

        def say(self, message: str) -> None:
            self.said.append(message)

    made = drawn(photos, tmp_path, examples=40, views=1, progress=Heard())
    assert len(made.examples) == 15
    assert [file for file, _ in made.skipped] == [SPOILT]
    assert Heard.said[0].startswith(f"skipped {SPOILT}: not a picture")
    assert made.to_dict()["skipped"][0]["file"] == SPOILT


def test_no_more_files_are_read_than_are_shown(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[str] = []
    decode = type(MODALITY).decode

    def counting(self: Any, data: bytes, file: str, spec: Any = None) -> Any:
        reads.append(file)
        return decode(self, data, file, spec)

    monkeypatch.setattr(type(MODALITY), "decode", counting)
    files = [path for path in photos.rglob("*.png") if path.name != "spoilt.png"]
    made = drawn(files, tmp_path, examples=2)  # type: ignore[arg-type]
    assert sorted(Path(file).name for file in reads) == sorted(map(path_name, made.examples))


def path_name(name: str) -> str:
    return Path(name).name


def test_more_classes_than_rows(tmp_path: Path) -> None:
    for name in "abcdefgh":
        (tmp_path / "data" / name).mkdir(parents=True)
        for i in range(2):
            Image.new("RGB", (9, 9)).save(tmp_path / "data" / name / f"{i}.png")
    seen = set()
    for seed in range(6):
        names = drawn(tmp_path / "data", tmp_path, seed=seed, views=1).examples
        assert len({name[0] for name in names}) == 4
        seen |= {name[0] for name in names}
    assert len(seen) > 6


def test_a_pipe_is_not_waited_for(photos: Path, tmp_path: Path) -> None:
    """A file that became a pipe, to which nobody writes, after the folder was listed."""
    listed = load(shutil.copytree(photos, tmp_path / "data"))
    name = "dog/a picture with a long name, number 0.png"
    (tmp_path / "data" / name).unlink()
    os.mkfifo(tmp_path / "data" / name)
    made = preview(listed, out=tmp_path / "p.png", size=32, examples=40, views=1)
    assert dict(made.skipped)[name] == "not a regular file"


def test_nothing_that_can_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "data" / "a").mkdir(parents=True)
    (tmp_path / "data" / "a" / "x.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"no example that can be read\na/x.png: the file is empty"):
        preview(tmp_path / "data", out=tmp_path / "p.png")
    assert not (tmp_path / "p.png").exists()


def test_all_mistakes_are_told_at_once(photos: Path, tmp_path: Path) -> None:
    settings: dict[str, Any] = {
        "examples": 0,
        "views": 1000,
        "seed": -1,
        "backbone": "efficientnet",
    }
    with pytest.raises(UsageError) as caught:
        preview(photos, "flp,crop=7", out=tmp_path / "none" / "p.jpg", **settings)
    told = "\n".join(caught.value.mistakes)
    for name in ("examples: 0", "views: 1000", "seed: -1", "did you mean flip", "crop=7", ".png"):
        assert name in told
    assert "backbone: 'efficientnet' is not in the catalog" in told
    with pytest.raises(UsageError, match="does not exist"):
        preview(photos, out=tmp_path / "none" / "p.png")


def test_an_example_is_never_overwritten(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "a picture with a long name, number 0.png"
    monkeypatch.chdir(photos / "cat")
    before = state(photos)
    with pytest.raises(UsageError, match="one of the examples, which are only read"):
        preview(photos, out=os.path.join(".", name))
    assert state(photos) == before


def test_examples_without_labels_and_hostile_names(tmp_path: Path) -> None:
    names = ["\x1b[2J.png", "图" * 40 + ".png", "x" * 200 + ".png", "\u202etxt.png"]
    for i, name in enumerate(names):
        Image.new("RGB", (20, 10 + i), (i * 50, 9, 9)).save(tmp_path / name)
    files = [tmp_path / name for name in names]
    made = preview(files, "mixup=1", out=tmp_path / "p.png", size=16, views=2)
    assert set(made.examples) == set(names)


# --- the sheet -----------------------------------------------------------------------------------


def test_text_is_cut_to_its_room_and_wrapped() -> None:
    long = "one word, another word " * 30
    for keep_end in (False, True):
        short = sheet._shortened(long, 100, sheet.SMALL, keep_end)
        assert sheet._fits(short, 100, sheet.SMALL)
        assert len(short) > 8
    assert sheet._shortened("folder/name.png" * 9, 100, sheet.SMALL, True).endswith("name.png")
    rows = sheet._wrapped(long, 200, sheet.TEXT)
    assert len(rows) > 5
    assert all(sheet._fits(row, 200, sheet.TEXT) for row in rows)
    assert " ".join(rows).split() == long.split()


@pytest.mark.parametrize(("size", "side"), [(8, 128), (160, 160), (300, 224)])
def test_pictures_are_shown_at_a_size_to_look_at(size: int, side: int) -> None:
    cells = [sheet.Cell(Image.new("RGB", (size, size), "red"), ("words",))] * 2
    made = np.asarray(sheet.sheet([sheet.Line("a.png", "cat", cells)], "heading", ["note"]))
    assert ((made == (255, 0, 0)).all(2).sum(axis=1) == 2 * side).sum() == side
