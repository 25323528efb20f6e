"""What augmentation does to recordings: each takes a `Sound` and a strength and gives another."""

from dataclasses import replace

import numpy as np

from regraft.modalities.audio import Sound
from regraft.modalities.usual import Usual

# Of the usual one. Where too many right answers are lost, half of a mask or no shift is taken.
USUAL: tuple[Usual, ...] = (
    Usual((("shift=0.1", "shift=0.1"),), 0.9),
    Usual((("time-mask=0.15", "time-mask=0.15"), ("time-mask=0.08", "time-mask=0.08")), 0.85),
    Usual(
        (("frequency-mask=0.15", "frequency-mask=0.15"), ("frequency-mask=0.08",) * 2),
        0.85,
    ),
)


def shift(sound: Sound, strength: float, rng: np.random.Generator) -> Sound:
    """Earlier or later, with silence where nothing was recorded."""
    n = len(sound.samples)
    by = round(rng.uniform(-strength, strength) * n)
    moved = np.zeros_like(sound.samples)
    moved[max(0, by) : n + min(0, by)] = sound.samples[max(0, -by) : n - max(0, by)]
    return replace(sound, samples=moved)


def tempo(sound: Sound, strength: float, rng: np.random.Generator) -> Sound:
    """Faster or slower, higher or lower with it, as a tape does."""
    n = len(sound.samples)
    factor = np.exp(rng.uniform(-1, 1) * np.log1p(strength))
    places = np.linspace(0, n - 1, max(1, round(n / factor)))
    samples = np.interp(places, np.arange(n), sound.samples)
    return replace(sound, samples=samples.astype(np.float32))


def hiss(sound: Sound, strength: float, rng: np.random.Generator) -> Sound:
    """White noise of up to so much of the recording's own level."""
    level = float(np.sqrt(np.mean(np.square(sound.samples, dtype=np.float64))))
    noise = rng.standard_normal(len(sound.samples)).astype(np.float32)
    added = np.float32(rng.uniform(0, strength) * level) * noise
    return replace(sound, samples=sound.samples + added)


def gain(sound: Sound, strength: float, rng: np.random.Generator) -> Sound:
    """Louder or softer. Most networks here even loudness out; for the others it counts."""
    factor = np.float32(10 ** (rng.uniform(-strength, strength) / 20))
    return replace(sound, samples=sound.samples * factor)


def time_mask(sound: Sound, strength: float, rng: np.random.Generator) -> Sound:
    """Silence for a while (SpecAugment)."""
    return _mask(sound, "time", strength, rng)


def frequency_mask(sound: Sound, strength: float, rng: np.random.Generator) -> Sound:
    """Some bands silent (SpecAugment)."""
    return _mask(sound, "frequency", strength, rng)


def _mask(sound: Sound, way: str, strength: float, rng: np.random.Generator) -> Sound:
    length = float(rng.uniform(0, strength))
    begin = float(rng.uniform(0, 1 - length))
    return replace(sound, masks=(*sound.masks, (way, begin, length)))
