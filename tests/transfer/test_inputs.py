"""Which networks and inputs are tried: what is set is obeyed or refused, the rest has a reason."""

from dataclasses import replace

import pytest

from regraft.backbones.catalog import DEFAULT, CatalogRow, available, catalog
from regraft.errors import UsageError
from regraft.recipe import Recipe
from regraft.transfer.inputs import MIRRORED, candidates, first_input, fitting, networks

VIEWS = ("centre", "whole-mirrored")
ROWS = list(catalog().values())
LITE0 = catalog()[DEFAULT]
LARGE, SMALL = [900] * 5, [60, 64, 70]


def of_pictures(row: CatalogRow) -> bool:
    return bool(available(row)) and row.spec.reads == "picture"


def mistakes(recipe: Recipe) -> list[str]:
    with pytest.raises(UsageError) as caught:
        networks(recipe, VIEWS)
    return list(caught.value.mistakes)


# --- networks ------------------------------------------------------------------------------------


def test_networks_that_are_asked_for_come_in_that_order() -> None:
    asked = ("efficientnet-lite1", "efficientnet-lite0", "resnet18")
    assert tuple(row.name for row in networks(Recipe(backbone=asked), VIEWS)) == asked


def test_left_open_it_is_the_default_then_the_best_that_are_here() -> None:
    found = networks(Recipe(), VIEWS)
    assert found[0].name == DEFAULT
    assert {row.name for row in found} == {row.name for row in ROWS if of_pictures(row)}
    scores = [row.upstream_score or 0 for row in found[1:]]
    assert scores == sorted(scores, reverse=True)


def test_only_networks_under_an_allowed_licence_are_chosen() -> None:
    found = networks(Recipe(licence=("APACHE-2.0",)), VIEWS)
    assert found[0].name == DEFAULT
    assert {row.licence_weights for row in found} == {"Apache-2.0"}
    (told,) = mistakes(Recipe(licence=("MIT", "no-such-licence")))
    assert "MIT, no-such-licence" in told


def test_a_named_network_under_another_licence_is_refused_by_name() -> None:
    asked = Recipe(backbone=(DEFAULT, "resnet18", "regnety-004"), licence=("bsd-3-clause",))
    assert mistakes(asked) == [
        f"backbone: {name}: the licence of its weights is Apache-2.0; you allow bsd-3-clause"
        for name in (DEFAULT, "resnet18")
    ]


def test_everything_that_cannot_be_obeyed_is_told_at_once() -> None:
    asked = Recipe(
        backbone=("efficientnet-lite9", "vit-tiny", "resnett18"),
        licence=("mit",),
        size=72,
        views=("centre", "left"),
        engine="abacus",
    )
    told = mistakes(asked)
    assert [line.split(":")[0] for line in told] == ["views", "engine", *["backbone"] * 3, "size"]
    assert "'left' is not one of centre, whole-mirrored" in told[0]
    assert "openvino" in told[1]
    assert "efficientnet-lite0" in told[2]
    assert "resnet18" in told[3]
    assert told[5] == "size: vit-tiny reads 32 px or more, a multiple of 16; got 72"


def test_a_size_that_no_network_here_reads_is_refused_for_each_by_name() -> None:
    told = mistakes(Recipe(size=16))
    assert {line.split()[1] for line in told} == {row.name for row in ROWS if of_pictures(row)}


def test_views_are_compared_only_where_they_are_known() -> None:
    assert networks(Recipe(views=("left",), backbone=(DEFAULT,))) == [LITE0]


# --- the first input -----------------------------------------------------------------------------


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
@pytest.mark.parametrize("sizes", [SMALL, LARGE, []], ids=["small", "large", "unknown"])
def test_every_network_can_read_what_is_chosen_for_it(row: CatalogRow, sizes: list[int]) -> None:
    first = first_input(row, Recipe(), sizes)
    for choice in (first, *candidates(row, first.spec, Recipe())):
        assert choice.spec.size % row.size_multiple == 0
        assert row.min_size <= choice.spec.size <= row.spec.size
        assert choice.spec.crop_fraction == 1
        assert (choice.spec.mean, choice.spec.std) == (row.spec.mean, row.spec.std)
        assert choice.reasons


def test_large_pictures_begin_at_the_size_of_the_network() -> None:
    choice = first_input(LITE0, Recipe(), LARGE)
    assert choice.spec == replace(LITE0.spec, crop_fraction=1.0)
    assert choice.reasons == {"size": "224 px: the network's own"}


def test_small_pictures_begin_small_and_the_reason_tells_how_small() -> None:
    choice = first_input(LITE0, Recipe(), SMALL)
    assert choice.spec.size == 128
    assert choice.reasons == {"size": "128 px: the pictures are small (64 px)"}


@pytest.mark.parametrize(("size", "small"), [(111, True), (112, False)])
def test_small_is_under_half_of_what_the_network_reads(size: int, small: bool) -> None:
    assert (first_input(LITE0, Recipe(), [size]).spec.size == 128) == small


@pytest.mark.parametrize("sizes", [SMALL, LARGE])
def test_what_is_set_is_obeyed_and_needs_no_reason(sizes: list[int]) -> None:
    asked = Recipe(size=64, views=("whole-mirrored",))
    choice = first_input(LITE0, asked, sizes)
    assert (choice.spec.size, choice.spec.views) == (64, ("whole-mirrored",))
    assert choice.reasons == {}


# --- what it is compared with --------------------------------------------------------------------


def test_nothing_that_was_set_is_varied() -> None:
    for asked in (
        Recipe(size=64, views=("centre",)),
        Recipe(size=64),
        Recipe(size=224, views="centre"),
    ):
        first = first_input(LITE0, asked, SMALL).spec
        assert candidates(LITE0, first, asked) == []


def test_a_set_size_leaves_the_views_open_and_the_other_way_round() -> None:
    asked = Recipe(size=224)
    (choice,) = candidates(LITE0, first_input(LITE0, asked, SMALL).spec, asked)
    assert (choice.spec.size, choice.spec.views) == (224, MIRRORED)
    asked = Recipe(views=("centre",))
    found = candidates(LITE0, first_input(LITE0, asked, SMALL).spec, asked)
    assert [(c.spec.size, c.spec.views) for c in found] == [(96, ("centre",)), (224, ("centre",))]


def test_small_pictures_are_tried_smaller_and_at_full_size() -> None:
    first = first_input(LITE0, Recipe(), SMALL).spec
    found = candidates(LITE0, first, Recipe())
    assert [choice.spec for choice in found] == [first.at(96), first.at(224)]
    assert all(set(choice.reasons) == {"size"} for choice in found)


def test_large_pictures_are_tried_with_a_second_view() -> None:
    first = first_input(LITE0, Recipe(), LARGE).spec
    (choice,) = candidates(LITE0, first, Recipe())
    assert choice.spec == replace(first, views=MIRRORED)
    assert set(choice.reasons) == {"views"}


@pytest.mark.parametrize(
    ("name", "size", "expected"),
    [
        (DEFAULT, 128, 128),
        (DEFAULT, 9, 32),
        ("dinov2-small", 128, 140),
        ("vit-base-torchvision", 96, 224),
    ],
)
def test_the_next_size_that_a_network_reads(name: str, size: int, expected: int) -> None:
    assert fitting(catalog()[name], size) == expected
