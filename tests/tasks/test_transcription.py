"""Characters, paths, pieces of long recordings, and the head."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from regraft.errors import UsageError
from regraft.modalities.samples import RATE
from regraft.tasks.transcription.chunks import AT_ONCE, chunks, heard_in_pieces
from regraft.tasks.transcription.heads import SpellingHead, head_of
from regraft.tasks.transcription.vocabulary import BLANK, Vocabulary, moments_for, plain

SPELLED = Vocabulary(tuple(" abc'é"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello, World!", "hello world"),
        ("It’s 'quoted' – don't", "it's quoted don't"),
        ("  a\tb\n", "a b"),
        ("Ünïcode: 3 ½", "ünïcode 3 1 2"),
        ("नमस्ते", "नमस्ते"),
        ("?!", ""),
    ],
)
def test_plain_text(text: str, expected: str) -> None:
    assert plain(text) == expected


@given(st.text(max_size=40))
def test_plain_text_stays_plain(text: str) -> None:
    assert plain(plain(text)) == plain(text)


@given(st.text("abc' é", max_size=12), st.data())
def test_any_path_of_a_text_says_it(text: str, data: st.DataObject) -> None:
    text = " ".join(text.split())
    numbers = SPELLED.numbers(text)
    path: list[int] = []
    for before, number in zip([BLANK, *numbers], numbers, strict=False):
        path += [BLANK] * data.draw(st.integers(int(before == number), 2))
        path += [number] * data.draw(st.integers(1, 3))
    path += [BLANK] * data.draw(st.integers(0, 2))
    assert SPELLED.text(path) == text
    assert moments_for(numbers) <= len(path)


def test_a_vocabulary_holds_each_character_once() -> None:
    assert Vocabulary.of(["ba", "ab c"]).characters == (" ", "a", "b", "c")
    assert len(SPELLED) == 7
    assert SPELLED.numbers("xaz") == [2]  # what is not known is left out
    for wrong in ((), ("ab",), ("a", "a")):
        with pytest.raises(UsageError, match="vocabulary"):
            Vocabulary(wrong)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 200 * RATE), st.sampled_from([1, 2, 10, 30]))
def test_inner_parts_of_pieces_are_the_whole(n: int, most: int) -> None:
    found = list(chunks(n, most))
    assert found[0].first == 0
    assert found[-1].last == n
    assert all(a.last == b.first for a, b in pairwise(found))
    assert all(c.start <= c.first < c.last <= c.end for c in found)
    assert all(c.end - c.start <= min(AT_ONCE, most) * RATE for c in found)


def test_pieces_together_are_heard_as_the_whole() -> None:
    """A moment each 20 ms, that depends on what is near: as the whole is heard."""

    def scores(samples: np.ndarray) -> np.ndarray:
        padded = np.pad(samples, (0, -len(samples) % 8000))
        return np.repeat(padded.reshape(-1, 320).mean(1)[:, None], 3, 1).astype(np.float32)

    samples = np.random.default_rng(0).normal(size=47 * RATE + 123).astype(np.float32)
    whole, pieces = scores(samples), heard_in_pieces(samples, 30, scores)
    assert len(pieces) == len(whole)
    np.testing.assert_allclose(pieces, whole, atol=1e-6)
    short = samples[: 5 * RATE]
    np.testing.assert_array_equal(heard_in_pieces(short, 30, scores), scores(short))


def test_a_head_is_made_again_from_its_tensors() -> None:
    head = SpellingHead((8, 8, 8), 5, inner=12).eval()
    features = torch.randn(2, 24, 9)
    again = head_of(dict(head.state_dict()))
    torch.testing.assert_close(again(features), head(features))
    assert head(features).shape == (2, 9, 5)
    with pytest.raises(ValueError, match="cannot be weighed"):
        SpellingHead((8, 9), 5)
