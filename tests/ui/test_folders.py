"""Which folders are told, which paths are refused, and where results may go."""

import os
from pathlib import Path

import pytest

from regraft.errors import UsageError
from regraft.ui.folders import LISTED, folder_of, listing, output, proposed


def test_only_folders_are_told_by_name(tmp_path: Path) -> None:
    for name in ("b", "A", ".hidden"):
        (tmp_path / name).mkdir()
    (tmp_path / "secret.txt").write_text("secret")
    (tmp_path / "link").symlink_to(tmp_path / "b")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    found = listing(folder_of(str(tmp_path)))
    assert [one["name"] for one in found["folders"]] == ["A", "b", "link"]
    assert found["folders"][0]["path"] == str(tmp_path / "A")
    assert (found["up"], found["files"], found["left"]) == (str(tmp_path.parent), 2, 0)
    assert "secret" not in str(found)
    assert listing(Path("/"))["up"] is None


def test_a_long_list_ends(tmp_path: Path) -> None:
    for number in range(LISTED + 3):
        (tmp_path / f"{number:05d}").mkdir()
    found = listing(tmp_path)
    assert (len(found["folders"]), found["left"]) == (LISTED, 3)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (None, "expected a path"),
        (3, "expected a path"),
        ("  ", "expected a path"),
        ("here", "begins with /"),
        ("../..", "begins with /"),
        ("/a\0b", "NUL"),
        ("/" + "a" * 5000, "so long"),
        ("/\ud800", "no file name"),
        ("~nobody-of-that-name/x", "no such user"),
        ("/nowhere/at all", "does not exist"),
        (__file__, "is a file"),
    ],
)
def test_a_path_that_names_no_folder_is_refused(given: object, told: str) -> None:
    with pytest.raises(UsageError, match="folder: ") as error:
        folder_of(given)
    assert told in str(error.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is closed to root")
def test_a_closed_folder_is_told(tmp_path: Path) -> None:
    tmp_path.chmod(0)
    try:
        with pytest.raises(UsageError, match="permission denied"):
            listing(tmp_path)
    finally:
        tmp_path.chmod(0o700)


def test_results_go_to_a_new_folder_outside_the_data(tmp_path: Path) -> None:
    data, results = tmp_path / "photos", tmp_path / "results"
    data.mkdir()
    first = proposed(results, data)
    assert first == results / "photos.out"
    assert output(str(first), data) == first
    (first / "x").mkdir(parents=True)
    assert proposed(results, data) == results / "photos-2.out"
    with pytest.raises(UsageError, match="is there already"):
        output(str(first), data)
    (tmp_path / "link").symlink_to(data)
    for inside in (data, data / "out", data / "a" / ".." / "out", tmp_path / "link" / "out"):
        with pytest.raises(UsageError, match="inside the data folder"):
            output(str(inside), data)
