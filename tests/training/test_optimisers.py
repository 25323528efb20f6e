"""Optimisers against torch's and timm's, and how groups are split."""

import math

import pytest
import torch
from timm.optim import create_optimizer_v2, list_optimizers
from torch import nn

from regraft.errors import UsageError
from regraft.training.optimisers import ALL, OPTIMISERS, Group, optimiser, set_rate

# Compiles its parts, which takes minutes.
SLOW = {"kron", "kronw", "kronc"}
USABLE = [n for n in list_optimizers() if n not in SLOW and not ALL[str(n)].obstacle]


def network(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    layers = [nn.Conv2d(2, 6, 3), nn.BatchNorm2d(6), nn.Flatten(), nn.Linear(24, 3)]
    return nn.Sequential(*layers)


def descend(net: nn.Module, made: torch.optim.Optimizer, steps: int = 3) -> list[float]:
    x = torch.randn(8, 2, 4, 4, generator=torch.Generator().manual_seed(1))
    losses = []
    for _ in range(steps):
        made.zero_grad()
        cost = (net(x) - 1).square().mean()
        cost.backward()
        made.step()
        losses.append(cost.item())
    return losses


def split(net: nn.Module, decay: float) -> list[dict[str, object]]:
    """The split by hand, for the reference."""
    large = [p for p in net.parameters() if p.ndim > 1]
    small = [p for p in net.parameters() if p.ndim < 2]
    return [{"params": large, "weight_decay": decay}, {"params": small, "weight_decay": 0.0}]


@pytest.mark.parametrize(
    ("name", "build", "options"),
    [
        ("sgd", torch.optim.SGD, {"momentum": 0.9, "nesterov": True}),
        ("adam", torch.optim.Adam, {}),
        ("adamw", torch.optim.AdamW, {}),
        ("adagrad", torch.optim.Adagrad, {}),
        ("rmsprop", torch.optim.RMSprop, {}),
        ("nadam", torch.optim.NAdam, {}),
    ],
)
def test_rows_are_those_of_torch(
    name: str, build: type[torch.optim.Optimizer], options: dict[str, object]
) -> None:
    ours, theirs = network(), network()
    group: Group = {"params": list(ours.parameters())}
    descend(ours, optimiser(name, [group], rate=0.01, weight_decay=0.1))
    descend(theirs, build(split(theirs, 0.1), lr=0.01, **options))  # type: ignore[call-arg]
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("name", sorted({*USABLE} - {*OPTIMISERS}))
def test_the_others_are_those_of_timm(name: str) -> None:
    ours, theirs = network(), network()
    group: Group = {"params": list(ours.parameters())}
    torch.manual_seed(5)  # some draw numbers
    first = descend(ours, optimiser(name, [group], rate=1e-3, weight_decay=0.1))
    torch.manual_seed(5)
    reference = create_optimizer_v2(split(theirs, 0.1), name, lr=1e-3, weight_decay=0.1)
    assert first == descend(theirs, reference)
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(a, b)
        assert a.isfinite().all()


def test_groups_are_split_by_what_decays() -> None:
    net = network()
    groups: list[Group] = [
        {"params": list(net[0].parameters()), "rate_factor": 0.1},
        {"params": list(net[3].parameters()), "decay": False},
    ]
    made = optimiser("adamw", groups, rate=0.2, weight_decay=0.3)
    told = [
        (len(g["params"]), g["lr"], g["rate_factor"], g["weight_decay"]) for g in made.param_groups
    ]
    assert told == [(1, 0.2 * 0.1, 0.1, 0.3), (1, 0.2 * 0.1, 0.1, 0.0), (2, 0.2, 1.0, 0.0)]
    set_rate(made, 0.05)
    assert [g["lr"] for g in made.param_groups] == [0.05 * 0.1, 0.05 * 0.1, 0.05]


def test_biases_and_norms_do_not_decay() -> None:
    net = network()
    before = [p.detach().clone() for p in net.parameters()]
    made = optimiser("sgd", [{"params": list(net.parameters())}], rate=0.1, weight_decay=0.5)
    for p in net.parameters():
        p.grad = torch.zeros_like(p)
    made.step()
    for p, old in zip(net.parameters(), before, strict=True):
        assert torch.equal(p, old) == (p.ndim < 2 or not old.any())


def test_the_same_steps_are_taken_each_time() -> None:
    runs = []
    for _ in range(2):
        net = network()
        made = optimiser("adamw", [{"params": list(net.parameters())}], rate=0.1, weight_decay=0)
        runs.append(descend(net, made, 5))
    assert runs[0] == runs[1]
    assert runs[0][-1] < runs[0][0]


def test_a_changed_layout_in_memory_changes_no_result() -> None:
    """What fused kernels get wrong on a CPU."""
    results = []
    for form in (torch.contiguous_format, torch.channels_last):
        weight = nn.Parameter(torch.arange(24.0).reshape(2, 3, 2, 2) / 24)
        made = optimiser("adamw", [{"params": [weight]}], rate=0.1, weight_decay=0)
        for step in range(4):
            if step == 2:
                moments = made.state[weight]
                for name in ("exp_avg", "exp_avg_sq"):
                    moments[name] = moments[name].contiguous(memory_format=form)
            weight.grad = weight.detach().clone() - step
            made.step()
        results.append(weight.detach())
    assert torch.equal(*results)


def test_options_are_taken_by_name_and_as_text() -> None:
    weights = [nn.Parameter(torch.zeros(2, 2))]
    by_name = optimiser("sgd", [{"params": weights}], rate=1, weight_decay=0, momentum=0.5)
    as_text = optimiser("sgd:momentum=0.5", [{"params": weights}], rate=1, weight_decay=0)
    assert by_name.defaults["momentum"] == as_text.defaults["momentum"] == 0.5
    betas = optimiser("adam", [{"params": weights}], rate=1, weight_decay=0, betas=(0.5, 0.6))
    assert betas.param_groups[0]["betas"] == (0.5, 0.6)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("adanw2", "did you mean"),
        ("AdamW", "did you mean adamw"),
        ("sdg", "sgd"),
        ("adamw:momentun=1", "parameter of optimiser adamw"),
        ("sgd:momentum=-1", "Invalid momentum"),
        ("sgd:momentum=0", "Nesterov momentum requires"),
        ("bnbadam", "needs the library bitsandbytes"),
        ("fusedsgd", "needs the library apex"),
        ("adahessian", "second derivatives"),
    ],
)
def test_wrong_names_and_values_are_told(name: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        optimiser(name, [{"params": [nn.Parameter(torch.zeros(2))]}], rate=1, weight_decay=0)


def test_all_mistakes_come_at_once() -> None:
    weight = nn.Parameter(torch.zeros(2, 2))
    groups = [{"params": [weight, weight], "rate_factor": -1, "lr": 1}]
    with pytest.raises(UsageError) as caught:
        optimiser("sgd", groups, rate=0, weight_decay=math.nan, beta=1, fused=True)  # type: ignore[arg-type]
    text = str(caught.value)
    for part in ("'beta'", "'fused'", "rate:", "weight_decay:", "'lr'", "rate_factor", "twice"):
        assert part in text
    assert len(caught.value.mistakes) == 7


@pytest.mark.parametrize("groups", [[], [{"params": []}]])
def test_nothing_to_move_is_told(groups: list[Group]) -> None:
    with pytest.raises(UsageError, match="no parameter"):
        optimiser("sgd", groups, rate=1, weight_decay=0)


def test_every_row_is_told() -> None:
    assert len(ALL) == len(list_optimizers())
    assert all(row.name == name and row.told.endswith(".") for name, row in OPTIMISERS.items())
    assert all(ALL[name].told for name in ALL)
