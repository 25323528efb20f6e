"""Variants of strategies: what they set, and that nothing else changes."""

import pytest

from regraft.errors import UsageError
from regraft.modalities import modality
from regraft.training.losses import LOSSES, parse_setting
from regraft.training.plan import Plan
from regraft.training.strategies import STRATEGIES, strategy
from regraft.training.variants import VARIANTS, base_of, crossed, same_run, varied


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("base", ["lp-ft", "full", "copy"])
def test_a_variant_sets_what_it_says_and_nothing_else(base: str, name: str) -> None:
    own, row = varied(f"{base}+{name}"), VARIANTS[name]
    plain = strategy(base)
    assert (own.name, base_of(own.name)) == (f"{base}+{name}", base)
    assert own.told == f"as {base}, with {row.told}"
    for reads in ("picture", "text", "sound"):
        of, was = own.of(reads), plain.of(reads)
        assert {**was.settings, **row.settings} == dict(of.settings)
        Plan(strategy=own.name, size=64, steps=1, **of.settings)
        assert all(getattr(of, key) == value for key, value in row.row.items())


@pytest.mark.parametrize("row", VARIANTS.values(), ids=VARIANTS)
def test_losses_and_augmentations_are_known(row: object) -> None:
    settings = VARIANTS[row.name].settings  # type: ignore[attr-defined]
    if "loss" in settings:
        assert LOSSES[parse_setting(settings["loss"]).name].task == "classes"
    if "augment" in settings:
        modality("image").augmentations(settings["augment"])


def test_several_variants_go_together_unless_they_set_the_same() -> None:
    both = varied("lp-ft+focal+strong")
    assert (both.settings["loss"], both.settings["augment"]) == ("focal", "strong")
    for wrong, told in {
        "lp-ft+focal+cross-entropy": "set loss",
        "lp-ft+wise-ft+no-wise-ft": "set back",
        "lp-ft+fokal": "did you mean focal",
        "probe+focal": "nothing is trained",
        "lp-tf+focal": "lp-ft",
    }.items():
        with pytest.raises(UsageError, match=told):
            varied(wrong)


def test_each_strategy_that_trains_stands_with_each_variant() -> None:
    assert crossed(("probe", "lp-ft"), ("focal", "plain")) == (
        *("probe", "lp-ft", "lp-ft+focal", "lp-ft+plain"),
    )
    assert all(varied(name) == STRATEGIES[name] for name in STRATEGIES)


def test_wise_ft_goes_back_with_any_number_of_examples() -> None:
    assert [varied("lp-ft").back_of(n) for n in (999, 1000)] == [0.5, 0.0]
    assert [varied("lp-ft+wise-ft").back_of(n) for n in (9, 10**6)] == [0.5, 0.5]
    assert varied("lp-ft+no-wise-ft").back_of(9) == 0.0


def test_a_variant_that_the_strategy_has_already_is_the_same_run() -> None:
    base = strategy("lp-ft").of("picture")
    same = {
        name: same_run(varied(f"lp-ft+{name}").of("picture"), base, 500)
        for name in ("label-smoothing", "average", "wise-ft", "focal", "no-average", "plain")
    }
    assert same == {
        **dict.fromkeys(("label-smoothing", "average", "wise-ft"), True),
        **dict.fromkeys(("focal", "no-average", "plain"), False),
    }
    assert not same_run(varied("lp-ft+wise-ft"), base, 5000)
