"""From a whole recording to text, by what a model writes with: a row each.

ctc     pieces that overlap, one path through all of them
tokens  pieces cut where it is quiet, an answer for each
"""

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from regraft.modalities.samples import RATE, Samples
from regraft.modalities.spec import InputSpec
from regraft.tasks.transcription.chunks import heard_in_pieces
from regraft.tasks.transcription.vocabulary import BLANK, plain

FRAME, LOOKED = RATE // 10, 5  # samples that are quiet or not; seconds in which to cut

Answer = tuple[str, float]  # plain text, and the mean probability of its parts


class Writer(Protocol):
    """What is asked: a `TranscriptionModel`, or an export of one."""

    @property
    def vocabulary(self) -> Any:
        """Characters or tokens."""

    @property
    def spec(self) -> InputSpec:
        """The input of its network."""

    def heard(self, samples: Samples) -> npt.NDArray[Any]:
        """Samples as the network reads them."""

    def log_probabilities(self, heard: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """(moments, c) of what is heard."""

    def dictated(self, heard: npt.NDArray[Any]) -> tuple[list[int], float]:
        """Tokens of what is heard, and the mean of their log-probabilities."""


def _spelled(model: Writer, samples: Samples) -> Answer:
    def scores(piece: Samples) -> npt.NDArray[np.float32]:
        return model.log_probabilities(model.heard(piece))

    found = heard_in_pieces(samples, model.spec.size, scores)
    path = found.argmax(1)
    sure = found.max(1)[path != BLANK]
    confidence = float(np.exp(sure).mean()) if len(sure) else 0.0
    return plain(model.vocabulary.text(path.tolist())), confidence


def _dictated(model: Writer, samples: Samples) -> Answer:
    pieces = [samples[a:b] for a, b in quiet_cuts(samples, model.spec.size)]
    answers = [model.dictated(model.heard(piece)) for piece in pieces]
    text = " ".join(model.vocabulary.text(path) for path, _ in answers)
    return plain(text), float(np.exp(np.mean([sure for _, sure in answers])))


def quiet_cuts(samples: Samples, most: float) -> Iterator[tuple[int, int]]:
    """Ends of pieces of at most so many seconds, each cut at the quietest place near its end."""
    size, start = round(most * RATE), 0
    while len(samples) - start > size:
        looked = min(LOOKED * RATE, size // 2) // FRAME * FRAME
        last = samples[start + size - looked : start + size].reshape(-1, FRAME)
        quiet = int(np.abs(last).mean(1).argmin())
        end = start + size - looked + quiet * FRAME + FRAME // 2
        yield start, end
        start = end
    yield start, len(samples)


# What a model writes with → (model, samples) → an answer.
ANSWERS: Mapping[str, Callable[[Writer, Samples], Answer]] = MappingProxyType(
    {"ctc": _spelled, "tokens": _dictated}
)
