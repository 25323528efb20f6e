"""Losses by name: what one example costs, and how classes are weighted.

Every loss gives one number for each example, so that the caller can average them as it likes and
name the file of one that is not a number.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from regraft.errors import UsageError
from regraft.training.bounded import probability_l1
from regraft.training.contrast import supervised_contrast
from regraft.training.settings import (
    Parameter,
    Setting,
    complete,
    parameter_mistakes,
    parse,
    unknown,
)

PerExample = Callable[..., Tensor]


@dataclass(frozen=True)
class LossRow:
    """One loss.

    told         one plain sentence
    source       the paper or the textbook name
    task         ``classes``: one of several; ``labels``: any of several; ``values``: numbers
    per_example  (outputs (n, c), targets (n, c), weights (c,) or None, parameters) → (n,)
    counted      whether it needs the number of examples of each class
    embeds       whether it compares examples with one another: `per_example` gets their embeddings
                 (n, d) as well, before the parameters
    """

    name: str
    told: str
    source: str
    task: str
    per_example: PerExample
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    counted: bool = False
    embeds: bool = False


@dataclass(frozen=True, eq=False)
class Loss:
    """A loss with its parameters; call it with what the network gave and what was right.

    parameters  all of them, also those by default
    weights     (classes,), or (2, classes) of labels that are lacking and there; None: all alike
    """

    row: LossRow
    classes: int
    weights: Tensor | None
    parameters: Mapping[str, float]

    @property
    def compares(self) -> bool:
        """Whether it compares the examples of a batch with one another."""
        return self.row.embeds

    def __call__(
        self, outputs: Tensor, targets: Tensor, embeddings: Tensor | None = None
    ) -> Tensor:
        """What each example costs, (n,); not averaged. Half precision is computed in float32.

        outputs     (n, classes): logits, or values where the task is ``values``
        targets     (n, classes): one-hot or soft (rows that sum to 1), labels in [0, 1], or values
        embeddings  (n, d), for a loss that compares examples; None: the outputs themselves
        Raises UsageError where a shape is another one.
        """
        expected = (len(outputs), self.classes)
        for name, tensor in (("outputs", outputs), ("targets", targets)):
            if tuple(tensor.shape) != expected:
                shape = tuple(tensor.shape)
                raise UsageError(f"loss {self.row.name}: {name} have shape {shape}, not {expected}")
        outputs = outputs if outputs.dtype == torch.float64 else outputs.float()
        weights = None if self.weights is None else self.weights.to(outputs)
        compared = (outputs if embeddings is None else embeddings,) if self.row.embeds else ()
        given = (outputs, targets.to(outputs), weights, *compared)
        return self.row.per_example(*given, self.parameters)


def parse_setting(text: str) -> Setting:
    """Read a loss with parameters from text, as in ``focal:gamma=1.5,smoothing=0.1``.

    Raises UsageError with all that is wrong: the name, the parameters, their values.
    """
    return parse("loss", text, LOSSES)


def loss(
    name: str,
    *,
    classes: int,
    weights: Tensor | None = None,
    counts: Tensor | None = None,
    **parameters: float,
) -> Loss:
    """The loss of a name in LOSSES.

    classes     number of columns: classes, labels or values
    weights     (classes,) of each column, 0 or more, as `class_weights` gives them; of labels also
                (2, classes), as `objectives.label_weights` does
    counts      (classes,) number of examples of each class, for a loss that makes its own weights
    parameters  see the row's; what is left out has its default
    Raises UsageError with all that is wrong.
    """
    if name not in LOSSES:
        raise UsageError(unknown("loss", name, LOSSES))
    row = LOSSES[name]
    mistakes = parameter_mistakes(f"loss {name}", parameters, row)
    if mistakes := mistakes + list(_column_mistakes(row, classes, weights, counts)):
        raise UsageError(*mistakes)
    settled = complete(parameters, row)
    if counts is not None:
        weights = class_weights(counts, "effective", beta=settled["beta"])
    return Loss(row, classes, weights, settled)


def loss_of(text: str, labels: Tensor, classes: int, weights: Tensor | None) -> Loss:
    """The loss of a plan, such as ``focal:gamma=1.5``, for examples with these labels (n,)."""
    name, given = parse_setting(text)
    named: dict[str, Any] = {**given, "weights": weights}
    if LOSSES[name].counted:
        named["counts"] = torch.bincount(torch.as_tensor(labels))
    return loss(name, classes=classes, **named)


def _column_mistakes(
    row: LossRow, classes: int, weights: Tensor | None, counts: Tensor | None
) -> Iterator[str]:
    fewest = 2 if row.task == "classes" else 1
    if type(classes) is not int or classes < fewest:
        yield f"classes: {classes!r} is not a whole number of at least {fewest}"
    if row.counted and weights is not None:
        yield f"weights: loss {row.name} makes its own from counts; leave them out"
    if row.counted != (counts is not None):
        needs = "needs the number of examples of each class" if row.counted else "takes none"
        yield f"counts: loss {row.name} {needs}"
    pairs = row.task == "labels" and weights is not None and weights.shape == (2, classes)
    for name, given in (("weights", None if pairs else weights), ("counts", counts)):
        if given is not None and not _are_columns(given, classes):
            yield f"{name}: not {classes} finite numbers of 0 or more with one above 0"


def _are_columns(given: Tensor, classes: int) -> bool:
    if given.shape != (classes,):
        return False
    return bool(given.isfinite().all() and (given >= 0).all() and (given > 0).any())


def _cross_entropy(
    outputs: Tensor, targets: Tensor, weights: Tensor | None, parameters: Mapping[str, float]
) -> Tensor:
    smoothing = parameters["smoothing"]
    return F.cross_entropy(outputs, targets, weights, label_smoothing=smoothing, reduction="none")


def _contrastive(
    outputs: Tensor,
    targets: Tensor,
    weights: Tensor | None,
    embeddings: Tensor,
    parameters: Mapping[str, float],
) -> Tensor:
    own = _cross_entropy(outputs, targets, weights, parameters)
    pairs = supervised_contrast(embeddings, targets, parameters["temperature"])
    return (1 - parameters["share"]) * own + parameters["share"] * pairs


def _focal(
    outputs: Tensor, targets: Tensor, weights: Tensor | None, parameters: Mapping[str, float]
) -> Tensor:
    """Sum over the classes of −w y (1 − p)^γ log p."""
    logs = outputs.log_softmax(1)
    smoothing = parameters["smoothing"]
    soft = targets * (1 - smoothing) + smoothing / outputs.shape[1]
    costs = -soft * logs * _powered(-torch.expm1(logs), parameters["gamma"])
    return (costs if weights is None else costs * weights).sum(1)


def _binary(
    outputs: Tensor, targets: Tensor, weights: Tensor | None, parameters: Mapping[str, float]
) -> Tensor:
    cells = _of_cells(weights, targets)
    return F.binary_cross_entropy_with_logits(outputs, targets, cells, reduction="none").mean(1)


def _of_cells(weights: Tensor | None, targets: Tensor) -> Tensor | None:
    """(n, k) weights, where lacking and present labels have their own."""
    if weights is None or weights.ndim == 1:
        return weights
    return targets * weights[1] + (1 - targets) * weights[0]


def _binary_focal(
    outputs: Tensor, targets: Tensor, weights: Tensor | None, parameters: Mapping[str, float]
) -> Tensor:
    """torchvision's loses the gradient (NaN) of sure outputs where gamma is below 1."""
    alpha = parameters["alpha"]
    cells = _of_cells(weights, targets)
    costs = F.binary_cross_entropy_with_logits(outputs, targets, cells, reduction="none")
    wrong = targets * torch.sigmoid(-outputs) + (1 - targets) * torch.sigmoid(outputs)
    share = alpha * targets + (1 - alpha) * (1 - targets)
    return (share * _powered(wrong, parameters["gamma"]) * costs).mean(1)


def _powered(shares: Tensor, exponent: float) -> Tensor:
    """shares^exponent with a finite gradient at 0: below the smallest normal number it is none."""
    return shares.clamp(min=torch.finfo(shares.dtype).tiny) ** exponent


def _weighted_mean(costs: Tensor, weights: Tensor | None) -> Tensor:
    return (costs if weights is None else costs * weights).mean(1)


def _smooth_l1(
    outputs: Tensor, targets: Tensor, weights: Tensor | None, parameters: Mapping[str, float]
) -> Tensor:
    costs = F.smooth_l1_loss(outputs, targets, beta=parameters["beta"], reduction="none")
    return _weighted_mean(costs, weights)


def _l2(
    outputs: Tensor, targets: Tensor, weights: Tensor | None, parameters: Mapping[str, float]
) -> Tensor:
    return _weighted_mean(F.mse_loss(outputs, targets, reduction="none"), weights)


def _l1(
    outputs: Tensor, targets: Tensor, weights: Tensor | None, parameters: Mapping[str, float]
) -> Tensor:
    return _weighted_mean(F.l1_loss(outputs, targets, reduction="none"), weights)


SMOOTHING = Parameter(0.0, 0.0, 0.9, "share of each target that is spread over all classes")
GAMMA = Parameter(2.0, 0.0, 10.0, "how little sure examples count; 0 is the plain loss")
BETA = Parameter(0.999, 0.0, 1 - 1e-9, "0 weights classes alike; towards 1: by 1 / count")
ALPHA = Parameter(0.25, 0.0, 1.0, "weight of labels that are there; the others get the rest")
SHARE = Parameter(0.5, 0.0, 1.0, "of the pairs; cross-entropy has the rest")
TEMPERATURE = Parameter(0.1, 0.01, 10.0, "how far the nearest others count before far ones")
CORNER = Parameter(0.1, 1e-6, 1.0, "distance of probabilities below which the loss is squared")
WIDTH = Parameter(1.0, 1e-6, 1e6, "distance below which the loss is squared")

LOSSES: Mapping[str, LossRow] = MappingProxyType(
    {
        row.name: row
        for row in (
            LossRow(
                "cross-entropy",
                "The usual loss for one class of several.",
                "textbook; label smoothing: Szegedy 2016, 1512.00567",
                "classes",
                _cross_entropy,
                {"smoothing": SMOOTHING},
            ),
            LossRow(
                "focal",
                "Cross-entropy in which examples that are already right count less.",
                "Lin 2017, 1708.02002, with softmax",
                "classes",
                _focal,
                {"gamma": GAMMA, "smoothing": SMOOTHING},
            ),
            LossRow(
                "probability-l1",
                "Smooth L1 between the probabilities and the label: a wrong label costs only so "
                "much, however sure the network is.",
                "Girshick 2015, 1504.08083; against noisy labels: Ghosh 2017, 1712.09482",
                "classes",
                probability_l1,
                {"beta": CORNER},
            ),
            LossRow(
                "class-balanced",
                "Cross-entropy in which rare classes count more, by their effective number.",
                "Cui 2019, 1901.05555",
                "classes",
                _cross_entropy,
                {"beta": BETA, "smoothing": SMOOTHING},
                counted=True,
            ),
            LossRow(
                "contrastive",
                "Cross-entropy beside pairs: those of one class are drawn together.",
                "Khosla 2020, 2004.11362; Gunel 2021, 2011.01403",
                "classes",
                _contrastive,
                {"share": SHARE, "temperature": TEMPERATURE, "smoothing": SMOOTHING},
                embeds=True,
            ),
            LossRow(
                "binary",
                "The usual loss for any number of labels: each is there or not.",
                "textbook",
                "labels",
                _binary,
            ),
            LossRow(
                "binary-focal",
                "The loss for labels in which those that are already right count less.",
                "Lin 2017, 1708.02002",
                "labels",
                _binary_focal,
                {"gamma": GAMMA, "alpha": ALPHA},
            ),
            LossRow(
                "smooth-l1",
                "The distance, squared where it is small: a few wild values harm little.",
                "Huber 1964; Girshick 2015, 1504.08083",
                "values",
                _smooth_l1,
                {"beta": WIDTH},
            ),
            LossRow("l2", "The squared distance; finds the mean.", "textbook", "values", _l2),
            LossRow("l1", "The distance; finds the median.", "textbook", "values", _l1),
        )
    }
)

# Weights of classes -------------------------------------------------------------------------------


@dataclass(frozen=True)
class WeightingRow:
    """One way to weight classes: (counts (c,) of at least 1, parameters) → (c,), in any scale."""

    name: str
    told: str
    source: str
    raw: Callable[[Tensor, Mapping[str, float]], Tensor]
    parameters: Mapping[str, Parameter] = field(default_factory=dict)


def _effective(counts: Tensor, parameters: Mapping[str, float]) -> Tensor:
    """(1 − β) / (1 − β^n), the inverse of the effective number; 1 at β = 0."""
    beta = parameters["beta"]
    if beta == 0:
        return torch.ones_like(counts)
    return (1 - beta) / -torch.expm1(counts * math.log(beta))


WEIGHTINGS: Mapping[str, WeightingRow] = MappingProxyType(
    {
        row.name: row
        for row in (
            WeightingRow("none", "All alike.", "", lambda n, _: torch.ones_like(n)),
            WeightingRow("inverse", "By 1 / count.", "King and Zeng 2001", lambda n, _: 1 / n),
            WeightingRow(
                "inverse-root",
                "By 1 / √count.",
                "Mahajan 2018, 1805.00932",
                lambda n, _: n.rsqrt(),
            ),
            WeightingRow(
                "effective",
                "By the effective number of examples.",
                "Cui 2019, 1901.05555",
                _effective,
                {"beta": BETA},
            ),
        )
    }
)


def class_weights(counts: Tensor, how: str, **parameters: float) -> Tensor:
    """Weights (c,) float64 of classes from their numbers of examples (c,), by a row of WEIGHTINGS.

    Their mean over the examples is 1, so that the learning rate keeps its meaning (Cui 2019 takes
    the mean over the classes). A class without examples is weighted as if it had one.
    Raises UsageError with all that is wrong.
    """
    if how not in WEIGHTINGS:
        raise UsageError(unknown("class weights", how, WEIGHTINGS))
    row = WEIGHTINGS[how]
    mistakes = parameter_mistakes(f"class weights {how}", parameters, row)
    if not _are_columns(counts, counts.numel()):
        mistakes.append("counts: not one finite number of 0 or more per class with one above 0")
    if mistakes:
        raise UsageError(*mistakes)
    counts = counts.double()
    raw = row.raw(counts.clamp(min=1), complete(parameters, row))
    return raw * (counts.sum() / (raw * counts).sum())
