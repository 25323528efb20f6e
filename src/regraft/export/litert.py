"""LiteRT: the format of TensorFlow Lite, written from PyTorch by its makers' own converter."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from regraft.export.wanted import Arrays, Run, Wanted, by_number


def write_litert(wanted: Wanted, file: Path) -> None:
    """See `formats.Format`."""
    import litert_torch

    with _silent():
        made = litert_torch.convert(wanted.module, tuple(wanted.samples))
        made.export(str(file))


@contextmanager
def _silent() -> Iterator[None]:
    """The converter tells its progress on stdout, where the answer of the command goes."""
    from litert_torch._config import config

    before, config.show_progress = config.show_progress, False
    try:
        yield
    finally:
        config.show_progress = before


def open_litert(file: Path) -> Run:
    """See `formats.Format`; an interpreter for each thread, since each holds one example."""
    import threading

    local, data = threading.local(), file.read_bytes()
    local.runner = _runner(data)  # what cannot be opened is told now
    inputs, outputs = (by_number([*one]) for one in _names(local.runner))

    def run(given: Arrays) -> list[npt.NDArray[np.float32]]:
        if not hasattr(local, "runner"):
            local.runner = _runner(data)
        found = local.runner(**dict(zip(inputs, given, strict=True)))
        return [np.array(found[name]) for name in outputs]

    return run


def _runner(data: bytes) -> Any:
    from ai_edge_litert.interpreter import Interpreter

    return Interpreter(model_content=data, num_threads=1).get_signature_runner()


def _names(runner: Any) -> tuple[Any, Any]:
    return runner.get_input_details(), runner.get_output_details()
