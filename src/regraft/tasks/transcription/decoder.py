"""Whisper's decoder as a head (Radford et al. 2022, arXiv 2212.04356), and greedy decoding."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from regraft.tasks.transcription.facts import HeadFacts
from regraft.tasks.transcription.tokens import Asked

LOOP = 5  # times that an answer may say the same again before it is ended


class Sizes(NamedTuple):
    """Of a decoder, as its tensors tell them."""

    answers: int
    width: int
    positions: int
    layers: int
    inner: int


def sizes_of(state: Mapping[str, Any]) -> Sizes:
    """Raises KeyError, ValueError where the tensors are of no decoder."""
    answers, width = state["decoder.embed_tokens.weight"].shape
    positions, _ = state["decoder.embed_positions.weight"].shape
    inner, _ = state["decoder.layers.0.fc1.weight"].shape
    layers = 1 + max(int(n.split(".")[2]) for n in state if n.startswith("decoder.layers."))
    return Sizes(answers, width, positions, layers, inner)


class DecoderHead(nn.Module):
    """(n, D, moments) features, (n, k) tokens so far → (n, k, answers) logits of the next ones.

    It reads the last block alone; its answers are its embeddings of tokens.
    """

    alone = False

    def __init__(self, sizes: Sizes, heads: int) -> None:
        super().__init__()
        from transformers import WhisperConfig
        from transformers.models.whisper.modeling_whisper import WhisperDecoder

        self.sizes, self.heads = sizes, heads
        config: Any = WhisperConfig(
            vocab_size=sizes.answers,
            d_model=sizes.width,
            decoder_layers=sizes.layers,
            decoder_attention_heads=heads,
            decoder_ffn_dim=sizes.inner,
            max_target_positions=sizes.positions,
            pad_token_id=0,
            bos_token_id=0,
            eos_token_id=0,
            decoder_start_token_id=0,
        )
        config._attn_implementation = "sdpa"
        with torch.random.fork_rng(devices=[]):  # the library draws weights even to replace them
            self.decoder = WhisperDecoder(config)
        self.decoder.embed_tokens.padding_idx = None  # every token learns

    @property
    def facts(self) -> HeadFacts:
        """What its tensors do not tell."""
        return HeadFacts("decoder", heads=self.heads)

    @property
    def top(self) -> "DecoderHead":
        """It is its own head where it learns alone, on features."""
        return self

    def features(self, features: Tensor) -> Tensor:
        """What it is given where it learns alone."""
        return features

    def forward(self, features: Tensor, tokens: Tensor | None = None, cache: Any = None) -> Tensor:
        """tokens  None: the first of all, where only the layers that are gone through matter"""
        if tokens is None:
            tokens = torch.zeros(len(features), 1, dtype=torch.long, device=features.device)
        heard = features[:, -self.sizes.width :].float().transpose(1, 2)
        found = self.decoder(
            input_ids=tokens,
            encoder_hidden_states=heard,
            past_key_values=cache,
            use_cache=cache is not None,
        )
        logits: Tensor = found.last_hidden_state @ self.decoder.embed_tokens.weight.T
        return logits

    def begun(self) -> Any:
        """A memory of keys and values, for answers that grow token by token."""
        from transformers import DynamicCache, EncoderDecoderCache

        return EncoderDecoderCache(DynamicCache(), DynamicCache())


class Said(NamedTuple):
    """An answer: its tokens, and the mean of their logarithms of probability."""

    path: list[int]
    sure: float


@torch.no_grad()
def greedy(model: Any, sounds: Tensor, asked: Asked) -> list[Said]:
    """The most probable token at each step, for sounds of one length."""
    features, head = model.features(sounds), model.top
    n, device = len(sounds), sounds.device
    most = min(asked.most, head.sizes.positions - len(asked.prompt))
    cache, given = head.begun(), torch.tensor([asked.prompt] * n, device=device)
    paths: list[list[int]] = [[] for _ in range(n)]
    sure, running = torch.zeros(n), [True] * n
    for step in range(most):
        chances = _allowed(head(features, given, cache)[:, -1].float(), asked, not step)
        best = chances.log_softmax(1).max(1)
        for i, (number, value) in enumerate(
            zip(best.indices.tolist(), best.values.tolist(), strict=True)
        ):
            if running[i]:
                sure[i] += value
                if number != asked.end:
                    paths[i].append(number)
                again = _loop(paths[i])
                running[i] = number != asked.end and not again
                del paths[i][len(paths[i]) - LOOP * again :]
        if not any(running):
            break
        given = best.indices[:, None]
    return [
        Said(path, float(total) / (len(path) + 1)) for path, total in zip(paths, sure, strict=True)
    ]


@torch.no_grad()
def language(model: Any, sounds: Sequence[Tensor], start: int, languages: Mapping[str, int]) -> str:
    """The code of the language that is most probably spoken in all of these (1, ...) sounds."""
    numbers, chances = [*languages.values()], torch.zeros(len(languages))
    for sound in sounds:
        logits = model(sound, torch.tensor([[start]]))[0, -1].float()
        chances += logits[numbers].log_softmax(0)
    return [*languages][int(chances.argmax())]


def _allowed(logits: Tensor, asked: Asked, first: bool) -> Tensor:
    refused = [*asked.never, *(asked.never_first if first else ())]
    if not refused:
        return logits
    return logits.index_fill(1, torch.tensor(refused, device=logits.device), -torch.inf)


def _loop(path: Sequence[int]) -> int:
    """The length of what the end of an answer says again and again, as decoders may; 0: none."""
    for length in range(1, len(path) // (LOOP + 1) + 1):
        last = path[-length:]
        if all(path[-(i + 1) * length : -i * length] == last for i in range(1, LOOP + 1)):
            return length
    return 0


def token_losses(
    network: Any, sounds: Tensor, lines: Sequence[Tensor], prompt: Sequence[int]
) -> Tensor:
    """(n,) mean log-loss a token of texts, each with its end, when the tokens before are known."""
    longest = max(len(line) for line in lines)
    wanted = torch.full((len(lines), longest), -100, device=sounds.device)
    for row, line in zip(wanted, lines, strict=True):
        row[: len(line)] = line.to(sounds.device)
    begin = torch.tensor([prompt] * len(lines), device=sounds.device)
    given = torch.cat([begin, wanted[:, :-1].clamp(min=0)], 1)
    logits = network(sounds, given)[:, len(prompt) - 1 :].float()
    found = nn.functional.cross_entropy(
        logits.transpose(1, 2), wanted, ignore_index=-100, reduction="none"
    )
    return found.sum(1) / (wanted >= 0).sum(1).clamp(min=1)
