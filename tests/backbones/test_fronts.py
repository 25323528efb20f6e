"""What networks of sounds hear, against the feature extractors of transformers."""

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from regraft.backbones.fronts import HEARD, LOUDEST, STEP, heard
from regraft.modalities.audio import RATE
from regraft.modalities.spec import FRONTS, Hearing

Samples = npt.NDArray[np.float32]
CLOSE = 1e-4
LENGTHS = (STEP, 2 * STEP, 5 * STEP)


def music(n: int, seed: int = 0) -> Samples:
    """Tones that come and go in noise, and silence at the end."""
    rng, time = np.random.default_rng(seed), np.arange(n) / RATE
    tones = [np.sin(2 * np.pi * hertz * time) * rng.uniform(0, 0.2) for hertz in (200, 900, 5000)]
    wave = np.sum(tones, 0) * np.sin(7 * time) + rng.normal(0, 0.01, n)
    wave[-n // 5 :] = 0
    return wave.astype(np.float32)


def theirs(extractor: Any, samples: Samples, **how: Any) -> npt.NDArray[np.float32]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of bands that are narrower than a line: so are ours
        found = extractor(samples, sampling_rate=RATE, return_tensors="np", **how)
    return np.asarray(next(iter(found.values()))[0])


@pytest.mark.parametrize("n", LENGTHS)
@pytest.mark.parametrize("bands", [80, 128])
def test_log_mel_is_that_of_whisper(n: int, bands: int) -> None:
    whisper = transformers.WhisperFeatureExtractor(feature_size=bands)
    expected = theirs(whisper, music(n), padding="do_not_pad")
    np.testing.assert_allclose(heard(music(n), Hearing("log-mel", bands)), expected, atol=CLOSE)


@pytest.mark.parametrize("n", [*LENGTHS, 777])
@pytest.mark.parametrize("normalise", [True, False])
def test_samples_are_those_of_wav2vec2(n: int, normalise: bool) -> None:
    wav2vec2 = transformers.Wav2Vec2FeatureExtractor(do_normalize=normalise)
    found = heard(music(n), Hearing("samples", normalise=normalise))
    np.testing.assert_allclose(found[:n], theirs(wav2vec2, music(n)), atol=CLOSE)
    assert len(found) % STEP == 0
    assert not found[n:].any()


@pytest.mark.parametrize("n", [*LENGTHS, 401, 21 * STEP])
@pytest.mark.parametrize("normalise", [True, False])
def test_filterbank_is_that_of_ast(n: int, normalise: bool) -> None:
    ast = transformers.ASTFeatureExtractor(do_normalize=normalise)
    scale = {"mean": ast.mean, "std": 2 * ast.std} if normalise else {}
    found = heard(music(n), Hearing("filterbank", 128, 1024, **scale))
    assert found.shape == (1024, 128)
    np.testing.assert_allclose(found, theirs(ast, music(n)), atol=CLOSE)


HEARINGS = {
    "samples": Hearing("samples", normalise=True),
    "log-mel": Hearing("log-mel", 80, normalise=True),
    "filterbank": Hearing("filterbank", 64, 100),
}


def test_every_front_is_tested_here() -> None:
    assert set(HEARD) == set(FRONTS) == set(HEARINGS)


@pytest.mark.parametrize("front", HEARINGS)
@settings(max_examples=40)
@given(n=st.integers(1, 3 * STEP), level=st.sampled_from([0.0, 1e-12, 1e-3, 1.0, 1e6]))
def test_every_length_and_level_is_heard(front: str, n: int, level: float) -> None:
    wave = np.float32(level) * np.random.default_rng(n).standard_normal(n).astype(np.float32)
    found = heard(wave, HEARINGS[front])
    assert found.dtype == np.float32
    assert np.isfinite(found).all()
    expected = HEARD[front].shape(HEARINGS[front])
    assert all(want in (-1, have) for want, have in zip(expected, found.shape, strict=True))


@given(gain=st.floats(0.1, 100))
def test_how_loud_it_was_does_not_count_where_it_is_evened_out(gain: float) -> None:
    for front in ("samples", "log-mel"):
        found = heard(np.float32(gain) * music(STEP), HEARINGS[front])
        np.testing.assert_allclose(found, heard(music(STEP), HEARINGS[front]), atol=0.02)
    quiet = music(STEP) * np.float32(LOUDEST / np.abs(music(STEP)).max())
    plain = heard(quiet, Hearing("log-mel", 80))
    np.testing.assert_allclose(heard(music(STEP), HEARINGS["log-mel"]), plain, atol=1e-5)
