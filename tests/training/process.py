"""One of several processes that torchrun has started: carries out some runs, one after the other.

    torchrun --nproc-per-node 2 process.py EXAMPLES NETWORK OUT

What each run ends with lies in OUT: CASE-RANK.safetensors, or CASE-RANK.txt with its error.
"""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from conftest import Setting, setting_of
from safetensors.torch import save_file
from torch import Tensor

from regraft.backbones.catalog import find
from regraft.training.checkpoints import Checkpoints
from regraft.training.loop import Training
from regraft.training.terms import Execution, Trained

RANK = int(os.environ.get("RANK", "0"))

# Adam makes much of the smallest gradients, and so of rounding.
PLAIN: dict[str, Any] = {"steps": 3, "augment": "none", "optimiser": "sgd", "rate": 0.01}


def run_of(
    setting: Setting, name: str = "lp-ft", plan: Mapping[str, Any] = {}, **more: Any
) -> Training:
    run: Training = setting.ready(name, **PLAIN, **plan).training(held=setting.held, **more)
    return run


def plain(setting: Setting, folder: Path) -> Training:
    return run_of(setting)


def odd_batch(setting: Setting, folder: Path) -> Training:
    return run_of(setting, plan={"batch": 5})


def in_parts(setting: Setting, folder: Path) -> Training:
    return run_of(setting, execution=Execution(micro=2))


def thawing(setting: Setting, folder: Path) -> Training:
    return run_of(setting, "gradual", {"schedule": "constant"})


def plateau(setting: Setting, folder: Path) -> Training:
    """With nothing held back, the schedule follows the training loss."""
    run: Training = setting.ready(
        **{**PLAIN, "steps": 8, "schedule": "plateau:patience=1,by=0.1", "rate": 1.0}
    ).training()
    return run


def late(setting: Setting, folder: Path) -> Training:
    """The clock of one process is ahead."""
    return run_of(setting, execution=Execution(until=time.monotonic() + (-1 if RANK else 1000)))


def resumed(setting: Setting, folder: Path) -> Training:
    """One process is asked to stop; both do, and go on together."""
    run = run_of(setting, checkpoints=Checkpoints(folder, "key"))
    step = run._one_step

    def interrupted(batch: Any) -> None:
        step(batch)
        if RANK == 1 and run.step == 0:
            signal.raise_signal(signal.SIGTERM)

    run._one_step = interrupted  # type: ignore[method-assign]
    try:
        run.run()
    except KeyboardInterrupt:
        assert run.step == 1
    else:
        raise AssertionError("it was not interrupted")
    torch.distributed.barrier()
    return run_of(setting, checkpoints=Checkpoints(folder, "key"))


def poisoned(setting: Setting, folder: Path) -> Training:
    """The loss of one process is no number."""
    run = run_of(setting)
    own = run.objective.alone

    def alone(*about: Any) -> Iterator[Tensor]:
        for losses in own(*about):
            yield losses * (torch.nan if RANK == 1 and run.step == 1 else 1)

    run.objective.alone = alone  # type: ignore[method-assign]
    return run


def too_few(setting: Setting, folder: Path) -> Training:
    return run_of(setting, plan={"batch": 1})


CASES: list[Callable[[Setting, Path], Training]] = [
    *(plain, odd_batch, in_parts, thawing, plateau, late, resumed, poisoned, too_few)
]


def main(examples: Path, network: str, out: Path) -> None:
    setting = setting_of(examples, find(network))
    for case in CASES:
        mine = out / f"{case.__name__}-{RANK}"
        try:
            save_file(ended(case(setting, out).run()), mine.with_suffix(".safetensors"))
        except Exception as error:
            mine.with_suffix(".txt").write_text(f"{type(error).__name__}: {error}")


def ended(trained: Trained) -> dict[str, Tensor]:
    """Weights, steps, and the losses of the curve."""
    numbers = {
        "steps": torch.tensor(trained.steps),
        "losses": torch.tensor([point.loss for point in trained.curve]),
    }
    return numbers | {name: t.contiguous() for name, t in trained.last.items()}


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
