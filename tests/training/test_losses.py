"""Losses against torch's, torchvision's and their formulas."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight
from torch import Tensor
from torch.nn import functional as F  # noqa: N812
from torchvision.ops import sigmoid_focal_loss

from regraft.errors import UsageError
from regraft.training.losses import (
    LOSSES,
    WEIGHTINGS,
    Loss,
    class_weights,
    loss,
    parse_setting,
)

COUNTS = torch.tensor([100, 10, 1])
OF_CLASSES = [name for name, row in LOSSES.items() if row.task == "classes"]
ALONE = [name for name in OF_CLASSES if not LOSSES[name].embeds]  # by nothing beside them
SEEDS = st.integers(0, 10_000)


def made(name: str, classes: int = 3, **parameters: float) -> Loss:
    counts = COUNTS[:classes] if LOSSES[name].counted else None
    return loss(name, classes=classes, counts=counts, **parameters)


def batch(seed: int, classes: int = 3, n: int = 7) -> tuple[Tensor, Tensor, Tensor]:
    """Logits, one-hot and soft targets."""
    draw = torch.Generator().manual_seed(seed)
    logits = 5 * torch.randn(n, classes, generator=draw)
    labels = torch.randint(classes, (n,), generator=draw)
    soft = torch.rand(n, classes, generator=draw)
    return logits, F.one_hot(labels, classes).float(), soft / soft.sum(1, keepdim=True)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weights", [None, torch.tensor([0.5, 1.0, 4.0])])
def test_cross_entropy_is_that_of_torch_on_labels(smoothing: float, weights: Tensor | None) -> None:
    logits, hot, soft = batch(0)
    ours = loss("cross-entropy", classes=3, weights=weights, smoothing=smoothing)
    for target, truth in ((hot, hot.argmax(1)), (soft, soft)):
        torchs = F.cross_entropy(
            logits, truth, weights, label_smoothing=smoothing, reduction="none"
        )
        torch.testing.assert_close(ours(logits, target), torchs)


@given(SEEDS, st.sampled_from([0.0, 0.1]))
def test_focal_with_gamma_0_is_cross_entropy(seed: int, smoothing: float) -> None:
    logits, hot, soft = batch(seed)
    weights = torch.tensor([0.5, 1.0, 4.0])
    focal = loss("focal", classes=3, weights=weights, gamma=0.0, smoothing=smoothing)
    plain = loss("cross-entropy", classes=3, weights=weights, smoothing=smoothing)
    for target in (hot, soft):
        torch.testing.assert_close(focal(logits, target), plain(logits, target))


@pytest.mark.parametrize("gamma", [0.5, 2.0, 5.0])
def test_focal_has_its_closed_form(gamma: float) -> None:
    share = 0.8
    logits = torch.tensor([[math.log(share), math.log(0.2)]], dtype=torch.float64)
    cost = loss("focal", classes=2, gamma=gamma)(logits, torch.tensor([[1.0, 0.0]]))
    assert cost.item() == pytest.approx(-((1 - share) ** gamma) * math.log(share))


def test_focal_of_two_logits_is_the_sigmoid_form_of_torchvision() -> None:
    """With softmax over (x, 0) the share of the first class is sigmoid(x)."""
    x, hot = torch.linspace(-6, 6, 13)[:, None], torch.tensor([[1.0, 0.0]]).expand(13, 2)
    ours = loss("focal", classes=2)(torch.cat([x, torch.zeros_like(x)], 1), hot)
    theirs = sigmoid_focal_loss(x, torch.ones_like(x), alpha=-1, gamma=2)[:, 0]
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("gamma", [0.0, 1.0, 2.0])
def test_binary_focal_is_that_of_torchvision(gamma: float) -> None:
    logits, hot, soft = batch(1)
    for target in (hot, soft):
        theirs = sigmoid_focal_loss(logits, target, alpha=0.25, gamma=gamma).mean(1)
        ours = loss("binary-focal", classes=3, gamma=gamma)(logits, target)
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("binary", F.binary_cross_entropy_with_logits),
        ("smooth-l1", F.smooth_l1_loss),
        ("l2", F.mse_loss),
        ("l1", F.l1_loss),
    ],
)
def test_the_mean_is_that_of_torch(name: str, reference: Callable[..., Tensor]) -> None:
    outputs, _, targets = batch(2)
    torch.testing.assert_close(made(name)(outputs, targets).mean(), reference(outputs, targets))


def test_smooth_l1_takes_its_beta() -> None:
    outputs, _, targets = batch(3)
    ours = loss("smooth-l1", classes=3, beta=0.2)(outputs, targets)
    theirs = F.smooth_l1_loss(outputs, targets, beta=0.2, reduction="none").mean(1)
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("name", ["binary", "binary-focal", "smooth-l1", "l2", "l1"])
def test_weights_of_columns_scale_them(name: str) -> None:
    outputs, _, targets = batch(4)
    weights = torch.tensor([0.0, 0.0, 3.0])
    ours = loss(name, classes=3, weights=weights)(outputs, targets)
    torch.testing.assert_close(ours, loss(name, classes=1)(outputs[:, 2:], targets[:, 2:]))


@given(SEEDS, st.sampled_from(sorted(LOSSES)))
def test_costs_are_not_negative_and_one_per_example(seed: int, name: str) -> None:
    outputs, hot, soft = batch(seed)
    for target in (hot, soft):
        costs = made(name)(outputs, target)
        assert costs.shape == (7,)
        assert (costs >= 0).all()


@given(SEEDS, st.sampled_from(sorted(LOSSES)), st.sampled_from([0.3, 1.0, 2.0]))
def test_wild_outputs_have_finite_gradients(seed: int, name: str, gamma: float) -> None:
    signs, hot, soft = batch(seed)
    parameters = {"gamma": gamma} if "gamma" in LOSSES[name].parameters else {}
    for scale in (1.0, 20.0, 100.0, 1e4):
        for target in (hot, soft):
            outputs = (scale * signs.sign()).requires_grad_()
            costs = made(name, **parameters)(outputs, target)
            (gradient,) = torch.autograd.grad(costs.sum(), outputs)
            assert costs.isfinite().all()
            assert gradient.isfinite().all()


@pytest.mark.parametrize("name", ALONE)
def test_mixed_targets_cost_what_their_parts_cost(name: str) -> None:
    """Every loss for classes is linear in the targets: what mixup needs."""
    logits, hot, _ = batch(5)
    other = hot.flip(0)
    mixed = made(name)(logits, 0.3 * hot + 0.7 * other)
    parts = 0.3 * made(name)(logits, hot) + 0.7 * made(name)(logits, other)
    torch.testing.assert_close(mixed, parts)


@pytest.mark.parametrize("name", sorted(LOSSES))
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(name: str, dtype: torch.dtype) -> None:
    outputs, hot, _ = batch(6)
    outputs = outputs.to(dtype)
    costs = made(name)(outputs, hot)
    assert costs.dtype == torch.float32
    assert torch.equal(costs, made(name)(outputs.float(), hot))


def test_an_example_that_is_no_number_can_be_named() -> None:
    logits, hot, _ = batch(7)
    logits[3, 1] = math.nan
    assert made("focal")(logits, hot).isnan().nonzero().flatten().tolist() == [3]


def test_class_balanced_is_cross_entropy_with_effective_weights() -> None:
    logits, hot, _ = batch(8)
    weights = class_weights(COUNTS, "effective", beta=0.99)
    ours = loss("class-balanced", classes=3, counts=COUNTS, beta=0.99)(logits, hot)
    torch.testing.assert_close(ours, loss("cross-entropy", classes=3, weights=weights)(logits, hot))


# Weights ------------------------------------------------------------------------------------------


def test_effective_weights_have_the_formula_of_the_paper() -> None:
    beta = 0.999
    raw = torch.tensor([(1 - beta) / (1 - beta**n) for n in COUNTS.tolist()], dtype=torch.float64)
    ours = class_weights(COUNTS, "effective")
    torch.testing.assert_close(ours / ours.sum(), raw / raw.sum())


def test_inverse_weights_are_those_of_scikit_learn() -> None:
    labels = np.repeat(np.arange(3), COUNTS.numpy())
    theirs = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    np.testing.assert_allclose(class_weights(COUNTS, "inverse").numpy(), theirs)


@given(
    st.sampled_from(sorted(WEIGHTINGS)),
    st.lists(st.integers(0, 100_000), min_size=1, max_size=20).filter(any),
)
def test_weights_have_mean_1_over_examples_and_never_rise_with_counts(
    how: str, numbers: list[int]
) -> None:
    counts = torch.tensor(numbers)
    weights = class_weights(counts, how)
    assert ((weights * counts).sum() / counts.sum()).item() == pytest.approx(1)
    assert (weights > 0).all()
    assert (weights[counts.argsort()].diff() <= 1e-9).all()


def test_effective_lies_between_none_and_inverse() -> None:
    close = {"rtol": 1e-4, "atol": 0}
    nearly = class_weights(COUNTS, "effective", beta=1 - 1e-9)
    torch.testing.assert_close(nearly, class_weights(COUNTS, "inverse"), **close)
    none = class_weights(COUNTS, "none")
    torch.testing.assert_close(class_weights(COUNTS, "effective", beta=0.0), none)
    assert torch.equal(none, torch.ones(3).double())


def test_an_absent_class_weighs_as_one_with_one_example() -> None:
    weights = class_weights(torch.tensor([5, 1, 0]), "inverse")
    assert weights[1] == weights[2]


@pytest.mark.parametrize("counts", [[0, 0], [-1, 2], [math.nan, 1.0]])
def test_wrong_counts_are_told(counts: list[float]) -> None:
    with pytest.raises(UsageError, match="counts"):
        class_weights(torch.tensor(counts), "inverse")


def test_wrong_weightings_are_told() -> None:
    with pytest.raises(UsageError, match="did you mean inverse"):
        class_weights(COUNTS, "invers")
    with pytest.raises(UsageError, match="beta"):
        class_weights(COUNTS, "inverse", beta=0.5)


# Names and mistakes -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("l1", ("l1", {})),
        ("focal:gamma=1.5", ("focal", {"gamma": 1.5})),
        (" focal : gamma = 1e0 , smoothing=.1", ("focal", {"gamma": 1.0, "smoothing": 0.1})),
    ],
)
def test_text_is_read(text: str, expected: tuple[str, dict[str, float]]) -> None:
    assert parse_setting(text) == expected


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("fokal", ["did you mean focal", "cross-entropy"]),
        ("focal:gama=1", ["did you mean gamma"]),
        ("focal:gamma=11,smoothing=-1", ["11 is not a number from 0 to 10", "-1 is not"]),
        ("focal:gamma=nan", ["nan is not"]),
        ("focal:gamma", ["not parameter=number"]),
        ("focal:", ["not parameter=number"]),
        ("focal:gamma=1,gamma=2", ["each once"]),
        ("focal:gamma=x,smoothing=2", ["'gamma=x'", "2 is not"]),
        ("", ["unknown", "cross-entropy"]),
    ],
)
def test_wrong_text_is_told_at_once(text: str, told: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        parse_setting(text)
    assert all(part in str(caught.value) for part in told)


def test_all_mistakes_of_a_loss_come_at_once() -> None:
    with pytest.raises(UsageError) as caught:
        loss("class-balanced", classes=1, weights=torch.tensor([-1.0]), gamma=1, beta=2)
    words = ("gamma", "beta", "classes", "makes its own", "counts:", "weights: not")
    assert [any(word in text for text in caught.value.mistakes) for word in words] == [True] * 6


def test_counts_are_refused_where_they_would_be_ignored() -> None:
    with pytest.raises(UsageError, match="takes none"):
        loss("focal", classes=3, counts=COUNTS)


@pytest.mark.parametrize("shape", [(7,), (7, 2), (1, 3)])
def test_other_shapes_are_refused_rather_than_broadcast(shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="targets have shape"):
        made("l2")(torch.zeros(7, 3), torch.zeros(shape))


def test_every_row_is_told_and_has_its_name() -> None:
    for name, row in LOSSES.items():
        assert row.name == name
        assert row.told.endswith(".")
        assert all(not p.mistake(p.default) for p in row.parameters.values())


@given(SEEDS)
def test_smooth_l1_of_probabilities_is_that_of_torch_for_plain_labels(seed: int) -> None:
    outputs, hot, _ = batch(seed)
    odds, beta = outputs.softmax(1), LOSSES["probability-l1"].parameters["beta"].default
    expected = torch.nn.SmoothL1Loss(reduction="none", beta=beta)(odds, hot).sum(1)
    assert torch.allclose(made("probability-l1")(outputs, hot), expected, atol=1e-6)
    far = made("probability-l1")(1000 * hot.roll(1, 1) - 1000 * hot, hot)
    assert (far <= 2.0).all()  # a label that is wrong for certain
