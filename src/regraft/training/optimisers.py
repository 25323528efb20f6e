"""Optimisers by name: rows for the usual ones, every other one of timm's by its name there.

Each runs by torch's default: all tensors at once on a GPU, one by one on a CPU. Fused kernels would
be faster still, but on a CPU they take the memory of weight, gradient and state to be laid out
alike and compute wrong values without a word where it is not, as after a change to channels-last.
"""

import inspect
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any, NotRequired, TypedDict

import torch
from torch import Tensor

from regraft.errors import UsageError
from regraft.training.settings import Parameter, parse, unknown

# Set by Regraft, or about how and not what is computed.
OWN = {"self", "params", "lr", "weight_decay", "foreach", "fused", "capturable", "differentiable"}
OWN |= {"maximize", "verbose"}


class Group(TypedDict):
    """Parameters that move alike.

    rate_factor  share of the learning rate, 1 where it is left out
    decay        whether weight decay is for them; those with one dimension never decay
    """

    params: Sequence[Tensor]
    rate_factor: NotRequired[float]
    decay: NotRequired[bool]


@dataclass(frozen=True)
class OptimiserRow:
    """One optimiser.

    told      one plain sentence
    build     (groups, lr=, weight_decay=, options) → optimiser
    rate      usual rate for fine-tuning a whole network; None: unknown
    defaults  options that differ from its own
    obstacle  why it cannot be used here, if so
    """

    name: str
    told: str
    build: Callable[..., torch.optim.Optimizer]
    rate: float | None = None
    defaults: Mapping[str, Any] = field(default_factory=dict)
    obstacle: str | None = None

    @cached_property
    def options(self) -> Mapping[str, Any]:
        """Names that it takes and their defaults."""
        signature = inspect.signature(self.build).parameters
        own = {
            n: p.default for n, p in signature.items() if n not in OWN and p.kind != p.VAR_KEYWORD
        }
        return own | dict(self.defaults)

    @cached_property
    def parameters(self) -> Mapping[str, Parameter]:
        """Those options that are numbers, or yes and no as 1 and 0; it checks them itself."""
        numbers = {n: v for n, v in self.options.items() if isinstance(v, int | float)}
        return {n: Parameter(v, -math.inf, math.inf, "") for n, v in numbers.items()}


OPTIMISERS: Mapping[str, OptimiserRow] = MappingProxyType(
    {
        row.name: row
        for row in (
            OptimiserRow(
                "sgd",
                "Plain steps with momentum: little memory, but the rate has to fit.",
                torch.optim.SGD,
                1e-2,
                {"momentum": 0.9, "nesterov": True},
            ),
            OptimiserRow("adam", "Steps of a size for each weight.", torch.optim.Adam, 1e-4),
            OptimiserRow(
                "adamw",
                "Adam with weight decay apart from the gradient: the usual one.",
                torch.optim.AdamW,
                1e-4,
            ),
            OptimiserRow("adagrad", "Steps that only become smaller.", torch.optim.Adagrad, 1e-2),
            OptimiserRow(
                "rmsprop",
                "Steps divided by the recent size of the gradient.",
                torch.optim.RMSprop,
                1e-4,
            ),
            OptimiserRow("nadam", "Adam with Nesterov momentum.", torch.optim.NAdam, 1e-4),
        )
    }
)


class _Rows(Mapping[str, OptimiserRow]):
    """OPTIMISERS and all of timm, whose rows are made when they are asked for."""

    def __getitem__(self, name: str) -> OptimiserRow:
        return OPTIMISERS[name] if name in OPTIMISERS else _of_timm(name)

    def __iter__(self) -> Iterator[str]:
        from timm.optim import list_optimizers  # type: ignore[attr-defined]

        return iter([*OPTIMISERS, *(str(n) for n in list_optimizers() if n not in OPTIMISERS)])

    def __len__(self) -> int:
        return len(list(iter(self)))


ALL: Mapping[str, OptimiserRow] = _Rows()


def _of_timm(name: str) -> OptimiserRow:
    """Raises KeyError where timm has none of that name."""
    from timm.optim import get_optimizer_info  # type: ignore[attr-defined]

    if name != name.lower():  # timm would take SGD, with other defaults than the row here
        raise KeyError(name)
    try:
        info = get_optimizer_info(name)
    except ValueError:
        raise KeyError(name) from None
    momentum = {"momentum": 0.9} if info.has_momentum else {}  # timm's, where its own is often 0
    defaults = momentum | (info.defaults or {})
    if isinstance(info.opt_class, str):
        library = info.opt_class.partition(".")[0]
        return OptimiserRow(
            name, info.description, torch.optim.Optimizer, obstacle=f"needs the library {library}"
        )
    second = "needs second derivatives, which Regraft does not compute"
    obstacle = second if info.second_order else None
    return OptimiserRow(name, info.description, info.opt_class, None, defaults, obstacle)


def optimiser(
    name: str, groups: Sequence[Group], *, rate: float, weight_decay: float, **options: Any
) -> torch.optim.Optimizer:
    """The optimiser of a name in ALL, or of a name with numbers: ``sgd:momentum=0.8``.

    groups        see Group; each becomes one or two of torch's, since biases and the weights of
                  normalisation layers (one dimension) do not decay
    rate          learning rate; a group's is rate × rate_factor, see `set_rate`
    weight_decay  in the optimiser's own way
    options       of the row; what is left out has its default
    Raises UsageError with all that is wrong.
    """
    text = parse("optimiser", name, ALL)
    row = ALL[text.name]
    given = text.parameters | options
    if mistakes := [
        *_option_mistakes(row, given),
        *_number_mistakes(rate, weight_decay),
        *_group_mistakes(groups),
    ]:
        raise UsageError(*mistakes)
    split = [half for group in groups for half in _split(group, rate, weight_decay)]
    try:
        settled = dict(row.defaults) | given
        return row.build(split, lr=rate, weight_decay=weight_decay, **settled)
    except (ValueError, TypeError, RuntimeError, AssertionError) as error:
        raise UsageError(f"optimiser {row.name}: {error}") from error


def set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of each group to rate × its rate_factor."""
    for group in optimiser.param_groups:
        group["lr"] = rate * group["rate_factor"]


def _split(group: Group, rate: float, weight_decay: float) -> Iterator[dict[str, Any]]:
    """The part of a group that decays and the part that does not, neither of them empty."""
    factor = group.get("rate_factor", 1.0)
    decays = [group.get("decay", True) and p.ndim > 1 for p in group["params"]]
    for wanted, strength in ((True, weight_decay), (False, 0.0)):
        some = [p for p, decay in zip(group["params"], decays, strict=True) if decay == wanted]
        if some:
            own = {"lr": rate * factor, "rate_factor": factor, "weight_decay": strength}
            yield {"params": some, **own}


def _option_mistakes(row: OptimiserRow, given: Mapping[str, Any]) -> Iterator[str]:
    if row.obstacle:
        yield f"optimiser: {row.name} {row.obstacle}; choose another"
        return
    for name in given:
        if name not in row.options:
            yield unknown(f"option of optimiser {row.name}", name, row.options)


def _number_mistakes(rate: float, weight_decay: float) -> Iterator[str]:
    if not 0 < rate < math.inf:
        yield f"rate: {rate!r} is not a number above 0"
    if not 0 <= weight_decay < math.inf:
        yield f"weight_decay: {weight_decay!r} is not a number of 0 or more"


def _group_mistakes(groups: Sequence[Group]) -> Iterator[str]:
    known = Group.__annotations__
    seen: set[int] = set()
    for number, group in enumerate(groups):
        yield from (
            unknown(f"groups[{number}]", name, known) for name in group.keys() - known.keys()
        )
        if not 0 <= group.get("rate_factor", 1.0) < math.inf:
            yield f"groups[{number}]: rate_factor is not a number of 0 or more"
        ids = [id(p) for p in group["params"]]
        if len({*ids} - seen) < len(ids):
            yield f"groups[{number}]: a parameter is in it that is in the groups twice"
        seen.update(ids)
    if not seen:
        yield "groups: there is no parameter in them; nothing would move"
