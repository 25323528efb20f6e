"""regraft rank: a table and a document."""

from pathlib import Path
from typing import Any

import pytest

NETWORK = ("--backbone", "efficientnet-lite0", "--size", "64", "--engine", "torch")


def test_the_ranking_as_a_document(photos: Path, shell: Any, fingerprint: Any) -> None:
    before = fingerprint(photos)
    done = shell.invoke("rank", photos, "--json", *NETWORK)
    assert done.exit_code == 0, done.stderr
    found = shell.document(done)
    assert [row["name"] for row in found["rows"]] == ["efficientnet-lite0"]
    assert {"value", "low", "high"} <= set(found["rows"][0]["leave_one_out"])
    assert found["left_out"][0]["file"].endswith("kaputt ✗.png")
    assert (found["examples"], found["classes"]) == (42, 3)
    assert fingerprint(photos) == before


def test_a_table_for_a_person(photos: Path, shell: Any) -> None:
    done = shell.invoke("rank", photos, *NETWORK, "--limit", 1)
    assert done.exit_code == 0, done.output
    assert "efficientnet-lite0" in done.stdout
    assert "regraft fit" in done.stdout


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--time-limit", "soon"], "--time-limit"),
        (["--backbone", "efficientnet-lite"], "efficientnet-lite0"),
        (["--size", "0"], "size"),
        (["--max-parameters", "-1"], "max_parameters"),
    ],
)
def test_wrong_usage(words: list[str], told: str, photos: Path, shell: Any) -> None:
    done = shell.invoke("rank", photos, "--json", *words)
    assert done.exit_code == 2
    assert told in "\n".join(shell.error(done)["messages"])


def test_no_network_left_is_a_failure_with_reasons(photos: Path, shell: Any) -> None:
    done = shell.invoke("rank", photos, "--json", "--max-parameters", 10)
    assert done.exit_code in (1, 2)
    assert shell.error(done)["messages"]
