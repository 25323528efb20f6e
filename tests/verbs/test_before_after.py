"""Two models on the same examples: division of examples, figures, what a bundle keeps of them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import regraft
from regraft.errors import BundleError, DataError, RegraftError, UsageError
from regraft.model.model import Model
from regraft.verbs import latency
from regraft.verbs.before_after import before_and_after, bundle_bytes, kept
from regraft.verbs.fitted import Fitted
from regraft.verbs.unseen import Division, divided_for, examples_of


@pytest.fixture(scope="module")
def division(fitted: Fitted) -> Division:
    return divided_for(fitted.model, examples_of(fitted.model))


@pytest.fixture(autouse=True)
def few_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody believes the latencies of tests."""
    monkeypatch.setattr(latency, "FEWEST", 4)
    monkeypatch.setattr(latency, "SECONDS", 0.0)


def with_other_head(model: Model, factor: float) -> Model:
    """The same answers turned about: every class is taken for the next one."""
    head = model.head
    turned = replace(head, coefficients=factor * np.roll(head.coefficients, 1, axis=1), kernels=())
    return replace(model, head=turned)


def test_examples_are_divided_by_what_the_model_learned_from(
    fitted: Fitted, division: Division
) -> None:
    """Without given parts by content: the held-out part of the fit is what it has not seen."""
    held = set(fitted.data.held_out.table["id"])
    assert held <= set(division.unseen.table["id"])
    assert not held & set(division.taught.table["id"])
    assert set(division.taught.table["id"]) <= set(fitted.data.learning.table["id"])
    assert division.unseen.classes == fitted.model.classes


def test_nothing_is_measured_on_what_it_has_learned(fitted: Fitted) -> None:
    with pytest.raises(DataError, match="every one of these examples"):
        divided_for(fitted.model, replace(fitted.data.learning, split_source="none"))


def test_examples_that_are_gone_are_asked_for(fitted: Fitted, tmp_path: Path) -> None:
    gone = {**fitted.model.record, "recipe": {"source": str(tmp_path / "gone")}}
    with pytest.raises(UsageError, match="nothing is there to measure on"):
        examples_of(replace(fitted.model, record=gone))


def test_figures_are_those_of_evaluate_and_a_bundle_keeps_them(
    fitted: Fitted, division: Division, tmp_path: Path
) -> None:
    model = fitted.model
    record = before_and_after(
        model, model, division.unseen, verb="nothing", told="the same", max_drop=0.0, resamples=200
    )
    measured = regraft.evaluate(model, division.unseen, resamples=200).metrics
    for side in ("before", "after"):
        assert record[side]["score"] == pytest.approx(measured["accuracy"])
        assert record[side]["ece"]["value"] == pytest.approx(measured["ece"]["value"])
        assert [row["threads"] for row in record[side]["latency"]] == [1, 2]
        assert all(
            0 < row["networks"] < row["p50"] <= row["p95"] for row in record[side]["latency"]
        )
        assert record[side]["macs"] > 1e7
    assert record["lost"]["value"] == 0
    saved = kept(model, record).save(tmp_path / "a.regraft")
    assert abs(bundle_bytes(model) - saved.stat().st_size) < 5000
    loaded = Model.load(saved)
    assert loaded.record["before_after"] == {**record, "before": {**record["before"]}} | {
        side: record[side]
        | {"latency": list(record[side]["latency"]), "networks": list(record[side]["networks"])}
        for side in ("before", "after")
    }
    assert "before_after" in regraft.evaluate(loaded, division.unseen, resamples=100).record


def test_a_model_that_lost_too_much_is_refused(fitted: Fitted, division: Division) -> None:
    worse = with_other_head(fitted.model, 1.0)
    record = before_and_after(
        *(fitted.model, worse, division.unseen),
        **{"verb": "prune", "told": "", "max_drop": 5.0, "resamples": 100, "timed": False},
    )
    assert record["before"]["latency"] == ()
    assert record["lost"]["low"] > 0.2
    with pytest.raises(RegraftError, match="prune: refused"):
        kept(worse, record)


def test_models_of_other_classes_are_refused_with_all_mistakes(
    fitted: Fitted, division: Division
) -> None:
    other = replace(fitted.model, classes=("a", "b", "c"))
    with pytest.raises(UsageError) as caught:
        before_and_after(
            *(fitted.model, other, division.unseen), **{"verb": "", "told": "", "max_drop": -1}
        )
    assert len(caught.value.mistakes) == 2


def test_a_record_of_another_form_is_refused(fitted: Fitted, tmp_path: Path) -> None:
    forged = replace(fitted.model, record={**fitted.model.record, "before_after": {"verb": 3}})
    path = forged.save(tmp_path / "forged.regraft")
    with pytest.raises(BundleError, match=r"record\.before_after"):
        Model.load(path)
