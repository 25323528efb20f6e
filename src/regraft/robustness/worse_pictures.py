"""Common corruptions of pictures: 15 kinds at 5 severities, by their published numbers.

Hendrycks and Dietterich 2019, "Benchmarking neural network robustness to common corruptions and
perturbations", arXiv 1903.12261. Two differ from theirs: frost is drawn here and not a photograph,
and lengths in pixels go with the size of the picture, theirs being of 224. So the shares are like
published ones, and not comparable to the last digit.
"""

import io
from functools import partial

import numpy as np
import numpy.typing as npt

from regraft.robustness.corruption import Corruption, Rng

SIDE = 224  # pixels that lengths are told for

Pixels = npt.NDArray[np.uint8]  # (h, w, 3)
Picture = npt.NDArray[np.float64]  # (h, w, 3) from 0 to 1


def applied(row: Corruption, pixels: Pixels, severity: int, rng: Rng) -> Pixels:
    """(h, w, 3) uint8 → the same size."""
    changed = row.change(pixels / 255.0, row.numbers[severity - 1], rng)
    return np.asarray((np.clip(changed, 0, 1) * 255).round().astype(np.uint8))


def _scale(x: Picture) -> float:
    return min(x.shape[:2]) / SIDE


# --- noise ---------------------------------------------------------------------------------------


def _gaussian_noise(x: Picture, spread: float, rng: Rng) -> Picture:
    return x + rng.normal(0, spread, x.shape)


def _shot_noise(x: Picture, photons: float, rng: Rng) -> Picture:
    return np.asarray(rng.poisson(x * photons) / photons)


def _impulse_noise(x: Picture, amount: float, rng: Rng) -> Picture:
    drawn = rng.random(x.shape)
    return np.where(drawn < amount / 2, 0.0, np.where(drawn > 1 - amount / 2, 1.0, x))


# --- blur ----------------------------------------------------------------------------------------


def _smoothed(x: Picture, sigma: float) -> Picture:
    from scipy.ndimage import gaussian_filter

    return np.asarray(gaussian_filter(x, (sigma, sigma, 0), mode="reflect"))


def _convolved(x: Picture, kernel: npt.NDArray[np.float64]) -> Picture:
    from scipy.ndimage import convolve

    kernel = kernel / kernel.sum()
    return np.stack([convolve(x[..., c], kernel, mode="reflect") for c in range(3)], -1)


def _defocus(x: Picture, numbers: tuple[float, float], rng: Rng) -> Picture:
    radius, soft = numbers
    reach = max(1.0, radius * _scale(x))
    side = int(np.ceil(reach + 3 * soft))
    i, j = np.mgrid[-side : side + 1, -side : side + 1]
    disk = np.clip(reach + 0.5 - np.hypot(i, j), 0, 1)
    return _convolved(x, _smoothed(disk[..., None], soft)[..., 0])


def _glass(x: Picture, numbers: tuple[float, int, int], rng: Rng) -> Picture:
    """Pixels change places with ones nearby, between two slight blurs."""
    sigma, most, times = numbers
    x = _smoothed(x, sigma * _scale(x))
    h, w = x.shape[:2]
    reach = (most + 0.5) * _scale(x)
    for _ in range(times):
        i, j = np.mgrid[:h, :w]
        di, dj = np.rint(rng.uniform(-reach, reach, (2, h, w))).astype(int)
        x = x[np.clip(i + di, 0, h - 1), np.clip(j + dj, 0, w - 1)]
    return _smoothed(x, sigma * _scale(x))


def _motion(x: Picture, numbers: tuple[float, float], rng: Rng) -> Picture:
    radius, sigma = (max(1.0, n * _scale(x)) for n in numbers)
    return _convolved(x, _streak(radius, sigma, rng.uniform(-45, 45)))


def _streak(radius: float, sigma: float, degrees: float) -> npt.NDArray[np.float64]:
    """A line from the middle outwards that fades."""
    side, angle = int(np.ceil(radius)), np.deg2rad(degrees)
    i, j = np.mgrid[-side : side + 1, -side : side + 1]
    along, across = j * np.cos(angle) + i * np.sin(angle), i * np.cos(angle) - j * np.sin(angle)
    fades = np.exp(-(along**2) / (2 * sigma**2)) * (along >= -0.5) * (along <= radius)
    return np.asarray(fades * np.clip(1 - np.abs(across), 0, 1))


def _zoom(x: Picture, numbers: tuple[float, float], rng: Rng) -> Picture:
    most, step = numbers
    layers = [_zoomed(x, factor) for factor in np.arange(1 + step, most, step)]
    return np.asarray((x + np.sum(layers, 0)) / (len(layers) + 1))


def _zoomed(x: Picture, factor: float) -> Picture:
    """The middle of a picture, as large as the picture."""
    from scipy.ndimage import affine_transform

    h, w = x.shape[:2]
    offset = [(n - 1) / 2 * (1 - 1 / factor) for n in (h, w)]
    parts = [
        affine_transform(x[..., c], [1 / factor] * 2, offset, order=1, mode="nearest")
        for c in range(3)
    ]
    return np.stack(parts, -1)


# --- weather -------------------------------------------------------------------------------------


def _snow(x: Picture, numbers: tuple[float, ...], rng: Rng) -> Picture:
    mean, spread, zoom, threshold, radius, sigma, share = numbers
    flakes = np.clip(rng.normal(mean, spread, x.shape[:2]), 0, 1)
    flakes = _zoomed(np.repeat(flakes[..., None], 3, -1), zoom)
    flakes = np.where(flakes < threshold, 0.0, flakes)
    reach, fade = (max(1.0, n * _scale(x)) for n in (radius, sigma))
    flakes = _convolved(flakes, _streak(reach, fade, rng.uniform(-135, -45)))
    grey = np.maximum(x, (x @ [0.299, 0.587, 0.114])[..., None] * 1.5 + 0.5)
    return share * x + (1 - share) * grey + flakes + np.rot90(flakes, 2)


def _frost(x: Picture, numbers: tuple[float, float], rng: Rng) -> Picture:
    """Crystals: ridges of noise, bluish white, in patches."""
    own, ice = numbers
    ridges = 1 - np.abs(2 * _plasma(x.shape[:2], 1.5, rng) - 1)
    patches = _plasma(x.shape[:2], 2.5, rng)
    crystals = (ridges**4 * (0.4 + 0.6 * patches))[..., None] * [0.85, 0.93, 1.0]
    return own * x + ice * crystals


def _fog(x: Picture, numbers: tuple[float, float], rng: Rng) -> Picture:
    thick, decay = numbers
    most = x.max()
    return (x + thick * _plasma(x.shape[:2], decay, rng)[..., None]) * most / (most + thick)


def _plasma(shape: tuple[int, int], decay: float, rng: Rng) -> npt.NDArray[np.float64]:
    """Clouds from 0 to 1: noise of all sizes, each half as large `decay` times as faint."""
    from scipy.ndimage import zoom

    out, side, weight = np.zeros(shape), 2, 1.0
    while side < 2 * max(shape):
        coarse = rng.uniform(-1, 1, (side + 1, side + 1))
        fine = zoom(
            coarse, [n / (side + 1) for n in shape], order=1, grid_mode=True, mode="nearest"
        )
        out += weight * fine[: shape[0], : shape[1]]
        side, weight = 2 * side, weight / decay
    out -= out.min()
    return np.asarray(out / max(out.max(), 1e-12))


def _brightness(x: Picture, more: float, rng: Rng) -> Picture:
    """The value of hue, saturation, value: the largest of the three grows, the others with it."""
    value = x.max(-1, keepdims=True)
    brighter = np.clip(value + more, 0, 1)
    return np.where(value > 0, x * brighter / np.maximum(value, 1e-12), brighter)


# --- digital -------------------------------------------------------------------------------------


def _contrast(x: Picture, share: float, rng: Rng) -> Picture:
    mean = x.mean((0, 1), keepdims=True)
    return (x - mean) * share + mean


def _elastic(x: Picture, numbers: tuple[float, float, float], rng: Rng) -> Picture:
    """Smooth displacements, and a slight affine map."""
    from scipy.ndimage import gaussian_filter, map_coordinates

    h, w = x.shape[:2]
    strength, sigma, corner = (n * min(h, w) for n in numbers)
    places = np.asarray(np.mgrid[:h, :w], float)
    middle = np.array([[[h / 2]], [[w / 2]]])
    matrix = np.eye(2) + rng.uniform(-corner, corner, (2, 2)) / (min(h, w) / 3) / 2
    moved = np.einsum("ij,jhw->ihw", matrix, places - middle) + middle
    for axis in range(2):
        noise = gaussian_filter(rng.uniform(-1, 1, (h, w)), max(sigma, 0.5), mode="reflect")
        moved[axis] += noise * strength
    parts = [map_coordinates(x[..., c], moved, order=1, mode="reflect") for c in range(3)]
    return np.stack(parts, -1)


def _pixelate(x: Picture, share: float, rng: Rng) -> Picture:
    from PIL import Image

    h, w = x.shape[:2]
    picture = Image.fromarray((x * 255).round().astype(np.uint8))
    small = picture.resize((max(1, int(w * share)), max(1, int(h * share))), Image.Resampling.BOX)
    return np.asarray(small.resize((w, h), Image.Resampling.NEAREST)) / 255.0


def _jpeg(x: Picture, quality: int, rng: Rng) -> Picture:
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray((x * 255).round().astype(np.uint8)).save(out, "JPEG", quality=quality)
    with Image.open(out) as opened:
        return np.asarray(opened.convert("RGB")) / 255.0


_ELASTIC = (
    (2, 0.7, 0.1),
    (2, 0.08, 0.2),
    (0.05, 0.01, 0.02),
    (0.07, 0.01, 0.02),
    (0.12, 0.01, 0.02),
)
_SNOW = (
    (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
    (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
    (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
    (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
    (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
)
_GLASS = ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2))
_ZOOM = ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03))

_row = partial(Corruption, "image")

ROWS = (
    _row("gaussian noise", "noise", _gaussian_noise, (0.08, 0.12, 0.18, 0.26, 0.38)),
    _row("shot noise", "noise", _shot_noise, (60, 25, 12, 5, 3)),
    _row("impulse noise", "noise", _impulse_noise, (0.03, 0.06, 0.09, 0.17, 0.27)),
    _row(
        "defocus blur",
        "blur",
        _defocus,
        ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
    ),
    _row("glass blur", "blur", _glass, _GLASS),
    _row("motion blur", "blur", _motion, ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15))),
    _row("zoom blur", "blur", _zoom, _ZOOM),
    _row("snow", "weather", _snow, _SNOW),
    _row(
        "frost",
        "weather",
        _frost,
        ((1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75)),
    ),
    _row("fog", "weather", _fog, ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4))),
    _row("brightness", "weather", _brightness, (0.1, 0.2, 0.3, 0.4, 0.5)),
    _row("contrast", "digital", _contrast, (0.4, 0.3, 0.2, 0.1, 0.05)),
    _row("elastic transform", "digital", _elastic, _ELASTIC),
    _row("pixelate", "digital", _pixelate, (0.6, 0.5, 0.4, 0.3, 0.25)),
    _row("jpeg compression", "digital", _jpeg, (25, 18, 15, 10, 7)),
)
