"""compare --robust: what is left of each row's accuracy on worse examples and under attack.

Each row becomes a model like any other, and is measured as `evaluate --robust --corruptions` does,
with the checks of the attack.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from regraft.backbones.extractor import Extractor
from regraft.backbones.features import Pass
from regraft.backbones.store import Store
from regraft.data.dataset import Dataset
from regraft.errors import UsageError
from regraft.model.model import Model
from regraft.progress import Progress
from regraft.transfer.novelty import Novelty
from regraft.transfer.probe import Head
from regraft.verbs.corrupted import corruptions
from regraft.verbs.robust import drawn, refuse_unknown, robust, sizes

EXAMPLES = 100  # of each row that are attacked and corrupted
BY = "pgd"  # quick: AutoAttack takes minutes to hours for each row
EPS = 1  # place of the size among the usual ones, which rise


@dataclass(frozen=True)
class Withstanding:
    """How all rows are measured alike.

    eps   size of the changes as it is written; None: the middle one of the usual sizes
    by    attack; None: BY
    most  examples of the held-out part that are attacked and corrupted
    """

    eps: str | None = None
    by: str | None = None
    most: int = EXAMPLES

    @classmethod
    def asked(cls, robust: bool, eps: str | None, by: str | None, most: int | None) -> Self | None:
        """None where it is not asked for. Raises UsageError for settings that have no use then."""
        given = {"eps": eps, "robust_by": by, "attacked": most}
        if not robust:
            useless = [f"{k}: is for robust" for k, v in given.items() if v is not None]
            if useless:
                raise UsageError(*useless)
            return None
        return cls(eps, by, EXAMPLES if most is None else most)

    def settings(self) -> dict[str, Any]:
        """As they were asked for."""
        own: dict[str, Any] = {"eps": self.eps, "robust_by": self.by}
        own["attacked"] = None if self.most == EXAMPLES else self.most
        return {"robust": True} | {k: v for k, v in own.items() if v is not None}

    def refuse_other(self, kind: str) -> None:
        """Raise UsageError or MissingExtra, before any work, for what cannot be measured on a kind
        of data.
        """
        from regraft.robustness.arenas import ARENAS
        from regraft.robustness.materials import MATERIALS

        known = [name for name in ARENAS if name in MATERIALS]
        if kind not in known:
            raise UsageError(f"robust: is not there for {kind} yet, only for {', '.join(known)}")
        arena = ARENAS[kind]
        refuse_unknown(self.by or BY, self.most, arena)
        arena.answers_alone.there()
        sizes(() if self.eps is None else (self.eps,), None, arena)

    def measured(
        self,
        model: Model,
        examples: Dataset,
        seen: Pass,
        *,
        resamples: int,
        seed: int,
        store: Store,
        progress: Progress,
    ) -> dict[str, Any]:
        """``robust`` and ``corrupted``: shares of right answers with intervals, as plain data.

        examples, seen  the held-out part and a pass over it: which can be read
        """
        from regraft.robustness.arenas import arena_of

        some = drawn(seen, len(examples), self.most, seed)
        part = examples.with_table(examples.table[some])
        own = model.features(part.table["path"].to_list(), store=store, progress=progress)
        by: dict[str, Any] = {"most": self.most, "resamples": resamples, "seed": seed}
        by["progress"] = progress
        eps = self.eps or arena_of(model).change(None).usual[EPS]
        worse = corruptions(model, part, own, **by)
        under = robust(model, part, own, eps=(eps,), attack=self.by or BY, **by)
        (point,) = under["points"]
        told = {name: under[name] for name in ("n", "clean", "reliable", "why", "whole")}
        told["attack"] = f"{under['attack']} at ε = {point['told']}"
        corrupted = {name: worse[name] for name in ("n", "clean", "worst")}
        return {
            "robust": {**point["accuracy"], **told},
            "corrupted": {**worse["mean"], **corrupted},
        }


def as_model(one: Extractor, head: Head, temperature: float, data: Dataset) -> Model:
    """A row of a comparison as a model that answers; it tells neither sets nor novelty."""
    return Model(
        classes=data.classes,
        extractors=(one,),
        head=head,
        temperature=temperature,
        threshold=np.inf,
        novelty=Novelty.fit(np.zeros((0, sum(one.widths)))),
        record={},
        modality=data.modality,
    )


def over_seeds(found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Of several runs of a row: the mean, with the interval of the first around it."""
    if not found:
        return {}
    return {name: _mean([one[name] for one in found]) for name in found[0]}


def _mean(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    moved = float(np.mean([row["value"] for row in rows])) - rows[0]["value"]
    ends = {end: rows[0][end] for end in ("value", "low", "high")}
    around = {k: v if v is None else min(max(v + moved, 0.0), 1.0) for k, v in ends.items()}
    told = dict(rows[0]) | around
    if "why" in told:
        told["why"] = list(dict.fromkeys(text for row in rows for text in row["why"]))
        told["reliable"] = all(row["reliable"] for row in rows)
    return told
