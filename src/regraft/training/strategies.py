"""Strategies: how knowledge moves from a pretrained network to the user's data, as rows of a table.

A row says with which weights and head a run begins, what may move, and the settings that its plan
begins with. The loop knows none of their names.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import entry_points
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from regraft.backbones.catalog import CatalogRow, families
from regraft.errors import UsageError

if TYPE_CHECKING:
    from regraft.backbones.tunable import Tunable

# (model, row) → names of the parameters that may move, from the last to the first group of depth
Groups = list[list[str]]


@dataclass(frozen=True)
class Strategy:
    """One way of transfer.

    told     one plain sentence
    weights  the network begins with: ``pretrained`` or ``random``
    head     it begins with: ``ridge``, the closed-form head on all blocks, or ``fresh``, a random
             one on the last feature
    learns   a key of LEARNS
    settings fields of `Plan` that differ from its own defaults
    thaws    the groups of depth begin to learn one after the other, the deepest first
    head_first  share of the steps in which the head learns alone
    prefix   the shallow part stands still and its activations are kept
    refits   the closed-form head is computed anew on the tuned features, and taken where it is
             better on what is held back
    back     of few examples, how far its weights go back to where they began where nothing is held
             back to choose that by: a closed-form head on few examples is hard to beat
    few      so many and more examples are not few
    aims     what it is judged by: ``accuracy``, or ``robustness`` as well
    judging  what comparing its weights at the end takes, in that of a strategy for accuracy
    gain     share of the probe's held-back loss that it takes away as a rule: by it a ladder orders
             what nobody named; 0: only by name
    needs    what the network's family must offer; empty: anything
    reading  what a network reads → fields of this row that are others for it
    source   the paper
    """

    name: str
    told: str
    weights: str = "pretrained"
    head: str = "ridge"
    learns: str = "all"
    settings: Mapping[str, Any] = field(default_factory=dict)
    thaws: bool = False
    head_first: float = 0.0
    prefix: bool = False
    refits: bool = False
    back: float = 0.0
    few: int = 1000
    aims: str = "accuracy"
    judging: float = 1.0
    gain: float = 0.0
    needs: str = ""
    reading: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    source: str = ""

    def of(self, reads: str) -> "Strategy":
        """The row for networks that read this: a key of `spec.UNITS`."""
        return replace(self, **self.reading.get(reads, {}))

    def back_of(self, examples: int) -> float:
        """How far the weights of a run on so many examples go back."""
        return self.back if examples < self.few else 0.0

    @property
    def trains(self) -> bool:
        """Whether anything moves at all."""
        return self.learns != "nothing"


NAIVE = {
    "optimiser": "adam",
    "schedule": "constant",
    "warmup": 0.0,
    "shallow": 1.0,
    "weight_decay": 0.0,
    "average": 0.0,
    "clip": 0.0,
    "loss": "cross-entropy",
    "norm": "free",
}

# Transformers of texts and sounds take a tenth of the rates that pictures do, and have no
# BatchNorm: with `norm` free only their dropout would begin.
TEXTBOOK = {**NAIVE, "rate": 5e-5, "norm": "frozen"}  # Devlin et al. 2019, arXiv 1810.04805


PLAIN = "cross-entropy"  # of the many classes of texts, smoothing would speak for all but one
PAIRS = "contrastive:share=0.9,temperature=0.1"


def _of_sequences(**settings: Any) -> Mapping[str, Mapping[str, Any]]:
    """Of a row's `reading`: settings for texts and sounds."""
    return {reads: {"settings": settings} for reads in ("text", "sound")}


STRATEGIES: Mapping[str, Strategy] = MappingProxyType(
    {
        row.name: row
        for row in (
            Strategy(
                "scratch",
                "the architecture alone, random weights: what the pretrained ones are worth",
                weights="random",
                head="fresh",
                settings={"shallow": 1.0, "norm": "free", "rate": 2e-3, "average": 0.1},
                needs="full",
                reading=_of_sequences(shallow=1.0, rate=5e-4, average=0.1),
            ),
            Strategy(
                "copy",
                "weights copied and trained naively: a fresh head, one rate, BatchNorm free",
                head="fresh",
                settings=NAIVE,
                needs="full",
                reading=_of_sequences(**TEXTBOOK),
            ),
            Strategy(
                "probe",
                "frozen network, closed-form head on the features of all blocks",
                learns="nothing",
                source="Evci et al. 2022, arXiv 2201.03529",
            ),
            Strategy(
                "tune-norm",
                "only the weights and biases of the normalisation layers, and the head",
                learns="norms",
                settings={"shallow": 1.0, "rate": 2e-3},
                gain=0.1,
                needs="tune-norm",
                source="Frankle et al. 2021, arXiv 2003.00152",
            ),
            Strategy(
                "lp-ft",
                "from the closed-form head on, all but the shallowest weights, the shallow ones "
                "slowly; BatchNorm frozen, weights averaged",
                settings={"rate": 1e-3, "shallow": 0.02, "frozen": 0.3},
                back=0.5,
                gain=0.32,
                needs="lp-ft",
                reading=_of_sequences(rate=5e-5, shallow=0.1, frozen=0.3, loss=PLAIN),
                source="Kumar et al. 2022, arXiv 2202.10054",
            ),
            Strategy(
                "gradual",
                "as lp-ft, but the layers begin to learn one after the other, the deepest first",
                settings={"rate": 4e-4, "shallow": 0.1},
                thaws=True,
                back=0.5,
                needs="lp-ft",
                reading=_of_sequences(rate=5e-5, shallow=0.1, loss=PLAIN),
                source="Howard and Ruder 2018, arXiv 1801.06146",
            ),
            Strategy(
                "partial",
                "as lp-ft, but the shallow part stands still and its activations are kept for "
                "several augmented views",
                prefix=True,
                back=0.5,
                settings={"rate": 1e-3, "shallow": 0.1, "frozen": 0.6},
                gain=0.3,
                needs="partial",
                source="Liu et al. 2021, arXiv 2102.01386",
            ),
            Strategy(
                "lora",
                "low-rank adapters on the linear layers of a transformer, and the head",
                learns="adapters",
                settings={"shallow": 1.0, "weight_decay": 0.0},
                gain=0.25,
                needs="lora",
                reading=_of_sequences(shallow=1.0, weight_decay=0.0, rate=1e-3),
                source="Hu et al. 2022, arXiv 2106.09685",
            ),
            Strategy(
                "contrastive",
                "as lp-ft, but pairs of one class are drawn together, and the closed-form head is "
                "computed anew: for few labels",
                settings={"rate": 5e-4, "shallow": 0.1, "loss": PAIRS, "sampling": "paired"},
                refits=True,
                needs="lp-ft",
                reading=_of_sequences(rate=5e-5, shallow=0.3, loss=PAIRS, sampling="paired"),
                source="Tunstall et al. 2022, arXiv 2209.11055",
            ),
            Strategy(
                "adversarial",
                "from the closed-form head on, by examples changed against the network: gives up "
                "accuracy for answers that small changes do not move",
                settings={
                    "rate": 1e-3,
                    "shallow": 0.3,
                    "attack": "n-fgsm:eps=2",
                },
                head_first=0.1,
                aims="robustness",
                judging=5.0,
                needs="attack",
                reading={
                    "text": {
                        "settings": {
                            **{"rate": 5e-5, "shallow": 0.3, "loss": PLAIN},
                            "attack": "freelb:eps=0.1",
                        }
                    }
                },
                source="arXiv 2312.05716 (robust head first), 2202.01181 (one noisy step), "
                "2509.23325 (ε rises), 1909.11764 (texts)",
            ),
            Strategy(
                "full",
                "every weight at nearly one rate, BatchNorm frozen: for many examples, or far from "
                "the pretraining",
                settings={"rate": 4e-4, "shallow": 0.3, "augment": "light,colour,erasing"},
                gain=0.2,
                needs="full",
                reading=_of_sequences(rate=5e-5, shallow=0.3, loss=PLAIN),
            ),
        )
    }
)


def strategies() -> dict[str, Strategy]:
    """All by name: those above and those of the entry-point group ``regraft.strategies``."""
    found = dict(STRATEGIES)
    for point in entry_points(group="regraft.strategies"):
        found.setdefault(point.name, point.load())
    return found


def strategy(name: str) -> Strategy:
    """The strategy of that name. Raises UsageError with the valid names."""
    from difflib import get_close_matches

    known = STRATEGIES if name in STRATEGIES else strategies()
    if name not in known:
        close = get_close_matches(name, known, 1)
        hint = f"; did you mean {close[0]}?" if close else f"; known: {', '.join(known)}"
        raise UsageError(f"strategy: {name!r} is not known{hint}")
    return known[name]


def refusal(wanted: Strategy, row: CatalogRow) -> str | None:
    """Why a network cannot be trained so; None where it can."""
    offered = families()[row.family].operations
    if not wanted.needs or wanted.needs in offered:
        return None
    if row.graph:
        return (
            f"{wanted.name}: {row.name} is a frozen graph for {row.graph}: nothing in it can learn"
        )
    return f"{wanted.name}: networks of the family {row.family} do not offer {wanted.needs!r}"


def refuses_reinit(wanted: Strategy) -> str | None:
    """Why no layers of a strategy can begin with random weights; None where they can."""
    if wanted.weights == "random":
        return f"reinit: all weights of {wanted.name} are random"
    if wanted.learns != "all":
        return f"reinit: in {wanted.name} random layers would never learn; choose another strategy"
    return None


# --- what may move -------------------------------------------------------------------------------


def _all(model: "Tunable", row: CatalogRow) -> Groups:
    from regraft.training.grafted import body_depths

    return body_depths(model, row)


def _norms(model: "Tunable", row: CatalogRow) -> Groups:
    from regraft.training.norms import norm_parameters

    own = norm_parameters(model)
    return [[name for name in group if name in own] for group in _all(model, row)]


def _adapters(model: "Tunable", row: CatalogRow) -> Groups:
    return [[name for name, _ in model.named_parameters() if "lora_" in name]]


def _nothing(model: "Tunable", row: CatalogRow) -> Groups:
    return []


LEARNS: Mapping[str, Callable[["Tunable", CatalogRow], Groups]] = MappingProxyType(
    {"all": _all, "norms": _norms, "adapters": _adapters, "nothing": _nothing}
)
