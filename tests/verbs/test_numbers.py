"""fit for numbers: the mean as a baseline, conformal intervals, training, units."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from PIL import Image, ImageDraw

import regraft
from regraft.errors import UsageError
from regraft.verbs.fit import fit_and_report
from regraft.verbs.fitted import Fitted
from regraft.verbs.vectors.numbers import half_widths

QUICK: dict[str, Any] = {"backbone": "efficientnet-lite0", "size": 64, "engine": "torch"}
QUICK |= {"resamples": 100}
N = 80


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of a bar: how high it is, in thousands, and how dark all is."""
    folder = tmp_path_factory.mktemp("bars")
    rows: dict[str, list[Any]] = {"file": [], "height": [], "dark": []}
    for i in range(N):
        rng = np.random.default_rng([3, i])
        high, dark = int(rng.integers(4, 60)), int(rng.integers(0, 160))
        picture = Image.fromarray(rng.integers(dark, dark + 60, (64, 64, 3), dtype=np.uint8))
        ImageDraw.Draw(picture).rectangle([20, 64 - high, 40, 64], fill=(255, 40, 40))
        picture.save(folder / f"{i:02d}.png")
        rows["file"].append(f"{i:02d}.png")
        rows["height"].append(1000.0 * high)
        rows["dark"].append(dark)
    path = folder / "bars.csv"
    pl.DataFrame(rows).write_csv(path)
    return path


@pytest.fixture(scope="module")
def found(table: Path) -> Fitted:
    asked = {"strategy": "tune-norm", "steps": 3, "batch": 8, "augment": "none"}
    return fit_and_report(table, labels=("height", "dark"), task="regression", **QUICK, **asked)


def test_numbers_come_in_their_units(found: Fitted) -> None:
    record = found.report.record
    assert record["metrics"]["r2"]["value"] > 0.6
    height, dark = record["per_number"]
    assert height["mae"] > 200
    assert dark["mae"] < 60
    assert height["half_width"] > 500
    names = {row["name"] for row in record["tried"] if row["kind"] == "baseline"}
    assert names == {"always the mean", "raw pixels"}
    (run,) = record["training"]
    assert run["plan"]["loss"] == "smooth-l1"
    assert "mean squared error" in run["chosen"]
    assert "Number by number" in found.report.html()
    assert "off by" in str(found.report)


def test_a_bundle_gives_the_same_numbers(found: Fitted, table: Path, tmp_path: Path) -> None:
    again = regraft.Model.load(found.model.save(tmp_path / "bars.regraft"))
    files = sorted(map(str, table.parent.glob("0*.png")))
    for one, other in zip(found.model.predict(files), again.predict(files), strict=True):
        assert one.values == other.values
    csv = again.predict(files).to_csv().splitlines()
    assert csv[0] == "file,name,value,low,high,unlike,error"
    assert len(csv) == 1 + 2 * len(files)
    report = regraft.evaluate(again, found.data.held_out, resamples=100)
    assert report.metrics == found.report.metrics
    whole = regraft.evaluate(again, table, resamples=100)  # the columns are those of the model
    assert whole.record["split"]["n"] == len(found.data.held_out)
    with pytest.raises(UsageError, match="least: is for boxes and tags"):
        again.predict(files, least=0.5)


def test_too_few_examples_give_no_interval(found: Fitted, table: Path, tmp_path: Path) -> None:
    blind = replace(found.model, cuts=np.full(2, np.inf))
    again = regraft.Model.load(blind.save(tmp_path / "blind.regraft"))
    (answer,) = again.predict(str(table.parent / "01.png"))
    assert answer.values[0].value is not None
    assert answer.values[0].low is None
    report = regraft.evaluate(again, found.data.held_out, resamples=100)
    assert report.record["per_number"][0]["half_width"] is None
    assert "unbounded" in report.html()


def test_numbers_go_to_onnx_are_served_and_come_back(found: Fitted, tmp_path: Path) -> None:
    from regraft.model.offered import Offered
    from regraft.verbs.export import export

    proof = export(found.model, tmp_path / "out", examples=found.data, count=6)
    assert proof["examples"] == proof["same_answers"] == 6
    assert proof["largest_difference"] <= proof["limit"]
    assert proof["metric"]["name"] == "mae"
    assert proof["metric"]["export"] == pytest.approx(proof["metric"]["model"], rel=1e-4)
    file = Path(found.data.table["path"][0])
    (own,), (other,) = found.model.predict(file), regraft.predict(tmp_path / "out", file)
    for one, two in zip(own.values, other.values, strict=True):
        assert two.value == pytest.approx(one.value, rel=1e-4)
        assert two.high - two.low == pytest.approx(one.high - one.low)
    served = Offered.open(tmp_path / "out")
    answer, broken = served.answer([file.read_bytes(), b"no picture"], 5)
    assert [one["name"] for one in answer["values"]] == ["height", "dark"]
    assert answer["values"][0]["value"] == other.values[0].value
    assert "error" in broken
    assert not served.ranked
    assert "2 numbers" in served.card()


def test_intervals_hold_as_often_as_asked() -> None:
    rng = np.random.default_rng(0)
    residuals = np.abs(rng.normal(size=(999, 2)) * [1, 10])
    width = half_widths(residuals, 0.9)
    np.testing.assert_allclose((residuals <= width).mean(0), 0.9, atol=0.002)
    assert np.isinf(half_widths(residuals[:5], 0.9)).all()


def test_doctor_tells_of_odd_numbers(table: Path, tmp_path: Path) -> None:
    rows = pl.read_csv(table).with_columns(
        height=pl.when(pl.col("file") == "05.png").then(9e9).otherwise(pl.col("height"))
    )
    odd = tmp_path / "odd.csv"
    rows.write_csv(odd)
    asked = {"label": "height", "task": "regression", "root": table.parent}
    told = regraft.doctor(odd, look_for_label_errors=False, **asked)
    (finding,) = [f for f in told.findings if f.kind == "odd-number"]
    assert finding.files == ("05.png",)
    assert told.to_dict()["numbers"]["height"]["most"] == 9e9
