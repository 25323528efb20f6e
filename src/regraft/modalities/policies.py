"""RandAugment and TrivialAugment: a few operations drawn from one list."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from PIL import ImageEnhance, ImageOps

from regraft.modalities.paints import enhanced
from regraft.modalities.warps import Plan, sheared, shifted, turned

MOST = 30  # the largest magnitude
OPERATIONS = 2  # of RandAugment on each picture


class Operation(NamedTuple):
    """One operation.

    add     puts it into a plan, by an amount
    narrow  largest amount in RandAugment
    wide    largest amount in TrivialAugment
    signed  whether the amount may be negative
    """

    name: str
    add: Callable[[Plan, float], Plan]
    narrow: float = 0.0
    wide: float = 0.0
    signed: bool = False


def randaugment(plan: Plan, strength: float, rng: np.random.Generator) -> Plan:
    """Two operations, both of the magnitude `strength` of 30."""
    signs = rng.choice((-1, 1), OPERATIONS)
    for number, sign in zip(rng.integers(len(SPACE), size=OPERATIONS), signs, strict=True):
        operation = SPACE[number]
        plan = _added(plan, operation, operation.narrow * strength / MOST, sign)
    return plan


def trivialaugment(plan: Plan, strength: float, rng: np.random.Generator) -> Plan:
    """One operation of a magnitude from 0 to `strength` of 30, in a wide range."""
    operation = SPACE[rng.integers(len(SPACE))]
    amount = operation.wide * rng.uniform(0, strength) / MOST
    return _added(plan, operation, amount, rng.choice((-1, 1)))


def _added(plan: Plan, operation: Operation, amount: float, sign: int) -> Plan:
    return operation.add(plan, sign * amount if operation.signed else amount)


def _posterized(plan: Plan, lost: float) -> Plan:
    return plan.painted(lambda shown: ImageOps.posterize(shown, 8 - round(lost)))


def _solarized(plan: Plan, share: float) -> Plan:
    return plan.painted(lambda shown: ImageOps.solarize(shown, round(256 * (1 - share))))


# The ranges are those of the papers, as torchvision has them; shifts are in shares of the side.
SPACE = (
    Operation("identity", lambda plan, _: plan),
    Operation("shear-x", lambda plan, by: sheared(plan, by, 0), 0.3, 0.99, True),
    Operation("shear-y", lambda plan, by: sheared(plan, 0, by), 0.3, 0.99, True),
    Operation("shift-x", lambda plan, by: shifted(plan, by, 0), 150 / 331, 32 / 224, True),
    Operation("shift-y", lambda plan, by: shifted(plan, 0, by), 150 / 331, 32 / 224, True),
    Operation("rotate", turned, 30, 135, True),
    Operation(
        "brightness",
        lambda plan, by: plan.painted(enhanced(ImageEnhance.Brightness, 1 + by)),
        0.9,
        0.99,
        True,
    ),
    Operation(
        "saturation",
        lambda plan, by: plan.painted(enhanced(ImageEnhance.Color, 1 + by)),
        0.9,
        0.99,
        True,
    ),
    Operation(
        "contrast",
        lambda plan, by: plan.painted(enhanced(ImageEnhance.Contrast, 1 + by)),
        0.9,
        0.99,
        True,
    ),
    Operation(
        "sharpness",
        lambda plan, by: plan.painted(enhanced(ImageEnhance.Sharpness, 1 + by)),
        0.9,
        0.99,
        True,
    ),
    Operation("posterize", _posterized, 4, 6),
    Operation("solarize", _solarized, 1, 1),
    Operation("autocontrast", lambda plan, _: plan.painted(ImageOps.autocontrast)),
    Operation("equalize", lambda plan, _: plan.painted(ImageOps.equalize)),
)
