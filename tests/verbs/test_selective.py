"""evaluate --risk and --unlike: what may be answered, and what is none of what the model knows."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

from regraft.errors import DataError, UsageError
from regraft.evaluation.report import Report
from regraft.verbs.evaluate import evaluate
from regraft.verbs.out_of_distribution import not_measured
from regraft.verbs.vectors.evaluate import evaluate_vectors


@pytest.fixture(scope="module")
def noise(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of nothing without labels, one of those that the model knows, one that is broken."""
    folder = tmp_path_factory.mktemp("other") / "noise"
    folder.mkdir()
    for i in range(12):
        pixels = np.random.default_rng(i).integers(0, 2, (64, 64, 3), dtype=np.uint8) * 255
        Image.fromarray(pixels).save(folder / f"{i}.png")
    (folder / "known.png").write_bytes((photos / "disc" / "000.png").read_bytes())
    (folder / "broken.png").write_bytes(b"nothing")
    return folder


@pytest.fixture(scope="module")
def report(fitted: Any, noise: Path) -> Report:
    return evaluate(fitted.model, fitted.data.test, risk=0.4, unlike=noise, resamples=200)


def test_each_score_tells_other_data_apart_as_scikit_learn_says(
    report: Report, fitted: Any, noise: Path
) -> None:
    found = report.record["out_of_distribution"]
    assert (found["measured"], found["outside"], found["name"]) == (True, 12, "noise")
    assert {row["file"]: row["reason"] for row in found["left_out"]}.keys() == {
        *("known.png", "broken.png")
    }
    scores = {row["name"]: row for row in found["scores"]}
    assert set(scores) == {"probability", "energy", "novelty"}
    files = [sorted(noise.glob("[0-9]*.png")), fitted.data.test.table["path"].to_list()]
    outside, inside = (fitted.model.features(some).features for some in files)
    answers = [fitted.model.answer(some) for some in (inside, outside)]
    energies = [np.log(np.exp(a.scores / fitted.model.temperature).sum(1)) for a in answers]
    known = np.repeat([1, 0], [len(inside), len(outside)])
    for name, pair in {
        "probability": [a.probabilities.max(1) for a in answers],
        "energy": energies,
    }.items():
        expected = roc_auc_score(known, np.concatenate(pair))
        assert scores[name]["auroc"]["value"] == pytest.approx(expected)
    assert scores["novelty"]["auroc"]["value"] == 1.0
    assert found["marked"]["outside"]["value"] == answers[1].unlike.mean()
    assert found["examples"][0]["probability"] == pytest.approx(answers[1].probabilities.max())


def test_a_threshold_is_chosen_on_what_the_model_was_judged_by(report: Report, fitted: Any) -> None:
    found = report.record["abstention"]
    assert (found["chosen_on"], found["measured"]) == ("leave-one-out", found["n"])
    chosen, judged = found["selection"], fitted.model.judged
    assert chosen["n"] == len(judged.labels)
    assert chosen["bound"] <= 0.4
    taken = judged.probabilities.max(1) > chosen["threshold"]
    assert chosen["coverage"] == taken.mean()
    assert chosen["errors"] == (judged.probabilities.argmax(1) != judged.labels)[taken].sum()
    answers = fitted.model.answer(fitted.model.features(fitted.data.test.table["path"]).features)
    sure = answers.probabilities.max(1) > chosen["threshold"]
    assert chosen["here"]["coverage"]["value"] == pytest.approx(sure.mean())
    wrong = answers.decided != fitted.data.test.targets
    assert chosen["here"]["errors"] == wrong[sure].sum()
    assert found["wrong"]["value"] == pytest.approx(wrong.mean())
    assert found["curve"]["points"][-1]["value"] == pytest.approx(wrong.mean())


def test_a_model_that_keeps_nothing_is_asked_half_of_what_is_here(fitted: Any) -> None:
    found = evaluate(replace(fitted.model, judged=None), fitted.data.test, risk=0.01, resamples=100)
    told = found.record["abstention"]
    assert told["chosen_on"] == "half of those measured"
    assert told["measured"] + told["nearest"]["n"] == told["n"]
    assert told["selection"] is None
    assert "can be promised" in told["why"]
    assert "Nothing is promised" in found.html()
    assert "out_of_distribution" not in found.record  # nobody asked


def test_one_example_has_no_half(fitted: Any) -> None:
    """As of an export, which keeps nothing either."""
    test = fitted.data.test
    one = test.with_table(test.table[:1])
    with pytest.raises(DataError, match=r"risk: .*no export does.*only one example.*the bundle"):
        evaluate(replace(fitted.model, judged=None), one, risk=0.05, resamples=100)


def test_what_is_asked_for_beside_is_of_the_same_operating_point(
    fitted: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    def of_parts(model: Any, *asked: Any) -> dict[str, Any]:
        seen.append(model.operating)
        return {}

    monkeypatch.setattr(sys.modules[evaluate.__module__], "further_parts", of_parts)
    told = {"at": "sensitivity>=0.5", "positive": fitted.model.classes[0]}
    evaluate(fitted.model, fitted.data.test, risk=0.4, resamples=100, **told)
    assert [point.positive for point in seen] == [fitted.model.classes[0]]


def test_the_page_has_a_curve_and_the_other_data(report: Report) -> None:
    html = report.html()
    for words in ("Leaving answers out", "Wrong answers among", "Other data", "taken for", "FPR95"):
        assert words in html


def test_where_no_other_data_is_given_no_figure_is_invented(fitted: Any) -> None:
    told = not_measured(fitted.data.test, None)  # type: ignore[arg-type]
    assert told["measured"] is False
    record = {**fitted.report.record, "out_of_distribution": told}
    assert "Not measured: no other data was given" in Report(record).html()


def test_what_cannot_be_obeyed_is_refused_before_the_work(bundle: Path, photos: Path) -> None:
    for risk in (0, 1.5, True):
        with pytest.raises(UsageError, match="risk"):
            evaluate(bundle, photos, risk=risk)
    with pytest.raises(UsageError, match="classes that the model knows"):
        evaluate(bundle, photos, unlike=photos)
    with pytest.raises(UsageError, match="risk: has no use"):
        evaluate_vectors(type("Tags", (), {"task": "tags"})(), photos, risk=0.1)
