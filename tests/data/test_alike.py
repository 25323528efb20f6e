"""Duplicates among texts: planted ones are found, different questions are not."""

import hashlib
from collections.abc import Sequence

import numpy as np

from regraft.data.alike import alike
from regraft.data.duplicates import Duplicates
from regraft.modalities import modality


def found(texts: Sequence[str]) -> Duplicates:
    kind = modality("text")
    facts = [kind.decode(text.encode(), "x").facts for text in texts]
    return alike(facts, [hashlib.sha256(text.encode()).hexdigest() for text in texts])


def words(seed: int, n: int = 60) -> list[str]:
    return [f"word{i}" for i in np.random.default_rng(seed).integers(0, 5000, n)]


def test_exact_copies_and_those_typed_anew() -> None:
    same = found(["Where is it?", "where is IT", "Where is it?", "Where was it?", "WHERE IS IT!!"])
    assert same.exact == [(0, 2)]
    assert [(p.a, p.b, p.similarity) for p in same.near] == [(0, 1, 1.0), (0, 4, 1.0)]
    assert same.together() == [(0, 1, 2, 4)]


def test_a_long_text_with_some_words_changed_is_found() -> None:
    texts = [" ".join(words(seed)) for seed in range(300)]
    changed = [text.replace(text.split()[30], "other", 1) for text in texts[:100]]
    near = found([*texts, *changed]).near
    pairs = {(p.a, p.b) for p in near}
    planted = {(i, 300 + i) for i in range(100)}
    assert len(planted & pairs) >= 95
    assert not pairs - planted


def test_short_questions_that_differ_in_a_word_are_no_copies() -> None:
    assert found(["How do I close my account?", "How do I open my account?"]) == Duplicates([], [])


def test_nothing_is_found_in_nothing() -> None:
    assert found([]) == Duplicates([], [])
