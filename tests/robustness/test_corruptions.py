"""Corruptions: each at 5 severities, repeatable, and where it is known what they do, that."""

import io

import numpy as np
import pytest
from PIL import Image

from regraft.modalities.audio import Sound
from regraft.modalities.samples import RATE
from regraft.robustness.corruptions import CORRUPTIONS, SEVERITIES, corrupted, rows_of

SIDE = 128
PICTURES, SOUNDS, TEXTS = ([row.name for row in rows_of(of)] for of in ("image", "audio", "text"))


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    """Clouds with detail of all sizes, as photographs have."""
    walk = np.random.default_rng(3).normal(size=(SIDE, SIDE, 3)).cumsum(0).cumsum(1)
    walk += 3 * np.random.default_rng(4).normal(size=walk.shape).cumsum(1)
    low, high = walk.min((0, 1)), walk.max((0, 1))
    return np.asarray((20 + 215 * (walk - low) / (high - low)).round(), np.uint8)


def changed(picture: np.ndarray, name: str, severity: int, seed: int = 0) -> np.ndarray:
    return corrupted(picture, name, severity, np.random.default_rng(seed))


def test_there_are_fifteen_of_four_kinds() -> None:
    kinds = [row.kind for row in rows_of("image")]
    assert {kind: kinds.count(kind) for kind in kinds} == {
        "noise": 3,
        "blur": 4,
        "weather": 4,
        "digital": 4,
    }
    assert all(len(row.numbers) == len(SEVERITIES) for row in CORRUPTIONS.values())


@pytest.mark.parametrize("name", PICTURES)
def test_each_changes_a_picture_repeatably_and_the_severest_most(
    name: str, picture: np.ndarray
) -> None:
    before = picture.copy()
    found = [changed(picture, name, severity) for severity in (1, 5)]
    assert all(one.shape == picture.shape and one.dtype == np.uint8 for one in found)
    far = [np.abs(one.astype(float) - picture).mean() for one in found]
    assert far[0] > 0.5
    assert far[1] > far[0] or name == "elastic transform"  # its severities differ in kind
    assert np.array_equal(changed(picture, name, 1), found[0])
    assert np.array_equal(picture, before)


@pytest.mark.parametrize("name", ["gaussian noise", "glass blur", "snow", "frost", "fog"])
def test_other_random_numbers_give_another_picture(name: str, picture: np.ndarray) -> None:
    assert not np.array_equal(changed(picture, name, 2, 0), changed(picture, name, 2, 1))


def test_noise_is_as_strong_as_it_is_told() -> None:
    grey = np.full((200, 200, 3), 128, np.uint8)
    noise = changed(grey, "gaussian noise", 1) / 255 - 128 / 255
    assert noise.std() == pytest.approx(0.08, rel=0.02)
    share = np.isin(changed(grey, "impulse noise", 3), (0, 255)).mean()
    assert share == pytest.approx(0.09, rel=0.05)
    shot = changed(grey, "shot noise", 2) / 255
    assert shot.std() == pytest.approx(np.sqrt(0.5 / 25), rel=0.05)


def test_digital_ones_are_what_they_are_called(picture: np.ndarray) -> None:
    mean = picture.mean((0, 1))
    expected = ((picture - mean) * 0.4 + mean).round()
    assert np.abs(changed(picture, "contrast", 1) - expected).max() <= 1
    out = io.BytesIO()
    Image.fromarray(picture).save(out, "JPEG", quality=25)
    assert np.array_equal(changed(picture, "jpeg compression", 1), np.asarray(Image.open(out)))
    brighter = changed(picture, "brightness", 2).max(-1).astype(int)
    assert np.abs(brighter - np.minimum(picture.max(-1).astype(int) + 51, 255)).max() <= 1


@pytest.mark.parametrize("name", ["defocus blur", "motion blur", "zoom blur", "glass blur"])
def test_blurs_keep_the_brightness_of_an_even_picture(name: str) -> None:
    even = np.full((48, 48, 3), (50, 120, 200), np.uint8)
    assert np.abs(changed(even, name, 3).astype(int) - even).max() <= 1


@pytest.fixture(scope="module")
def sound() -> Sound:
    """A second of two tones and their noise, not at full scale."""
    time = np.arange(RATE) / RATE
    tones = 0.3 * np.sin(2 * np.pi * 300 * time) + 0.1 * np.sin(2 * np.pi * 5000 * time)
    hiss = np.random.default_rng(0).normal(0, 0.01, RATE)
    return Sound((tones + hiss).astype(np.float32))


def heard(sound: Sound, name: str, severity: int, seed: int = 0) -> np.ndarray:
    return np.asarray(corrupted(sound, name, severity, np.random.default_rng(seed)).samples)


@pytest.mark.parametrize("name", SOUNDS)
def test_recordings_get_worse_and_stay_as_long(sound: Sound, name: str) -> None:
    changed = [heard(sound, name, severity) for severity in SEVERITIES]
    assert all(one.shape == sound.samples.shape and one.dtype == np.float32 for one in changed)
    assert np.array_equal(changed[2], heard(sound, name, 3))
    assert all(np.isfinite(one).all() for one in changed)
    own, *spectra = (np.abs(np.fft.rfft(one)) for one in (sound.samples, *changed))
    away = [float(np.abs(spectrum - own).sum()) for spectrum in spectra]
    assert 0 < away[0] <= 1.3 * away[-1]
    silence = Sound(np.zeros(700, np.float32), whole=np.zeros(900, np.float32))
    made = corrupted(silence, name, 5, np.random.default_rng(0))
    assert np.isfinite(made.samples).all()
    assert len(made.whole) == 900


@pytest.mark.parametrize(("severity", "ratio"), [(1, 20), (3, 10), (5, 0)])
@pytest.mark.parametrize("name", ["white noise", "pink noise", "hum"])
def test_noise_has_the_ratio_that_is_told(
    sound: Sound, name: str, severity: int, ratio: float
) -> None:
    noise = heard(sound, name, severity) - sound.samples
    found = 20 * np.log10(sound.samples.std() / np.sqrt(np.mean(noise**2)))
    assert found == pytest.approx(ratio, abs=0.05)


def test_bands_levels_and_gaps_are_what_they_are_called(sound: Sound) -> None:
    def tone(samples: np.ndarray, hertz: int) -> float:
        return float(np.abs(np.fft.rfft(samples))[hertz] / (RATE / 2))

    low, high = heard(sound, "low-pass", 3), heard(sound, "high-pass", 4)
    assert tone(low, 300) > 0.29
    assert tone(low, 5000) < 1e-3
    assert tone(high, 5000) > 0.09
    assert tone(high, 300) < 1e-3
    assert np.abs(heard(sound, "quiet", 1) * 10 - sound.samples).max() < 10 / 2**15
    clipped, most = heard(sound, "clipping", 4), np.quantile(np.abs(sound.samples), 0.75)
    assert np.abs(clipped).max() == pytest.approx(most, rel=1e-4)
    lost = heard(sound, "packet loss", 5).reshape(-1, RATE // 50) == 0
    assert set(lost.mean(1)) == {0.0, 1.0}
    assert lost.mean() == pytest.approx(0.45, abs=0.2)
    faster = heard(sound, "speed", 2)  # by a tenth: its tone too, and silence after it
    assert (faster[round(RATE / 1.1) + 2 :] == 0).all()
    assert tone(faster, 330) > 5 * tone(faster, 300)


TEXT = (
    "The quick brown fox jumps over the lazy dogs, and Zoë pays 150 euros to cross 8 borders. " * 5
)


def worse(text: str, name: str, severity: int, seed: int = 0) -> str:
    return str(corrupted(text, name, severity, np.random.default_rng(seed)))


@pytest.mark.parametrize("name", TEXTS)
def test_texts_get_worse_and_are_never_empty(name: str) -> None:
    from difflib import SequenceMatcher

    changed = [worse(TEXT, name, severity) for severity in SEVERITIES]
    assert changed[2] == worse(TEXT, name, 3)
    same = [SequenceMatcher(None, TEXT, one, autojunk=False).ratio() for one in changed]
    assert 1 > same[0] > same[-1]
    assert all(worse(text, name, 5).strip() for text in ("a", "?", "Ж", "no way"))


def test_misspelt_texts_are_as_is_told() -> None:
    from regraft.robustness.worse_texts import NEAR

    assert set(NEAR["s"]) == set("waedzx")
    plain = TEXT.strip()
    typed = worse(plain, "typos", 5)
    pairs = [(a, b) for a, b in zip(plain, typed, strict=True) if a != b]
    assert 0.15 < len(pairs) / sum(c.isalpha() for c in plain) < 0.35
    assert all(b.lower() in NEAR[a.lower()] and a.isupper() == b.isupper() for a, b in pairs)
    swapped = worse(plain, "swapped characters", 5).split()
    for before, after in zip(plain.split(), swapped, strict=True):
        assert sorted(before) == sorted(after)
        assert before[0] == after[0]
    assert worse(plain, "case", 5) == plain.swapcase()
    assert sorted(worse(plain, "swapped words", 5).split()) == sorted(plain.split())
    assert not set(worse(plain, "missing punctuation", 5)) & set(".,")
    assert plain.startswith(worse(plain, "missing end", 3))
    assert len(worse(plain, "missing end", 3).split()) == round(0.7 * len(plain.split()))
    assert "rn" in worse("hm m mm mmm", "misread characters", 5)
