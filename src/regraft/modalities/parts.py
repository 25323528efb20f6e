"""An example without one of its parts at a time: what an answer rests on is seen by what it loses.

Occlusion (Zeiler and Fergus 2014, arXiv 1311.2901) asks nothing of a network but answers, so it
works for any engine and every export.
"""

import io
import re
from collections.abc import Callable, Mapping
from itertools import pairwise
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from regraft.errors import Unreadable

GRID = 6  # rows and columns of a picture
SIDE = 448  # pixels of the longer side, at most: parts are coarse
MOST_WORDS = 36  # parts of a text; a longer one goes by several words together
SPANS = 16  # of a recording


class Part(NamedTuple):
    """An encoded example without a part; no place: the whole example.

    place  picture: left, top, right, bottom as shares of its sides; text: first and last character
           but one; recording: seconds from and to
    """

    place: tuple[float, ...]
    data: bytes


def parts_of(kind: str, data: bytes, file: str) -> list[Part]:
    """The whole example, then without each of its parts; nothing for a kind that has no parts.

    kind  name of a modality

    Raises Unreadable.
    """
    return PARTS[kind](data, file) if kind in PARTS else []


def _of_a_picture(data: bytes, file: str) -> list[Part]:
    """Cells of a grid, each painted in the mean colour."""
    from regraft.modalities import modality
    from regraft.modalities.spec import InputSpec

    whole = modality("image").decode(data, file, InputSpec(size=SIDE)).raw
    whole.thumbnail((SIDE, SIDE))
    pixels = np.asarray(whole)
    mean = pixels.reshape(-1, 3).mean(0).astype(np.uint8)
    found = [Part((), _png(pixels))]
    for top, bottom in _edges(pixels.shape[0]):
        for left, right in _edges(pixels.shape[1]):
            hidden = pixels.copy()
            hidden[top:bottom, left:right] = mean
            height, width = pixels.shape[:2]
            place = (left / width, top / height, right / width, bottom / height)
            found.append(Part(place, _png(hidden)))
    return found


def _edges(length: int) -> list[tuple[int, int]]:
    edges = np.linspace(0, length, min(GRID, length) + 1).round().astype(int).tolist()
    return list(pairwise(edges))


def _png(pixels: np.ndarray) -> bytes:
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG", compress_level=1)
    return out.getvalue()


def _of_a_text(data: bytes, file: str) -> list[Part]:
    """Words, or in longer texts some words together, left out."""
    from regraft.modalities import modality

    text: str = modality("text").decode(data, file).raw
    words = [found.span() for found in re.finditer(r"\S+", text)]
    each = -(-len(words) // MOST_WORDS)
    some = [words[i : i + each] for i in range(0, len(words), each)]
    places = [(group[0][0], group[-1][1]) for group in some]
    rest = [(place, text[: place[0]] + text[place[1] :]) for place in places]
    without = [Part(place, left.encode()) for place, left in rest if left.strip()]
    return [Part((), text.encode()), *without]


def _of_a_recording(data: bytes, file: str) -> list[Part]:
    """Spans of time, silenced."""
    from regraft.modalities import modality
    from regraft.modalities.samples import RATE

    samples = modality("audio").decode(data, file).raw.samples
    if len(samples) < SPANS:
        raise Unreadable(file, "too-short", "the recording is too short to have parts")
    edges = np.linspace(0, len(samples), SPANS + 1).round().astype(int).tolist()
    found = [Part((), _wav(samples, RATE))]
    for begin, end in pairwise(edges):
        silent = samples.copy()
        silent[begin:end] = 0
        found.append(Part((begin / RATE, end / RATE), _wav(silent, RATE)))
    return found


def _wav(samples: np.ndarray, rate: int) -> bytes:
    import soundfile

    out = io.BytesIO()
    soundfile.write(out, samples, rate, format="WAV", subtype="FLOAT")
    return out.getvalue()


PARTS: Mapping[str, Callable[[bytes, str], list[Part]]] = MappingProxyType(
    {"image": _of_a_picture, "text": _of_a_text, "audio": _of_a_recording}
)
