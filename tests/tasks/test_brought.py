"""Heads that checkpoints bring, against transformers' own networks and tokenizers."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from regraft.backbones.catalog import find
from regraft.errors import BackboneError
from regraft.tasks.transcription.brought import brings, brought, spelt
from regraft.tasks.transcription.network import Transcriber, listening
from regraft.tasks.transcription.vocabulary import plain

WORDS = ["<pad>", "<s>", "</s>", "<unk>", "|", "E", "T", "A", "'", "é", "."]
VOCABULARY = {word: number for number, word in enumerate(WORDS)}
STABLE = {"do_stable_layer_norm": True, "feat_extract_norm": "layer"}


@pytest.fixture(scope="module")
def writer(
    save_listener: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Path]:
    """Save a small network that writes, random; gives its folder."""
    root = tmp_path_factory.mktemp("writers")

    def saved(kind: str, vocabulary: Any = VOCABULARY, **settings: object) -> Path:
        name = f"{kind}{len(list(root.iterdir()))}"
        folder = save_listener(root / name, kind, vocab_size=len(WORDS), **settings)
        (folder / "vocab.json").write_text(json.dumps(vocabulary))
        return folder

    return saved


@pytest.mark.parametrize(
    ("kind", "settings"),
    [("Wav2Vec2ForCTC", {}), ("HubertForCTC", {}), ("WavLMForCTC", {}), ("Wav2Vec2ForCTC", STABLE)],
)
def test_what_is_written_is_what_transformers_writes(
    kind: str, settings: dict[str, Any], writer: Callable[..., Path]
) -> None:
    import transformers

    folder = writer(kind, **settings)
    theirs = getattr(transformers, kind).from_pretrained(folder).eval()
    row = find(f"folder:{folder}")
    assert brings(row)
    head, vocabulary, _ = brought(row, ())
    assert vocabulary.characters == (" ", "'", ".", "a", "e", "t", "é")
    ours = Transcriber(listening(row, row.spec), head).eval()
    sounds = torch.randn(2, 24000, generator=torch.Generator().manual_seed(0))
    order = [
        0,
        *(WORDS.index({" ": "|"}.get(c, c.upper() if c in "aet" else c)) for c in " '.aeté"),
    ]
    with torch.no_grad():
        expected, found = theirs(sounds).logits[:, :, order], ours(sounds)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    tokenizer = transformers.Wav2Vec2CTCTokenizer(folder / "vocab.json")
    path = found[0].argmax(1)
    their_text = tokenizer.decode(torch.tensor(order)[path], skip_special_tokens=False)
    assert plain(vocabulary.text(path.tolist())) == plain(their_text)


def test_rows_of_the_same_characters_are_kept(writer: Callable[..., Path]) -> None:
    row = find(f"folder:{writer('Wav2Vec2ForCTC')}")
    own, known, _ = brought(row, ())
    more, both, _ = brought(row, (" ", "a", "b"))
    assert both.characters == (" ", "'", ".", "a", "b", "e", "t", "é")
    for i, character in enumerate(both.characters, 1):
        if character == "b":
            assert not more.last.weight[i].any()
            assert more.last.bias[i] <= own.last.bias.min()
        else:
            place = known.characters.index(character) + 1
            assert torch.equal(more.last.weight[i], own.last.weight[place])


def test_a_network_without_a_head_brings_none(save_listener: Any, tmp_path: Path) -> None:
    assert not brings(find(f"folder:{save_listener(tmp_path / 'bare', 'Wav2Vec2Model')}"))
    assert not brings(find("efficientnet-lite0"))


ODD: dict[str, Any] = {
    "expected characters with the numbers": {"a": 0, "b": 99},
    "has no '<pad>'": {"a": 0, "b": 1},
    "expected single characters, got ab": {"<pad>": 0, "ab": 1},
    "numbers of 11 rows": ["<pad>", "a"],
    "the numbers of": {"<pad>": 0, "a": 0},
}


@pytest.mark.parametrize("message", ODD)
def test_a_strange_vocabulary_is_refused(message: str, writer: Callable[..., Path]) -> None:
    row = find(f"folder:{writer('Wav2Vec2ForCTC', ODD[message])}")
    with pytest.raises(BackboneError, match=message):
        brought(row, ())


def test_a_small_letter_goes_before_its_capital(writer: Callable[..., Path]) -> None:
    vocabulary = {"[PAD]": 3, "A": 0, "a": 1, " ": 2}
    folder = writer("Wav2Vec2ForCTC", vocabulary)
    told = {"pad_token": {"content": "[PAD]"}, "word_delimiter_token": " ", "unk_token": None}
    (folder / "tokenizer_config.json").write_text(json.dumps(told))
    found = spelt(find(f"folder:{folder}"), 4)
    assert found.rows == {"a": 1, " ": 2}
    assert found.blank == 3
    _, known, _ = brought(find(f"folder:{folder}"), ("z",))
    assert known.characters == (" ", "a", "z")
