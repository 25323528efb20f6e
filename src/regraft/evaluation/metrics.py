"""Metrics of a classifier: one table of pure functions, each written once, in weighted form.

A metric maps `Weighted` examples, weights (B, n), to B values. The plain metric is the one with
weights of one; a bootstrap resample is the one weighted by how often each example was drawn
(`regraft.evaluation.intervals`).

Conventions are scikit-learn's, with ``zero_division=0``:

* the prediction is the class with the highest probability, the first one among equals, unless
  `decided` says otherwise (an operating point, `regraft.evaluation.operating`);
* macro averages of precision, recall and F1 run over the classes that occur in the labels or in
  the predictions; balanced accuracy and worst-class recall over those that occur in the labels;
* AUROC averages run over the classes that have both positives and negatives, those of the average
  precision over the classes that have positives. scikit-learn refuses labels that lack a class, or
  counts them as 0; here that class is left out. With no class left the value is NaN;
* ties at the fifth place of top-5 accuracy go to the first class, as in the prediction
  (scikit-learn: to the last).

Micro averages are not in the table: for single-label classification they equal accuracy.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from types import MappingProxyType
from typing import Literal

import numpy as np
import numpy.typing as npt

from regraft.errors import UsageError
from regraft.evaluation.weighted import (
    Array,
    Examples,
    FloatArray,
    IntArray,
    Weighted,
    label_mistakes,
    ratio,
)

BINS = 15  # of the calibration error, as in Guo et al. 2017

Weighting = Callable[[Weighted], FloatArray]


# Per class: (B, c), NaN where a class has nothing to divide by.


def precision(s: Weighted) -> FloatArray:
    """Of what was predicted as the class, the share that is."""
    return ratio(s.hits, s.predicted)


def recall(s: Weighted) -> FloatArray:
    """Of what is the class, the share that was predicted so."""
    return ratio(s.hits, s.support)


def f1(s: Weighted) -> FloatArray:
    """Harmonic mean of precision and recall."""
    return ratio(2 * s.hits, s.support + s.predicted)


def auroc(s: Weighted) -> FloatArray:
    """Chance that an example of the class is ranked above one of the others; ties count half."""
    return s.areas


def specificity(s: Weighted) -> FloatArray:
    """Of what is not the class, the share that was not predicted so."""
    others = s.total[:, None] - s.support
    return ratio(others - (s.predicted - s.hits), others)


def npv(s: Weighted) -> FloatArray:
    """Of what was not predicted as the class, the share that is not."""
    refused = s.total[:, None] - s.predicted
    return ratio(refused - (s.support - s.hits), refused)


def average_precision(s: Weighted) -> FloatArray:
    """Area under the curve of precision over recall, by steps (no interpolation)."""
    return s.average_precisions


# Recall is the sensitivity of a class against the rest, precision its positive predictive value.
PER_CLASS: Mapping[str, Weighting] = MappingProxyType(
    {
        "precision": precision,
        "recall": recall,
        "f1": f1,
        "auroc": auroc,
        "specificity": specificity,
        "npv": npv,
        "average_precision": average_precision,
    }
)
ZERO_WITHOUT = ("precision", "recall", "f1")  # 0 where there is nothing to divide by


# Of the whole: (B,). The table below says in words what each one is.


def accuracy(s: Weighted) -> FloatArray:
    return s.mean(s.examples.correct)


def balanced_accuracy(s: Weighted) -> FloatArray:
    return _average(recall(s), s.support > 0)


def worst_class_recall(s: Weighted) -> FloatArray:
    return np.where(s.support > 0, recall(s), np.inf).min(axis=1)


def macro(of: Weighting) -> Weighting:
    """Mean of a per-class metric over the classes that occur, an undefined one counting as 0."""
    return lambda s: _average(of(s), s.support + s.predicted > 0)


def weighted(of: Weighting) -> Weighting:
    """Mean of a per-class metric weighted by the support, an undefined one counting as 0."""
    return lambda s: _average(of(s), s.support)


def auroc_macro(s: Weighted) -> FloatArray:
    areas = _one_vs_rest(s)
    return _average(areas, ~np.isnan(areas))


def auroc_weighted(s: Weighted) -> FloatArray:
    areas = _one_vs_rest(s)
    return _average(areas, np.where(np.isnan(areas), 0, s.support[:, -areas.shape[1] :]))


def average_precision_macro(s: Weighted) -> FloatArray:
    two = s.examples.classes == 2
    found = s.average_precisions[:, 1:] if two else s.average_precisions
    return _average(found, ~np.isnan(found))


def log_loss(s: Weighted) -> FloatArray:
    low = s.examples.resolution
    return s.mean(-np.log(np.clip(s.examples.of_label, low, 1 - low)))


def brier(s: Weighted) -> FloatArray:
    return s.mean(s.examples.squared_error) / (2 if s.examples.classes == 2 else 1)


def ece(s: Weighted, bins: int = BINS) -> FloatArray:
    """Expected calibration error (Naeini et al. 2015; Guo et al. 2017, 1706.04599)."""
    gap = s.examples.correct - s.examples.confidence
    by_bin = s.sum_by(confidence_bin(s.examples.confidence, bins), bins, gap)
    return np.abs(by_bin).sum(axis=1) / s.total


def confidence_bin(confidence: FloatArray, bins: int) -> IntArray:
    """(n,) the equal-width bin of each confidence: [k/bins, (k+1)/bins), the last one closed."""
    return np.searchsorted(np.linspace(0, 1, bins + 1)[1:-1], confidence, side="right")


def top5_accuracy(s: Weighted) -> FloatArray:
    return s.mean(s.examples.place < 5)


def mcc(s: Weighted) -> FloatArray:
    """Matthews correlation of several classes (Gorodkin 2004); 0 where a side is constant."""
    covariance = s.hits.sum(axis=1) * s.total - (s.support * s.predicted).sum(axis=1)
    of_labels = s.total**2 - (s.support**2).sum(axis=1)
    of_predicted = s.total**2 - (s.predicted**2).sum(axis=1)
    return ratio(covariance, np.sqrt(of_labels * of_predicted), otherwise=0.0)


@dataclass(frozen=True)
class Metric:
    """One row of the table.

    name              stable word for scripts, recipes and JSON
    title             what a person reads
    function          `Weighted` examples → (B,) values
    higher_is_better  False for losses and errors
    needs             "predicted" if the predicted class is enough, else "probabilities"
    definition        what it is, in one line
    min_classes       fewest classes for which it says anything
    """

    name: str
    title: str
    function: Weighting
    higher_is_better: bool
    needs: Literal["predicted", "probabilities"]
    definition: str
    min_classes: int = 2


# fmt: off
_ROWS = (
    Metric("accuracy", "Accuracy", accuracy, True, "predicted",
           "share of the examples whose predicted class is the label"),
    Metric("balanced_accuracy", "Balanced accuracy", balanced_accuracy, True, "predicted",
           "mean recall of the classes that occur in the labels"),
    Metric("worst_class_recall", "Worst-class recall", worst_class_recall, True, "predicted",
           "lowest recall among the classes that occur in the labels"),
    Metric("precision_macro", "Precision (macro)", macro(precision), True, "predicted",
           "mean precision of the classes that occur, each counting the same"),
    Metric("recall_macro", "Recall (macro)", macro(recall), True, "predicted",
           "mean recall of the classes that occur in labels or predictions"),
    Metric("f1_macro", "F1 (macro)", macro(f1), True, "predicted",
           "mean F1 of the classes that occur, each counting the same"),
    Metric("precision_weighted", "Precision (weighted)", weighted(precision), True, "predicted",
           "mean precision of the classes, weighted by their examples"),
    Metric("recall_weighted", "Recall (weighted)", weighted(recall), True, "predicted",
           "mean recall of the classes, weighted by their examples (equals accuracy)"),
    Metric("f1_weighted", "F1 (weighted)", weighted(f1), True, "predicted",
           "mean F1 of the classes, weighted by their examples"),
    Metric("mcc", "Matthews correlation", mcc, True, "predicted",
           "correlation of labels and predictions: 1 perfect, 0 no better than chance"),
    Metric("auroc_macro", "AUROC (macro)", auroc_macro, True, "probabilities",
           "mean one-vs-rest area under the ROC curve; with two classes that of class 1"),
    Metric("auroc_weighted", "AUROC (weighted)", auroc_weighted, True, "probabilities",
           "one-vs-rest area under the ROC curve, classes weighted by their examples"),
    Metric("average_precision_macro", "Average precision (macro)", average_precision_macro, True,
           "probabilities",
           "mean one-vs-rest area under precision over recall; with two classes that of class 1"),
    Metric("log_loss", "Log loss", log_loss, False, "probabilities",
           "mean negative log-likelihood of the labels, in nats"),
    Metric("brier", "Brier score", brier, False, "probabilities",
           "mean squared distance of probabilities from labels, halved for two classes"),
    Metric("ece", "Calibration error (ECE)", ece, False, "probabilities",
           f"mean gap between confidence and accuracy over {BINS} equal-width bins"),
    Metric("top5_accuracy", "Top-5 accuracy", top5_accuracy, True, "probabilities",
           "share of the examples whose label is among the five most likely classes", 6),
)
# fmt: on

METRICS: Mapping[str, Metric] = MappingProxyType({row.name: row for row in _ROWS})


def select(names: Sequence[str] | None, classes: int) -> list[Metric]:
    """The rows of these names; None: every row that applies to this number of classes.

    Raises `UsageError` telling all names that are unknown or need more classes.
    """
    if mistakes := name_mistakes(names, classes):
        raise UsageError(*mistakes)
    applying = [row.name for row in METRICS.values() if row.min_classes <= classes]
    return [METRICS[name] for name in (applying if names is None else names)]


def measure(
    labels: npt.ArrayLike,
    probabilities: npt.ArrayLike,
    *,
    metrics: Sequence[str] | None = None,
    decided: npt.ArrayLike | None = None,
) -> dict[str, float]:
    """Metrics by name, of labels (n,) and probabilities (n, c) that add up to one.

    metrics  names from `METRICS`; None: all that apply to c classes
    decided  (n,) classes that were answered; None: the most probable ones

    NaN where a metric is not defined (AUROC when all labels are of one class).
    Raises `UsageError`.
    """
    mistakes = name_mistakes(metrics, class_count(probabilities))
    examples = Examples.of(labels, probabilities, *mistakes, decided=decided)
    s = Weighted.plain(examples)
    return {row.name: float(row.function(s)[0]) for row in select(metrics, examples.classes)}


def per_class(
    labels: npt.ArrayLike, probabilities: npt.ArrayLike, decided: npt.ArrayLike | None = None
) -> list[dict[str, float]]:
    """A row per class: the metrics of PER_CLASS, one-vs-rest, and support (an int).

    Precision, recall and F1 are 0 where there is nothing to divide by (see support), the others
    NaN: AUROC where the class is absent or the only one, NPV where all were predicted as the class.
    Raises `UsageError`.
    """
    s = Weighted.plain(Examples.of(labels, probabilities, decided=decided))
    columns = {name: of(s)[0] for name, of in PER_CLASS.items()}
    columns |= {name: np.nan_to_num(columns[name]) for name in ZERO_WITHOUT}
    return [
        {name: float(column[k]) for name, column in columns.items()} | {"support": int(support)}
        for k, support in enumerate(s.support[0])
    ]


def confusion_matrix(labels: npt.ArrayLike, predicted: npt.ArrayLike, classes: int) -> IntArray:
    """(c, c) counts: a row per true class, a column per predicted one. Raises `UsageError`."""
    y, p = np.asarray(labels), np.asarray(predicted)
    mistakes = label_mistakes(y, classes) + label_mistakes(p, classes, "predicted")
    if y.shape != p.shape:
        mistakes.append(f"predicted: expected one per label, {y.shape}, got {p.shape}")
    if mistakes:
        raise UsageError(*mistakes)
    cells = y.astype(np.int64) * classes + p.astype(np.int64)
    return np.bincount(cells, minlength=classes**2).reshape(classes, classes)


def name_mistakes(names: Sequence[str] | None, classes: float) -> list[str]:
    """What is wrong with names of metrics for this number of classes, in words."""
    if names is not None and not names:
        return [f"metrics: expected at least one name of: {', '.join(METRICS)}"]
    return [text for name in names or () if (text := _name_mistake(name, classes))]


def class_count(probabilities: npt.ArrayLike) -> float:
    """Number of columns; enough for any metric where that is the mistake to tell."""
    shape = np.shape(probabilities)
    return shape[1] if len(shape) == 2 else np.inf


def _name_mistake(name: str, classes: float) -> str | None:
    if name not in METRICS:
        close = get_close_matches(name, METRICS, n=1)
        guess = f"did you mean {close[0]}? " if close else ""
        return f"metrics: {name!r} is unknown; {guess}Known: {', '.join(METRICS)}"
    needed = METRICS[name].min_classes
    return f"metrics: {name} needs {needed} classes, got {classes}" if classes < needed else None


def _average(values: FloatArray, weights: Array) -> FloatArray:
    """(B, c) → (B,) weighted means, undefined values as 0; NaN where all weights are 0."""
    return ratio((np.nan_to_num(values) * weights).sum(axis=1), 1.0 * weights.sum(axis=1))


def _one_vs_rest(s: Weighted) -> FloatArray:
    """Areas (B, c); of two classes only that of class 1, (B, 1)."""
    return s.areas[:, 1:] if s.examples.classes == 2 else s.areas
