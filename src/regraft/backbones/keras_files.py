"""Files of Keras, ``.keras`` and ``.h5``: read without running what they may bring along.

A model's configuration may name any class, and layers may hold code. So it is read as JSON and
checked first: only classes of Keras itself, none that runs code or opens another file. Weights come
from HDF5, in which links to other files are refused.
"""

import json
import os
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

from regraft.errors import BackboneError, MissingExtra

CONFIG, WEIGHTS = "config.json", "model.weights.h5"  # entries of a .keras file
MOST_CONFIG = 10_000_000  # bytes
MOST_DEPTH = 200
OURS = "keras"  # the only package whose classes are made
# Classes of Keras that run code, or read a file that their configuration names.
REFUSED = frozenset(
    {"Lambda", "TorchModuleWrapper", "TFSMLayer", "JaxLayer", "FlaxLayer", "FileBased"}
    | {"__lambda__", "__typespec__", "function"}
)
OLD = ("Functional", "Model", "Sequential")  # of .h5 files, beside layers
ENDINGS = (".keras", ".h5", ".hdf5")


def keras() -> Any:
    """Keras on the PyTorch backend. Raises MissingExtra, BackboneError where it has another one."""
    before = os.environ.get("KERAS_BACKEND")
    try:
        if "keras" not in sys.modules:
            os.environ["KERAS_BACKEND"] = "torch"
        import keras as library
    except ImportError:
        raise MissingExtra("keras", "keras") from None
    finally:
        if before is None:
            os.environ.pop("KERAS_BACKEND", None)
        else:
            os.environ["KERAS_BACKEND"] = before
    if library.backend.backend() != "torch":
        raise BackboneError(
            f"Keras was imported with the backend {library.backend.backend()!r}; set "
            "KERAS_BACKEND=torch before the program imports it"
        )
    return library


def read_model(path: Path) -> Any:
    """The Keras model of a file, with its weights. Raises BackboneError with the reason."""
    if path.suffix not in ENDINGS or not path.is_file():
        raise BackboneError(f"{path}: expected a file that ends in {', '.join(ENDINGS)}")
    library = keras()
    with _reasons(path):
        reader = _of_keras if zipfile.is_zipfile(path) else _of_h5
        return reader(library, path)


@contextmanager
def _reasons(path: Path) -> Iterator[None]:
    try:
        yield
    except BackboneError:
        raise
    except Exception as error:  # whatever Keras and h5py raise
        reason = " ".join(str(error).split()) or type(error).__name__
        raise BackboneError(f"{path}: Keras cannot read it: {reason:.300}") from error


def _of_keras(library: Any, path: Path) -> Any:
    with zipfile.ZipFile(path) as archive:
        if missing := {CONFIG, WEIGHTS} - set(archive.namelist()):
            raise BackboneError(f"{path}: has no {' and no '.join(sorted(missing))}")
        if archive.getinfo(CONFIG).file_size > MOST_CONFIG:
            raise BackboneError(f"{path}: {CONFIG} has more than {MOST_CONFIG:,} bytes")
        config = checked(json.loads(archive.read(CONFIG)), path)
        with tempfile.TemporaryDirectory(prefix="regraft-keras-") as folder:
            weights = Path(archive.extract(WEIGHTS, folder))
            _refuse_links(weights, path)
            model = built(config)
            model.load_weights(weights)
    return model


def _of_h5(library: Any, path: Path) -> Any:
    import h5py

    _refuse_links(path, path)
    with h5py.File(path, "r") as file:
        text = file.attrs.get("model_config")
    if text is None:
        raise BackboneError(f"{path}: holds weights alone; save the whole model, as .keras")
    checked(json.loads(text), path)
    return library.saving.load_model(path, compile=False, safe_mode=True)


def _refuse_links(file: Path, path: Path) -> None:
    """HDF5 may point to other files, and data may lie in them."""
    import h5py

    def look(group: Any) -> None:
        for name in group:
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise BackboneError(f"{path}: {name} is a link, which is not followed")
            if isinstance(part := group[name], h5py.Group):
                look(part)
            elif part.external or part.is_virtual:
                raise BackboneError(f"{path}: the data of {name} lie in another file")

    with h5py.File(file, "r") as opened:
        look(opened)


def built(config: Any) -> Any:
    """A model with random weights from a configuration that was checked."""
    library = keras()
    with library.device("cpu"):
        # A copy: Keras empties what it reads.
        return library.saving.deserialize_keras_object(deepcopy(config), safe_mode=True)


def checked(config: Any, path: Any) -> Any:
    """The configuration, if it names nothing but classes of Keras. Raises BackboneError."""
    if mistakes := sorted(set(_strange(config, 0))):
        raise BackboneError(f"{path}: is not built, since it {'; it '.join(mistakes[:5])}")
    return config


def _strange(value: Any, depth: int) -> Iterator[str]:
    if depth > MOST_DEPTH:
        yield f"is nested deeper than {MOST_DEPTH}"
        return
    if isinstance(value, dict):
        yield from _strange_class(value)
        for part in value.values():
            yield from _strange(part, depth + 1)
    elif isinstance(value, list):
        for part in value:
            yield from _strange(part, depth + 1)


def _strange_class(value: dict[str, Any]) -> Iterator[str]:
    name, module = value.get("class_name"), value.get("module")
    if name in REFUSED:
        yield f"has a {name}, which runs code"
    if module is not None and str(module).split(".")[0] != OURS:
        yield f"has a {name} of {module}, which is not a part of Keras"
    elif module is None and isinstance(name, str) and not _is_known(name):
        yield f"has a {name}, which is not a part of Keras"
    if value.get("registered_name") not in (None, name):
        yield f"has {value['registered_name']}, a class of its own"
    if value.get("data_format") == "channels_first":
        yield "reads channels first; save it with channels last"


def _is_known(name: str) -> bool:
    library = keras()
    places = (library.layers, library.initializers, library.regularizers, library.constraints)
    return name in OLD or name.startswith("__") or any(hasattr(place, name) for place in places)
