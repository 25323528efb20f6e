"""Augmentation: names and strengths, the same bytes from the same seed, libraries' own results."""

import json
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance
from torchvision.transforms.v2 import InterpolationMode, MixUp, RandAugment, TrivialAugmentWide
from torchvision.transforms.v2 import functional as F  # noqa: N812

from regraft.errors import UsageError
from regraft.modalities import policies, warps
from regraft.modalities.augment import (
    AUGMENTATIONS,
    SETS,
    Augmentations,
    BatchRow,
    PictureRow,
    augmented,
    mixed,
    parse,
)
from regraft.modalities.image import MODALITY
from regraft.modalities.paints import enhanced, hued
from regraft.modalities.spec import FITS, INTERPOLATIONS, InputSpec
from regraft.modalities.warps import Plan, Region, rendered

PICTURE_ROWS = [row for row in AUGMENTATIONS.values() if isinstance(row, PictureRow)]
BATCH_ROWS = [row for row in AUGMENTATIONS.values() if isinstance(row, BatchRow)]
SPEC = InputSpec(size=64)
WHOLE = InputSpec(size=64, crop_fraction=1.0, interpolation="bilinear", mean=(0.0, 0.0, 0.0))


def RNG(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def photo(width: int = 96, height: int = 72) -> Image.Image:
    """Smooth, without any symmetry; few values are near black."""
    y, x = np.mgrid[:height, :width].astype(float)
    x, y = x / max(width - 1, 1), y / max(height - 1, 1)
    waves = [x * 0.7 + 0.2, 0.5 + 0.3 * np.sin(5 * x + 2 * y * y), 0.2 + 0.6 * y * x]
    return Image.fromarray(np.round(np.stack(waves, 2) * 255).astype(np.uint8))


def seen(wanted: str, seed: int = 0, spec: InputSpec = SPEC, picture: Any = None) -> Any:
    rng = np.random.default_rng(seed)
    return augmented(picture or photo(), spec, parse(wanted), rng).astype(int)


# --- names and strengths -------------------------------------------------------------------------


def test_text_becomes_rows_in_the_order_of_application_and_text_again() -> None:
    wanted = parse(" rotate=20, crop = 0.4,flip ")
    assert wanted == (("crop", 0.4), ("flip", 0.5), ("rotate", 20.0))
    assert str(wanted) == "crop=0.4,flip=0.5,rotate=20"
    assert parse("none") == parse(parse("none")) == Augmentations()
    assert str(Augmentations()) == "none"


strengths = st.sampled_from(list(AUGMENTATIONS.values())).flatmap(
    lambda row: st.tuples(st.just(row.name), st.floats(row.lowest, row.highest))
)
rows = st.lists(strengths, unique_by=lambda row: row[0])


@given(rows)
def test_rows_survive_text_json_and_pickle(pairs: list[tuple[str, float]]) -> None:
    wanted = Augmentations(pairs)
    assert parse(str(wanted)) == wanted
    assert Augmentations(json.loads(json.dumps(wanted))) == wanted
    assert type(again := pickle.loads(pickle.dumps(wanted))) is Augmentations
    assert again == wanted
    assert hash(again) == hash(wanted)


@pytest.mark.parametrize("name", SETS)
def test_a_set_stands_for_its_rows_and_own_rows_go_before(name: str) -> None:
    assert parse(name) == parse(SETS[name])
    own = dict(parse(f"crop=0.9,{name},blur"))
    assert own == dict(parse(name)) | {"crop": 0.9, "blur": AUGMENTATIONS["blur"].default}


def test_sets_may_be_joined() -> None:
    assert parse("light,strong") == parse("strong")


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(UsageError) as caught:
        parse("flp,crop=3,rotate=x,erasing=nan,flip,flip,none,light=2,color,")
    told = dict(enumerate(caught.value.mistakes))
    assert "'flp' is unknown; did you mean flip?" in told[0]
    assert told[1].startswith("augment: crop=3.0: expected a number from 0.01 to 1 (least share")
    assert "rotate=x: expected a number from 0 to 180" in told[2]
    assert "erasing=nan" in told[3]
    assert told[4] == "augment: flip is named more than once"
    assert "'none' has no strength and stands alone" in told[5]
    assert "'light' has no strength and stands for crop=0.6,flip" in told[6]
    assert "did you mean colour?" in told[7]
    assert told[8].startswith("augment: '' is unknown; Known: crop, flip")
    assert len(told) == 9


def test_rows_that_are_no_pairs_are_told() -> None:
    with pytest.raises(UsageError, match="not a name and a strength"):
        Augmentations([("flip", 0.5, 1)])
    with pytest.raises(UsageError, match="flip=True: expected a number"):
        Augmentations([("flip", True)])


@pytest.mark.parametrize("row", AUGMENTATIONS.values(), ids=lambda row: row.name)
def test_a_row_is_told_in_words_and_its_default_is_allowed(row: Any) -> None:
    assert row.lowest <= row.default <= row.highest
    assert row.told
    assert row.unit
    json.dumps(row.to_dict())
    assert str(parse(row.name)) == f"{row.name}={row.default:g}"


# --- any strength, any size ----------------------------------------------------------------------

specs = st.builds(
    InputSpec,
    size=st.sampled_from((8, 33)),
    fit=st.sampled_from(FITS),
    crop_fraction=st.sampled_from((0.5, 1.0)),
    interpolation=st.sampled_from(INTERPOLATIONS),
)
shapes = st.one_of(
    st.tuples(st.integers(1, 60), st.integers(1, 60)),
    st.sampled_from(((1, 1), (10_000, 10), (10, 10_000), (1, 3_000))),
)


@settings(max_examples=150)
@given(rows, specs, shapes, st.integers(0, 2**32))
def test_any_strength_gives_a_picture_of_the_right_shape(
    pairs: list[tuple[str, float]], spec: InputSpec, shape: tuple[int, int], seed: int
) -> None:
    picture, wanted = Image.new("RGB", shape, (200, 100, 50)), Augmentations(pairs)
    first, second = (
        MODALITY.augment(picture, spec, wanted, np.random.default_rng(seed)) for _ in range(2)
    )
    assert (first.shape, first.dtype) == ((spec.size, spec.size, 3), np.uint8)
    assert np.array_equal(first, second)


@pytest.mark.parametrize("row", PICTURE_ROWS, ids=lambda row: row.name)
def test_every_row_changes_something_and_differs_by_seed(row: PictureRow) -> None:
    rough = Image.fromarray(RNG().integers(0, 256, (64, 64, 3), dtype=np.uint8))
    views = [seen(row.name, seed, WHOLE, rough) for seed in range(40)]
    assert len({view.tobytes() for view in views}) > 1
    assert any((view != seen("none", 0, WHOLE, rough)).any() for view in views)


# --- nothing wanted, nothing changed -------------------------------------------------------------


@given(specs, shapes)
def test_without_rows_it_is_what_prediction_sees(spec: InputSpec, shape: tuple[int, int]) -> None:
    picture = photo(*shape)
    usual = MODALITY.prepare(picture, spec, "centre")
    assert np.array_equal(seen("none", 0, spec, picture), usual)
    still = "flip=0,flip-vertical=0,rotate=0,grey=0,blur=0,noise=0,erasing=0,mixup"
    assert np.array_equal(seen(still, 0, spec, picture), usual)


@pytest.mark.parametrize("name", ["perspective", "randaugment", "trivialaugment", "colour"])
def test_at_strength_zero_nothing_is_moved_and_colours_stay_near(name: str) -> None:
    """The way to hue and back rounds; equalize and autocontrast have no strength."""
    still = [abs(seen(f"{name}=0", seed) - seen("none")).max() <= 4 for seed in range(20)]
    assert all(still) or (name in ("randaugment", "trivialaugment") and sum(still) > 8)


@pytest.mark.parametrize("fit", ["crop", "squash"])
def test_a_crop_of_everything_is_the_whole_picture(fit: str) -> None:
    """A square one: the only shape with the whole area is its own."""
    spec, picture = InputSpec(size=64, fit=fit, crop_fraction=0.5), photo(80, 80)
    usual = np.asarray(picture.resize((64, 64), Image.Resampling.BICUBIC)).astype(int)
    assert abs(seen("crop=1", 0, spec, picture) - usual).max() <= 1


def test_a_warp_that_is_nearly_still_is_what_prediction_sees() -> None:
    """The way with two resamplings shows the same region as the one with one."""
    for fit in FITS:
        spec = InputSpec(size=32, fit=fit)
        near, usual = (seen(w, 0, spec, photo(240, 160)) for w in ("rotate=0.001", "none"))
        assert (abs(near - usual).max(axis=2) > 6).mean() < 0.15, fit  # the rim of the padded one
        assert np.median(abs(near - usual)) <= 2, fit


# --- children of the generator -------------------------------------------------------------------


def test_a_row_that_is_added_leaves_the_others_as_they_were() -> None:
    for seed in range(20):
        alone, erased = seen("crop,colour", seed), seen("crop,colour,erasing=1", seed)
        same = (alone == erased).all(axis=2).mean()
        assert 0.7 < same < 1
        assert np.array_equal(seen("crop,flip=0,colour", seed), alone)
        assert np.array_equal(seen("crop,flip=1,colour=0.3", seed)[:, ::-1], alone)


def test_a_view_takes_one_draw_of_the_generator_whatever_is_wanted() -> None:
    states = []
    for wanted in ("none", "light", "strong"):
        augmented(photo(), SPEC, parse(wanted), rng := np.random.default_rng(3))
        states.append(rng.integers(2**60))
    assert len(set(states)) == 1


def test_nothing_global_is_random() -> None:
    before = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # type: ignore[index]
    mixed(torch.zeros(4, 8, 8, 3, dtype=torch.uint8), torch.eye(4), parse("mixup,cutmix"), RNG())
    seen("strong,noise,blur")
    assert torch.equal(before[0], torch.random.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])  # type: ignore[index]


# --- against other implementations ---------------------------------------------------------------


def plan_of(picture: Image.Image, spec: InputSpec = WHOLE) -> Plan:
    return Plan(picture.size, spec)


def test_flips_are_torchvisions() -> None:
    usual = Image.fromarray(seen("none").astype(np.uint8))
    assert np.array_equal(seen("flip=1"), np.asarray(F.horizontal_flip(usual)))
    assert np.array_equal(seen("flip-vertical=1"), np.asarray(F.vertical_flip(usual)))
    both = F.vertical_flip(F.horizontal_flip(usual))
    assert np.array_equal(seen("flip=1,flip-vertical=1"), np.asarray(both))


@pytest.mark.parametrize("degrees", [-120.0, -15.0, 7.5, 90.0])
def test_rotation_is_torchvisions(degrees: float) -> None:
    picture = photo(64, 64)
    ours = np.asarray(rendered(picture, warps.turned(plan_of(picture), degrees))).astype(int)
    theirs = np.asarray(F.rotate(picture, degrees, InterpolationMode.BILINEAR)).astype(int)
    assert (abs(ours - theirs).max(axis=2) > 1).mean() < 0.01  # the rim


def test_perspective_is_torchvisions() -> None:
    picture = photo(64, 64)
    start = [[0, 0], [64, 0], [64, 64], [0, 64]]
    end = [[6, 4], [60, 9], [55, 61], [2, 50]]
    matrix = warps.homography(np.array(end) / 64 - 0.5, np.array(start) / 64 - 0.5)
    ours = np.asarray(rendered(picture, plan_of(picture).warped(matrix))).astype(int)
    theirs = F.perspective(picture, start, end, InterpolationMode.BILINEAR)
    assert (abs(ours - np.asarray(theirs)).max(axis=2) > 2).mean() < 0.03


@pytest.mark.parametrize("x", [-0.5, 0.25])
def test_shears_and_shifts_are_torchvisions(x: float) -> None:
    picture = photo(64, 64)
    degrees = float(np.degrees(np.arctan(x)))
    options: dict[str, Any] = {"interpolation": InterpolationMode.BILINEAR, "angle": 0, "scale": 1}
    sheared = F.affine(picture, translate=[0, 0], shear=[degrees, 0], center=[32, 32], **options)
    shifted = F.affine(picture, translate=[int(64 * x), 0], shear=[0, 0], **options)
    plan = plan_of(picture)
    for ours, theirs in (
        (warps.sheared(plan, x, 0), sheared),
        (warps.shifted(plan, x, 0), shifted),
    ):
        difference = np.asarray(rendered(picture, ours)).astype(int) - np.asarray(theirs)
        assert (abs(difference).max(axis=2) > 2).mean() < 0.03


@pytest.mark.parametrize("factor", [0.5, 1.0, 1.6])
@pytest.mark.parametrize(
    ("kind", "theirs"),
    [
        (ImageEnhance.Brightness, F.adjust_brightness),
        (ImageEnhance.Contrast, F.adjust_contrast),
        (ImageEnhance.Color, F.adjust_saturation),
        (ImageEnhance.Sharpness, F.adjust_sharpness),
    ],
)
def test_tones_are_torchvisions(kind: Any, theirs: Callable[..., Any], factor: float) -> None:
    ours = np.asarray(enhanced(kind, factor)(photo()))
    assert np.array_equal(ours, np.asarray(theirs(photo(), factor)))


@pytest.mark.parametrize("turns", [-0.25, -0.1, 0.0, 0.2])
def test_hue_is_torchvisions(turns: float) -> None:
    ours = np.asarray(hued(turns)(photo())).astype(int)
    theirs = np.asarray(F.adjust_hue(photo(), turns)).astype(int)
    assert abs(ours - theirs).max() <= 6  # one step of 256 around the circle


def test_grey_is_torchvisions() -> None:
    usual = Image.fromarray(seen("none").astype(np.uint8))
    assert np.array_equal(seen("grey=1"), np.asarray(F.rgb_to_grayscale(usual, 3)))


@pytest.mark.parametrize(
    ("name", "amount", "theirs"),
    [
        ("posterize", 4, lambda p: F.posterize(p, 4)),
        ("solarize", 0.5, lambda p: F.solarize(p, 128)),
        ("autocontrast", 0, F.autocontrast),
        ("equalize", 0, F.equalize),
        ("identity", 0, lambda p: p),
    ],
)
def test_operations_are_torchvisions(name: str, amount: float, theirs: Any) -> None:
    operation = next(row for row in policies.SPACE if row.name == name)
    picture = photo(64, 64)
    ours = rendered(picture, operation.add(plan_of(picture), amount))
    usual = rendered(picture, plan_of(picture))
    assert np.array_equal(np.asarray(ours), np.asarray(theirs(usual)))


def test_operations_are_those_of_torchvision_in_number() -> None:
    for policy in (RandAugment, TrivialAugmentWide):
        assert len(policies.SPACE) == len(policy._AUGMENTATION_SPACE)


# --- crops ---------------------------------------------------------------------------------------


def regions(strength: float, fit: str, shape: tuple[int, int], n: int = 400) -> npt.NDArray[Any]:
    plan, rng = Plan(shape, InputSpec(fit=fit)), RNG(1)
    return np.array([warps.crop(plan, strength, rng).region for _ in range(n)])


def test_crops_keep_their_share_and_shape_and_reach_everywhere() -> None:
    left, top, width, height = regions(0.35, "crop", (400, 300)).T
    share, aspect = width * height / 120_000, width / height
    assert (share.min() >= 0.35, share.max() <= 1) == (True, True)
    assert (share.min() < 0.4, share.max() > 0.9) == (True, True)
    assert aspect.min() >= 3 / 4 - 1e-9
    assert aspect.max() <= 4 / 3 + 1e-9
    assert (left.min() >= 0, top.min() >= 0) == (True, True)
    assert ((left + width).max() <= 400 + 1e-9, (top + height).max() <= 300 + 1e-9) == (True, True)
    assert left.min() < 20  # the whole picture is seen, not its centre
    assert (left + width).max() > 380


def test_a_crop_of_a_strip_is_as_large_as_it_can_be() -> None:
    left, _, width, height = regions(0.35, "crop", (10_000, 10)).T
    assert np.allclose(width, 40 / 3)
    assert np.allclose(height, 10)
    assert left.std() > 1000


def test_a_crop_of_a_padded_picture_always_shows_it() -> None:
    spec = InputSpec(size=32, fit="pad", mean=(0.0, 0.0, 0.0))
    for seed in range(50):
        view = seen("crop=0.05", seed, spec, Image.new("RGB", (500, 5), (255, 255, 255)))
        assert view.max() == 255


def test_what_lies_beyond_the_picture_is_the_mean() -> None:
    spec = InputSpec(size=32, fit="squash", mean=(0.2, 0.4, 0.6))
    plan = warps.turned(Plan((96, 96), spec), 45)
    view = np.asarray(rendered(Image.new("RGB", (96, 96), (255, 255, 255)), plan))
    assert view[0, 0].tolist() == [51, 102, 153]
    assert view[16, 16].tolist() == [255, 255, 255]


def test_a_warped_region_shows_what_is_around_it() -> None:
    """Corners that turn out of the region are filled from the picture, not with the mean."""
    spec = InputSpec(size=32, crop_fraction=0.5, mean=(0.0, 0.0, 0.0))
    plan = warps.turned(Plan((96, 96), spec), 45)
    view = np.asarray(rendered(Image.new("RGB", (96, 96), (255, 255, 255)), plan))
    assert view.min() == 255


def test_a_large_picture_is_averaged_before_it_is_warped() -> None:
    """A chequerboard of pixels becomes grey, as when it is only made smaller."""
    board = np.indices((512, 512)).sum(0) % 2 * 255
    picture = Image.fromarray(np.repeat(board[..., None], 3, 2).astype(np.uint8))
    view = np.asarray(rendered(picture, warps.turned(plan_of(picture), 90))).astype(int)
    assert abs(view[4:-4, 4:-4] - 127.5).max() < 40


def test_a_region_on_the_rim_of_a_pixel() -> None:
    picture = Image.new("RGB", (1, 1), (9, 8, 7))
    plan = Plan((1, 1), SPEC, Region(0.95, 0.95, 0.05, 0.05))
    assert (np.asarray(rendered(picture, plan)) == (9, 8, 7)).all()


def test_erasing_covers_its_share_with_the_mean() -> None:
    spec = InputSpec(size=64, mean=(0.0, 0.0, 0.0))
    white = Image.new("RGB", (64, 64), (255, 255, 255))
    shares = [(seen("erasing=1", seed, spec, white) == 0).all(2).mean() for seed in range(200)]
    assert 0.015 < min(shares) < 0.04
    assert 0.17 < max(shares) < 0.21
    often = [seen("erasing", seed, spec, white).min() == 0 for seed in range(400)]
    assert 0.18 < np.mean(often) < 0.32


# --- batches -------------------------------------------------------------------------------------


def batch(n: int = 16, size: int = 12) -> tuple[torch.Tensor, torch.Tensor]:
    """Example i is of the one value 10 i, and of class i."""
    values = torch.arange(n, dtype=torch.uint8) * 10
    return values[:, None, None, None].repeat(1, size, size, 3), torch.eye(n)


@pytest.mark.parametrize("name", ["mixup", "cutmix"])
@given(st.floats(0.01, 10), st.integers(0, 2**32), st.integers(1, 20))
def test_targets_add_to_one_and_say_what_is_seen(
    name: str, strength: float, seed: int, n: int
) -> None:
    pixels, targets = batch(n)
    before = pixels.clone()
    made, shares = mixed(pixels, targets, Augmentations([(name, strength)]), RNG(seed))
    assert (made.shape, made.dtype, shares.dtype) == (pixels.shape, torch.uint8, torch.float32)
    assert torch.allclose(shares.sum(1), torch.ones(n), atol=1e-6)
    assert (shares.diagonal() >= 0.5 - 1e-6).all()
    told = shares @ (torch.arange(n) * 10.0)
    assert torch.allclose(made.float().mean((1, 2, 3)), told, atol=0.51)
    assert torch.equal(pixels, before)


def test_mixup_fades_and_cutmix_cuts() -> None:
    pixels, targets = batch()
    faded = mixed(pixels, targets, parse("mixup=1"), RNG())[0]
    cut = mixed(pixels, targets, parse("cutmix"), RNG())[0]
    assert all(len(example.unique()) == 1 for example in faded)
    assert max(len(example.unique()) for example in cut) == 2
    assert set(cut.unique().tolist()) <= set(pixels.unique().tolist())


def test_mixup_is_torchvisions_for_the_same_share() -> None:
    pixels, targets = batch(2)
    mixtures = (mixed(pixels, targets, parse("mixup=1"), RNG(seed)) for seed in range(99))
    made, shares = next(found for found in mixtures if found[1][0, 0] < 1)  # with the other
    for i in range(2):
        params = {"lam": float(shares[i, i]), "batch_size": 2, "labels": None}
        theirs = MixUp(num_classes=2).transform(pixels.float(), params)
        assert torch.equal(made[i], theirs[i].round().to(torch.uint8))


def test_of_two_ways_each_batch_takes_one() -> None:
    pixels, targets = batch()
    wanted, taken = parse("mixup=1,cutmix"), []
    for seed in range(60):
        made = mixed(pixels, targets, wanted, RNG(seed))[0]
        taken.append(all(len(example.unique()) == 1 for example in made))
    assert 15 < sum(taken) < 45


def test_without_mixing_a_batch_stays_as_it_is() -> None:
    pixels, targets = batch()
    made = mixed(pixels, targets, parse("light"), RNG())
    assert made[0] is pixels
    assert made[1] is targets
    assert not parse("light").mixes
    assert parse("strong").mixes
