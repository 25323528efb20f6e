"""How long features take: by counts and by what this machine was once measured to do.

No clock is asked on the way, so the same run chooses the same again.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from regraft.backbones.catalog import CatalogRow
from regraft.backbones.extractor import Extractor
from regraft.backbones.readers import reader
from regraft.backbones.runtimes import lanes
from regraft.modalities.facts import Facts
from regraft.modalities.spec import UNITS, InputSpec
from regraft.recipe import Recipe
from regraft.transfer.inputs import Choice, fitting

NOMINAL = 75.0  # 10⁹ operations a second and core: what a plain x86 server core reaches
UNKNOWN_GFLOPS = 4.0  # of a network that the catalog does not know: about a ResNet-50's
DOUBLE = 0.5  # of the speed: what is left of it in double precision
BESIDE = 0.7  # of the engine's rate: what is left of it with decoding beside
SMALLER = (1.0, 0.72, 0.57, 0.43)  # sizes to begin with, as shares of the network's own
FIRST = 0.9  # of the time for probes that the first pass may take, less what is always there:
ALWAYS = 19.0  # seconds for starting, opening a network, the head, metrics and the report
TOLERATED = 1.05  # of the time for the first pass: what is left out for less is a pity
PROBES_FIRST = 150.0  # seconds of any budget that probes may take
SECONDS = 5.0  # that it may take in any case


def for_probes(budget: float) -> float:
    """Seconds of the budget that probes may take: all of a short one, a third of a long one.

    In two minutes and a half a larger picture or a second view brings more than training does.
    """
    return min(budget, max(PROBES_FIRST, budget / 3))


@dataclass
class Forecast:
    """Of the probes of one fit.

    files    number of examples
    budget   seconds that probes may take
    speed    10⁹ operations a second
    planned  seconds of what was decided so far
    facts    of some of the examples
    routes   ways to read the examples that are all to be tried: the first one gets its share
    """

    files: int
    budget: float
    speed: float = 0.0
    planned: float = 0.0
    facts: Sequence[Facts] = ()
    routes: int = 1

    def __post_init__(self) -> None:
        self.speed = self.speed or NOMINAL * lanes()

    def learn(self, one: Extractor) -> None:
        """Take over the speed of a network whose rate was measured."""
        if one.rate is not None:
            self.speed = BESIDE * one.rate * _operations(one.row, one.spec, 1, ())

    def seconds(self, row: CatalogRow, spec: InputSpec) -> float:
        """For the features of all files."""
        return self.files * _operations(row, spec, len(spec.views), self.facts) / self.speed

    def plan(self, seconds: float) -> None:
        self.planned += seconds

    def affords(
        self,
        row: CatalogRow,
        spec: InputSpec,
        more: float = 0.0,
        known: InputSpec | None = None,
    ) -> bool:
        """Whether features of all files by another network or input fit in; then they are planned.

        more   seconds that it takes besides
        known  an input of this network whose features are there: views of its size cost nothing
        """
        there = known.views if known is not None and known.size == spec.size else ()
        new = tuple(view for view in spec.views if view not in there)
        return self._planned(more + (self.seconds(row, replace(spec, views=new)) if new else 0.0))

    def affords_head(self, examples: int, columns: int) -> bool:
        """Whether there is time for a closed-form head; then it is planned."""
        return self._planned(_head_operations(examples, columns) / (DOUBLE * self.speed))

    def _planned(self, wanted: float) -> bool:
        """Whether there is time for something more; then it is planned."""
        fits = self.planned + wanted <= self.budget - ALWAYS
        if fits:
            self.plan(wanted)
        return fits

    def most(self, row: CatalogRow, spec: InputSpec) -> int:
        """Examples for whose features there is time in the first pass."""
        share = self._allowed / max(self.seconds(row, spec), 1e-9)
        return self.files if share * TOLERATED >= 1 else int(share * self.files)

    def first(self, choice: Choice, row: CatalogRow, recipe: Recipe) -> Choice:
        """The input to begin with, or the largest smaller one for which there is time."""
        if recipe.size is not None or self._fits(row, choice.spec):
            return choice
        if self.seconds(row, choice.spec.at(row.min_size)) == self.seconds(row, choice.spec):
            return choice  # a smaller size would save nothing
        sizes = [*_smaller(row, choice.spec.size)]
        size = next((s for s in sizes if self._fits(row, choice.spec.at(s))), sizes[-1])
        needed = self.seconds(row, choice.spec)
        why = (
            f"{choice.spec.at(size).told}: {self.files:,} examples at {choice.spec.told} would "
            f"take about {needed:.0f} s"
        )
        return replace(choice, spec=choice.spec.at(size), reasons=choice.reasons | {"size": why})

    def _fits(self, row: CatalogRow, spec: InputSpec) -> bool:
        return self.seconds(row, spec) <= self._allowed

    @property
    def _allowed(self) -> float:
        """Seconds that the first pass may take."""
        return max(SECONDS, (FIRST * self.budget - ALWAYS) / self.routes)


def _head_operations(n: int, d: int) -> float:
    """10⁹ operations of a head on n examples and d columns: by the smaller of its two forms."""
    sums, inner = (6 * n * d**2, 9 * d**3) if n > 2 * d else (2 * n**2 * d, 9 * n**3)
    return (sums + inner) / 1e9


def _operations(row: CatalogRow, spec: InputSpec, views: int, facts: Sequence[Facts]) -> float:
    """10⁹ operations for one example."""
    return (row.gflops or UNKNOWN_GFLOPS) * reader(spec).cost(spec, row.spec, facts) * views


def _smaller(row: CatalogRow, size: int) -> Iterator[int]:
    """Sizes from one downwards."""
    step = UNITS[row.spec.reads].step
    for share in SMALLER:
        if (other := fitting(row, round(size * share / step) * step)) <= size:
            yield other
