"""What a step learns from where robustness is wanted: examples that were changed against it.

    for losses in Attacking.of("free:eps=2,replays=4").losses(network, ...):
        losses.sum().backward()                # before the next are asked for

Rows of ATTACKS, with numbers as parameters; ε in pixel units, of 255, or of texts in the mean
length of word pieces' vectors. Over pixels it rises from 0, since networks that were not robust
before lose what they know under a full ε at once (epsilon scheduling, arXiv 2509.23325). Random
numbers come from torch's generator, which the loop sets from (seed, step), and each batch begins
with a change of its own: a run that goes on after a kill sees the same changes.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from regraft.backbones.embedded import Moved, unmoved
from regraft.errors import UsageError
from regraft.robustness.attacks import L2, LINF, TOP, VECTORS, Norm, gradient, pgd
from regraft.training import losses
from regraft.training.plan import Plan
from regraft.training.settings import Parameter, complete, parse

NONE = "none"

Numbers = Mapping[str, float]
Network = Callable[[Tensor], Tensor]  # pixels (n, size, size, 3), 0 to 255 → logits (n, c)
Loss = Callable[[Tensor, Tensor], Tensor]  # logits, one-hot targets → (n,)


class Rounds(NamedTuple):
    """How often a batch goes backwards, and whether the weights move after each time, or once by
    the mean of all.
    """

    times: int = 1
    moves: bool = False


ONCE = Rounds()


@dataclass(frozen=True)
class Space:
    """What an attack changes.

    reads   networks that it is for, by what they read: a key of `spec.UNITS`
    noun    in the plural
    still   (bare network, examples) → what may be changed of them, as it is
    seen    (network, the bare one) → the network as a function of that
    inside  whether it comes to be in the network only
    """

    reads: str
    noun: str
    still: Callable[[Any, Tensor], Tensor]
    seen: Callable[[Any, Any], Any]
    inside: bool = False


PIXELS = Space("picture", "pixels", lambda bare, x: x.float(), lambda network, bare: network)
PIECES = Space(
    "text",
    "the vectors of word pieces",
    lambda bare, tokens: unmoved(bare.network.module, tokens),
    lambda network, bare: Moved(network, bare.network.module),
    inside=True,
)


class Asked(NamedTuple):
    """What a step is given.

    network  as it learns, maybe on several processes; `bare` is the same, for the attack itself
    pixels   (n, size, size, 3), or other examples; targets (n, c)
    eps      of this step
    space    what is changed
    """

    network: Network
    bare: Network
    loss: Loss
    pixels: Tensor
    targets: Tensor
    eps: float
    space: Space = PIXELS


@dataclass(frozen=True)
class Attack:
    """One row of ATTACKS: Asked, norm and parameters → losses (n,) to learn from.

    losses  gives them as often as the batch goes backwards, each time when it has for the last ones
    rounds  the parameter that says how often; empty: once
    moves   whether the weights move each time
    space   what is changed
    """

    name: str
    told: str
    losses: Callable[[Asked, Norm, Numbers], Iterator[Tensor]]
    own: Mapping[str, Parameter]
    norm: Norm = LINF
    source: str = ""
    rounds: str = ""
    moves: bool = False
    space: Space = PIXELS

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        return {**COMMON, **self.own}


COMMON = {
    "eps": Parameter(2.0, 0.0, 100 * TOP, "largest change, of 255"),
    "begins": Parameter(0.0, 0.0, 1.0, "share of the steps after which ε begins to rise from 0"),
    "full": Parameter(0.5, 0.0, 1.0, "share of the steps after which ε is full"),
}
STEPS = Parameter(5, 1, 100, "of the attack", whole=True)


def _clean(asked: Asked, norm: Norm, given: Numbers) -> Iterator[Tensor]:
    yield asked.loss(asked.network(asked.pixels).float(), asked.targets)


def _noisy_one_step(asked: Asked, norm: Norm, given: Numbers) -> Iterator[Tensor]:
    """A step of ε from noise of `noise` ε, not brought back: one step does not overfit so."""
    pictures = asked.pixels.float()
    noisy = pictures + norm.drawn(pictures, given["noise"] * asked.eps)
    found = gradient(lambda x: asked.loss(asked.bare(x).float(), asked.targets), noisy)
    changed = noisy + asked.eps * norm.steepest(found)
    yield asked.loss(asked.network(norm.kept(changed, pictures)).float(), asked.targets)


def _several_steps(asked: Asked, norm: Norm, given: Numbers) -> Iterator[Tensor]:
    changed = _pgd(asked, norm, given, lambda logits, _: asked.loss(logits.float(), asked.targets))
    yield asked.loss(asked.network(changed).float(), asked.targets)


def _trades(asked: Asked, norm: Norm, given: Numbers) -> Iterator[Tensor]:
    """The loss on the picture itself, and how far its change moves the answer."""
    with torch.no_grad():
        before = asked.bare(asked.pixels).float().softmax(1)
    changed = _pgd(asked, norm, given, lambda logits, _: _moved(logits.float(), before))
    both = asked.network(torch.cat([asked.pixels.float(), changed])).float()
    clean, other = both.chunk(2)
    yield asked.loss(clean, asked.targets) + given["beta"] * _moved(other, clean.softmax(1))


def _carried_on(asked: Asked, norm: Norm, given: Numbers) -> Iterator[Tensor]:
    """Each time backwards serves twice: weights learn from it, and the change goes on by it."""
    eps, space = asked.eps, asked.space
    still, see = space.still(asked.bare, asked.pixels), space.seen(asked.network, asked.bare)
    x = norm.kept(still + norm.drawn(still, given["start"] * eps), still)
    while True:
        leaf = x.detach().requires_grad_()
        yield asked.loss(see(leaf).float(), asked.targets)
        assert leaf.grad is not None
        moved = x + given["step"] * eps * norm.steepest(leaf.grad) - still
        x = norm.kept(still + norm.project(moved, eps), still)


def _moved(logits: Tensor, before: Tensor) -> Tensor:
    """(n,) Kullback–Leibler divergence from the answers before."""
    return nn.functional.kl_div(logits.log_softmax(1), before, reduction="none").sum(1)


def _pgd(asked: Asked, norm: Norm, given: Numbers, losses: Loss) -> Tensor:
    return pgd(
        asked.bare,
        asked.pixels.float(),
        asked.targets,
        norm,
        asked.eps,
        steps=int(given["steps"]),
        losses=losses,
        best=False,
    )


_NOISE = {"noise": Parameter(2.0, 0.0, 10.0, "at the start, of ε")}
_BETA = {"beta": Parameter(6.0, 0.0, 100.0, "weight of the change of the answer")}
_N_FGSM = ("one step from strong noise", _noisy_one_step, _NOISE)
_PGD = ("several steps, each projected", _several_steps, {"steps": STEPS})
_TRADES = ("the picture itself, and how far its change moves the answer", _trades)
_TRADES_OWN = {"steps": STEPS, **_BETA}
_START, _STEP = "size of the first change, of ε", "length of a step, of ε"
_FREE = {
    "replays": Parameter(4, 1, 100, "of a batch; weights move after each", whole=True),
    "start": Parameter(1.0, 0.0, 1.0, _START),
    "step": Parameter(1.0, 0.0, 10.0, _STEP),
}
_FREE_LB = {
    "eps": Parameter(0.1, 0.0, 100.0, "largest change, of a vector's mean length"),
    "full": Parameter(0.0, 0.0, 1.0, COMMON["full"].told),
    "steps": Parameter(3, 1, 100, "whose gradients add up", whole=True),
    "start": Parameter(0.5, 0.0, 1.0, _START),
    "step": Parameter(0.5, 0.0, 10.0, _STEP),
}
_REPLAYED = ("a batch several times, weights and its change move together", _carried_on, _FREE)
_SHAFAHI = "Shafahi et al. 2019, arXiv 1904.12843"

ATTACKS: Mapping[str, Attack] = MappingProxyType(
    {
        row.name: row
        for row in (
            Attack(NONE, "pictures as they are", _clean, {}),
            Attack("n-fgsm", *_N_FGSM, source="de Jorge et al. 2022, arXiv 2202.01181"),
            Attack("n-fgsm-l2", *_N_FGSM, norm=L2, source="de Jorge et al. 2022, arXiv 2202.01181"),
            Attack("pgd", *_PGD, source="Madry et al. 2018, arXiv 1706.06083"),
            Attack("pgd-l2", *_PGD, norm=L2, source="Madry et al. 2018, arXiv 1706.06083"),
            Attack("trades", *_TRADES, _TRADES_OWN, source="Zhang et al. 2019, arXiv 1901.08573"),
            Attack(
                "trades-l2",
                *_TRADES,
                _TRADES_OWN,
                norm=L2,
                source="Zhang et al. 2019, arXiv 1901.08573",
            ),
            Attack("free", *_REPLAYED, source=_SHAFAHI, rounds="replays", moves=True),
            Attack("free-l2", *_REPLAYED, L2, source=_SHAFAHI, rounds="replays", moves=True),
            Attack(
                "freelb",
                "several steps of the vectors of word pieces; the mean of all is learned from",
                _carried_on,
                _FREE_LB,
                norm=VECTORS,
                source="Zhu et al. 2020, arXiv 1909.11764",
                rounds="steps",
                space=PIECES,
            ),
        )
    }
)


@dataclass(frozen=True)
class Attacking:
    """An attack with its parameters."""

    row: Attack
    given: Mapping[str, float]

    @classmethod
    def of(cls, text: str) -> "Attacking":
        """Read ``n-fgsm:eps=2``. Raises UsageError with all that is wrong."""
        name, given = parse("attack", text, ATTACKS)
        return cls(ATTACKS[name], complete(given, ATTACKS[name]))

    @property
    def eps(self) -> float:
        """The full ε, in units of the norm; 0 where nothing is attacked."""
        return 0.0 if self.row.name == NONE else self.given["eps"]

    def eps_at(self, progress: float) -> float:
        """ε after a share of the steps: 0, then rising evenly, then full."""
        begins, full = self.given["begins"], self.given["full"]
        if progress >= full:
            return self.eps
        return self.eps * max(0.0, progress - begins) / max(full - begins, 1e-9)

    @property
    def rounds(self) -> Rounds:
        """How often a batch goes backwards."""
        row = self.row
        return Rounds(int(self.given[row.rounds]), row.moves) if row.rounds else ONCE

    def refuse_other(self, reads: str) -> None:
        """Raise UsageError for networks that read what this attack does not change."""
        if not self.eps or reads == self.row.space.reads:
            return
        own = [r.name for r in ATTACKS.values() if r.space.reads == reads and r.name != NONE]
        other = f"for that there is {', '.join(own)}" if own else "leave it out"
        raise UsageError(
            f"attack: {self.row.name} changes {self.row.space.noun}, and this network reads a "
            f"{reads}; {other}"
        )

    def refuse_compiled(self) -> None:
        """Raise UsageError where a network that is compiled would not see the changes."""
        if self.eps and self.row.space.inside:
            raise UsageError(
                f"compile: {self.row.name} changes {self.row.space.noun} inside the network, which "
                "one that is compiled does not look at; leave it out"
            )

    def losses(
        self,
        network: Network,
        bare: Network,
        loss: Loss,
        pixels: Tensor,
        targets: Tensor,
        progress: float,
    ) -> Iterator[Tensor]:
        """(n,) what a step learns from, after a share `progress` of the steps.

        As often as `rounds` says: the next are asked for when gradients of the last are there.
        """
        eps, space = self.eps_at(progress), self.row.space
        asked = Asked(network, bare, loss, pixels, targets, eps, space)
        return self.row.losses(asked, self.row.norm, self.given)


def refuse_compared(loss: losses.Loss, attack: Attacking, plan: Plan) -> None:
    """Raise UsageError where examples that a loss compares with one another would be attacked."""
    if loss.compares and attack.eps:
        raise UsageError(
            f"attack: examples that the loss {plan.loss} compares with one another cannot be "
            "attacked; choose another loss, or no attack"
        )
