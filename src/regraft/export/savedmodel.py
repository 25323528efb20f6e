"""SavedModel, as TensorFlow reads it: the network of Keras, written by Keras on TensorFlow.

    python -m regraft.export.savedmodel FILE.keras FOLDER

PyTorch and TensorFlow do not share a process: each brings libraries of its own under the same
names. So a file of Keras is written first, and a process that has TensorFlow alone makes the rest.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from regraft.errors import RegraftError
from regraft.export.wanted import Arrays, Run, Wanted, by_number

SIGNATURE = "serving_default"
QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3"}


def write_savedmodel(wanted: Wanted, file: Path) -> None:
    """See `formats.Format`."""
    from regraft.export.keras import write_keras  # brings PyTorch along, which reading needs not

    with tempfile.TemporaryDirectory(prefix="regraft-") as folder:
        made = Path(folder) / "model.keras"
        write_keras(wanted, made)
        command = [
            sys.executable,
            "-P",
            "-m",
            "regraft.export.savedmodel",
            str(made),
            str(file.parent),
        ]
        environment = {**os.environ, **QUIET, "KERAS_BACKEND": "tensorflow"}
        done = subprocess.run(command, capture_output=True, check=False, env=environment)
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines() or ["it died"]
        raise RegraftError(f"this model cannot be written as savedmodel: {lines[-1]:.300}")


def open_savedmodel(file: Path) -> Run:
    """Only for a file that was written here a moment ago: such a graph can read and write files."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    import tensorflow as tf

    loaded = tf.saved_model.load(str(file.parent))
    call = loaded.signatures[SIGNATURE]
    inputs = by_number([*call.structured_input_signature[1]])
    outputs = by_number([*call.structured_outputs])

    def run(given: Arrays) -> list[npt.NDArray[np.float32]]:
        tensors = {name: tf.constant(one) for name, one in zip(inputs, given, strict=True)}
        found = call(**tensors)
        return [found[name].numpy() for name in outputs]

    # Variables live as long as what holds them.
    run.model = loaded  # type: ignore[attr-defined]
    return run


def main() -> None:
    """See above."""
    import keras
    import tensorflow as tf

    model: Any = keras.saving.load_model(sys.argv[1], compile=False, safe_mode=True)
    # As they are: of its own accord Keras lets the number of examples vary.
    asked = [tf.TensorSpec(one.shape, one.dtype, one.name) for one in model.inputs]
    told = {"format": "tf_saved_model", "verbose": False}
    model.export(sys.argv[2], input_signature=[asked], **told)


if __name__ == "__main__":
    main()
