"""prune: a narrower model that learned again, from its bundle too; what is refused, and why."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import regraft
from regraft.errors import DataError, UsageError
from regraft.model.model import Model
from regraft.verbs import latency, narrowing, prune
from regraft.verbs.fitted import Fitted


@pytest.fixture(scope="module")
def narrow(fitted: Fitted) -> Model:
    """The model of `fitted` with fewer channels: the milder of two targets, after a few steps."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(latency, "FEWEST", 2)
        patch.setattr(latency, "SECONDS", 0.0)
        patch.setattr(prune, "FEWEST", 5)
        patch.setattr(narrowing, "BATCH", 8)
        return regraft.prune(
            fitted.model, target=("macs=0.85",), budget=0.5, max_drop=None, resamples=100
        )


@pytest.mark.slow
def test_it_is_narrower_and_tells_all_points(narrow: Model, fitted: Fitted) -> None:
    told, record = narrow.record["pruned"], narrow.record["before_after"]
    assert [point["name"] for point in told["curve"]] == ["as it was", "macs=0.85"]
    was, now = told["curve"]
    assert now["macs"] <= 0.85 * was["macs"]
    assert now["parameters"] < was["parameters"]
    assert all(point["seconds"] > 0 and 0 <= point["accuracy"] <= 1 for point in told["curve"])
    assert told["training"]["steps"] == narrowing.LEAST_STEPS
    assert told["training"]["start_accuracy"] > 0.5  # BatchNorm was estimated before the head
    assert record["verb"] == "prune"
    assert record["after"]["macs"] < 0.9 * record["before"]["macs"]
    assert record["after"]["bytes"] < record["before"]["bytes"]
    assert sorted(narrow.record["learned"]) == sorted(fitted.model.record["learned"])
    assert "leave_one_out" not in narrow.record


@pytest.mark.slow
def test_its_bundle_answers_the_same_on_a_machine_that_knows_nothing(
    narrow: Model, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [str(p) for p in sorted(photos.rglob("*.png"))[:6]]
    expected = narrow.predict(files)
    path = narrow.save(tmp_path / "small.regraft")
    monkeypatch.setenv("REGRAFT_CACHE", str(tmp_path / "cache"))
    loaded = Model.load(path)
    assert loaded.extractors[0].row.narrow
    assert loaded.record["pruned"]["channels"] == narrow.record["pruned"]["channels"]
    found = loaded.predict(files)
    assert [p.label for p in found] == [p.label for p in expected]
    assert [p.probability for p in found] == pytest.approx([p.probability for p in expected])
    assert regraft.evaluate(loaded, photos, resamples=100).record["before_after"]["verb"] == "prune"


def test_the_smallest_that_holds_is_taken() -> None:
    def point(name: str, accuracy: float) -> Any:
        lost = narrowing.Lost(accuracy, 100, 1, 1, 0.1)
        return narrowing.Narrowed(name, None, lost, "", {})  # type: ignore[arg-type]

    before = narrowing.Lost(0.9, 100, 1, 1, 0.1)
    curve = [point("mild", 0.91), point("half", 0.895), point("small", 0.7)]
    assert prune._chosen(curve, before, 1.0).target == "half"
    assert prune._chosen(curve, before, None).target == "small"
    assert prune._chosen(curve[2:], before, 1.0).target == "small"
    assert prune._chosen(curve, before, 0.0).target == "mild"


def test_all_mistakes_are_told_together(fitted: Fitted) -> None:
    one = fitted.model.extractors[0]
    two = replace(fitted.model, extractors=(one, one))
    with pytest.raises(UsageError) as caught:
        regraft.prune(
            two, target="speed=2", importance="luck", floor=0.0, budget=0.0, max_drop=-1.0
        )
    assert len(caught.value.mistakes) == 6
    assert "several networks" in caught.value.mistakes[0]


def test_too_few_examples_to_choose_by_are_told(fitted: Fitted) -> None:
    with pytest.raises(DataError, match="held back to choose by"):
        regraft.prune(fitted.model)


def test_zeros_are_for_study_and_say_so(fitted: Fitted) -> None:
    made = regraft.prune(fitted.model, sparsity=0.3, max_drop=None, resamples=100)
    told, record = made.record["pruned"], made.record["before_after"]
    assert told["zeros"] == pytest.approx([0.3], abs=1e-3)
    assert record["after"]["macs"] == record["before"]["macs"]
    assert "for study" in record["told"]
    assert record["n"] > 0


def test_zeros_and_channels_are_one_or_the_other(fitted: Fitted) -> None:
    with pytest.raises(UsageError, match="target, floor is about channels"):
        regraft.prune(fitted.model, sparsity=0.5, target="macs=0.5", floor=0.5)
    with pytest.raises(UsageError, match="between 0 and 1"):
        regraft.prune(fitted.model, sparsity=1.0)
