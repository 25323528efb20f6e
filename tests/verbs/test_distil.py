"""A large model into a small one: what the student learns from, and what it is judged by."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import regraft
from regraft.data.sources import load
from regraft.errors import RegraftError, UsageError
from regraft.evaluation.operating import LEFT_OUT
from regraft.model.model import Model
from regraft.training.teaching import Teaching
from regraft.verbs import teacher as taught
from regraft.verbs.fitted import Fitted
from regraft.verbs.ground import divided
from regraft.verbs.measuring import short
from regraft.verbs.members import Member
from regraft.verbs.rungs import Learning
from regraft.verbs.teacher import Teacher

QUICK: dict[str, Any] = {
    **{"network": "efficientnet-lite0", "engine": "openvino", "size": 32},
    **{"resamples": 200, "timed": False, "strategy": "probe"},
}


@pytest.fixture(scope="module", autouse=True)
def _few() -> Iterator[None]:
    """The examples of these tests are few."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(taught, "FEWEST_HELD", 8)
        yield


@pytest.fixture(scope="module")
def extra(write_photos: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures without classes, one of them among those to measure on, and one no picture."""
    folder = tmp_path_factory.mktemp("extra") / "more"
    write_photos(folder, {"": range(300, 312)}, {"": "disc"})
    (folder / "no picture.png").write_bytes(b"none")
    return folder


@pytest.fixture(scope="module")
def student(fitted: Fitted, photos: Path, extra: Path) -> Fitted:
    return regraft.distil(fitted.model, photos, unlabelled=extra, **QUICK)


def test_the_split_is_the_teachers_and_nothing_without_a_label_is_measured(
    student: Fitted, fitted: Fitted
) -> None:
    assert student.data.test.table["id"].to_list() == fitted.data.test.table["id"].to_list()
    record = student.report.record
    assert record["split"]["n"] == len(fitted.data.test)
    assert record["before_after"]["n"] == len(fitted.data.test)
    bare = student.data.table.filter(student.data.table["label"].is_null())
    assert len(bare) == 12
    assert bare["split"].is_null().all()
    assert any(one["file"].endswith("no picture.png") for one in record["left_out"])


def test_what_has_no_label_is_learned_from(student: Fitted, fitted: Fitted) -> None:
    rows = {row["name"]: row for row in student.report.record["tried"]}
    learned = len(fitted.model.record["learned"])
    assert f"taught, on {learned + 12} examples" in rows["probe, taught"]["detail"]
    assert len(student.model.record["learned"]) == learned + 12
    assert student.model.record["leave_one_out"]["learned"] == learned + 12
    assert f"learned from {learned + 12}" in student.report.html()
    kept = student.model.judged
    assert kept is not None
    assert kept.how == LEFT_OUT
    assert len(kept.labels) <= learned  # nothing is judged by what has no label


def test_a_student_of_labels_alone_is_the_probe(fitted: Fitted, photos: Path) -> None:
    asked = {**QUICK, "hard": 1.0}
    found = regraft.distil(fitted.model, photos, **asked).model
    plain = regraft.fit(
        photos,
        backbone="efficientnet-lite0",
        **{name: QUICK[name] for name in ("engine", "size", "resamples", "strategy")},
        parts=(0.5, 0.1, 0.4),
    )
    assert np.allclose(found.head.coefficients, plain.head.coefficients)


def test_too_large_a_drop_is_refused(
    fitted: Fitted, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from regraft.verbs import distil as verb

    found = verb.before_and_after

    def worse(*models: Any, **settings: Any) -> dict[str, Any]:
        record = found(*models, **settings)
        return {**record, "lost": {**record["lost"], "value": 0.021}}

    monkeypatch.setattr(verb, "before_and_after", worse)
    regraft.distil(fitted.model, photos, max_drop=2.5, **QUICK)
    with pytest.raises(RegraftError, match="distil: refused"):
        regraft.distil(fitted.model, photos, max_drop=2.0, **QUICK)


def test_labels_keep_a_student_from_a_teacher_that_misleads(fitted: Fitted, photos: Path) -> None:
    head = fitted.model.head
    wrong = replace(head, coefficients=np.roll(head.coefficients, 1, axis=1), kernels=())
    misled = replace(fitted.model, head=wrong, judged=None)
    found = regraft.distil(misled, photos, **QUICK)
    (kept,) = [row for row in found.report.record["tried"] if row["kept"]]
    assert kept["name"] == "probe"
    assert found.report.record["before_after"]["lost"]["value"] < -0.3


def test_mistakes_are_told_at_once(fitted: Fitted, photos: Path) -> None:
    with pytest.raises(UsageError) as told:
        regraft.distil(
            fitted.model, photos, network="resnet18", temperature=0.5, hard=2, backbone="resnet18"
        )
    text = "\n".join(told.value.mistakes)
    assert all(name in text for name in ("temperature:", "hard:", "backbone:"))
    other = replace(fitted.model, classes=("disc", "square", "star"))
    with pytest.raises(UsageError, match="does not know the classes 'stripes'"):
        regraft.distil(other, photos, **QUICK)


# --- what it is judged by ------------------------------------------------------------------------


def test_only_what_can_be_judged_by_is_held_back() -> None:
    rng = np.random.default_rng(0)
    n = 60
    known, clean = np.arange(n) < 50, np.arange(n) < 24
    teaching = Teaching(rng.normal(size=(n, 2)), known, clean)
    groups = np.arange(n)
    groups[55:] = np.arange(5)  # the same things as five that may be held back
    learning = Learning(np.arange(n), np.arange(n) % 2, groups, 2, teaching)
    train, held = divided(learning, 0)
    assert clean[held].all()
    assert len(held) == 6
    assert not np.isin(groups[train], groups[held]).any()
    assert np.array_equal(np.union1d(train, held)[:50], np.arange(50))
    own = learning.untaught()
    assert own.targets is None
    assert np.array_equal(own.place, np.arange(50))
    assert np.array_equal(own.judging, np.arange(24))


def test_a_given_validation_part_judges_the_student(
    fitted: Fitted, write_photos: Any, tmp_path: Path
) -> None:
    """The teacher has not seen it, and what it has seen says too much of the student."""
    kinds = fitted.model.classes
    parts = {"train": range(6), "validation": range(60, 64), "test": range(70, 74)}
    for part, numbers in parts.items():
        write_photos(tmp_path / part, {kind: numbers for kind in kinds})
    data = load(tmp_path)
    found = regraft.distil(fitted.model, data, **QUICK)
    kept = found.model.judged
    assert kept is not None
    shas = {short(sha) for sha in fitted.model.record["learned"]}
    named = found.model.record["judged_on"]
    assert len(named) == len(kept.labels)
    assert not set(named) & shas
    assert len(named) >= 12


def test_answers_of_before_are_learned_where_the_teacher_keeps_them(fitted: Fitted) -> None:
    one = Member("model", fitted.model)
    assert not one.clean  # a frozen head has learned from all in the end
    teacher = Teacher(one)
    assert teacher.hard == Teaching.hard
    only = {**fitted.model.record, "only_chosen_by": [next(iter(one.judged))]}
    other = Member("model", replace(fitted.model, record=only))
    assert other.clean == {next(iter(one.judged))}
    assert all(other.is_clean_of(sha) for sha in other.clean)


# --- training ------------------------------------------------------------------------------------


def test_a_student_is_trained(fitted: Fitted, lesson: Path, tmp_path: Path) -> None:
    """By a teacher that sees the same augmented pictures at its own size."""
    asked = {**QUICK, "strategy": "lp-ft", "steps": 3, "consistent": True, "budget": 300}
    found = regraft.distil(fitted.model, lesson, run=tmp_path, **asked)
    (run,) = found.report.record["training"]
    assert run["steps"] == 3
    assert np.isfinite([point["loss"] for point in run["curve"]]).all()
    loaded = Model.load(found.model.save(tmp_path / "small.regraft"))
    assert loaded.record["before_after"]["verb"] == "distil"
