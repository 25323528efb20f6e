"""Training on sounds: the same loop, on batches of unequal length, by networks of either kind."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from regraft.backbones.catalog import DEFAULT, families, find
from regraft.backbones.network import load_network
from regraft.backbones.padding import by_ends, unended
from regraft.backbones.readers import reader
from regraft.modalities import modality
from regraft.modalities.mixing import cutmix, mixup
from regraft.modalities.samples import RATE
from regraft.training.averaging import copied
from regraft.training.checkpoints import Checkpoints
from regraft.training.examples import Steps, Turn, loader
from regraft.training.judging import logits_of
from regraft.training.strategies import STRATEGIES, refusal, strategy
from regraft.training.terms import Execution
from regraft.training.tuned import tuned_row
from regraft.training.tuning import Lesson

Setting = Any  # of conftest.py
Begin = Callable[..., Setting]
CPU = torch.device("cpu")
KINDS = ("WhisperModel", "HubertModel", "ASTModel")
HERTZ = (300.0, 900.0, 2500.0)
AUDIO = modality("audio")


def tones(folder: Path, numbers: range) -> Lesson:
    """Of three pitches, from a quarter of a second to one and a half."""
    folder.mkdir()
    files, shas, labels = [], [], []
    for label, hertz in enumerate(HERTZ):
        for number in numbers:
            rng = np.random.default_rng([label, number])
            time = np.arange(round(RATE * rng.uniform(0.25, 1.5))) / RATE
            wave = 0.3 * np.sin(2 * np.pi * hertz * rng.uniform(0.8, 1.25) * time)
            path = folder / f"{label}-{number}.wav"
            soundfile.write(path, wave + rng.normal(0, 0.05, len(time)), RATE)
            files.append(str(path))
            shas.append(hashlib.sha256(path.read_bytes()).hexdigest())
            labels.append(label)
    return Lesson(files, shas, np.array(labels), len(HERTZ))


@pytest.fixture(scope="module")
def lessons(tmp_path_factory: pytest.TempPathFactory) -> tuple[Lesson, Lesson]:
    folder = tmp_path_factory.mktemp("tones")
    return tones(folder / "train", range(8)), tones(folder / "held", range(100, 104))


@pytest.fixture(scope="module", params=KINDS)
def network(
    request: Any,
    save_listener: Callable[..., Path],
    begin: Begin,
    lessons: tuple[Lesson, Lesson],
    tmp_path_factory: pytest.TempPathFactory,
) -> Setting:
    """A setting with a small network of each family."""
    folder = save_listener(tmp_path_factory.mktemp("listener") / request.param, request.param)
    row = find(f"folder:{folder}")
    return begin(folder, row, row.spec, *lessons, AUDIO)


@pytest.fixture(scope="module")
def sounds(
    save_listener: Callable[..., Path],
    begin: Begin,
    lessons: tuple[Lesson, Lesson],
    tmp_path_factory: pytest.TempPathFactory,
) -> Setting:
    folder = save_listener(tmp_path_factory.mktemp("whisper") / "whisper", "WhisperModel")
    row = find(f"folder:{folder}")
    return begin(folder, row, row.spec, *lessons, AUDIO)


def test_every_family_of_sounds_offers_what_is_tried_here(network: Setting) -> None:
    offered = families()[network.row.family].operations
    assert {"tune-norm", "lp-ft", "lora", "full"} <= set(offered)


@pytest.mark.parametrize("name", ["tune-norm", "lp-ft", "lora", "full"])
def test_each_strategy_trains(name: str, network: Setting) -> None:
    assert not refusal(strategy(name), network.row)
    made = network.ready(name, steps=2, rate=0.01, augment="strong,gain,cutmix")
    before = copied(dict(made.model.named_parameters()))
    held = made.held(network.later)
    run = made.training(held=held)
    trained = run.run()
    after = dict(run.model.named_parameters())
    moved = {n for n in before if not torch.equal(before[n], after[n])}
    assert {"linear.weight", "linear.bias"} < moved <= run.learning
    assert trained.steps == 2
    assert np.isfinite(held.logits(run.model, run.device)).all()


def test_rates_are_those_of_transformers() -> None:
    for row in STRATEGIES.values():
        if row.needs != "attack":  # of which there is none on sounds to learn from
            assert row.of("sound") == row.of("text")


def test_a_batch_is_cut_by_ends_so_that_nobody_hears_padding(sounds: Setting) -> None:
    batch = next(iter(sounds.ready("lp-ft").training().batches(range(1), 0)))
    pieces = by_ends(batch.pixels, 2)
    assert batch.pixels.isnan().any()
    assert sorted(i for places, _ in pieces for i in places) == list(range(len(batch.pixels)))
    assert not any(some.isnan().any() for _, some in pieces)
    assert max(len(some) for _, some in pieces) <= 2
    assert reader(sounds.spec).cut is by_ends


def test_logits_are_those_of_each_alone_in_their_order(sounds: Setting) -> None:
    model = sounds.ready("lp-ft").model
    logits = sounds.held.logits(model, CPU)
    read = reader(sounds.spec).open(sounds.row, sounds.spec)
    for i in (0, 5, 11):
        raw = AUDIO.decode(Path(sounds.later.files[i]).read_bytes(), "x").raw
        one = torch.from_numpy(read(AUDIO.prepare(raw, sounds.spec, "centre")))[None]
        np.testing.assert_allclose(logits[i], logits_of(model, one, CPU)[0], rtol=1e-4, atol=1e-5)


def test_it_learns(sounds: Setting) -> None:
    run = sounds.ready("copy", steps=40, rate=3e-3, augment="none").training(held=sounds.held)
    trained = run.run()
    assert run.start is not None
    assert trained.curve[-1].loss < 0.3 * trained.curve[0].loss


@pytest.mark.parametrize("name", ["lp-ft", "lora", "full"])
def test_it_goes_on_exactly_where_a_checkpoint_left_it(
    sounds: Setting, name: str, tmp_path: Path
) -> None:
    settings: dict[str, Any] = {"steps": 6, "augment": "strong", "rate": 1e-3}
    whole = sounds.ready(name, **settings).training(held=sounds.held).run()
    for last in (2, 6):
        run = sounds.ready(name, **settings).training(
            held=sounds.held, checkpoints=Checkpoints(tmp_path, "key")
        )
        if last < 6:
            stops = iter([False] * last + [True])
            run._stops = lambda interrupts, stops=stops: next(stops)  # type: ignore[misc]
        ended = run.run()
    assert ended.steps == 6
    assert [p.loss for p in ended.curve] == [p.loss for p in whole.curve]
    for ours, theirs in ((ended.last, whole.last), (ended.average or {}, whole.average or {})):
        assert all(torch.equal(ours[n], theirs[n]) for n in theirs)


def test_workers_and_pieces_change_nothing(sounds: Setting) -> None:
    settings: dict[str, Any] = {"augment": "medium", "optimiser": "sgd", "rate": 1e-2}
    ends = [
        sounds.ready("lp-ft", **settings).training(execution=execution).run().last
        for execution in (Execution(), Execution(workers=2), Execution(micro=1))
    ]
    for name, tensor in ends[0].items():
        assert torch.equal(ends[1][name], tensor)
        torch.testing.assert_close(ends[2][name], tensor, rtol=1e-3, atol=1e-5)


def test_masks_of_the_library_draw_from_nobody_s_generator(network: Setting) -> None:
    state = np.random.get_state()[1].tolist()
    network.ready("full", steps=1, norm="free").training().run()
    assert np.random.get_state()[1].tolist() == state


def test_a_tuned_network_is_a_row_of_its_own(sounds: Setting) -> None:
    run = sounds.ready("lora", steps=2, rate=1e-2).training()
    run.run()
    row = tuned_row(run.model, sounds.row, sounds.spec, "lora")
    again, plain = load_network(row, sounds.spec), load_network(sounds.row, sounds.spec)
    one = by_ends(sounds.held.pixels, 1)[0][1]
    with torch.no_grad():
        torch.testing.assert_close(again(one), run.model.network(one), rtol=1e-5, atol=1e-5)
        assert not torch.allclose(again(one), plain(one), atol=1e-4)


# --- parts of long recordings ---------------------------------------------------------------------


@pytest.mark.parametrize("route", ["picture", "sound"])
def test_training_is_shown_all_segments_in_turn_and_judged_by_several(
    route: str, sounds: Setting, begin: Begin, tmp_path: Path
) -> None:
    lesson = tones(tmp_path / "long", range(2))
    for number, file in enumerate(lesson.files):
        wave = np.zeros(12 * RATE)
        wave[11 * RATE :] = 0.3 * np.sin(np.arange(RATE) * (0.1 + 0.1 * (number % 3)))
        soundfile.write(file, wave, RATE)
    views = tuple(f"segment-{k}of3" for k in (1, 2, 3))
    row = {"picture": find(DEFAULT), "sound": sounds.row}[route]
    size = {"picture": 32, "sound": 2}[route]
    own = begin(tmp_path, row, replace(row.spec.at(size), views=views), lesson, lesson, AUDIO)
    assert own.held.parts == 3
    assert len(own.held.pixels) == 3 * len(lesson.files)
    examples = own.ready("lp-ft", augment="none").material.examples
    seen = [examples[Turn(epoch, 0)][0] for epoch in range(12)]
    assert len({one.tobytes() for one in seen}) == 2
    model = own.ready("lp-ft").model
    net = load_network(row, own.spec)
    with torch.no_grad():
        parts = [net(own.held.pixels[i :: len(lesson.files)]) for i in range(2)]
        pooled = torch.stack([part.mean(0) for part in parts])
    logits = model.head().scores(pooled.numpy())
    np.testing.assert_allclose(own.held.logits(model, CPU)[:2], logits, rtol=1e-3, atol=1e-3)


# --- mixing ---------------------------------------------------------------------------------------


def batch_of(lengths: tuple[int, ...], bands: tuple[int, ...]) -> torch.Tensor:
    some = [np.full((*bands, n), 1.0 + i, np.float32) for i, n in enumerate(lengths)]
    return torch.from_numpy(unended(some))


@pytest.mark.parametrize("bands", [(), (4,)])
@pytest.mark.parametrize("mix", [mixup, cutmix])
def test_mixed_sounds_are_as_long_as_before_and_told_truly(mix: Any, bands: Any) -> None:
    batch, targets = batch_of((40, 20, 30, 40), bands), torch.eye(4)
    for seed in range(10):
        sounds, shares = mix(batch, targets, 1.0, np.random.default_rng(seed))
        assert torch.equal(sounds.isnan(), batch.isnan())
        assert torch.allclose(shares.sum(1), torch.ones(4))
        assert (shares.diagonal() >= 0.49).all()
        for i, own in enumerate(shares.diagonal().tolist()):
            heard = sounds[i][~sounds[i].isnan()]
            kept = float((heard == 1.0 + i).float().mean())
            if mix is cutmix:
                assert own == pytest.approx(1.0 if kept == 1 else kept, abs=1e-5)


def test_the_loader_gives_sounds_of_unequal_length(sounds: Setting) -> None:
    examples = sounds.ready("lp-ft", augment="medium").material.examples
    batch = next(iter(loader(examples, Steps(sounds.lesson.labels, 7, range(2, 3), 0))))
    assert batch.pixels.dtype == torch.float32
    epochs = [[examples[Turn(e, i)][0].tolist() for i in range(3)] for e in (0, 0, 1)]
    assert epochs[0] == epochs[1] != epochs[2]
