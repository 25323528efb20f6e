"""Whether something can be learned from a dataset at all, and measured."""

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType

import numpy as np

from regraft.data.dataset import Dataset, listed
from regraft.errors import DataError, UsageError


def check_learnable(dataset: Dataset, task: str = "classification") -> None:
    """Raise UsageError, with all reasons at once, if a task cannot be learnt from `dataset`."""
    if problems := list(_problems(dataset, task)):
        raise UsageError(*problems)


def _problems(dataset: Dataset, task: str) -> Iterator[str]:
    learning = dataset.learning
    if not len(dataset):
        yield "there are no examples"
    elif not len(dataset.labelled):
        yield (
            f"none of the {len(dataset)} examples has a label; expected one sub-folder per class, "
            "or a manifest (its file, not its folder) with a column of labels, named by label="
        )
    elif dataset.task != task:
        yield f"its examples are for {dataset.task}; this is for {task} only"
    elif not len(learning):
        yield (
            "the given split has no labelled example to learn from; put some into its part 'train'"
        )
    else:
        yield from TOO_PLAIN[task](learning)


def _one_class(learning: Dataset) -> Iterator[str]:
    classes = learning.table["label"].unique()
    if len(classes) < 2:
        yield (
            f"all {len(learning)} examples to learn from are of one class, {classes[0]!r}; "
            "expected two classes or more"
        )


def _no_tag(learning: Dataset) -> Iterator[str]:
    """Some tag must be there in one example and lacking in another."""
    there = learning.matrix.sum(0) if learning.classes else np.zeros(0)
    if not ((there > 0) & (there < len(learning))).any():
        yield (
            f"of the tags {listed(learning.classes)} none is there in some and lacking in other "
            f"of the {len(learning)} examples to learn from"
        )


def _one_number(learning: Dataset) -> Iterator[str]:
    values = learning.matrix
    constant = np.flatnonzero(np.ptp(values, 0) == 0)
    if len(constant):
        names = listed(learning.classes[k] for k in constant)
        yield f"{names}: the same number in all {len(learning)} examples to learn from"


# Task → what keeps labelled examples from teaching anything.
TOO_PLAIN: Mapping[str, Callable[[Dataset], Iterator[str]]] = MappingProxyType(
    {"classification": _one_class, "tags": _no_tag, "regression": _one_number}
)


def measured_part(dataset: Dataset, few: str = "examples") -> Dataset:
    """The part that is measured on. Raises DataError where there is none.

    few  what there are too few of
    """
    try:
        return dataset.held_out
    except DataError:
        raise DataError(
            f"nothing is left to measure on: there are too few {few} to split; add some, or give "
            "a test part (a folder test, or a column split)"
        ) from None


def asked_part(dataset: Dataset, task: str, split: str | None, opened: bool) -> Dataset:
    """What a model of a task is measured on: a part by its name, the held-out part where a split
    was given with the examples, else all. Raises UsageError for examples of another task.

    opened  whether the dataset was opened for this, and not brought along by the caller
    """
    if dataset.task != task:
        raise UsageError(f"data: its examples are for {dataset.task}, and the model for {task}")
    if split:
        part: Dataset = getattr(dataset, split)
        return part
    return dataset.held_out if opened and dataset.split_source == "given" else dataset
