"""Learning from a teacher: softened answers beside labels, and what a closed-form head learns."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from regraft.errors import UsageError
from regraft.evaluation.calibration import softmax
from regraft.training.examples import Batch
from regraft.training.objectives import Classes, Taught
from regraft.training.teaching import Teaching


@pytest.fixture(scope="module")
def teaching(setting: Any) -> Teaching:
    """A teacher of the lesson; the last few have no labels of their own."""
    n = len(setting.lesson.labels)
    logits = np.random.default_rng(0).normal(size=(n, 3)) * 3
    known = np.arange(n) < n - 4
    return Teaching(logits, known, known, temperature=3.0, hard=0.25)


def taught(setting: Any, teaching: Teaching, **plan: Any) -> tuple[Any, Taught]:
    ready = setting.ready(**{"augment": "none", **plan})
    return ready, Taught(ready.plan, ready.material, teaching)


def batch_of(setting: Any, places: list[int]) -> Batch:
    pixels = torch.zeros(len(places), 32, 32, 3, dtype=torch.uint8)
    return Batch(pixels, torch.tensor(places))


def test_the_loss_is_that_of_the_paper(setting: Any, teaching: Teaching) -> None:
    """share · CE + (1 - share) · T² · CE at T, by PyTorch's own functions."""
    _, objective = taught(setting, teaching, loss="cross-entropy:smoothing=0.1")
    places = [0, 9, len(setting.lesson.labels) - 1]
    batch, rng = batch_of(setting, places), np.random.default_rng(0)
    _, targets = objective.targets(batch, torch.device("cpu"), rng)
    outputs = torch.randn(3, 3, generator=torch.Generator().manual_seed(0))
    labels = torch.as_tensor(setting.lesson.labels[places])
    soft = torch.as_tensor(softmax(teaching.logits[places], 3.0)).float()
    own = F.cross_entropy(outputs, labels, label_smoothing=0.1, reduction="none")
    calm = 9 * F.cross_entropy(outputs / 3, soft, reduction="none")
    share = torch.tensor([0.25, 0.25, 0.0])
    torch.testing.assert_close(
        objective.losses(outputs, targets), share * own + (1 - share) * calm, rtol=1e-4, atol=1e-4
    )


def test_labels_alone_are_the_usual_loss(setting: Any, teaching: Teaching) -> None:
    ready, objective = taught(setting, replace(teaching, hard=1.0))
    batch, outputs = batch_of(setting, [1, 2, 3]), torch.randn(3, 3)
    both = []
    for one in (objective, Classes(ready.plan, ready.material)):
        _, targets = one.targets(batch, torch.device("cpu"), np.random.default_rng(0))
        both.append(one.losses(outputs, targets))
    torch.testing.assert_close(both[0], both[1])


def test_a_consistent_teacher_sees_what_the_student_sees(setting: Any, teaching: Teaching) -> None:
    seen = []

    def see(pixels: Any) -> Any:
        seen.append(pixels)
        return torch.eye(3)

    _, objective = taught(setting, replace(teaching, see=see), augment="mixup=0.4")
    batch, rng = batch_of(setting, [0, 1, 2]), np.random.default_rng(0)
    pixels, targets = objective.targets(batch, torch.device("cpu"), rng)
    assert seen[0] is pixels
    torch.testing.assert_close(targets[:, 3:6], 0.75 * (torch.eye(3) / 3).softmax(1))


def test_what_cannot_be_learned_beside_a_teacher_is_refused(
    setting: Any, teaching: Teaching
) -> None:
    with pytest.raises(UsageError, match="attack: n-fgsm"):
        taught(setting, teaching, attack="n-fgsm:eps=2")
    with pytest.raises(UsageError, match="loss: contrastive"):
        taught(setting, teaching, loss="contrastive")


def test_a_run_learns_from_it(setting: Any, teaching: Teaching) -> None:
    """Labels that count for nothing leave what the teacher says: all are of one class."""
    one_sided = replace(teaching, logits=np.tile([0.0, 0.0, 9.0], (len(teaching.known), 1)))
    lesson = replace(setting.lesson, teaching=replace(one_sided, hard=0.0))
    ready = setting._replace(lesson=lesson).ready(steps=8, rate=0.01, augment="none")
    run = ready.training(held=ready.held(setting.later))
    before = run.held.logits(ready.model, run.device).argmax(1)
    trained = run.run()
    assert trained.curve[-1].loss < trained.curve[0].loss
    after = run.held.logits(ready.model, run.device).argmax(1)
    assert (after == 2).sum() > (before == 2).sum()


def test_what_a_head_learns(teaching: Teaching) -> None:
    labels = np.zeros(len(teaching.known), int)
    targets = teaching.targets(labels)
    assert np.allclose(targets.sum(1), 1)
    assert np.allclose(targets[-1], softmax(teaching.logits)[-1])
    assert np.allclose(targets[0], 0.25 * np.eye(3)[0] + 0.75 * softmax(teaching.logits)[0])
    some = np.array([0, 5])
    assert np.array_equal(teaching.some(some).targets(labels[some]), targets[some])
    assert teaching.key != replace(teaching, hard=0.5).key
