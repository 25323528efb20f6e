"""fit, evaluate and predict with a whole detector of transformers, on a composed set."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import regraft
from regraft.data.boxes.composed import SHAPES, compose
from regraft.data.boxes.writing import coco_document
from regraft.errors import BundleError, UsageError
from regraft.export.bundle import read_bundle, write_bundle
from regraft.recipe import Recipe
from regraft.verbs.deployed import LIMIT
from regraft.verbs.detection.beginnings import beginning_of
from regraft.verbs.detection.export import deployment
from regraft.verbs.detection.settings import WAYS
from regraft.verbs.detection.start import plan_for
from regraft.verbs.export import export
from regraft.verbs.fit import fit_and_report
from regraft.verbs.fitted import Fitted

Save = Callable[..., Path]
CutOff = Callable[[int], AbstractContextManager[None]]
QUICK: dict[str, Any] = {"steps": 4, "batch": 4, "resamples": 100, "workers": 0}


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("boxes") / "shapes"
    boxes = compose(folder, 24)
    (folder / "annotations.json").write_bytes(coco_document(boxes, SHAPES))
    return folder


@pytest.fixture(scope="module")
def start(save_detector: Save, tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_detector(tmp_path_factory.mktemp("start") / "detector"))


@pytest.fixture(scope="module")
def found(shapes: Path, start: str) -> Fitted:
    return fit_and_report(shapes, start=start, **QUICK)


@pytest.fixture(scope="module")
def bundle(found: Fitted, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = found.model.save(tmp_path_factory.mktemp("model") / "shapes.regraft")
    return path


def test_a_fit_tells_what_it_began_with(found: Fitted) -> None:
    record = found.report.record
    assert record["box_training"][0]["detector"] == "rt-detr-v2"
    assert record["box_training"][0]["steps"] == QUICK["steps"]
    assert "disc with pretrained rows" in record["chosen"]["start"]
    assert "96 px" in record["chosen"]["size"]
    assert "backbone" not in record["chosen"]
    assert record["backbones"][0]["architecture"] == "RTDetrV2ForObjectDetection"
    plan = record["box_training"][0]["plan"]
    assert (plan["rate"], plan["loss"], plan["norm"]) == (2e-4, "matched", "frozen")


def test_a_bundle_gives_the_same_answers(
    found: Fitted, bundle: Path, shapes: Path, start: str
) -> None:
    """Without the checkpoint, and what is answered lies in the picture."""
    again = regraft.Model.load(bundle)
    assert start not in str(again.row)  # the place on this disk is nobody's business
    files = sorted(map(str, (shapes / "images").iterdir()))[:3]
    for one, other in zip(found.model.detect(files), again.detect(files), strict=True):
        assert one.found is not None
        assert other.found is not None
        assert len(one.found.scores)
        np.testing.assert_array_equal(one.found.boxes, other.found.boxes)
        np.testing.assert_array_equal(one.found.scores, other.found.scores)
    (answer,) = regraft.predict(again, files[0], least=0.0)
    assert all(0 <= o.box[0] <= o.box[2] <= 128 for o in answer.objects)
    assert len(regraft.predict(again, files[0], least=0.0, tiles=2)[0].objects)


def test_what_queries_find_is_compared_as_a_set(found: Fitted, shapes: Path) -> None:
    """Another order of equal scores is no drift; another box, score or no number is one."""
    model, how = found.model, deployment()
    picture = next((shapes / "images").iterdir()).read_bytes()
    (scores, boxes), *_ = ours = how.own(model, picture).outputs

    def apart(scores: Any, boxes: Any) -> float:
        return how.apart(model, ours, [[scores, boxes]])

    order = np.random.default_rng(0).permutation(scores.shape[1])
    assert apart(scores[:, order], boxes[:, order]) == 0
    surest = scores[0].max(1).argmax()
    moved, less, torn = boxes.copy(), scores.copy(), scores.copy()
    moved[0, surest] += 3
    less[0, surest] *= 0.9
    torn[0, -1] = np.nan
    assert apart(scores, moved) > 1e-2
    assert apart(less, boxes) > LIMIT
    assert apart(torn, boxes) == np.inf


def test_an_export_finds_the_same_objects(found: Fitted, shapes: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    proof = export(found.model, tmp_path / "onnx", examples=shapes, count=3, batch=1)
    assert proof["same_answers"] == proof["examples"] == 3
    files = sorted(map(str, (shapes / "images").iterdir()))[:2]
    one, other = (regraft.predict(m, files) for m in (found.model, tmp_path / "onnx"))
    assert [len(a.objects) for a in one] == [len(a.objects) for a in other]


def test_a_forged_bundle_is_refused(bundle: Path, tmp_path: Path) -> None:
    whole = read_bundle(bundle)
    told, tensors = whole.document("model"), whole.tensors("network")
    row = told["row"]
    first = next(name for name in tensors if name.endswith("enc_score_head.weight"))
    forged: list[tuple[Any, Any]] = [
        (told | {"detector": "d-fine"}, tensors),
        (told | {"detector": ["d-fine"]}, tensors),
        (told | {"spec": {**told["spec"], "fit": "crop"}}, tensors),
        (told | {"row": {**row, "options": {**row["options"], "auto_map": {"A": "b"}}}}, tensors),
        (told | {"row": {**row, "options": {**row["options"], "model_type": "vit"}}}, tensors),
        (told | {"classes": ["a", "b"], "thresholds": [0.5, 0.5]}, tensors),
        (told, {first: tensors[first]}),
        (told, {**tensors, first: np.full_like(tensors[first], np.nan)}),
    ]
    for number, (model, network) in enumerate(forged):
        path = tmp_path / f"{number}.regraft"
        documents = {"model": model, "record": whole.document("record")}
        write_bundle(path, documents, {"network": network})
        with pytest.raises(BundleError):
            regraft.Model.load(path)


def test_a_run_that_is_cut_off_goes_on_to_the_same_weights(
    found: Fitted, shapes: Path, start: str, cut_off_at: CutOff, tmp_path: Path
) -> None:
    with cut_off_at(3):
        fit_and_report(shapes, start=start, run=tmp_path / "cut", **QUICK)
    again = fit_and_report(shapes, start=start, run=tmp_path / "cut", resume=True, **QUICK)
    own = again.model.network.state_dict()
    for name, tensor in found.model.network.state_dict().items():
        np.testing.assert_array_equal(tensor, own[name])


def test_the_backbone_learns_slowly_and_the_rows_fast(shapes: Path, start: str) -> None:
    data = regraft.load(shapes)
    recipe, way = Recipe(start=start, steps=1), WAYS["transfer"]
    beginning = beginning_of(recipe, way)
    begun = beginning.begin([*data.boxes.values()], data.classes)
    plan = plan_for(way, beginning.kind, recipe, begun.spec, 100, 1)
    parts = beginning.parts(begun, plan)
    rates = [part.rate_factor for part in parts]
    assert rates == sorted(rates)
    assert rates[-2:] == [0.5, 1.0]
    assert max(rates[:-2]) == pytest.approx(0.05)
    names = {id(p): name for name, p in begun.network.named_parameters()}
    rows = [names[id(p)] for p in parts[-1].parameters]
    assert all("class" in name or "score" in name for name in rows)
    learns = {id(p) for part in parts for p in part.parameters}
    still = {name for name, p in begun.network.named_parameters() if id(p) not in learns}
    assert still
    assert all(".backbone." in name for name in still)  # the stem, of a set of this size
    at_one_rate = beginning_of(recipe, WAYS["copy"]).parts(begun, replace(plan, shallow=1.0))
    assert {part.rate_factor for part in at_one_rate} == {1.0}


def test_what_it_cannot_obey_is_refused_together(shapes: Path, start: str) -> None:
    wrong: dict[str, Any] = {"backbone": "efficientnet-lite0", "loss": "giou", "compile": True}
    with pytest.raises(UsageError) as told:
        fit_and_report(shapes, start=start, strategy="scratch", size=100, **wrong)
    words = " ".join(told.value.mistakes)
    assert all(f"{name}:" in words for name in (*wrong, "size", "start"))
