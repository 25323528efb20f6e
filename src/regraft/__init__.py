"""Graft a pretrained network onto your own data.

    import regraft
    data   = regraft.load("photos/")
    model  = regraft.fit(data)
    report = regraft.evaluate(model, data.test)
    model.save("photos.regraft");  report.save("report.html")

Names are imported when they are first used, so that ``import regraft`` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from regraft.backbones.catalog import catalog
    from regraft.data.dataset import Dataset
    from regraft.evaluation.report import Report
    from regraft.model.model import Model
    from regraft.model.predict import predict, predict_pretrained
    from regraft.recipe import Recipe
    from regraft.transfer.ranking import rank
    from regraft.verbs.compare import compare
    from regraft.verbs.demo import demo
    from regraft.verbs.distil import distil
    from regraft.verbs.doctor import doctor
    from regraft.verbs.ensemble import ensemble
    from regraft.verbs.evaluate import evaluate
    from regraft.verbs.fit import fit
    from regraft.verbs.harden import harden
    from regraft.verbs.prepare import load
    from regraft.verbs.preview import preview
    from regraft.verbs.prune import prune
    from regraft.verbs.quantize import quantize

__version__ = "0.1.0"

_PLACES = {
    "Dataset": "regraft.data.dataset",
    "Model": "regraft.model.model",
    "Recipe": "regraft.recipe",
    "Report": "regraft.evaluation.report",
    "catalog": "regraft.backbones.catalog",
    "compare": "regraft.verbs.compare",
    "demo": "regraft.verbs.demo",
    "distil": "regraft.verbs.distil",
    "doctor": "regraft.verbs.doctor",
    "ensemble": "regraft.verbs.ensemble",
    "evaluate": "regraft.verbs.evaluate",
    "fit": "regraft.verbs.fit",
    "harden": "regraft.verbs.harden",
    "load": "regraft.verbs.prepare",
    "predict": "regraft.model.predict",
    "predict_pretrained": "regraft.model.predict",
    "preview": "regraft.verbs.preview",
    "prune": "regraft.verbs.prune",
    "quantize": "regraft.verbs.quantize",
    "rank": "regraft.transfer.ranking",
}

__all__ = [
    "Dataset",
    "Model",
    "Recipe",
    "Report",
    "__version__",
    "catalog",
    "compare",
    "demo",
    "distil",
    "doctor",
    "ensemble",
    "evaluate",
    "fit",
    "harden",
    "load",
    "predict",
    "predict_pretrained",
    "preview",
    "prune",
    "quantize",
    "rank",
]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'regraft' has no attribute {name!r}")
    return getattr(import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    return __all__
