"""Learning from changed pictures: what a step sees, how ε rises, and that a run goes on exactly."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from regraft.backbones.embedded import embedding_of
from regraft.backbones.network import _capture
from regraft.backbones.padding import PADDING
from regraft.errors import UsageError
from regraft.robustness.attacks import L2, LINF, TOP, VECTORS, cross_entropy, pgd
from regraft.training.attacking import ATTACKS, PIECES, PIXELS, Attacking
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


OF_PICTURES = [n for n, row in ATTACKS.items() if n != "none" and row.space is PIXELS]


@pytest.mark.parametrize("name", OF_PICTURES)
def test_it_learns_from_pictures_that_were_changed_within_their_bound(
    name: str, batch: tuple[Tensor, Tensor]
) -> None:
    pixels, targets = batch
    attacking, network = Attacking.of(f"{name}:eps=4"), Seen()
    torch.manual_seed(0)
    rounds = attacking.losses(network, Seen(), soft, pixels, targets, 1.0)
    for _ in range(attacking.rounds.times):
        losses = next(rounds)
        assert losses.shape == (5,)
        losses.sum().backward()  # type: ignore[no-untyped-call]
    assert network.weight.grad is not None
    assert network.weight.grad.abs().sum() > 0
    assert len(network.asked) == attacking.rounds.times
    asked = network.asked[-1]
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
    (found,) = Attacking.of("none").losses(network, network, soft, pixels, targets, 0.3)
    assert torch.equal(found, soft(Seen()(pixels), targets))
    assert len(network.asked) == 1


def test_trades_is_the_loss_and_how_far_the_answer_moves(batch: tuple[Tensor, Tensor]) -> None:
    pixels, targets = batch
    torch.manual_seed(5)
    network = Seen()
    attacking = Attacking.of("trades:eps=3,beta=2")
    (losses,) = attacking.losses(network, network, soft, pixels, targets, 1)
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
    with pytest.raises(UsageError, match="replays"):
        Attacking.of("free:replays=0")


@pytest.mark.parametrize("attack", ["n-fgsm:eps=4", "free:eps=4,full=0", "freelb"])
def test_a_run_goes_on_exactly(attack: str, tiny: Any, texts: Any, tmp_path: Path) -> None:
    """What is drawn for the changes depends on seed and step, and on nothing that came before."""
    setting = texts if attack == "freelb" else tiny("resnet")
    for name in ("whole", "parts"):
        (tmp_path / name).mkdir()

    def run(until: int, folder: Path) -> Any:
        training = setting.ready("adversarial", attack=attack).training(
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


@pytest.mark.parametrize(
    ("learned", "steps", "moves"),
    [("n-fgsm:eps=8,full=0.3", 40, 40), ("free:eps=8,full=0.3,replays=4", 20, 80)],
)
def test_training_against_an_attack_makes_answers_hold(
    learned: str, steps: int, moves: int, tiny: Any
) -> None:
    """Against a run without one whose weights move as often."""
    setting = tiny("resnet")

    def loss_under_attack(attack: str, steps: int) -> float:
        ready = setting.ready("adversarial", attack=attack, steps=steps, rate=3e-3, average=0.0)
        ready.training(patience=None).run()
        model, held = ready.model.eval(), setting.held
        torch.manual_seed(0)
        changed = pgd(model, held.pixels.float(), held.labels, LINF, 8.0)
        with torch.no_grad():
            return float(cross_entropy(model(changed), held.labels).mean())

    assert loss_under_attack(learned, steps) < loss_under_attack("none", moves)


def test_training_against_moved_word_pieces_makes_answers_hold(texts: Any) -> None:
    def loss_under_attack(attack: str) -> float:
        ready = texts.ready("adversarial", attack=attack, steps=30, rate=1e-3, average=0.0)
        ready.training(patience=None).run()
        model, held = ready.model.eval(), texts.held
        still, seen = PIECES.still(model, held.pixels), PIECES.seen(model, model)
        torch.manual_seed(0)
        moved = pgd(seen, still, held.labels, VECTORS, 0.5)
        assert (VECTORS.size(moved - still) <= 0.5001).all()
        assert torch.equal(moved[..., -1], still[..., -1])
        assert not moved[held.pixels == PADDING].any()
        with torch.no_grad():
            torch.testing.assert_close(seen(still), model(held.pixels))
            return float(cross_entropy(seen(moved), held.labels).mean())

    assert loss_under_attack("freelb:eps=0.5") < loss_under_attack("none")


@pytest.mark.parametrize("micro", [None, 2])
def test_a_step_of_freelb_is_that_of_the_paper(micro: int | None, texts: Any) -> None:
    """Against Algorithm 1 of Zhu et al. 2020, text by text on vectors that are given by hand; only
    the bound is that of each vector, and the first change is none, which else is drawn.
    """
    attack = "freelb:eps=0.2,steps=3,step=0.7,start=0"
    run = texts.ready("full", attack=attack, steps=1, batch=5).training(
        execution=Execution(micro=micro)
    )
    (batch,) = run.batches(range(1), 0)
    run._set_mode()
    (losses,) = run._backward(batch)
    moving = {n: p for n, p in run.model.named_parameters() if p.grad is not None}
    ours = {name: p.grad.clone() for name, p in moving.items() if p.grad is not None}
    run.model.zero_grad()

    net, layer = run.model.network, embedding_of(run.model.network.module)
    unit = float(layer.weight.detach().norm(dim=1).mean())
    labels = torch.as_tensor(run.material.labels)[batch.places]
    theirs = torch.zeros(len(labels))
    for i, tokens in enumerate(batch.pixels):
        numbers = tokens[tokens != PADDING]
        change = torch.zeros(len(numbers), layer.embedding_dim, requires_grad=True)
        for _ in range(3):
            with _capture(None) as kept:
                net.module(inputs_embeds=(layer.weight[numbers] + unit * change)[None])
            features = torch.cat([kept[name] for name in net.block_names], 1)
            logits = run.model.linear((features - run.model.shift) * run.model.factor)
            loss = nn.functional.cross_entropy(logits, labels[i : i + 1]) / 3
            (loss / len(labels)).backward()  # type: ignore[no-untyped-call]
            theirs[i] += loss.detach()
            assert change.grad is not None
            lengths = change.grad.norm(dim=1, keepdim=True)
            new = change.detach() + 0.7 * 0.2 * change.grad / lengths
            new = new * (0.2 / new.norm(dim=1, keepdim=True)).clamp(max=1)
            change = new.requires_grad_()
    torch.testing.assert_close(losses, theirs, rtol=1e-4, atol=1e-5)
    assert any("word_embeddings" in name for name in ours)
    for name, gradient in ours.items():
        other = moving[name].grad
        assert other is not None
        torch.testing.assert_close(gradient, other, rtol=1e-3, atol=1e-5)


def test_a_step_of_free_training_is_that_of_the_paper(tiny: Any) -> None:
    """Against Algorithm 1 of Shafahi et al. 2019 on one batch; the first change is none here."""
    settings = {"optimiser": "sgd", "schedule": "constant", "warmup": 0.0, "clip": 0.0}
    settings |= {"average": 0.0, "weight_decay": 0.0, "shallow": 1.0, "steps": 1, "batch": 5}
    attack = {"attack": "free:eps=3,replays=3,start=0,full=0", "rate": 0.01}
    run = tiny("resnet").ready("full", **settings, **attack, norm="frozen").training()
    hand = tiny("resnet").ready("full", **settings, norm="frozen").training()
    (batch,) = run.batches(range(1), 0)
    pixels, targets = run._on_device(batch)
    run._one_step(batch)

    hand._set_mode()
    learning = [p for p in hand.model.parameters() if p.requires_grad]
    optimiser = torch.optim.SGD(learning, lr=0.01, momentum=0.9, nesterov=True)
    change = torch.zeros(pixels.shape)
    for _ in range(3):
        x = (pixels.float() + change).clamp(0, 255).requires_grad_()
        loss = hand.objective.losses(hand.model(x).float(), targets).mean()
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        assert x.grad is not None
        change = (x.detach() + 3 * x.grad.sign() - pixels).clamp(-3, 3)
    theirs = dict(hand.model.named_parameters())
    for name, tensor in run.model.named_parameters():
        torch.testing.assert_close(tensor, theirs[name], rtol=1e-4, atol=1e-6)
    assert change.abs().max() == 3


def test_there_must_be_something_to_change(tiny: Any, texts: Any) -> None:
    setting = tiny("resnet")
    with pytest.raises(UsageError, match="partial keeps activations"):
        setting.ready("partial", attack="n-fgsm")
    with pytest.raises(UsageError, match=r"word pieces, and .* reads a picture; .* n-fgsm"):
        setting.ready("full", attack="freelb")
    with pytest.raises(UsageError, match=r"free changes pixels, and .* reads a text; .* freelb"):
        texts.ready("full", attack="free")
    with pytest.raises(UsageError, match="freelb changes the vectors"):
        texts.ready("full", attack="freelb").training(execution=Execution(compiled=True))


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
