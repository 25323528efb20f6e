"""Parts of a picture: all of it is seen, and what several have found is there once."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from regraft.evaluation.detection import Detections
from regraft.tasks.detection.tiling import MOST_TILES, merged, regions

SIZES = st.integers(20, 900)


@given(SIZES, SIZES, st.integers(1, MOST_TILES))
def test_parts_cover_the_picture_and_are_of_one_size(width: int, height: int, tiles: int) -> None:
    found = regions((width, height), tiles)
    assert found[0] == (0, 0, width, height)
    assert len(found) == (1 if tiles == 1 else 1 + tiles**2)
    seen = np.zeros((height, width), int)
    for left, top, right, low in found[1:]:
        assert 0 <= left < right <= width
        assert 0 <= top < low <= height
        seen[top:low, left:right] += 1
    assert tiles == 1 or seen.min() >= 1
    assert len({(b - a, d - c) for a, c, b, d in found[1:]}) <= 1


@given(st.integers(0, 1000), st.integers(2, 4))
def test_objects_are_found_once_and_where_they_are(seed: int, tiles: int) -> None:
    """Each part finds what it sees of each object, as a perfect detector would."""
    rng, size = np.random.default_rng(seed), (400, 300)
    low = np.array([[50.0 * i, 60.0 * (i % 4)] for i in range(7)]) + rng.uniform(0, 15, (7, 2))
    there = np.hstack([low, low + rng.uniform(8, 30, (7, 2))])
    parts, where = [], regions(size, tiles)
    for left, top, right, bottom in where:
        cut = np.clip(there, [left, top] * 2, [right, bottom] * 2)
        seen = (cut[:, 2:] > cut[:, :2]).all(1)
        own = cut[seen] - [left, top, left, top]
        parts.append(Detections(own, rng.uniform(0.5, 1, seen.sum()), np.flatnonzero(seen)))
    found = merged(parts, where, size)
    assert sorted(found.labels.tolist()) == list(range(7))
    assert (np.diff(found.scores) <= 0).all()
    np.testing.assert_allclose(found.boxes[np.argsort(found.labels)], there)


def test_one_part_is_the_picture() -> None:
    found = Detections(np.array([[0.0, 0, 4, 4]]), np.array([0.5]), np.array([0]))
    assert merged([found], regions((4, 4), 1), (4, 4)) is found


@pytest.mark.parametrize("zoom", [1.0, 2.0])
def test_training_sees_parts_as_large_as_prediction_does(zoom: float) -> None:
    from regraft.data.boxes.composed import composed
    from regraft.modalities.spec import InputSpec
    from regraft.tasks.detection.augment import augmented
    from regraft.tasks.detection.frames import detection_spec

    spec = detection_spec(InputSpec(), (96, 128))
    picture, boxes = composed(3, 1)
    whole = boxes.xyxy[:, 2:] - boxes.xyxy[:, :2]
    for seed in range(100):
        _, truth = augmented(picture, boxes, spec, {}, np.random.default_rng(seed), zoom)
        sides = (truth.boxes[:, 2:] - truth.boxes[:, :2]).numpy()
        assert (sides <= zoom * whole.max() + 1).all()
        away = np.abs(sides[:, None] - zoom * whole[None]).max(2)
        if (away < 1).any():
            return
    pytest.fail("no object was seen in that size")
