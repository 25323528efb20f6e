"""quantize: smaller models that answer the same from their bundles; what is refused, and why."""

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import pytest
from safetensors.numpy import load_file

import regraft
from regraft.backbones import engines, runtimes
from regraft.backbones.weights import weight_file
from regraft.errors import BackboneError, BundleError, MissingExtra, RegraftError, UsageError
from regraft.model import carried
from regraft.model.model import Model
from regraft.verbs import latency, learning_again, quantize
from regraft.verbs.fitted import Fitted
from regraft.verbs.refitting import Refitted

TOPICS = ("cooking", "trains", "weather")
FREE: dict[str, Any] = {"max_drop": None, "resamples": 100}


@pytest.fixture(autouse=True, scope="module")
def few_answers() -> Any:
    """Nobody believes the latencies of tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(latency, "FEWEST", 2)
        patch.setattr(latency, "SECONDS", 0.0)
        yield


@pytest.fixture(scope="module")
def pictures(fitted: Fitted) -> Model:
    """The model of `fitted` in whole numbers, calibrated."""
    return regraft.quantize(fitted.model, calibration=12, **FREE)


@pytest.fixture(scope="module")
def texts(
    save_encoder: Callable[..., Path],
    write_sentence: Callable[[str, int], str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Model:
    """A model of texts."""
    place = tmp_path_factory.mktemp("texts")
    rows = [(write_sentence(topic, n), topic) for n in range(30) for topic in TOPICS]
    with (place / "questions.csv").open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([("text", "label"), *rows])
    network = f"folder:{save_encoder(place / 'encoder')}"
    return regraft.fit(
        place / "questions.csv",
        backbone=network,
        engine="torch",
        resamples=100,
        strategy=("probe",),
    )


@pytest.fixture(scope="module")
def small_texts(texts: Model) -> Model:
    return regraft.quantize(texts, **FREE)


def same(one: Any, other: Any) -> bool:
    return [(p.label, p.probability) for p in one] == [(p.label, p.probability) for p in other]


def test_pictures_are_computed_in_whole_numbers(pictures: Model, fitted: Fitted) -> None:
    record = pictures.record["before_after"]
    assert (record["verb"], record["after"]["networks"][0].split(", by ")[1]) == (
        "quantize",
        "openvino",
    )
    assert "static, calibrated on 12 examples" in record["told"]
    assert record["after"]["bytes"] < 0.5 * record["before"]["bytes"]
    assert record["after"]["macs"] == pytest.approx(record["before"]["macs"], rel=0.01)
    assert record["lost"]["value"] < 0.1
    folder = Path(pictures.extractors[0].row.weights.origin)
    assert load_file(folder / "graph.safetensors").keys() >= {"graph.xml", "graph.bin", "widths"}
    graph = runtimes.openvino_core().read_model(_graph(pictures))
    kinds = [op.get_type_name() for op in graph.get_ops()]
    constants = [op for op in graph.get_ops() if op.get_type_name() == "Constant"]
    whole = [op for op in constants if op.get_element_type() == openvino.Type.i8]
    assert kinds.count("FakeQuantize") > 20
    assert len(whole) > 20


def _graph(model: Model) -> Path:
    from regraft.backbones.graphs import unpack_graph

    path = weight_file(model.extractors[0].row)
    unpack_graph(path, ("graph.xml", "graph.bin"), path.parent)
    return path.parent / "graph.xml"


def test_the_head_is_solved_anew_by_leave_one_out(pictures: Model, fitted: Fitted) -> None:
    assert "solved anew" in pictures.record["before_after"]["told"]
    assert pictures.judged is not None
    assert fitted.model.judged is not None
    own, old = pictures.record["leave_one_out"], fitted.model.record["leave_one_out"]
    assert own["n"] == old["n"] == len(pictures.judged.labels)
    assert sorted(pictures.record["learned"]) == sorted(fitted.model.record["learned"])
    assert own["accuracy"] == pytest.approx(old["accuracy"], abs=0.15)
    assert pictures.temperature != fitted.model.temperature


def test_its_bundle_answers_the_same_on_a_machine_that_knows_nothing(
    pictures: Model, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [str(p) for p in sorted(photos.rglob("*.png"))[:6]]
    expected = pictures.predict(files)
    path = pictures.save(tmp_path / "small.regraft")
    monkeypatch.setenv("REGRAFT_CACHE", str(tmp_path / "cache"))
    loaded = Model.load(path)
    assert loaded.extractors[0].row.weights.origin.startswith(str(tmp_path / "cache"))
    assert same(loaded.predict(files), expected)
    assert loaded.record["before_after"]["verb"] == "quantize"
    report = regraft.evaluate(loaded, photos, resamples=100)
    assert "before_after" in report.record
    assert "Before and after" in report.html()


def test_texts_are_quantized_as_they_come_and_answer_alike(
    texts: Model, small_texts: Model, tmp_path: Path
) -> None:
    import onnx

    asked = [f"Is the {word} late today?" for word in ("train", "oven", "rain", "ticket", "soup")]
    assert small_texts.extractors[0].engine_name == "onnxruntime"
    graph = weight_file(small_texts.extractors[0].row)
    from regraft.backbones.graphs import unpack_graph

    unpack_graph(graph, ("graph.onnx",), tmp_path)
    kinds = [node.op_type for node in onnx.load(str(tmp_path / "graph.onnx")).graph.node]
    assert kinds.count("MatMulInteger") >= 8
    loaded = Model.load(small_texts.save(tmp_path / "small.regraft"))
    written = tmp_path / "asked.csv"
    written.write_text("text\n" + "\n".join(asked), encoding="utf-8")
    assert same(loaded.predict(written), small_texts.predict(written))
    agree = [
        one.label == other.label
        for one, other in zip(texts.predict(written), loaded.predict(written), strict=True)
    ]
    assert sum(agree) >= 4


def test_what_is_a_graph_is_neither_trained_nor_looked_into(
    pictures: Model, photos: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="a graph for openvino already"):
        regraft.quantize(pictures, photos)
    with pytest.raises(BackboneError, match="nothing to look into"):
        regraft.evaluate(pictures, photos, heat_maps=True, resamples=100)
    one = pictures.extractors[0]
    with pytest.raises(BackboneError, match="by no other engine"):
        replace(one, engine_name="torch").engine


def test_a_missing_engine_is_told_and_nothing_falls_back(
    small_texts: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = small_texts.save(tmp_path / "small.regraft")
    kind = replace(engines.ENGINES["onnxruntime"], needs=("no-such-distribution",))
    monkeypatch.setattr(carried, "ENGINES", {**engines.ENGINES, "onnxruntime": kind})
    with pytest.raises(MissingExtra, match=r"regraft\[onnx\]"):
        Model.load(path)


@pytest.mark.parametrize(
    ("changed", "told"),
    [({"graph": "torch"}, "row.graph"), ({"graph": "openvino"}, "row.graph")],
)
def test_a_forged_graph_is_refused(
    small_texts: Model, tmp_path: Path, changed: dict[str, str], told: str
) -> None:
    one = small_texts.extractors[0]
    forged = replace(small_texts, extractors=(replace(one, row=replace(one.row, **changed)),))
    with pytest.raises(BundleError, match=told):
        Model.load(forged.save(tmp_path / "forged.regraft"))


def test_a_model_that_lost_too_much_is_not_given(
    fitted: Fitted, monkeypatch: pytest.MonkeyPatch
) -> None:
    def turned(model: Model, *_: Any, **__: Any) -> Refitted:
        head = model.head
        moved = np.roll(head.coefficients, 1, axis=1)
        return Refitted(
            replace(model, head=replace(head, coefficients=moved, kernels=())), "turned"
        )

    monkeypatch.setattr(quantize, "with_networks", turned)
    monkeypatch.setattr(learning_again, "quantized", lambda one, method, examples: one)
    with pytest.raises(RegraftError, match="quantize: refused: Accuracy falls"):
        regraft.quantize(fitted.model, max_drop=2.0, resamples=100, qat="never")


def test_all_mistakes_are_told_together(fitted: Fitted) -> None:
    with pytest.raises(UsageError) as caught:
        regraft.quantize(fitted.model, method="hui", head="buh", max_drop=-1, calibration=2)
    assert len(caught.value.mistakes) == 4
    assert "static, dynamic, weights" in caught.value.mistakes[0]


def test_strangers_calibrate_and_are_not_measured_on(
    fitted: Fitted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing that the model learned from is here; then its head stays."""
    monkeypatch.setattr(learning_again, "quantized", lambda one, method, examples: one)
    data = fitted.data.held_out
    unknown = replace(fitted.model, record={**fitted.model.record, "learned": []})
    made = regraft.quantize(
        unknown, replace(data, split_source="none"), calibration=10, method="static", **FREE
    )
    record = made.record["before_after"]
    assert record["n"] == len(data) - 10
    assert "without 10 that it was calibrated on" in record["examples"]
    assert "the head stays" in record["told"]
    np.testing.assert_array_equal(made.head.coefficients, unknown.head.coefficients)


# --- learning again ------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("before", "after", "told"),
    [(0.5, 0.9, "learned again for"), (0.9, 0.5, "was not worth it"), (0.5, 0.5, "was not worth")],
)
def test_a_network_learns_again_as_if_in_whole_numbers(
    before: float, after: float, told: str, fitted: Fitted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The better of both by what was held back is taken."""
    monkeypatch.setattr(learning_again, "SECONDS", 10.0)
    monkeypatch.setattr(learning_again, "FEWEST_HELD", 3)
    found = iter([before, after])
    monkeypatch.setattr(learning_again, "_accuracy", lambda *_: next(found))
    made = regraft.quantize(fitted.model, calibration=12, qat="always", **FREE)
    record = made.record["before_after"]
    assert told in record["told"]
    assert f"{after:.1%} right instead of {before:.1%}" in record["told"]
    (one,) = made.extractors
    assert one.row.graph == "openvino"
    assert ("aware" in one.row.name) == (after > before)
    assert record["after"]["bytes"] < 0.5 * record["before"]["bytes"]


@pytest.mark.parametrize(
    ("asked", "lost", "learns"),
    [("auto", 0.004, 0), ("auto", 0.006, 1), ("never", 0.2, 0), ("always", -0.1, 1)],
)
def test_it_learns_again_where_much_is_lost_or_it_is_asked_to(
    asked: str, lost: float, learns: int, fitted: Fitted, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[Any] = []
    about = quantize.Asked("static", None, None, 10, asked, 0, 100)

    class Voice:
        say = staticmethod(said.append)

    record = {"lost": {"value": lost}}
    voice: Any = Voice()
    assert quantize._learns_again(fitted.model, ["static"], record, about, voice) == bool(learns)
    assert len(said) == learns
    assert all("0.5" in text for text in said)
    if learns:
        assert not quantize._learns_again(fitted.model, ["weights"], record, about, voice)
        assert "it cannot learn again" in said[-1]
        about = replace(about, head="refit")
        assert not quantize._learns_again(fitted.model, ["static"], record, about, voice)
        assert "head is 'refit'" in said[-1]


def test_when_to_learn_again_is_refused_before_the_work(fitted: Fitted) -> None:
    with pytest.raises(UsageError, match="auto, always or never"):
        regraft.quantize(fitted.model, qat="sometimes")
    with pytest.raises(UsageError, match="for the method static"):
        regraft.quantize(fitted.model, qat="always", method="weights")
    with pytest.raises(UsageError, match="head is 'keep'"):
        regraft.quantize(fitted.model, qat="always", head="keep")
