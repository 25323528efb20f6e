"""Learning from changed pictures: what a step sees, how ε rises, and that a run goes on exactly."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from regraft.errors import UsageError
from regraft.robustness.attacks import L2, LINF, TOP, cross_entropy, pgd
from regraft.training.attacking import ATTACKS, Attacking
from regraft.training.checkpoints import Checkpoints
from regraft.training.terms import Execution


class Seen(nn.Module):
    """Linear scores; keeps what it was asked about with gradients for its own weights."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(torch.randn(8 * 8 * 3, 3, generator=generator) / 100)
        self.asked: list[Tensor] = []

    def forward(self, pixels: Tensor) -> Tensor:
        self.asked.append(pixels.detach().clone())
        return pixels.float().flatten(1) @ self.weight


def soft(logits: Tensor, targets: Tensor) -> Tensor:
    return -(targets * logits.log_softmax(1)).sum(1)


@pytest.fixture
def batch() -> tuple[Tensor, Tensor]:
    pixels = torch.randint(60, 190, (5, 8, 8, 3), dtype=torch.uint8)
    return pixels, nn.functional.one_hot(torch.tensor([0, 1, 2, 0, 1]), 3).float()


@pytest.mark.parametrize("name", [name for name in ATTACKS if name != "none"])
def test_it_learns_from_pictures_that_were_changed_within_their_bound(
    name: str, batch: tuple[Tensor, Tensor]
) -> None:
    pixels, targets = batch
    attacking, network = Attacking.of(f"{name}:eps=4"), Seen()
    torch.manual_seed(0)
    losses = attacking.losses(network, Seen(), soft, pixels, targets, 1.0)
    assert losses.shape == (5,)
    losses.sum().backward()  # type: ignore[no-untyped-call]
    assert network.weight.grad is not None
    assert network.weight.grad.abs().sum() > 0
    (asked,) = network.asked
    changed = asked[-5:] - pixels
    norm = L2 if name.endswith("l2") else LINF
    most = 4 * (3 if name.startswith("n-fgsm") else 1)  # noise of 2 ε and a step of ε
    assert (norm.size(changed) <= most * 1.001).all()
    assert (norm.size(changed) > 0).all()
    assert asked.min() >= 0
    assert asked.max() <= TOP
    clean = soft(Seen()(pixels), targets)
    assert losses.mean() > clean.mean()


def test_without_an_attack_a_step_is_as_it_always_was(batch: tuple[Tensor, Tensor]) -> None:
    pixels, targets = batch
    network = Seen()
    found = Attacking.of("none").losses(network, network, soft, pixels, targets, 0.3)
    assert torch.equal(found, soft(Seen()(pixels), targets))
    assert len(network.asked) == 1


def test_trades_is_the_loss_and_how_far_the_answer_moves(batch: tuple[Tensor, Tensor]) -> None:
    pixels, targets = batch
    torch.manual_seed(5)
    network = Seen()
    losses = Attacking.of("trades:eps=3,beta=2").losses(network, network, soft, pixels, targets, 1)
    changed = network.asked[-1][5:]
    clean, other = Seen()(pixels), Seen()(changed)
    p, q = clean.softmax(1), other.softmax(1)
    expected = soft(clean, targets) + 2 * (p * (p.log() - q.log())).sum(1)
    torch.testing.assert_close(losses, expected, rtol=1e-4, atol=1e-5)


def test_the_size_rises_from_nothing_and_is_full_then() -> None:
    attacking = Attacking.of("n-fgsm:eps=8,begins=0.25,full=0.75")
    found = [attacking.eps_at(share) for share in (0, 0.25, 0.5, 0.75, 1.0)]
    assert found == pytest.approx([0, 0, 4, 8, 8])
    assert Attacking.of("pgd:eps=8,begins=0,full=0").eps_at(0) == 8
    assert Attacking.of("none").eps == 0


def test_all_that_is_wrong_is_told() -> None:
    with pytest.raises(UsageError, match="did you mean n-fgsm"):
        Attacking.of("nfgsm:eps=2")
    with pytest.raises(UsageError) as error:
        Attacking.of("pgd:eps=-1,steps=0.5,what=3")
    assert len(error.value.mistakes) == 3


def test_a_run_goes_on_exactly(tiny: Any, tmp_path: Path) -> None:
    """What is drawn for the changes depends on seed and step, and on nothing that came before."""
    setting = tiny("resnet")
    for name in ("whole", "parts"):
        (tmp_path / name).mkdir()

    def run(until: int, folder: Path) -> Any:
        training = setting.ready("adversarial", attack="n-fgsm:eps=4").training(
            execution=Execution(), checkpoints=Checkpoints(folder, "a")
        )
        stop = training._stops
        training._stops = lambda interrupts: training.step >= until or stop(interrupts)
        return training.run()

    whole = run(4, tmp_path / "whole")
    run(2, tmp_path / "parts")
    again = run(4, tmp_path / "parts")
    assert whole.steps == again.steps == 4
    for name, tensor in whole.last.items():
        assert torch.equal(tensor, again.last[name]), name


def test_training_against_an_attack_makes_answers_hold(tiny: Any) -> None:
    setting = tiny("resnet")

    def loss_under_attack(attack: str) -> float:
        ready = setting.ready("adversarial", attack=attack, steps=40, rate=3e-3, average=0.0)
        ready.training(patience=None).run()
        model, held = ready.model.eval(), setting.held
        torch.manual_seed(0)
        changed = pgd(model, held.pixels.float(), held.labels, LINF, 8.0)
        with torch.no_grad():
            return float(cross_entropy(model(changed), held.labels).mean())

    assert loss_under_attack("n-fgsm:eps=8,full=0.3") < loss_under_attack("none")


def test_there_must_be_pixels_to_change(tiny: Any) -> None:
    setting = tiny("resnet")
    with pytest.raises(UsageError, match="partial keeps activations"):
        setting.ready("partial", attack="n-fgsm")


def test_the_head_learns_first_and_against_small_changes(tiny: Any) -> None:
    setting = tiny("resnet")
    ready = setting.ready("adversarial", steps=20)
    run = ready.training(patience=None)
    *body, head = run.parts
    assert {part.from_step for part in body} == {2}
    assert head.from_step == 0
    start = {name: tensor.clone() for name, tensor in run.moving.items()}
    for batch in run.batches(range(2), 0):
        run._one_step(batch)
        run.step += 1
    moved = {name for name, tensor in run.moving.items() if not torch.equal(tensor, start[name])}
    assert moved == {"linear.weight", "linear.bias"}
