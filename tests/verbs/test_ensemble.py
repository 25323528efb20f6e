"""Several models as one: members that belong together, honest parts, pools and soups."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import regraft
from regraft.backbones.extractor import Extractor
from regraft.errors import DataError, UsageError
from regraft.evaluation.calibration import softmax
from regraft.evaluation.operating import HELD_BACK, Judged
from regraft.model.model import Model
from regraft.verbs import ensemble as verb
from regraft.verbs.fit import fit_and_report
from regraft.verbs.fitted import Fitted
from regraft.verbs.measuring import short
from regraft.verbs.members import members

QUICK: dict[str, Any] = {"resamples": 200, "timed": False}
SETTINGS: dict[str, Any] = {"backbone": "efficientnet-lite0", "engine": "openvino"}


@pytest.fixture(scope="module", autouse=True)
def _few() -> Iterator[None]:
    """The examples of these tests are few."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verb, "FEWEST_HELD", 8)
        yield


@pytest.fixture(scope="module")
def small(photos: Path) -> Model:
    """As `fitted`, at half the size."""
    settings = {**SETTINGS, "size": 32, "parts": (0.5, 0.1, 0.4), "resamples": 200}
    return fit_and_report(photos, **settings).model


@pytest.fixture(scope="module")
def whole(fitted: Fitted, small: Model, photos: Path) -> Fitted:
    """Both, with the classes of the second in another order."""
    return regraft.ensemble([fitted.model, turned(small)], photos, method="average", **QUICK)


def turned(model: Model, order: tuple[int, ...] = (2, 0, 1)) -> Model:
    """The same model with its classes in another order."""
    from regraft.verbs.members import _in_order

    return _in_order(model, tuple(model.classes[k] for k in order))


# --- members -------------------------------------------------------------------------------------


def test_all_that_keeps_models_apart_is_told_at_once(fitted: Fitted, tmp_path: Path) -> None:
    model = fitted.model
    other = replace(model, classes=("disc", "square", "star"))
    with pytest.raises(UsageError) as told:
        members([model, other, replace(model, modality="text"), tmp_path / "none.regraft"])
    text = "\n".join(told.value.mistakes)
    assert "model 2: does not know 'stripes' and knows besides 'star'" in text
    assert "model 3: reads text, and model 1 reads image" in text
    assert "none.regraft" in text
    with pytest.raises(UsageError, match="needs 2 or more, got 1"):
        members([model])
    with pytest.raises(UsageError, match="is an export, without its networks"):
        members([model, replace(model, extractors=())])


def test_classes_in_another_order_are_brought_together(fitted: Fitted) -> None:
    model, other = fitted.model, turned(fitted.model)
    assert other.classes != model.classes
    first, second = members([model, other])
    rows = np.random.default_rng(0).normal(size=(5, sum(model.head.scaling.widths)))
    assert np.array_equal(first.logits(rows), second.logits(rows))
    for sha, logits in first.judged.items():
        assert np.array_equal(logits, second.judged[sha])
    kept = other.judged
    assert kept is not None
    assert [other.classes[k] for k in kept.labels] == [
        model.classes[k] for k in model.judged.labels
    ]


def test_files_of_one_name_are_told_by_their_folders(bundle: Path, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "model.regraft").write_bytes(bundle.read_bytes())
    paths = [tmp_path / folder / "model.regraft" for folder in ("a", "b")]
    assert [one.name for one in members(paths)] == ["a/model.regraft", "b/model.regraft"]


def test_a_fit_names_the_examples_that_it_was_judged_by(fitted: Fitted) -> None:
    record, kept = fitted.model.record, fitted.model.judged
    assert kept is not None
    assert record["judged_on"] == record["learned"]
    assert len(record["judged_on"]) == len(kept.labels)
    older = replace(fitted.model, record={k: v for k, v in record.items() if k != "judged_on"})
    first, second = members([fitted.model, older])
    assert first.judged.keys() == second.judged.keys()


# --- which examples ------------------------------------------------------------------------------


def test_nothing_is_measured_on_that_a_member_learned_from(
    whole: Fitted, fitted: Fitted, small: Model
) -> None:
    learned = {*fitted.model.record["learned"], *small.record["learned"]}
    table = whole.data.table
    test = {short(sha) for sha in table.filter(pl.col("split") == "test")["sha256"]}
    assert test
    assert not test & learned
    assert whole.report.record["split"]["n"] == len(whole.data.test)
    assert {short(sha) for sha in whole.data.validation.table["sha256"]} <= learned
    assert learned <= {*whole.model.record["learned"]}


def test_members_that_learned_from_everything_leave_nothing(
    fitted: Fitted, small: Model, photos: Path
) -> None:
    shas = [short(sha) for sha in regraft.ensemble(
        [fitted.model, small], photos, method="best", **QUICK
    ).data.table["sha256"]]  # fmt: skip
    all_of_it = replace(small, record={**small.record, "learned": shas})
    with pytest.raises(DataError, match=r"0 to measure on.*model 1 39, model 2 66"):
        regraft.ensemble([fitted.model, all_of_it], photos)


def test_new_examples_are_split(fitted: Fitted, small: Model, write_photos: Any, tmp_path: Path):
    new = write_photos(tmp_path / "new", {kind: range(200, 215) for kind in fitted.model.classes})
    made = regraft.ensemble([fitted.model, small], new, **QUICK)
    assert len(made.data.validation) + len(made.data.test) == 45
    assert len(made.data.test) == made.report.record["before_after"]["n"]
    assert not any(f.kind == "learned-from" for f in made.data.findings)


def test_wrong_settings_are_refused(fitted: Fitted, small: Model, photos: Path) -> None:
    with pytest.raises(UsageError, match="did you mean greedy"):
        regraft.ensemble([fitted.model, small], photos, method="gredy")
    with pytest.raises(UsageError, match="uniform-soup: model 2 reads 32 px"):
        regraft.ensemble([fitted.model, small], photos, method="uniform-soup")


# --- the whole -----------------------------------------------------------------------------------


def test_the_whole_says_the_mean_of_its_members(
    whole: Fitted, fitted: Fitted, small: Model, photos: Path, tmp_path: Path
) -> None:
    files = sorted(photos.rglob("09*.png")) + sorted(photos.rglob("00*.png"))[:4]
    logits = [
        one.head.scores(one.features(files).features) / one.temperature
        for one in (fitted.model, small)
    ]
    expected = softmax((logits[0] + logits[1]) / 2, whole.model.temperature)
    loaded = Model.load(whole.model.save(tmp_path / "whole.regraft"))
    for model in (whole.model, loaded):
        found = model.answer(model.features(files).features)
        assert np.allclose(found.probabilities, expected, atol=1e-6)
    assert loaded.classes == fitted.model.classes
    assert len(loaded.extractors) == 2
    again = regraft.evaluate(loaded, whole.data.test).metrics["log_loss"]["value"]
    assert again == pytest.approx(whole.report.metrics["log_loss"]["value"], abs=1e-6)


def test_the_report_shows_members_methods_and_the_gain(whole: Fitted) -> None:
    record = whole.report.record
    names = [row["name"] for row in record["tried"]]
    assert names[1:] == ["model 1", "model 2", "average"]
    assert [row["kept"] for row in record["tried"]] == [False, False, False, True]
    beside = record["before_after"]
    score = {row["name"]: row["score"]["value"] for row in record["tried"]}
    best = next(name for name in names[1:3] if f"before: {name}," in beside["told"])
    assert beside["lost"]["value"] == pytest.approx(score[best] - score["average"])
    assert whole.model.record["before_after"]["lost"] == beside["lost"]
    assert "<h2" in whole.report.html()


def test_shared_networks_stand_in_it_once(fitted: Fitted, photos: Path) -> None:
    model = fitted.model
    other = replace(model, temperature=model.temperature * 2)
    made = regraft.ensemble([model, other], photos, method="average", **QUICK).model
    assert len(made.extractors) == 1
    assert made.head.scaling.widths == model.head.scaling.widths


# --- averages of weights -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tuned_pair(kept: Callable[[float], Any]) -> tuple[Model, Model]:
    """A tuned network, and the same with its weights a little off."""
    from regraft.backbones.network import load_network
    from regraft.training.tuned import written_row

    model: Model = kept(1.0).fitted.model
    (one,) = model.extractors
    state = load_network(one.row).module.state_dict()
    moved = {n: t * 1.01 if t.is_floating_point() else t for n, t in state.items()}
    row = written_row(moved, one.row, one.row.name)
    other = Extractor(row, one.spec, one.engine_name)
    return model, replace(model, extractors=(other,))


def test_a_soup_is_one_network_of_the_mean_weights(
    tuned_pair: tuple[Model, Model], lesson: Path
) -> None:
    from regraft.backbones.network import load_network

    made = regraft.ensemble(tuned_pair, lesson, method="uniform-soup", **QUICK)
    (one,) = made.model.extractors
    states = [
        load_network(m.extractors[0].row).module.state_dict() for m in (*tuned_pair, made.model)
    ]
    for name, mean in states[2].items():
        assert np.allclose(mean, (states[0][name] + states[1][name]) / 2, rtol=1e-5), name
    assert one.row.name.endswith("(soup of 2)")
    assert made.report.record["split"]["name"] == "test"


def test_between_a_tuned_network_and_its_start(
    tuned_pair: tuple[Model, Model], lesson: Path
) -> None:
    made = regraft.ensemble(tuned_pair, lesson, method="wise", **QUICK)
    (row,) = [row for row in made.report.record["tried"] if row["kept"]]
    assert "of the way from the start to model" in row["detail"]


def test_a_head_that_saw_the_examples_to_choose_by_is_no_part_of_a_soup(
    tuned_pair: tuple[Model, Model], lesson: Path
) -> None:
    first, second = tuned_pair
    kept = second.judged
    assert kept is not None
    assert kept.how == HELD_BACK
    leaky = replace(second, judged=Judged("leave-one-out", kept.probabilities, kept.labels))
    with pytest.raises(UsageError, match="model 2 learned from examples to choose by"):
        regraft.ensemble([first, leaky], lesson, method="greedy-soup")
