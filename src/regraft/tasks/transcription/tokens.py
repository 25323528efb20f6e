"""What Whisper writes with: pieces of words, after a prompt that says what is wanted of it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar, Self

from regraft.errors import BackboneError

MOST_PROMPT = 8


@dataclass(frozen=True)
class Asked:
    """How a decoder is asked, as numbers of tokens.

    prompt       what every answer begins with
    end          the token that ends it
    never        tokens that are never written: notes, music, what is no speech
    never_first  as the first one neither
    most         tokens of an answer
    """

    prompt: tuple[int, ...]
    end: int
    never: tuple[int, ...] = ()
    never_first: tuple[int, ...] = ()
    most: int = 440

    def mistakes(self, answers: int) -> Iterator[str]:
        """What of it cannot be used by a decoder with so many answers."""
        every = (*self.prompt, self.end, *self.never, *self.never_first)
        if not 1 <= len(self.prompt) <= MOST_PROMPT:
            yield f"asked.prompt: expected 1 to {MOST_PROMPT} tokens, got {len(self.prompt)}"
        if any(not 0 <= number < answers for number in every):
            yield f"asked: expected tokens from 0 to {answers - 1}"
        if self.end in self.never:
            yield "asked.end: could never be written"
        if not 1 <= self.most <= 4096:
            yield f"asked.most: expected 1 to 4096, got {self.most}"


@dataclass(frozen=True)
class Tokens:
    """A tokenizer, as tokenizer.json has it, and how it is used.

    languages  that the network can be asked for: code → token; empty: it knows one
    """

    data: bytes = field(repr=False)
    asked: Asked
    languages: Mapping[str, int] = field(default_factory=dict, hash=False)
    characters: ClassVar[tuple[str, ...]] = ()  # any can be written
    kind: ClassVar[str] = "tokens"

    @cached_property
    def _pieces(self) -> Any:
        from tokenizers import Tokenizer

        try:
            return Tokenizer.from_buffer(self.data)
        except Exception as error:  # the library raises plain Exception
            raise BackboneError(f"not a tokenizer that can be read: {error}") from error

    def __len__(self) -> int:
        """Tokens that it knows."""
        return int(self._pieces.get_vocab_size())

    def numbers(self, text: str) -> list[int]:
        """Of a plain text, with the end, as far as an answer may reach."""
        found = self._pieces.encode(f" {text}", add_special_tokens=False).ids
        return [*found, self.asked.end][: self.asked.most]

    def text(self, path: Sequence[int]) -> str:
        """What tokens say."""
        said: str = self._pieces.decode(list(path), skip_special_tokens=True)
        return said.strip()

    def unknown(self, text: str) -> set[str]:
        """Characters of a text that cannot be written: none."""
        return set()

    def among(self, code: str) -> Self:
        """Asked for a language: its token comes second."""
        prompt = (self.asked.prompt[0], self.languages[code], *self.asked.prompt[1:])
        return replace(self, asked=replace(self.asked, prompt=prompt), languages={})

    def to_dict(self) -> dict[str, Any]:
        """How it is used, as plain data."""
        return asdict(self.asked)
