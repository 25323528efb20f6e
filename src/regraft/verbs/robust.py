"""evaluate --robust: how much of the accuracy is left under attack, as a part of a report."""

import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from regraft.backbones.features import Pass
from regraft.data.dataset import Dataset
from regraft.errors import DataError, UsageError
from regraft.evaluation.intervals import bootstrap_share
from regraft.model.model import Model
from regraft.progress import Progress, Quiet

if TYPE_CHECKING:
    from regraft.robustness.arenas import Arena
    from regraft.robustness.attacks import Norm
    from regraft.robustness.measuring import Measured, Point
    from regraft.robustness.sanity import Check

EXAMPLES = 300
SHOWN = 8


def sizes(
    texts: Sequence[str], norm: str | None, arena: "Arena | None" = None
) -> tuple[float, ...]:
    """``2/255`` or ``0.5``, as they are written → ε in units of the norm, rising.

    arena  what is attacked; None: pictures

    Raises UsageError with all that is wrong.
    """
    from regraft.robustness.arenas import ARENAS

    arena = arena or ARENAS["image"]
    change = arena.change(norm)
    found, mistakes = [], []
    for text in texts or change.usual:
        value = _share(text)
        if value is None or not 0 < value <= change.most:
            mistakes.append(f"eps: {text!r} is no share {arena.share}")
        else:
            found.append(value * change.norm.unit)
    if mistakes:
        raise UsageError(*mistakes)
    return tuple(sorted(set(found)))


def _share(text: str) -> float | None:
    found = re.fullmatch(r"\s*([0-9.]+)\s*(?:/\s*([0-9.]+))?\s*", str(text))
    try:
        return float(found[1]) / float(found[2] or 1) if found else None
    except (ValueError, ZeroDivisionError):
        return None


def refuse_unknown(attack: str | None, examples: int, arena: "Arena") -> None:
    """Raise UsageError for what cannot be obeyed."""
    mistakes = []
    if attack not in (None, *arena.attacks):
        known = ", ".join(arena.attacks)
        mistakes.append(
            f"attack: {attack!r} is not one of {known}, which there are on {arena.noun}"
        )
    if type(examples) is not int or examples < 1:
        mistakes.append(f"examples: expected a whole number of 1 or more, got {examples!r}")
    if mistakes:
        raise UsageError(*mistakes)


def robust(
    model: Model,
    examples: Dataset,
    seen: Pass,
    *,
    eps: Sequence[str] = (),
    norm: str | None = None,
    attack: str | None = None,
    most: int = EXAMPLES,
    resamples: int = 1000,
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """The part ``robust`` of a report's record; see `Report`.

    examples, seen  labelled examples and the pass over them
    eps, norm, attack  as for `evaluate`
    most  examples that are attacked, drawn by the seed

    Raises UsageError where the model cannot be attacked as it answers, MissingExtra.
    """
    import torch

    from regraft.robustness.arenas import arena_of
    from regraft.robustness.measuring import ATTACKS, measured
    from regraft.robustness.sanity import same_answers

    arena = arena_of(model)
    wanted, change = sizes(eps, norm, arena), arena.change(norm)
    refuse_unknown(attack, most, arena)
    begin, name = time.perf_counter(), attack or arena.attacks[0]
    box = arena.box(model)
    some = drawn(seen, len(examples), most, seed)
    paths = examples.table["path"].to_list()
    whole = box.read(model, [paths[i] for i in some])
    labels = torch.from_numpy(examples.targets[some])
    by: dict[str, Any] = {"attack": name, "seed": seed, "progress": progress or Quiet()}
    by |= {"classes": len(model.classes), "answers_alone": arena.answers_alone}
    found = measured(box, whole.to(box.device), labels.to(box.device), change.norm, wanted, **by)
    assert seen.features is not None, "models have networks"
    own = model.head.scores(seen.features[some]).argmax(1)
    same = same_answers(found.answers.cpu(), torch.from_numpy(own))
    attacked = Attacked(model, examples, some, whole, labels, arena, change.norm, found)
    told = {
        "noun": arena.noun,
        "norm": change.norm.name,
        "norm_told": change.norm.told,
        "axis": dict(zip(("title", "scale"), change.norm.axis, strict=True)),
        "attack": ATTACKS[name].told(len(model.classes)),
        "whole": ATTACKS[name].whole,
        "n": len(some),
        "seconds": time.perf_counter() - begin,
        "as_files": attacked.as_files(box),
        "examples": [*attacked.examples_shown(box)],
        "limits": list(arena.limits),
    }
    asked = {"resamples": resamples, "seed": seed}
    return told | attacked.figures(asked) | _trust([same, *found.checks])


def _trust(checks: "Sequence[Check]") -> dict[str, Any]:
    """The checks, and whether what was found can be believed."""
    failed = [check for check in checks if not check.passed]
    return {
        "checks": [vars(check) for check in checks],
        "reliable": not failed,
        "why": [f"{check.name}: {check.told}" for check in failed],
    }


def drawn(seen: Pass, n: int, most: int, seed: int) -> Any:
    """Places of up to `most` of n examples that can be read, by the seed."""
    readable = np.array([i for i in range(n) if i not in seen.verdicts], np.int64)
    if not len(readable):
        raise DataError("there is nothing to attack: no file can be read")
    return np.sort(np.random.default_rng([seed, 41]).permutation(readable)[:most])


def share_of(right: Any, asked: dict[str, Any]) -> dict[str, Any]:
    """Of flags (n,), with its interval as plain data."""
    return bootstrap_share(right, **asked).to_dict()


@dataclass(frozen=True)
class Attacked:
    """What was attacked, and what was found.

    some    (n,) places among the examples
    whole   (n, ...) these as the box reads them, and their labels (n,)
    """

    model: Model
    examples: Dataset
    some: Any
    whole: Any
    labels: Any
    arena: "Arena"
    norm: "Norm"
    found: "Measured"

    def figures(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Clean and robust accuracy, with intervals."""
        return {
            "clean": share_of((self.found.answers.cpu() == self.labels).numpy(), asked),
            "points": [self._point(point, asked) for point in self.found.points],
        }

    def _point(self, point: "Point", asked: dict[str, Any]) -> dict[str, Any]:
        fell = [name for name in point.by if name]
        return {
            "eps": point.eps / self.norm.unit,
            "told": self.norm.written(point.eps),
            "accuracy": share_of(np.array(point.holds), asked),
            "fell_to": {name: fell.count(name) for name in dict.fromkeys(fell)},
            **self.arena.told(self.whole.float(), point.pictures.cpu()),
        }

    def as_files(self, box: Any) -> dict[str, Any] | None:
        """Of those changed at the largest ε, how many still mislead when they are files."""
        last = self.found.points[-1]
        fell = _changed(last)
        if not fell or self.arena.filed is None:
            return None
        answers = self.arena.filed(self.model, box, last.pictures[fell].cpu())
        share = float((answers != self.labels.numpy()[fell]).mean())
        return {"eps": self.norm.written(last.eps), "n": len(fell), "misled": share}

    def examples_shown(self, box: Any) -> Iterator[dict[str, Any]]:
        """Some that fell at the smallest ε at which enough did, with their change enlarged."""
        import torch

        from regraft.robustness.measuring import told_of

        if self.arena.shown is None:
            return
        points = self.found.points
        point = next((p for p in points if len(_changed(p)) >= SHOWN // 2), points[-1])
        for i in _changed(point)[:SHOWN]:
            with torch.no_grad():
                answer = int(box(point.pictures[i : i + 1]).argmax(1))
            yield {
                "file": self.examples.table["id"][int(self.some[i])],
                "label": self.model.classes[int(self.labels[i])],
                "predicted": self.model.classes[answer],
                "eps": self.norm.written(point.eps),
                "by": told_of(point.by[i]),
                **self.arena.shown(self.whole[i], point.pictures[i].cpu()),
            }


def _changed(point: "Point") -> list[int]:
    """Places of the examples that fell to an attack."""
    from regraft.robustness.measuring import ITSELF

    return [i for i, name in enumerate(point.by) if name not in ("", ITSELF)]
