"""Trivial baselines against scikit-learn and by hand."""

from functools import partial

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.datasets import load_digits
from sklearn.dummy import DummyClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import Ridge, RidgeClassifierCV
from sklearn.preprocessing import StandardScaler

from regraft.modalities import modality
from regraft.modalities.facts import THUMB, Facts
from regraft.transfer.baselines import BASELINES, majority, plain_ridge, tf_idf_ridge

raw_pixels = partial(plain_ridge, modality("image").plainly)

Array = npt.NDArray[np.float64]


@pytest.fixture(scope="module")
def digits() -> tuple[Array, Array, Array, Array]:
    """Learned rows, their labels, held-out rows, theirs: disjoint, 300 and 500."""
    found = load_digits()
    order = np.random.default_rng(0).permutation(len(found.target))
    x, y = found.data[order] / 16, found.target[order]
    return x[:300], y[:300], x[300:800], y[300:800]


def test_majority_is_scikit_learns_prior() -> None:
    labels = np.array([2, 0, 2, 1, 2, 0])
    truth = DummyClassifier(strategy="prior").fit(np.zeros((6, 1)), labels)
    found = majority(labels, 3, 4)
    assert found.name == "majority class"
    np.testing.assert_allclose(found.scores, truth.predict_proba(np.zeros((4, 1))))


def test_majority_knows_classes_that_no_example_has() -> None:
    found = majority(np.array([1, 1, 0]), 5, 2)
    assert found.scores.shape == (2, 5)
    assert found.scores.argmax(1).tolist() == [1, 1]
    np.testing.assert_allclose(found.scores.sum(1), 1)


def test_raw_pixels_come_close_to_scikit_learns_ridge(
    digits: tuple[Array, Array, Array, Array],
) -> None:
    learned, labels, held, truth = digits
    found = raw_pixels(learned, labels, held, 10, seed=0)
    assert found.scores.shape == (500, 10)
    scale = StandardScaler().fit(learned)
    other = RidgeClassifierCV(np.logspace(-1, 4, 25)).fit(scale.transform(learned), labels)
    ours = (found.scores.argmax(1) == truth).mean()
    assert ours > other.score(scale.transform(held), truth) - 0.02
    assert ours > 0.85


def test_raw_pixels_repeat_and_learn_nothing_from_shuffled_labels(
    digits: tuple[Array, Array, Array, Array],
) -> None:
    learned, labels, held, truth = digits
    first, second = (raw_pixels(learned, labels, held, 10, seed=3).scores for _ in range(2))
    assert np.array_equal(first, second)
    shuffled = np.random.default_rng(1).permutation(labels)
    chance = (raw_pixels(learned, shuffled, held, 10, seed=0).scores.argmax(1) == truth).mean()
    assert chance < 0.25


def test_the_plain_vector_of_a_picture_is_its_squashed_pixels() -> None:
    """16 × 16 × 3 means of the 32 × 32 thumbnail, in [0, 1]: what the detail line says."""
    thumb = np.random.default_rng(0).integers(0, 256, (THUMB, THUMB, 3), dtype=np.uint8)
    facts = Facts(900, 600, "RGB", "PNG", 1, 1, thumb)
    by_hand = thumb.astype(float).reshape(16, 2, 16, 2, 3).mean((1, 3)) / 255
    found = modality("image").plain(facts)
    np.testing.assert_allclose(found.reshape(16, 16, 3), by_hand, atol=1e-6)
    places = np.array([0, 1, 0, 1])
    detail = raw_pixels(found[None].repeat(4, 0), places, found[None], 2, 0).detail
    assert detail == "ridge on 16 × 16 pixels"


def test_counted_words_are_scikit_learns_tf_idf() -> None:
    """Against its own vectoriser and ridge, from the texts themselves."""
    rng, kind = np.random.default_rng(0), modality("text")
    every = [f"w{i}" for i in range(60)]
    likely = rng.dirichlet(np.full(60, 0.1), 4)
    labels = np.arange(160) % 4
    texts = [" ".join(rng.choice(every, int(rng.integers(4, 30)), p=likely[c])) for c in labels]
    texts[-1] = "nothing that was seen"
    vectors = TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2), token_pattern=r"\w+")
    theirs = vectors.fit_transform(texts[:120])
    ridge = Ridge(1.0).fit(theirs, np.eye(4)[labels[:120]])
    plain = np.stack([kind.plain(kind.decode(text.encode(), "x").facts) for text in texts])
    about = (plain[:120], labels[:120], plain[120:], 4, 0)
    ours = BASELINES[kind.baseline](kind.plainly, *about).scores
    np.testing.assert_allclose(ours, ridge.predict(vectors.transform(texts[120:])), atol=0.01)
    assert (ours[:-1].argmax(1) == labels[120:-1]).mean() > 0.8


def test_texts_without_words_are_scored_too() -> None:
    rows = np.zeros((4, 6), np.float32)
    found = tf_idf_ridge(("", ""), rows, np.array([0, 0, 0, 1]), rows, 2, 0)
    assert (found.scores.argmax(1) == 0).all()
