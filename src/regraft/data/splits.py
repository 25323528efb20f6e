"""split(...): train, validation and test parts that are stratified and free of leaks."""

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import polars as pl

from regraft.data.dataset import PARTS, Dataset, listed
from regraft.data.findings import Finding
from regraft.errors import DataError, UsageError

HOW = "greedy by class; groups and duplicates kept together; largest first, then by hash of seed"
HOW_SEVERAL = f"{HOW}; what has rare tags before the rest"
MISSING = "class-not-in-part"  # the kind of finding

# Other orders are tried at most this often, and not for many units:
MAX_TURNS = 50
MAX_ASSIGNED = 20_000  # units in all turns together, about half a second


def split(
    dataset: Dataset,
    fractions: Sequence[float] = (0.7, 0.15, 0.15),
    seed: int = 0,
    together: Sequence[Sequence[str]] = (),
) -> Dataset:
    """Divide the labelled examples into train, validation and test.

    fractions  shares of train, validation and test; they add up to 1, and train has one
    seed       what the draw depends on, beside the ids: not on the order of the rows
    together   lists of ids (duplicates) that stay in one part; ids that are not there are ignored

    Examples of one group, and those in one list of `together`, form a unit, transitively; a unit
    stays whole. Units go, largest first, to the part where their classes lack most. A class with
    as many units as there are parts or more gets one in each part; one with fewer gets one in
    train. (Where units hold several classes there may be no such division; what is then missing,
    as for the classes with too few units, is a finding ``class-not-in-part``.)

    A given split is obeyed: the dataset comes back as it is. Unlabelled examples are in no part.
    Raises UsageError for parameters and DataError when no example has a label.
    """
    if mistakes := list(_mistakes(fractions, seed)):
        raise UsageError(*mistakes)
    if dataset.split_source == "given":
        return dataset
    if not len(dataset.labelled):
        raise DataError("there is nothing to split: no example has a label")
    units = _units(dataset, seed, together)
    shares = {part: share for part, share in zip(PARTS, fractions, strict=True) if share > 0}
    draw = _best_draw(units, shares, seed)
    how = HOW_SEVERAL if dataset.form.several else HOW
    return _divided(dataset, draw, {"seed": seed, "fractions": list(fractions), "how": how})


def audit(dataset: Dataset, together: Sequence[Sequence[str]] = ()) -> tuple[Finding, ...]:
    """Groups (``group-leak``) and duplicates (``leak``) that lie in more than one part, by name.

    together  lists of ids that are duplicates of each other; ids that are not there are ignored
    """
    table = dataset.table.filter(pl.col("split").is_not_null())
    part_of = dict(table.select("id", "split").iter_rows())
    groups: dict[str, list[str]] = defaultdict(list)
    for name, group in table.drop_nulls("group").select("id", "group").iter_rows():
        groups[group].append(name)
    leaks = [_leak("group-leak", f"group {g!r}", ids, part_of) for g, ids in groups.items()]
    leaks += [_leak("leak", "duplicates", ids, part_of) for ids in together]
    return tuple(leak for leak in leaks if leak is not None)


def _leak(kind: str, what: str, ids: Iterable[str], part_of: dict[str, str]) -> Finding | None:
    known = [name for name in ids if name in part_of]
    counts = Counter(part_of[name] for name in known)
    if len(counts) < 2:
        return None
    where = ", ".join(f"{counts[part]} in {part}" for part in PARTS if counts[part])
    reason = f"{what} in several parts ({where}): results would look too good; move them into one"
    return Finding(kind, tuple(sorted(known)), reason, "error")


def _mistakes(fractions: Sequence[Any], seed: Any) -> Iterator[str]:
    shares = list(fractions)
    numbers = all(isinstance(share, int | float) and math.isfinite(share) for share in shares)
    if len(shares) != len(PARTS) or not numbers or min(shares) < 0:
        yield f"fractions: {shares} are not three numbers of 0 or more ({', '.join(PARTS)})"
    elif not math.isclose(sum(shares), 1, abs_tol=1e-6):
        yield f"fractions: {shares} add up to {sum(shares):g}; expected 1"
    elif not shares[0]:
        yield "fractions: train is 0; expected a share to learn from"
    if not isinstance(seed, int) or seed < 0:
        yield f"seed: {seed!r} is not a whole number of 0 or more"


# Units -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Unit:
    """Examples that stay in one part: their ids, and how many labelled ones each class has.

    rarest  of its classes, where an example may have several
    """

    order: tuple[int, int, bytes]  # largest first, then by its rarest class, then by chance
    ids: list[str]
    counts: list[tuple[str, int]]
    rarest: str | None = None


def _units(dataset: Dataset, seed: int, together: Sequence[Sequence[str]]) -> list[_Unit]:
    """The units that hold a label, in the order in which they are assigned."""
    strata = dataset.form.strata(dataset.table["label"].to_list())
    own = dict(zip(dataset.table["id"], strata, strict=True))
    # Rare classes first, as in iterative stratification (Sechidis et al. 2011): where an example
    # has several, the common ones find room later. With one class each it makes no difference.
    sizes = Counter(name for names in strata for name in names) if dataset.form.several else None
    made = (_unit(ids, own, seed, sizes) for ids in joined(dataset, together))
    return sorted((unit for unit in made if unit.counts), key=lambda unit: unit.order)


def _unit(
    ids: list[str], own: dict[str, tuple[str, ...]], seed: int, sizes: Counter[str] | None
) -> _Unit:
    counts = Counter(name for i in ids for name in own[i])
    labelled = sum(bool(own[i]) for i in ids)
    rarest = min(sorted(counts), key=lambda name: sizes[name], default=None) if sizes else None
    size = 0 if rarest is None or sizes is None else sizes[rarest]
    # The unit is called by its first id, so that the draw does not depend on the order of rows.
    chance = hashlib.blake2b(f"{seed}\0{min(ids)}".encode(), digest_size=8).digest()
    return _Unit((-labelled, size, chance), ids, sorted(counts.items()), rarest)


def joined(dataset: Dataset, together: Sequence[Sequence[str]]) -> Iterable[list[str]]:
    """Ids by unit: the connected components of "same group" and "in one list"."""
    parent: dict[tuple[str, str], tuple[str, str]] = {}

    def root(node: tuple[str, str]) -> tuple[str, str]:
        while (above := parent.setdefault(node, node)) != node:
            parent[node] = parent.setdefault(above, above)  # halves the way for the next look-up
            node = parent[node]
        return node

    for name, group in dataset.table.drop_nulls("group").select("id", "group").iter_rows():
        parent[root(("id", name))] = root(("group", group))
    for ids in together:
        for name in ids[1:]:
            parent[root(("id", name))] = root(("id", ids[0]))
    joined: dict[tuple[str, str], list[str]] = defaultdict(list)
    for name in dataset.table["id"]:
        joined[root(("id", name))].append(name)
    return joined.values()


# The draw ----------------------------------------------------------------------------------------


def _best_draw(units: list[_Unit], shares: dict[str, float], seed: int) -> "_Draw":
    """The first draw that leaves no class without a part that is due to it, or that leaves fewest.

    Only units of several classes can clash so that largest first fails; then other orders are
    tried, as many as MAX_ASSIGNED allows.
    """
    best = _Draw(units, shares).run()
    for turn in range(min(MAX_TURNS, MAX_ASSIGNED // len(units))):
        if not best.missed:
            break
        order = np.random.default_rng([seed, turn]).permutation(len(units))
        best = min(best, _Draw([units[i] for i in order], shares).run(), key=lambda d: d.missed)
    return best


class _Draw:
    """Assigns units to parts, one after the other.

    lack   (class, part) → labelled examples that are still to come, by the part's share
    left   class → units not yet assigned
    due    class → parts that must get a unit of it
    empty  class → those of them that have none yet
    has    (class, part) → units
    """

    def __init__(self, units: Sequence[_Unit], shares: dict[str, float]) -> None:
        self.units, self.parts = units, tuple(shares)
        self.sizes: Counter[str] = Counter()
        self.left: Counter[str] = Counter()
        for unit in units:
            self.sizes.update(dict(unit.counts))
            self.left.update(name for name, _ in unit.counts)
        total = self.sizes.total()
        self.lack = {(c, p): n * shares[p] for c, n in self.sizes.items() for p in shares}
        self.lack_in_all = {part: total * share for part, share in shares.items()}
        enough = {name: units >= len(shares) for name, units in self.left.items()}
        self.due = {name: set(shares) if enough[name] else {"train"} for name in self.left}
        self.empty = {name: set(parts) for name, parts in self.due.items()}
        self.has: Counter[tuple[str, str]] = Counter()
        self.part_of: dict[str, str] = {}

    @property
    def missed(self) -> int:
        return sum(map(len, self.empty.values()))

    def run(self) -> Self:
        for unit in self.units:
            part = max(self.parts, key=lambda part: self._wish(unit, part))
            self._assign(unit, part)
        for name in sorted(name for name, parts in self.empty.items() if parts):
            self._fill(name)
        return self

    def _wish(self, unit: _Unit, part: str) -> tuple[int, float, float, float]:
        """How much a part wants a unit: what it must have, what its classes lack, its size.

        Of classes that may come together the rarest first: what is done with rare ones is done, and
        common ones can still be evened out.
        """
        must = sum(
            part in self.empty[name] and self.left[name] <= len(self.empty[name])
            for name, _ in unit.counts
        )
        lacking = sum(n * self.lack[name, part] / self.sizes[name] for name, n in unit.counts)
        first = 0.0 if unit.rarest is None else self.lack[unit.rarest, part]
        return must, first, lacking, self.lack_in_all[part]

    def _assign(self, unit: _Unit, part: str) -> None:
        for name, n in unit.counts:
            self.lack[name, part] -= n
            self.lack_in_all[part] -= n
            self.left[name] -= 1
        self._place(unit, part)

    def _place(self, unit: _Unit, part: str) -> None:
        for name, _ in unit.counts:
            self.empty[name].discard(part)
            self.has[name, part] += 1
        self.part_of.update(dict.fromkeys(unit.ids, part))

    def _fill(self, name: str) -> None:
        """Move units into the parts that `name` misses; the smallest whose part can spare them."""
        holders = [unit for unit in reversed(self.units) if name in dict(unit.counts)]
        for part in sorted(self.empty[name]):
            if spare := next((unit for unit in holders if self._can_spare(unit)), None):
                self._withdraw(spare)
                self._place(spare, part)

    def _can_spare(self, unit: _Unit) -> bool:
        part = self.part_of[unit.ids[0]]
        return all(part not in self.due[c] or self.has[c, part] > 1 for c, _ in unit.counts)

    def _withdraw(self, unit: _Unit) -> None:
        part = self.part_of[unit.ids[0]]
        for name, _ in unit.counts:
            self.has[name, part] -= 1


def _divided(dataset: Dataset, draw: _Draw, record: dict[str, Any]) -> Dataset:
    unlabelled = set(dataset.table.filter(pl.col("label").is_null())["id"])
    parts = [None if i in unlabelled else draw.part_of[i] for i in dataset.table["id"]]
    table = dataset.table.with_columns(split=pl.Series(parts, dtype=pl.String))
    made = replace(dataset, table=table, split_source="made")
    counts = {part: made.describe()["parts"].get(part, {"examples": 0}) for part in draw.parts}
    before = [
        finding for finding in dataset.findings if finding.kind != MISSING
    ]  # of another split
    return replace(
        made,
        split_record={**record, "units": len(draw.units), "counts": counts},
        findings=(*before, *_missing(made, draw.parts)),
    )


def _missing(dataset: Dataset, parts: Sequence[str]) -> Iterator[Finding]:
    """Classes that a part has no example of: no figure can be given for them there."""
    for part in parts:
        present = dataset.named(dataset.table.filter(pl.col("split") == part))
        absent = (name for name in dataset.classes if not present[name])
        if missing := [*absent] if dataset.form.balance else []:
            reason = f"{part} has no example of {listed(missing)}: too few independent ones"
            yield Finding(MISSING, (), reason)
