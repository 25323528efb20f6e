"""Parts of a report that are only measured where they are asked for: they take minutes to hours."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from regraft.model.model import Model


def further_parts(
    model: Model, attacks: dict[str, Any] | None, corruptions: bool
) -> dict[str, Callable[..., dict[str, Any]]]:
    """Parts of the report that are only measured where they are asked for, and what measures them.

    attacks  settings of the attacks; None: nothing is attacked

    What cannot be obeyed is refused here, before any work.
    """
    found = {} if attacks is None else {"robust": _under_attack(model, **attacks)}
    return found | ({"corruptions": _corrupted(model)} if corruptions else {})


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
