"""What a transcriber answers: text, as data and CSV."""

import csv
import io
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from regraft.errors import UsageError
from regraft.model.answers import AnswerList
from regraft.model.transcribing import TranscriptionModel, Written
from regraft.progress import Progress, Quiet


@dataclass(frozen=True)
class Said:
    """The answer for one recording.

    file        as the user named it
    text        what is said, in lower case and without punctuation; None where it cannot be read
    confidence  mean probability of its characters; not calibrated
    length      of the recording, seconds
    seconds     for reading and writing down
    error       why there is no answer
    """

    file: str
    text: str | None = None
    confidence: float = 0.0
    length: float = 0.0
    seconds: float = 0.0
    error: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


class SaidList(AnswerList[Said]):
    """Answers in the order of the recordings."""

    def to_csv(self) -> str:
        """path, text, confidence, length, error: a manifest of transcripts."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(("path", "text", "confidence", "length", "error"))
        for one in self:
            told = (one.file, one.text or "", f"{one.confidence:.3f}", f"{one.length:g}")
            writer.writerow((*told, one.error or ""))
        return out.getvalue()


def said_in_turn(
    model: TranscriptionModel,
    source: Any,
    *,
    top: int = 5,
    least: float | None = None,
    store: object = None,
    progress: Progress | None = None,
) -> Iterator[Said]:
    """What is said in recordings, one after the other."""
    from regraft.model.encoded import MEMORY
    from regraft.model.named import files

    if least is not None:
        raise UsageError("least: is for boxes; the model writes down what is said")
    if isinstance(source, bytes):
        yield _answer(MEMORY, model.transcribe_in(source, MEMORY))
        return
    names = files(source, model.modality)
    with (progress or Quiet()).stage("writing down", len(names)) as advance:
        for name, found in zip(names, model.transcribe(names), strict=True):
            yield _answer(name, found)
            advance(1)


def _answer(name: str, found: Written) -> Said:
    return Said(name, found.text, found.confidence, found.length, found.seconds, found.error)
