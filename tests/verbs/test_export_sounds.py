"""export of networks that read sound: recordings of any length, from raw bytes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import regraft
from regraft.model.model import Model
from regraft.verbs.deployed import LIMIT
from regraft.verbs.export import export

soundfile = pytest.importorskip("soundfile", reason="soundfile is not installed")
HERTZ = {"high": 2400, "low": 300}


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten tones of each of two heights, from 0.2 to 1.6 seconds."""
    folder = tmp_path_factory.mktemp("sounds")
    for name, hertz in HERTZ.items():
        (folder / name).mkdir()
        for number in range(10):
            rng = np.random.default_rng([number, hertz])
            time = np.arange(round(rng.uniform(0.2, 1.6) * 8000)) / 8000
            wave = 0.3 * np.sin(2 * np.pi * hertz * time) + rng.normal(0, 0.1, len(time))
            soundfile.write(folder / name / f"{number}.wav", wave, 8000)
    return folder


@pytest.mark.parametrize(("kind", "to"), [("WhisperModel", "onnx"), ("Wav2Vec2Model", "openvino")])
def test_sounds_of_any_length_go_there_and_back(
    sounds: Path, save_listener: Callable[..., Path], kind: str, to: str, tmp_path: Path
) -> None:
    network: Any = f"folder:{save_listener(tmp_path / 'listener', kind)}"
    settings = {"strategy": ("probe",), "resamples": 100}
    model = regraft.fit(sounds, backbone=network, engine="torch", **settings)
    proof = export(model, tmp_path / "out", to=to)
    assert proof["examples"] == proof["same_answers"] == 20
    assert proof["largest_difference"] <= LIMIT
    ours, theirs = model.predict(sounds), Model.load(tmp_path / "out").predict(sounds)
    for one, other in zip(ours, theirs, strict=True):
        assert (one.label, one.set) == (other.label, other.set)
        assert abs(one.probability - other.probability) <= LIMIT
