"""Members of an ensemble: models that tell the same classes, and what each honestly says.

An answer is honest where the example did not teach the member: it learned from other files, or it
was judged by this one before (leave-one-out, held back) and its bundle keeps that answer. Only
there can members be compared; on what one of them learned from it can only look too good.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from regraft.data.dataset import listed
from regraft.errors import RegraftError, UsageError
from regraft.evaluation.operating import HELD_BACK, LEFT_OUT, Judged
from regraft.model.model import Model
from regraft.model.opening import opened
from regraft.transfer.stacking import reordered

Logits = npt.NDArray[np.float64]

FEWEST = 2
TINY = float(np.finfo(np.float32).tiny)  # of a probability: less is rounding


@dataclass(frozen=True, eq=False)
class Member:
    """One model of an ensemble, with its classes in the common order.

    name  by which it is told: that of its file, or ``model 1``
    """

    name: str
    model: Model

    @cached_property
    def learned(self) -> frozenset[str]:
        """Short hashes of what it learned from."""
        return frozenset(self.model.record.get("learned", ()))

    @cached_property
    def judged(self) -> Mapping[str, Logits]:
        """Short hash → (c,) calibrated logits that it gave before it learned from the example."""
        if (kept := self.model.judged) is None:
            return {}
        names = self.model.record.get("judged_on") or self._left_out()
        if len(names) != len(kept.labels):
            return {}
        logits = np.log(np.maximum(kept.probabilities.astype(np.float64), TINY))
        return dict(zip(names, logits, strict=True))

    def _left_out(self) -> Sequence[str]:
        """Of a bundle that does not name them: leave-one-out judges all that was learned from."""
        kept, learned = self.model.judged, self.model.record.get("learned", ())
        return learned if kept is not None and kept.how == LEFT_OUT else ()

    def is_honest_on(self, sha: str) -> bool:
        """Whether its answer to an example, by short hash, can be had as if it were new."""
        return sha not in self.learned or sha in self.judged

    @cached_property
    def clean(self) -> frozenset[str]:
        """Of what it was judged by, what has taught neither its weights nor its head in the end.

        A single network that was trained has never seen what was held back from it; a frozen one's
        head, and a mix of the two, have learned from that too after all.
        """
        record, kept = self.model.record, self.model.judged
        alone = len(self.model.extractors) == 1 and not record.get("members")
        held = kept is not None and kept.how == HELD_BACK and alone
        return frozenset([*record.get("only_chosen_by", ()), *(self.judged if held else ())])

    def is_clean_of(self, sha: str) -> bool:
        """Whether an example, by short hash, has taught nothing in it."""
        return sha not in self.learned or sha in self.clean

    def logits(self, features: npt.NDArray[np.floating]) -> Logits:
        """(n, d) raw features by its own networks → (n, c) calibrated logits."""
        return self.model.head.scores(features) / self.model.temperature


def members(models: Sequence[Any]) -> list[Member]:
    """Models, or paths of their bundles, as members of one ensemble.

    Classes are matched by their names and brought into the order of the first model. Raises
    UsageError with all that keeps them from standing side by side.
    """
    found, mistakes = _opened(models)
    if not mistakes and len(found) < FEWEST:
        mistakes.append(f"models: an ensemble needs {FEWEST} or more, got {len(found)}")
    if found:
        mistakes += _unlike(found)
    if mistakes:
        raise UsageError(*mistakes)
    classes = found[0].model.classes
    return [replace(one, model=_in_order(one.model, classes)) for one in found]


def single(model: Any) -> Member:
    """A model, or the path of its bundle, by itself. Raises UsageError."""
    found, mistakes = _opened([model])
    if mistakes:
        raise UsageError(*mistakes)
    return found[0]


def _opened(models: Sequence[Any]) -> tuple[list[Member], list[str]]:
    """All that can be opened, and what is wrong with the others."""
    found: list[Member] = []
    mistakes: list[str] = []
    for one, name in zip(models, _names(models), strict=True):
        try:
            model = opened(one)
        except RegraftError as error:
            mistakes += [str(error)]
            continue
        if not isinstance(model, Model):
            mistakes.append(f"{name}: is for {model.task}; only classifiers can be members")
        elif not model.extractors:
            mistakes.append(f"{name}: is an export, without its networks; give its bundle")
        else:
            found.append(Member(name, model))
    return found, mistakes


def _names(models: Sequence[Any]) -> list[str]:
    """Of each file its name, with as many folders before it as tell all of them apart."""
    paths = {i: Path(one) for i, one in enumerate(models) if isinstance(one, str | Path)}
    longest = max((len(path.parts) for path in paths.values()), default=0)
    for depth in range(1, longest + 1):
        names = {i: "/".join(path.parts[-depth:]) for i, path in paths.items()}
        if len(set(names.values())) == len(names):
            break
    else:
        names = {i: str(path) for i, path in paths.items()}
    return [names.get(i, f"model {i + 1}") for i in range(len(models))]


def _unlike(found: Sequence[Member]) -> Iterator[str]:
    """Where a member is of another kind than the first, or tells other classes."""
    first = found[0]
    for one in found[1:]:
        if one.model.modality != first.model.modality:
            yield (
                f"{one.name}: reads {one.model.modality}, and {first.name} reads "
                f"{first.model.modality}"
            )
        own, others = set(one.model.classes), set(first.model.classes)
        if own == others:
            continue
        odd = {"does not know": sorted(others - own), "knows besides": sorted(own - others)}
        told = " and ".join(f"{what} {listed(names)}" for what, names in odd.items() if names)
        yield f"{one.name}: {told}; {first.name} has the classes {listed(first.model.classes)}"


def _in_order(model: Model, classes: tuple[str, ...]) -> Model:
    """The same model with its classes in another order."""
    if model.classes == classes:
        return model
    order = [model.classes.index(name) for name in classes]
    kept, place = model.judged, np.argsort(order)
    judged = kept and Judged(kept.how, kept.probabilities[:, order], place[kept.labels])
    return replace(model, classes=classes, head=reordered(model.head, order), judged=judged)
