"""harden: examples, or a model and the examples it came from → a model whose answers hold better.

The robust head first, then adversarial fine-tuning (the strategy ``adversarial``), and the weights
between start and end that are worth most by the user's wish.
"""

from pathlib import Path
from typing import Any

from regraft.backbones.store import Store
from regraft.errors import UsageError
from regraft.model.model import Model
from regraft.model.opening import classifier
from regraft.progress import Progress
from regraft.recipe import Recipe
from regraft.verbs.fit import fit_and_report
from regraft.verbs.fitted import Fitted
from regraft.verbs.robust import sizes

METHOD = "n-fgsm"
# What a network reads → the arena that says how ε is written, and the usual ε of each norm.
EPS = {"picture": ("image", {"linf": "2/255", "l2": "0.5"}), "text": ("text", {"l2": "0.1"})}
BUDGET = 900.0  # seconds, by default


def harden(
    what: Any,
    recipe: Recipe | None = None,
    *,
    eps: str | None = None,
    method: str | None = None,
    progress: Progress | None = None,
    store: Store | None = None,
    run: str | Path | None = None,
    resume: bool = False,
    **settings: Any,
) -> Fitted:
    """Fit a classifier that small changes of its pictures or texts mislead less.

    what    a Dataset, a source as for `regraft.load`, or a `Model` or its bundle (``.regraft``):
            then its recipe is repeated, on the examples that it names
    eps     largest change that it learns to stand, a share of the range from black to white, or of
            the mean length of a word piece's vector
    method  what it learns from, a row of `training.attacking.ATTACKS`: n-fgsm (one step), pgd
            (several), trades (clean and changed), free (a batch several times); with -l2 where a
            change is measured as a whole; for texts freelb
    wish    in `settings`: how much robust accuracy counts where weights are chosen, 0 to 1

    Raises as `regraft.fit`, and UsageError for a model whose recipe names no examples.
    """
    source, asked = _asked(what, recipe)
    asked = asked.changed(**settings)
    if asked.attack is not None and not (eps is None and method is None):
        raise UsageError("attack: says eps and method already; give it alone, or those two")
    if not (eps is None and method is None):
        asked = asked.changed(attack=attack_text(eps, method or METHOD))
    kept: dict[str, Any] = {"progress": progress, "store": store, "run": run, "resume": resume}
    return fit_and_report(source, asked.changed(strategy=("adversarial",)), **kept)


def attack_text(eps: str | None, method: str) -> str:
    """As a plan takes it, such as ``n-fgsm:eps=2``. Raises UsageError."""
    from regraft.robustness.arenas import ARENAS
    from regraft.training.attacking import ATTACKS, NONE
    from regraft.training.settings import unknown

    known = [name for name in ATTACKS if name != NONE]
    if method not in known:
        raise UsageError(unknown("method", method, known))
    row = ATTACKS[method]
    arena, usual = EPS[row.space.reads]
    asked = usual[row.norm.name] if eps is None else eps
    (value,) = sizes((asked,), row.norm.name, ARENAS[arena])
    return f"{method}:eps={value:.6g}"


def _asked(what: Any, recipe: Recipe | None) -> tuple[Any, Recipe]:
    """The examples and the recipe; those of a model where one is given."""
    if not (isinstance(what, Model) or str(what).endswith(".regraft")):
        return what, recipe or Recipe(budget=BUDGET)
    model = classifier(what, "harden")
    own = recipe or Recipe.from_dict(model.record["recipe"]).changed(budget=BUDGET)
    own = own if recipe else own.changed(attack=None)  # as it is asked for now
    if not own.source:
        raise UsageError(
            "source: the model's recipe does not name its examples; give the folder or manifest "
            "instead of the model"
        )
    size = {"size": model.extractors[0].spec.size} if own.size is None else {}
    return own.source, own.changed(**size)
