"""How networks of Keras and TensorFlow want their pixels, by the names that users give."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple


class Scale(NamedTuple):
    """What a network was taught to read.

    mean, std  on pixel values in [0, 1], in the order red, green, blue
    order      of its channels
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    order: str = "rgb"


# As the functions `preprocess_input` of keras.applications have it.
SCALES: Mapping[str, Scale] = MappingProxyType(
    {
        "tf": Scale((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
        "torch": Scale((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        "caffe": Scale((123.68 / 255, 116.779 / 255, 103.939 / 255), (1 / 255,) * 3, "bgr"),
        "unit": Scale((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
        "raw": Scale((0.0, 0.0, 0.0), (1 / 255,) * 3),
    }
)


def named_scale(rest: str) -> tuple[str, str]:
    """``NAME@SCALE`` → both; no scale where what follows the last @ is none."""
    name, _, scale = rest.rpartition("@")
    return (name, scale) if scale in SCALES else (rest, "")
