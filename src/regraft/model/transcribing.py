"""TranscriptionModel: a network that hears, a head that spells, characters, provenance."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt

from regraft.backbones.extractor import Extractor
from regraft.data.inline import contents
from regraft.errors import Unreadable
from regraft.export.bundle import Bundle, write_bundle
from regraft.modalities import modality
from regraft.modalities.samples import Samples
from regraft.modalities.spec import InputSpec
from regraft.model.model import told_network
from regraft.tasks.transcription.answering import ANSWERS
from regraft.tasks.transcription.facts import SPELLING, HeadFacts
from regraft.tasks.transcription.tokens import Tokens
from regraft.tasks.transcription.vocabulary import Vocabulary

WHOLE = "segment-1of3"  # a view for which a recording is decoded as a whole, not its middle alone


@dataclass(frozen=True)
class Written:
    """What is said in one recording.

    text        plain: lower case, without punctuation; None where it cannot be read
    confidence  mean probability of its characters, in [0, 1]; not calibrated
    length      of the recording, seconds
    seconds     for reading and writing down
    error       why there is no answer
    """

    text: str | None
    confidence: float = 0.0
    length: float = 0.0
    seconds: float = 0.0
    error: str | None = None


@dataclass(frozen=True, eq=False)
class TranscriptionModel:
    """A trained transcriber.

    vocabulary  the characters, or tokens, that it knows
    extractor   its network and input
    head        tensors of the head, by their names
    record      provenance as plain data
    facts       of the head, beside its tensors
    """

    vocabulary: Vocabulary | Tokens
    extractor: Extractor
    head: dict[str, npt.NDArray[Any]]
    record: dict[str, Any]
    facts: HeadFacts = SPELLING
    modality: str = "audio"
    task: str = "transcription"
    _turn: Lock = field(default_factory=Lock, init=False, repr=False, compare=False)

    @property
    def classes(self) -> tuple[str, ...]:
        """It tells none apart."""
        return ()

    @property
    def networks(self) -> list[dict[str, Any]]:
        """Its network as plain data, licences told."""
        return [told_network(self.extractor.row, self.spec, "torch")]

    @property
    def spec(self) -> InputSpec:
        """The input of the network."""
        return self.extractor.spec

    @cached_property
    def network(self) -> Any:
        """Network and head as one module."""
        import torch

        from regraft.tasks.transcription.heads import head_of
        from regraft.tasks.transcription.network import Transcriber, listening

        state = {name: torch.from_numpy(array) for name, array in self.head.items()}
        head = head_of(state, self.facts)
        made = Transcriber(listening(self.extractor.row, self.spec), head)
        return made.requires_grad_(False).eval()

    def transcribe(self, files: Sequence[str | Path]) -> Iterator[Written]:
        """What is said in recordings of any length up to ten minutes, one after the other."""
        for file in files:
            begin = time.perf_counter()
            try:
                data = contents(str(file))
            except OSError as error:
                yield Written(None, error=f"it cannot be read: {error.strerror or error}")
                continue
            yield replace(self.transcribe_in(data, str(file)), seconds=time.perf_counter() - begin)

    def transcribe_in(self, data: bytes, name: str) -> Written:
        """What is said in an encoded recording."""
        begin = time.perf_counter()
        spec = replace(self.spec, views=(WHOLE,))
        try:
            raw, facts = modality(self.modality).decode(data, name, spec)
        except Unreadable as error:
            return Written(None, error=error.reason)
        samples = raw.samples if raw.whole is None else raw.whole
        text, confidence = ANSWERS[self.vocabulary.kind](self, samples)
        return Written(text, confidence, facts.width / 1000, time.perf_counter() - begin)

    def heard(self, samples: Samples) -> npt.NDArray[Any]:
        """Samples as the network reads them."""
        prepared = np.frombuffer(np.ascontiguousarray(samples, "<f4").tobytes(), np.uint8)
        return np.ascontiguousarray(self.read(prepared))

    def read(self, prepared: npt.NDArray[np.uint8]) -> npt.NDArray[Any]:
        """What the network hears of samples."""
        return self.extractor.read(prepared)

    def log_probabilities(self, heard: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """(moments, c) of what is heard."""
        import torch

        with self._turn, torch.inference_mode():  # its backbone keeps features while it runs
            found = self.network(torch.from_numpy(heard)[None])[0].float().log_softmax(1)
        return np.asarray(found.numpy())

    def dictated(self, heard: npt.NDArray[Any]) -> tuple[list[int], float]:
        """Of a decoder: tokens of what is heard, and the mean of their log-probabilities."""
        import torch

        from regraft.tasks.transcription.decoder import greedy

        assert isinstance(self.vocabulary, Tokens)
        with self._turn, torch.inference_mode():
            (said,) = greedy(self.network, torch.from_numpy(heard)[None], self.vocabulary.asked)
        return said.path, said.sure

    def predict(self, source: Any, **settings: Any) -> Any:
        """What is said in a file, a folder, a glob or a list of files; see `regraft.predict`."""
        from regraft.model.predict import predict

        return predict(self, source, **settings)

    def save(self, path: str | Path) -> Path:
        """Write the bundle: one file, whole or not at all. Raises StorageError."""
        from regraft.model.packing_transcription import pack

        documents, tensors, files = pack(self)
        write_bundle(Path(path), documents, tensors, files=files)
        return Path(path)

    @classmethod
    def of(cls, bundle: Bundle) -> "TranscriptionModel":
        """The model in a bundle; no code in it is run. Raises BundleError."""
        from regraft.model.packing_transcription import unpack

        return cls(**unpack(bundle))
