"""What probes may cost: by counts and a measured speed, never by a clock."""

from dataclasses import replace

import pytest

from regraft.backbones.catalog import DEFAULT, find
from regraft.backbones.extractor import Extractor
from regraft.recipe import Recipe
from regraft.transfer.inputs import MIRRORED, Choice
from regraft.verbs.forecast import ALWAYS, Forecast

ROW = find(DEFAULT)
SPEC = ROW.spec.at(224)


def first(files: int, budget: float, rate: float = 150.0, **asked: int) -> tuple[int, str]:
    """Size and reason, on a machine of so many pictures a second at 224 px."""
    forecast = Forecast(files, budget)
    forecast.learn(Extractor(ROW, SPEC, "torch", rate))
    found = forecast.first(Choice(SPEC, {}), ROW, Recipe().changed(**asked))
    return found.spec.size, found.reasons.get("size", "")


def test_seconds_follow_the_number_the_area_and_the_views() -> None:
    forecast = Forecast(1000, 60.0)
    one = forecast.seconds(ROW, SPEC)
    assert Forecast(3000, 60.0).seconds(ROW, SPEC) == pytest.approx(3 * one)
    assert forecast.seconds(ROW, SPEC.at(112)) == pytest.approx(one * (0.1 + 0.9 / 4))
    twice = Extractor(ROW, SPEC, "torch", 300.0), Extractor(ROW, SPEC, "torch", 150.0)
    speeds = []
    for extractor in twice:
        forecast.learn(extractor)
        speeds.append(forecast.seconds(ROW, SPEC))
    assert speeds[1] == pytest.approx(2 * speeds[0])


def test_a_short_budget_begins_smaller_and_says_so() -> None:
    sizes = [first(3400, budget)[0] for budget in (20.0, 30.0, 60.0, 120.0)]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[-1] == 224
    size, why = first(3400, 40.0)
    assert why == f"{size} px: 3,400 examples at 224 px would take about 32 s"
    assert 3400 * (0.1 + 0.9 * (size / 224) ** 2) / (0.7 * 150) <= 0.9 * 40 - ALWAYS


def test_few_pictures_are_never_made_smaller() -> None:
    assert first(300, 10.0) == (224, "")


def test_a_size_that_was_asked_for_is_taken() -> None:
    assert first(100_000, 10.0, size=224) == (224, "")


def test_what_is_planned_counts() -> None:
    forecast = Forecast(1000, 60.0)
    needed = forecast.seconds(ROW, SPEC)
    forecast.plan(60.0 - ALWAYS - 1.5 * needed)
    assert forecast.affords(ROW, SPEC)
    assert not forecast.affords(ROW, SPEC)
    assert not Forecast(1000, 60.0).affords(ROW, SPEC, more=60.0)


def test_a_second_view_costs_that_view_alone() -> None:
    both, forecast = replace(SPEC, views=MIRRORED), Forecast(1000, 60.0)
    needed = forecast.seconds(ROW, SPEC)
    forecast.plan(60.0 - ALWAYS - 1.5 * needed)
    assert not forecast.affords(ROW, both)
    assert not forecast.affords(ROW, both, known=SPEC.at(192))
    assert forecast.affords(ROW, both, known=SPEC)
    assert forecast.planned == pytest.approx(60.0 - ALWAYS - 0.5 * needed)


def test_so_many_examples_as_there_is_time_for() -> None:
    forecast = Forecast(10_000, 30.0)
    forecast.learn(Extractor(ROW, SPEC, "torch", 150.0))
    small = SPEC.at(96)
    assert forecast.most(ROW, small) == pytest.approx(
        10_000 * (0.9 * 30 - ALWAYS) / forecast.seconds(ROW, small), abs=1
    )
    assert Forecast(500, 30.0).most(ROW, small) == 500
    assert Forecast(0, 30.0).most(ROW, small) == 0


def test_a_head_for_which_there_is_no_time_is_not_made() -> None:
    assert Forecast(3000, 60.0).affords_head(3000, 3600)
    assert not Forecast(3000, ALWAYS + 1.0).affords_head(3000, 3600)
