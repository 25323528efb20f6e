"""Whether a classifier can be learned from a dataset at all."""

from collections.abc import Iterator

from regraft.data.dataset import Dataset
from regraft.errors import UsageError


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
