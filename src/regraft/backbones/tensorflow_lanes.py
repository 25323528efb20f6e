"""The process that runs a graph of TensorFlow, beside the one that has PyTorch.

    python -m regraft.backbones.tensorflow_lanes GRAPH THREADS SOCKET ...

On each of its sockets, a lane, it first says what keeps it from running the graph, or nothing. Then
an example's shape and its bytes go in, its features come out, until the other side closes.
"""

import json
import signal
import sys
import threading
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from regraft.errors import RegraftError


def main() -> None:
    """See above."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the other side ends this one
    graph, threads, *sockets = sys.argv[1:]
    lanes = [Connection(int(one)) for one in sockets]
    run, reason = _opened(Path(graph), len(lanes), int(threads))
    for lane in lanes:
        lane.send_bytes(reason.encode())
    if reason:
        return
    running = [threading.Thread(target=_serve, args=(run, lane)) for lane in lanes]
    for one in running:
        one.start()
    for one in running:
        one.join()


def _opened(graph: Path, lanes: int, threads: int) -> tuple[Any, str]:
    from regraft.backbones.tensorflow_graphs import opened, tensorflow

    try:
        tensorflow(lanes, threads)
        return opened(graph.read_bytes()), ""
    except RegraftError as error:
        return None, str(error)
    except Exception as error:  # whatever TensorFlow raises
        return None, " ".join(str(error).split())[:300] or type(error).__name__


def _serve(run: Any, lane: Connection) -> None:
    """Examples (n, size, size, 3) uint8, until the other side is gone."""
    import tensorflow as tf

    try:
        while True:
            shape = json.loads(lane.recv_bytes())
            example = np.frombuffer(lane.recv_bytes(), np.uint8).reshape(shape)
            try:
                found = np.asarray(run(tf.constant(example)), "<f4")
            except Exception as error:  # of another size, say
                reason = " ".join(str(error).split())[-300:]  # what failed comes after where
                lane.send_bytes(b"!" + reason.encode())
                continue
            lane.send_bytes(b"=" + found.tobytes())
    except (EOFError, OSError):
        return


if __name__ == "__main__":
    main()
