"""Average precision equals pycocotools'; intervals, thresholds and kinds of mistakes by hand."""

import contextlib
import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from regraft.data.boxes.form import Boxes
from regraft.evaluation.detection import (
    Detections,
    average_precision,
    figures,
    matched,
    overlaps,
)
from regraft.evaluation.detection_calibration import (
    ScoreLine,
    fit_score_line,
    score_calibration,
)
from regraft.evaluation.detection_errors import KINDS, breakdown, confusion, judged
from regraft.evaluation.detection_intervals import best_threshold, curve, intervals

CLASSES = 3


def case(seed: int, pictures: int = 10) -> tuple[list[Detections], list[Boxes]]:
    """Objects of all sizes, some of them crowds, and boxes that are near, far, doubled or tied."""
    rng = np.random.default_rng(seed)
    there, found = [], []
    for _ in range(pictures):
        m, k = int(rng.integers(0, 8)), int(rng.integers(0, 30))
        corner, size = (
            rng.random((m, 2)) * 200,
            rng.random((m, 2)) * rng.choice([20, 60, 150], (m, 1)),
        )
        boxes = np.hstack([corner, corner + size + 1])
        crowd = rng.random(m) < 0.15
        there.append(Boxes.of(boxes, rng.integers(0, CLASSES, m), (400, 400), crowd))
        far = np.hstack([corner := rng.random((k, 2)) * 200, corner + rng.random((k, 2)) * 100 + 1])
        near = boxes[rng.integers(0, m, k)] + rng.normal(0, 6, (k, 4)) if m else far
        own = np.where(rng.random((k, 1)) < 0.6, near, far)
        low, high = np.minimum(own[:, :2], own[:, 2:]), np.maximum(own[:, :2], own[:, 2:])
        scores = np.round(rng.random(k), 2)
        order = np.argsort(-scores, kind="stable")
        labels = rng.integers(0, CLASSES, k)[order]
        found.append(Detections(np.hstack([low, high + 0.5])[order], scores[order], labels))
    return found, there


def reference(found: list[Detections], there: list[Boxes]) -> Any:
    """The twelve figures of pycocotools, -1 where there are none."""
    coco_module = pytest.importorskip("pycocotools.coco")
    from pycocotools.cocoeval import COCOeval

    def xywh(b: Any) -> list[float]:
        return [b[0], b[1], b[2] - b[0], b[3] - b[1]]

    annotations: list[dict[str, Any]] = []
    answers = []
    for i, (f, t) in enumerate(zip(found, there, strict=True), 1):
        for box, label, crowd in zip(t.xyxy.tolist(), t.labels, t.crowd, strict=True):
            one = {"id": len(annotations) + 1, "image_id": i, "category_id": int(label) + 1}
            area = (box[2] - box[0]) * (box[3] - box[1])
            annotations.append({**one, "bbox": xywh(box), "area": area, "iscrowd": int(crowd)})
        for box, score, label in zip(f.boxes.tolist(), f.scores, f.labels, strict=True):
            one = {"image_id": i, "category_id": int(label) + 1, "bbox": xywh(box)}
            answers.append({**one, "score": float(score)})
    with contextlib.redirect_stdout(io.StringIO()):
        coco = coco_module.COCO()
        coco.dataset = {
            "images": [{"id": i + 1} for i in range(len(there))],
            "annotations": annotations,
            "categories": [{"id": c + 1} for c in range(CLASSES)],
        }
        coco.createIndex()
        run = COCOeval(coco, coco.loadRes(answers), "bbox")
        run.evaluate()
        run.accumulate()
        run.summarize()
    return run.stats


@pytest.mark.parametrize("seed", range(12))
def test_all_twelve_figures_equal_pycocotools(seed: int) -> None:
    found, there = case(seed)
    told, _ = figures(found, there, CLASSES)
    ours = [-1 if value is None else value for value in told.values()]
    np.testing.assert_allclose(ours, reference(found, there), atol=1e-9)


def test_overlap_with_a_crowd_is_the_share_of_the_box_found() -> None:
    box, crowd = np.array([[0.0, 0, 10, 10]]), np.array([[0.0, 0, 100, 100]])
    assert overlaps(box, crowd)[0, 0] == pytest.approx(0.01)
    assert overlaps(box, crowd, np.array([True]))[0, 0] == 1
    assert overlaps(box, np.array([[20.0, 20, 20, 20]]))[0, 0] == 0


def one_picture(*objects: tuple[float, ...], labels: Any = None) -> Boxes:
    return Boxes.of(objects, labels or [0] * len(objects), (100, 100))


def boxes(*rows: tuple[float, ...]) -> Detections:
    """(left, top, right, bottom, score, label)"""
    table = np.array(rows, float).reshape(-1, 6)
    return Detections(table[:, :4], table[:, 4], table[:, 5].astype(np.int64))


def test_nothing_there_and_nothing_found_have_no_figure() -> None:
    told, whole = figures([boxes()], [one_picture()], 1)
    assert set(told.values()) == {None}
    assert best_threshold(whole.matches[0]) is None
    told, _ = figures([boxes()], [one_picture((0, 0, 50, 50))], 1)
    assert told["map"] == told["ar100"] == 0


@given(st.integers(0, 10_000))
def test_figures_are_shares_and_the_order_of_pictures_counts_for_nothing(seed: int) -> None:
    found, there = case(seed, 4)
    scores = np.linspace(0.9, 0.1, sum(len(f.scores) for f in found))
    cuts = np.cumsum([0, *(len(f.scores) for f in found)])
    found = [f._replace(scores=scores[a:b]) for f, a, b in zip(found, cuts, cuts[1:], strict=False)]
    one = average_precision(found, there, CLASSES)
    other = average_precision(found[::-1], there[::-1], CLASSES)
    assert one.map == pytest.approx(other.map)
    assert one.map is None or 0 <= one.map <= one.map50 <= 1


def test_difficult_objects_neither_help_nor_harm() -> None:
    plain = one_picture((0, 0, 20, 20))
    hard = Boxes.of([(0, 0, 20, 20), (50, 50, 90, 90)], [0, 0], (100, 100), None, [0, 1])
    found = boxes((50, 50, 90, 90, 0.9, 0), (0, 0, 20, 20, 0.8, 0))
    assert average_precision([found], [hard], 1).map == pytest.approx(1)
    assert average_precision([found], [plain], 1).map == pytest.approx(0.5, abs=0.01)


def test_intervals_hold_the_figure_and_shrink_with_more_pictures() -> None:
    found, there = case(5, 40)
    whole = average_precision(found, there, CLASSES)
    low, high = intervals(whole, 40, resamples=100)["map"]
    assert low <= (whole.map or 0) <= high
    few = average_precision(found[:8], there[:8], CLASSES)
    a, b = intervals(few, 8, resamples=100)["map"]
    assert high - low < b - a
    assert intervals(few, 8, resamples=100) == intervals(few, 8, resamples=100)
    assert intervals(average_precision(found[:1], there[:1], CLASSES), 1)["map"] is None


def test_the_weights_of_a_resample_are_copies_of_pictures() -> None:
    found, there = case(7, 5)
    weights = np.array([2.0, 0, 1, 1, 1])
    copied = [0, 0, 2, 3, 4]
    one = matched(found, there, 0).precision(weights)
    other = matched([found[i] for i in copied], [there[i] for i in copied], 0).precision()
    assert one is not None
    assert other is not None
    np.testing.assert_allclose(one.mean(), other.mean(), atol=0.02)


def test_the_best_threshold_parts_right_from_wrong() -> None:
    there = [one_picture((0, 0, 20, 20)) for _ in range(6)]
    found = [boxes((0, 0, 20, 20, 0.8, 0), (50, 50, 70, 70, 0.3, 0)) for _ in range(6)]
    best = best_threshold(average_precision(found, there, 1).matches[0])
    assert best is not None
    assert (best.score, best.precision, best.recall, best.f1) == (0.8, 1, 1, 1)
    assert (best.low, best.high) == (0.8, 0.8)
    points = list(curve(average_precision(found, there, 1).matches[0]))
    assert points[0] == (0.0, 1.0)
    assert len(points) == 101


# Mistakes ----------------------------------------------------------------------------------------

OBJECT = (20.0, 20.0, 60.0, 60.0)
MISTAKES = {
    "class": ((20, 20, 60, 60, 0.9, 1), 1, ()),
    "place": ((40, 20, 80, 60, 0.9, 0), 1, ()),
    "both": ((40, 20, 80, 60, 0.9, 1), 1, (0,)),
    "background": ((80, 80, 99, 99, 0.9, 0), 1, (0,)),
    "duplicate": ((20, 20, 60, 62, 0.5, 0), 2, ()),
}


@pytest.mark.parametrize("kind", MISTAKES)
def test_each_kind_of_mistake_is_told(kind: str) -> None:
    row, n, missed = MISTAKES[kind]
    rows = [row] if n == 1 else [(*OBJECT, 0.9, 0), row]
    there = Boxes.of([OBJECT], [0], (100, 100))
    one = judged(boxes(*rows), there)
    assert one.kinds[-1] == kind
    assert one.missed == missed


def test_mending_a_kind_gains_what_it_costs() -> None:
    there = [Boxes.of([OBJECT, (70, 70, 95, 95)], [0, 1], (100, 100)) for _ in range(4)]
    found = [boxes((20, 20, 60, 60, 0.9, 1), (70, 70, 95, 95, 0.8, 1)) for _ in range(4)]
    lost = breakdown(found, there, 2)
    assert list(lost) == list(KINDS)
    assert lost["class"] == {"count": 4, "lost": pytest.approx(0.75, abs=0.01)}
    assert all(lost[kind]["lost"] == 0 for kind in ("place", "both", "duplicate", "background"))
    misses = breakdown([boxes()] * 4, there, 2)
    assert misses["missed"]["count"] == 8


@given(st.integers(0, 10_000))
def test_no_mending_makes_anything_worse(seed: int) -> None:
    lost = breakdown(*case(seed, 3), CLASSES)
    assert min(row["lost"] for row in lost.values()) >= -1e-9


def test_the_confusion_has_a_background() -> None:
    there = [Boxes.of([OBJECT, (70, 70, 95, 95)], [0, 1], (100, 100))]
    found = [boxes((20, 20, 60, 60, 0.9, 1), (1, 1, 9, 9, 0.8, 0))]
    assert confusion(found, there, 2) == [[0, 1, 0], [0, 0, 1], [1, 0, 0]]


# Scores that say how often boxes are right -------------------------------------------------------


def test_a_line_makes_scores_honest_and_leaves_every_figure() -> None:
    """Boxes of overdone scores: right with probability score², of two classes."""
    rng = np.random.default_rng(0)
    found, there = [], []
    for _ in range(150):
        scores = np.sort(rng.uniform(0.05, 0.99, 4))[::-1]
        boxes = np.array([[40.0 * i, 0, 40 * i + 20, 20] for i in range(4)])
        labels = rng.integers(0, 2, 4)
        right = rng.random(4) < scores**2
        found.append(Detections(boxes, scores, labels))
        there.append(Boxes.of(boxes[right], labels[right].tolist(), (200, 60)))
    before = average_precision(found, there, 2)
    line = fit_score_line(before.matches)
    after = average_precision([line(f) for f in found], there, 2)
    assert after.map == before.map
    gaps = [score_calibration(one.matches)["ece"] for one in (before, after)]
    assert gaps[1] < 0.05 < 0.12 < gaps[0]
    rows = score_calibration(after.matches)["bins"]
    assert sum(row["count"] for row in rows) == 600
    few = average_precision(found[:3], there[:3], 2)
    assert fit_score_line(few.matches) == ScoreLine()
    assert ScoreLine()(found[0]) is found[0]
