"""What parts take from an answer."""

from math import log

import pytest

from regraft.serve.explaining import LEAST, losses


def answer(**shares: float) -> dict[str, object]:
    top = [{"label": name, "probability": p} for name, p in shares.items()]
    best = max(shares, key=lambda name: shares[name])
    return {"label": best, "probability": shares[best], "top": top}


def test_losses_are_of_the_logarithm_of_the_first_answer() -> None:
    parts = [answer(a=0.8, b=0.2), answer(a=0.2, b=0.8), answer(a=0.9, b=0.1), {"error": "empty"}]
    found = losses([(), (0, 1), (1, 2), (2, 3)], parts)
    assert (found["label"], found["probability"]) == ("a", 0.8)
    assert [part["place"] for part in found["parts"]] == [[0, 1], [1, 2]]
    assert found["parts"][0]["loss"] == pytest.approx(log(4))
    assert found["parts"][1]["loss"] == pytest.approx(log(0.8 / 0.9))


def test_a_class_that_is_lost_counts_no_more_than_the_least() -> None:
    found = losses([(), (0, 1)], [answer(a=1.0), answer(b=1.0)])
    assert found["parts"][0]["loss"] == pytest.approx(-log(LEAST))
