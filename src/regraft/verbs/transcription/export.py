"""What `export` needs of transcribers."""

from collections.abc import Sequence
from typing import Any

import numpy.typing as npt

from regraft.backbones.readers import reader
from regraft.data.dataset import Dataset
from regraft.errors import Unreadable
from regraft.evaluation.transcription import counted
from regraft.export.wanted import Wanted
from regraft.model.encoded import MEMORY
from regraft.model.said import said_in_turn
from regraft.model.transcribing import TranscriptionModel
from regraft.verbs.deployed import (
    Deployment,
    Network,
    Own,
    Told,
    as_they_are,
    network_of,
    varying_axes,
    wanted_samples,
)
from regraft.verbs.transcription.prepare import texts_of

# What a model writes with → why it is not exported.
UNFIT = {
    "tokens": "model: it writes with a decoder, which is asked again for each word, and an export "
    "is one graph that is asked once; serve the bundle itself, or fit one with --head fresh"
}


def deployment() -> Deployment:
    """Differences are those of the probabilities of characters at each moment."""
    return Deployment(
        wanted=_wanted,
        networks=_networks,
        told=lambda model: {"characters": list(model.vocabulary.characters)},
        own=_own,
        inputs=lambda model, data: [given for given, _ in _watched(model, data)[0]],
        apart=as_they_are,
        same=lambda model, one, other: bool(one["text"] == other["text"]),
        stage=lambda model, data: "conversion",  # up to there the network is the model's own
        figure=_word_errors,
        metric="wer",
        columns=lambda model: {"task": "transcribe"},
        unfit=lambda model: UNFIT.get(model.vocabulary.kind, ""),
    )


def _networks(model: TranscriptionModel) -> list[Network]:
    return [network_of(model.extractor)]


def _wanted(model: TranscriptionModel, batch: int) -> Wanted:
    from regraft.tasks.transcription.deployed import DeployedTranscriber

    module = DeployedTranscriber(model.network).eval()
    axes = varying_axes(reader(model.spec).shape(model.spec), batch)
    samples = wanted_samples(model.extractor.network, batch)
    return Wanted(module, samples, ["sound"], [axes], module.OUTPUTS)


def _own(model: TranscriptionModel, data: bytes) -> Own:
    calls, answer = _watched(model, data)
    return Own([[probabilities] for _, probabilities in calls], answer)


def _watched(
    model: TranscriptionModel, data: bytes
) -> tuple[list[tuple[npt.NDArray[Any], npt.NDArray[Any]]], Told]:
    """(1, ...) sounds and (1, moments, c) probabilities of each piece, and the answer."""
    calls = []

    def note(network: Any, given: Any, logits: Any) -> None:
        calls.append((given[0].numpy().copy(), logits.float().softmax(2).numpy()))

    watching = model.network.register_forward_hook(note)
    try:
        (answer,) = said_in_turn(model, data)
    finally:
        watching.remove()
    if answer.error is not None:
        raise Unreadable(MEMORY, "unreadable", answer.error)
    return calls, answer.to_dict()


def _word_errors(model: TranscriptionModel, data: Dataset, answers: Sequence[Told]) -> float | None:
    texts = texts_of(data)
    known = [i for i, text in enumerate(texts) if text]
    if not known:
        return None
    found = counted([texts[i] for i in known], [answers[i]["text"] or "" for i in known])
    return float(found.errors.sum(0)[0] / found.of.sum(0)[0])
