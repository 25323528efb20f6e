"""regraft ensemble: bundles in, one bundle and its report out."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from regraft.model.model import Model


@pytest.fixture(scope="module")
def other(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same model, half as sure."""
    model = Model.load(bundle)
    doubled = replace(model, temperature=2 * model.temperature)
    return Path(doubled.save(tmp_path_factory.mktemp("other") / "unsure.regraft"))


def test_one_bundle_of_two(
    shell: Any, bundle: Path, other: Path, photos: Path, fingerprint: Any, tmp_path: Path
) -> None:
    before, out, page = fingerprint(photos), tmp_path / "whole.regraft", tmp_path / "whole.html"
    asked = ("--method", "average", "--out", out, "--report", page)
    done = shell.invoke("ensemble", bundle, other, "--data", photos, *asked, "--json")
    assert done.exit_code == 0, done.stderr
    found = shell.document(done)
    assert {key: found[key] for key in ("bundle", "report")} == {
        "bundle": str(out),
        "report": str(page),
    }
    assert [one["name"] for one in found["members"]] == ["model.regraft", "unsure.regraft"]
    assert found["before_after"]["verb"] == "ensemble"
    assert "unsure.regraft" in page.read_text(encoding="utf-8")
    assert fingerprint(photos) == before
    (picture, *_) = sorted(photos.rglob("*.png"))
    answers = shell.document(shell.invoke("predict", out, picture, "--json"))
    assert answers["predictions"][0]["label"] in Model.load(bundle).classes


def test_a_person_is_told_the_gain(
    shell: Any, bundle: Path, other: Path, photos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "whole.regraft"
    done = shell.invoke("ensemble", bundle, other, "--data", photos, "--out", out)
    assert done.exit_code == 0, done.stderr
    assert "the best of them" in done.stdout
    assert "multiply-adds of an example" in done.stdout
    assert "not tried: uniform-soup" in done.stdout


def test_mistakes_are_told_before_the_work(
    shell: Any, bundle: Path, photos: Path, tmp_path: Path
) -> None:
    out = ("--data", photos, "--out", tmp_path / "whole.regraft")
    alone = shell.invoke("ensemble", bundle, *out, "--json")
    assert shell.error(alone)["kind"] == "usage"
    wrong = shell.invoke("ensemble", bundle, bundle, "--data", photos, "--out", "x.zip", "--json")
    assert "--out: expected a name that ends in .regraft" in shell.error(wrong)["messages"][0]
    absent = shell.invoke("ensemble", bundle, tmp_path / "no.regraft", *out, "--json")
    assert "no.regraft" in shell.error(absent)["messages"][0]
