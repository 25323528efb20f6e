"""Networks of Keras on the PyTorch backend: a file of the user's, or one of keras.applications.

A row holds the whole configuration, so a bundle needs no file of Keras. The parts that Regraft
asks for stand in one module: what blocks give passes through ``taps``, the feature before the
classifier through ``last``, and parameters are named by their layer's place in the depth.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from regraft.backbones.cache import cache_folder, file_hash, offline_mode
from regraft.backbones.catalog import CatalogRow, Weights, row_from
from regraft.backbones.keras_files import ENDINGS, built, checked, keras, read_model
from regraft.backbones.scales import SCALES, named_scale
from regraft.errors import BackboneError, UsageError
from regraft.modalities.spec import InputSpec
from regraft.storage import write_atomically

VERSION = 1  # raised when the same file would give another row
MOST_TAPS = 24
NATIVE = 224  # pixels, where the network reads any size
LEAST = 32


# How the names of models of keras.applications begin → their scale; the first that fits counts.
SCALE_OF: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(("efficientnet", "mobilenetv3", "convnext"), "raw"),
        "resnet50v2": "tf",
        "resnet101v2": "tf",
        "resnet152v2": "tf",
        **dict.fromkeys(("resnet", "vgg"), "caffe"),
        "densenet": "torch",
        **dict.fromkeys(("mobilenet", "inception", "xception", "nasnet"), "tf"),
    }
)
# At the input: then the model scales pixels itself.
SCALING = ("Rescaling", "Normalization", "TrueDivide", "Subtract", "Multiply", "Divide")
INPUT = "InputLayer"


class KerasNetwork(nn.Module):
    """(n, 3, size, size) float32 → what the Keras model gives, by its layers as they are.

    config      of a model that was checked
    taps        places of the layers whose outputs are blocks, in the order of `_layers`
    classifier  place of the layer whose input is the last feature; -1: that is the model's output
    order       of the channels that it reads
    """

    def __init__(self, config: Any, taps: Sequence[int], classifier: int, order: str) -> None:
        super().__init__()
        self.made_by = (config, tuple(taps), classifier, order)
        self.reversed, self.to_the_end = order == "bgr", classifier < 0
        model = built(checked(config, "the configuration"))
        model.trainable = True  # statistics of BatchNorm stay what they are
        # Not as a module: its own names tell nothing of depth, and statistics are parameters there.
        self._model: tuple[Any] = (model,)
        self._fixed: list[tuple[nn.Module, str, Any]] = []
        layers = list(_layers(model))
        self.taps, self.last = nn.ModuleList(nn.Identity() for _ in taps), nn.Identity()
        self.layers, self.head = nn.ModuleList(), nn.Module()
        for place, layer in enumerate(layers):
            self._take(layer, self.head if place == classifier else nn.Module())
        for own, place in zip(self.taps, taps, strict=True):
            _pass_output(layers[place], own)
        if not self.to_the_end:
            _pass_input(layers[classifier], self.last)

    def _take(self, layer: Any, own: nn.Module) -> None:
        """Its parameters, and its statistics as buffers, under names of ours."""
        learning = {id(variable) for variable in layer.trainable_variables}
        for i, variable in enumerate(layer.weights):
            name, value = f"{variable.name.replace('.', '_')}_{i}", variable._value
            if id(variable) in learning:
                own.register_parameter(name, value)
            else:
                own.register_buffer(name, value.data)
                self._fixed.append((own, name, value))
        if layer.weights and own is not self.head:
            self.layers.append(own)

    def forward(self, x: Tensor) -> Tensor:
        x = x.permute(0, 2, 3, 1)
        x = x.flip(3) if self.reversed else x
        with keras().device(x.device.type):
            found: Tensor = self._model[0](x, training=False)
        return self.last(found) if self.to_the_end else found

    def _apply(self, fn: Any, recurse: bool = True) -> "KerasNetwork":
        """Keras reads its own statistics: they go where the buffers go."""
        super()._apply(fn, recurse)
        for own, name, value in self._fixed:
            value.data = getattr(own, name)
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> "KerasNetwork":
        made = KerasNetwork(*self.made_by)
        made.load_state_dict(self.state_dict())
        return made.train(self.training)

    @torch.no_grad()
    def take(self, model: Any) -> None:
        """The weights of another model of the same layers."""
        for own, other in zip(_layers(self._model[0]), _layers(model), strict=True):
            for ours, theirs in zip(own.weights, other.weights, strict=True):
                ours._value.data.copy_(theirs._value.data)


def _pass_output(layer: Any, place: nn.Module) -> None:
    call = layer.call

    def passed(*args: Any, **named: Any) -> Any:
        return place(call(*args, **named))

    layer.call = passed


def _pass_input(layer: Any, place: nn.Module) -> None:
    call = layer.call

    def passed(x: Any, *args: Any, **named: Any) -> Any:
        return call(place(x), *args, **named)

    layer.call = passed


def _layers(model: Any) -> Iterator[Any]:
    """Every layer that is no model itself, in the order in which they were put together."""
    for layer in model.layers:
        if hasattr(layer, "layers"):
            yield from _layers(layer)
        else:
            yield layer


# --- the source ----------------------------------------------------------------------------------


def build(row: CatalogRow) -> nn.Module:
    """The row's network with random weights. Raises BackboneError."""
    told = row.options
    try:
        config = json.loads(told["config"])
        return KerasNetwork(config, told["taps"], told["classifier"], told["order"])
    except BackboneError:
        raise
    except Exception as error:  # whatever Keras raises
        reason = " ".join(str(error).split()) or type(error).__name__
        raise BackboneError(f"{row.name}: Keras cannot build it: {reason:.300}") from error


# --- rows ----------------------------------------------------------------------------------------


def describe(rest: str) -> CatalogRow:
    """``PATH.keras``, ``PATH.h5`` or a name of keras.applications; ``@SCALE`` where it is not told.

    Raises UsageError, BackboneError.
    """
    name, scale = named_scale(rest)
    path = Path(name) if name.endswith(ENDINGS) else _application(name)
    if not path.is_file():
        raise BackboneError(f"keras:{name}: there is no such file")
    key = f"{file_hash(path)}-{VERSION}{scale and f'-{scale}'}"
    folder = cache_folder("keras")
    kept = folder / f"{key}.json"
    if kept.is_file() and (folder / f"{key}.safetensors").is_file():
        return row_from({**json.loads(kept.read_bytes()), "name": f"keras:{rest}"})
    row = _row(f"keras:{rest}", path, scale, folder / f"{key}.safetensors")
    write_atomically(kept, json.dumps(row.to_dict()).encode())
    return row


def _application(name: str) -> Path:
    """One of keras.applications with its weights for ImageNet, downloaded and saved once."""
    library = keras()
    known = [n for n in dir(library.applications) if n[0].isupper()]
    if name not in known:
        from difflib import get_close_matches

        close = ", ".join(get_close_matches(name, known, 4)) or ", ".join(known)
        raise UsageError(f"backbone: keras.applications has no {name!r}; close: {close}")
    path = cache_folder("keras") / f"{name}-{library.__version__}.keras"
    if path.is_file():
        return path
    if offline_mode():
        raise BackboneError(f"keras:{name}: its weights are not here, and nothing is fetched")
    try:
        made = getattr(library.applications, name)(weights="imagenet")
    except Exception as error:  # the library raises plain Exception for a failed download
        raise BackboneError(f"keras:{name}: cannot be fetched: {error!s:.200}") from error
    made.save(path)
    return path


def _row(name: str, path: Path, scale: str, target: Path) -> CatalogRow:
    """Read the file, write its weights to `target`, and tell all the rest."""
    from safetensors.torch import save

    model = read_model(path)
    told = SCALES[scale or _scale(model, name)]
    config, size = _any_size(model, name)
    classifier = _classifier(model)
    taps = _blocks(config, classifier, size or NATIVE, name)
    made = KerasNetwork(config, taps, classifier, told.order)
    made.take(model)
    content = save({k: t.detach().contiguous() for k, t in made.state_dict().items()})
    write_atomically(target, content)
    digest = hashlib.sha256(content).hexdigest()
    options = {"config": json.dumps(config), "taps": taps, "classifier": classifier}
    return CatalogRow(
        name=name,
        source="keras",
        architecture=str(model.name),
        family="keras",
        weights=Weights("folder", str(target.parent), target.name, digest),
        spec=InputSpec(size or NATIVE, interpolation="bilinear", mean=told.mean, std=told.std),
        licence_code="Apache-2.0",
        parameters=sum(p.numel() for p in made.parameters()),
        min_size=size or LEAST,
        max_size=size or 0,
        options={**options, "order": told.order},
    )


def _scale(model: Any, name: str) -> str:
    """What the pixels must be, by a first layer that scales or by the name. Raises BackboneError"""
    for part in getattr(model, "_operations", model.layers):
        if type(part).__name__ in SCALING:
            return "raw"
        if hasattr(part, "layers"):
            return _scale(part, name)
        if getattr(part, "weights", ()):
            break
    plain = model.name.lower().replace("_", "").replace("-", "")
    for begin, scale in SCALE_OF.items():
        if plain.startswith(begin):
            return scale
    raise BackboneError(
        f"{name}: nothing tells how its pixels were scaled; add @ and one of: raw (0 to 255), unit "
        "(0 to 1), tf (-1 to 1), torch or caffe (as keras.applications has them)"
    )


def _any_size(model: Any, name: str) -> tuple[Any, int | None]:
    """The configuration, for pictures of any size where the layers can read them, else the size."""
    shape = model.input_shape
    if not isinstance(shape, tuple) or len(shape) != 4 or shape[3] != 3 or shape[1] != shape[2]:
        raise BackboneError(f"{name}: reads {shape}; only square pictures of 3 channels are used")
    config = json.loads(json.dumps(keras().saving.serialize_keras_object(model)))
    if shape[1] is None:
        return config, None
    freed = _freed(config, shape[1])
    try:
        made = KerasNetwork(freed, (), -1, "rgb")
        made.take(model)
        for side in (shape[1], shape[1] + 64):
            made(torch.zeros(1, 3, side, side))
    except Exception:  # a flattened map, a fixed patch: whatever the layer raises
        return config, int(shape[1])
    return freed, None


def _freed(value: Any, side: int) -> Any:
    """The same configuration with no size of the pictures that models read."""
    if isinstance(value, dict):
        return {k: _freed(part, side) for k, part in value.items()}
    if isinstance(value, list):
        picture = len(value) == 4 and value[1:] == [side, side, 3]
        return [value[0], None, None, 3] if picture else [_freed(part, side) for part in value]
    return value


def _classifier(model: Any) -> int:
    """Place of the last Dense, where only activations follow; -1 where there is none."""
    layers = list(_layers(model))
    for place in range(len(layers) - 1, -1, -1):
        kind = type(layers[place]).__name__
        if kind == "Dense":
            return place
        if kind not in ("Activation", "Softmax", "Dropout"):
            break
    return -1


def _blocks(config: Any, classifier: int, size: int, name: str) -> list[int]:
    """Places of sums of residual blocks, and of the last map at each resolution."""
    maps = _maps(config, size)
    found = {place for place, (kind, _) in maps.items() if kind == "Add"}
    found |= set({side: place for place, (_, side) in maps.items()}.values())
    found -= {classifier}
    if not found:
        raise BackboneError(f"{name}: no layer gives a map of the picture: it has no blocks")
    blocks = sorted(found)
    step = -(-len(blocks) // MOST_TAPS)
    return blocks[::-1][::step][::-1]


@torch.no_grad()
def _maps(config: Any, size: int) -> dict[int, tuple[str, int]]:
    """Place of each layer that gives a map → its class and the height of the map."""
    made = KerasNetwork(config, (), -1, "rgb")
    found: dict[int, tuple[str, int]] = {}

    def watch(place: int, layer: Any) -> None:
        call = layer.call

        def seen(*args: Any, **named: Any) -> Any:
            output = call(*args, **named)
            if isinstance(output, Tensor) and output.ndim == 4 and type(layer).__name__ != INPUT:
                found[place] = (type(layer).__name__, int(output.shape[1]))
            return output

        layer.call = seen

    for place, layer in enumerate(_layers(made._model[0])):
        watch(place, layer)
    made(torch.zeros(1, 3, size, size))
    return {place: one for place, one in found.items() if one[1] < size}
