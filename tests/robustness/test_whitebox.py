"""The white box is the model: the same answers, by whatever network, views and head it has."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from regraft.backbones.extractor import Extractor
from regraft.errors import UsageError
from regraft.model.model import Model
from regraft.robustness.attacks import gradient
from regraft.robustness.prepared import planes_of
from regraft.robustness.whitebox import TorchHead, WhiteBox, as_files
from regraft.transfer.novelty import Novelty
from regraft.transfer.probe import fit_head, fit_wide_head


@pytest.fixture(scope="module")
def some(photos: Path) -> list[str]:
    return [str(path) for path in sorted(photos.rglob("*.png"))[::11]]


def logits_of(model: Model, files: list[str]) -> Any:
    """As the model itself says, without the white box."""
    features = model.features(files).features
    assert features is not None
    return model.answer(features).scores / model.temperature


def refitted(model: Model, extractors: tuple[Extractor, ...], photos: Path, wide: bool) -> Model:
    """The same model with other networks, and a head for them."""
    files = sorted(photos.rglob("*.png"))
    made = replace(model, extractors=extractors)
    seen = made.features(files)
    labels = np.array([model.classes.index(path.parent.name) for path in files])
    if wide:
        ends = np.cumsum([len(one.widths) for one in extractors])
        lasts = [int(end) - 1 for end in ends]
        fit = fit_wide_head(seen.features, labels, widths=seen.widths, lasts=lasts, classes=3)
    else:
        fit = fit_head(seen.features, labels, widths=seen.widths, classes=3)
    novelty = Novelty.fit(fit.head.even_scaling()(seen.features), seed=0)
    return replace(made, head=fit.head, novelty=novelty)


@pytest.mark.parametrize("case", ["probe", "wide", "views", "ensemble"])
def test_it_answers_as_the_model(case: str, fitted: Any, photos: Path, some: list[str]) -> None:
    model = fitted.model
    one = model.extractors[0]
    two = Extractor(one.row, replace(one.spec, views=("centre", "whole-mirrored")), "torch")
    extractors = {
        "probe": model.extractors,
        "wide": model.extractors,
        "views": (two,),
        "ensemble": (one, two),
    }[case]
    made = refitted(model, extractors, photos, case == "wide")
    assert bool(made.head.kernels) == (case == "wide")
    box = WhiteBox.of(made)
    x = box.read(made, some)
    assert x.shape == (len(some), 3 * len(box.planes), 64, 64)
    assert len(box.planes) == (2 if case in ("views", "ensemble") else 1)
    with torch.no_grad():
        found = box(x.float()).double().numpy()
    expected = logits_of(made, some)
    np.testing.assert_allclose(found, expected, atol=2e-2 * np.abs(expected).max())
    assert (as_files(made, box, x) == expected.argmax(1)).all()
    slope = gradient(lambda leaf: box(leaf)[:, 0], x.float())
    assert (slope.abs().amax((1, 2, 3)) > 0).all()


def test_the_head_as_a_function_is_the_head() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(60, 14)).astype(np.float32)
    labels = rng.integers(0, 3, 60)
    head = fit_wide_head(features, labels, widths=(6, 8), lasts=[1], classes=3).head
    with torch.no_grad():
        found = TorchHead(head)(torch.tensor(features)).numpy()
    np.testing.assert_allclose(found, head.scores(features), atol=1e-3)


def test_what_cannot_be_attacked_as_it_answers_is_refused(fitted: Any) -> None:
    model = fitted.model
    with pytest.raises(UsageError, match="this model reads text"):
        planes_of(replace(model, modality="text"))
    one = model.extractors[0]
    other = replace(one, spec=one.spec.at(96))
    with pytest.raises(UsageError, match=r"64 and 96 pixels.*--size"):
        planes_of(replace(model, extractors=(one, other)))
