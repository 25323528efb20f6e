"""Which pictures are shown with a heat map: mistakes, the surest first, and some that went well."""

import base64
import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import regraft
from regraft.backbones.features import Pass
from regraft.backbones.store import Verdict
from regraft.data.dataset import Dataset
from regraft.verbs.fitted import Fitted
from regraft.verbs.looked import RIGHT, WRONG, _chosen, looked

# What lies in the folder of each name: a third of the labels are wrong.
DRAWN = {"disc": "square", "square": "square", "stripes": "stripes"}


class Examples(NamedTuple):
    data: Dataset
    seen: Pass


@pytest.fixture(scope="module")
def examples(
    fitted: Fitted, write_photos: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Examples:
    folder = write_photos(
        tmp_path_factory.mktemp("looked"), {name: range(400, 404) for name in DRAWN}, DRAWN
    )
    data = regraft.load(folder)
    return Examples(data, fitted.model.features(data.table["path"].to_list()))


@pytest.fixture(scope="module")
def found(fitted: Fitted, examples: Examples) -> list[dict[str, Any]]:
    return looked(fitted.model, *examples)


def test_wrong_answers_come_first_the_surest_before_all(
    found: list[dict[str, Any]], examples: Examples
) -> None:
    wrong = [row for row in found if not row["right"]]
    assert found[: len(wrong)] == wrong
    assert len(wrong) >= 4
    assert [row["probability"] for row in wrong] == sorted(
        (row["probability"] for row in wrong), reverse=True
    )
    right = [row["label"] for row in found if row["right"]]
    assert len(right) == len(set(right)) > 0  # one of each class
    assert len({row["file"] for row in found}) == len(found)
    assert {row["file"] for row in found} <= set(examples.data.table["id"])


def test_each_says_what_the_model_says(
    found: list[dict[str, Any]], fitted: Fitted, examples: Examples
) -> None:
    answers = regraft.predict(fitted.model, examples.data.table["path"].to_list())
    said = {Path(p.file).relative_to(examples.data.root).as_posix(): p for p in answers}
    for row in found:
        assert row["label"] == row["file"].split("/")[0]
        assert row["predicted"] == said[row["file"]].label
        assert row["probability"] == pytest.approx(said[row["file"]].probability)
        assert row["right"] == (row["label"] == row["predicted"])


def test_a_picture_and_its_heat_map_are_of_one_size_and_differ(found: list[dict[str, Any]]) -> None:
    for row in found:
        shown, heat = (opened(row[name]) for name in ("thumbnail", "heatmap"))
        assert shown.shape == heat.shape == (64, 64, 3)
        assert np.abs(shown - heat).mean() > 5


def opened(uri: str) -> Any:
    start, _, data = uri.partition(",")
    assert start == "data:image/jpeg;base64"
    with Image.open(io.BytesIO(base64.b64decode(data))) as picture:
        return np.asarray(picture, float)


def test_what_cannot_be_read_is_passed_over(fitted: Fitted, examples: Examples) -> None:
    """Found unreadable before, or gone since."""
    data, seen = examples
    bad = replace(seen, looks=(Verdict("empty", "the file is empty"), *seen.looks[1:]))
    gone = Path(data.table["path"][1])
    content = gone.read_bytes()
    gone.unlink()
    try:
        names = {row["file"] for row in looked(fitted.model, data, bad)}
    finally:
        gone.write_bytes(content)
    assert names
    assert not names & set(data.table["id"][:2])


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(0, 80), st.integers(2, 12), st.floats(0, 8))
def test_of_many_the_surest_mistakes_and_one_of_each_class(
    seed: int, n: int, classes: int, margin: float
) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    odds = np.exp(rng.normal(size=(n, classes)) + margin * np.eye(classes)[labels])
    probabilities = odds / odds.sum(1, keepdims=True)
    answers, sure = probabilities.argmax(1), probabilities.max(1)
    chosen = list(_chosen(answers, sure, labels))
    wrong = [i for i in chosen if answers[i] != labels[i]]
    right = [i for i in chosen if answers[i] == labels[i]]
    assert chosen == wrong + right
    surest = np.sort(sure[answers != labels])[::-1][:WRONG]
    assert sure[wrong].tolist() == surest.tolist()
    known = set(labels[answers == labels])
    assert len(right) == len(set(labels[right])) == min(RIGHT, len(known))
