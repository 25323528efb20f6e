"""Every metric against scikit-learn, and what must always hold."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
import sklearn.metrics as sk
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from regraft.errors import UsageError
from regraft.evaluation.metrics import METRICS, confusion_matrix, measure, per_class, select
from regraft.evaluation.weighted import Examples, Weighted

Arrays = tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]
Reference = Callable[[npt.NDArray[np.int64], npt.NDArray[np.float64]], float]

pytestmark = pytest.mark.filterwarnings("ignore")  # scikit-learn's on absent classes


def continuous(seed: int, n: int, c: int, signal: float = 1.5) -> Arrays:
    """Labels that hold every class if n >= c, and probabilities without ties."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(n) % c)
    scores = rng.normal(size=(n, c))
    scores[np.arange(n), labels] += signal * rng.random(n)
    odds = np.exp(scores)
    return labels, odds / odds.sum(axis=1, keepdims=True)


@st.composite
def tied(draw: st.DrawFn, min_n: int = 1, min_c: int = 2) -> Arrays:
    """A few examples with many equal probabilities and, often, absent classes."""
    c, n = draw(st.integers(min_c, 7)), draw(st.integers(min_n, 30))
    labels = draw(st.lists(st.integers(0, c - 1), min_size=n, max_size=n))
    row = st.lists(st.integers(0, 3), min_size=c, max_size=c).filter(any)
    odds = np.array(draw(st.lists(row, min_size=n, max_size=n)), dtype=float)
    return np.array(labels), odds / odds.sum(axis=1, keepdims=True)


def averaged(score: Callable[..., float], average: str) -> Reference:
    return lambda y, p: score(y, p.argmax(axis=1), average=average, zero_division=0)


def auroc(average: str) -> Reference:
    def reference(y: npt.NDArray[np.int64], p: npt.NDArray[np.float64]) -> float:
        if p.shape[1] == 2:
            return sk.roc_auc_score(y, p[:, 1], average=average)
        areas = {k: sk.roc_auc_score(y == k, p[:, k]) for k in set(y.tolist())}
        support = [np.sum(y == k) if average == "weighted" else 1 for k in areas]
        return float(np.average(list(areas.values()), weights=support))

    return reference


def average_precision(y: npt.NDArray[np.int64], p: npt.NDArray[np.float64]) -> float:
    classes = [1] if p.shape[1] == 2 else range(p.shape[1])
    of = [sk.average_precision_score(y == k, p[:, k]) for k in classes if (y == k).any()]
    return float(np.mean(of)) if of else np.nan


def lowest_recall(y: npt.NDArray[np.int64], p: npt.NDArray[np.float64]) -> float:
    present = np.unique(y)
    return sk.recall_score(y, p.argmax(axis=1), labels=present, average=None).min()


def calibration_error(y: npt.NDArray[np.int64], p: npt.NDArray[np.float64]) -> float:
    """By the definition (torchmetrics, in single precision: see test_calibration.py)."""
    confidence, correct = p.max(axis=1), p.argmax(axis=1) == y
    total = 0.0
    for k in range(15):
        here = (confidence >= k / 15) & ((confidence < (k + 1) / 15) | (k == 14))
        if here.any():
            total += here.mean() * abs(correct[here].mean() - confidence[here].mean())
    return total


REFERENCES: dict[str, Reference] = {
    "accuracy": lambda y, p: sk.accuracy_score(y, p.argmax(axis=1)),
    "balanced_accuracy": lambda y, p: sk.balanced_accuracy_score(y, p.argmax(axis=1)),
    "worst_class_recall": lowest_recall,
    "precision_macro": averaged(sk.precision_score, "macro"),
    "recall_macro": averaged(sk.recall_score, "macro"),
    "f1_macro": averaged(sk.f1_score, "macro"),
    "precision_weighted": averaged(sk.precision_score, "weighted"),
    "recall_weighted": averaged(sk.recall_score, "weighted"),
    "f1_weighted": averaged(sk.f1_score, "weighted"),
    "mcc": lambda y, p: sk.matthews_corrcoef(y, p.argmax(axis=1)),
    "auroc_macro": auroc("macro"),
    "auroc_weighted": auroc("weighted"),
    "average_precision_macro": average_precision,
    "log_loss": lambda y, p: sk.log_loss(y, p, labels=range(p.shape[1])),
    "brier": lambda y, p: sk.brier_score_loss(y, p, labels=range(p.shape[1])),
    "ece": calibration_error,
    "top5_accuracy": lambda y, p: sk.top_k_accuracy_score(y, p, k=5, labels=range(p.shape[1])),
}


def test_every_metric_has_a_reference() -> None:
    assert REFERENCES.keys() == METRICS.keys()
    assert all(name == row.name for name, row in METRICS.items())


SIZES = [(60, 2), (200, 3), (341, 10), (1000, 77)]


@pytest.mark.parametrize(
    ("name", "n", "c"), [(row.name, n, c) for n, c in SIZES for row in select(None, c)]
)
def test_equals_the_reference(name: str, n: int, c: int) -> None:
    for seed in range(3):
        y, p = continuous(seed, n, c)
        ours = measure(y, p, metrics=[name])[name]
        assert ours == pytest.approx(REFERENCES[name](y, p), rel=0, abs=1e-12)


@pytest.mark.parametrize("name", sorted(METRICS.keys() - {"top5_accuracy"}))
@settings(max_examples=20)
@given(examples=tied())
def test_equals_the_reference_with_ties_and_absent_classes(name: str, examples: Arrays) -> None:
    y, p = examples
    assume("auroc" not in name or len(np.unique(y)) > 1)
    ours = measure(y, p, metrics=[name])[name]
    assert ours == pytest.approx(REFERENCES[name](y, p), rel=0, abs=1e-12, nan_ok=True)


@settings(max_examples=50)
@given(examples=tied(min_c=6))
def test_top5_breaks_ties_like_the_prediction(examples: Arrays) -> None:
    y, p = examples
    by_rank = [sorted(range(len(row)), key=lambda k: (-row[k], k)) for row in p]
    expected = np.mean([label in order[:5] for label, order in zip(y, by_rank, strict=True)])
    assert measure(y, p)["top5_accuracy"] == pytest.approx(expected, abs=1e-12)


def test_auroc_of_every_class_equals_one_vs_rest_of_scikit_learn() -> None:
    y, p = continuous(0, 300, 5)
    assert measure(y, p)["auroc_macro"] == pytest.approx(
        sk.roc_auc_score(y, p, multi_class="ovr", average="macro"), abs=1e-12
    )
    assert measure(y, p)["auroc_weighted"] == pytest.approx(
        sk.roc_auc_score(y, p, multi_class="ovr", average="weighted"), abs=1e-12
    )


@settings(max_examples=50)
@given(examples=tied(), data=st.data())
def test_a_weight_counts_like_repeating_the_example(examples: Arrays, data: st.DataObject) -> None:
    y, p = examples
    count = st.lists(st.integers(0, 3), min_size=len(y), max_size=len(y)).filter(any)
    times = np.array(data.draw(st.lists(count, min_size=1, max_size=3)))
    s = Weighted(Examples.of(y, p), times.astype(float))
    repeated = [measure(np.repeat(y, t), np.repeat(p, t, axis=0)) for t in times]
    for row in select(None, p.shape[1]):
        expected = [values[row.name] for values in repeated]
        np.testing.assert_allclose(row.function(s), expected, rtol=0, atol=1e-12)


@settings(max_examples=50)
@given(examples=tied(), data=st.data())
def test_the_order_of_the_examples_does_not_matter(examples: Arrays, data: st.DataObject) -> None:
    y, p = examples
    order = data.draw(st.permutations(range(len(y))))
    assert measure(y[order], p[order]) == pytest.approx(measure(y, p), abs=1e-12, nan_ok=True)


LOWEST = {"mcc": -1.0}
HIGHEST = {"brier": 2.0, "log_loss": np.inf}


@settings(max_examples=50)
@given(examples=tied())
def test_metrics_stay_within_their_bounds(examples: Arrays) -> None:
    for name, value in measure(*examples).items():
        if not np.isnan(value):
            assert LOWEST.get(name, 0.0) - 1e-12 <= value <= HIGHEST.get(name, 1.0) + 1e-12


@pytest.mark.parametrize("c", [2, 8])
def test_perfect_probabilities_are_best(c: int) -> None:
    labels = np.arange(24) % c
    best = measure(labels, np.eye(c)[labels])
    for name, value in best.items():
        assert value == pytest.approx(float(METRICS[name].higher_is_better), abs=1e-12)
    worse = measure(*continuous(0, 24, c, signal=0.0))
    for name, row in METRICS.items():
        if name in best:
            assert (worse[name] < best[name]) == row.higher_is_better


def test_what_a_metric_needs_is_what_it_reads() -> None:
    y, p = continuous(1, 200, 8)
    full, bare = measure(y, p), measure(y, np.eye(8)[p.argmax(axis=1)])
    reads_more = {name for name in full if full[name] != pytest.approx(bare[name], abs=1e-12)}
    assert reads_more == {name for name, row in METRICS.items() if row.needs == "probabilities"}


def test_auroc_leaves_out_an_absent_class_and_is_unknown_with_one_class() -> None:
    y = np.array([0, 0, 1, 1])
    p = np.array([[0.7, 0.2, 0.1], [0.3, 0.4, 0.3], [0.4, 0.5, 0.1], [0.1, 0.8, 0.1]])
    assert measure(y, p)["auroc_macro"] == pytest.approx((0.75 + 1.0) / 2)
    assert np.isnan(measure(y[:2], p[:2])["auroc_macro"])
    assert np.isnan(measure(y[:2], p[:2])["auroc_weighted"])


def test_auroc_of_two_classes_ranks_by_class_1() -> None:
    """Where the probability of class 0 is rounded to one, only class 1 still tells a rank."""
    rare = np.array([1e-20, 1e-18])
    p = np.stack([1 - rare, rare], axis=1)
    found = measure([0, 1], p)
    assert found["auroc_macro"] == found["auroc_weighted"] == sk.roc_auc_score([0, 1], rare) == 1
    assert per_class([0, 1], p)[0]["auroc"] == 0.5


def test_log_loss_is_limited_by_the_precision_given() -> None:
    wrong = np.array([[1.0, 0.0]])
    for dtype in (np.float32, np.float64):
        loss = measure([1], wrong.astype(dtype), metrics=["log_loss"])["log_loss"]
        assert loss == pytest.approx(-np.log(np.finfo(dtype).eps))


@settings(max_examples=50)
@given(examples=tied())
def test_per_class_equals_scikit_learn(examples: Arrays) -> None:
    y, p = examples
    c = p.shape[1]
    rows = per_class(y, p)
    expected = sk.precision_recall_fscore_support(
        y, p.argmax(axis=1), labels=range(c), zero_division=0
    )
    for name, column in zip(("precision", "recall", "f1", "support"), expected, strict=True):
        np.testing.assert_allclose([row[name] for row in rows], column, rtol=0, atol=1e-12)
    for k, row in enumerate(rows):
        known = 0 < np.sum(y == k) < len(y)
        area = sk.roc_auc_score(y == k, p[:, k]) if known else np.nan
        assert row["auroc"] == pytest.approx(area, abs=1e-12, nan_ok=True)
        truth, called = y == k, p.argmax(axis=1) == k
        others = sk.recall_score(~truth, ~called, zero_division=np.nan)
        assert row["specificity"] == pytest.approx(others, abs=1e-12, nan_ok=True)
        refused = sk.precision_score(~truth, ~called, zero_division=np.nan)
        assert row["npv"] == pytest.approx(refused, abs=1e-12, nan_ok=True)
        steps = sk.average_precision_score(truth, p[:, k]) if truth.any() else np.nan
        assert row["average_precision"] == pytest.approx(steps, abs=1e-12, nan_ok=True)


def test_what_was_decided_takes_the_place_of_the_most_probable_class() -> None:
    y, p = continuous(2, 120, 3)
    decided = np.random.default_rng(0).integers(0, 3, 120)
    found = measure(y, p, decided=decided)
    assert found["accuracy"] == pytest.approx(sk.accuracy_score(y, decided), abs=1e-12)
    assert found["mcc"] == pytest.approx(sk.matthews_corrcoef(y, decided), abs=1e-12)
    same = ("auroc_macro", "average_precision_macro", "log_loss", "brier")
    assert {name: found[name] for name in same} == measure(y, p, metrics=same)
    for k, row in enumerate(per_class(y, p, decided)):
        assert row["recall"] == pytest.approx(sk.recall_score(y == k, decided == k), abs=1e-12)
    assert measure(y, p, decided=p.argmax(axis=1)) == measure(y, p)


@pytest.mark.parametrize(
    ("decided", "told"),
    [([0], r"decided: expected one per row, \(2,\)"), ([0, 2], "decided: expected 0 to 1, got 2")],
)
def test_wrong_decisions_are_told(decided: list[int], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        measure([0, 1], np.eye(2), decided=decided)


@settings(max_examples=50)
@given(examples=tied())
def test_confusion_matrix_equals_scikit_learn(examples: Arrays) -> None:
    y, p = examples
    c, predicted = p.shape[1], p.argmax(axis=1)
    matrix = confusion_matrix(y, predicted, c)
    np.testing.assert_array_equal(matrix, sk.confusion_matrix(y, predicted, labels=range(c)))
    assert matrix.dtype == np.int64


def test_small_label_types_do_not_overflow() -> None:
    labels = np.array([99, 100], dtype=np.uint8)
    assert confusion_matrix(labels, labels, 101)[100, 100] == 1
    assert measure(labels, np.eye(101, dtype=np.float32)[labels])["accuracy"] == 1


@pytest.mark.parametrize(
    ("labels", "probabilities", "told"),
    [
        ([0, 2], [[0.5, 0.5], [0.5, 0.5]], "labels: expected 0 to 1, got 2 in row 1"),
        ([-1], [[0.5, 0.5]], "got -1 in row 0"),
        ([0.0], [[0.5, 0.5]], "labels: expected \\(n,\\) integers"),
        ([[0]], [[0.5, 0.5]], "labels: expected \\(n,\\) integers"),
        ([0], [[0.5, 0.5], [0.5, 0.5]], "expected a row per label \\(1\\), got 2"),
        ([0], [0.5, 0.5], "expected \\(n, c\\) numbers"),
        ([0], [[1.0]], "at least one row and two classes"),
        ([], np.zeros((0, 3)), "at least one row"),
        (0, 0.5, "expected \\(n, c\\) numbers"),
        ([0], [["a", "b"]], "expected \\(n, c\\) numbers"),
        ([0, 0], [[0.5, 0.5], [np.nan, 1]], "NaN or infinity in row 1"),
        ([0, 0], [[0.5, 0.5], [3.0, -2.0]], "row 1 goes from -2 to 3 .*softmax"),
        ([0], [[0.9, 0.9]], "adds up to 1.8"),
    ],
)
def test_wrong_arrays_are_told(labels: object, probabilities: object, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        measure(labels, probabilities)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=told):
        per_class(labels, probabilities)  # type: ignore[arg-type]


def test_all_mistakes_are_told_together() -> None:
    with pytest.raises(UsageError) as caught:
        measure([5], [[np.nan, 0.5]], metrics=["acuracy", "top5_accuracy"])
    told = str(caught.value)
    assert "got 5 in row 0" in told
    assert "NaN" in told
    assert "did you mean accuracy?" in told
    assert "top5_accuracy needs 6 classes, got 2" in told


def test_select_refuses_no_names_and_gives_rows_in_the_order_asked() -> None:
    with pytest.raises(UsageError, match="at least one name"):
        select([], 3)
    assert [row.name for row in select(["ece", "accuracy"], 3)] == ["ece", "accuracy"]
    assert "top5_accuracy" not in [row.name for row in select(None, 5)]
    assert "top5_accuracy" in [row.name for row in select(None, 6)]


def test_confusion_matrix_tells_its_mistakes() -> None:
    with pytest.raises(UsageError) as caught:
        confusion_matrix([0, 3], [0, 1, 7], 3)
    assert len(caught.value.mistakes) == 3
