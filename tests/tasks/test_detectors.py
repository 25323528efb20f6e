"""What every kind of detector must do, over all rows; and against torchvision's own."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from regraft.backbones.catalog import find
from regraft.data.boxes.composed import SHAPES, composed
from regraft.errors import UsageError
from regraft.export.bundle import read_bundle
from regraft.export.formats import FORMATS
from regraft.export.wanted import Wanted
from regraft.model.detecting import DetectionModel
from regraft.tasks.detection.anchors import ANCHORS
from regraft.tasks.detection.augment import augmented
from regraft.tasks.detection.decoding import found_among
from regraft.tasks.detection.deployed import DeployedDetector
from regraft.tasks.detection.frames import detection_spec
from regraft.tasks.detection.heads.rows import HEADS, head_row
from regraft.tasks.detection.network import Detector, detector
from regraft.tasks.detection.targets import Truth
from regraft.verbs.export import export

SIZE = (96, 128)
EMPTY = Truth(torch.zeros(0, 4), torch.zeros(0).long(), torch.zeros(0, 4))


@pytest.fixture(scope="module")
def examples() -> tuple[Tensor, list[Truth]]:
    spec = detection_spec(find("efficientnet-lite0").spec, SIZE)
    pairs = [composed(number, 3) for number in range(4)]
    made = [augmented(p, b, spec, {}, np.random.default_rng(0)) for p, b in pairs]
    return torch.from_numpy(np.stack([m[0] for m in made])), [m[1] for m in made]


def made(kind: str) -> Detector:
    row, own = find("efficientnet-lite0"), HEADS[kind]
    sizes = np.random.default_rng(0).uniform(16, 44, (60, 2))
    anchors = ANCHORS[own.anchors](sizes, own.strides, 0)
    spec = detection_spec(row.spec, SIZE)
    return detector(row, spec, len(SHAPES), anchors, kind=kind, width=16, depth=1)


LARGE = "torchvision-"  # kinds with hundreds of channels
KINDS = [
    pytest.param(name, marks=pytest.mark.slow if name.startswith(LARGE) else ()) for name in HEADS
]


@pytest.fixture(scope="module", params=KINDS)
def learned(request: Any, examples: tuple[Tensor, list[Truth]]) -> Any:
    """A detector after a few steps, and its losses."""
    torch.manual_seed(0)
    network, (pixels, truths) = made(request.param), examples
    with torch.no_grad():
        maps = network.body(network.normalise(pixels))
    optimiser, losses = torch.optim.AdamW(network.new_parts().values(), 3e-3), []
    for _ in range(12):
        outputs = network.head(network.pyramid(maps))
        loss = network.losses(outputs, truths, network.kind.losses[0]).mean()
        loss.backward()
        losses.append(float(loss.detach()))
        optimiser.step()
        optimiser.zero_grad()
    return network, losses


def test_the_loss_falls_and_all_parts_learn(learned: Any, examples: Any) -> None:
    network, losses = learned
    assert np.mean(losses[-3:]) < 0.8 * losses[0]
    network.losses(network(examples[0]), examples[1], network.kind.losses[0]).mean().backward()
    assert all(p.grad is not None for p in network.new_parts().values())
    network.zero_grad()


def test_boxes_are_within_the_picture_and_the_surest_first(learned: Any, examples: Any) -> None:
    network, _ = learned
    with torch.inference_mode():
        outputs = network(examples[0])
        found = network.found(outputs)
    assert len(found) == len(outputs) == 4
    assert sum(len(one.scores) for one in found) > 0
    for one in found:
        assert (one.boxes >= 0).all()
        assert (one.boxes <= [SIZE[1], SIZE[0]] * 2).all()
        assert (np.diff(one.scores) <= 0).all()
        assert ((one.scores >= 0) & (one.scores <= 1)).all()
        assert set(one.labels.tolist()) <= set(range(len(SHAPES)))


@pytest.mark.parametrize("ignored", [torch.zeros(0, 4), torch.tensor([[0.0, 0, 128, 96]])])
def test_an_empty_picture_has_a_finite_loss_and_gradient(
    learned: Any, examples: Any, ignored: Tensor
) -> None:
    network, _ = learned
    for box in network.kind.losses:
        truths = [EMPTY._replace(ignored=ignored), examples[1][1]]
        losses = network.losses(network(examples[0][:2]), truths, box)
        assert losses.shape == (2,)
        losses.sum().backward()
        grads = [p.grad for p in network.new_parts().values() if p.grad is not None]
        assert grads
        assert all(torch.isfinite(g).all() for g in grads)
        network.zero_grad()


def test_in_ignored_regions_nothing_is_wrong(learned: Any, examples: Any) -> None:
    """All of the picture is ignored: what is found there costs nothing, or less."""
    network, _ = learned
    whole = torch.tensor([[-50.0, -50, 200, 200]])
    with torch.no_grad():
        outputs = network(examples[0][:1])
        plain, calm = (
            network.losses(outputs, [EMPTY._replace(ignored=i)], network.kind.losses[0])[0]
            for i in (EMPTY.ignored, whole)
        )
    assert calm <= plain
    assert calm < 0.05


def test_a_bundle_gives_it_back_bit_for_bit(learned: Any, examples: Any, tmp_path: Any) -> None:
    network, _ = learned
    row, classes = find("efficientnet-lite0"), SHAPES
    model = DetectionModel(classes, row, network, np.full(len(classes), 0.4), {})
    again = DetectionModel.of(read_bundle(model.save(tmp_path / "one.regraft"))).network
    assert again.kind is network.kind
    assert again.anchors == network.anchors
    with torch.inference_mode():
        one, other = network(examples[0]), again(examples[0])
        assert torch.equal(one, other)
        pairs = zip(network.found(one), again.found(other), strict=True)
        assert all(np.array_equal(a.boxes, b.boxes) for a, b in pairs)


OTHERS = [pytest.param(name, marks=pytest.mark.slow) for name in ("openvino", "torch")]


@pytest.mark.parametrize("to", ["onnx", *OTHERS])
def test_other_engines_find_the_same(learned: Any, examples: Any, tmp_path: Any, to: str) -> None:
    """What has no outputs of its own for them is refused, and nothing is written."""
    network, pixels = learned[0], examples[0]
    if not network.kind.dense:
        model = DetectionModel(SHAPES, find("efficientnet-lite0"), network, np.full(3, 0.4), {})
        with pytest.raises(UsageError, match="fit one of retinanet, fcos, ssdlite"):
            export(model, tmp_path / "out", to=to)
        assert not [*tmp_path.iterdir()]
        return
    module = DeployedDetector(network).eval()
    wanted = Wanted(module, [pixels[:1]], ["pixels"], [[0]], module.OUTPUTS)
    file = tmp_path / FORMATS[to].file
    FORMATS[to].write(wanted, file)
    scores, boxes = map(torch.from_numpy, FORMATS[to].open(file)([pixels.numpy()]))
    with torch.inference_mode():
        own = network.found(network(pixels))
    assert sum(len(one.scores) for one in own) > 0
    for i, one in enumerate(own):
        other = found_among(scores[i], boxes[i], module.per_map)
        np.testing.assert_allclose(other.scores, one.scores, atol=1e-4)
        np.testing.assert_allclose(np.sort(other.boxes, 0), np.sort(one.boxes, 0), atol=0.05)
        assert sorted(other.labels) == sorted(one.labels)


def test_a_kind_that_is_not_there_is_refused() -> None:
    with pytest.raises(Exception, match="choose one of retinanet, fcos, faster-rcnn, ssdlite"):
        head_row("yolo")


def test_the_loss_of_fcos_is_torchvisions(examples: Any) -> None:
    """For one picture, with the same places and outputs."""
    from torchvision.models.detection.fcos import FCOS, FCOSHead

    network, truth = made("fcos"), examples[1][1]
    with torch.no_grad():
        output = network(examples[0][1:2])
        ours = network.losses(output, [truth], "giou")[0]
        places = network.head.places
        anchors, per_map = places.boxes(SIZE, output), places.per_map(SIZE)
        logits, centred, sides = output.split([len(SHAPES), 1, 4], 2)
        told = {"cls_logits": logits, "bbox_regression": sides, "bbox_ctrness": centred}
        head = FCOSHead(32, 1, len(SHAPES), 1)
        own = SimpleNamespace(center_sampling_radius=1.5, head=head)
        targets = [{"boxes": truth.boxes, "labels": truth.labels}]
        theirs = FCOS.compute_loss(own, targets, told, [anchors], per_map)
    torch.testing.assert_close(ours, sum(theirs.values()), atol=1e-4, rtol=1e-4)
