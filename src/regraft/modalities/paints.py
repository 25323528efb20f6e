"""Augmentations that change the pixels of the network's input where they are."""

import math
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter

from regraft.modalities.warps import Paint, Plan

HUE = 0.25  # turns of the colour circle at strength 1: more would make grass purple
ERASED = (0.02, 0.2)  # share of the area
ERASED_ASPECT = (math.log(0.3), math.log(1 / 0.3))


def colour(plan: Plan, strength: float, rng: np.random.Generator) -> Plan:
    """Jitter of brightness, contrast, saturation and hue, one after the other in random order."""
    changes = rng.uniform(-strength, strength, 4)
    jitters = [
        enhanced(kind, 1 + change)
        for kind, change in zip(
            (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color),
            changes,
            strict=False,
        )
    ]
    jitters.append(hued(HUE * changes[3]))
    for place in rng.permutation(4):
        plan = plan.painted(jitters[place])
    return plan


def grey(plan: Plan, strength: float, rng: np.random.Generator) -> Plan:
    """Without colour, with probability `strength`."""
    return plan.painted(_greyed) if rng.random() < strength else plan


def blur(plan: Plan, strength: float, rng: np.random.Generator) -> Plan:
    """Gaussian blur; sigma is up to the share `strength` of the side."""
    radius = rng.uniform(0, strength) * plan.spec.size
    return plan.painted(lambda shown: shown.filter(ImageFilter.GaussianBlur(radius)))


def noise(plan: Plan, strength: float, rng: np.random.Generator) -> Plan:
    """Gaussian noise on each value; sigma is up to the share `strength` of the range."""
    sigma = 255 * rng.uniform(0, strength)

    def noisy(shown: Image.Image) -> Image.Image:
        pixels = np.asarray(shown)
        added = rng.standard_normal(pixels.shape, np.float32) * np.float32(sigma)
        return Image.fromarray(np.clip(np.rint(pixels + added), 0, 255).astype(np.uint8))

    return plan.painted(noisy)


def erasing(plan: Plan, strength: float, rng: np.random.Generator) -> Plan:
    """A rectangle of the mean colour, with probability `strength`."""
    chance, *place = rng.random(3)
    area, shape = rng.uniform(*ERASED), math.exp(rng.uniform(*ERASED_ASPECT))
    if chance >= strength:
        return plan
    size = plan.spec.size
    sides = [max(1, round(size * math.sqrt(share))) for share in (area * shape, area / shape)]
    x, y = (int(at * (size - side + 1)) for at, side in zip(place, sides, strict=True))
    box = (x, y, x + sides[0], y + sides[1])

    def erased(shown: Image.Image) -> Image.Image:
        shown = shown.copy()
        shown.paste(plan.ground, box)
        return shown

    return plan.painted(erased)


def enhanced(kind: Callable[[Image.Image], ImageEnhance._Enhance], factor: float) -> Paint:
    """A paint by one of PIL.ImageEnhance: 1 leaves the picture as it is."""
    return lambda shown: kind(shown).enhance(factor)


def hued(turns: float) -> Paint:
    """A paint that turns the hue around the colour circle."""
    turned = [(hue + round(turns * 255)) % 256 for hue in range(256)]

    def paint(shown: Image.Image) -> Image.Image:
        hue, saturation, value = shown.convert("HSV").split()
        return Image.merge("HSV", (hue.point(turned), saturation, value)).convert("RGB")

    return paint


def _greyed(shown: Image.Image) -> Image.Image:
    return shown.convert("L").convert("RGB")
