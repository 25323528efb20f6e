"""Members as one network: averages of their weights, and the way from the start (WiSE-FT).

An averaged network is new, so nobody has answered with it before: what it says is honest only on
examples that taught none of the weights and heads that went into it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from regraft.backbones.catalog import CatalogRow, available, find
from regraft.backbones.extractor import Extractor
from regraft.errors import RegraftError
from regraft.transfer.probe import Head
from regraft.transfer.selection import greedy_soup, loss_of
from regraft.transfer.stacking import stacked
from regraft.verbs.bench import Bench, Method, network_key
from regraft.verbs.kept import kept_head
from regraft.verbs.measuring import short
from regraft.verbs.members import Member
from regraft.verbs.rungs import Numbers, Rung, features_of

WAYS = (0.25, 0.5, 0.75)  # from the start to the tuned network
Subset = tuple[int, ...]


# --- soups ---------------------------------------------------------------------------------------


def all_alike(bench: Bench) -> str | None:
    """Why the members' weights cannot be averaged; None: they can."""
    return next(_unlike(bench), None)


def _unlike(bench: Bench) -> Iterator[str]:
    from regraft.training.soups import apart

    first = bench.members[0]
    for one in bench.members[1:]:
        pairs = [*zip(first.model.extractors, one.model.extractors, strict=False)]
        if len(one.model.extractors) != len(first.model.extractors):
            yield f"{one.name} and {first.name} have different numbers of networks"
        for own, other in pairs:
            if own.spec != other.spec:
                yield f"{one.name} reads {other.spec.told}, and {first.name} {own.spec.told}"
            if reason := apart(own.row, other.row):
                yield f"the networks of {one.name} and {first.name} are not alike: {reason}"
    if all(_same_networks(first, one) for one in bench.members[1:]):
        yield "all members have the very same networks: average does the same"
    for one in bench.members:
        if not _is_clean(one, bench):
            yield (
                f"{one.name} learned from examples to choose by: what it said of them before says "
                "nothing of an average; give the data a validation part"
            )


def _same_networks(one: Member, other: Member) -> bool:
    own, others = ([*map(network_key, m.model.extractors)] for m in (one, other))
    return own == others


def _is_clean(one: Member, bench: Bench) -> bool:
    """Whether neither weights nor head of a member saw the examples to choose by."""
    return all(one.is_clean_of(short(bench.seen.shas[int(i)])) for i in bench.choose)


def _uniform(bench: Bench, place: Numbers) -> Subset:
    return tuple(range(len(bench.members)))


def _greedy(bench: Bench, place: Numbers) -> Subset:
    labels = bench.labels[place]
    losses = [loss_of(one[place], labels) for one in bench.honest]
    order = [int(k) for k in np.argsort(losses, kind="stable")]

    def loss(subset: Subset) -> float:
        return loss_of(soup_of(bench, subset).judged.scores[place], labels)

    found: Subset = greedy_soup(loss, order)
    return found


def soup_of(bench: Bench, subset: Subset) -> Rung:
    """The mean of the weights of some members; each is made once."""
    if subset not in bench.made:
        used = [bench.members[k] for k in subset]
        share = (1 / len(used),) * len(used)
        heads = [one.model.head for one in used]
        factors = [1 / len(used) / one.model.temperature for one in used]
        sides = [*zip(*(one.model.extractors for one in used), strict=True)]
        detail = f"mean of the weights of {', '.join(one.name for one in used)}"
        extractors = [_mean(some, share, f"soup of {len(used)}") for some in sides]
        bench.made[subset] = _rung(bench, "soup", extractors, heads, factors, detail)
    return bench.made[subset]


def _mean(some: Sequence[Extractor], shares: Sequence[float], name: str) -> Extractor:
    """One network of the mean weights; that itself, where they are all the same."""
    from regraft.training.soups import soup

    first = some[0]
    if len({network_key(one) for one in some}) == 1:
        return first
    base = first.row.name.rpartition(" (")[0] or first.row.name
    row = soup([one.row for one in some], shares, f"{base} ({name})")
    return Extractor(row, first.spec, first.engine_name)


def _rung(
    bench: Bench,
    kind: str,
    extractors: Sequence[Extractor],
    heads: Sequence[Head],
    factors: Sequence[float],
    detail: str,
) -> Rung:
    """A whole that reads the features of its own networks, under the mean of some heads."""
    seen = bench.features(extractors, bench.data)
    blocks = range(len(seen.widths))
    head = stacked(heads, factors, [blocks] * len(heads))
    scores = head.scores(features_of(seen)[bench.choose])
    return Rung(kind, tuple(extractors), seen, head, bench.judged(scores), 0.0, detail=detail)


# --- WiSE ----------------------------------------------------------------------------------------


def no_start(bench: Bench) -> str | None:
    """Why there is no way from a start to a tuned member; None: there is."""
    tuned = [*_tuned(bench)]
    if not tuned:
        return (
            "no member is a single tuned network that is clean of the examples to choose by and "
            "whose start is on this machine"
        )
    if len(set(bench.learned.table["label"])) < len(bench.data.classes):
        return "the examples that the start's head would be fitted on do not show every class"
    return None


def _tuned(bench: Bench) -> Iterator[int]:
    """Members with a start."""
    for k, one in enumerate(bench.members):
        alone = len(one.model.extractors) == 1 and _is_clean(one, bench)
        if alone and start_of(one.model.extractors[0].row) is not None:
            yield k


def start_of(row: CatalogRow) -> CatalogRow | None:
    """The pretrained network that a tuned one began from, where it is on this machine."""
    from regraft.training.soups import apart

    name = row.name.rpartition(" (")[0]
    if not name:
        return None
    try:
        found = find(name)
    except RegraftError:
        return None
    return found if available(found) and apart(found, row) is None else None


def _furthest(bench: Bench, place: Numbers) -> tuple[int, float]:
    """The best tuned member, and how far from its start."""
    labels = bench.labels[place]
    best = min(_tuned(bench), key=lambda k: loss_of(bench.honest[k][place], labels))
    losses = [loss_of(way_of(bench, (best, share)).judged.scores[place], labels) for share in WAYS]
    return best, WAYS[int(np.argmin(losses))]


def way_of(bench: Bench, pick: tuple[int, float]) -> Rung:
    """Share of the way from the start to a tuned member, in weights and heads; each made once."""
    if pick not in bench.made:
        number, share = pick
        one = bench.members[number]
        (end,) = one.model.extractors
        start = _start(bench, end)
        head, temperature = _start_head(bench, start)
        name = f"{share:.0%} of the way"
        extractors = [_mean((start, end), (1 - share, share), name)]
        factors = ((1 - share) / temperature, share / one.model.temperature)
        detail = f"{name} from the start to {one.name}"
        heads = (head, one.model.head)
        bench.made[pick] = _rung(bench, "wise", extractors, heads, factors, detail)
    return bench.made[pick]


def _start(bench: Bench, end: Extractor) -> Extractor:
    row = start_of(end.row)
    assert row is not None
    if "img_size" in end.row.options:
        row = replace(row, options=end.row.options)
    return Extractor(row, end.spec, end.engine_name)


def _start_head(bench: Bench, start: Extractor) -> tuple[Head, float]:
    """The closed-form head of the start on what members learned from, and its temperature."""
    from regraft.evaluation.calibration import fit_temperature

    seen = bench.features([start], bench.learned)
    labels = bench.learned.targets
    asked: dict[str, Any] = {"classes": len(bench.data.classes), "widths": seen.widths}
    fit = kept_head(bench.store, features_of(seen), labels, seed=bench.seed, **asked)
    return fit.head, fit_temperature(fit.left_out, labels)


SOUPS = {
    "uniform-soup": Method(
        "One network: the mean of all members' weights (Wortsman et al. 2022).",
        _uniform,
        soup_of,
        all_alike,
    ),
    "greedy-soup": Method(
        "One network: weights are averaged as long as that does not harm (Wortsman et al. 2022).",
        _greedy,
        soup_of,
        all_alike,
    ),
    "wise": Method(
        "One network: between the best tuned member and its start (WiSE-FT, Wortsman et al. 2022).",
        _furthest,
        way_of,
        no_start,
    ),
}
