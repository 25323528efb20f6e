"""What runs a frozen network: PyTorch itself, OpenVINO, ONNX Runtime.

`engines` says which there are and chooses between them.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from regraft.backbones.fronts import ANY
from regraft.backbones.parity import Vector
from regraft.backbones.readers import Example, reader
from regraft.modalities.spec import InputSpec

if TYPE_CHECKING:
    from regraft.backbones.network import FrozenNetwork


class Engine(Protocol):
    """A network ready to run. `run` may be called from as many threads as there are `lanes`."""

    name: str
    lanes: int

    def run(self, example: Example) -> Vector:
        """What the network reads of one example → (d,) float32 features of all blocks."""
        ...

    def run_together(self, examples: Example) -> Vector:
        """Examples of one shape, (n, ...) → (n, d) float32, as `run` gives each."""
        ...


def lanes() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class OneByOne:
    """Of engines whose last bits depend on what is run at once."""

    def run_together(self, examples: Example) -> Vector:
        return np.stack([*map(self.run, examples)])  # type: ignore[attr-defined]


class TorchEngine(OneByOne):
    """PyTorch: slow on a CPU, always there.

    device   None: the GPU if there is one
    threads  that it may use for an example; None: as many as PyTorch does
    """

    name = "torch"
    lanes = 1

    def __init__(
        self, network: "FrozenNetwork", device: str | None = None, threads: int | None = None
    ) -> None:
        import torch

        self._torch, self._threads = torch, threads
        self._device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        on_cpu = self._device == "cpu"  # else a copy moves: others may use the network given
        self._network = network if on_cpu else deepcopy(network).to(self._device)
        self._turn = threading.Lock()

    def run(self, example: Example) -> Vector:
        with self._turn, self._torch.inference_mode(), self._bounded():
            given = self._torch.tensor(example[None], device=self._device)
            out: Vector = self._network(given)[0].cpu().numpy()
        return out

    @contextmanager
    def _bounded(self) -> Iterator[None]:
        if self._threads is None:
            yield
            return
        before = self._torch.get_num_threads()
        self._torch.set_num_threads(self._threads)
        try:
            yield
        finally:
            self._torch.set_num_threads(before)


@cache
def openvino_core() -> Any:
    """One for good: its end in another thread than its beginning takes the stack of that thread's
    signal handlers away (seen with 2026.4 where the processor has AMX), and a signal then kills.
    """
    import openvino

    return openvino.Core()


class OpenVINOEngine:
    """OpenVINO on the CPU, what is no whole number in float32.

    threads  that it may use for an example; None: one, and as many streams as there are cores
    """

    name = "openvino"

    def __init__(self, graph: Path, spec: InputSpec, threads: int | None = None) -> None:
        core = openvino_core()
        model = core.read_model(graph)
        read = reader(spec)
        model.reshape([ANY if read.together else 1, *read.shape(spec)])
        self.lanes = 1 if threads else lanes()
        settings = {
            "NUM_STREAMS": self.lanes,
            "INFERENCE_NUM_THREADS": threads or self.lanes,
            "INFERENCE_PRECISION_HINT": "f32",  # bfloat16 would miss the parity with PyTorch
        }
        self._compiled = core.compile_model(model, "CPU", settings)
        self._local = threading.local()
        self.run(read.sample(spec, 0))  # two first calls would wait for each other

    def run(self, example: Example) -> Vector:
        return np.asarray(self.run_together(example[None])[0])

    def run_together(self, examples: Example) -> Vector:
        request = getattr(self._local, "request", None)
        if request is None:
            request = self._local.request = self._compiled.create_infer_request()
        out: Vector = request.infer([examples], share_inputs=True)[0].copy()
        return out


class ONNXEngine(OneByOne):
    """ONNX Runtime on the CPU, one session that its lanes share.

    threads  that it may use for an example; None: one
    """

    name = "onnxruntime"

    def __init__(self, graph: Path, spec: InputSpec, threads: int | None = None) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or 1
        options.log_severity_level = 3
        self.lanes = 1 if threads else lanes()
        self._session = onnxruntime.InferenceSession(
            str(graph), options, providers=["CPUExecutionProvider"]
        )

    def run(self, example: Example) -> Vector:
        return np.asarray(self._session.run(None, {"examples": example[None]})[0][0])
