"""Training on vectors: the objective, weights of labels, and the rows that the ladder reads."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from regraft.errors import UsageError
from regraft.evaluation.calibration import fit_temperature, log_losses
from regraft.training.losses import class_weights
from regraft.training.objectives import Vectors, label_weights
from regraft.training.plan import Plan
from regraft.transfer.probe import fit_head
from regraft.transfer.targets import CLASSES, TAGS, TARGETS, VALUES, rarest
from regraft.verbs.choosing import mixed_answer

TRUTH = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 0], [1, 0, 1], [1, 1, 0]], float)


def objective(loss: str, truth: Any = TRUTH, **settings: Any) -> Vectors:
    return Vectors(Plan("lp-ft", 64, 1, loss=loss, **settings), truth, {})


def test_the_loss_is_the_mean_over_labels() -> None:
    outputs = torch.randn(2, 3)
    batch: Any = SimpleNamespace(pixels=torch.zeros(2, 4, 4, 3), places=torch.tensor([1, 3]))
    one = objective("binary")
    pixels, targets = one.targets(batch, torch.device("cpu"), np.random.default_rng(0))
    expected = F.binary_cross_entropy_with_logits(
        outputs, torch.tensor(TRUTH[[1, 3]]).float(), reduction="none"
    ).mean(1)
    torch.testing.assert_close(one.losses(outputs, targets), expected)
    (alone,) = one.alone(lambda x: outputs, lambda x: outputs, pixels, targets, 0.5)
    torch.testing.assert_close(alone, expected)
    numbers = objective("smooth-l1:beta=0.5", TRUTH * 3)
    expected = F.smooth_l1_loss(outputs, 3 * targets, beta=0.5, reduction="none").mean(1)
    torch.testing.assert_close(numbers.losses(outputs, 3 * targets), expected)


def test_class_weights_weigh_what_is_there_against_what_lacks() -> None:
    found = label_weights(torch.tensor(TRUTH), "binary", "inverse")
    assert found is not None
    assert found.shape == (2, 3)
    for k, there in enumerate(TRUTH.sum(0)):
        pair = class_weights(torch.tensor([5 - there, there]), "inverse")
        torch.testing.assert_close(found[:, k], pair)
    outputs, targets = torch.zeros(5, 3), torch.tensor(TRUTH).float()
    weighted = objective("binary", weights="inverse").losses(outputs, targets)
    cells = torch.where(targets > 0, found[1], found[0]).float()
    torch.testing.assert_close(weighted, (cells * np.log(2)).mean(1))
    focal = objective("binary-focal:gamma=0,alpha=0.5", weights="inverse")
    torch.testing.assert_close(focal.losses(outputs, targets), weighted / 2)


def test_what_has_no_use_is_refused() -> None:
    with pytest.raises(UsageError, match="weights: inverse is for classes and tags"):
        objective("l2", weights="inverse")
    with pytest.raises(UsageError, match="there are no classes here"):
        objective("binary", attack="pgd")


def test_the_row_of_classes_is_what_it_was() -> None:
    rng = np.random.default_rng(0)
    scores, labels = rng.normal(size=(40, 3)), rng.integers(0, 3, 40)
    calm = scores / fit_temperature(scores, labels)
    assert CLASSES.mean_loss(scores, labels) == log_losses(calm, labels).mean()
    assert CLASSES.score(scores, labels) == (scores.argmax(1) == labels).mean()
    assert CLASSES.asked(labels, 3) == {"labels": labels, "classes": 3}


def test_a_head_of_tags_gives_calibrated_log_odds() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(200, 8))
    truth = (features @ rng.normal(size=(8, 3)) + rng.normal(0, 2, (200, 3)) > 1).astype(float)
    fit = TAGS.finished(fit_head(features, widths=(8,), **TAGS.asked(truth, 3)), truth)
    p = 1 / (1 + np.exp(-fit.left_out))
    np.testing.assert_allclose(p.mean(0), truth.mean(0), atol=0.02)
    assert TAGS.losses(fit.left_out, truth).mean() < TAGS.losses(0 * fit.left_out, truth).mean()
    np.testing.assert_allclose(TAGS.calm(fit.left_out, truth), fit.left_out, atol=0.05)
    many = np.repeat(features, 3, 0), np.repeat(truth, 3, 0)  # more rows than columns: streamed
    wide = fit_head(many[0], widths=(8,), groups=np.arange(600) // 3, **TAGS.asked(many[1], 3))
    few = fit_head(features, widths=(8,), lambdas=np.array([wide.head.lam]), **TAGS.asked(truth, 3))
    np.testing.assert_allclose(wide.left_out[::3], few.left_out, atol=0.2)


def test_strata_are_the_rarest_tags() -> None:
    assert rarest(TRUTH).tolist() == [0, 1, 3, 2, 1]
    assert set(TARGETS) == {"classification", "tags", "regression"}


@pytest.mark.parametrize("target", [TAGS, VALUES], ids=lambda target: target.name)
def test_training_is_kept_only_where_it_clearly_gains(target: Any) -> None:
    rng = np.random.default_rng(1)
    truth = rng.normal(size=(80, 2)) if target is VALUES else 1.0 * (rng.random((80, 2)) < 0.4)
    middle = truth if target is VALUES else 4 * truth - 2
    poor = middle + rng.normal(0, 1.5, truth.shape)
    good = middle + rng.normal(0, 0.3, truth.shape)
    assert mixed_answer(good, poor, truth, target=target).share > 0
    worse = mixed_answer(poor, good, truth, target=target)
    assert worse.share == 0
    assert worse.why.startswith("not clearly better than the probe: ")
    same = mixed_answer(good.copy(), good, truth, target=target)
    assert same.share == 0
