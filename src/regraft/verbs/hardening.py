"""What a network that was trained against attacks is judged by: clean and robust accuracy together.

The more robust of two networks is mostly the less accurate one, so that one figure cannot choose.
Between the start and the end of training lies a curve of such pairs (weights on the way, WiSE-FT,
Wortsman et al. 2022, arXiv 2109.01903); the user's wish says which of them is taken.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from regraft.recipe import Recipe
from regraft.verbs.choosing import SURE, Mix, Scores, weight_candidates

if TYPE_CHECKING:
    from regraft.robustness.judging import Held as StillRight
    from regraft.training.attacking import Attacking
    from regraft.training.averaging import State
    from regraft.training.grafted import Grafted
    from regraft.training.judging import Held
    from regraft.training.strategies import Strategy
    from regraft.training.terms import Trained
    from regraft.training.tuning import Ready

Flags = npt.NDArray[np.bool_]

USUAL_WISH = 0.5  # clean and robust accuracy count the same
JUDGED_ON = 128  # held-back examples that weights are attacked on, at most
START = "the start"


@dataclass(frozen=True)
class Operating:
    """One point between accuracy and robustness, on held-back examples.

    clean, robust  (n,) which answers are right, on the examples themselves and under the attack
    """

    how: str
    clean: Flags
    robust: Flags

    def worth(self, wish: float) -> npt.NDArray[np.float64]:
        """(n,) of each example by the user's wish: the weight of its robust answer."""
        return (1 - wish) * self.clean + wish * self.robust

    def told(self, kept: bool) -> dict[str, Any]:
        """Plain data."""
        shares = {"clean": float(self.clean.mean()), "robust": float(self.robust.mean())}
        return {"how": self.how, **shares, "kept": kept}


@dataclass(frozen=True)
class Hardening:
    """Choosing the weights of one run.

    wish  0: only clean accuracy counts, 1: only robust accuracy
    """

    ready: "Ready"
    judge: "Held"
    wish: float
    seed: int

    def chosen(self, start: "State", trained: "Trained") -> tuple["State", dict[str, Any]]:
        """The state that is worth most by the wish, and what is told of the choice.

        The start stays where nothing is worth more by at least one standard error.
        """
        states = {START: start, **dict(weight_candidates(trained, start))}
        points = [self._measured(how, state) for how, state in states.items()]
        best = max(points, key=lambda point: point.worth(self.wish).mean())
        if not _surely(best.worth(self.wish) - points[0].worth(self.wish)):
            best = points[0]
        return states[best.how], {
            "how": best.how,
            "chosen": f"weights: {best.how}; {best.clean.mean():.1%} right and "
            f"{best.robust.mean():.1%} still right under {self.attack} of {self.n} held back, "
            f"robust accuracy counting for {self.wish:.0%}",
            "trade_off": {
                "eps": self.eps,
                "norm": self.norm.name,
                "attack": self.attack,
                "n": self.n,
                "wish": self.wish,
                "points": [point.told(point is best) for point in points],
            },
        }

    @property
    def eps(self) -> float:
        return self._attacking.eps

    @property
    def norm(self) -> Any:
        return self._attacking.row.norm

    @property
    def attack(self) -> str:
        from regraft.robustness.judging import STEPS

        return f"PGD-{STEPS} at ε = {self.norm.written(self.eps)}"

    @property
    def n(self) -> int:
        return len(self._some)

    @property
    def _attacking(self) -> Any:
        from regraft.training.attacking import Attacking

        return Attacking.of(self.ready.plan.attack)

    @property
    def _some(self) -> Any:
        return judged(len(self.judge.labels), self.seed)

    def _measured(self, how: str, state: "State") -> Operating:
        from regraft.training.averaging import put

        put(self.ready.model, state)
        found = _attacked(self.ready.model, self.judge, self._some, self._attacking, self.seed)
        return Operating(how, found.clean.numpy(), found.robust.numpy())


def _surely(gain: npt.NDArray[np.float64]) -> bool:
    error = gain.std(ddof=1) / np.sqrt(len(gain)) if len(gain) > 1 else np.inf
    return bool(gain.mean() > SURE * error)


def compared_by(wanted: Sequence["Strategy"], recipe: Recipe) -> str:
    """The attack that strategies are compared by: that of the first which learns against one.

    Empty where none does.
    """
    from regraft.training.attacking import Attacking

    own = (recipe.attack or str(one.settings.get("attack", "")) for one in wanted if one.trains)
    return next((text for text in own if text and Attacking.of(text).eps), "")


def under_attack(model: "Grafted", judge: "Held", attack: str, seed: int) -> Flags:
    """(n,) which of up to JUDGED_ON answers still hold; the network whole, as it is."""
    from regraft.training.attacking import Attacking

    model.join()
    some = judged(len(judge.labels), seed)
    return np.asarray(_attacked(model, judge, some, Attacking.of(attack), seed).robust.numpy())


def _attacked(
    model: "Grafted", judge: "Held", some: Any, attacking: "Attacking", seed: int
) -> "StillRight":
    """Which answers to examples at some places hold where what the attack changes is changed."""
    from regraft.robustness.judging import held

    space, labels = attacking.row.space, judge.labels[some]
    still, seen = space.still(model, judge.pixels[some]), space.seen(model, model)
    return held(seen, still, labels, attacking.row.norm, attacking.eps, seed=seed)


def judged(n: int, seed: int) -> Any:
    """Places of up to JUDGED_ON of n examples, by the seed."""
    return np.sort(np.random.default_rng([seed, 31]).permutation(n)[:JUDGED_ON])


def guarded(told: dict[str, Any], tuned: Scores, temperature: float) -> Mix:
    """Keep a hardened network alone, or not at all: beside the probe its answers would not hold.

    told  of `Hardening.chosen`
    """
    points = {p["how"]: p for p in told["trade_off"]["points"]}
    kept, start = next(p for p in points.values() if p["kept"]), points[START]
    figures = (
        f"{kept['clean']:.1%} right and {kept['robust']:.1%} under attack against "
        f"{start['clean']:.1%} and {start['robust']:.1%} of {told['trade_off']['n']} held-back "
        "examples"
    )
    if start["kept"]:
        return Mix(0.0, temperature, tuned, f"worth no more than the probe: {figures}")
    return Mix(1.0, temperature, tuned, f"better than the probe by what is wished: {figures}")
