"""Networks of sounds: small checkpoints of each family, read as transformers itself reads them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
import transformers

from regraft.backbones.catalog import CatalogRow, catalog, families, find
from regraft.backbones.engines import ENGINES
from regraft.backbones.extractor import Extractor, extractor
from regraft.backbones.fronts import heard
from regraft.backbones.network import load_network
from regraft.backbones.parity import PARITY, difference
from regraft.backbones.readers import reader
from regraft.errors import BackboneError, UsageError
from regraft.modalities.audio import RATE
from regraft.modalities.spec import Hearing, InputSpec

Save = Callable[..., Path]
Samples = npt.NDArray[np.float32]

# Checkpoint as it is published, with the head of its training.
KINDS = (
    *("WhisperForConditionalGeneration", "Wav2Vec2ForPreTraining", "HubertModel"),
    *("WavLMForSequenceClassification", "ASTForAudioClassification"),
)
SECONDS = (0.3, 0.5, 1.2, 1.4, 0.1)


@pytest.fixture(scope="module", params=KINDS)
def folder(request: Any, save_listener: Save, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_listener(tmp_path_factory.mktemp("listener") / request.param, request.param)


@pytest.fixture(scope="module")
def row(folder: Path) -> CatalogRow:
    return find(f"folder:{folder}")


def noise(seconds: float, seed: int = 0) -> Samples:
    n = round(seconds * RATE)
    wave = np.random.default_rng(seed).normal(0, 0.1, n) * np.linspace(0, 1, n)
    return wave.astype(np.float32)


def prepared(samples: Samples) -> npt.NDArray[np.uint8]:
    return np.frombuffer(samples.tobytes(), np.uint8)


def test_it_is_described_as_a_reader_of_sounds(row: CatalogRow) -> None:
    assert row.spec.reads == families()[row.family].reads == "sound"
    assert row.spec.hears is not None
    assert row.spec.hears.front == families()[row.family].front
    assert 1 <= row.spec.size <= 30
    assert (row.min_size, row.max_size, row.size_multiple) == (1, row.spec.size, 1)
    assert row.tokenizer == ""


def test_features_are_means_of_what_transformers_calls_hidden_states(
    row: CatalogRow, folder: Path
) -> None:
    network = load_network(row)
    theirs = transformers.AutoModel.from_pretrained(folder).eval()
    theirs = getattr(theirs, "encoder", theirs) if "Whisper" in folder.name else theirs
    read, mean = reader(row.spec).open(row, row.spec), MEANS.get(row.family, _mean)
    given = torch.tensor(read(prepared(noise(2.0))))[None]  # Whisper's hears neither less nor more
    with torch.inference_mode():
        states = theirs(given, output_hidden_states=True)
        ours = network.captured(given)
    first = next(name for name in network.block_names if name.endswith("layers.0"))
    torch.testing.assert_close(ours[first], mean(states.hidden_states[1]), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(ours["last"], mean(states.last_hidden_state), rtol=1e-4, atol=1e-4)


def _mean(states: torch.Tensor) -> torch.Tensor:
    return states.mean(1)


MEANS = {"transformers-ast": lambda s: torch.cat([s[:, 0], s[:, 2:].mean(1)], 1)}


def test_engines_agree_and_nothing_depends_on_what_is_beside_it(
    row: CatalogRow, folder: Path
) -> None:
    network = load_network(row)
    sounds = [prepared(noise(s, seed)) for seed in range(3) for s in SECONDS]
    every = [name for name, kind in ENGINES.items() if kind.runs_any and kind.version()]
    for name in every if "Whisper" in folder.name else ("openvino",):
        one = extractor(row, row.spec, name)
        for sound, vector in zip(sounds, list(one.vectors(sounds)), strict=True):
            np.testing.assert_array_equal(vector, next(one.vectors([sound])))
            with torch.inference_mode():
                truth = network(torch.tensor(one.read(sound))[None])[0].numpy()
            assert difference(truth, vector, network.block_widths) <= PARITY, name


def test_it_keeps_the_names_of_the_library(row: CatalogRow, folder: Path) -> None:
    """So that what is trained and saved here can be loaded there."""
    own = load_network(row).module.state_dict()
    theirs = transformers.AutoModel.from_pretrained(folder).state_dict()
    assert own.keys() <= theirs.keys()
    assert all("decoder" in name for name in theirs.keys() - own.keys())
    families()[row.family].depth_groups(own)


# --- what is asked of one family is not asked of all ---------------------------------------------


@pytest.fixture(scope="module")
def whisper(save_listener: Save, tmp_path_factory: pytest.TempPathFactory) -> CatalogRow:
    return find(f"folder:{save_listener(tmp_path_factory.mktemp('whisper'), 'WhisperModel')}")


def test_a_short_sound_takes_the_beginning_of_the_positions(whisper: CatalogRow) -> None:
    """As a network whose table of positions is as short as the sound."""
    folder = whisper.weights.origin
    long = transformers.WhisperModel.from_pretrained(folder).encoder.eval()
    config = transformers.WhisperConfig.from_pretrained(folder)
    config.max_source_positions = 50
    short = transformers.WhisperModel(config).encoder.eval()
    state = long.state_dict()
    state["embed_positions.weight"] = state["embed_positions.weight"][:50]
    short.load_state_dict(state)
    given = torch.tensor(heard(noise(1.0), Hearing("log-mel", 80, normalise=True)))[None]
    with torch.inference_mode():
        expected = short(given).last_hidden_state.mean(1)
        found = load_network(whisper).features(given)[-1]
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_more_than_it_hears_is_cut_and_never_read_on(whisper: CatalogRow) -> None:
    read = reader(whisper.spec).open(whisper, whisper.spec)
    assert read(prepared(noise(5.0))).shape == (80, 200)
    shorter = whisper.spec.at(1)
    assert reader(shorter).open(whisper, shorter)(prepared(noise(5.0))).shape == (80, 100)
    with pytest.raises(UsageError, match="reads 1 to 2 s; got 3"):
        load_network(whisper, whisper.spec.at(3))
    with pytest.raises(ValueError, match="more than Whisper hears"):
        load_network(whisper).features(torch.zeros(1, 80, 300))


def test_a_network_with_another_decoder_is_refused(save_listener: Save, tmp_path: Path) -> None:
    folder = save_listener(tmp_path, "WhisperModel")
    path = folder / "config.json"
    config = json.loads(path.read_bytes())
    path.write_text(json.dumps(config | {"num_mel_bins": None}))
    with pytest.raises(BackboneError, match="does not say what it hears"):
        find(f"folder:{folder}")
    path.write_text(json.dumps(config | {"auto_map": {"AutoModel": "evil.Model"}}))
    with pytest.raises(BackboneError, match="remote code is never run"):
        find(f"folder:{folder}")


def test_a_checkpoint_must_say_how_it_hears(save_listener: Save, tmp_path: Path) -> None:
    folder = save_listener(tmp_path, "Wav2Vec2ForCTC")
    path = folder / "preprocessor_config.json"
    told = json.loads(path.read_bytes())
    plain = find(f"folder:{folder}").spec
    path.write_text(json.dumps(told | {"do_normalize": False}))
    other = find(f"folder:{folder}").spec
    assert plain.hears is not None
    assert other.hears is not None
    assert (plain.hears.normalise, other.hears.normalise) == (True, False)
    path.write_text(json.dumps(told | {"sampling_rate": 8000}))
    with pytest.raises(BackboneError, match="hears 8000 samples a second"):
        find(f"folder:{folder}")
    path.unlink()
    with pytest.raises(BackboneError, match=r"preprocessor_config\.json"):
        find(f"folder:{folder}")


def test_older_names_of_weights_are_understood(save_listener: Save, tmp_path: Path) -> None:
    """Published checkpoints have weight_g and weight_v where torch has parametrizations now."""
    from safetensors.torch import load_file, save_file

    folder = save_listener(tmp_path, "Wav2Vec2ForCTC")
    row = find(f"folder:{folder}")
    new = Extractor(row, row.spec, "torch").network.module.state_dict()
    state = load_file(folder / "model.safetensors")
    old = {
        name.replace("parametrizations.weight.original0", "weight_g").replace(
            "parametrizations.weight.original1", "weight_v"
        ): tensor
        for name, tensor in state.items()
    }
    assert any(name.endswith("weight_g") for name in old)
    save_file(old, folder / "model.safetensors", metadata={"format": "pt"})
    again = load_network(find(f"folder:{folder}")).module.state_dict()
    assert all(torch.equal(new[name], again[name]) for name in new)


def test_a_spec_of_sounds_is_plain_data() -> None:
    for row in catalog().values():
        if row.spec.reads == "sound":
            record = json.loads(json.dumps(row.spec.to_dict()))
            assert InputSpec.from_dict(record) == row.spec
            assert families()[row.family].reads == "sound"
    assert "hears" not in InputSpec().to_dict()


WRONG = {
    "hears.front: 'smell' is not one of": {"front": "smell"},
    "hears.bands: 0 is not a whole number from 1": {"front": "log-mel"},
    "hears.bands: 9.5 is not": {"front": "log-mel", "bands": 9.5},
    "hears.frames: -1 is not": {"front": "samples", "frames": -1},
    "are not numbers": {"front": "samples", "std": 0},
    "hears.normalise: 2 is not": {"front": "samples", "normalise": 2},
    "hears: ears: not known": {"front": "samples", "ears": 2},
    "hears.front: missing": {"bands": 80},
}


@pytest.mark.parametrize("message", WRONG)
def test_a_wrong_hearing_is_refused(message: str) -> None:
    record = {"size": 30, "reads": "sound", "hears": WRONG[message]}
    with pytest.raises(UsageError, match=message.replace("(", r"\(")):
        InputSpec.from_dict(record)


def test_hearing_goes_with_sound_only() -> None:
    for record in ({"size": 30, "reads": "sound"}, {"hears": {"front": "samples"}}):
        with pytest.raises(UsageError, match="hears: goes with reads: sound"):
            InputSpec.from_dict(record)
    with pytest.raises(UsageError, match="hears: 3 is not an object"):
        InputSpec.from_dict({"size": 30, "reads": "sound", "hears": 3})
    with pytest.raises(UsageError, match="size: 31 is not a whole number from 1 to 30"):
        find("whisper-tiny-en").spec.at(31)
