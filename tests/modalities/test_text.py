"""Texts: what is read, what is refused and why, how they are known again and shown."""

import base64
import xml.etree.ElementTree as ET
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from regraft.errors import Unreadable, UsageError
from regraft.modalities import modality
from regraft.modalities.sketch import BAG, HASHES, LEAST_WORDS, Sketch
from regraft.modalities.spec import InputSpec
from regraft.modalities.text import LINES, MOST_CHARACTERS

KIND = modality("text")
SPEC = InputSpec(size=64, reads="text")


def look(data: bytes) -> tuple[str, str]:
    """Script and form."""
    facts = KIND.decode(data, "x").facts
    return facts.mode, facts.format


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"plain words", ("Latin", "UTF-8")),
        (b"\xef\xbb\xbfwith a mark", ("Latin", "UTF-8 with BOM")),
        ("где моя карта".encode(), ("Cyrillic", "UTF-8")),
        ("カードはどこ".encode(), ("Chinese or Japanese", "UTF-8")),
        (b"12 + 30!", ("no letters", "UTF-8")),
    ],
)
def test_what_a_look_tells(data: bytes, expected: tuple[str, str]) -> None:
    assert look(data) == expected


@pytest.mark.parametrize(
    ("data", "kind", "reason"),
    [
        (b"", "empty", "there is no text"),
        (b" \n\t ", "empty", "there is no text"),
        (b"\xef\xbb\xbf", "empty", "there is no text"),
        (b"caf\xe9", "encoding", r"byte 3 \(0xe9\) is not UTF-8"),
        (b"\xef\xbb\xbfcaf\xe9", "encoding", r"byte 6 \(0xe9\)"),
        ("text".encode("utf-16"), "encoding", "UTF-16"),
        (b"PK\x03\x04 zipped", "not-text", "control character"),
    ],
)
def test_what_is_no_text_is_refused_by_name(data: bytes, kind: str, reason: str) -> None:
    with pytest.raises(Unreadable, match=f"folder/a.txt.*{reason}") as caught:
        KIND.decode(data, "folder/a.txt")
    assert caught.value.kind == kind


def test_networks_get_the_text_itself_without_blanks_at_its_ends() -> None:
    raw = KIND.decode("  ¿Dónde?\n".encode(), "x", SPEC).raw
    assert KIND.prepare(raw, SPEC, KIND.views[0]).tobytes().decode() == "¿Dónde?"
    with pytest.raises(UsageError, match="'sideways' is not one of"):
        KIND.prepare(raw, SPEC, "sideways")


def test_a_very_long_text_is_cut_and_its_length_told() -> None:
    found = KIND.decode(b"word " * MOST_CHARACTERS, "x")
    assert len(found.raw) == MOST_CHARACTERS
    assert found.facts.width == 5 * MOST_CHARACTERS - 1


@given(st.text(max_size=400))
def test_a_thumbnail_is_a_drawing_whatever_the_text(text: str) -> None:
    try:
        uri = KIND.thumbnail(text.encode(), "x")
    except Unreadable:
        return
    head, _, data = uri.partition(",")
    assert head == "data:image/svg+xml;base64"
    drawing = ET.fromstring(base64.b64decode(data))
    assert len(drawing) <= 1 + LINES  # the ground and the lines


@given(st.text(max_size=300))
def test_a_sketch_comes_back_from_the_bytes_of_a_thumb(text: str) -> None:
    sketch = Sketch.of(text)
    again = Sketch.unpacked(sketch.packed())
    assert again.digest == sketch.digest
    np.testing.assert_array_equal(again.minhash, sketch.minhash)
    np.testing.assert_array_equal(again.bag, sketch.bag)


def test_typed_anew_it_is_the_same_text() -> None:
    assert Sketch.of("Where is my card?").digest == Sketch.of("where  is my CARD").digest
    assert Sketch.of("Where is my card?").digest != Sketch.of("Where was my card?").digest


@given(st.integers(40, 120), st.integers(0, 30), st.integers(0, 99))
def test_minhashes_agree_as_often_as_word_triples_are_shared(
    n: int, changed: int, seed: int
) -> None:
    """Against the Jaccard index itself: 64 hashes tell it to within some 0.06 (one deviation)."""
    rng = np.random.default_rng(seed)
    words = [f"w{rng.integers(10**6)}" for _ in range(n)]
    other = [*words[: n - changed], *(f"v{i}" for i in range(changed))]

    def triples(some: list[str]) -> set[tuple[str, ...]]:
        return {tuple(some[i : i + 3]) for i in range(len(some) - 2)}

    truth = len(triples(words) & triples(other)) / len(triples(words) | triples(other))
    a, b = (Sketch.of(" ".join(some)).minhash for some in (words, other))
    assert abs(float(np.mean(a == b)) - truth) <= 5 * np.sqrt(truth * (1 - truth) / HASHES) + 1e-9


def test_short_texts_have_no_minhash() -> None:
    assert not Sketch.of("word " * (LEAST_WORDS - 1)).minhash.any()
    assert Sketch.of("word " * LEAST_WORDS).minhash.any()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("card_arrival", b"card arrival"),
        ("CardArrival", b"card arrival"),
        ("card-arrival?", b"card arrival"),
        ("größe_XL", "größe xl".encode()),
        ("3", None),
        ("?!", None),
    ],
)
def test_the_name_of_a_class_as_an_example_of_it(name: str, expected: bytes | None) -> None:
    assert KIND.said(name) == expected
    assert modality("image").said(name) is None


def test_the_baseline_counts_words_and_pairs_not_their_case() -> None:
    one, same, other, turned = (
        KIND.plain(KIND.decode(text.encode(), "x").facts)
        for text in ("lost my card", "LOST! My card", "top up my phone", "my lost card")
    )
    assert one.shape == (2 * BAG,)
    np.testing.assert_array_equal(one, same)
    words = [set(found[:BAG]) - {0} for found in (one, other, turned)]
    assert [len(some) for some in words] == [5, 7, 5]
    assert len(words[0] & words[1]) == 1
    assert len(words[0] & words[2]) == 3  # the words, and none of the pairs


@given(st.lists(st.sampled_from([f"w{i}" for i in range(900)]), max_size=1500), st.integers(0, 3))
def test_of_a_long_text_the_pairs_go_first(words: list[str], again: int) -> None:
    bag = Sketch.of(" ".join(words + words[:again])).bag
    numbers, counts = bag >> 8, bag & 255
    used = bag[: np.count_nonzero(bag)].astype(np.int64)
    assert (used > 0).all()
    assert (np.diff(used) > 0).all()
    own = {zlib.crc32(word.encode()) >> 8: 0 for word in words}
    for word in words + words[:again]:
        own[zlib.crc32(word.encode()) >> 8] += 1
    found = dict(zip(numbers.tolist(), counts.tolist(), strict=True))
    kept = {n: c for n, c in found.items() if c and n in own}
    assert len(kept) == min(BAG, len(own))
    assert all(c >= own[n] for n, c in kept.items())  # a pair may have the hash of a word
