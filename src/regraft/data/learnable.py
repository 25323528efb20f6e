"""Whether something can be learned from a dataset at all, and measured."""

from collections.abc import Iterator

from regraft.data.dataset import Dataset
from regraft.errors import DataError, UsageError


def check_learnable(dataset: Dataset) -> None:
    """Raise UsageError, with all reasons at once, if no classifier can be learnt from `dataset`."""
    if problems := list(_problems(dataset)):
        raise UsageError(*problems)


def _problems(dataset: Dataset) -> Iterator[str]:
    learning = dataset.learning
    classes = learning.table["label"].unique()
    if not len(dataset):
        yield "there are no examples"
    elif not len(dataset.labelled):
        yield (
            f"none of the {len(dataset)} examples has a label; expected one sub-folder per class, "
            "or a manifest (its file, not its folder) with a column of labels, named by label="
        )
    elif not len(learning):
        yield (
            "the given split has no labelled example to learn from; put some into its part 'train'"
        )
    elif len(classes) < 2:
        yield (
            f"all {len(learning)} examples to learn from are of one class, {classes[0]!r}; "
            "expected two classes or more"
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
