"""Every verb of every task has its function."""

import pytest

from regraft.errors import UsageError
from regraft.verbs.tasks import VERBS, carried_out

ROWS = [(verb, task) for verb, tasks in VERBS.items() for task in tasks]


@pytest.mark.parametrize(("verb", "task"), ROWS)
def test_each_row_names_a_function(verb: str, task: str) -> None:
    assert carried_out(verb, task).__doc__


@pytest.mark.parametrize("verb", VERBS)
def test_another_task_is_refused_with_those_that_there_are(verb: str) -> None:
    with pytest.raises(UsageError, match=f"{verb}: .*{next(iter(VERBS[verb]))}"):
        carried_out(verb, "poetry")
