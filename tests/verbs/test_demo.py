"""demo: the digits as they are, as many labels as asked, and transfer worth its name."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from regraft.errors import UsageError
from regraft.verbs.demo import demo, write_digits


def names(folder: Path, part: str) -> set[str]:
    return {path.relative_to(folder / part).as_posix() for path in (folder / part).rglob("*.png")}


def test_the_pictures_are_scikit_learns_digits(tmp_path: Path) -> None:
    write_digits(tmp_path, labels=10, seed=0)
    train, test = names(tmp_path, "train"), names(tmp_path, "test")
    digits = load_digits()
    assert train | test == {f"{c}/{i:04d}.png" for i, c in enumerate(digits.target)}
    assert not train & test
    assert [sum(name.startswith(f"{c}/") for name in train) for c in range(10)] == [10] * 10
    for name in sorted(test)[::200]:
        with Image.open(tmp_path / "test" / name) as picture:
            pixels = np.asarray(picture, float)
        whole = digits.images[int(Path(name).stem)]
        np.testing.assert_allclose(16 * (255 - pixels) / 255, whole, atol=0.04)


def test_another_seed_draws_others_and_leaves_nothing_of_the_first(tmp_path: Path) -> None:
    """Else what is learned from would be measured on as well."""
    write_digits(tmp_path, labels=10, seed=0)
    first = names(tmp_path, "train")
    write_digits(tmp_path, labels=5, seed=1)
    train, test = names(tmp_path, "train"), names(tmp_path, "test")
    assert len(train) == 50
    assert not train <= first
    assert len(train | test) == len(train) + len(test) == 1797


@pytest.mark.parametrize("labels", [0, -1, 174, 2.5, True])
def test_labels_that_no_class_can_give_are_refused(labels: int, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="labels: expected 1 to 173"):
        demo(tmp_path, labels=labels)
    assert not list(tmp_path.iterdir())


def test_a_place_that_holds_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "digits").mkdir()
    (tmp_path / "digits" / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="holds something else"):
        demo(tmp_path)
    assert [path.name for path in tmp_path.rglob("*")] == ["digits", "mine.txt"]


@pytest.mark.slow
def test_transfer_beats_raw_pixels(tmp_path: Path) -> None:
    found = demo(tmp_path, budget="5min")
    tried = found.report.record["tried"]
    (raw,) = (row for row in tried if row["name"] == "raw pixels")
    (kept,) = (row for row in tried if row["kept"])
    assert found.report.record["split"]["n"] == 1697
    assert kept["score"]["low"] > raw["score"]["high"]
    assert kept["score"]["value"] > 0.9
