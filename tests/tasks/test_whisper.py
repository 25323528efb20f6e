"""Whisper's decoder as a head, against transformers' own network."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from regraft.backbones.catalog import find
from regraft.backbones.readers import reader
from regraft.errors import BackboneError
from regraft.tasks.transcription.answering import quiet_cuts
from regraft.tasks.transcription.brought import brings, brought
from regraft.tasks.transcription.decoder import LOOP, _loop, greedy, language, token_losses
from regraft.tasks.transcription.heads import head_of, wrong_head
from regraft.tasks.transcription.network import Transcriber, listening

START, PLAIN = "<|startoftranscript|>", "<|notimestamps|>"


@pytest.fixture(scope="module")
def folder(save_whisper: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_whisper(tmp_path_factory.mktemp("whisper") / "net")


@pytest.fixture(scope="module")
def ours(folder: Path) -> Any:
    row = find(f"folder:{folder}")
    assert brings(row)
    found = brought(row, ("a",))
    return Transcriber(listening(row, found.spec), found.head).eval(), found


def heard(found: Any, row: Any, n: int = 2) -> torch.Tensor:
    read, rng = reader(found.spec).open(row, found.spec), np.random.default_rng(0)
    waves = rng.normal(0, 0.1, (n, 16000)).astype("<f4")
    return torch.stack(
        [torch.from_numpy(read(np.frombuffer(w.tobytes(), np.uint8))) for w in waves]
    )


def test_logits_and_losses_are_those_of_transformers(folder: Path, ours: Any) -> None:
    from transformers import WhisperForConditionalGeneration

    model, found = ours
    theirs = WhisperForConditionalGeneration.from_pretrained(folder).eval()
    sounds = heard(found, find(f"folder:{folder}"))
    assert sounds.shape[2] == 200  # padded to all that it hears, as it was trained
    tokens = torch.tensor([[5, 9, 7], [5, 8, 8]])
    with torch.no_grad():
        expected = theirs(input_features=sounds, decoder_input_ids=tokens).logits
        torch.testing.assert_close(model(sounds, tokens), expected, atol=1e-4, rtol=1e-4)
        lines = [torch.tensor(found.vocabulary.numbers(t)) for t in ("ab c", "b")]
        prompt = found.vocabulary.asked.prompt
        own = token_losses(model, sounds, lines, prompt)
        for i, line in enumerate(lines):
            given = torch.tensor([[*prompt, *line[:-1].tolist()]])
            logits = theirs(input_features=sounds[i : i + 1], decoder_input_ids=given).logits
            logits = logits[0, len(prompt) - 1 :]
            assert float(own[i]) == pytest.approx(
                float(torch.nn.functional.cross_entropy(logits, line)), rel=1e-4
            )


def test_greedy_is_one_step_after_the_other(folder: Path, ours: Any) -> None:
    """With the memory of keys and values as without it; what is refused is never written."""
    model, found = ours
    sounds, asked = heard(found, find(f"folder:{folder}")), found.vocabulary.asked
    said = greedy(model, sounds, asked)
    for i, answer in enumerate(said):
        path: list[int] = []
        while len(path) < asked.most:
            with torch.no_grad():
                logits = model(sounds[i : i + 1], torch.tensor([[*asked.prompt, *path]]))[0, -1]
            logits[[*asked.never, *(() if path else asked.never_first)]] = -torch.inf
            path.append(int(logits.argmax()))
            if path[-1] == asked.end or _loop(path):
                break
        again = _loop(path)
        path = path[: len(path) - LOOP * again] if again else [n for n in path if n != asked.end]
        assert answer.path == path
        assert not {*answer.path} & {*asked.never}
        assert answer.sure <= 0


def test_texts_and_tokens(ours: Any) -> None:
    _, found = ours
    tokens = found.vocabulary
    assert tokens.text(tokens.numbers("naïve cat's")) == "naïve cat's"
    assert tokens.numbers("a")[-1] == tokens.asked.end
    assert tokens.unknown("ß") == set()
    assert len(tokens.numbers("a" * 99)) == tokens.asked.most


def test_a_network_of_several_languages_is_asked_for_one(
    save_whisper: Callable[..., Path], tmp_path: Path
) -> None:
    row = find(f"folder:{save_whisper(tmp_path / 'many', languages=('en', 'de'))}")
    found = brought(row, ())
    model = Transcriber(listening(row, found.spec), found.head).eval()
    sounds = heard(found, row)
    tokens = found.vocabulary
    code = language(model, [sounds[:1], sounds[1:]], tokens.asked.prompt[0], tokens.languages)
    assert code in ("en", "de")
    asked = tokens.among(code).asked
    assert asked.prompt[:2] == (tokens.asked.prompt[0], tokens.languages[code])
    assert len(asked.prompt) == 4


def test_a_head_is_made_again_from_its_tensors_and_a_forged_one_refused(ours: Any) -> None:
    _, found = ours
    state, facts = found.head.state_dict(), found.head.facts
    again = head_of(dict(state), facts)
    features, tokens = torch.randn(1, 64, 10), torch.tensor([[3, 4]])
    assert torch.equal(again(features, tokens), found.head.eval()(features, tokens))
    arrays = {name: tensor.numpy() for name, tensor in state.items()}
    assert not [*wrong_head(arrays, facts, 1)]
    name = "decoder.layers.0.fc1.weight"
    assert "expected float32" in next(wrong_head(arrays | {name: arrays[name].T}, facts, 1))
    less = {n: a for n, a in arrays.items() if n != "decoder.layer_norm.bias"}
    assert "missing" in next(wrong_head(less, facts, 1))
    assert "heads" in next(wrong_head(arrays, type(facts)("decoder", heads=5), 1))
    assert "missing or of a wrong shape" in next(wrong_head({}, facts, 1))


def test_a_tokenizer_that_is_none_is_told(
    save_whisper: Callable[..., Path], tmp_path: Path
) -> None:
    folder = save_whisper(tmp_path / "net")
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(BackboneError, match="not a tokenizer"):
        brought(find(f"folder:{folder}"), ())
    (folder / "tokenizer.json").unlink()
    with pytest.raises(BackboneError, match=r"tokenizer\.json"):
        brought(find(f"folder:{folder}"), ())


def test_long_recordings_are_cut_where_it_is_quiet() -> None:
    rng = np.random.default_rng(0)
    samples = rng.normal(0, 0.1, 16000 * 70).astype(np.float32)
    samples[16000 * 27 : 16000 * 28] = 0
    cuts = list(quiet_cuts(samples, 30))
    assert 27 * 16000 <= cuts[0][1] <= 28 * 16000
    assert cuts[-1][1] == len(samples)
    assert all(a[1] == b[0] for a, b in itertools.pairwise(cuts))
    assert all(b - a <= 30 * 16000 for a, b in cuts)
    assert list(quiet_cuts(samples[:16000], 30)) == [(0, 16000)]


def test_an_answer_that_goes_round_is_ended() -> None:
    assert _loop([1, 2, *[7, 8] * (LOOP + 1)]) == 2
    assert _loop([7] * LOOP) == 0
    assert _loop([]) == 0
