"""The loop: plain PyTorch in small named steps, on Fabric for device, precision and processes.

    trained = Training(model, groups, plan, examples, targets, held, ...).run()

One function for one CPU, one GPU and several processes under torchrun. Everything random is drawn
from (seed, step) or (seed, epoch, example): what a step does depends on its number and on the
state before it, and so a run goes on exactly where a checkpoint left it.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from regraft.errors import TrainingStopped, UsageError
from regraft.progress import Progress, Quiet
from regraft.training.averaging import Average, State, copied, moving, put
from regraft.training.checkpoints import Checkpoints
from regraft.training.devices import begin_cost, fabric_for, largest, total
from regraft.training.examples import Batch, Steps, loader
from regraft.training.folding import folded
from regraft.training.interrupts import Interrupts
from regraft.training.judging import Held, Score
from regraft.training.logs import Log
from regraft.training.memory import kept_memory
from regraft.training.norms import free
from regraft.training.objectives import Classes
from regraft.training.optimisers import optimiser, set_rate
from regraft.training.pieces import Backwards
from regraft.training.plan import Plan
from regraft.training.resuming import checkpoint_of, go_on
from regraft.training.schedules import schedule
from regraft.training.signs import Point, before_training, during_training
from regraft.training.terms import Execution, Material, Part, Trained

if TYPE_CHECKING:
    from lightning_fabric import Fabric

LOOKS = 12  # at most, in a run
PATIENCE = 4  # looks without a lower held-back loss of the averaged weights: the run ends
OUT_OF_MEMORY = ("out of memory", "can't allocate memory")
NAMED = 8  # files that one message names


class Training:
    """One run of a plan. Its methods stand below in the order in which they are called."""

    def __init__(
        self,
        model: nn.Module,
        parts: Sequence[Part],
        plan: Plan,
        material: Material,
        *,
        held: Held | None = None,
        execution: Execution | None = None,
        checkpoints: Checkpoints | None = None,
        logs: Sequence[Log] = (),
        patience: int | None = PATIENCE,
        looks: int = LOOKS,
        fabric: "Fabric | None" = None,
        progress: Progress | None = None,
    ) -> None:
        """parts     of the model that learn; nothing else moves
        patience  looks without a lower held-back loss after which the run ends; None: never
        looks     at the held-back examples, at most
        """
        self.patience, self.looks = patience, looks
        self.plan, self.material, self.held = plan, material, held
        self.execution, self.checkpoints = execution or Execution(), checkpoints
        self.logs, self.progress = logs, progress or Quiet()
        self.fabric = fabric or fabric_for(plan.precision)
        if plan.batch < self.fabric.world_size:
            raise UsageError(
                f"batch: {plan.batch} is less than one example for each of "
                f"{self.fabric.world_size} processes"
            )
        self.device = self.fabric.device
        self.model = model
        self.learning = frozenset(n for n, p in model.named_parameters() if p.requires_grad)
        self.parts = parts
        made = optimiser(
            plan.optimiser,
            [{"params": part.parameters, "rate_factor": part.rate_factor} for part in parts],
            rate=plan.rate,
            weight_decay=plan.weight_decay,
        )
        forward: Any = torch.compile(model) if self.execution.compiled else model
        self.network, self.optimiser = self.fabric.setup(forward, made)
        self.schedule = schedule(plan.schedule, plan.steps, warmup=plan.warmup)
        self.objective = material.objective or Classes(plan, material)
        self.micro = self.execution.micro or plan.batch
        self.average = self._new_average()
        self.best: tuple[float, State] | None = None
        self.curve: list[Point] = []
        self.warnings = list(before_training(plan, len(material.labels)))
        self.step, self.seconds, self.losses = 0, 0.0, [0.0, 0.0]
        self.start: Score | None = None

    def _new_average(self) -> Average | None:
        if not self.plan.average or not self.plan.steps:
            return None
        memory = max(1.0, self.plan.average * self.plan.steps)
        return Average(self.moving, 1 - 1 / (1 + memory))

    @cached_property
    def moving(self) -> State:
        """What moves, as it is now: the same tensors from step to step."""
        return moving(self.model, self.learning)

    def run(self) -> Trained:
        """Train to the last step, or until the time is over.

        Raises TrainingStopped where a loss is no number, naming the files; KeyboardInterrupt after
        a checkpoint, where the user or the system ends it.
        """
        self._resume()
        with (
            kept_memory(),
            self._folded(),
            Interrupts() as interrupts,
            self.progress.stage(f"training ({self.plan.strategy})", self.plan.steps) as advance,
        ):
            advance(self.step)
            if self.start is None:
                self.start = self._score()
            clock, saved = time.monotonic(), time.monotonic()
            for batch in self.batches(range(self.step, self.plan.steps), self.plan.seed):
                if self._stops(interrupts):
                    break
                with self._named(batch):
                    self._one_step(batch)
                self.step += 1
                self.seconds += time.monotonic() - clock
                advance(1)
                if self._is_look():
                    self._look()
                if time.monotonic() - saved > self.execution.checkpoint:
                    self.save()
                    saved = time.monotonic()
                clock = time.monotonic()
            if interrupts.asked or self.checkpoints:
                self.save()
            interrupts.obey()
        return self._trained()

    @contextmanager
    def _folded(self) -> Iterator[None]:
        """With frozen statistics, BatchNorm folded into the convolutions."""
        if self.plan.norm == "free" or not self.execution.folds:
            yield
            return
        self.model.eval()
        with folded(self.model, self.material.examples.blank().to(self.device)):
            yield

    # --- one step --------------------------------------------------------------------------------

    def batches(self, steps: range, seed: int) -> Iterator[Batch]:
        """Of each step what this process learns from."""
        labels, share = self.material.labels, (self.fabric.global_rank, self.fabric.world_size)
        turns = Steps(labels, self.plan.batch, steps, seed, self.plan.sampling, share)
        yield from loader(self.material.examples, turns, self.execution.workers)

    def _one_step(self, batch: Batch) -> None:
        self._set_mode()
        set_rate(self.optimiser, self.plan.rate * self.schedule.factor(self.step))
        for losses in self._backward(batch):
            self._refuse_no_number(losses, batch)
            self._refuse_no_number(self._clipped(), batch)
            self._move()
        if self.average is not None:
            self.average.take(self.moving)
        self.losses[0] += total(self.fabric, losses.sum())
        self.losses[1] += self.plan.batch

    def _move(self) -> None:
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)

    def step_at(self, rate: float, batch: Batch) -> float:
        """One step at a rate, whatever the schedule says; the mean loss before it."""
        self._set_mode()
        set_rate(self.optimiser, rate)
        found = []
        for losses in self._backward(batch):
            found.append(float(losses.mean()))
            self._clipped()
            self._move()
        return found[0]

    def rehearse(self, batch: Batch) -> None:
        """A step forwards and backwards that no parameter moves by."""
        self._set_mode()
        for _ in self._backward(batch):
            self.optimiser.zero_grad(set_to_none=True)

    @contextmanager
    def rehearsing(self) -> Iterator[None]:
        """While it is entered, steps take the time that they take in `run`; all is put back."""
        start = copied(self.moving | dict(self.model.named_buffers()))
        try:
            with kept_memory(), self._folded():
                yield
        finally:
            put(self.model, start)

    def _set_mode(self) -> None:
        """Evaluation mode but for what the plan lets free; groups that have thawed learn."""
        self.model.train(self.plan.norm == "free")
        if self.plan.norm == "free":
            free(self.model)
        for part in self.parts:
            for parameter in part.parameters:
                parameter.requires_grad_(self.step >= part.from_step)

    def _backward(self, batch: Batch) -> Iterator[Tensor]:
        """(n,) losses of a batch, gradients added over its parts, as often as weights move."""
        # The mean over the whole batch: the mean of gradients is taken over processes.
        share = self.fabric.world_size / self.plan.batch
        about = (self.network, self.objective, self._alone, self.fabric)
        backwards = Backwards(*about, self._random, share)
        while True:
            try:
                pixels, targets = self._on_device(batch)
                cut = self.material.examples.cut
                pieces = cut(pixels, self.micro, begin_cost(self.device))
                yield from backwards.losses(pieces, targets)
                return
            except RuntimeError as error:
                if self.micro < 2 or not any(t in str(error).lower() for t in OUT_OF_MEMORY):
                    raise
                self.optimiser.zero_grad(set_to_none=True)
                self.micro = max(1, self.micro // 2)
                self.progress.say(
                    f"out of memory: {self.micro} examples at once from now on; a step still "
                    f"learns from {self.plan.batch}"
                )

    def _alone(self, examples: Tensor, targets: Any) -> Iterator[Tensor]:
        """(n,) losses of examples, each by itself."""
        asked = (self.network, self.model, examples, targets)
        return self.objective.alone(*asked, self.step / self.plan.steps)

    def _on_device(self, batch: Batch) -> tuple[Tensor, Any]:
        """Pixels and targets."""
        rng = np.random.default_rng([self.plan.seed, self.step, self.fabric.global_rank, 4])
        return self.objective.targets(batch, self.device, rng)

    @contextmanager
    def _random(self, part: int) -> Iterator[None]:
        """Dropout and the like draw from (seed, step); nobody else's generator moves."""
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices):
            numbers = [self.plan.seed, self.step, part, self.fabric.global_rank]
            torch.manual_seed(int(np.random.SeedSequence(numbers).generate_state(1)[0]))
            yield

    def _clipped(self) -> Tensor:
        """The norm of the gradient, before it is clipped."""
        limit = self.plan.clip or float("inf")
        parameters = [p for g in self.optimiser.param_groups for p in g["params"]]
        norm = torch.nn.utils.clip_grad_norm_(parameters, limit, error_if_nonfinite=False)
        return norm.detach().reshape(1)

    def _refuse_no_number(self, values: Tensor, batch: Batch) -> None:
        if bool(torch.isfinite(values).all()):
            return
        bad = ~torch.isfinite(values)
        places = batch.places[bad.cpu()] if len(values) == len(batch.places) else batch.places
        files = [self.material.examples.files[int(i)] for i in places[:NAMED]]
        more = f" and {len(places) - NAMED} more" if len(places) > NAMED else ""
        raise TrainingStopped(
            f"{self.plan.strategy}: the loss is no number any more at step {self.step + 1} of "
            f"{self.plan.steps}, at {', '.join(files)}{more}; the weights of the step before are "
            f"kept. Lower the rate ({self.plan.rate:g}), or look at these files"
        )

    @contextmanager
    def _named(self, batch: Batch) -> Iterator[None]:
        """The state before a step that failed is saved: the step itself changed nothing."""
        try:
            yield
        except TrainingStopped:
            self.optimiser.zero_grad(set_to_none=True)
            if self.checkpoints:
                self.save()
            raise

    # --- looks -----------------------------------------------------------------------------------

    def _is_look(self) -> bool:
        every = max(1, -(-self.plan.steps // self._looks()))
        return self.step % every == 0 or self.step == self.plan.steps

    def _looks(self) -> int:
        epochs = self.plan.steps * self.plan.batch / max(1, len(self.material.labels))
        return int(np.clip(round(epochs), 2, self.looks))

    def _score(self, state: State | None = None) -> Score | None:
        if self.held is None:
            return None
        if state is None:
            return self.held.score(self.model, self.device)
        own = copied(self.moving)
        put(self.model, state)
        try:
            return self.held.score(self.model, self.device)
        finally:
            put(self.model, own)

    def _look(self) -> None:
        """Note where the run is; does not change where it goes, but for its early end."""
        now, mean = self._score(), self._score(self.average.state) if self.average else None
        loss = self.losses[0] / max(self.losses[1], 1)
        self.losses = [0.0, 0]
        self.curve.append(
            Point(
                step=self.step,
                epoch=self.step * self.plan.batch / len(self.material.labels),
                seconds=self.seconds,
                loss=loss,
                rate=self.plan.rate * self.schedule.factor(max(0, self.step - 1)),
                held_loss=now and now.loss,
                held_accuracy=now and now.accuracy,
                average_loss=mean and mean.loss,
                average_accuracy=mean and mean.accuracy,
            )
        )
        for log in self.logs if self.fabric.global_rank == 0 else ():
            log(self.curve[-1])
        chosen = mean or now
        self.schedule.tell(loss if chosen is None else chosen.loss)
        if chosen is not None and (self.best is None or chosen.loss < self.best[0]):
            source = self.average.state if self.average else self.moving
            self.best = (chosen.loss, copied(source))
        self._warn()

    def _warn(self) -> None:
        majority = 1.0 if self.held is None else self.held.majority
        found = during_training(self.curve, majority, self.start and self.start.loss)
        for warning in found:
            kind = warning.split(":")[0]
            if not any(known.startswith(kind) for known in self.warnings):
                self.warnings.append(warning)
                self.progress.say(warning)

    def _has_ended(self) -> bool:
        """No look of the last few had a lower held-back loss than those before."""
        if self.held is None or self.patience is None or len(self.curve) <= self.patience:
            return False
        losses = [p.held_loss if p.average_loss is None else p.average_loss for p in self.curve]
        known = [loss for loss in losses if loss is not None]
        return min(known[-self.patience :]) > min(known[: -self.patience])

    def save(self) -> None:
        """Put the whole state into a checkpoint, if there is a place for it."""
        if self.checkpoints is not None and self.fabric.global_rank == 0:
            self.checkpoints.save(checkpoint_of(self))

    def _resume(self) -> None:
        """Go on from the latest checkpoint, if there is one."""
        if self.checkpoints is None:
            return
        for path in self.checkpoints.damaged():
            self.progress.say(f"{path} is damaged and not used; the one before it is")
        if (found := self.checkpoints.latest()) is not None:
            go_on(self, found)
            self.progress.say(f"{self.plan.strategy}: goes on after step {self.step:,}")

    def _stops(self, interrupts: Interrupts) -> bool:
        """Whether no step begins any more; all processes end after the same one."""
        own = int(self._over() or self._has_ended()), interrupts.asked or 0
        over, asked = largest(self.fabric, *own)
        if asked:
            interrupts.asked = asked
        return bool(over or asked)

    def _over(self) -> bool:
        until = self.execution.until
        return until is not None and time.monotonic() >= until

    def _trained(self) -> Trained:
        return Trained(
            last=copied(self.moving),
            average=copied(self.average.state) if self.average else None,
            best=self.best[1] if self.best else None,
            curve=self.curve,
            steps=self.step,
            seconds=self.seconds,
            warnings=self.warnings,
        )
