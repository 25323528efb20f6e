"""How the labels of a task stand in the table of a dataset: as text, and what that means.

classification  the name of the class
tags            a JSON list of names, each once and in natural order; [] is none of them
regression      a JSON list of numbers, one for each of the classes, which are the columns' names

No text at all (null) is another thing than none of the tags: nothing is known of the example.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

NOTHING = "(nothing)"  # stands for a class where an example has none of the tags
BINS = 10  # of numbers, by which a split is drawn
EACH = 10  # examples of a bin at least

Texts = Sequence[str | None]
Strata = list[tuple[str, ...]]


def natural_key(text: str) -> tuple[Any, ...]:
    """Sort key by which ``class 2`` comes before ``class 10``; case decides last."""
    pieces = re.split(r"([0-9]+)", text.casefold())
    # Digits compare by length, then as text: int() refuses numbers of more than 4300 digits.
    digits = [(len(d.lstrip("0")), d.lstrip("0")) for d in pieces[1::2]]
    return (pieces[0], *zip(digits, pieces[2::2], strict=True)), text


@dataclass(frozen=True)
class Form:
    """How the labels of a task are to be read.

    names    label → the classes that it names
    strata   the labels of all examples → of each what a split should share out evenly
    told     label → as a person reads it
    vector   (label, classes) → (k,) numbers, one for each class
    several  whether an example may have several classes
    balance  whether classes with few examples are odd
    """

    names: Callable[[str], tuple[str, ...]]
    strata: Callable[[Texts], Strata]
    told: Callable[[str], str]
    vector: Callable[[str, Sequence[str]], npt.NDArray[np.float64]]
    several: bool = False
    balance: bool = True


def tags_text(names: Iterable[str]) -> str:
    """Names of tags → the label."""
    return json.dumps(sorted(set(names), key=natural_key), ensure_ascii=False)


def numbers_text(numbers: Iterable[float]) -> str:
    """Numbers → the label."""
    return json.dumps([float(number) for number in numbers])


def _one(label: str) -> tuple[str, ...]:
    return (label,)


def _own(labels: Texts) -> Strata:
    return [() if label is None else (label,) for label in labels]


def _one_hot(label: str, classes: Sequence[str]) -> npt.NDArray[np.float64]:
    return np.array([label == name for name in classes], np.float64)


def _tags(label: str) -> tuple[str, ...]:
    return tuple(json.loads(label))


def _tags_or_nothing(labels: Texts) -> Strata:
    return [() if label is None else _tags(label) or (NOTHING,) for label in labels]


def _told_tags(label: str) -> str:
    return "; ".join(_tags(label)) or "none"


def _tag_vector(label: str, classes: Sequence[str]) -> npt.NDArray[np.float64]:
    own = set(_tags(label))
    return np.array([name in own for name in classes], np.float64)


def _numbers(label: str, classes: Sequence[str] = ()) -> npt.NDArray[np.float64]:
    return np.array(json.loads(label), np.float64)


def _told_numbers(label: str) -> str:
    return ", ".join(f"{number:g}" for number in _numbers(label))


def _bins(labels: Texts) -> Strata:
    """Of the mean of the standardised numbers: bins of equal size, fewer of few examples."""
    known = [i for i, label in enumerate(labels) if label is not None]
    out: Strata = [()] * len(labels)
    if not known:
        return out
    values = np.stack([_numbers(str(labels[i])) for i in known])
    number = bins_of(values)
    for i, b in zip(known, number, strict=True):
        out[i] = (f"{b}",)
    return out


def bins_of(values: npt.NDArray[np.floating]) -> npt.NDArray[np.int64]:
    """(n, k) numbers → (n,) bins of equal size, by the mean of the standardised columns."""
    spread = values.std(0)
    mean = ((values - values.mean(0)) / np.where(spread > 0, spread, 1)).mean(1)
    bins = int(np.clip(len(values) // EACH, 1, BINS))
    order = np.unique(mean, return_inverse=True)[1]  # equal numbers stay together
    ranks = np.searchsorted(np.sort(order), order, side="left")
    return np.asarray(ranks * bins // len(values), np.int64)


FORMS: Mapping[str, Form] = MappingProxyType(
    {
        "classification": Form(_one, _own, str, _one_hot),
        "detection": Form(_one, _own, str, _one_hot),
        "transcription": Form(_one, _own, str, _one_hot),
        "tags": Form(_tags, _tags_or_nothing, _told_tags, _tag_vector, several=True),
        "regression": Form(lambda label: (), _bins, _told_numbers, _numbers, balance=False),
    }
)


def matrix(labels: Texts, task: str, classes: Sequence[str]) -> npt.NDArray[np.float64]:
    """(n, k) what is right for each example and class; rows without a label are NaN."""
    form, unknown = FORMS[task], np.full(len(classes), np.nan)
    rows = [unknown if label is None else form.vector(label, classes) for label in labels]
    return np.stack(rows) if rows else np.zeros((0, len(classes)))
