"""Soups: one network whose weights are the mean of several of the same architecture.

    row = soup([one, other], (0.5, 0.5), "soup of 2")

Networks that were fine-tuned from the same start mostly lie in one basin, where the mean of their
weights is as good as the mean of their answers, at the cost of one network: Wortsman et al. 2022,
arXiv 2203.05482. Between a start and what was tuned from it the same is WiSE-FT (arXiv 2109.01903).
"""

from collections.abc import Iterator, Mapping, Sequence

from torch import Tensor

from regraft.backbones.catalog import CatalogRow
from regraft.backbones.network import load_network
from regraft.errors import UsageError
from regraft.training.tuned import written_row

SAME = ("source", "architecture", "family", "num_classes", "options")


def apart(row: CatalogRow, other: CatalogRow) -> str | None:
    """Why the weights of two networks cannot be averaged; None: they can.

    Whether the files hold the same entries is seen when they are opened.
    """
    for name in SAME:
        if (own := getattr(row, name)) != (their := getattr(other, name)):
            return f"{name} is {own} and {their}" if name != "options" else "their options differ"
    if row.spec.size != other.spec.size and "img_size" in row.options:
        return f"they are for {row.spec.told} and {other.spec.told}"
    return None


def soup(rows: Sequence[CatalogRow], shares: Sequence[float], name: str) -> CatalogRow:
    """The row of the mean, over weights in the cache.

    shares  of each network, their sum is 1

    Raises UsageError where the networks do not hold the same entries.
    """
    states = [load_network(row).module.state_dict() for row in rows]  # names of the library
    if wrong := next(_different(rows, states), None):
        raise UsageError(wrong)
    return written_row(mean_of(states, shares), rows[0], name)


def mean_of(states: Sequence[Mapping[str, Tensor]], shares: Sequence[float]) -> dict[str, Tensor]:
    """Σ share · state, entry by entry, in double precision; what is no number is the first's."""
    out: dict[str, Tensor] = {}
    for name, first in states[0].items():
        if not first.is_floating_point():
            out[name] = first
            continue
        pairs = zip(shares, states, strict=True)
        mean = sum(share * state[name].double() for share, state in pairs)
        assert isinstance(mean, Tensor)
        out[name] = mean.to(first.dtype)
    return out


def _different(rows: Sequence[CatalogRow], states: Sequence[Mapping[str, Tensor]]) -> Iterator[str]:
    """Where networks do not hold the same entries in the same shapes."""
    first = {name: tuple(t.shape) for name, t in states[0].items()}
    for row, state in zip(rows[1:], states[1:], strict=True):
        own = {name: tuple(t.shape) for name, t in state.items()}
        if odd := sorted(first.items() ^ own.items()):
            yield f"{row.name}: does not hold the entries of {rows[0].name}, at {odd[0][0]}"
