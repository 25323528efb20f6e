"""Whole pretrained detectors of torchvision as a start: the same answers, the rows of classes."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from regraft.backbones.catalog import families, find
from regraft.backbones.network import FrozenNetwork
from regraft.backbones.sources import source
from regraft.errors import UsageError
from regraft.tasks.detection.anchors import ANCHORS
from regraft.tasks.detection.frames import detection_spec
from regraft.tasks.detection.heads.rows import HEADS
from regraft.tasks.detection.network import Detector, detector
from regraft.tasks.detection.starts import begin_from, kind_of, whole_detector

SIZE = (64, 96)
THEIRS = ("__background__", "cat", "dog", "bus")
OURS = ("tram", "Dog", "cat")


def theirs(kind: str) -> nn.Module:
    """A small detector of torchvision with random weights and statistics."""
    from torchvision.models.detection import FCOS, FasterRCNN, RetinaNet
    from torchvision.models.detection._utils import overwrite_eps
    from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
    from torchvision.models.detection.retinanet import RetinaNetHead, _default_anchorgen
    from torchvision.ops.feature_pyramid_network import LastLevelP6P7

    torch.manual_seed(0)
    more: dict[str, Any] = {"returned_layers": [2, 3, 4], "extra_blocks": LastLevelP6P7(256, 256)}
    sizes: dict[str, Any] = {"min_size": SIZE[0], "max_size": SIZE[1], "num_classes": len(THEIRS)}

    def body(**settings: Any) -> nn.Module:
        found = resnet_fpn_backbone(backbone_name="resnet18", weights=None, **settings)
        for name, buffer in found.named_buffers():
            if "running" in name:
                buffer.uniform_(0.5, 1.5)
        return found

    def retina() -> nn.Module:
        anchors = _default_anchorgen()
        head = RetinaNetHead(256, anchors.num_anchors_per_location()[0], len(THEIRS))
        return RetinaNet(body(**more), anchor_generator=anchors, head=head, **sizes)

    made = {
        "torchvision-retinanet": retina,
        "torchvision-fcos": lambda: FCOS(body(**more), **sizes),
        "torchvision-faster-rcnn": lambda: FasterRCNN(
            body(), box_score_thresh=0.01, rpn_post_nms_top_n_test=300, **sizes
        ),
    }[kind]()
    if kind != "torchvision-fcos":  # as the published weights of these want it
        overwrite_eps(made, 0.0)
    return made.eval()


def ours(kind: str, classes: tuple[str, ...]) -> Detector:
    row, own = find("torchvision:resnet18"), HEADS[kind]
    family = families()[row.family]
    module = source(row.source).build(row)
    network = FrozenNetwork(module, family, row.spec, native=224, classes=row.num_classes)
    anchors = ANCHORS[own.anchors](np.zeros((0, 2)), own.strides, 0)
    spec = detection_spec(row.spec, SIZE)
    return detector(row, spec, len(classes), anchors, kind=kind, network=network)


KINDS = ("torchvision-retinanet", "torchvision-fcos", "torchvision-faster-rcnn")


@pytest.fixture(scope="module", params=KINDS)
def pair(request: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, nn.Module, Path]:
    model = theirs(request.param)
    path = tmp_path_factory.mktemp("start") / "whole.safetensors"
    save_file(model.state_dict(), path, {"classes": json.dumps(THEIRS)})
    return request.param, model, path


def pixels() -> Tensor:
    return torch.randint(0, 256, (1, *SIZE, 3), dtype=torch.uint8, generator=torch.manual_seed(1))


def test_it_answers_as_torchvision_does(pair: tuple[str, nn.Module, Path]) -> None:
    """With the file's own classes."""
    kind, model, path = pair
    classes = THEIRS[1:]
    network = ours(kind, classes)
    kept = begin_from(network, whole_detector(path), classes)
    assert kept.classes == classes
    with torch.inference_mode():
        maps = model.backbone(network.normalise(pixels()))
        inner = network.maps(pixels())
        for one, other in zip(maps.values(), inner, strict=True):
            torch.testing.assert_close(one, other, atol=1e-3, rtol=1e-3)
        COMPARED[kind](model, network, maps)


def _images() -> Any:
    from torchvision.models.detection.image_list import ImageList

    return ImageList(torch.zeros(1, 3, *SIZE), [SIZE])


def _boxes(model: Any, network: Detector, maps: dict[str, Tensor]) -> None:
    """Both stages: the same boxes, scores and labels."""
    proposals, _ = model.rpn(_images(), maps)
    answer = model.roi_heads(maps, proposals, [SIZE])[0][0]
    found = network.found(network(pixels()))[0]
    n = min(10, len(found.scores))
    assert n > 0
    np.testing.assert_allclose(found.scores[:n], answer["scores"][:n], atol=1e-3)
    np.testing.assert_allclose(found.boxes[:n], answer["boxes"][:n], atol=0.1)


def _outputs(model: Any, network: Detector, maps: dict[str, Tensor]) -> None:
    """At each place, but for the row of the background, of which ours know nothing."""
    features = [*maps.values()]
    told = model.head(features)
    parts = [told["cls_logits"][..., 1:], told["bbox_regression"]]
    if "bbox_ctrness" in told:
        parts.insert(1, told["bbox_ctrness"])
    found = network(pixels())
    torch.testing.assert_close(found, torch.cat(parts, 2), atol=1e-3, rtol=1e-3)


def test_anchors_are_torchvisions(pair: tuple[str, Any, Path]) -> None:
    from torchvision.models.detection.image_list import ImageList

    kind, model, _ = pair
    size, strides = (128, 256), HEADS[kind].strides
    features = [torch.zeros(1, 1, size[0] // s, size[1] // s) for s in strides]
    made = model.rpn.anchor_generator if hasattr(model, "rpn") else model.anchor_generator
    (theirs_,) = made(ImageList(torch.zeros(1, 3, *size), [size]), features)
    own = ANCHORS[HEADS[kind].anchors](np.zeros((0, 2)), strides, 0)
    maps = [(size[0] // s, size[1] // s) for s in strides]
    torch.testing.assert_close(own.boxes(maps), theirs_)


COMPARED = {
    "torchvision-retinanet": _outputs,
    "torchvision-fcos": _outputs,
    "torchvision-faster-rcnn": _boxes,
}


def test_classes_of_the_same_name_keep_their_rows(pair: tuple[str, nn.Module, Path]) -> None:
    kind, _, path = pair
    network = ours(kind, OURS)
    fresh = {name: t.clone() for name, t in network.state_dict().items()}
    whole = whole_detector(path)
    kept = begin_from(network, whole, OURS)
    assert kept.classes == ("Dog", "cat")
    layer, rows = next(iter(whole.start.rows.items()))
    name = f"{layer}.weight"
    assert name not in kept.given
    shape = (rows.groups, -1, rows.each)
    now, new, old = (
        t.unflatten(0, shape) for t in (network.state_dict()[name], fresh[name], whole.state[name])
    )
    first = whole.start.first
    assert torch.equal(now[:, first], new[:, first])  # a tram was never seen
    assert torch.equal(now[:, 1 + first], old[:, THEIRS.index("dog")])
    assert torch.equal(now[:, 2 + first], old[:, THEIRS.index("cat")])


def test_what_does_not_fit_is_told(pair: tuple[str, nn.Module, Path], tmp_path: Path) -> None:
    kind, model, path = pair
    assert kind_of(str(path), None, "retinanet") == kind
    with pytest.raises(UsageError, match="not of ssdlite"):
        kind_of(str(path), "ssdlite", "retinanet")
    state = dict(model.state_dict())
    state["backbone.body.odd"] = torch.zeros(1)
    del state["backbone.body.conv1.weight"]
    state["backbone.body.bn1.weight"] = torch.zeros(3)
    wrong = tmp_path / "wrong.safetensors"
    save_file(state, wrong)
    with pytest.raises(UsageError) as told:
        begin_from(ours(kind, OURS), whole_detector(wrong), OURS)
    words = str(told.value)
    assert all(name in words for name in ("odd", "conv1.weight", "bn1.weight"))
    state["backbone.body.bn1.weight"] = torch.full((64,), float("nan"))
    save_file(state, wrong)
    with pytest.raises(UsageError, match="not finite"):
        whole_detector(wrong)


def test_files_of_another_form_are_refused_unread(tmp_path: Path) -> None:
    pickled, other = tmp_path / "detector.pth", tmp_path / "other.safetensors"
    pickled.write_bytes(b"\x80\x04")
    with pytest.raises(UsageError, match="could run code"):
        whole_detector(pickled)
    save_file({"a": torch.zeros(1)}, other)
    with pytest.raises(UsageError, match="none of torchvision-fcos"):
        whole_detector(other)
    other.write_bytes(b"no header")
    with pytest.raises(UsageError, match="not a safetensors file"):
        whole_detector(other)
