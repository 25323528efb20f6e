"""Formats that a model is exported to: a row each, open to the entry points regraft.exporters."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, entry_points
from inspect import Parameter, signature
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from regraft.backbones.installed import installed
from regraft.errors import MissingExtra, UsageError
from regraft.export.wanted import Arrays, Run, Wanted

MOST_EXAMPLES = 4096  # at once


@dataclass(frozen=True)
class Format:
    """One row of FORMATS.

    needs   distributions that must be installed to run it; ``a|b``: either of them
    extra   that installs them
    file    name of the graph
    write   what is wanted, file → the file and what belongs to it
    open    file → what runs it
    safe    whether opening a file of unknown origin can run no code that is in it
    fixed   whether its inputs have one shape each: one example at once, none of varying length
    writes  distributions that must be installed beside them to write it
    """

    needs: tuple[str, ...]
    extra: str
    file: str
    write: Callable[[Wanted, Path], None]
    open: Callable[[Path], Run]
    safe: bool = True
    fixed: bool = False
    writes: tuple[str, ...] = ()

    def versions(self, writing: bool = False) -> dict[str, str]:
        """Of what it needs. Raises PackageNotFoundError."""
        needs = (*self.needs, *(self.writes if writing else ()))
        return dict(installed(one) for one in needs)


def export_format(name: str, writing: bool = False) -> Format:
    """The row of that name. Raises UsageError with the valid names, MissingExtra."""
    rows = FORMATS if name in FORMATS else {**FORMATS, **_plugins()}
    if name not in rows:
        raise UsageError(f"to: {name!r} is not known; choose one of {', '.join(sorted(rows))}")
    try:
        rows[name].versions(writing)
    except PackageNotFoundError as error:
        raise MissingExtra(str(error.name), rows[name].extra) from None
    return rows[name]


def _plugins() -> dict[str, Format]:
    return {point.name: point.load() for point in entry_points(group="regraft.exporters")}


# --- ONNX ----------------------------------------------------------------------------------------


def _write_onnx(wanted: Wanted, file: Path) -> None:
    import torch

    axes = {
        name: {axis: "examples" if axis == 0 else f"{name}_{axis}" for axis in some}
        for name, some in zip(wanted.names, wanted.varying, strict=True)
        if some
    }
    if any(0 in some for some in wanted.varying):
        axes |= {name: {0: "examples"} for name in wanted.outputs}
    torch.onnx.export(
        wanted.module,
        tuple(wanted.samples),
        file,
        input_names=list(wanted.names),
        output_names=list(wanted.outputs),
        dynamic_axes=axes or None,
        opset_version=17,
        dynamo=False,
    )


def _open_onnx(file: Path) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_inputs()]
    outputs = [one.name for one in session.get_outputs()]

    def run(inputs: Arrays) -> list[npt.NDArray[np.float32]]:
        found: list[Any] = session.run(outputs, dict(zip(names, inputs, strict=True)))
        return found

    return run


# --- OpenVINO ------------------------------------------------------------------------------------


def _write_openvino(wanted: Wanted, file: Path) -> None:
    import openvino
    import torch

    samples = tuple(wanted.samples)
    traced = torch.jit.freeze(torch.jit.trace(wanted.module, samples, check_trace=False))
    model = openvino.convert_model(traced, example_input=samples)
    rows = zip(model.inputs, wanted.names, wanted.varying, samples, strict=True)
    shapes = {}
    for port, name, varying, sample in rows:
        port.get_tensor().set_names({name})
        shapes[port] = [-1 if i in varying else n for i, n in enumerate(sample.shape)]
    model.reshape(shapes)
    for port, name in zip(model.outputs, wanted.outputs, strict=True):
        port.get_tensor().set_names({name})
    openvino.save_model(model, file, compress_to_fp16=False)


def _open_openvino(file: Path) -> Run:
    import threading

    from regraft.backbones.runtimes import openvino_core

    core = openvino_core()
    settings = {"INFERENCE_PRECISION_HINT": "f32", "NUM_STREAMS": os.cpu_count() or 1}
    compiled, local = core.compile_model(core.read_model(file), "CPU", settings), threading.local()

    def run(inputs: Arrays) -> list[npt.NDArray[np.float32]]:
        request = getattr(local, "request", None)
        if request is None:
            request = local.request = compiled.create_infer_request()
        found = request.infer(list(inputs), share_inputs=True)
        return [found[i].copy() for i in range(len(compiled.outputs))]

    return run


# --- PyTorch -------------------------------------------------------------------------------------


def _write_torch(wanted: Wanted, file: Path) -> None:
    import torch

    examples = torch.export.Dim("examples", min=1, max=MOST_EXAMPLES)
    shapes = tuple(
        {
            axis: examples if axis == 0 else torch.export.Dim.AUTO  # it knows the longest
            for axis in some
        }
        for some in wanted.varying
    )
    with torch.no_grad():
        # Two of each: an axis whose sample is of length 1 is taken for one that always is.
        several = tuple(torch.cat([one, one]) for one in wanted.samples)
        samples = several if any(0 in some for some in wanted.varying) else tuple(wanted.samples)
        asked = signature(wanted.module.forward).parameters.values()
        several_in_one = any(one.kind is Parameter.VAR_POSITIONAL for one in asked)
        told = (shapes,) if several_in_one else shapes
        program = torch.export.export(wanted.module, samples, dynamic_shapes=told, strict=False)
    torch.export.save(program, file)


def _open_torch(file: Path) -> Run:
    """Only for a file that was written here a moment ago: PyTorch unpickles parts of it."""
    import torch

    module = torch.export.load(file).module()

    def run(inputs: Arrays) -> list[npt.NDArray[np.float32]]:
        with torch.inference_mode():
            return [one.numpy() for one in module(*(torch.tensor(i) for i in inputs))]

    return run


# --- the others ----------------------------------------------------------------------------------


def _of(module: str, name: str) -> Callable[..., Any]:
    """A function of a module that is imported when it is called: each brings a library along."""

    def call(*args: Any) -> Any:
        return getattr(import_module(module), name)(*args)

    return call


_LITERT, _KERAS = "regraft.export.litert", "regraft.export.keras"
_SAVEDMODEL = "regraft.export.savedmodel"

FORMATS: Mapping[str, Format] = MappingProxyType(
    {
        "onnx": Format(("onnx", "onnxruntime"), "onnx", "graph.onnx", _write_onnx, _open_onnx),
        "openvino": Format(("openvino",), "openvino", "graph.xml", _write_openvino, _open_openvino),
        "torch": Format(("torch",), "torch", "graph.pt2", _write_torch, _open_torch, safe=False),
        "litert": Format(
            ("ai-edge-litert",),
            "litert",
            "graph.tflite",
            _of(_LITERT, "write_litert"),
            _of(_LITERT, "open_litert"),
            fixed=True,
            writes=("litert-torch",),
        ),
        "keras": Format(
            ("keras", "h5py"),
            "keras",
            "graph.keras",
            _of(_KERAS, "write_keras"),
            _of(_KERAS, "open_keras"),
            fixed=True,
        ),
        "savedmodel": Format(
            ("tensorflow|tensorflow-cpu",),
            "savedmodel",
            "savedmodel/saved_model.pb",
            _of(_SAVEDMODEL, "write_savedmodel"),
            _of(_SAVEDMODEL, "open_savedmodel"),
            safe=False,
            fixed=True,
            writes=("keras", "h5py"),
        ),
    }
)
