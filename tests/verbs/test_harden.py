"""harden: what clean and robust accuracy choose, and the whole way from pictures to a model."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from regraft.errors import UsageError
from regraft.verbs.fit import Fitted
from regraft.verbs.harden import attack_text, harden
from regraft.verbs.hardening import START, Hardening, Operating, guarded

STATES = {  # name of the weights → which of four examples are right, and still right under attack
    START: ([1, 1, 1, 1] * 8, [0, 0, 0, 0] * 8),
    "averaged": ([1, 1, 0, 0] * 8, [1, 1, 0, 0] * 8),
    "averaged, 75% of the way from the probe": ([1, 1, 1, 0] * 8, [1, 0, 0, 0] * 8),
}


class Known(Hardening):
    """With figures that are known."""

    def _measured(self, how: str, state: Any) -> Operating:
        return Operating(how, *(np.array(flags, bool) for flags in STATES[how]))

    @property
    def n(self) -> int:
        return 32


@pytest.fixture
def choose(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(
        "regraft.verbs.hardening.weight_candidates",
        lambda trained, start: [(how, how) for how in STATES if how != START],
    )
    ready: Any = SimpleNamespace(plan=SimpleNamespace(attack="n-fgsm:eps=2"))
    judge: Any = SimpleNamespace(labels=torch.zeros(32))
    return lambda wish: Known(ready, judge, wish, 0).chosen(START, None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wish", "kept"),
    [(0.0, START), (0.1, START), (0.5, START), (0.7, "averaged"), (1.0, "averaged")],
)
def test_the_wish_says_which_point_is_taken(wish: float, kept: str, choose: Any) -> None:
    """Worth at 0.5: 0.5 for the start and for the average: a tie, which the start wins."""
    state, told = choose(wish)
    assert (state, told["how"]) == (kept, kept)
    points = told["trade_off"]["points"]
    assert [point["how"] for point in points if point["kept"]] == [kept]
    assert points[0] == {"how": START, "clean": 1.0, "robust": 0.0, "kept": kept == START}
    mix = guarded(told, np.zeros((2, 3)), 1.0)
    assert mix.share == (0.0 if kept == START else 1.0)
    assert "50.0% under attack against 100.0% and 0.0%" in mix.why or kept == START


def test_what_it_learns_from_is_told_as_a_plan_takes_it() -> None:
    assert attack_text(None, "n-fgsm") == "n-fgsm:eps=2"
    assert attack_text("8/255", "pgd") == "pgd:eps=8"
    assert attack_text(None, "trades-l2") == "trades-l2:eps=127.5"
    assert attack_text(None, "freelb") == "freelb:eps=0.1"
    assert attack_text("0.3", "freelb") == "freelb:eps=0.3"
    with pytest.raises(UsageError, match="did you mean n-fgsm"):
        attack_text(None, "nfgsm")
    with pytest.raises(UsageError, match="2/255"):
        attack_text("2", "pgd")
    with pytest.raises(UsageError, match="give it alone"):
        harden("somewhere", eps="2/255", attack="pgd:eps=1")


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny one: what is tested is the way, and a real one takes minutes under attack."""
    import timm
    from timm.models import save_for_hf

    folder = tmp_path_factory.mktemp("tiny")
    small = {"layers": [1, 1, 1, 1], "channels": [8, 12, 16, 20]}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = timm.create_model("resnet18", num_classes=3, **small)
    config = {"pretrained_cfg": {"input_size": [3, 32, 32], "crop_pct": 1.0}, "model_args": small}
    save_for_hf(made, folder, model_config=config, safe_serialization=True)
    return f"folder:{folder}"


@pytest.fixture(scope="module")
def hardened(lesson: Path, network: str, tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    asked = {"backbone": network, "size": 32, "engine": "torch", "resamples": 100, "steps": 12}
    asked |= {"wish": 1.0, "rate": 3e-3}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("regraft.verbs.hardening.JUDGED_ON", 6)
        return harden(lesson, eps="1/255", run=tmp_path_factory.mktemp("run"), **asked)


def test_pictures_become_a_model_with_its_trade_off(hardened: Fitted) -> None:
    (told,) = hardened.report.record["training"]
    assert told["name"] == "adversarial"
    assert told["plan"]["attack"] == "n-fgsm:eps=1"
    trade = told["trade_off"]
    assert (trade["norm"], trade["eps"], trade["wish"]) == ("linf", 1.0, 1.0)
    assert trade["points"][0]["how"] == START
    assert sum(point["kept"] for point in trade["points"]) == 1
    for point in trade["points"]:
        assert 0 <= point["robust"] <= point["clean"] <= 1
    kept = [row for row in hardened.report.record["tried"] if row["kept"]]
    (point,) = [point for point in trade["points"] if point["kept"]]
    assert kept[0]["kind"] == ("probe" if point["how"] == START else "adversarial")
    html = hardened.report.html()
    assert "between accuracy and robustness" in html
    assert "PGD-10 at ε = 1/255" in html


def test_a_model_is_hardened_by_its_own_recipe(
    hardened: Fitted, lesson: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen: dict[str, Any] = {}
    monkeypatch.setattr(
        "regraft.verbs.harden.fit_and_report",
        lambda source, recipe, **rest: seen.update(source=source, recipe=recipe),
    )
    bundle = hardened.model.save(tmp_path / "m.regraft")
    harden(bundle, method="trades", budget="2min")
    assert seen["source"] == str(lesson)
    recipe = seen["recipe"]
    assert (recipe.size, recipe.budget, recipe.strategy) == (32, 120.0, ("adversarial",))
    assert recipe.attack == "trades:eps=2"


def test_a_comparison_shows_what_holds_under_attack(lesson: Path, network: str) -> None:
    import regraft

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("regraft.verbs.hardening.JUDGED_ON", 6)
        asked = {"backbone": network, "size": 32, "engine": "torch", "steps": 2, "resamples": 100}
        found = regraft.compare(lesson, strategies=("probe", "adversarial"), **asked)
    for row in found.record["strategies"]:
        assert row["robust"]["n"] == 6
        assert row["robust"]["attack"] == "n-fgsm:eps=2"
        assert 0 <= row["robust"]["value"] <= 1
    from regraft.evaluation.compare_page import compare_page

    assert "Under attack" in compare_page(found.record)
