"""The loop: it learns, moves only what may move, repeats exactly, and stops in plain words."""

import hashlib
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from regraft.errors import TrainingStopped
from regraft.training.averaging import copied, put
from regraft.training.checkpoints import Checkpoints
from regraft.training.loop import Training
from regraft.training.norms import batch_norms
from regraft.training.terms import Execution

Setting, Tiny = Any, Any  # of conftest.py

# Adam makes much of the smallest gradients, and so of rounding.
EXACT = {"steps": 2, "augment": "none", "optimiser": "sgd"}


@pytest.fixture
def small(tiny: Tiny) -> Setting:
    return tiny("resnet")


def digest(state: Mapping[str, Tensor] | None) -> str:
    assert state is not None
    parts = [name.encode() + t.numpy().tobytes() for name, t in sorted(state.items())]
    return hashlib.sha256(b"".join(parts)).hexdigest()


def test_it_learns(setting: Setting) -> None:
    run = setting.ready("copy", steps=12, rate=2e-3, norm="frozen", augment="none").training(
        held=setting.held
    )
    trained = run.run()
    assert trained.steps == 12
    assert trained.curve[-1].loss < 0.7 * trained.curve[0].loss
    assert trained.curve[-1].held_accuracy is not None


def test_the_same_plan_gives_the_same_weights(small: Setting) -> None:
    first, second = (small.ready(augment="strong").training().run() for _ in range(2))
    assert digest(first.last) == digest(second.last)
    assert digest(first.average) == digest(second.average)
    other = small.ready(augment="strong", seed=1).training().run()
    assert digest(first.last) != digest(other.last)


@pytest.mark.filterwarnings("ignore:This DataLoader will create 4 worker processes")
@pytest.mark.parametrize("workers", [1, 4])
def test_the_number_of_loader_workers_changes_nothing(small: Setting, workers: int) -> None:
    alone = small.ready(augment="medium").training().run()
    helped = small.ready(augment="medium").training(execution=Execution(workers=workers)).run()
    assert digest(alone.last) == digest(helped.last)


def test_parts_of_a_batch_add_up(small: Setting) -> None:
    whole = small.ready(**EXACT).training().run()
    parts = small.ready(**EXACT).training(execution=Execution(micro=2)).run()
    for name, tensor in whole.last.items():
        torch.testing.assert_close(parts.last[name], tensor, atol=1e-4, rtol=1e-3)


def test_out_of_memory_halves_the_parts_and_keeps_the_batch(
    small: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = small.ready(**EXACT).training()
    own = run.objective.alone

    def scarce(network: Any, bare: Any, examples: Tensor, *about: Any) -> Any:
        if len(examples) > 2:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to")
        return own(network, bare, examples, *about)

    monkeypatch.setattr(run.objective, "alone", scarce)
    trained = run.run()
    assert run.micro == 1  # 6, 3, 1
    whole = small.ready(**EXACT).training().run()
    for name, tensor in whole.last.items():
        torch.testing.assert_close(trained.last[name], tensor, atol=1e-4, rtol=1e-3)


def test_a_loss_that_is_no_number_names_the_file_and_keeps_the_state(
    small: Setting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints = Checkpoints(tmp_path, "key")
    run = small.ready(steps=4, augment="none").training(checkpoints=checkpoints)
    own = run.objective.alone

    def poisoned(*about: Any) -> Iterator[Tensor]:
        for losses in own(*about):
            yield losses * torch.nan if run.step == 2 else losses

    monkeypatch.setattr(run.objective, "alone", poisoned)
    with pytest.raises(TrainingStopped, match=r"step 3 of 4, at .*png"):
        run.run()
    kept = checkpoints.latest()
    assert kept is not None
    assert kept.step == 2
    assert all(torch.isfinite(t).all() for t in kept.tensors.values() if t.is_floating_point())


def test_frozen_statistics_stay_and_free_ones_move(small: Setting) -> None:
    def statistics(run: Training) -> Tensor:
        return torch.cat([part.running_mean for part in batch_norms(run.model)]).clone()

    for norm, moves in {"frozen": False, "free": True}.items():
        run = small.ready(steps=2, norm=norm).training()
        before = statistics(run)
        run.run()
        assert torch.equal(before, statistics(run)) is not moves
    run = small.ready(norm="estimated").training()
    assert not torch.equal(before, statistics(run))


def test_time_that_is_over_ends_the_run(small: Setting) -> None:
    execution = Execution(until=time.monotonic() - 1)
    trained = small.ready(steps=50).training(execution=execution).run()
    assert trained.steps == 0


@pytest.mark.parametrize("norm", ["frozen", "free"])
def test_it_goes_on_exactly_where_a_checkpoint_left_it(
    small: Setting, tmp_path: Path, norm: str
) -> None:
    settings = {"steps": 6, "augment": "strong", "norm": norm}
    first = small.ready(**settings).training(held=small.held)
    whole = first.run()
    for stop in (1, 3, 5):
        folder = tmp_path / str(stop)
        folder.mkdir()
        run = small.ready(**settings).training(
            held=small.held, checkpoints=Checkpoints(folder, "key")
        )
        step = run._one_step

        def interrupted(batch: object, run: Training = run, stop: int = stop) -> None:
            if run.step == stop:
                signal.raise_signal(signal.SIGTERM)
            step(batch)  # type: ignore[arg-type]  # noqa: B023

        run._one_step = interrupted  # type: ignore[method-assign]
        with pytest.raises(KeyboardInterrupt):
            run.run()
        again = small.ready(**settings).training(
            held=small.held, checkpoints=Checkpoints(folder, "key")
        )
        trained = again.run()
        assert digest(trained.last) == digest(whole.last)
        assert digest(trained.average) == digest(whole.average)
        assert digest(again.model.state_dict()) == digest(first.model.state_dict())
        assert [p.loss for p in trained.curve] == [p.loss for p in whole.curve]


def test_a_run_in_another_thread_cannot_be_interrupted_but_works(small: Setting) -> None:
    found = []
    thread = threading.Thread(target=lambda: found.append(small.ready().training().run()))
    thread.start()
    thread.join()
    assert found[0].steps == 4


def test_nobody_elses_random_numbers_move(small: Setting) -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    np.random.seed(7)
    drawn = np.random.get_state()[1].copy()  # type: ignore[index, union-attr]
    small.ready("copy", steps=2).training().run()
    assert torch.equal(before, torch.random.get_rng_state())
    assert (drawn == np.random.get_state()[1]).all()  # type: ignore[index]


@pytest.mark.parametrize("norm", ["frozen", "free"])
def test_a_rehearsal_moves_nothing(small: Setting, norm: str) -> None:
    ready = small.ready(norm=norm)
    before = copied(ready.model.state_dict())
    pace = ready.pace()
    assert pace.step > 0
    after = ready.model.state_dict()
    assert not [name for name in before if not torch.equal(before[name], after[name])]
    assert all(p.grad is None for p in ready.model.parameters())


def test_looking_does_not_change_where_a_run_goes(small: Setting) -> None:
    alone = small.ready(steps=6, norm="free").training().run()
    watched = small.ready(steps=6, norm="free").training(held=small.held).run()
    assert digest(alone.last) == digest(watched.last)
    assert digest(alone.average) == digest(watched.average)
    assert alone.best is None
    assert watched.best is not None


def test_the_best_look_is_kept(small: Setting) -> None:
    run = small.ready(steps=8, rate=0.02, average=0.0).training(held=small.held, patience=None)
    trained = run.run()
    losses = [point.held_loss for point in trained.curve]
    assert trained.best is not None
    put(run.model, trained.best)
    assert small.held.score(run.model, run.device).loss == pytest.approx(min(losses), abs=1e-6)


def test_a_run_that_gets_no_better_ends(small: Setting) -> None:
    ready = small.ready(steps=40, rate=0.05, optimiser="sgd", shallow=0.02, frozen=0.0)
    ended = ready.training(held=small.held, patience=1).run()
    assert ended.steps < 40
    assert ended.curve[-1].average_loss > ended.curve[0].average_loss


def test_checkpoints_are_as_far_apart_as_is_asked(small: Setting, tmp_path: Path) -> None:
    def saves(seconds: float) -> int:
        run = small.ready(steps=4).training(
            checkpoints=Checkpoints(tmp_path, str(seconds)), execution=Execution(checkpoint=seconds)
        )
        saved: list[int] = []
        save = run.checkpoints.save
        run.checkpoints = SimpleNamespace(
            save=lambda one: (saved.append(one.step), save(one)),
            damaged=lambda: [],
            latest=lambda: None,
        )
        run.run()
        assert saved[-1] == 4
        return len(set(saved))

    assert saves(0.0) == 4
    assert saves(1e9) == 1


def test_time_that_is_over_later_leaves_a_run_to_go_on(small: Setting, tmp_path: Path) -> None:
    whole = small.ready(steps=5).training().run()
    run = small.ready(steps=5).training(checkpoints=Checkpoints(tmp_path, "key"))
    run._over = lambda: run.step == 2
    assert run.run().steps == 2
    again = small.ready(steps=5).training(checkpoints=Checkpoints(tmp_path, "key")).run()
    assert again.steps == 5
    assert digest(again.last) == digest(whole.last)
