"""export to LiteRT, Keras and TensorFlow: proven by their own runtimes, or told what is missing."""

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import regraft
from regraft.backbones import installed
from regraft.errors import BundleError, MissingExtra, UsageError
from regraft.export.formats import export_format
from regraft.model.model import Model
from regraft.verbs.deployed import LIMIT
from regraft.verbs.export import export
from regraft.verbs.fitted import Fitted

LIBRARIES = {"litert": "ai_edge_litert", "keras": "keras", "savedmodel": "tensorflow"}


def need(to: str) -> None:
    if importlib.util.find_spec(LIBRARIES[to]) is None:
        pytest.skip(f"{LIBRARIES[to]} is not installed (extra: {to})")


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("to", ["litert", "keras", "savedmodel"])
def test_pictures_go_there_and_the_example_runs(
    fitted: Fitted, photos: Path, to: str, tmp_path: Path
) -> None:
    need(to)
    proof = export(fitted.model, tmp_path / "out", to=to, examples=photos, count=6)
    assert proof["examples"] == proof["same_answers"] == 6
    assert proof["largest_difference"] <= LIMIT
    assert json.loads((tmp_path / "out" / "export.json").read_text())["batch"] == 1
    file = photos / "stripes" / "002.png"
    command = [sys.executable, str(tmp_path / "out" / "example.py"), str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    (answer,) = fitted.model.predict(file)
    _, label, probability = done.stdout.rstrip("\n").split("\t")
    assert label == answer.label
    assert float(probability) == pytest.approx(answer.probability, abs=2e-4)
    if not export_format(to).safe:
        with pytest.raises(BundleError, match="can run code"):
            Model.load(tmp_path / "out")
        return
    loaded = Model.load(tmp_path / "out")
    for one, other in zip(
        fitted.model.predict(photos / "disc"), loaded.predict(photos / "disc"), strict=True
    ):
        assert one.label == other.label
        assert abs(one.probability - other.probability) <= LIMIT
    measured = regraft.evaluate(tmp_path / "out", fitted.data.test, resamples=50).record
    ours = regraft.evaluate(fitted.model, fitted.data.test, resamples=50).record
    assert measured["confusion"] == ours["confusion"]


def test_tensorflow_reads_without_pytorch() -> None:
    modules = "regraft.model.exported, regraft.export.savedmodel"
    code = f"import sys, {modules}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize(
    ("to", "library"),
    [("litert", "ai-edge-litert"), ("keras", "keras"), ("savedmodel", "tensorflow")],
)
def test_a_missing_library_is_told_with_its_extra(
    fitted: Fitted, to: str, library: str, tmp_path: Path, monkeypatch: Any
) -> None:
    def version(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(installed, "version", version)
    with pytest.raises(MissingExtra) as caught:
        export(fitted.model, tmp_path / "out", to=to)
    assert f"{library} is not installed" in str(caught.value)
    assert f"pip install 'regraft[{to}]'" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_either_distribution_will_do_and_converters_only_write(monkeypatch: Any) -> None:
    there = {"tensorflow-cpu": "2.21.0", "ai-edge-litert": "2.3.0"}

    def version(name: str) -> str:
        if name not in there:
            raise PackageNotFoundError(name)
        return there[name]

    monkeypatch.setattr(installed, "version", version)
    assert export_format("savedmodel").versions() == {"tensorflow-cpu": "2.21.0"}
    assert export_format("litert").versions() == {"ai-edge-litert": "2.3.0"}
    with pytest.raises(MissingExtra, match=r"litert-torch is not installed.*regraft\[litert\]"):
        export_format("litert", writing=True)


def test_one_example_at_once_and_no_texts_of_any_length(
    fitted: Fitted,
    save_encoder: Callable[..., Path],
    write_sentence: Callable[[str, int], str],
    tmp_path: Path,
) -> None:
    need("keras")
    with pytest.raises(UsageError, match="batch: keras reads one example at once"):
        export(fitted.model, tmp_path / "out", to="keras", batch=4)
    table = tmp_path / "texts.csv"
    rows = [f'"{write_sentence(t, n)}",{t}' for n in range(8) for t in ("trains", "weather")]
    table.write_text("text,label\n" + "\n".join(rows) + "\n")
    network = f"folder:{save_encoder(tmp_path / 'encoder')}"
    model = regraft.fit(table, backbone=network, engine="torch", strategy=("probe",), resamples=100)
    with pytest.raises(UsageError, match="texts of any length; use onnx or openvino"):
        export(model, tmp_path / "out", to="keras")
    assert not (tmp_path / "out").exists()


def test_names_that_end_in_numbers_are_in_their_order() -> None:
    from regraft.export.wanted import by_number

    names = [f"output_{i}" for i in np.random.default_rng(0).permutation(12)]
    assert by_number(names) == [f"output_{i}" for i in range(12)]
