"""A ``.keras`` file: the operations of PyTorch, one by one, as layers and operations of Keras.

    module ── torch.export ──▶ operations of ATen ── ROWS of keras_rows ──▶ Functional model

What depends on weights alone is computed here and becomes a weight. The file holds nothing but
classes of Keras, so it is loaded in safe mode, on any backend.
"""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, fx

from regraft.backbones.keras_files import keras, read_model
from regraft.errors import RegraftError
from regraft.export.keras_drawing import Drawing, Value
from regraft.export.keras_rows import ROWS
from regraft.export.wanted import Arrays, Run, Wanted

WHOLE = (  # operations that are kept, since Keras has a layer for them
    torch.ops.aten.linear.default,
    torch.ops.aten.scaled_dot_product_attention.default,
)


def write_keras(wanted: Wanted, file: Path) -> None:
    """See `formats.Format`. Raises RegraftError for an operation that has no row."""
    library = keras()
    with library.device("cpu"):
        inputs = [
            library.Input(batch_shape=tuple(one.shape), dtype=_dtype(one), name=f"args_{i}")
            for i, one in enumerate(wanted.samples)
        ]
        outputs = _Translation(wanted, library, inputs).outputs()
        library.Model(inputs, outputs).save(file)


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _program(wanted: Wanted) -> Any:
    table = torch.export.default_decompositions()
    for one in WHOLE:
        table.pop(one, None)
    with torch.no_grad():
        program = torch.export.export(wanted.module, tuple(wanted.samples), strict=False)
        return program.run_decompositions(table)


class _Translation(fx.Interpreter):
    """Runs a program on what stands for its inputs in Keras; weights stay PyTorch's."""

    def __init__(self, wanted: Wanted, library: Any, inputs: list[Any]) -> None:
        program = _program(wanted)
        super().__init__(program.graph_module)
        self.drawing = Drawing(library, inputs[0])
        self.given = _given(program, inputs)

    def outputs(self) -> list[Any]:
        """What the model gives, in Keras."""
        with torch.no_grad():
            found = self.run(*self.given, enable_io_processing=False)
        return [self.drawing.first(one) for one in found]

    def run_node(self, n: fx.Node) -> Any:
        self.drawing.node = n
        return super().run_node(n)

    def call_function(self, target: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        drawn = any(isinstance(one, Value) for one in _flat((args, kwargs)))
        if not drawn or not hasattr(target, "overloadpacket"):  # weights alone, or Python's own
            return super().call_function(target, args, kwargs)
        name = target.overloadpacket.__name__
        if name not in ROWS:
            raise RegraftError(
                f"this model cannot be written for Keras: its operation {name} has no counterpart "
                "there yet; use --to onnx, openvino or litert"
            )
        return ROWS[name](self.drawing, *args, **kwargs)


def _given(program: Any, inputs: list[Any]) -> list[Any]:
    """Of every placeholder its value: a weight, or an input of Keras."""
    kinds, mine = torch.export.graph_signature.InputKind, iter(inputs)
    held = {**program.state_dict, **program.constants}
    return [
        Value(next(mine)) if one.kind == kinds.USER_INPUT else held[one.target].detach()
        for one in program.graph_signature.input_specs
    ]


def _flat(value: Any) -> list[Any]:
    if isinstance(value, Value) or not isinstance(value, list | tuple | dict):
        return [value]
    parts = value.values() if isinstance(value, dict) else value
    return [leaf for part in parts for leaf in _flat(part)]


def open_keras(file: Path) -> Run:
    """See `formats.Format`. Raises BackboneError for a file with other classes than Keras'."""
    model = read_model(file)
    library = keras()

    def run(given: Arrays) -> list[npt.NDArray[np.float32]]:
        with torch.inference_mode(), library.device("cpu"):
            found = model([torch.tensor(one) for one in given], training=False)
        return [one.numpy() for one in found]

    return run
