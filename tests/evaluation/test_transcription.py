"""Word and character error rates, against jiwer."""

import jiwer
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regraft.errors import UsageError
from regraft.evaluation.intervals import bootstrap_ratios
from regraft.evaluation.transcription import (
    ADDED,
    LOST,
    SAME,
    alignment,
    counted,
    distance,
    figures,
    mistaken,
)

WORDS = st.lists(st.sampled_from(["one", "two", "too", "three", "a", "ab"]), max_size=8)
TEXTS = st.lists(st.tuples(WORDS.filter(bool), WORDS), min_size=1, max_size=6)


@settings(max_examples=60, deadline=None)
@given(TEXTS)
def test_rates_are_those_of_jiwer(pairs: list[tuple[list[str], list[str]]]) -> None:
    said, written = ([" ".join(side) for side in sides] for sides in zip(*pairs, strict=True))
    found = figures(said, written, groups=None, resamples=100, seed=0)
    assert found["wer"].value == pytest.approx(jiwer.wer(said, written))
    assert found["cer"].value == pytest.approx(jiwer.cer(said, written))
    same = np.mean([a == b for a, b in zip(said, written, strict=True)])
    assert found["exact"].value == pytest.approx(same)


@settings(max_examples=80, deadline=None)
@given(WORDS, WORDS)
def test_an_alignment_turns_the_one_into_the_other_by_as_few_steps(
    said: list[str], written: list[str]
) -> None:
    steps = alignment(said, written)
    assert [s.said for s in steps if s.kind != ADDED] == said
    assert [s.written for s in steps if s.kind != LOST] == written
    assert sum(s.kind != SAME for s in steps) == distance(said, written)
    assert distance(said, written) == distance(written, said) <= max(len(said), len(written))


def test_pairs_of_words_are_counted() -> None:
    found = mistaken(["one two", "one too", "one"], ["one too", "one two", "one more"])
    assert dict(found) == {("two", "too"): 1, ("too", "two"): 1, ("", "more"): 1}


def test_intervals_are_of_whole_groups() -> None:
    rng = np.random.default_rng(0)
    errors, of = rng.poisson(1.0, (60, 1)).astype(float), rng.integers(3, 9, (60, 1)).astype(float)
    errors[:20] += 4  # one speaker is hard
    speakers = np.repeat([0, 1, 2], 20)
    (alone,) = bootstrap_ratios(errors, of, seed=0)
    (whole,) = bootstrap_ratios(errors, of, seed=0, groups=speakers)
    ratio = errors.sum() / of.sum()
    assert alone.value == whole.value == pytest.approx(ratio)
    assert alone.low < ratio < alone.high
    assert whole.high - whole.low > 1.5 * (alone.high - alone.low)
    draws = [errors[i].sum() / of[i].sum() for i in rng.integers(0, 60, (2000, 60))]
    assert (alone.low, alone.high) == pytest.approx(np.quantile(draws, [0.025, 0.975]), abs=0.03)


def test_what_has_no_words_has_no_rate() -> None:
    (interval,) = bootstrap_ratios(np.zeros((3, 1)), np.zeros((3, 1)), seed=0)
    assert np.isnan(interval.value)
    assert counted([""], ["a b"]).errors.tolist() == [[2, 3, 0]]
    with pytest.raises(UsageError, match="resamples"):
        bootstrap_ratios(np.ones((3, 1)), np.ones((3, 1)), seed=0, resamples=3)
