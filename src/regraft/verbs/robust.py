"""evaluate --robust: how much of the accuracy is left under attack, as a part of a report."""

import math
import re
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from regraft.backbones.features import Pass
from regraft.data.dataset import Dataset
from regraft.errors import DataError, UsageError
from regraft.evaluation.intervals import bootstrap
from regraft.model.model import Model
from regraft.progress import Progress, Quiet

if TYPE_CHECKING:
    from regraft.robustness.measuring import Measured, Point
    from regraft.robustness.sanity import Check
    from regraft.robustness.whitebox import WhiteBox

TOP = 255.0
USUAL = {"linf": ("1/255", "2/255", "4/255"), "l2": ("0.25", "0.5", "1")}
EXAMPLES = 300
SHOWN = 8
LARGEST = {"linf": 1.0, "l2": math.inf}  # more is beyond the range of a pixel

LIMITS = (
    "Empirical: no attack of those run found more. That is no proof, and a better attack may.",
    "Only small changes in the norm named: other changes (a sticker, another light, a rotation, "
    "another camera) are not covered.",
    "Pictures were changed after they were resized for the network, which is the stronger attacker "
    "than one who changes the file.",
)


def sizes(texts: Sequence[str], norm: str) -> tuple[float, ...]:
    """``2/255`` or ``0.5``, of the range from black to white → ε in pixel units, rising.

    Raises UsageError with all that is wrong.
    """
    from regraft.robustness.attacks import NORMS

    if norm not in NORMS:
        raise UsageError(f"norm: {norm!r} is not one of {', '.join(NORMS)}")
    found, mistakes = [], []
    for text in texts or USUAL[norm]:
        value = _share(text)
        if value is None or not 0 < value <= LARGEST[norm]:
            mistakes.append(
                f"eps: {text!r} is no share of the range from black to white such as 2/255 or 0.01"
            )
        else:
            found.append(value * TOP)
    if mistakes:
        raise UsageError(*mistakes)
    return tuple(sorted(set(found)))


def _share(text: str) -> float | None:
    found = re.fullmatch(r"\s*([0-9.]+)\s*(?:/\s*([0-9.]+))?\s*", str(text))
    try:
        return float(found[1]) / float(found[2] or 1) if found else None
    except (ValueError, ZeroDivisionError):
        return None


def refuse_unknown(attack: str, examples: int) -> None:
    """Raise UsageError for what cannot be obeyed."""
    from regraft.robustness.measuring import ATTACKS

    mistakes = []
    if attack not in ATTACKS:
        mistakes.append(f"attack: {attack!r} is not one of {', '.join(ATTACKS)}")
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
    norm: str = "linf",
    attack: str = "autoattack",
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

    from regraft.robustness.attacks import NORMS
    from regraft.robustness.measuring import ATTACKS, measured
    from regraft.robustness.sanity import same_answers
    from regraft.robustness.whitebox import WhiteBox, as_files

    wanted = sizes(eps, norm)
    refuse_unknown(attack, most)
    begin = time.perf_counter()
    box = WhiteBox.of(model)
    some = drawn(seen, len(examples), most, seed)
    paths = examples.table["path"].to_list()
    whole = box.pictures(model, [paths[i] for i in some])
    labels = torch.from_numpy(examples.targets[some])
    pictures, truth = whole.to(box.device), labels.to(box.device)
    by: dict[str, Any] = {"attack": attack, "seed": seed, "progress": progress or Quiet()}
    classes = len(model.classes)
    found = measured(box, pictures, truth, NORMS[norm], wanted, classes=classes, **by)
    own = as_files(model, box, whole)
    same = same_answers(found.answers.cpu(), torch.from_numpy(own))
    told = {
        "norm": norm,
        "norm_told": NORMS[norm].told,
        "attack": ATTACKS[attack].told(classes),
        "whole": ATTACKS[attack].whole,
        "n": len(some),
        "seconds": time.perf_counter() - begin,
        "as_files": _as_files(model, box, found.points, labels.numpy(), norm),
        "examples": [*_examples(model, box, examples, some, whole, found, labels.numpy(), norm)],
        "limits": list(LIMITS),
    }
    asked = {"resamples": resamples, "seed": seed}
    return told | _figures(found, labels, norm, asked) | _trust([same, *found.checks])


def _figures(found: "Measured", labels: Any, norm: str, asked: dict[str, Any]) -> dict[str, Any]:
    """Clean and robust accuracy, with intervals."""
    return {
        "clean": share_of((found.answers.cpu() == labels).numpy(), asked),
        "points": [_point(point, norm, asked) for point in found.points],
    }


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


def eps_text(eps: float, norm: str) -> str:
    """As it is written: 2/255 where every value may change so much, else the length, 0.5."""
    return f"{eps:g}/255" if norm == "linf" else f"{eps / TOP:g}"


def share_of(right: Any, asked: dict[str, Any]) -> dict[str, Any]:
    """Of flags (n,), with its interval as plain data."""
    claims = np.stack([1.0 - right, right.astype(float)], 1)
    ones = np.ones(len(right), int)
    return bootstrap(ones, claims, metrics=["accuracy"], **asked)["accuracy"].to_dict()


def _point(point: "Point", norm: str, asked: dict[str, Any]) -> dict[str, Any]:
    fell = [name for name in point.by if name]
    return {
        "eps": point.eps / TOP,
        "told": eps_text(point.eps, norm),
        "accuracy": share_of(np.array(point.holds), asked),
        "fell_to": {name: fell.count(name) for name in dict.fromkeys(fell)},
    }


def _as_files(
    model: Model, box: "WhiteBox", points: Sequence["Point"], labels: Any, norm: str
) -> dict[str, Any] | None:
    """Of the changed pictures at the largest ε, how many still mislead when they are files."""
    from regraft.robustness.measuring import ITSELF
    from regraft.robustness.whitebox import as_files

    last = points[-1]
    fell = [i for i, name in enumerate(last.by) if name not in ("", ITSELF)]
    if not fell:
        return None
    answers = as_files(model, box, last.pictures[fell].cpu())
    share = float((answers != labels[fell]).mean())
    return {"eps": eps_text(last.eps, norm), "n": len(fell), "misled": share}


def _examples(
    model: Model,
    box: "WhiteBox",
    examples: Dataset,
    some: Any,
    whole: Any,
    found: "Measured",
    labels: Any,
    norm: str,
) -> Iterator[dict[str, Any]]:
    """Pictures that fell at the smallest ε at which enough did, with their change enlarged."""
    import torch

    from regraft.model.looking import plain
    from regraft.robustness.measuring import ITSELF, told_of

    point = next((p for p in found.points if _fell(p) >= SHOWN // 2), found.points[-1])
    places = [i for i, name in enumerate(point.by) if name not in ("", ITSELF)][:SHOWN]
    for i in places:
        before = whole[i, :3].float()
        after = point.pictures[i, :3].cpu()
        change = after - before
        enlarged = 127.5 + 127.5 * change / change.abs().max().clamp(min=1e-6)
        with torch.no_grad():
            answer = int(box(point.pictures[i : i + 1]).argmax(1))
        yield {
            "file": examples.table["id"][int(some[i])],
            "label": model.classes[int(labels[i])],
            "predicted": model.classes[answer],
            "eps": eps_text(point.eps, norm),
            "by": told_of(point.by[i]),
            "times": float(127.5 / change.abs().max().clamp(min=1e-6)),
            "thumbnail": plain(_pixels(before)),
            "change": plain(_pixels(enlarged)),
            "changed": plain(_pixels(after)),
        }


def _fell(point: "Point") -> int:
    from regraft.robustness.measuring import ITSELF

    return sum(name not in ("", ITSELF) for name in point.by)


def _pixels(x: Any) -> Any:
    return np.asarray(x.round().clamp(0, 255).permute(1, 2, 0).numpy().astype(np.uint8))
