"""Run this exported model in a program of your own:  python example.py FILE ...

Needed: regraft, for reading examples as in training (it loads no PyTorch for that), and the runtime
of the format. What stands in export.json, under networks[].spec, tells the preprocessing itself.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from regraft.backbones.readers import reader
from regraft.modalities import modality
from regraft.modalities.spec import InputSpec

NO_ROW: Any = None  # of the catalog: only vocabularies need one
HERE = Path(__file__).parent
TOLD = json.loads((HERE / "export.json").read_text(encoding="utf-8"))


def numbers(prepared: Any, spec: InputSpec, network: int) -> Any:
    """An input of the graph: pixels, what is heard, or of a text the numbers of its tokens."""
    if spec.reads != "text":
        return reader(spec).open(NO_ROW, spec)(prepared)[None]
    from tokenizers import Tokenizer

    vocabulary = Tokenizer.from_file(str(HERE / f"tokenizer-{network}.json"))
    vocabulary.no_padding()
    vocabulary.enable_truncation(spec.size)
    text = prepared.tobytes().decode()[: 16 * spec.size]
    return np.array(vocabulary.encode(text).ids, np.int64)[None]


def inputs(file: str) -> list[Any]:
    """One for each view of each network."""
    kind, found = modality(TOLD["modality"]), []
    for i, network in enumerate(TOLD["networks"]):
        spec = InputSpec.from_dict(network["spec"])
        raw = kind.decode(Path(file).read_bytes(), file, spec).raw
        found += [numbers(kind.prepare(raw, spec, view), spec, i) for view in spec.views]
    return found


def by_onnx(given: list[Any]) -> Any:
    import onnxruntime

    session = onnxruntime.InferenceSession(HERE / "graph.onnx")
    names = [one.name for one in session.get_inputs()]
    return session.run(["probabilities"], dict(zip(names, given, strict=True)))[0]


def by_openvino(given: list[Any]) -> Any:
    import openvino

    settings = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.Core().compile_model(HERE / "graph.xml", "CPU", settings)
    return compiled(given)["probabilities"]


def by_torch(given: list[Any]) -> Any:
    import torch

    program = torch.export.load(HERE / "graph.pt2").module()
    with torch.inference_mode():
        return program(*map(torch.tensor, given))[0].numpy()


def main() -> None:
    run = {"onnx": by_onnx, "openvino": by_openvino, "torch": by_torch}[TOLD["to"]]
    for file in sys.argv[1:]:
        probabilities = run(inputs(file))[0]
        best = int(probabilities.argmax())
        print(f"{file}\t{TOLD['classes'][best]}\t{probabilities[best]:.4f}")


if __name__ == "__main__":
    main()
