"""The parts of a detector, against torchvision's own where it has them."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from regraft.backbones.catalog import find
from regraft.data.boxes.composed import SHAPES, composed
from regraft.data.boxes.form import Boxes
from regraft.errors import UsageError
from regraft.evaluation.detection import Detections
from regraft.modalities import modality
from regraft.modalities.spec import InputSpec
from regraft.tasks.detection.anchors import Anchors, fitted, kmeans, usual
from regraft.tasks.detection.augment import augmented, drawn, parse, truth_of
from regraft.tasks.detection.decoding import USUAL, Decoding, found_among, inside
from regraft.tasks.detection.frames import detection_spec, frame, rectangle
from regraft.tasks.detection.loss import BOX_LOSSES, DetectionLoss
from regraft.tasks.detection.mosaic import mosaic
from regraft.tasks.detection.network import detector, unfit
from regraft.tasks.detection.targets import NONE, UNSURE, Truth, assigned, decoded, encoded, iou

SPEC = detection_spec(InputSpec(), (96, 128))
STRIDES = (8, 16, 32)


def random_boxes(n: int, seed: int, most: float = 100.0) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    low = rng.random((n, 2)) * most
    return torch.from_numpy(np.hstack([low, low + rng.random((n, 2)) * 50 + 2])).float()


# Anchors -----------------------------------------------------------------------------------------


def test_anchors_are_torchvisions_but_for_half_a_stride() -> None:
    from torchvision.models.detection.anchor_utils import AnchorGenerator

    shapes = (((16.0, 16.0), (32.0, 16.0)), ((32.0, 32.0), (64.0, 32.0)))
    ours = Anchors((8, 16), shapes).boxes([(3, 4), (2, 2)])
    made = AnchorGenerator(((8,), (8,)), ((1.0,), (1.0,)))
    half = [torch.tensor(s) / 2 for s in shapes]
    made.cell_anchors = [torch.cat([-h, h], 1) for h in half]
    theirs = torch.cat(
        made.grid_anchors([[3, 4], [2, 2]], [[torch.tensor(8)] * 2, [torch.tensor(16)] * 2])
    )
    shift = torch.cat([torch.full((24, 1), 4.0), torch.full((8, 1), 8.0)])
    torch.testing.assert_close(ours, theirs + shift)


def test_fitted_anchors_overlap_the_boxes_better_than_usual_ones() -> None:
    rng = np.random.default_rng(0)
    sizes = np.concatenate([rng.normal((20, 12), 2, (200, 2)), rng.normal((90, 140), 9, (200, 2))])

    def best(anchors: Anchors) -> float:
        shapes = np.array([shape for level in anchors.shapes for shape in level])
        inner = np.minimum(sizes[:, None], shapes[None]).prod(2)
        union = sizes.prod(1)[:, None] + shapes.prod(1)[None] - inner
        return float((inner / union).max(1).mean())

    assert best(fitted(sizes, STRIDES)) > best(usual(STRIDES)) + 0.1
    assert fitted(sizes[:5], STRIDES) == usual(STRIDES)
    assert Anchors.from_dict(fitted(sizes, STRIDES).to_dict()) == fitted(sizes, STRIDES)


@given(st.integers(1, 60), st.integers(0, 1000))
def test_kmeans_gives_shapes_within_those_of_the_data(n: int, seed: int) -> None:
    sizes = np.random.default_rng(seed).uniform(1, 100, (n, 2))
    centres = kmeans(sizes, 3)
    assert centres.shape == (3, 2)
    assert (centres >= sizes.min(0)).all()
    assert (centres <= sizes.max(0)).all()


# Targets and losses ------------------------------------------------------------------------------


def test_steps_are_those_of_torchvisions_coder_and_lead_back() -> None:
    from torchvision.models.detection._utils import BoxCoder

    boxes, anchors = random_boxes(50, 1), random_boxes(50, 2)
    steps = encoded(boxes, anchors)
    torch.testing.assert_close(steps, BoxCoder((1.0,) * 4).encode_single(boxes, anchors))
    torch.testing.assert_close(decoded(steps, anchors), boxes, atol=1e-3, rtol=1e-4)


def test_assignment_is_torchvisions() -> None:
    from torchvision.models.detection._utils import Matcher

    boxes, anchors = random_boxes(9, 3), random_boxes(400, 4)
    theirs = Matcher(0.5, 0.4, allow_low_quality_matches=True)(iou(boxes, anchors))
    ours = assigned(anchors, Truth(boxes, torch.zeros(9).long(), torch.zeros(0, 4)))
    assert (ours >= 0).sum() >= 9 - 1
    differing = (ours != theirs).sum()  # an object that shares its best anchor with another
    assert differing <= 2


def test_in_ignored_regions_nothing_is_background() -> None:
    anchors = torch.tensor([[0.0, 0, 10, 10], [40, 40, 50, 50], [45, 40, 65, 50]])
    none = torch.zeros(0, 4)
    truth = Truth(none, torch.zeros(0).long(), torch.tensor([[30.0, 30, 60, 60]]))
    assert assigned(anchors, truth).tolist() == [NONE, UNSURE, UNSURE]
    assert assigned(anchors, truth._replace(ignored=none)).tolist() == [NONE] * 3


@pytest.mark.parametrize("box", BOX_LOSSES)
def test_the_loss_falls_as_the_outputs_come_near_the_truth(box: str) -> None:
    anchors = usual(STRIDES).boxes([(12, 16), (6, 8), (3, 4)])
    truth = Truth(torch.tensor([[20.0, 20, 60, 60]]), torch.tensor([1]), torch.zeros(0, 4))
    own = assigned(anchors, truth) == 0
    right = torch.full((1, len(anchors), 6), -6.0)
    right[0, :, 2:] = 0
    right[0, own, 1] = 6.0
    right[0, own, 2:] = encoded(truth.boxes.expand(int(own.sum()), 4), anchors[own])
    loss = DetectionLoss(anchors, 2, box)
    blank = torch.zeros(1, len(anchors), 6)
    assert loss(right, [truth])[0] < 0.02 < loss(blank, [truth])[0]


@pytest.mark.parametrize("box", BOX_LOSSES)
def test_a_picture_without_objects_has_a_finite_loss_and_gradient(box: str) -> None:
    anchors = usual(STRIDES).boxes([(4, 4), (2, 2), (1, 1)])
    outputs = torch.randn(2, len(anchors), 7, requires_grad=True)
    empty = Truth(torch.zeros(0, 4), torch.zeros(0).long(), torch.zeros(0, 4))
    full = Truth(random_boxes(3, 5, 20), torch.tensor([0, 1, 2]), torch.zeros(0, 4))
    DetectionLoss(anchors, 3, box)(outputs, [empty, full]).sum().backward()
    assert outputs.grad is not None
    assert torch.isfinite(outputs.grad).all()


# Decoding, frames --------------------------------------------------------------------------------


def found_in(output: torch.Tensor, placed: torch.Tensor, how: Decoding = USUAL) -> Detections:
    """Of three classes' logits and steps, on three maps."""
    boxes = inside(decoded(output[:, 3:], placed), (96, 128))
    return found_among(torch.sigmoid(output[:, :3]), boxes, [576, 144, 36], how)


def test_what_is_encoded_is_found_again_once() -> None:
    anchors = usual(STRIDES)
    placed = anchors.boxes([(12, 16), (6, 8), (3, 4)])
    boxes = torch.tensor([[20.0, 20, 60, 60], [70, 10, 110, 80]])
    output = torch.full((len(placed), 7), -8.0)
    output[:, 3:] = 0
    for label, box in enumerate(boxes):
        near = iou(box[None], placed)[0] > 0.4
        output[near, label] = 3.0
        output[near, 3:] = encoded(box.expand(int(near.sum()), 4), placed[near])
    found = found_in(output, placed)
    assert found.labels.tolist() == [0, 1] or found.labels.tolist() == [1, 0]
    order = np.argsort(found.labels)
    np.testing.assert_allclose(found.boxes[order], boxes, atol=0.1)
    nothing = found_in(torch.full_like(output, -9.0), placed)
    assert nothing.boxes.shape == (0, 4)
    most = found_in(torch.randn_like(output), placed, Decoding(most=5))
    assert len(most.scores) == 5
    assert (np.diff(most.scores) <= 0).all()


@given(st.integers(8, 900), st.integers(8, 900))
def test_a_frame_leads_in_and_out_again(width: int, height: int) -> None:
    inner = frame((width, height), SPEC)
    corners = np.array([[0.0, 0, width, height], [1, 2, 7, 8]])
    seen = inner.inwards(corners)
    assert seen.min() >= -1e-9
    assert (seen[0] <= np.array([128, 96, 128, 96]) + 1e-9).all()
    np.testing.assert_allclose(inner.outwards(seen, (width, height)), corners, atol=1e-6)


def test_the_rectangle_is_near_the_pictures() -> None:
    assert rectangle([(640, 480)] * 3, 416) == (320, 416)
    assert rectangle([(480, 640)], 416) == (416, 320)
    assert rectangle([(500, 500), (1000, 990)], 256) == (256, 256)
    assert rectangle([(1000, 10)], 320) == (32, 320)


def test_a_spec_with_a_rectangle_goes_through_json_and_is_checked() -> None:
    assert InputSpec.from_dict(SPEC.to_dict()) == SPEC
    assert InputSpec.from_dict({**SPEC.to_dict(), "shape": [96, 128]}) == SPEC
    assert "shape" not in InputSpec().to_dict()
    for wrong in ((96,), (96, 120), (4, 128), "ab"):
        with pytest.raises(UsageError, match="shape"):
            InputSpec.from_dict({**SPEC.to_dict(), "shape": wrong})
    with pytest.raises(UsageError, match="shape"):
        InputSpec(size=128, shape=(96, 128))  # which is cropped


# Augmentation ------------------------------------------------------------------------------------


def test_without_augmentation_training_sees_what_prediction_sees() -> None:
    kind = modality("image")
    for size in ((128, 96), (200, 60), (31, 77)):
        picture, boxes = composed(4, 1, size) if min(size) > 50 else composed(4, 1, (128, 96))
        picture = picture.resize(size)
        boxes = Boxes.of(boxes.xyxy * 0 + [1, 2, 9, 12], boxes.labels, size)
        pixels, truth = augmented(picture, boxes, SPEC, {}, np.random.default_rng(0))
        assert np.array_equal(pixels, kind.prepare(picture, SPEC, "centre"))
        np.testing.assert_allclose(truth.boxes, frame(size, SPEC).inwards(boxes.xyxy), atol=1e-3)


@pytest.mark.parametrize("seed", range(6))
def test_boxes_move_with_the_pixels(seed: int) -> None:
    """A white square on black is where its box says, whatever was done to the picture."""
    from PIL import Image

    picture = Image.new("RGB", (128, 96))
    picture.paste((255, 255, 255), (40, 30, 72, 62))
    boxes = Boxes.of([[40, 30, 72, 62]], [0], (128, 96))
    wanted = parse("flip,flip-vertical,scale=0.8")
    spec = InputSpec(**{**SPEC.to_dict(), "mean": (0.0, 0.0, 0.0), "shape": (96, 128)})
    pixels, truth = augmented(picture, boxes, spec, wanted, np.random.default_rng(seed))
    if not len(truth.boxes):
        return
    bright = np.argwhere(pixels[..., 0] > 127)
    low, high = bright.min(0)[::-1], bright.max(0)[::-1] + 1
    np.testing.assert_allclose(truth.boxes[0], [*low, *high], atol=1.5)


def test_the_same_generator_gives_the_same_picture() -> None:
    picture, boxes = composed(7)
    wanted = parse("boxes")
    first, second = (
        augmented(picture, boxes, SPEC, wanted, np.random.default_rng(3)) for _ in range(2)
    )
    other = augmented(picture, boxes, SPEC, wanted, np.random.default_rng(4))
    assert np.array_equal(first[0], second[0])
    assert not np.array_equal(first[0], other[0])


@given(st.integers(0, 10_000))
def test_truths_are_inside_and_what_is_cut_off_is_ignored(seed: int) -> None:
    _, boxes = composed(seed % 50)
    view = drawn(boxes.size, SPEC, parse("boxes,scale=1"), np.random.default_rng(seed))
    truth = truth_of(boxes, view, SPEC)
    for some in (truth.boxes, truth.ignored):
        assert (some >= 0).all()
        assert (some <= torch.tensor([128, 96, 128, 96])).all()
        assert (some[:, 2:] > some[:, :2]).all()
    assert len(truth.boxes) + len(truth.ignored) <= len(boxes)


def test_wrong_augmentations_are_told_together() -> None:
    with pytest.raises(UsageError) as told:
        parse("flip=2,cutout,scale=x")
    assert len(told.value.mistakes) == 3
    assert parse("none") == {}


@given(st.integers(0, 10_000))
def test_boxes_move_with_the_pixels_of_a_mosaic(seed: int) -> None:
    """A white square on black is where its box says, in each of the four parts."""
    from PIL import Image

    pixels = np.zeros((96, 128, 3), np.uint8)
    pixels[30:62, 40:72] = 255
    box = torch.tensor([[40.0, 30, 72, 62]])
    seen = (np.asarray(Image.fromarray(pixels)), Truth(box, torch.tensor([1]), box))
    spec = InputSpec(**{**SPEC.to_dict(), "mean": (0.0, 0.0, 0.0), "shape": (96, 128)})
    made, truth = mosaic(lambda place: seen, [0] * 4, spec, np.random.default_rng(seed))
    assert made.shape == (96, 128, 3)
    assert len(truth.boxes) == len(truth.labels) <= 4
    bright = np.argwhere(made[..., 0] > 127)
    for corners in truth.boxes.round().int().tolist():
        left, top, right, low = corners
        assert made[top + 2 : low - 2, left + 2 : right - 2, 0].min(initial=255) > 100
    every = torch.cat([truth.boxes, truth.ignored])
    inside = [
        ((every[:, :2] <= p + 1.5) & (every[:, 2:] >= p - 1.5)).all(1).any()
        for p in (torch.from_numpy(bright[:: max(1, len(bright) // 20), ::-1].copy()).float() + 0.5)
    ]
    assert all(inside)


def test_mosaics_end_early(tmp_path: Any) -> None:
    from regraft.data.boxes.composed import compose
    from regraft.training.boxed import BoxedExamples
    from regraft.training.examples import Turn

    found = compose(tmp_path, 5, 1)
    files = [str(tmp_path / name) for name in found]
    about = (files, ["0123456789abcdef"] * 5, [*found.values()], modality("image"), SPEC)
    examples = BoxedExamples(*about, {"mosaic": 1.0}, 0, epochs=10)
    plain = BoxedExamples(*about, {}, 0)
    early, late = (examples[Turn(epoch, 2)] for epoch in (6, 7))
    assert not np.array_equal(early[0], plain[Turn(6, 2)][0])
    assert np.array_equal(late[0], plain[Turn(7, 2)][0])
    assert np.array_equal(early[0], examples[Turn(6, 2)][0])


# The network -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def network() -> Any:
    row = find("efficientnet-lite0")
    return detector(row, detection_spec(row.spec, (96, 128)), len(SHAPES), usual(STRIDES), width=16)


def test_outputs_and_anchors_agree(network: Any) -> None:
    pixels = torch.randint(0, 256, (2, 96, 128, 3), dtype=torch.uint8)
    with torch.no_grad():
        outputs = network(pixels)
    places = network.head.places
    assert outputs.shape == (2, len(places.boxes((96, 128), outputs)), len(SHAPES) + 4)
    assert sum(places.per_map((96, 128))) == outputs.shape[1]
    assert torch.sigmoid(outputs[..., :3]).mean() < 0.05  # hardly anything is an object yet


def test_what_is_deeper_than_the_last_map_is_gone(network: Any) -> None:
    names = {name for name, _ in network.body.named_parameters()}
    assert not any("conv_head" in name or "classifier" in name for name in names)
    assert network.body.widths == (40, 112, 320)


def test_each_anchor_answers_for_its_own_place(network: Any) -> None:
    """The gradient of one output is largest around its anchor."""
    spot = network.head.places.boxes((96, 128), torch.zeros(1))
    place = int(((spot - torch.tensor([28.0, 28, 60, 60])) ** 2).sum(1).argmin())
    seen: list[torch.Tensor] = []
    hook = network.normalise.register_forward_hook(lambda m, i, o: seen.append(o.requires_grad_()))
    network(torch.randint(0, 256, (1, 96, 128, 3), dtype=torch.uint8))[0, place, 0].backward()
    hook.remove()
    felt = seen[0].grad.abs().sum((0, 1))  # type: ignore[union-attr]
    middle = (spot[place][:2] + spot[place][2:]) / 2
    rows, columns = torch.arange(96.0), torch.arange(128.0)
    centre = torch.stack([(felt.sum(0) * columns).sum(), (felt.sum(1) * rows).sum()]) / felt.sum()
    assert (centre - middle).abs().max() < 16


def test_a_network_without_maps_is_refused() -> None:
    row = find("vit-tiny")
    assert "detection" in unfit(row)
    with pytest.raises(UsageError, match="detection"):
        detector(row, SPEC, 2, usual(STRIDES))
