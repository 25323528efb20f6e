"""Which words it answered by: against the scores of the same text without each of them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from regraft.data.inline import inlined
from regraft.errors import UsageError
from regraft.model.model import Model
from regraft.model.worded import MOST_RUNS, MOST_WORDS, which_words
from regraft.verbs.fit import fit_and_report
from regraft.verbs.fitted import Fitted

TOPICS = ("cooking", "trains", "weather")


@pytest.fixture(scope="module")
def fitted(
    save_encoder: Callable[..., Path],
    write_sentence: Callable[[str, int], str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Fitted:
    folder = tmp_path_factory.mktemp("worded")
    rows = [f"{write_sentence(topic, n)},{topic}" for n in range(20) for topic in TOPICS]
    (folder / "all.csv").write_text("\n".join(["text,label", *rows]))
    network = f"folder:{save_encoder(folder / 'net')}"
    return fit_and_report(folder / "all.csv", backbone=network, engine="torch", resamples=100)


def score(model: Model, text: str, number: int) -> float:
    (one,) = model.extractors
    (vector,) = one.vectors([np.frombuffer(text.encode(), np.uint8)])
    return float(model.head.scores(vector[None])[0, number])


def test_a_share_is_what_the_score_loses(fitted: Fitted) -> None:
    text = "The onion was in the oven today"
    words = text.split()
    found = which_words(fitted.model, inlined(text), 0)
    assert found is not None
    assert [word for word, _ in found] == words
    whole = score(fitted.model, text, 0)
    lost = [whole - score(fitted.model, " ".join(words[:i] + words[i + 1 :]), 0) for i in range(7)]
    expected = np.maximum(lost, 0) / max(lost)
    np.testing.assert_allclose([share for _, share in found], expected, atol=1e-4)
    assert max(share for _, share in found) == pytest.approx(1)


@pytest.mark.parametrize("words", [1, MOST_RUNS, MOST_RUNS + 1, MOST_WORDS + 50])
def test_words_of_a_long_text_go_together(fitted: Fitted, words: int) -> None:
    text = " ".join(np.random.default_rng(0).choice(["rain", "salt", "the", "late"], words))
    found = which_words(fitted.model, inlined(text), 1)
    assert found is not None
    assert [word for word, _ in found] == text.split()[:MOST_WORDS]
    assert all(0 <= share <= 1 for _, share in found)


def test_what_cannot_be_read_has_no_words(fitted: Fitted, tmp_path: Path) -> None:
    assert which_words(fitted.model, tmp_path / "gone.txt", 0) is None
    assert which_words(fitted.model, inlined(" "), 0) is None
    with pytest.raises(UsageError, match="expected 0 to 2"):
        which_words(fitted.model, inlined("salt"), 3)


def test_the_report_shows_words_as_they_are(fitted: Fitted, tmp_path: Path) -> None:
    looked = fitted.report.record["looked"]
    assert looked
    assert all(row["words"] and "heatmap" not in row for row in looked)
    row: dict[str, Any] = {**looked[0], "words": [["<b>salt</b>", 1.0], ["&", 0.0]]}
    page = type(fitted.report)({**fitted.report.record, "looked": [row]}).html()
    assert '<mark data-heat="5">&lt;b&gt;salt&lt;/b&gt;</mark>' in page
    assert '<mark data-heat="0">&amp;</mark>' in page
    assert "<b>salt</b>" not in page
