"""The loop: it learns, moves only what may move, repeats exactly, and stops in plain words."""

import hashlib
import signal
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from regraft.errors import TrainingStopped
from regraft.training.checkpoints import Checkpoints
from regraft.training.loop import Training
from regraft.training.norms import batch_norms
from regraft.training.terms import Execution

Setting = Any  # of conftest.py

# Adam makes much of the smallest gradients, and so of rounding.
EXACT = {"steps": 2, "augment": "none", "optimiser": "sgd"}


def digest(state: Mapping[str, Tensor] | None) -> str:
    assert state is not None
    parts = [name.encode() + t.numpy().tobytes() for name, t in sorted(state.items())]
    return hashlib.sha256(b"".join(parts)).hexdigest()


def test_it_learns(setting: Setting) -> None:
    run = setting.ready("copy", steps=30, rate=2e-3, norm="frozen", augment="none").training(
        held=setting.held
    )
    trained = run.run()
    assert trained.steps == 30
    assert trained.curve[-1].loss < 0.5 * trained.curve[0].loss
    assert trained.curve[-1].held_accuracy is not None


def test_the_same_plan_gives_the_same_weights(setting: Setting) -> None:
    first, second = (setting.ready(augment="strong").training().run() for _ in range(2))
    assert digest(first.last) == digest(second.last)
    assert digest(first.average) == digest(second.average)
    other = setting.ready(augment="strong", seed=1).training().run()
    assert digest(first.last) != digest(other.last)


@pytest.mark.parametrize("workers", [1, 4])
def test_the_number_of_loader_workers_changes_nothing(setting: Setting, workers: int) -> None:
    alone = setting.ready(augment="medium").training().run()
    helped = setting.ready(augment="medium").training(execution=Execution(workers=workers)).run()
    assert digest(alone.last) == digest(helped.last)


def test_parts_of_a_batch_add_up(setting: Setting) -> None:
    whole = setting.ready(**EXACT).training().run()
    parts = setting.ready(**EXACT).training(execution=Execution(micro=2)).run()
    for name, tensor in whole.last.items():
        torch.testing.assert_close(parts.last[name], tensor, atol=1e-4, rtol=1e-3)


def test_out_of_memory_halves_the_parts_and_keeps_the_batch(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = setting.ready(**EXACT).training()
    own = run.loss

    def scarce(outputs: Tensor, targets: Tensor) -> Tensor:
        if len(outputs) > 2:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to")
        return own(outputs, targets)

    monkeypatch.setattr(run, "loss", scarce)
    trained = run.run()
    assert run.micro == 1  # 6, 3, 1
    whole = setting.ready(**EXACT).training().run()
    for name, tensor in whole.last.items():
        torch.testing.assert_close(trained.last[name], tensor, atol=1e-4, rtol=1e-3)


def test_a_loss_that_is_no_number_names_the_file_and_keeps_the_state(
    setting: Setting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints = Checkpoints(tmp_path, "key")
    run = setting.ready(steps=4, augment="none").training(checkpoints=checkpoints)
    own = run.loss

    def poisoned(outputs: Tensor, targets: Tensor) -> Tensor:
        losses = own(outputs, targets)
        return losses * torch.nan if run.step == 2 else losses

    monkeypatch.setattr(run, "loss", poisoned)
    with pytest.raises(TrainingStopped, match=r"step 3 of 4, at .*png"):
        run.run()
    kept = checkpoints.latest()
    assert kept is not None
    assert kept.step == 2
    assert all(torch.isfinite(t).all() for t in kept.tensors.values() if t.is_floating_point())


def test_frozen_statistics_stay_and_free_ones_move(setting: Setting) -> None:
    def statistics(run: Training) -> Tensor:
        return torch.cat([part.running_mean for part in batch_norms(run.model)]).clone()

    for norm, moves in {"frozen": False, "free": True}.items():
        run = setting.ready(steps=2, norm=norm).training()
        before = statistics(run)
        run.run()
        assert torch.equal(before, statistics(run)) is not moves
    run = setting.ready(norm="estimated").training()
    assert not torch.equal(before, statistics(run))


def test_time_that_is_over_ends_the_run(setting: Setting) -> None:
    execution = Execution(until=time.monotonic() - 1)
    trained = setting.ready(steps=50).training(execution=execution).run()
    assert trained.steps == 0


def test_it_goes_on_exactly_where_a_checkpoint_left_it(setting: Setting, tmp_path: Path) -> None:
    whole = setting.ready(steps=6, augment="strong").training(held=setting.held).run()
    for stop in (1, 3, 5):
        folder = tmp_path / str(stop)
        folder.mkdir()
        run = setting.ready(steps=6, augment="strong").training(
            held=setting.held, checkpoints=Checkpoints(folder, "key")
        )
        step = run._one_step

        def interrupted(batch: object, run: Training = run, stop: int = stop) -> None:
            if run.step == stop:
                signal.raise_signal(signal.SIGTERM)
            step(batch)  # type: ignore[arg-type]  # noqa: B023

        run._one_step = interrupted  # type: ignore[method-assign]
        with pytest.raises(KeyboardInterrupt):
            run.run()
        again = setting.ready(steps=6, augment="strong").training(
            held=setting.held, checkpoints=Checkpoints(folder, "key")
        )
        trained = again.run()
        assert digest(trained.last) == digest(whole.last)
        assert digest(trained.average) == digest(whole.average)
        assert [p.loss for p in trained.curve] == [p.loss for p in whole.curve]


def test_a_run_in_another_thread_cannot_be_interrupted_but_works(setting: Setting) -> None:
    found = []
    thread = threading.Thread(target=lambda: found.append(setting.ready().training().run()))
    thread.start()
    thread.join()
    assert found[0].steps == 4


def test_nobody_elses_random_numbers_move(setting: Setting) -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    np.random.seed(7)
    drawn = np.random.get_state()[1].copy()  # type: ignore[index, union-attr]
    setting.ready("copy", steps=2).training().run()
    assert torch.equal(before, torch.random.get_rng_state())
    assert (drawn == np.random.get_state()[1]).all()  # type: ignore[index]
