"""regraft preview: a picture of what training sees, or the list of what may be done to it."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from regraft.modalities.augment import AUGMENTATIONS, KINDS, SETS

SMALL = ("--size", 32, "--examples", 3, "--views", 4, "--seed", 1)


def test_a_picture_is_written(shell: Any, photos: Path, fingerprint: Any, tmp_path: Path) -> None:
    before, out = fingerprint(photos), tmp_path / "seen.png"
    done = shell.invoke("preview", photos, "--augment", "flip,crop=0.4", "--out", out, *SMALL)
    assert done.exit_code == 0, done.stderr
    assert done.stdout.splitlines() == [
        "3 examples at 32 px, augmented by: crop=0.4,flip=0.5",
        f"written: {out}",
    ]
    with Image.open(out) as picture:
        picture.load()
        assert (picture.format, picture.mode) == ("PNG", "RGB")
        wide, high = picture.size
    assert wide > 5 * 128  # the picture itself and four views, enlarged to 128 pixels
    assert high > 3 * 128
    assert fingerprint(photos) == before


@pytest.mark.parametrize(("examples", "views"), [(1, 1), (4, 7)])
def test_rows_and_columns_are_as_many_as_asked_for(
    examples: int, views: int, shell: Any, photos: Path, tmp_path: Path
) -> None:
    def size(rows: int, columns: int) -> tuple[int, int]:
        words = ("--examples", rows, "--views", columns, "--size", 32, "--augment", "none")
        done = shell.invoke("preview", photos, *words, "--out", tmp_path / "p.png")
        assert done.exit_code == 0, done.stderr
        with Image.open(tmp_path / "p.png") as picture:
            return picture.size

    wide, high = size(examples, views)
    wider, _ = size(examples, views + 1)
    _, higher = size(examples + 1, views)
    assert 128 < wider - wide < 150  # one more picture, and the gap beside it
    assert 128 < higher - high < 150


def test_the_document_tells_what_was_drawn(shell: Any, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "seen.png"
    done = shell.invoke("preview", photos, "--augment", "medium", "--out", out, *SMALL, "--json")
    assert done.exit_code == 0, done.stderr
    found = shell.document(done)
    assert set(found) == {"out", "examples", "augment", "augmentations", "size", "skipped"}
    assert (found["out"], found["size"]) == (str(out), 32)
    assert {name.split("/")[0] for name in found["examples"]} == {"blau", "grün", "red [1]"}
    assert all((photos / name).is_file() for name in found["examples"])
    assert found["augment"] == ",".join(
        f"{name}={value:g}" for name, value in found["augmentations"]
    )


def test_the_same_seed_draws_the_same(shell: Any, photos: Path, tmp_path: Path) -> None:
    def drawn(seed: int) -> bytes:
        words = ("--size", 32, "--examples", 2, "--views", 2, "--seed", seed)
        done = shell.invoke("preview", photos, *words, "--out", tmp_path / "p.png")
        assert done.exit_code == 0, done.stderr
        return (tmp_path / "p.png").read_bytes()

    assert drawn(1) == drawn(1) != drawn(2)


def test_the_list_has_every_augmentation(shell: Any) -> None:
    done = shell.invoke("preview", "--list")
    assert done.exit_code == 0, done.stderr
    assert all(name in done.stdout for name in (*AUGMENTATIONS, *SETS, "audio"))
    found = shell.document(shell.invoke("preview", "--list", "--json"))
    assert [one["name"] for one in found["augmentations"]] == list(AUGMENTATIONS)
    assert found["sets"] == {name: dict(kind.sets) for name, kind in KINDS.items()}
    for one in found["augmentations"]:
        assert one["lowest"] <= one["default"] <= one["highest"]
        assert one["told"]


@pytest.mark.parametrize(
    "name", [n for n, row in AUGMENTATIONS.items() if isinstance(row, KINDS["image"].rows)]
)
def test_every_listed_augmentation_can_be_drawn(
    name: str, shell: Any, photos: Path, tmp_path: Path
) -> None:
    row, words = AUGMENTATIONS[name], ("--size", 16, "--examples", 2, "--views", 1)
    asked = f"{name}={row.lowest:g},{'flip' if name != 'flip' else 'crop'}"
    done = shell.invoke("preview", photos, "--augment", asked, "--out", tmp_path / "p.png", *words)
    assert done.exit_code == 0, done.stderr


def test_mistakes_are_told_together_with_what_was_meant(
    shell: Any, photos: Path, tmp_path: Path
) -> None:
    words = ("--augment", "flp,crop=7", "--examples", 0, "--views", 99, "--backbone", "resnet-18")
    done = shell.invoke("preview", photos, *words, "--out", tmp_path / "p.png", "--json")
    assert done.exit_code == 2
    error = shell.error(done)
    assert error["kind"] == "usage"
    told = "\n".join(error["messages"])
    for part in ("flp", "did you mean flip", "crop=7", "examples: 0", "views: 99", "resnet18"):
        assert part in told
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "told", "code"),
    [
        ([], "SOURCE", 2),
        (["PHOTOS"], "--out", 2),
        (["PHOTOS", "--out", "PLACE/p.jpg"], "--out: expected a name that ends in .png", 2),
        (["PHOTOS", "--out", "PLACE/none/p.png"], "does not exist", 2),
        (["--list", "PHOTOS", "--size", "32"], "leave out SOURCE, --size", 2),
        (["PHOTOS", "--out", "PLACE/p.png", "--size", "wide"], "--size", 2),
        (["PHOTOS", "--out", "PLACE/p.png", "--label", "kind"], "label", 2),
        (["/nowhere/at all", "--out", "PLACE/p.png"], "/nowhere/at all", 2),
        (["PLACE/empty", "--out", "PLACE/p.png"], "no example", 1),
        (["PLACE/broken", "--out", "PLACE/p.png"], "no example that can be read", 1),
    ],
)
def test_wrong_usage_and_wrong_data(
    words: list[str], told: str, code: int, photos: Path, shell: Any, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken" / "a").mkdir(parents=True)
    (tmp_path / "broken" / "a" / "x.png").write_bytes(b"no picture")
    words = [word.replace("PLACE", str(tmp_path)) for word in words]
    words = [str(photos) if word == "PHOTOS" else word for word in words]
    done = shell.invoke("preview", *words, "--json")
    assert done.exit_code == code
    assert told in "\n".join(shell.error(done)["messages"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken", "empty"]


def test_an_unreadable_file_is_skipped_with_a_word(
    shell: Any, photos: Path, broken: Path, tmp_path: Path
) -> None:
    words = ("--examples", 40, "--views", 1, "--size", 16)
    done = shell.invoke("preview", broken.parent, *words, "--out", tmp_path / "p.png", "--json")
    assert done.exit_code == 0, done.stderr
    (one,) = json.loads(done.stdout)["skipped"]
    assert one["file"].endswith(broken.name)
    assert f"skipped {one['file']}: " in done.stderr
