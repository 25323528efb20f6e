"""Turns of training: Regraft's loop with a clock in it, and bare loops beside it. For steps.py."""

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from regraft.backbones.catalog import families
from regraft.backbones.resizing import RESIZE
from regraft.backbones.sources import source
from regraft.training.folding import folded
from regraft.training.loop import Training
from regraft.training.optimisers import optimiser
from regraft.training.start import parts_that_learn
from regraft.training.terms import Execution
from regraft.training.tuning import Ready

READY = 8  # batches that lie ready
WARM = 3  # steps at the beginning of a turn that are not counted

Batches = Sequence[tuple[Tensor, Tensor]]
Turn = Callable[[], float]


class Timed(Training):
    """Notes what a step takes, and how long it waited for its batch."""

    def __init__(self, *about: Any, **settings: Any) -> None:
        super().__init__(*about, **settings)
        self.step_s: list[float] = []
        self.waited: list[float] = []
        self.through: list[float] = []
        self._ended = 0.0

    def _one_step(self, batch: Any) -> None:
        start = time.perf_counter()
        super()._one_step(batch)  # ends with numbers on the CPU: the device has finished
        end = time.perf_counter()
        if self._ended:
            self.step_s.append(end - self._ended)
            self.waited.append(start - self._ended)
        self._ended = end

    def _backward(self, batch: Any) -> Tensor:
        start = time.perf_counter()
        losses = super()._backward(batch)
        finished(losses.device)
        self.through.append(time.perf_counter() - start)
        return losses


def finished(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def ours(run: Ready, workers: int) -> dict[str, float]:
    """One turn of Regraft's loop: median seconds of a step, and shares of the time."""
    parts = parts_that_learn(run.model, run.wanted, run.row, run.plan)
    how = Execution(workers)
    timed = Timed(run.model, parts, run.plan, run.material, execution=how, patience=None)
    timed.run()
    step, waited = timed.step_s[WARM - 1 :], timed.waited[WARM - 1 :]
    return {
        "step_s": median(step),
        "waiting": sum(waited) / sum(step),
        "forwards_and_backwards": sum(timed.through[WARM:]) / sum(step),
    }


def bare(model: nn.Module, groups: Sequence[Any], run: Ready, batches: Batches) -> float:
    """One turn of a bare loop: median seconds of a step."""
    device, plan, seconds = batches[0][0].device, run.plan, []
    stepping = optimiser(plan.optimiser, groups, rate=plan.rate, weight_decay=plan.weight_decay)
    for i in range(plan.steps):
        pixels, labels = batches[i % len(batches)]
        start = time.perf_counter()
        with torch.autocast(device.type, torch.bfloat16, enabled=plan.precision == "bfloat16"):
            logits = model(pixels)
        nn.functional.cross_entropy(logits.float(), labels, label_smoothing=0.1).backward()
        stepping.step()
        stepping.zero_grad(set_to_none=True)
        finished(device)
        seconds.append(time.perf_counter() - start)
    return median(seconds[WARM:])


def bare_turns(run: Ready, classes: int) -> dict[str, Turn]:
    """The bare loops by name."""
    device = next(run.model.parameters()).device
    raw = ready_batches(run, classes, device)
    with torch.no_grad():
        floats = [(run.model.network.normalise(pixels), labels) for pixels, labels in raw]
    plain = plain_network(run, classes, device)
    parts = parts_that_learn(run.model, run.wanted, run.row, run.plan)
    groups = [{"params": p.parameters, "rate_factor": p.rate_factor} for p in parts]
    own = [{"params": list(plain.parameters())}]
    return {
        "bare": turn(run.model, groups, run, raw, fold=True),
        "bare, not folded": turn(run.model, groups, run, raw, fold=False),
        "plain": turn(plain, own, run, floats, fold=True),
        "plain, not folded": turn(plain, own, run, floats, fold=False),
    }


def turn(model: nn.Module, groups: Any, run: Ready, batches: Batches, *, fold: bool) -> Turn:
    def work() -> float:
        model.eval()
        with folded(model, batches[0][0][:1]) if fold else nullcontext():
            return bare(model, groups, run, batches)

    return work


def ready_batches(run: Ready, classes: int, device: torch.device) -> Batches:
    """Pixels as the network takes them, and labels, on the device."""
    size, batch = run.plan.size, run.plan.batch
    generator = torch.Generator().manual_seed(0)
    shape, labels = (batch, size, size, 3), torch.arange(batch) % classes
    made = (
        torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator) for _ in range(READY)
    )
    return [(pixels.to(device), labels.to(device)) for pixels in made]


def plain_network(run: Ready, classes: int, device: torch.device) -> nn.Module:
    """The library's own, with a classifier of so many classes, without Regraft's hooks."""
    row = run.row
    module: Any = source(row.source).build(row)
    RESIZE[families()[row.family].resize](module, row.spec.size, run.plan.size)
    module.load_state_dict(run.model.network.module.state_dict())
    module.reset_classifier(classes)
    made: nn.Module = module.eval().requires_grad_(True)
    return made.to(device, memory_format=torch.channels_last)
