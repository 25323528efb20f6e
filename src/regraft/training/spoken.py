"""Training on recordings with transcripts: the objective, frozen moments, what is held back."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from regraft.backbones.network import FrozenNetwork
from regraft.backbones.padding import by_ends, unended
from regraft.backbones.readers import Read
from regraft.backbones.runtimes import lanes
from regraft.data.inline import contents
from regraft.errors import TrainingStopped, UsageError
from regraft.evaluation.transcription import distance
from regraft.modalities.base import Modality
from regraft.modalities.spec import InputSpec
from regraft.progress import Progress
from regraft.tasks.transcription.decoder import greedy, token_losses
from regraft.tasks.transcription.tokens import Tokens
from regraft.tasks.transcription.vocabulary import BLANK, Vocabulary, plain
from regraft.training.attacking import ONCE, Network
from regraft.training.devices import begin_cost
from regraft.training.examples import Augmented, Batch, Turn
from regraft.training.judging import Score

KEPT_BYTES = 3 * 2**30  # of moments in memory; the rest is computed at each turn
AT_ONCE = 16

Moments = npt.NDArray[np.float16]


@dataclass(frozen=True)
class Lines:
    """What is said in the recordings of a batch, as numbers; places give some of them."""

    each: Sequence[Tensor]
    device: torch.device

    def __len__(self) -> int:
        return len(self.each)

    def __getitem__(self, places: Any) -> "Lines":
        chosen = torch.arange(len(self.each))[places].tolist()
        return Lines([self.each[i] for i in chosen], self.device)


def lines_of(texts: Sequence[str], vocabulary: Vocabulary | Tokens) -> list[Tensor]:
    """The numbers of plain texts."""
    return [torch.tensor(vocabulary.numbers(text), dtype=torch.long) for text in texts]


def ctc_losses(logits: Tensor, lines: Lines) -> Tensor:
    """(n,) negative log-likelihood of each text, a character: logits (n, moments, c).

    A text that cannot be told in so few moments costs nothing and teaches nothing.
    """
    lengths = torch.tensor([len(line) for line in lines.each])
    heard = torch.full((len(lines),), logits.shape[1])
    found = nn.functional.ctc_loss(
        logits.float().log_softmax(2).transpose(0, 1),
        torch.cat([*lines.each]).to(logits.device),
        heard,
        lengths,
        blank=BLANK,
        reduction="none",
        zero_infinity=True,
    )
    return found / lengths.clamp(min=1).to(logits.device)


def _spelling(network: Network, sounds: Tensor, lines: Lines, vocabulary: Any) -> Tensor:
    return ctc_losses(network(sounds), lines)


def _spelled(model: Any, sounds: Tensor, lines: Lines, vocabulary: Any) -> tuple[Tensor, list[str]]:
    logits = model(sounds).float()
    return ctc_losses(logits, lines), [vocabulary.text(p) for p in logits.argmax(2).tolist()]


def _telling(network: Network, sounds: Tensor, lines: Lines, tokens: Any) -> Tensor:
    return token_losses(network, sounds, lines.each, tokens.asked.prompt)


def _told(model: Any, sounds: Tensor, lines: Lines, tokens: Any) -> tuple[Tensor, list[str]]:
    said = greedy(model, sounds, tokens.asked)
    return _telling(model, sounds, lines, tokens), [tokens.text(one.path) for one in said]


@dataclass(frozen=True)
class Way:
    """How a kind of vocabulary is learned and judged.

    losses  (network, sounds of one length, lines, vocabulary) → (n,)
    judged  the same → (n,) losses, and what is written
    """

    losses: Callable[[Network, Tensor, Lines, Any], Tensor]
    judged: Callable[[Any, Tensor, Lines, Any], tuple[Tensor, list[str]]]


WAYS: Mapping[str, Way] = MappingProxyType(
    {"ctc": Way(_spelling, _spelled), "tokens": Way(_telling, _told)}
)


class Speech:
    """What is said, written down: the objective of a transcriber."""

    compares = False
    rounds = ONCE

    def __init__(self, texts: Sequence[str], vocabulary: Vocabulary | Tokens) -> None:
        self.lines, self.vocabulary = lines_of(texts, vocabulary), vocabulary

    def targets(
        self, batch: Batch, device: torch.device, rng: np.random.Generator
    ) -> tuple[Tensor, Lines]:
        """Sounds on the device, and what is said in them."""
        lines = [self.lines[place] for place in batch.places.tolist()]
        return batch.pixels.to(device, non_blocking=True), Lines(lines, device)

    def losses(self, outputs: Tensor, targets: Lines, *embeddings: Tensor) -> Tensor:
        return ctc_losses(outputs, targets)

    def alone(
        self, network: Network, bare: Network, examples: Tensor, targets: Lines, progress: float
    ) -> Iterator[Tensor]:
        """On the sounds as they are."""
        yield WAYS[self.vocabulary.kind].losses(network, examples, targets, self.vocabulary)


class KeptMoments(Augmented):
    """As `Augmented`, but an item is (D, moments) float16: what a frozen network gives for it."""

    def __init__(self, source: Augmented, network: FrozenNetwork) -> None:
        if source.wanted:
            raise UsageError(
                "augment: the frozen network's moments are kept, and recordings that change are "
                "others at each turn; choose a strategy that trains the network"
            )
        about = (source.files, source.shas, source.modality, source.spec, source.wanted)
        super().__init__(*about, source.seed, source.read)
        self.network = network
        self._moments: dict[int, Moments] = {}
        self._filled = 0

    def __getitem__(self, turn: Turn) -> tuple[Any, int]:
        if turn.place not in self._moments:
            found = moments_of(self.network, super().__getitem__(turn)[0])
            self._kept.pop(turn.place, None)
            if self._filled + found.nbytes > KEPT_BYTES:
                return found, turn.place
            self._filled += found.nbytes
            self._moments[turn.place] = found
        return self._moments[turn.place], turn.place

    def collate(self, items: Sequence[tuple[Any, int]]) -> Batch:
        together = unended([moments for moments, _ in items])
        return Batch(torch.from_numpy(together), torch.tensor([place for _, place in items]))

    def blank(self) -> Tensor:
        return torch.zeros(1, sum(self.network.block_widths), 1)

    def fill(self, progress: Progress) -> None:
        """Compute what there is room for, once."""
        with progress.stage("frozen moments", len(self)) as advance:
            for place in range(len(self)):
                self[Turn(0, place)]
                advance(1)


@torch.inference_mode()
def moments_of(network: FrozenNetwork, example: npt.NDArray[Any]) -> Moments:
    """(D, moments) of one sound as the network's front hears it."""
    found = network(torch.from_numpy(np.ascontiguousarray(example))[None])
    return np.asarray(found[0].half().numpy())


def prepared_sounds(
    files: Sequence[str], kind: Modality, spec: InputSpec, read: Read
) -> list[npt.NDArray[Any]]:
    """Recordings as the network's front hears them."""

    def one(file: str) -> npt.NDArray[Any]:
        raw = kind.decode(contents(file), file, spec).raw
        return read(kind.prepare(raw, spec, spec.views[0]))

    with ThreadPoolExecutor(lanes()) as pool:
        return list(pool.map(one, files))


@dataclass(frozen=True)
class HeldSpeech:
    """Recordings that nothing is learned from.

    sounds  (m, ..., longest) as `unended` gives them: what a model reads
    texts   (m) plain
    """

    sounds: Tensor
    texts: Sequence[str]
    vocabulary: Vocabulary | Tokens
    majority: float = -np.inf  # no answer is right as a rule; errors may outnumber characters

    def score(self, model: nn.Module, device: torch.device) -> Score:
        """Loss a character, and 1 - character error rate. Raises TrainingStopped."""
        loss, errors = self.judged(model, device)
        return Score(loss, 1 - float(errors.sum()) / max(1, sum(map(len, self.texts))))

    @torch.no_grad()
    def judged(self, model: nn.Module, device: torch.device) -> tuple[float, npt.NDArray[Any]]:
        """The mean loss a character, and (m,) errors in characters."""
        was = [(part, part.training) for part in model.modules()]
        model.eval()
        losses, errors = torch.zeros(len(self.texts)), np.zeros(len(self.texts))
        lines = Lines(lines_of(self.texts, self.vocabulary), device)
        way = WAYS[self.vocabulary.kind]
        try:
            for places, some in by_ends(self.sounds, AT_ONCE, begin_cost(device)):
                told, said = way.judged(model, some.to(device), lines[places], self.vocabulary)
                losses[places] = told.cpu()
                chosen = torch.arange(len(self.texts))[places].tolist()
                errors[chosen] = [
                    distance(self.texts[i], plain(one)) for i, one in zip(chosen, said, strict=True)
                ]
        finally:
            for part, training in was:
                part.training = training
        if not bool(losses.isfinite().all()):
            raise TrainingStopped(
                "for recordings that are held back, what the network gives is no number any more. "
                "Lower the rate"
            )
        return float(losses.mean()), errors
