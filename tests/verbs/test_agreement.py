"""Boxes of two engines compared as sets."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from regraft.evaluation.detection import Detections
from regraft.verbs.detection.agreement import paired, set_difference

LEAST = np.array([0.3, 0.5])
LONGER, UNSURE = 100.0, 1e-4


def drawn(seed: int, count: int) -> Detections:
    """Boxes of two classes, some of them in the same place, with few different scores."""
    rng = np.random.default_rng(seed)
    low = rng.choice([5.0, 20.0, 40.0], size=(count, 2))
    boxes = np.concatenate([low, low + rng.uniform(5, 30, (count, 2))], 1)
    return Detections(boxes, rng.choice([0.1, 0.6, 0.9], count), rng.integers(0, 2, count))


def apart(ours: Detections, theirs: Detections) -> float:
    return set_difference(ours, theirs, LEAST, LONGER, UNSURE)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 12))
def test_the_order_of_boxes_means_nothing(seed: int, count: int) -> None:
    found, rng = drawn(seed, count), np.random.default_rng(seed)
    order = rng.permutation(count)
    noisy = found.boxes + rng.uniform(-1e-3, 1e-3, found.boxes.shape)
    other = Detections(noisy[order], found.scores[order] + 1e-6, found.labels[order])
    assert apart(found, other) <= 2e-5
    assert apart(other, found) <= 2e-5
    here, there = paired(found, other)
    assert sorted(here) == sorted(there) == list(range(count))


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 10**6), st.integers(1, 12), st.sampled_from(["box", "score", "label", "gone"])
)
def test_a_drift_of_what_is_reported_is_seen(seed: int, count: int, what: str) -> None:
    found = drawn(seed, count)
    found = found._replace(scores=np.full(count, 0.9) - np.arange(count) * 1e-3)
    boxes, scores, labels = (part.copy() for part in found)
    place = seed % count
    boxes[place, 2] += 5.0 * (what == "box")
    scores[place] -= 0.05 * (what == "score")
    labels[place] ^= what == "label"
    kept = np.arange(count) != (place if what == "gone" else -1)
    other = Detections(boxes[kept], scores[kept], labels[kept])
    assert apart(found, other) > 1e-2
    assert apart(other, found) > 1e-2


def test_what_is_not_reported_may_differ_and_the_edge_is_no_drift() -> None:
    box = np.array([[1.0, 1, 20, 20]])
    one, two = np.array([0]), np.array([1])
    assert apart(Detections(box, np.array([0.4]), two), Detections(box, np.array([0.1]), two)) == 0
    none = Detections(np.zeros((0, 4)), np.zeros(0), np.zeros(0, np.int64))
    on_the_edge = Detections(box, np.array([0.3 + 2e-5]), one)
    just_below = Detections(box, np.array([0.3 - 2e-5]), one)
    assert apart(on_the_edge, just_below) < UNSURE
    assert apart(on_the_edge, none) == 0
    assert apart(none, Detections(box, np.array([0.31]), one)) == np.inf
    assert apart(none, Detections(box, np.array([np.nan]), one)) == np.inf
