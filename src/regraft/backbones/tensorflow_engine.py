"""Graphs of TensorFlow as an engine: they run in a process of their own, without PyTorch.

One example at a time in each lane, like the other engines: what an example gives depends on nothing
beside it.
"""

import json
import os
import queue
import socket
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import IO

import numpy as np

from regraft.backbones.parity import Vector
from regraft.backbones.readers import Example, reader
from regraft.backbones.runtimes import OneByOne, lanes
from regraft.errors import BackboneError
from regraft.modalities.spec import InputSpec

PROGRAM = "regraft.backbones.tensorflow_lanes"
PATIENCE = 10.0  # seconds in which the process ends by itself


class TensorFlowEngine(OneByOne):
    """TensorFlow on the CPU.

    graph    a GraphDef with the input ``examples`` and the output ``features``
    threads  that it may use for an example; None: one, and as many lanes as there are cores

    Raises BackboneError where the graph is refused or cannot be opened.
    """

    name = "tensorflow"

    def __init__(self, graph: Path, spec: InputSpec, threads: int | None = None) -> None:
        self.lanes = 1 if threads else lanes()
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  as long as the process
        process, ends = _started(graph, threads or 1, self.lanes, self._errors)
        self._end = weakref.finalize(self, _ended, process, ends)
        self._free: queue.SimpleQueue[Connection] = queue.SimpleQueue()
        for lane in ends:
            if reason := self._answer(lane).decode():
                raise BackboneError(f"{graph}: {reason}")
            self._free.put(lane)
        self.run(reader(spec).sample(spec, 0))  # the first call is slow: it is made here

    def run(self, example: Example) -> Vector:
        lane = self._free.get()
        try:
            answer = self._asked(lane, np.ascontiguousarray(example[None]))
        except BaseException:  # Ctrl-C too: an answer may be on its way, and be taken for another
            lane.close()
            raise
        finally:
            self._free.put(lane)
        if answer[:1] != b"=":
            raise BackboneError(f"TensorFlow: {answer[1:].decode()}")
        return np.frombuffer(answer, "<f4", offset=1).astype(np.float32)

    def _asked(self, lane: Connection, example: Example) -> bytes:
        try:
            lane.send_bytes(json.dumps(example.shape).encode())
            lane.send_bytes(example.tobytes())
        except OSError as error:
            raise self._gone() from error
        return self._answer(lane)

    def _answer(self, lane: Connection) -> bytes:
        try:
            return lane.recv_bytes()
        except (EOFError, OSError) as error:
            raise self._gone() from error

    def _gone(self) -> BackboneError:
        self._errors.seek(0)
        last = self._errors.read().decode(errors="replace").strip().splitlines() or ["no word"]
        return BackboneError(f"the process with TensorFlow ended: {last[-1]:.300}")


def _started(
    graph: Path, threads: int, count: int, errors: IO[bytes]
) -> tuple[subprocess.Popen[bytes], list[Connection]]:
    pairs = [socket.socketpair() for _ in range(count)]
    theirs = [theirs.fileno() for _, theirs in pairs]
    command = [sys.executable, "-P", "-m", PROGRAM, str(graph), str(threads), *map(str, theirs)]
    process = subprocess.Popen(
        command,
        pass_fds=theirs,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=errors,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        start_new_session=True,  # Ctrl-C is for this process: it ends the other
    )
    for _, end in pairs:
        end.close()
    return process, [Connection(ours.detach()) for ours, _ in pairs]


def _ended(process: subprocess.Popen[bytes], ends: Sequence[Connection]) -> None:
    for lane in ends:
        lane.close()
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
