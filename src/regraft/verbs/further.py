"""Parts of a report that are only measured where they are asked for: they take minutes to hours."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from regraft.model.model import Model


def further_parts(
    model: Model,
    attacks: dict[str, Any] | None = None,
    corruptions: bool = False,
    risk: float | None = None,
    unlike: Any = None,
) -> dict[str, Callable[..., dict[str, Any]]]:
    """Parts of the report that are only measured where they are asked for, and what measures them.

    attacks  settings of the attacks; None: nothing is attacked
    risk     share of the answers given that may be wrong
    unlike   a source of other data

    Beside attacks abstention is measured too, and it is said where no other data was given. What
    cannot be obeyed is refused here, before any work.
    """
    found = {} if attacks is None else {"robust": _under_attack(model, **attacks)}
    found |= {"corruptions": _corrupted(model)} if corruptions else {}
    if attacks is not None or unlike is not None:
        found["out_of_distribution"] = _other_data(model, unlike)
    if attacks is not None or risk is not None:
        found["abstention"] = _abstaining(model, risk)
    return found


def _abstaining(model: Model, risk: float | None) -> Callable[..., dict[str, Any]]:
    """What measures abstention at a risk; None: the usual one."""
    from regraft.evaluation.selective import refuse_wrong_risk
    from regraft.verbs.selective import RISK, abstention

    asked = RISK if risk is None else risk
    refuse_wrong_risk(asked)
    return partial(abstention, model, risk=asked)


def _other_data(model: Model, unlike: Any) -> Callable[..., dict[str, Any]]:
    """What measures how other data is told apart, or says that none was given."""
    from regraft.verbs import out_of_distribution as verb

    if unlike is None:
        return verb.not_measured
    return partial(verb.out_of_distribution, model, verb.other_data(model, unlike))


def _under_attack(
    model: Model, eps: Sequence[str], norm: str | None, attack: str | None, most: int
) -> Callable[..., dict[str, Any]]:
    """What measures under attack."""
    from regraft.robustness.arenas import arena_of
    from regraft.verbs import robust

    arena = arena_of(model)
    robust.sizes(eps, norm, arena)
    robust.refuse_unknown(attack, most, arena)
    return partial(robust.robust, model, eps=eps, norm=norm, attack=attack, most=most)


def _corrupted(model: Model) -> Callable[..., dict[str, Any]]:
    """What measures on corrupted examples. Raises UsageError where there are no corruptions."""
    from regraft.robustness.materials import material_of
    from regraft.verbs.corrupted import corruptions

    material_of(model)
    return partial(corruptions, model)
