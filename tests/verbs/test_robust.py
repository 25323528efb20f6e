"""evaluate --robust: what is told of an attack, as numbers and as a page."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from regraft.errors import UsageError
from regraft.evaluation.report import Report
from regraft.robustness.attacks import NORMS
from regraft.verbs import robust
from regraft.verbs.evaluate import evaluate

pytest.importorskip("pyautoattack")


@pytest.fixture(scope="module")
def report(bundle: Path, photos: Path) -> Report:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("regraft.robustness.measuring.CHECKED", 3)
        patch.setattr("regraft.robustness.sanity.PLANTED", 2)
        patch.setattr("regraft.robustness.sanity.QUERIES", 10)
        asked: dict[str, Any] = {"eps": ("8/255", "1/255"), "attack": "pgd", "attacked": 8}
        return evaluate(bundle, photos, robust=True, resamples=200, **asked)


def test_clean_and_robust_accuracy_stand_with_n_and_intervals(report: Report) -> None:
    found = report.record["robust"]
    assert found["n"] == 8
    assert [point["told"] for point in found["points"]] == ["1/255", "8/255"]
    shares = [found["clean"], *(point["accuracy"] for point in found["points"])]
    assert all({"value", "low", "high"} <= set(one) for one in shares)
    values = [one["value"] for one in shares]
    assert values == sorted(values, reverse=True)
    assert values[-1] < values[0]
    for point in found["points"]:
        assert sum(point["fell_to"].values()) == round(8 * (1 - point["accuracy"]["value"]))
    assert "no proof" in found["limits"][0]
    assert not found["whole"]
    assert len(found["checks"]) == 9
    assert found["reliable"] == all(check["passed"] for check in found["checks"])
    assert len(found["why"]) == sum(not check["passed"] for check in found["checks"])


def test_the_changed_pictures_are_shown_with_their_change_enlarged(report: Report) -> None:
    examples = report.record["robust"]["examples"]
    assert examples
    for row in examples:
        assert row["label"] != row["predicted"]
        assert all(row[name].startswith("data:image/") for name in ("thumbnail", "change"))
        assert row["thumbnail"] != row["change"]
    html = report.html()
    assert "Under attack" in html
    assert "upper bounds" in html
    assert "proves nothing" in html
    assert examples[0]["change"] in html


def test_an_unreliable_result_says_so_and_why(report: Report) -> None:
    record = json.loads(report.json())
    record["robust"] |= {"reliable": False, "why": ["a planted example is found: 0 %"]}
    html = Report(record).html()
    assert "cannot be believed" in html
    assert "a planted example is found: 0 %" in html


def test_worse_pictures_have_a_mean_and_a_worst(
    bundle: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from regraft.robustness import corruptions

    few = {name: corruptions.CORRUPTIONS[name] for name in ("impulse noise", "fog")}
    monkeypatch.setattr(corruptions, "CORRUPTIONS", few)
    monkeypatch.setattr("regraft.verbs.corrupted.EXAMPLES", 4)
    report = evaluate(bundle, photos, corruptions=True, resamples=100)
    found = report.record["corruptions"]
    assert found["n"] == 4
    assert [len(row["accuracies"]) for row in found["rows"]] == [5, 5]
    means = {row["name"]: np.mean(row["accuracies"]) for row in found["rows"]}
    assert found["worst"]["value"] == pytest.approx(min(means.values()))
    assert found["mean"]["value"] == pytest.approx(np.mean([*means.values()]))
    assert found["mean"]["low"] <= found["mean"]["value"] <= found["mean"]["high"]
    html = report.html()
    assert "On worse examples" in html
    assert "impulse noise" in html


def test_sizes_are_read_as_they_are_written() -> None:
    assert robust.sizes(("2/255", "1/255"), "linf") == pytest.approx((1.0, 2.0))
    assert robust.sizes(("0.5",), "l2") == pytest.approx((127.5,))
    assert len(robust.sizes((), "linf")) == len(robust.sizes((), "l2")) == 3
    assert NORMS["linf"].written(2.0) == "2/255"
    assert NORMS["l2"].written(127.5) == "0.5"
    with pytest.raises(UsageError) as error:
        robust.sizes(("2", "x", "0", "1/0"), "linf")
    assert len(error.value.mistakes) == 4
    with pytest.raises(UsageError, match="linf"):
        robust.sizes((), "l1")


def test_what_cannot_be_obeyed_is_refused_before_the_work(bundle: Path, photos: Path) -> None:
    for asked in ({"attack": "autoatack"}, {"attacked": 0}, {"eps": ("9",)}, {"norm": "l1"}):
        with pytest.raises(UsageError):
            evaluate(bundle, "no such folder", robust=True, **asked)  # type: ignore[arg-type]


def test_the_same_examples_are_drawn_by_the_seed() -> None:
    from regraft.backbones.features import Pass
    from regraft.backbones.store import Verdict

    seen = Pass(("a",) * 6, tuple(Verdict("empty", "") if i == 2 else None for i in range(6)))  # type: ignore[arg-type]
    drawn = [robust.drawn(seen, 6, 4, seed) for seed in (0, 0, 1)]
    assert np.array_equal(drawn[0], drawn[1])
    assert 2 not in robust.drawn(seen, 6, 9, 0)
