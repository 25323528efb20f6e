"""Recordings written down, from the manifest to the answer: tones that spell letters."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from regraft.model.offered import Offered

HERTZ = {"a": 400.0, "b": 1000.0, "c": 2600.0}
RATE = 8000
VOICES = (0.96, 0.98, 1.0, 1.02, 1.04)
EACH = 24


def spoken(text: str, voice: float, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    parts = [np.zeros(400)]
    for letter in text:
        time = np.arange(round(RATE * rng.uniform(0.12, 0.18))) / RATE
        loud = 0.0 if letter == " " else 0.3
        tone = np.sin(2 * np.pi * HERTZ.get(letter, 0) * voice * time)
        parts += [loud * tone * np.hanning(len(time)) ** 0.3, np.zeros(320)]
    wave = np.concatenate(parts)
    return wave + rng.normal(0, 0.01, len(wave))


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five voices; the last one is for the test, with a long recording of many words."""
    folder, rng, rows = tmp_path_factory.mktemp("said"), np.random.default_rng(0), []
    for v, voice in enumerate(VOICES):
        for i in range(EACH):
            text = "".join(rng.choice(list("abc"), rng.integers(2, 5)))
            text = f"{text} {text[0]}" if i % 3 == 0 else text
            soundfile.write(folder / f"{v}-{i}.wav", spoken(text, voice, 100 * v + i), RATE)
            part = "test" if v == len(VOICES) - 1 else "train"
            rows.append((f"{v}-{i}.wav", f"{text.upper()}!", f"voice {v}", part))
    (folder / "broken.wav").write_bytes(b"no recording")
    rows.append(("broken.wav", "abc", "voice 0", "train"))
    with open(folder / "said.csv", "w", newline="") as file:
        csv.writer(file).writerows([("path", "text", "speaker", "split"), *rows])
    return folder / "said.csv"


@pytest.fixture(scope="module")
def listener(save_listener: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("network") / "listener"
    return save_listener(folder, d_model=64, encoder_layers=1, init_std=0.2)


@pytest.fixture(scope="module")
def fitted(
    shell: Any, manifest: Path, listener: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, Any], Path]:
    out = tmp_path_factory.mktemp("fitted") / "out"
    words = ("--task", "transcribe", "--backbone", f"folder:{listener}", "--strategy", "probe")
    words += ("--steps", 200, "--batch", 8, "--rate", 0.01, "--out", out, "--json")
    done = shell.invoke("fit", manifest, *words)
    assert done.exit_code == 0, done.stderr
    return dict(shell.document(done)), out


def test_it_writes_down_what_an_unheard_voice_says(fitted: Any) -> None:
    told, _ = fitted
    assert told["metrics"]["cer"]["value"] < 0.5
    assert told["metrics"]["wer"]["value"] < told["trivial"]["wer"] - 0.1
    assert told["split"]["n"] == EACH
    assert told["speech_training"][0]["name"] == "probe"
    kinds = {f["kind"]: f for f in told["findings"]}
    assert kinds["unreadable"]["files"] == ["broken.wav"]
    assert "held back" in told["chosen"]


def test_the_report_lets_one_hear_the_worst(fitted: Any) -> None:
    _, out = fitted
    page = (out / "report.html").read_text()
    record = json.loads((out / "report.json").read_text())
    assert "words that are said it gets" in page
    assert "it writes down what is said" in page
    if record["transcripts"]:
        assert "<audio controls" in page
        assert record["transcripts"][0]["errors"] >= record["transcripts"][-1]["errors"]
    assert "wrong characters held back" in page.lower()


def test_the_bundle_gives_the_same_figures_without_the_network_s_folder(
    fitted: Any, shell: Any, manifest: Path, listener: Path, tmp_path: Path
) -> None:
    told, out = fitted
    away = listener.rename(listener.with_name("away"))
    try:
        done = shell.invoke("evaluate", out / "model.regraft", manifest, "--json")
        assert done.exit_code == 0, done.stderr
        again = shell.document(done)
        assert again["metrics"]["wer"] == told["metrics"]["wer"] | {
            k: again["metrics"]["wer"][k] for k in ("title", "definition", "higher_is_better")
        }
        long = np.concatenate([spoken("abc", 1.0, i) for i in range(12)])
        soundfile.write(tmp_path / "long.wav", long, RATE)  # more than the network hears at once
        words = (out / "model.regraft", tmp_path / "long.wav", manifest.parent / "broken.wav")
        said = shell.document(shell.invoke("predict", *words, "--json"))["predictions"]
        assert 18 <= len(said[0]["text"].replace(" ", "")) <= 50  # 36 letters are said
        assert "not a recording" in said[1]["error"]
        table = shell.invoke("predict", out / "model.regraft", tmp_path / "long.wav")
        assert "confidence" in table.stdout
        lines = shell.invoke(
            "predict", out / "model.regraft", tmp_path / "long.wav", "--format", "csv"
        )
        (row,) = csv.DictReader(lines.stdout.splitlines())
        assert row["text"] == said[0]["text"]
    finally:
        away.rename(listener)


def test_an_export_writes_down_the_same(
    fitted: Any, shell: Any, manifest: Path, tmp_path: Path
) -> None:
    _, out = fitted
    told = ("--out", tmp_path / "onnx", "--count", 5, "--json")
    done = shell.invoke("export", out / "model.regraft", *told)
    assert done.exit_code == 0, done.stderr
    proof = shell.document(done)["proof"]
    assert proof["same_answers"] == proof["examples"] == 5
    assert proof["largest_difference"] <= proof["limit"]
    assert proof["metric"] == {**proof["metric"], "name": "wer"}
    long = np.concatenate([spoken("abc", 1.0, i) for i in range(8)])
    soundfile.write(tmp_path / "long.wav", long, RATE)  # more than the network hears at once
    words = (tmp_path / "long.wav", manifest.parent / "broken.wav", "--json")
    answers = [
        shell.document(shell.invoke("predict", model, *words))["predictions"]
        for model in (out / "model.regraft", tmp_path / "onnx")
    ]
    assert answers[0][0]["text"] == answers[1][0]["text"]
    assert answers[0][1]["error"] == answers[1][1]["error"]
    served = Offered.open(tmp_path / "onnx").answer([(tmp_path / "long.wav").read_bytes()], 5)
    assert served[0]["text"] == answers[0][0]["text"]


def test_a_forged_bundle_is_refused(fitted: Any, shell: Any, manifest: Path) -> None:
    from regraft.errors import BundleError
    from regraft.export.bundle import read_bundle, write_bundle
    from regraft.model.opening import opened

    _, out = fitted
    bundle = read_bundle(out / "model.regraft")
    told, head = bundle.document("model"), bundle.tensors("head")
    record = bundle.document("record")
    backbone = told["backbone"]
    strange = backbone | {"row": backbone["row"] | {"family": "x"}}
    cases = {
        "single characters": (told | {"characters": ["ab", *told["characters"][1:]]}, head),
        "last.weight: expected": (told | {"characters": [*told["characters"], "z"]}, head),
        "not finite": (told, head | {"last.bias": head["last.bias"] * np.float32("nan")}),
        "row.family": (told | {"backbone": strange}, head),
    }
    for message, (document, tensors) in cases.items():
        path = out / "forged.regraft"
        write_bundle(path, {"model": document, "record": record}, {"head": tensors})
        with pytest.raises(BundleError, match=message):
            opened(path)


def test_the_network_is_trained_only_where_that_is_surely_better(
    shell: Any, manifest: Path, listener: Path, tmp_path: Path
) -> None:
    words = ("--task", "transcribe", "--backbone", f"folder:{listener}", "--strategy", "lp-ft")
    words += ("--steps", 3, "--budget", "4s", "--out", tmp_path, "--json")
    done = shell.invoke("fit", manifest, *words)
    assert done.exit_code == 0, done.stderr
    told = shell.document(done)
    assert [run["name"] for run in told["speech_training"]] == ["probe", "lp-ft"]
    assert told["speech_training"][1]["steps"] == 3
    assert told["chosen"]["kept"].startswith(("the probe", "lp-ft"))


def test_the_doctor_hears_what_does_not_fit(shell: Any, manifest: Path, tmp_path: Path) -> None:
    folder = tmp_path / "wrong"
    shutil.copytree(manifest.parent, folder)
    shutil.copy(folder / "0-0.wav", folder / "copy.wav")
    soundfile.write(folder / "short.wav", np.ones(800) * 0.1, RATE)
    with open(folder / "said.csv", "a") as file:
        file.write("copy.wav,something else,voice 0,train\n")
        file.write("short.wav,far too much for a tenth of a second,voice 1,train\n")
    done = shell.invoke("doctor", folder / "said.csv", "--task", "transcribe", "--json")
    found = shell.document(done)["findings"]
    kinds = {f["kind"]: f["files"] for f in found}
    assert set(kinds["conflicting-labels"]) == {"0-0.wav", "copy.wav"}
    assert "short.wav" in kinds["pace"]


# --- a network that writes already ---------------------------------------------------------------


@pytest.fixture(scope="module")
def writer(save_listener: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("network") / "writer"
    save_listener(folder, "HubertForCTC", vocab_size=8, initializer_range=0.2)
    words = ("<pad>", "<s>", "</s>", "<unk>", "|", "A", "B", "X")
    (folder / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    return folder


def test_what_came_with_a_network_writes_as_it_is_and_learns_on(
    shell: Any, manifest: Path, writer: Path, tmp_path: Path
) -> None:
    words = ("fit", manifest, "--task", "transcribe", "--backbone", f"folder:{writer}", "--json")
    done = shell.invoke(*words, "--strategy", "zero-shot", "--out", tmp_path / "as-it-is")
    assert done.exit_code == 0, done.stderr
    before = shell.document(done)
    assert before["speech_training"] == []
    assert "characters held back are wrong" in before["chosen"]["head"]
    learning = (
        "--head",
        "brought",
        "--strategy",
        "probe",
        "--steps",
        40,
        "--batch",
        8,
        "--out",
        tmp_path / "learned",
    )
    done = shell.invoke(*words, *learning)
    assert done.exit_code == 0, done.stderr
    after = shell.document(done)
    assert before["metrics"]["wer"].items() <= after["as_it_came"]["wer"].items()
    assert after["metrics"]["cer"]["value"] < before["metrics"]["cer"]["value"]
    assert "before it learned" in (tmp_path / "learned" / "report.html").read_text()
    bundle = tmp_path / "learned" / "model.regraft"
    again = shell.document(shell.invoke("evaluate", bundle, manifest, "--json"))
    assert again["metrics"]["cer"]["value"] == after["metrics"]["cer"]["value"]
    done = shell.invoke("export", bundle, "--out", tmp_path / "onnx", "--count", 2, "--json")
    assert done.exit_code == 0, done.stderr
    assert shell.document(done)["proof"]["same_answers"] == 2


def test_a_head_that_has_no_idea_of_what_is_said_is_left_out(
    shell: Any, manifest: Path, writer: Path, tmp_path: Path
) -> None:
    words = ("fit", manifest, "--task", "transcribe", "--backbone", f"folder:{writer}", "--json")
    done = shell.invoke(*words, "--strategy", "probe", "--steps", 1, "--out", tmp_path)
    assert done.exit_code == 0, done.stderr
    told = shell.document(done)
    assert told["chosen"]["head"].startswith("fresh: as the one of the checkpoint came")
    assert "as_it_came" not in told


def test_a_decoder_of_tokens_goes_the_same_way(
    shell: Any, manifest: Path, save_whisper: Callable[..., Path], tmp_path: Path
) -> None:
    net = save_whisper(tmp_path / "net", init_std=0.1, max_target_positions=12)
    words = ("fit", manifest, "--task", "transcribe", "--backbone", f"folder:{net}", "--json")
    words += ("--strategy", "lp-ft", "--steps", 6, "--batch", 8, "--budget", "10s")
    done = shell.invoke(*words, "--head", "brought", "--out", tmp_path / "out")
    assert done.exit_code == 0, done.stderr
    told = shell.document(done)
    assert told["chosen"]["language"].startswith("English alone")
    assert told["as_it_came"]["n"] == EACH
    assert [run["name"] for run in told["speech_training"]] == ["probe", "lp-ft"]
    asked = told["speech_training"][-1]  # whose steps do not hang on the clock
    assert asked["steps"] == 6
    assert asked["curve"][-1]["loss"] < asked["curve"][0]["loss"]
    shutil.rmtree(net)  # the bundle is enough
    bundle = tmp_path / "out" / "model.regraft"
    again = shell.document(shell.invoke("evaluate", bundle, manifest, "--json"))
    assert again["metrics"]["cer"]["value"] == told["metrics"]["cer"]["value"]
    said = shell.document(shell.invoke("predict", bundle, manifest.parent / "4-0.wav", "--json"))
    assert isinstance(said["predictions"][0]["text"], str)
    done = shell.invoke("export", bundle, "--out", tmp_path / "onnx", "--json")
    assert done.exit_code == 2
    assert "writes with a decoder" in " ".join(shell.error(done)["messages"])
    assert not (tmp_path / "onnx").exists()


REFUSED = {
    "zero-shot: folder": ("--strategy", "zero-shot"),
    "head: folder": ("--head", "brought"),
    "head: expected one of": ("--head", "mine"),
    "label: has no use for transcripts": ("--label", "speaker"),
    "augment: mixup and cutmix": ("--augment", "mixup", "--strategy", "lp-ft"),
    "strategy: expected one of": ("--strategy", "partial"),
    "reads a picture": ("--backbone", "efficientnet-lite0"),
    "task: 'sing' is not known": ("--task", "sing"),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_cannot_be_obeyed_is_refused(
    message: str, shell: Any, manifest: Path, listener: Path, tmp_path: Path
) -> None:
    words = {"--task": "transcribe", "--backbone": f"folder:{listener}"}
    words |= dict(zip(REFUSED[message][::2], REFUSED[message][1::2], strict=True))
    flat = [word for pair in words.items() for word in pair]
    done = shell.invoke("fit", manifest, *flat, "--out", tmp_path, "--json")
    assert done.exit_code == 2
    assert message in " ".join(shell.error(done)["messages"])
