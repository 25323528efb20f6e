"""Training on transcripts: losses, frozen moments, exact resume."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from regraft.backbones.catalog import find
from regraft.backbones.padding import unended
from regraft.errors import UsageError
from regraft.evaluation.transcription import distance
from regraft.modalities import modality
from regraft.modalities.samples import RATE
from regraft.progress import Quiet
from regraft.recipe import Recipe
from regraft.tasks.transcription.vocabulary import BLANK, Vocabulary
from regraft.training.checkpoints import Checkpoints
from regraft.training.examples import Augmented, Turn
from regraft.training.spoken import (
    HeldSpeech,
    KeptMoments,
    Lines,
    Speech,
    ctc_losses,
    lines_of,
    moments_of,
)
from regraft.verbs.transcription.prepare import Learnable, held_back
from regraft.verbs.transcription.steps import Steps, surely_fewer

CPU = torch.device("cpu")
TEXTS = ["ab", "a", "b b", "ba", "bb", "aab"]
LETTERS = Vocabulary((" ", "a", "b"))


def paths_of(text: str, moments: int) -> list[tuple[int, ...]]:
    every = itertools.product(range(len(LETTERS)), repeat=moments)
    return [path for path in every if _said(path) == LETTERS.numbers(text)]


def _said(path: tuple[int, ...]) -> list[int]:
    pairs = zip((BLANK, *path), path, strict=False)
    return [c for before, c in pairs if c not in (before, BLANK)]


def test_a_loss_is_the_likelihood_of_all_paths_a_character() -> None:
    logits = torch.randn(3, 4, 4, generator=torch.Generator().manual_seed(0))
    texts = ["ab", "a", "bb"]
    found = ctc_losses(logits, Lines(lines_of(texts, LETTERS), CPU))
    chances = logits.softmax(2).numpy()
    for i, text in enumerate(texts):
        whole = sum(
            np.prod([chances[i, t, c] for t, c in enumerate(path)]) for path in paths_of(text, 4)
        )
        assert float(found[i]) == pytest.approx(-np.log(whole) / len(text), rel=1e-4)


def test_what_cannot_be_said_in_the_time_costs_nothing() -> None:
    logits = torch.randn(2, 2, 4, requires_grad=True)
    found = ctc_losses(logits, Lines(lines_of(["bb", "b"], LETTERS), CPU))
    found.sum().backward()  # type: ignore[no-untyped-call]
    assert found[0] == 0 < found[1]
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


@pytest.fixture(scope="module")
def steps(save_listener: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Made anew at each call: the two steps on a few recordings."""
    folder = tmp_path_factory.mktemp("speech")
    files = []
    for i, text in enumerate(TEXTS):
        rng = np.random.default_rng(i)
        wave = [np.sin(np.arange(2400) * {"a": 0.1, "b": 0.6, " ": 0}[c]) for c in text]
        path = folder / f"{i}.wav"
        soundfile.write(
            path, np.concatenate(wave) * 0.3 + rng.normal(0, 0.01, 2400 * len(text)), RATE
        )
        files.append(str(path))
    row = find(f"folder:{save_listener(folder / 'net', init_std=0.2)}")
    groups = [str(i) for i in range(len(files))]
    some = Learnable(files, [f"{i:064x}" for i in range(len(files))], TEXTS, groups)

    def made(**settings: Any) -> Steps:
        recipe = Recipe().changed(**{"strategy": "lp-ft", "batch": 4, **settings})
        about = (recipe, row, row.spec, modality("audio"), LETTERS)
        return Steps(*about, some, some.some([0, 3]), Quiet())

    return made


def test_frozen_moments_give_what_the_network_gives(steps: Any) -> None:
    made = steps()
    held = made.held_moments()
    made.head(1)
    kept = made._moments
    again = moments_of(made.model.network, made.sounds[0])
    np.testing.assert_array_equal(kept[Turn(0, 0)][0], again)
    ours, _ = held.judged(made.model.head, CPU)
    theirs, _ = made.held_sounds().judged(made.model, CPU)
    assert ours == pytest.approx(theirs, rel=1e-2)
    wanted = modality("audio").augmentations("hiss")
    t, spec = made.train, made.spec
    examples = Augmented(t.files, t.shas, made.kind, spec, wanted, 0, made.read)
    with pytest.raises(UsageError, match="moments are kept"):
        KeptMoments(examples, made.model.network)


def test_errors_stand_in_the_order_of_the_recordings() -> None:
    paths = [[1, 0, 2], [2, 2], [3, 0, 3, 1], [0]]
    logits = [torch.nn.functional.one_hot(torch.tensor(p), 4).float().T.numpy() * 9 for p in paths]
    said = [LETTERS.text(path) for path in paths]
    texts = ["a", "a", "bb", "b"]
    held = HeldSpeech(torch.from_numpy(unended(logits)), texts, LETTERS)
    _, errors = held.judged(_Turned(), CPU)
    assert errors.tolist() == [distance(t, s) for t, s in zip(texts, said, strict=True)]
    assert held.score(_Turned(), CPU).accuracy == pytest.approx(1 - errors.sum() / 5)


class _Turned(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.transpose(1, 2)


def test_the_head_learns(steps: Any) -> None:
    made = steps(strategy="probe", rate=0.01)
    held = made.held_moments()
    run = made.head(60, held=held)
    trained = run.run()
    assert trained.curve[-1].loss < 0.3 * run.start.loss


@pytest.mark.parametrize("name", ["tune-norm", "lp-ft", "lora", "full"])
def test_each_strategy_trains_the_network_and_goes_on_exactly(
    name: str, steps: Any, tmp_path: Path
) -> None:
    def run(last: int, checkpoints: Any = None) -> Any:
        made = steps(strategy=name, augment="hiss,time-mask", rate=1e-3)
        made.add()
        training = made.network(4, held=made.held_sounds(), checkpoints=checkpoints)
        stops = iter([False] * last + [True])
        training._stops = lambda interrupts: next(stops)
        return training, training.run()

    training, whole = run(4)
    for last in (2, 2):
        _, ended = run(last, Checkpoints(tmp_path, "key"))
    assert ended.steps == whole.steps == 4
    assert all(torch.equal(ended.last[n], whole.last[n]) for n in whole.last)
    assert [p.loss for p in ended.curve] == [p.loss for p in whole.curve]
    learning = {n for n, p in training.model.named_parameters() if p.requires_grad}
    assert {"head.last.weight", "head.weights"} <= learning
    assert any(n.startswith("network.") for n in learning)


def test_targets_go_with_their_sounds(steps: Any) -> None:
    training = steps().network(1)
    (batch,) = training.batches(range(1), 0)
    _, lines = Speech(TEXTS, LETTERS).targets(batch, CPU, np.random.default_rng(0))
    said = [LETTERS.text([v for n in line.tolist() for v in (n, 0)]) for line in lines.each]
    assert said == [TEXTS[i] for i in batch.places.tolist()]
    assert [line.tolist() for line in lines[[1, 0]].each] == [
        lines.each[1].tolist(),
        lines.each[0].tolist(),
    ]


def test_groups_are_held_back_whole() -> None:
    names = [str(i) for i in range(120)]
    some = Learnable(names, names, names, [str(i % 10) for i in range(120)])
    train, held = held_back(some, 0)
    assert not {some.groups[i] for i in train} & {some.groups[i] for i in held}
    assert 10 <= len(held) <= 36
    assert len(held_back(some.some(range(20)), 0)[1]) == 0
    one_speaker = Learnable(names, names, names, ["x"] * 120)
    assert 10 <= len(held_back(one_speaker, 0)[1]) <= 30


def test_a_chance_gain_is_none() -> None:
    assert surely_fewer([4, 5, 6, 5], [1, 2, 3, 1])
    assert not surely_fewer([4, 5, 6, 5], [5, 4, 5, 6])
    assert not surely_fewer([1], [0])
