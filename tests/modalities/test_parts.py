"""Parts that are hidden: together they are the whole example, and nothing else of it changes."""

import io
import wave
from collections.abc import Callable

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from regraft.errors import Unreadable
from regraft.modalities import MODALITIES, modality
from regraft.modalities.parts import GRID, MOST_WORDS, PARTS, SIDE, SPANS, parts_of


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


@pytest.mark.parametrize("size", [(60, 40), (900, 300), (3, 50)])
def test_the_cells_of_a_picture_are_painted_one_by_one(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))
    picture.save(out := io.BytesIO(), "PNG")
    whole, *parts = parts_of("image", out.getvalue(), "x")
    before = pixels(whole.data)
    height, width = before.shape[:2]
    assert max(width, height) <= SIDE
    assert len(parts) == min(GRID, width) * min(GRID, height)
    changed = np.zeros((height, width), int)
    for part in parts:
        after = pixels(part.data)
        left, top, right, bottom = (
            round(share * side) for share, side in zip(part.place, (width, height) * 2, strict=True)
        )
        inside = np.zeros((height, width), bool)
        inside[top:bottom, left:right] = True
        assert (after[~inside] == before[~inside]).all()
        assert len(np.unique(after[inside], axis=0)) == 1
        changed += inside
    assert (changed == 1).all()


@given(st.text(min_size=1, max_size=300))
def test_every_word_of_a_text_is_in_one_part(text: str) -> None:
    try:
        whole, *parts = parts_of("text", text.encode("utf-8", "ignore"), "x")
    except Unreadable:
        return
    said = whole.data.decode()
    places = [(int(part.place[0]), int(part.place[1])) for part in parts]
    assert len(places) <= MOST_WORDS
    for part, (begin, end) in zip(parts, places, strict=True):
        assert part.data.decode() == said[:begin] + said[end:]
    if len(places) > 1:
        kept = "".join(said[begin:end] for begin, end in places)
        assert "".join(kept.split()) == "".join(said.split())


def test_a_text_of_one_word_has_no_parts() -> None:
    assert len(parts_of("text", b"hello", "x")) == 1


def test_a_recording_falls_silent_span_by_span() -> None:
    samples = 0.5 * np.sin(np.arange(16_000) / 7).astype(np.float32)
    soundfile.write(out := io.BytesIO(), samples, 16_000, format="WAV")
    whole, *parts = parts_of("audio", out.getvalue(), "x")
    before = modality("audio").decode(whole.data, "x").raw.samples
    assert len(parts) == SPANS
    assert parts[0].place[0] == 0
    assert parts[-1].place[1] == pytest.approx(1.0)
    for part in parts:
        after = modality("audio").decode(part.data, "x").raw.samples
        begin, end = (round(16_000 * second) for second in part.place)
        assert not after[begin:end].any()
        np.testing.assert_array_equal(np.delete(after, slice(begin, end)),
                                      np.delete(before, slice(begin, end)))  # fmt: skip


def short() -> bytes:
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(bytes(8))
    return out.getvalue()


@pytest.mark.parametrize(
    ("kind", "make"),
    [("image", lambda: b"no picture"), ("text", lambda: b"\xff"), ("audio", short)],
)
def test_what_has_no_parts_says_so(kind: str, make: Callable[[], bytes]) -> None:
    with pytest.raises(Unreadable):
        parts_of(kind, make(), "x")


def test_other_kinds_have_none() -> None:
    assert set(PARTS) < set(MODALITIES)
    assert parts_of("volume", b"", "x") == []
