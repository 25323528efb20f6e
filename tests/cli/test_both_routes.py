"""Recordings by networks of sounds and of pictures: fit, rank, doctor, predict; refusals."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

HERTZ = {"high": 2400, "low": 300, "middle": 900}
EACH = 16


def sung(path: Path, name: str, number: int) -> Path:
    rng = np.random.default_rng([number, HERTZ[name]])
    time = np.arange(round(rng.uniform(0.2, 0.7) * 8000)) / 8000
    wave = 0.3 * np.sin(2 * np.pi * HERTZ[name] * rng.uniform(0.8, 1.25) * time)
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, wave + rng.normal(0, 0.1, len(time)), 8000)
    return path


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sounds")
    for name in HERTZ:
        for number in range(EACH):
            sung(folder / name / f"{number}.wav", name, number)
    return folder


@pytest.fixture(scope="module")
def listener(save_listener: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_listener(tmp_path_factory.mktemp("network") / "listener")


@pytest.fixture(scope="module")
def fitted(
    shell: Any, sounds: Path, listener: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    both = ("--backbone", f"efficientnet-lite0,folder:{listener}", "--engine", "torch")
    both += ("--strategy", "probe")
    out = tmp_path_factory.mktemp("fitted") / "out"
    done = shell.invoke("fit", sounds, *both, "--out", out, "--json")
    assert done.exit_code == 0, done.stderr
    return dict(shell.document(done))


def test_each_network_has_its_own_input(fitted: dict[str, Any], listener: Path) -> None:
    details = {row["backbone"]: row["detail"] for row in fitted["tried"] if row["backbone"]}
    assert " px" in details["efficientnet-lite0"]
    assert details[f"folder:{listener}"].startswith("2 s,")
    assert f"efficientnet-lite0 + folder:{listener}" in details
    assert fitted["chosen"][f"size, folder:{listener}"] == "2 s: the network's own"


def test_the_least_leave_one_out_error_chooses(fitted: dict[str, Any]) -> None:
    tried = [row for row in fitted["tried"] if row["kind"] in ("probe", "ensemble")]
    kept = next(row for row in tried if row["kept"])
    assert 0.98 * kept["loo_error"] <= min(row["loo_error"] for row in tried)
    assert kept["score"]["value"] == fitted["metrics"]["accuracy"]["value"] >= 0.8


def test_the_bundle_answers_without_the_network_s_folder(
    shell: Any, sounds: Path, save_listener: Callable[..., Path], tmp_path: Path
) -> None:
    folder = save_listener(tmp_path / "listener")
    words = ("--backbone", f"folder:{folder}", "--engine", "openvino", "--size", 1)
    done = shell.invoke("fit", sounds, *words, "--out", tmp_path / "out", "--json")
    assert done.exit_code == 0, done.stderr
    bundle = shell.document(done)["bundle"]
    new = [sung(tmp_path / f"{name}.wav", name, 99) for name in HERTZ]
    before = shell.document(shell.invoke("predict", bundle, *new, "--json"))["predictions"]
    shutil.rmtree(folder)
    after = shell.invoke("predict", bundle, *new, "--json")
    assert after.exit_code == 0, after.stderr
    assert shell.document(after)["predictions"] == before
    assert sum(a["label"] == name for a, name in zip(before, HERTZ, strict=True)) >= 2
    again = shell.invoke("evaluate", bundle, sounds, "--json")
    assert again.exit_code == 0, again.stderr
    figures = shell.document(again)["metrics"]["accuracy"]["value"]
    assert figures == shell.document(done)["metrics"]["accuracy"]["value"]


def test_a_ranking_has_both(shell: Any, sounds: Path, listener: Path) -> None:
    words = ("--backbone", f"efficientnet-lite0,folder:{listener}", "--engine", "torch")
    done = shell.invoke("rank", sounds, *words, "--json")
    assert done.exit_code == 0, done.stderr
    units = {row["name"]: (row["size"], row["unit"]) for row in shell.document(done)["rows"]}
    assert units[f"folder:{listener}"] == (2, "s")
    assert units["efficientnet-lite0"][1] == "px"


def test_the_doctor_hears_too(shell: Any, sounds: Path, listener: Path, tmp_path: Path) -> None:
    wrong = shutil.copytree(sounds, tmp_path / "wrong")
    shutil.move(wrong / "low" / "3.wav", wrong / "high" / "misplaced.wav")
    words = ("--backbone", f"folder:{listener}", "--engine", "torch")
    done = shell.invoke("doctor", wrong, *words, "--json")
    assert done.exit_code == 0, done.stderr
    suspects = [f for f in shell.document(done)["findings"] if f["kind"] == "label-suspect"]
    assert "high/misplaced.wav" in [name for f in suspects for name in f["files"]]


REFUSED = {
    "reads 1 to 2 s; got 5": ("--size", 5),
    "do not offer": ("--strategy", "partial"),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_cannot_be_obeyed_is_refused(
    message: str, shell: Any, sounds: Path, listener: Path, tmp_path: Path
) -> None:
    words = ("--backbone", f"folder:{listener}", *REFUSED[message], "--out", tmp_path, "--json")
    done = shell.invoke("fit", sounds, *words)
    assert done.exit_code == 2
    assert message in " ".join(shell.error(done)["messages"])


def test_a_size_in_seconds_leaves_pictures_out(shell: Any, sounds: Path, tmp_path: Path) -> None:
    words = ("--size", 2, "--engine", "torch", "--out", tmp_path, "--json")
    done = shell.invoke("fit", sounds, *words)
    assert done.exit_code == 0, done.stderr
    names = {row["backbone"] for row in shell.document(done)["tried"] if row["backbone"]}
    assert names == {"whisper-tiny-en"}


@pytest.fixture(scope="module")
def long_ones(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noise of twelve seconds, whose eleventh tells the class."""
    folder = tmp_path_factory.mktemp("long")
    for name in ("high", "low"):
        (folder / name).mkdir()
        for number in range(12):
            rng = np.random.default_rng([number, HERTZ[name]])
            wave = rng.normal(0, 0.02, 12 * 8000)
            time = np.arange(8000) / 8000
            wave[10 * 8000 : 11 * 8000] += 0.3 * np.sin(2 * np.pi * HERTZ[name] * time)
            soundfile.write(folder / name / f"{number}.wav", wave, 8000)
    return folder


def test_of_long_recordings_what_lies_late_is_heard(
    shell: Any, long_ones: Path, listener: Path, tmp_path: Path
) -> None:
    """Leave-one-out chooses segments; each recording has one answer and stays in one part."""
    words = ("--backbone", f"folder:{listener}", "--engine", "torch", "--strategy", "probe")
    fit = shell.document(shell.invoke("fit", long_ones, *words, "--out", tmp_path, "--json"))
    assert fit["chosen"]["views"].startswith("3 segments")
    assert fit["metrics"]["accuracy"]["value"] == 1
    said = shell.document(shell.invoke("predict", tmp_path / "model.regraft", long_ones, "--json"))[
        "predictions"
    ]
    assert len(said) == 24
    assert all(one["label"] == one["file"].split("/")[-2] for one in said)
    one_view = (*words, "--views", "centre", "--out", tmp_path / "centre", "--json")
    deaf = shell.document(shell.invoke("fit", long_ones, *one_view))
    assert deaf["leave_one_out"]["accuracy"] < 0.8


def test_a_network_of_sounds_can_be_trained_on_long_ones(
    shell: Any, long_ones: Path, listener: Path, tmp_path: Path
) -> None:
    words = ("--backbone", f"folder:{listener}", "--engine", "torch", "--strategy", "lp-ft")
    words += ("--steps", 3, "--augment", "strong", "--out", tmp_path, "--json")
    done = shell.invoke("fit", long_ones, *words)
    assert done.exit_code == 0, done.stderr
    (run,) = shell.document(done)["training"]
    assert run["plan"]["strategy"] == "lp-ft"
    assert run["steps"] == 3
    assert run["plan"]["augment"] == "strong"
    assert run["input"] == "2 s"


def test_a_network_of_sounds_is_refused_for_pictures(shell: Any, photos: Path) -> None:
    done = shell.invoke("fit", photos, "--backbone", "whisper-tiny-en", "--json")
    assert done.exit_code == 2
    assert "whisper-tiny-en reads a sound" in " ".join(shell.error(done)["messages"])
