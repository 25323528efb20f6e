"""Whole detectors of transformers as a start: the same answers, the rows of classes, the loss."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from regraft.data.boxes.composed import composed
from regraft.errors import BackboneError, UsageError
from regraft.modalities import modality
from regraft.tasks.detection.decoding import Decoding
from regraft.tasks.detection.frames import frame
from regraft.tasks.detection.queries.begin import begun
from regraft.tasks.detection.queries.checkpoint import checkpoint, comes_whole
from regraft.tasks.detection.queries.network import QueryDetector
from regraft.tasks.detection.starts import kind_of
from regraft.tasks.detection.targets import Truth

KINDS = {"RTDetrV2": "rt-detr-v2", "DFine": "d-fine", "RTDetr": "rt-detr"}
THEIRS = ("disc", "cat", "square")
OURS = ("triangle", "Square", "disc")
SIZE = 96
Save = Callable[..., Path]


class Saved(NamedTuple):
    """A checkpoint as it was saved, as transformers opens it, and as ours."""

    kind: str
    folder: Path
    model: Any
    network: QueryDetector


@pytest.fixture(scope="module", params=KINDS)
def saved(request: Any, save_detector: Save, tmp_path_factory: Any) -> Saved:
    from transformers import AutoModelForObjectDetection

    folder = tmp_path_factory.mktemp("whole") / "detector"
    save_detector(folder, request.param, THEIRS, SIZE)
    opened = AutoModelForObjectDetection.from_pretrained(folder, local_files_only=True)
    return Saved(request.param, folder, opened.eval(), ours(folder))


def ours(folder: Path, classes: tuple[str, ...] = THEIRS) -> QueryDetector:
    found = checkpoint(str(folder))
    return begun(found, classes, found.row.spec, 0)[0]


def prepared(picture: Image.Image, network: QueryDetector) -> torch.Tensor:
    pixels = modality("image").prepare(picture, network.spec, "centre")
    return torch.from_numpy(np.array(pixels))[None]


def test_it_answers_as_transformers_does(saved: Saved) -> None:
    """From the picture to the boxes, by its own preprocessor and postprocessing."""
    from transformers import RTDetrImageProcessorPil

    _, folder, model, network = saved
    picture, boxes = composed(3)
    processor = RTDetrImageProcessorPil.from_pretrained(folder)
    given = processor(images=picture, return_tensors="pt")
    pixels = prepared(picture, network)
    np.testing.assert_allclose(network.normalise(pixels), given["pixel_values"], atol=1e-6)
    with torch.inference_mode():
        (found,) = network.found(network(pixels), Decoding(least=0.0, most=20))
        answer = model(**given)
    size = boxes.size
    (wanted,) = processor.post_process_object_detection(answer, 0.0, [size[::-1]])
    where = frame(size, network.spec)
    outer = (found.boxes - where._shift) / where._scale
    np.testing.assert_allclose(outer / max(size), wanted["boxes"] / max(size), atol=1e-5)
    np.testing.assert_allclose(found.scores, wanted["scores"], atol=1e-5)
    np.testing.assert_array_equal(found.labels, wanted["labels"])
    assert len(found.labels) == 20


def _labels() -> list[dict[str, torch.Tensor]]:
    boxes = torch.tensor([[0.3, 0.4, 0.2, 0.2], [0.7, 0.5, 0.3, 0.4]])
    return [{"class_labels": torch.tensor([0, 2]), "boxes": boxes}]


def _truths() -> list[Truth]:
    middle, size = _labels()[0]["boxes"].split(2, 1)
    corners = torch.cat([middle - size / 2, middle + size / 2], 1) * SIZE
    return [Truth(corners, torch.tensor([0, 2]), torch.zeros(0, 4))]


def test_its_loss_is_transformers_own(saved: Saved) -> None:
    """With noisy copies of the objects, and BatchNorm as it is."""
    _, _, model, network = saved
    model.train()
    for part in model.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.eval()
    pixels = prepared(composed(3)[0], network)
    torch.manual_seed(5)
    loss = network(pixels, _truths())
    torch.manual_seed(5)
    wanted = model(pixel_values=network.normalise(pixels), labels=_labels()).loss
    torch.testing.assert_close(loss, wanted[None], atol=1e-4, rtol=1e-4)
    assert not any(part.training for part in network.modules())
    loss.sum().backward()
    own = dict(network.named_parameters())
    assert all(own[name].grad is not None for name in network.learnable)


def test_pictures_without_objects_and_less_precision(saved: Saved) -> None:
    network = saved.network
    pixels = prepared(composed(3)[0], network).expand(2, -1, -1, -1)
    none = Truth(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), torch.zeros(0, 4))
    network.zero_grad()
    losses = network(pixels, [none, none])
    assert torch.isfinite(losses).all()
    losses.sum().backward()
    own = dict(network.named_parameters())
    assert all(own[name].grad is not None for name in network.learnable)
    with torch.autocast("cpu", torch.bfloat16):
        losses = network(pixels, [*_truths(), none])
        outputs = network(pixels)
    assert losses.dtype == outputs.dtype == torch.float32
    assert losses.shape == (2,)
    assert torch.isfinite(losses).all()
    one = next(p for n, p in network.named_parameters() if "bbox_embed" in n)
    kept = one.detach().clone()
    try:
        one.data.fill_(torch.nan)
        assert torch.isnan(network(pixels, [*_truths(), none])).all()
    finally:
        one.data.copy_(kept)


def test_classes_of_the_same_name_keep_their_rows(saved: Saved) -> None:
    found, state = checkpoint(str(saved.folder)), saved.model.state_dict()
    network, kept = begun(found, OURS, found.row.spec, 0)
    assert kept.classes == ("Square", "disc")
    own = network.module.state_dict()
    rows = [n for n in own if "class_embed" in n or "enc_score_head" in n]
    assert {f"model.{n}.weight" for n in ("enc_score_head", "denoising_class_embed")} <= {*rows}
    assert {f"model.decoder.class_embed.{i}.bias" for i in (0, 1)} <= {*rows}
    for name in rows:
        assert len(own[name]) == len(state[name])  # both have three classes
        torch.testing.assert_close(own[name][1], state[name][2])
        torch.testing.assert_close(own[name][2], state[name][0])
        torch.testing.assert_close(own[name][3:], state[name][3:])
        assert not any(torch.equal(own[name][0], row) for row in state[name])
        assert f"module.{name}" not in kept.given
    for name in own.keys() - set(rows):
        torch.testing.assert_close(own[name], state[name])
    assert network.module.config.id2label == dict(enumerate(OURS))


def test_the_kind_is_told_by_the_architecture(saved: Saved) -> None:
    kind, folder, _, _ = saved
    assert kind_of(str(folder), None, "retinanet") == KINDS[kind]
    with pytest.raises(UsageError, match="not of fcos"):
        kind_of(str(folder), "fcos", "retinanet")
    with pytest.raises(UsageError, match="comes whole"):
        kind_of(None, KINDS[kind], "retinanet")
    assert not comes_whole("weights/some.safetensors")
    assert comes_whole("owner/name@1234")
    assert not comes_whole("name")


def _changed(folder: Path, name: str, **settings: Any) -> None:
    record = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps({**record, **settings}))


def test_what_is_not_taken_is_told(save_detector: Save, tmp_path: Path) -> None:
    folder = save_detector(tmp_path / "detector", "RTDetrV2", THEIRS, SIZE)

    def refused(words: str) -> None:
        with pytest.raises(UsageError, match=words):
            kind_of(str(folder), None, "retinanet")

    config = json.loads((folder / "config.json").read_text())
    _changed(folder, "config.json", architectures=["ViTForImageClassification"])
    refused("holds a ViTForImageClassification.*taken are rt-detr-v2.*DFineForObjectDetection")
    _changed(folder, "config.json", architectures=None, model_type="vit")
    refused("holds a 'vit'")
    (folder / "config.json").write_text(json.dumps({**config, "auto_map": {"AutoModel": "x.py"}}))
    refused("remote code is never run")
    (folder / "config.json").write_text(json.dumps({**config, "id2label": {"0": "a", "2": "b"}}))
    refused("id2label")
    (folder / "config.json").write_text(json.dumps(config))
    sizes = {"size": {"shortest_edge": 800, "longest_edge": 1333}, "do_pad": True}
    _changed(folder, "preprocessor_config.json", **sizes)
    refused("size: expected a height and a width.*do_pad: expected false")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    refused("lacks model.safetensors.*could run code")
    with pytest.raises(UsageError, match="not on this machine"):
        kind_of("owner/name", None, "retinanet")


def test_weights_that_do_not_fit_are_told(save_detector: Save, tmp_path: Path) -> None:
    folder = save_detector(tmp_path / "detector", "RTDetrV2", THEIRS, SIZE)
    file = folder / "model.safetensors"
    state = load_file(file)
    name = "model.enc_score_head.weight"
    save_file({**state, name: torch.full_like(state[name], torch.nan)}, file, {"format": "pt"})
    with pytest.raises(UsageError, match="not finite"):
        ours(folder)
    state["model.enc_score_head.weight"] = torch.zeros(7, 16)
    del state["model.enc_output.0.weight"]
    save_file(state, file, {"format": "pt"})
    with pytest.raises((UsageError, BackboneError)) as told:
        ours(folder)
    assert all(word in str(told.value) for word in ("enc_score_head", "enc_output.0.weight"))
