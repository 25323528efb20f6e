"""Run this exported model in a program of your own:  python example.py FILE ...

Needed: regraft, for reading examples as in training (it loads no PyTorch for that), and the runtime
of the format. What stands in export.json, under networks[].spec, tells the preprocessing itself.
"""

import json
import os
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


def by_onnx(given: list[Any]) -> list[Any]:
    import onnxruntime

    session = onnxruntime.InferenceSession(HERE / "graph.onnx")
    names = [one.name for one in session.get_inputs()]
    return list(session.run(None, dict(zip(names, given, strict=True))))


def by_openvino(given: list[Any]) -> list[Any]:
    import openvino

    settings = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.Core().compile_model(HERE / "graph.xml", "CPU", settings)
    return list(compiled(given).values())


def by_torch(given: list[Any]) -> list[Any]:
    import torch

    program = torch.export.load(HERE / "graph.pt2").module()
    with torch.inference_mode():
        return [one.numpy() for one in program(*map(torch.tensor, given))]


def by_litert(given: list[Any]) -> list[Any]:
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(str(HERE / "graph.tflite")).get_signature_runner()
    found = runner(**{f"args_{i}": one for i, one in enumerate(given)})
    return [found[f"output_{i}"] for i in range(len(found))]


def by_keras(given: list[Any]) -> list[Any]:
    os.environ.setdefault("KERAS_BACKEND", "torch")  # or tensorflow, or jax
    import keras

    model = keras.saving.load_model(HERE / "graph.keras", compile=False, safe_mode=True)
    return [one.detach().numpy() if hasattr(one, "detach") else one for one in model(given)]


def by_savedmodel(given: list[Any]) -> list[Any]:
    import tensorflow as tf

    loaded = tf.saved_model.load(str(HERE / "savedmodel"))
    named = {f"args_{i}": tf.constant(one) for i, one in enumerate(given)}
    found = loaded.signatures["serving_default"](**named)
    return [found[f"output_{i}"].numpy() for i in range(len(found))]


# What the outputs of one example say, by the task ------------------------------------------------


def classes(probabilities: Any, *others: Any) -> str:
    best = int(probabilities.argmax())
    return f"{TOLD['classes'][best]}\t{probabilities[best]:.4f}"


def tags(values: Any, *others: Any) -> str:
    rows = zip(TOLD["classes"], values, TOLD["cuts"], strict=True)
    return "\t".join(f"{name}\t{p:.4f}" for name, p, cut in rows if p >= cut)


def values(values: Any, *others: Any) -> str:
    return "\t".join(f"{name}\t{v:g}" for name, v in zip(TOLD["classes"], values, strict=True))


def objects(scores: Any, boxes: Any) -> str:
    """In the whole picture, in pixels of the input; of overlapping boxes of a class the surest,
    but of a detector with queries all: these have agreed on who answers for an object.
    """
    found: list[tuple[float, int, Any]] = []
    most = {"anchors": 0.5, "queries": np.inf}[TOLD.get("decoding", "anchors")]
    factor, shift = TOLD["line"]  # makes scores say how often such boxes are right
    inner = np.clip(scores, 1e-6, 1 - 1e-6)
    scores = 1 / (1 + np.exp(-np.log(inner / (1 - inner)) * factor - shift))
    sure = np.argwhere(scores >= np.array(TOLD["thresholds"]))
    for place, label in sorted(sure.tolist(), key=lambda one: -scores[one[0], one[1]]):
        if all(label != k or overlap(boxes[place], b) <= most for _, k, b in found):
            found.append((float(scores[place, label]), label, boxes[place]))
    return "\t".join(
        f"{TOLD['classes'][label]}\t{score:.4f}\t{','.join(f'{x:.1f}' for x in box)}"
        for score, label, box in found
    )


def overlap(a: Any, b: Any) -> float:
    inner = np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None).prod()
    return float(inner / ((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - inner))


def words(probabilities: Any) -> str:
    """Repetitions are one character, number 0 is none; of the first seconds of a recording."""
    path = probabilities.argmax(1)
    firsts = path[np.append(True, path[1:] != path[:-1])]
    return "".join(TOLD["characters"][k - 1] for k in firsts if k)


RUN = {
    "onnx": by_onnx,
    "openvino": by_openvino,
    "torch": by_torch,
    "litert": by_litert,
    "keras": by_keras,
    "savedmodel": by_savedmodel,
}
SAYS: dict[str, Any] = {
    "classification": classes,
    "tags": tags,
    "regression": values,
    "detection": objects,
    "transcription": words,
}


def main() -> None:
    for file in sys.argv[1:]:
        outputs = [one[0] for one in RUN[TOLD["to"]](inputs(file))]
        print(f"{file}\t{SAYS[TOLD['task']](*outputs)}")


if __name__ == "__main__":
    main()
