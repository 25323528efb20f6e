"""Operating points: chosen as asked, against all thresholds tried one by one."""

from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as theirs

from regraft.errors import UsageError
from regraft.evaluation.operating import (
    Judged,
    choose,
    decide,
    goal,
    positive_class,
)

CLASSES = ("ill", "well")


@cache
def tried(digits: int) -> tuple[dict[str, float], ...]:
    """The figures at every threshold that tells answers apart, and at one that none reaches."""
    found = judged(digits=digits)
    return tuple(by_hand(found, t) for t in [*np.unique(found.probabilities[:, 0]), 1.1])


def judged(n: int = 200, seed: int = 0, signal: float = 1.5, digits: int = 6) -> Judged:
    """Two classes, 0 the rarer one; few digits make ties."""
    rng = np.random.default_rng(seed)
    labels = (rng.random(n) < 0.7).astype(np.int64)
    labels[:2] = [0, 1]
    logit = rng.normal(0, 1, n) + signal * (1 - 2 * labels)
    p = np.round(1 / (1 + np.exp(-logit)), digits)
    return Judged("leave-one-out", np.stack([p, 1 - p], 1).astype(np.float32), labels)


def by_hand(found: Judged, threshold: float) -> dict[str, float]:
    truth = found.labels == 0
    called = found.probabilities[:, 0].astype(float) >= threshold
    return {
        "sensitivity": theirs.recall_score(truth, called, zero_division=np.nan),
        "specificity": theirs.recall_score(~truth, ~called, zero_division=np.nan),
        "ppv": theirs.precision_score(truth, called, zero_division=np.nan),
        "npv": theirs.precision_score(~truth, ~called, zero_division=np.nan),
        "f1": theirs.f1_score(truth, called),
        "youden": theirs.balanced_accuracy_score(truth, called, adjusted=True),
    }


@pytest.mark.parametrize("digits", [1, 6])
@pytest.mark.parametrize(
    ("asked", "figure", "floor", "other"),
    [
        ("sensitivity>=0.95", "sensitivity", 0.95, "specificity"),
        ("recall >= 90 %", "sensitivity", 0.9, "specificity"),
        ("specificity≥0.8", "specificity", 0.8, "sensitivity"),
        ("PPV >= .7", "ppv", 0.7, "sensitivity"),
        ("npv>=0.9", "npv", 0.9, "specificity"),
    ],
)
def test_the_floor_is_met_and_the_other_figure_is_the_largest_there_is(
    asked: str, figure: str, floor: float, other: str, digits: int
) -> None:
    found = judged(digits=digits)
    point = choose(found, CLASSES, "ill", asked)
    told, measured = point.to_dict(), by_hand(found, point.threshold)
    assert {k: told[k] for k in measured} == pytest.approx(measured, abs=1e-12)
    assert measured[figure] >= floor
    reached = [row[other] for row in tried(digits) if row[figure] >= floor]
    assert measured[other] == max(reached)
    assert (told["n"], told["positives"]) == (200, int((found.labels == 0).sum()))


@pytest.mark.parametrize("figure", ["youden", "f1"])
def test_without_a_floor_it_is_the_largest(figure: str) -> None:
    found = judged()
    point = choose(found, CLASSES, "ill", figure)
    largest = max(row[figure] for row in tried(6))
    assert point.to_dict()[figure] == pytest.approx(largest, abs=1e-12)


def test_a_threshold_can_be_given_as_it_is() -> None:
    found = judged()
    point = choose(found, CLASSES, "ill", "probability>=0.3")
    assert point.threshold == 0.3
    measured = by_hand(found, 0.3)
    assert {k: point.to_dict()[k] for k in measured} == pytest.approx(measured, abs=1e-12)


@given(st.integers(0, 10_000), st.sampled_from([0.5, 0.9, 0.99, 1.0]), st.integers(1, 7))
def test_any_sensitivity_can_be_had(seed: int, floor: float, digits: int) -> None:
    found = judged(30, seed, 0.5, digits)
    point = choose(found, CLASSES, "ill", f"sensitivity>={floor}")
    answers = decide(found.probabilities.astype(float), 0, point.threshold)
    assert (answers[found.labels == 0] == 0).mean() >= floor - 1e-12


def test_a_threshold_lies_midway_between_those_it_parts() -> None:
    p = np.array([0.9, 0.6, 0.2, 0.1])
    found = Judged("held back", np.stack([p, 1 - p], 1).astype(np.float32), np.array([0, 0, 1, 1]))
    assert choose(found, CLASSES, "ill", "youden").threshold == pytest.approx(0.4)


def test_what_no_threshold_gives_is_refused_with_the_most_there_is() -> None:
    p = np.array([0.9, 0.8, 0.3])
    found = Judged("held back", np.stack([p, 1 - p], 1).astype(np.float32), np.array([1, 0, 1]))
    with pytest.raises(UsageError, match=r"no threshold gives ppv>=0.9 .* the most is 0\.500"):
        choose(found, CLASSES, "ill", "ppv>=0.9")
    alone = Judged("held back", found.probabilities, np.array([1, 1, 1]))
    with pytest.raises(UsageError, match="needs examples of 'ill'"):
        choose(alone, CLASSES, "ill", "youden")


@pytest.mark.parametrize(
    "text", ["", "sensitivity", "sensitivity=0.9", "sens>=0.9", "ppv>=95", "npv>=101%", "f1>=0.5"]
)
def test_what_is_no_point_is_told(text: str) -> None:
    with pytest.raises(UsageError, match="at: "):
        goal(text)


def test_one_class_against_the_rest() -> None:
    p = np.array([[0.3, 0.5, 0.2], [0.1, 0.2, 0.7], [0.2, 0.4, 0.4]])
    assert decide(p, 0, 0.2).tolist() == [0, 2, 0]
    assert decide(p, 0, 0.9).tolist() == [1, 2, 1]
    assert decide(p, 0, 0.0).tolist() == [0, 0, 0]


def test_which_class_it_is_about() -> None:
    three: Any = ("a", "b", "c")
    assert positive_class(CLASSES, None, "youden") == "well"
    assert positive_class(CLASSES, "ill", None) == "ill"
    assert positive_class(three, None, None) is None
    assert positive_class(three, "b", "youden") == "b"
    with pytest.raises(UsageError, match="3 classes an operating point needs"):
        positive_class(three, None, "youden")
    with pytest.raises(UsageError, match="'d' is not one of the classes: 'a', 'b', 'c'"):
        positive_class(three, "d", None)
