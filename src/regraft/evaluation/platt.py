"""Platt's calibration: a line through the scores of each label, whose logistic is a probability.

p = 1 / (1 + exp(-(a s + b))), by the highest likelihood of held-out scores, with targets a little
inside 0 and 1 so that labels which are told apart every time get no boundless confidence (Platt
1999; solved by Newton steps as Lin, Lin and Weng 2007 do).
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from regraft.errors import UsageError

Matrix = npt.NDArray[np.float64]

STEPS = 60
ENOUGH = 1e-10  # of the gradient, an example
HALVES = 30  # of a step that does not gain


class Lines(NamedTuple):
    """Of each of k labels: log-odds = factor · score + shift, both (k,)."""

    factor: Matrix
    shift: Matrix

    def __call__(self, scores: npt.NDArray[np.floating]) -> Matrix:
        """(n, k) scores → (n, k) log-odds."""
        return np.asarray(scores * self.factor + self.shift)


def fit_lines(scores: npt.ArrayLike, truth: npt.ArrayLike) -> Lines:
    """The lines for held-out scores (n, k) of labels that are there or not, truth (n, k) of 0 or 1.

    A label whose scores do not rise with it gets a flat line: how frequent it is. Raises
    UsageError where the shapes differ or scores are not finite.
    """
    s, y = np.asarray(scores, np.float64), np.asarray(truth, np.float64)
    if s.ndim != 2 or s.shape != y.shape or not len(s) or not np.isfinite(s).all():
        raise UsageError(
            f"scores: expected finite numbers like truth, {y.shape}, got {s.shape}; each (n, k)"
        )
    found = [_line(s[:, k], y[:, k]) for k in range(s.shape[1])]
    factor, shift = np.array(found).reshape(-1, 2).T
    return Lines(factor, shift)


def _line(s: Matrix, y: Matrix) -> tuple[float, float]:
    there = y.sum()
    inner = np.where(y > 0, (there + 1) / (there + 2), 1 / (len(y) - there + 2))
    mean = float(inner.mean())
    flat = 0.0, float(np.log(mean / (1 - mean)))
    spread = float(s.std())
    if spread < 1e-12 * max(1.0, float(np.abs(s).max())) or there in (0, len(y)):
        return flat
    middle = float(s.mean())
    a, b = _newton((s - middle) / spread, inner, flat[1])
    return (a / spread, b - a * middle / spread) if a > 0 else flat


def _newton(x: Matrix, t: Matrix, start: float) -> tuple[float, float]:
    """Slope and intercept of the least cross-entropy of standardised scores and inner targets."""
    at = np.array([0.0, start])
    rows = np.stack([x, np.ones_like(x)], 1)
    loss = _loss(rows @ at, t)
    for _ in range(STEPS):
        p = 1 / (1 + np.exp(-np.clip(rows @ at, -700, 700)))
        gradient = rows.T @ (p - t)
        if np.abs(gradient).max() < ENOUGH * len(x):
            break
        curve = (rows * (p * (1 - p))[:, None]).T @ rows + 1e-12 * np.eye(2)
        step = np.linalg.solve(curve, gradient)
        for _ in range(HALVES):
            if (new := _loss(rows @ (at - step), t)) <= loss:
                break
            step /= 2
        at, loss = at - step, new
    return float(at[0]), float(at[1])


def _loss(z: Matrix, t: Matrix) -> float:
    return float((np.logaddexp(0, z) - t * z).sum())


def sigmoid(logits: npt.NDArray[np.floating]) -> Matrix:
    """Log-odds → probabilities."""
    z = np.asarray(logits, np.float64)
    small = np.exp(-np.abs(z))
    return np.asarray(np.where(z >= 0, 1 / (1 + small), small / (1 + small)))


def binary_losses(logits: npt.NDArray[np.floating], truth: npt.NDArray[Any]) -> Matrix:
    """(n, k) cross-entropy of log-odds (n, k) and labels that are there or not, in nats."""
    z = np.asarray(logits, np.float64)
    return np.asarray(np.logaddexp(0, z) - truth * z)
