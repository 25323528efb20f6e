"""demo: handwritten digits as pictures, ten labels a class, and what transfer makes of them."""

from pathlib import Path
from typing import Any

import numpy as np

from regraft.errors import UsageError
from regraft.progress import Progress
from regraft.verbs.fit import fit_and_report
from regraft.verbs.fitted import Fitted

LABELS = 10  # examples to learn from in each class
MOST = 173  # of them: the rarest digit is there 174 times


def write_digits(folder: Path, labels: int = LABELS, seed: int = 0) -> Path:
    """scikit-learn's 1,797 digits (8 × 8) as PNG files under train/ and test/, by class.

    `labels` of each class go to train, drawn by `seed`; all others to test. What another draw has
    left in the folder goes, so that nothing is in both.
    """
    from PIL import Image
    from sklearn.datasets import load_digits

    digits = load_digits()
    rng = np.random.default_rng(seed)
    learned = {
        int(i)
        for c in range(10)
        for i in rng.permutation(np.flatnonzero(digits.target == c))[:labels]
    }
    for i, (picture, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        part, other = ("train", "test") if i in learned else ("test", "train")
        place, name = folder / part / str(label), f"{i:04d}.png"
        place.mkdir(parents=True, exist_ok=True)
        (folder / other / str(label) / name).unlink(missing_ok=True)
        pixels = np.round(255 - picture * 255 / 16).astype(np.uint8)
        Image.fromarray(pixels).save(place / name)
    return folder


def demo(
    out: str | Path = "demo",
    *,
    labels: int = LABELS,
    seed: int = 0,
    progress: Progress | None = None,
    **settings: Any,
) -> Fitted:
    """Write the digits into ``out/digits``, fit on ten `labels` a class, measure on the rest.

    Raises UsageError for wrong `labels`, and where ``out/digits`` is something else already.
    """
    if type(labels) is not int or not 1 <= labels <= MOST:
        raise UsageError(f"labels: expected 1 to {MOST} a class, got {labels!r}")
    folder = Path(out) / "digits"
    if folder.exists() and not (folder / "train").is_dir():
        raise UsageError(f"out: {folder} is there already and holds something else")
    write_digits(folder, labels, seed)
    return fit_and_report(folder, seed=seed, progress=progress, **settings)
