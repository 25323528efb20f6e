"""The queue before the models: bounded, with deadlines, worked off by as many threads as lanes.

    queue.ask(served, examples, top, seconds) → answers

A worker takes what waits longest, and with it more for the same model where that answers several
at once. What nobody waits for any more (its deadline passed, its client left) is not computed.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import ceil

from regraft.serve.answering import Answer, Answering, Served

MEMORY_OF_PACE = 0.9  # how much of the pace before stays in that of now
SOONEST, LATEST = 1, 60  # seconds after which a client is asked to try again


class Overloaded(Exception):
    """The queue is full, or an answer was not ready in time."""

    def __init__(self, reason: str, retry_after: int) -> None:
        self.retry_after = retry_after
        super().__init__(reason)


@dataclass(eq=False)
class _Job:
    """One example that waits for its answer."""

    served: Served
    example: bytes
    top: int
    loop: asyncio.AbstractEventLoop
    done: "asyncio.Future[tuple[Answer, Answering]]"
    asked: float = field(default_factory=time.monotonic)


@dataclass(frozen=True)
class Told:
    """What is told of one call to a model, for the metrics."""

    served: Served
    examples: int
    waited: float  # seconds that the first of them did
    seconds: float


class Queue:
    """Examples that wait, and the threads that answer them.

    workers  how many
    most     examples that may wait; more are refused
    tell     called after each call to a model, from a worker
    """

    def __init__(
        self, workers: int, most: int, tell: Callable[[Told], None] = lambda told: None
    ) -> None:
        self.most, self._tell = most, tell
        self._waiting: deque[_Job] = deque()
        self._turn = threading.Condition()
        self._closed = False
        self._pace = 0.05  # seconds an example
        self._threads = [
            threading.Thread(target=self._work, name=f"answers-{i}", daemon=True)
            for i in range(workers)
        ]
        for thread in self._threads:
            thread.start()

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def retry_after(self) -> int:
        """Seconds in which what waits now will probably have been answered."""
        seconds = len(self._waiting) * self._pace / len(self._threads)
        return min(LATEST, max(SOONEST, ceil(seconds)))

    def room(self, examples: int = 1) -> None:
        """Raises Overloaded where so many more may not wait."""
        if len(self._waiting) + examples > self.most:
            raise Overloaded(f"{len(self._waiting)} examples wait already", self.retry_after)

    async def ask(
        self, served: Served, examples: Sequence[bytes], top: int, seconds: float
    ) -> list[tuple[Answer, Answering]]:
        """Answers in the order of the examples, each with the model that gave it.

        Raises Overloaded where the queue is full or the answers are not there within the time.
        What a model raises goes through.
        """
        loop = asyncio.get_running_loop()
        jobs = [_Job(served, one, top, loop, loop.create_future()) for one in examples]
        with self._turn:
            self.room(len(jobs))
            self._waiting.extend(jobs)
            self._turn.notify(len(jobs))
        try:
            async with asyncio.timeout(seconds):
                return [await job.done for job in jobs]
        except TimeoutError:
            reason = f"the answer was not ready within {seconds:g} s"
            raise Overloaded(reason, self.retry_after) from None
        finally:  # a client that left as well: then nobody waits for the rest
            for job in jobs:
                job.done.cancel()

    def close(self) -> None:
        """Answer what waits, then end the threads."""
        with self._turn:
            self._closed = True
            self._turn.notify_all()
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while jobs := self._next():
            start = time.monotonic()
            served, now = jobs[0].served, jobs[0].served.now
            try:
                answers = now.answer([job.example for job in jobs], max(job.top for job in jobs))
            except Exception as error:  # whatever it is, somebody waits for a word
                for job in jobs:
                    job.loop.call_soon_threadsafe(_fail, job, error)
                continue
            for job, answer in zip(jobs, answers, strict=True):
                job.loop.call_soon_threadsafe(_give, job, (answer, now))
            seconds = time.monotonic() - start
            self._pace += (1 - MEMORY_OF_PACE) * (seconds / len(jobs) - self._pace)
            self._tell(Told(served, len(jobs), start - jobs[0].asked, seconds))

    def _next(self) -> list[_Job]:
        """What is to be answered in one call; nothing when the queue is closed and empty."""
        with self._turn:
            while True:
                while self._waiting and self._waiting[0].done.cancelled():
                    self._waiting.popleft()
                if self._waiting:
                    return self._together()
                if self._closed:
                    return []
                self._turn.wait()

    def _together(self) -> list[_Job]:
        first = self._waiting.popleft()
        jobs, most = [first], first.served.now.together
        while self._waiting and len(jobs) < most and self._waiting[0].served is first.served:
            if not (job := self._waiting.popleft()).done.cancelled():
                jobs.append(job)
        return jobs


def _give(job: _Job, answer: tuple[Answer, Answering]) -> None:
    if not job.done.done():
        job.done.set_result(answer)


def _fail(job: _Job, error: Exception) -> None:
    if not job.done.done():
        job.done.set_exception(error)
