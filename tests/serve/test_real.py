"""The program with a real model: its answers are those of `predict`, to the last bit."""

import csv
import http.client
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import regraft
from regraft.model.offered import Offered
from regraft.model.predict import predict
from regraft.verbs.fitted import Fitted

TOPICS = ("cooking", "trains", "weather")


@pytest.fixture(scope="module")
def expected(fitted: Fitted, photos: Path) -> dict[Path, Any]:
    """What `predict` says of every picture."""
    files = sorted(photos.rglob("*.png"))
    return dict(zip(files, predict(fitted.model, files, top=2), strict=True))


def told(found: dict[str, Any]) -> tuple[Any, ...]:
    top = tuple((one["label"], one["probability"]) for one in found["top"])
    unlike = found["note"] == "unlike the training data"
    return found["label"], found["probability"], top, tuple(found["set"]), unlike


def test_64_clients_get_what_predict_says_bit_for_bit(
    real: Any, together: Any, expected: dict[Path, Any]
) -> None:
    files = [file for file in expected for _ in range(1)]

    def client(number: int) -> list[Any]:
        connection = http.client.HTTPConnection(*real.address, timeout=60)
        own = [files[(7 * number + k) % len(files)] for k in range(3)]
        found = [
            real.on(
                connection,
                "POST",
                "/v1/predict?top=2",
                file.read_bytes(),
                content_type="image/png",
            )
            for file in own
        ]
        connection.close()
        return list(zip(own, found, strict=True))

    for pairs in together(client, range(64)):
        for file, found in pairs:
            one = expected[file]
            assert found.status == 200
            assert told(found.json) == (one.label, one.probability, one.top, one.set, one.unlike)


def test_texts_that_are_answered_together_get_what_predict_says(
    start: Any,
    together: Any,
    save_encoder: Callable[..., Path],
    write_sentence: Callable[[str, int], str],
    tmp_path: Path,
) -> None:
    rows = [(write_sentence(topic, n), topic) for n in range(20) for topic in TOPICS]
    with (tmp_path / "table.csv").open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([("text", "label"), *rows])
    network: Any = f"folder:{save_encoder(tmp_path / 'encoder')}"
    settings: dict[str, Any] = {"engine": "openvino", "strategy": ("probe",), "resamples": 100}
    model = regraft.fit(tmp_path / "table.csv", backbone=network, **settings)
    bundle = model.save(tmp_path / "texts.regraft")
    Offered.open(bundle)  # here PyTorch is loaded, which converts the network
    server = start("-m", "regraft", "serve", bundle, "--port", 0)
    texts = [text for text, _ in rows]
    expected = dict(zip(texts, predict(model, tmp_path / "table.csv"), strict=True))

    def alone(text: str) -> Any:
        return server.predict(text.encode(), "?top=5", content_type="text/plain").json

    found = together(alone, texts)
    found += server.post({"texts": texts[::-1], "top": 5}).json["predictions"]
    for text, answer in zip([*texts, *texts[::-1]], found, strict=True):
        one = expected[text]
        assert told(answer) == (one.label, one.probability, one.top, one.set, one.unlike)
    assert server.stop() == 0


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"no picture", "known format"),
        (b"\x89PNG\r\n\x1a\n", "header is damaged"),
        (b"GIF89a", "header is damaged"),
    ],
)
def test_a_malformed_picture_is_422_and_names_what_is_wrong(
    real: Any, body: bytes, words: str
) -> None:
    found = real.predict(body, content_type="image/png")
    assert found.status == 422
    assert words in found.error["messages"][0]


def test_a_picture_cut_short_is_named_so(real: Any, photos: Path) -> None:
    whole = next(photos.rglob("*.png")).read_bytes()
    found = real.predict(whole[: len(whole) // 2])
    assert found.status == 422
    assert re.search("too early|damaged|gave up", found.error["messages"][0])


def test_text_is_nothing_for_a_model_of_pictures(real: Any) -> None:
    found = real.post({"text": "hello"})
    assert found.status == 422
    assert "not text" in found.error["messages"][0]


def test_it_tells_of_the_model_and_shows_its_card(real: Any) -> None:
    (model,) = real.ask("GET", "/v1/models").json["models"]
    assert model["name"] == "shapes"
    assert model["classes"] == ["disc", "square", "stripes"]
    assert model["networks"][0]["licence_weights"] == "Apache-2.0"
    card = real.ask("GET", "/v1/models/shapes/card").body.decode()
    assert card.startswith("---\n")
    assert "| Accuracy |" in card


def test_it_stops_cleanly_and_says_so(start: Any, bundle: Path) -> None:
    server = start("-m", "regraft", "serve", bundle, "--port", 0)
    assert server.ask("GET", "/readyz").json["ready"]
    os.utime(bundle)  # another date, the same content: read anew all the same
    until = time.monotonic() + 20
    while "read anew" not in server.stderr:
        assert time.monotonic() < until
        time.sleep(0.05)
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(20) == 0
    assert "Traceback" not in server.stderr


def test_neither_torch_nor_scikit_learn_is_loaded(bundle: Path, fitted: Fitted) -> None:
    """Once the engine's graph is in the cache, as after any answer on this machine."""
    Offered.open(bundle)
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from regraft.cli import serve\n"
        "from regraft.model.offered import Offered\n"
        "from regraft.serve.app import Service\n"
        f"Offered.open(Path({str(bundle)!r}))\n"
        "heavy = {'torch', 'timm', 'transformers', 'sklearn', 'scipy', 'torchvision'}\n"
        "print(*heavy & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


# --- what the command line refuses ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--host", "0.0.0.0"), "--insecure"),
        (("--host", "::"), "REGRAFT_TOKEN"),
        (("--host", "0.0.0.0", "--token", "short"), "16 or more"),
        (("--token", "with blanks in between"), "without blanks"),
        (("--host", "no.such.name.invalid", "--insecure"), "no address of this machine"),
    ],
)
def test_an_unsafe_start_is_refused(words: Any, expected: str) -> None:
    from typer.testing import CliRunner

    from regraft.cli import app

    done = CliRunner().invoke(app, ["serve", "model.regraft", *words])
    assert done.exit_code == 2
    assert expected in done.stderr


def test_wrong_models_are_told_together(bundle: Path, tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from regraft.cli import app

    (tmp_path / "no.regraft").write_bytes(b"no bundle")
    named = [f"a={bundle}", f"a={bundle}", f"b/c={bundle}", tmp_path / "no.regraft"]
    done = CliRunner().invoke(app, ["serve", "--port", "0", *map(str, named)])
    assert done.exit_code == 2
    for words in ("2 models are called 'a'", "'b/c' is no name", "no.regraft"):
        assert words in done.stderr


def test_a_port_in_use_is_told(real: Any, bundle: Path) -> None:
    from typer.testing import CliRunner

    from regraft.cli import app

    done = CliRunner().invoke(app, ["serve", str(bundle), "--port", str(real.address[1])])
    assert done.exit_code == 1
    assert "another port" in done.stderr
