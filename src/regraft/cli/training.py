"""Options of training, which several verbs share.

A verb that takes ``**training`` gets all of them; each is the field of `Recipe` of its name.
"""

from inspect import Parameter
from typing import Annotated, Any

import typer

PANEL = "Training"


def _option(text: str, metavar: str, *names: str) -> typer.models.OptionInfo:
    return typer.Option(*names, metavar=metavar, help=text, rich_help_panel=PANEL)


def _rate(text: str) -> float | str:
    """A number, or text that the recipe takes or tells with everything else that is wrong."""
    try:
        return float(text)
    except ValueError:
        return text


OPTIONS: dict[str, Any] = {
    "epochs": Annotated[
        float | None,
        _option("How often each example is learned from; by default as often as time allows.", "N"),
    ],
    "steps": Annotated[int | None, _option("The same in steps of the optimiser.", "N")],
    "batch": Annotated[int | None, _option("Examples that a step learns from.", "N")],
    "rate": Annotated[
        Any,
        typer.Option(
            parser=_rate,
            metavar="NUMBER|find",
            help="Highest learning rate; find: the one that a sweep suggests.",
            rich_help_panel=PANEL,
        ),
    ],
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
            "cross-entropy, focal, class-balanced, probability-l1 (for noisy labels); with "
            "parameters as in focal:gamma=1.5",
            "NAME",
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
    "attack": Annotated[
        str | None,
        _option(
            "Examples changed against the network: n-fgsm, pgd, trades, free, for texts freelb, or "
            "none; with parameters as in n-fgsm:eps=2 (of 255).",
            "NAME",
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
    "average": Annotated[
        float | None,
        _option("Share of the steps that the moving average of weights remembers; 0: none.", "S"),
    ],
    "clip": Annotated[float | None, _option("Largest norm of the gradient; 0: any.", "NUMBER")],
    "warmup": Annotated[
        float | None, _option("Share of the steps in which the rate rises.", "SHARE")
    ],
    "frozen": Annotated[
        float | None, _option("Share of the depth, from the input, that stands still.", "SHARE")
    ],
    "reinit": Annotated[
        float | None,
        _option("Share of the depth, from the head, that begins with random weights.", "SHARE"),
    ],
    "wish": Annotated[
        float | None,
        _option("How much robust accuracy counts beside clean accuracy, where wanted.", "SHARE"),
    ],
    "patience": Annotated[
        int | None,
        _option("Looks without a lower held-back loss that end a run; 0: never.", "N"),
    ],
    "micro_batch": Annotated[
        int | None,
        _option("Examples in memory at once; gradients add up to --batch.", "N", "--micro-batch"),
    ],
    "workers": Annotated[int | None, _option("Processes that decode and augment.", "N")],
    "compile": Annotated[
        bool | None,
        typer.Option("--compile", help="Compile the network first.", rich_help_panel=PANEL),
    ],
    "detector": Annotated[
        str | None,
        _option("For boxes: retinanet, fcos, faster-rcnn or ssdlite (light and quick).", "NAME"),
    ],
    "start": Annotated[
        str | None,
        _option(
            "For boxes: begin with a whole pretrained detector: RT-DETR, RT-DETR v2 or D-FINE, as "
            "a folder or hub repository of transformers, or a .safetensors of torchvision.",
            "START",
        ),
    ],
    "tiles": Annotated[
        int | None,
        _option("For boxes: look at N by N parts of a picture too, for small objects.", "N"),
    ],
    "precision": Annotated[str | None, _option("float32 or bfloat16.", "NAME")],
    "head": Annotated[
        str | None,
        _option(
            "Of --task transcribe: brought, what came with the network and writes already, or "
            "fresh.",
            "NAME",
        ),
    ],
}


def parameters() -> list[Parameter]:
    """Of a function's signature, as typer reads them."""
    return [
        Parameter(name, Parameter.KEYWORD_ONLY, default=None, annotation=kind)
        for name, kind in OPTIONS.items()
    ]
