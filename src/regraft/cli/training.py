"""Options of training, which several verbs share.

A verb that takes ``**training`` gets all of them; each is the field of `Recipe` of its name.
"""

from inspect import Parameter
from typing import Annotated, Any

import typer

PANEL = "Training"


def _option(text: str, metavar: str, *names: str) -> typer.models.OptionInfo:
    return typer.Option(*names, metavar=metavar, help=text, rich_help_panel=PANEL)


OPTIONS: dict[str, Any] = {
    "epochs": Annotated[
        float | None,
        _option("How often each example is learned from; by default as often as time allows.", "N"),
    ],
    "steps": Annotated[int | None, _option("The same in steps of the optimiser.", "N")],
    "batch": Annotated[int | None, _option("Examples that a step learns from.", "N")],
    "rate": Annotated[float | None, _option("Highest learning rate.", "NUMBER")],
    "optimiser": Annotated[
        str | None,
        _option("sgd, adam, adamw, adagrad, rmsprop, nadam, or any other of timm.", "NAME"),
    ],
    "schedule": Annotated[
        str | None,
        _option("Of the rate: cosine, one-cycle, step, plateau, linear, constant.", "NAME"),
    ],
    "loss": Annotated[
        str | None,
        _option(
            "cross-entropy, focal, class-balanced; with parameters as in focal:gamma=1.5", "NAME"
        ),
    ],
    "augment": Annotated[
        str | None,
        _option(
            "Such as flip,crop=0.4,rotate=15 or light, medium, strong, none; see: regraft preview "
            "--list",
            "LIST",
        ),
    ],
    "sampling": Annotated[
        str | None,
        _option("plain, or balanced: every class as often as any other.", "NAME"),
    ],
    "weights": Annotated[
        str | None,
        _option("In the loss: none, inverse, inverse-root, effective.", "NAME", "--class-weights"),
    ],
    "norm": Annotated[str | None, _option("BatchNorm: frozen, estimated (anew) or free.", "NAME")],
    "weight_decay": Annotated[float | None, _option("Weight decay.", "NUMBER", "--weight-decay")],
    "precision": Annotated[str | None, _option("float32 or bfloat16.", "NAME")],
}


def parameters() -> list[Parameter]:
    """Of a function's signature, as typer reads them."""
    return [
        Parameter(name, Parameter.KEYWORD_ONLY, default=None, annotation=kind)
        for name, kind in OPTIONS.items()
    ]
