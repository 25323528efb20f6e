"""Variants of strategies: the same run with another loss, other augmentation or averaging.

    varied("lp-ft+focal")          # a row as of `strategies.strategy`, of that name

They are there to be compared: by name beside the strategy, several as in ``lp-ft+focal+mixup``.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, replace
from types import MappingProxyType
from typing import Any

from regraft.errors import UsageError
from regraft.training.plan import Plan
from regraft.training.strategies import Strategy, strategy

AND = "+"


@dataclass(frozen=True)
class Variant:
    """One row of VARIANTS.

    told      what is other than in the strategy, after "with"
    settings  fields of `Plan`
    row       fields of `Strategy`
    source    the paper
    """

    name: str
    told: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    row: Mapping[str, Any] = field(default_factory=dict)
    source: str = ""


VARIANTS: Mapping[str, Variant] = MappingProxyType(
    {
        row.name: row
        for row in (
            Variant("cross-entropy", "plain cross-entropy", {"loss": "cross-entropy"}),
            Variant(
                "label-smoothing",
                "a tenth of each label spread over all classes",
                {"loss": "cross-entropy:smoothing=0.1"},
                source="Szegedy et al. 2016, arXiv 1512.00567",
            ),
            Variant(
                "focal",
                "the focal loss: what is right already counts less",
                {"loss": "focal"},
                source="Lin et al. 2017, arXiv 1708.02002",
            ),
            Variant(
                "smooth-l1",
                "smooth L1 between probabilities and labels, for noisy labels",
                {"loss": "probability-l1"},
                source="Ghosh et al. 2017, arXiv 1712.09482",
            ),
            Variant(
                "class-balanced",
                "rare classes counting more",
                {"loss": "class-balanced"},
                source="Cui et al. 2019, arXiv 1901.05555",
            ),
            Variant("balanced", "each class seen as often as any other", {"sampling": "balanced"}),
            Variant("plain", "no augmentation", {"augment": "none"}),
            Variant("strong", "strong augmentation", {"augment": "strong"}),
            Variant(
                "mixup",
                "mixup beside the usual augmentation",
                {"augment": "light,mixup"},
                source="Zhang et al. 2018, arXiv 1710.09412",
            ),
            Variant("average", "a moving average of the weights", {"average": 0.2}),
            Variant("no-average", "the last weights, not averaged", {"average": 0.0}),
            Variant(
                "wise-ft",
                "weights half-way back to where they began",
                row={"back": 0.5, "few": sys.maxsize},
                source="Wortsman et al. 2022, arXiv 2109.01903",
            ),
            Variant("no-wise-ft", "weights as training leaves them", row={"back": 0.0}),
        )
    }
)


def varied(name: str) -> Strategy:
    """The strategy of that name, with its variants behind ``+``.

    Raises UsageError with the valid names, and for what cannot be varied so.
    """
    base, *names = name.split(AND)
    mistakes = []
    for one in names:
        if one not in VARIANTS:
            mistakes.append(f"strategies: {name}: {one!r} is no variant{hint(one)}")
    row = strategy(base)
    if names and not row.trains:
        mistakes.append(f"strategies: {name}: nothing is trained in {base}, so nothing can vary")
    known = [VARIANTS[one] for one in names if one in VARIANTS]
    set_by = [key for one in known for key in (*one.settings, *one.row)]
    if twice := sorted({key for key in set_by if set_by.count(key) > 1}):
        mistakes.append(f"strategies: {name}: several of its variants set {', '.join(twice)}")
    if mistakes:
        raise UsageError(*mistakes)
    return _with(row, name, known) if known else row


def hint(name: str) -> str:
    """What may be meant by the name of no variant."""
    from difflib import get_close_matches

    close = get_close_matches(name, VARIANTS, 1)
    return f"; did you mean {close[0]}?" if close else f"; known: {', '.join(VARIANTS)}"


def _with(row: Strategy, name: str, variants: Sequence[Variant]) -> Strategy:
    """The row with other settings, for whatever its network reads."""
    settings = {key: value for one in variants for key, value in one.settings.items()}
    fields_of_row = {key: value for one in variants for key, value in one.row.items()}
    reading = {
        reads: {**own, "settings": {**own.get("settings", row.settings), **settings}}
        for reads, own in row.reading.items()
    }
    return replace(
        row,
        name=name,
        told=f"as {row.name}, with {', '.join(one.told for one in variants)}",
        settings={**row.settings, **settings},
        reading=reading,
        **fields_of_row,
    )


def base_of(name: str) -> str:
    """The strategy's own name."""
    return name.partition(AND)[0]


def settings_varied(name: str) -> Iterator[str]:
    """Fields of a plan that the variants of a name set."""
    for one in name.split(AND)[1:]:
        yield from VARIANTS[one].settings if one in VARIANTS else ()


def crossed(strategies: Sequence[str], variants: Sequence[str]) -> tuple[str, ...]:
    """Each strategy, and behind it with each of the variants where anything of it is trained.

    Raises UsageError for strategies that are unknown.
    """
    out: list[str] = []
    for name in strategies:
        with_each = [f"{name}{AND}{one}" for one in variants] if varied(name).trains else []
        out += [name, *with_each]
    return tuple(out)


def same_run(one: Strategy, other: Strategy, examples: int) -> bool:
    """Whether two strategies train alike on so many examples: by what their plans begin with."""
    usual = {f.name: f.default for f in fields(Plan) if f.default is not MISSING}
    plans = [{**usual, **row.settings} for row in (one, other)]
    return plans[0] == plans[1] and one.back_of(examples) == other.back_of(examples)
