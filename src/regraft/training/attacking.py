"""What a step learns from where robustness is wanted: pictures that were changed against it.

    losses = learner("n-fgsm:eps=2")(run)      # in `Training`, instead of the loss on the pictures

Rows of ATTACKS, with numbers as parameters; ε in pixel units, of 255. It rises from 0, since
networks that were not robust before lose what they know under a full ε at once (epsilon scheduling,
arXiv 2509.23325). Random numbers come from torch's generator, which the loop sets from (seed,
step): a run that goes on after a kill sees the same changes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import Tensor, nn

from regraft.errors import UsageError
from regraft.robustness.attacks import L2, LINF, TOP, Norm, gradient, pgd
from regraft.training import losses
from regraft.training.plan import Plan
from regraft.training.settings import Parameter, complete, parse

NONE = "none"

Numbers = Mapping[str, float]
Network = Callable[[Tensor], Tensor]  # pixels (n, size, size, 3), 0 to 255 → logits (n, c)
Loss = Callable[[Tensor, Tensor], Tensor]  # logits, one-hot targets → (n,)


class Asked(NamedTuple):
    """What a step is given.

    network  as it learns, maybe on several processes; `bare` is the same, for the attack itself
    pixels   (n, size, size, 3), targets (n, c)
    eps      of this step
    """

    network: Network
    bare: Network
    loss: Loss
    pixels: Tensor
    targets: Tensor
    eps: float


@dataclass(frozen=True)
class Attack:
    """One row of ATTACKS: Asked, norm and parameters → losses (n,) to learn from."""

    name: str
    told: str
    losses: Callable[[Asked, Norm, Numbers], Tensor]
    own: Mapping[str, Parameter]
    norm: Norm = LINF
    source: str = ""

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        return {**COMMON, **self.own}


COMMON = {
    "eps": Parameter(2.0, 0.0, 100 * TOP, "largest change, of 255"),
    "begins": Parameter(0.0, 0.0, 1.0, "share of the steps after which ε begins to rise from 0"),
    "full": Parameter(0.5, 0.0, 1.0, "share of the steps after which ε is full"),
}
STEPS = Parameter(5, 1, 100, "of the attack", whole=True)


def _clean(asked: Asked, norm: Norm, given: Numbers) -> Tensor:
    return asked.loss(asked.network(asked.pixels).float(), asked.targets)


def _noisy_one_step(asked: Asked, norm: Norm, given: Numbers) -> Tensor:
    """A step of ε from noise of `noise` ε, not brought back: one step does not overfit so."""
    pictures = asked.pixels.float()
    noisy = pictures + norm.drawn(pictures, given["noise"] * asked.eps)
    found = gradient(lambda x: asked.loss(asked.bare(x).float(), asked.targets), noisy)
    changed = noisy + asked.eps * norm.steepest(found)
    return asked.loss(asked.network(norm.kept(changed, pictures)).float(), asked.targets)


def _several_steps(asked: Asked, norm: Norm, given: Numbers) -> Tensor:
    changed = _pgd(asked, norm, given, lambda logits, _: asked.loss(logits.float(), asked.targets))
    return asked.loss(asked.network(changed).float(), asked.targets)


def _trades(asked: Asked, norm: Norm, given: Numbers) -> Tensor:
    """The loss on the picture itself, and how far its change moves the answer."""
    with torch.no_grad():
        before = asked.bare(asked.pixels).float().softmax(1)
    changed = _pgd(asked, norm, given, lambda logits, _: _moved(logits.float(), before))
    both = asked.network(torch.cat([asked.pixels.float(), changed])).float()
    clean, other = both.chunk(2)
    return asked.loss(clean, asked.targets) + given["beta"] * _moved(other, clean.softmax(1))


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
        """The full ε, of 255; 0 where nothing is attacked."""
        return 0.0 if self.row.name == NONE else self.given["eps"]

    def eps_at(self, progress: float) -> float:
        """ε after a share of the steps: 0, then rising evenly, then full."""
        begins, full = self.given["begins"], self.given["full"]
        if progress >= full:
            return self.eps
        return self.eps * max(0.0, progress - begins) / max(full - begins, 1e-9)

    def losses(
        self,
        network: Network,
        bare: Network,
        loss: Loss,
        pixels: Tensor,
        targets: Tensor,
        progress: float,
    ) -> Tensor:
        """(n,) what a step learns from, after a share `progress` of the steps."""
        asked = Asked(network, bare, loss, pixels, targets, self.eps_at(progress))
        return self.row.losses(asked, self.row.norm, self.given)


def refuse_compared(loss: losses.Loss, attack: Attacking, plan: Plan) -> None:
    """Raise UsageError where examples that a loss compares with one another would be attacked."""
    if loss.compares and attack.eps:
        raise UsageError(
            f"attack: examples that the loss {plan.loss} compares with one another cannot be "
            "attacked; choose another loss, or no attack"
        )
