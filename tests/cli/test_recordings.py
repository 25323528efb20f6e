"""Recordings go the same way as pictures: fit, evaluate, predict, preview."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

HERTZ = {"high": 2400, "low": 300, "middle": 900}


def sung(folder: Path, name: str, number: int, rate: int = 8000) -> Path:
    """A tone of about the class's pitch, in noise."""
    rng = np.random.default_rng([number, HERTZ[name]])
    time = np.arange(round(rng.uniform(0.3, 0.6) * rate)) / rate
    wave = 0.3 * np.sin(2 * np.pi * HERTZ[name] * rng.uniform(0.8, 1.25) * time)
    path = folder / name / f"{number}.wav"
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, wave + rng.normal(0, 0.1, len(time)), rate)
    return path


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sounds") / "my sounds"
    for name in HERTZ:
        for number in range(14):
            sung(folder, name, number)
    (folder / "low" / "broken.wav").write_bytes(b"no recording")
    soundfile.write(folder / "low" / "silence.wav", np.zeros(4000), 8000)
    (folder / "low" / "notes.txt").write_text("not read")
    return folder


@pytest.fixture(scope="module")
def fitted(shell: Any, sounds: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    out = tmp_path_factory.mktemp("fitted") / "out"
    done = shell.invoke("fit", sounds, *shell.quick, "--out", out, "--json")
    assert done.exit_code == 0, done.stderr
    return shell.document(done), out


def test_a_fit_tells_tones_apart(fitted: Any) -> None:
    found, _ = fitted
    probe = next(row for row in found["tried"] if row["kind"] == "probe")
    assert probe["score"]["value"] >= 0.8
    kinds = {finding["kind"]: finding for finding in found["findings"]}
    assert kinds["unreadable"]["files"] == ["low/broken.wav"]
    assert kinds["silent"]["files"] == ["low/silence.wav"]


def test_the_report_speaks_of_recordings(fitted: Any) -> None:
    page = Path(fitted[0]["report"]).read_text(encoding="utf-8")
    assert "recordings" in page
    assert "1 recording without any sound" in page
    assert "data:image/png;base64," in page


def test_a_reloaded_model_answers_for_a_new_recording(
    fitted: Any, shell: Any, tmp_path: Path
) -> None:
    new = sung(tmp_path, "high", 99)
    done = shell.invoke("predict", fitted[0]["bundle"], new, "--json")
    assert done.exit_code == 0, done.stderr
    (answer,) = shell.document(done)["predictions"]
    assert answer["label"] == "high"


def test_evaluate_gives_the_figures_of_the_fit(fitted: Any, shell: Any, sounds: Path) -> None:
    done = shell.invoke("evaluate", fitted[0]["bundle"], sounds, "--json")
    assert done.exit_code == 0, done.stderr
    accuracy = shell.document(done)["metrics"]["accuracy"]["value"]
    assert accuracy == fitted[0]["metrics"]["accuracy"]["value"]


def test_training_sees_recordings_augmented(shell: Any, sounds: Path, tmp_path: Path) -> None:
    words = ("--strategy", "tune-norm", "--steps", 2, "--augment", "shift,time-mask,mixup")
    done = shell.invoke("fit", sounds, *shell.quick, *words, "--out", tmp_path, "--json")
    assert done.exit_code == 0, done.stderr
    (told,) = shell.document(done)["training"]
    assert told["plan"]["augment"] == "shift,time-mask,mixup"


def test_rows_for_pictures_are_refused(shell: Any, sounds: Path, tmp_path: Path) -> None:
    words = ("--strategy", "lp-ft", "--augment", "flip", "--out", tmp_path)
    done = shell.invoke("fit", sounds, *shell.quick, *words, "--json")
    assert done.exit_code == 2
    assert "not for this kind of data" in " ".join(shell.error(done)["messages"])


def test_a_manifest_of_recordings_with_speakers(shell: Any, sounds: Path, tmp_path: Path) -> None:
    rows = [
        {"path": f"{name}/{number}.wav", "label": name, "speaker": str(number % 4)}
        for name in HERTZ
        for number in range(14)
    ]
    manifest = tmp_path / "list.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    words = ("--root", sounds, *shell.quick, "--out", tmp_path / "out")
    done = shell.invoke("fit", manifest, *words, "--json")
    assert done.exit_code == 0, done.stderr
    assert not [f for f in shell.document(done)["findings"] if f["kind"] == "group-leak"]


def test_preview_draws_them(shell: Any, sounds: Path, tmp_path: Path) -> None:
    out = tmp_path / "preview.png"
    done = shell.invoke("preview", sounds, "--augment", "medium", "--out", out)
    assert done.exit_code == 0, done.stderr
    assert out.stat().st_size > 10_000


def test_recordings_are_measured_when_they_are_worse(
    fitted: Any, shell: Any, sounds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from regraft.robustness import corruptions

    few = {name: corruptions.CORRUPTIONS[name] for name in ("white noise", "opus compression")}
    monkeypatch.setattr(corruptions, "CORRUPTIONS", few)
    monkeypatch.setattr("regraft.verbs.corrupted.EXAMPLES", 6)
    page, model = tmp_path / "page.html", fitted[0]["bundle"]
    words = ("--corruptions", "--report", page, "--json")
    done = shell.invoke("evaluate", model, sounds, *words)
    assert done.exit_code == 0, done.stderr
    found = shell.document(done)["corruptions"]
    assert [row["name"] for row in found["rows"]] == [*few]
    assert found["n"] == 6
    accuracies = [row["accuracies"] for row in found["rows"]]
    assert found["mean"]["value"] == pytest.approx(np.mean(accuracies))
    assert found["mean"]["value"] < found["clean"]["value"]
    html = page.read_text(encoding="utf-8")
    assert "6 recordings, each in noise" in html


@pytest.mark.slow
def test_recordings_are_attacked(
    fitted: Any, shell: Any, sounds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place, few in (("measuring.CHECKED", 3), ("sanity.PLANTED", 1), ("sanity.QUERIES", 5)):
        monkeypatch.setattr(f"regraft.robustness.{place}", few)
    monkeypatch.setattr("regraft.robustness.sanity.FEW_STEPS", 3)
    monkeypatch.setattr("regraft.robustness.sanity.MORE_STEPS", 6)
    monkeypatch.setattr("regraft.robustness.measuring.PGD_STEPS", 4)
    page, model = tmp_path / "page.html", fitted[0]["bundle"]
    words = ("--robust", "--eps", "0.001,0.05", "--examples", 6, "--report", page, "--json")
    done = shell.invoke("evaluate", model, sounds, *words)
    assert done.exit_code == 0, done.stderr
    found = shell.document(done)["robust"]
    assert (found["noun"], found["n"], found["norm"]) == ("recordings", 6, "linf")
    small, large = (point["accuracy"]["value"] for point in found["points"])
    assert found["clean"]["value"] >= small >= large
    assert large < found["clean"]["value"]
    same = found["checks"][0]
    assert same["name"] == "what is attacked is what answers"
    assert same["passed"]
    html = page.read_text(encoding="utf-8")
    assert "Recordings that changed their answer" in html
    quiet, loud = (point["snr"] for point in found["points"])
    assert loud > 0
    assert quiet is None or quiet > loud  # none where no answer fell
    assert found["as_files"]["misled"] > 0.5
    shown = found["examples"][0]
    assert shown["label"] != shown["predicted"]
    assert "data:audio/mpeg;base64," in html
