"""What the tests of training share: a small lesson, and one real run on it."""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from regraft.backbones.catalog import DEFAULT
from regraft.verbs.fit import fit_and_report
from regraft.verbs.fitted import Fitted

Settings = dict[str, Any]


class Run(NamedTuple):
    """A fit that trained.

    ends    digests of all that each training ended with: weights of every kind, and its losses
    folder  of its log
    """

    fitted: Fitted
    ends: Sequence[str]
    folder: Path

    @property
    def told(self) -> dict[str, Any]:
        """What the report tells of the training."""
        (one,) = self.fitted.report.record["training"]
        return dict(one)


@contextmanager
def one_thread() -> Iterator[None]:
    """Numbers depend on the number of threads, and beside other processes many threads crawl."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def digest(trained: Any) -> str:
    whole = hashlib.sha256()
    for state in (trained.last, trained.average, trained.best):
        for name, tensor in sorted((state or {}).items()):
            whole.update(name.encode() + tensor.contiguous().numpy().tobytes())
    for point in trained.curve:
        whole.update(json.dumps([point.step, point.loss, point.held_loss]).encode())
    return whole.hexdigest()


def trained_run(source: Any, folder: Path, **settings: Any) -> Run:
    """A fit whose training is watched."""
    from regraft.training.loop import Training

    ends: list[str] = []
    run = Training.run

    def watched(self: Training) -> Any:
        trained = run(self)
        ends.append(digest(trained))
        return trained

    with one_thread(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(Training, "run", watched)
        return Run(fit_and_report(source, run=folder, **settings), ends, folder)


@contextmanager
def interrupted_at(step: int) -> Iterator[None]:
    """What is run in it trains until that step, keeps what it has and is interrupted."""
    from regraft.training.loop import Training

    steps = 0
    one_step = Training._one_step

    def cut(self: Training, batch: Any) -> None:
        nonlocal steps
        steps += 1
        if steps == step:
            self.save()
            raise KeyboardInterrupt
        one_step(self, batch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Training, "_one_step", cut)
        with pytest.raises(KeyboardInterrupt):
            yield


@pytest.fixture(scope="session")
def cut_off_at() -> Callable[[int], AbstractContextManager[None]]:
    """See `interrupted_at`."""
    return interrupted_at


@pytest.fixture(scope="session")
def train() -> Callable[..., Run]:
    """(source, folder, **settings) → a fit that trained."""
    return trained_run


@pytest.fixture(scope="session")
def short() -> Settings:
    """A training that takes a second."""
    network = {"backbone": DEFAULT, "size": 32, "engine": "torch", "resamples": 100}
    return {**network, "strategy": "lp-ft", "steps": 6}


@pytest.fixture(scope="session")
def lesson(write_photos: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """14 pictures of each kind to learn from, 5 to measure on."""
    folder, kinds = tmp_path_factory.mktemp("lesson"), ("disc", "square", "stripes")
    write_photos(folder / "train", {kind: range(14) for kind in kinds})
    return write_photos(folder / "test", {kind: range(50, 55) for kind in kinds}).parent


@pytest.fixture(scope="session")
def tuned(lesson: Path, short: Settings, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """What six steps of lp-ft make of the lesson: no more than the probe knew."""
    return trained_run(lesson, tmp_path_factory.mktemp("run"), **short)


@pytest.fixture(scope="session")
def kept(
    lesson: Path, short: Settings, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[float], Run]:
    """The share of a tuned network → a run in which the guard says so, made once for each share.

    The textbook's strategy, since its weights are never those that it began with.
    """
    from regraft.verbs import climb
    from regraft.verbs.choosing import Mix, mixed_answer

    made: dict[float, Run] = {}

    def said(share: float, tuned: Any, probe: Any, labels: Any, most: float, target: Any) -> Mix:
        temperature = mixed_answer(tuned, probe, labels).temperature
        scores = share * tuned / temperature + (1 - share) * probe
        return Mix(share, temperature, np.asarray(scores), "better than the probe: by order")

    def run(share: float) -> Run:
        if share not in made:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(climb, "mixed_answer", lambda *about: said(share, *about))
                folder = tmp_path_factory.mktemp("kept")
                made[share] = trained_run(lesson, folder, **{**short, "strategy": "copy"})
        return made[share]

    return run
