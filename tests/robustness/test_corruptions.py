"""Corruptions: 15 kinds, 5 severities, repeatable, and where it is known what they do, that."""

import io

import numpy as np
import pytest
from PIL import Image

from regraft.robustness.corruptions import CORRUPTIONS, SEVERITIES, corrupted

SIDE = 128


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
    kinds = [row.kind for row in CORRUPTIONS.values()]
    assert {kind: kinds.count(kind) for kind in kinds} == {
        "noise": 3,
        "blur": 4,
        "weather": 4,
        "digital": 4,
    }
    assert all(len(row.numbers) == len(SEVERITIES) for row in CORRUPTIONS.values())


@pytest.mark.parametrize("name", CORRUPTIONS)
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
