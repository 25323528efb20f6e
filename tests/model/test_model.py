"""A model on disk and back: the same answers bit for bit, wherever they are asked for."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from regraft.backbones.store import Store
from regraft.errors import BundleError, StorageError
from regraft.evaluation.metrics import measure
from regraft.export.bundle import read_bundle, write_bundle
from regraft.model import carried, packing
from regraft.model.model import Model
from regraft.model.predict import Prediction, predict
from regraft.verbs.evaluate import evaluate
from regraft.verbs.fitted import Fitted


@pytest.fixture(scope="module")
def held(fitted: Fitted) -> list[str]:
    """The files that were held out."""
    return list(fitted.data.held_out.table["path"])


@pytest.fixture(scope="module")
def answers(fitted: Fitted, held: list[str]) -> list[Prediction]:
    return predict(fitted.model, held, top=3)


def table(predictions: Iterable[Prediction], model: Model) -> np.ndarray:
    """(n, c) probabilities, the classes in the model's order."""
    return np.array([[dict(p.top)[name] for name in model.classes] for p in predictions])


# --- save and load -------------------------------------------------------------------------------


def test_a_saved_model_gives_the_same_scores_probabilities_and_sets(
    fitted: Fitted, bundle: Path, held: list[str]
) -> None:
    loaded = Model.load(bundle)
    features = fitted.model.features(held).features
    assert features is not None
    for ours, theirs in zip(fitted.model.answer(features), loaded.answer(features), strict=True):
        assert np.array_equal(ours, theirs)
        assert ours.dtype == theirs.dtype
    assert loaded.features(held).features.tobytes() == features.tobytes()  # type: ignore[union-attr]


def test_a_loaded_model_tells_the_same_of_itself(fitted: Fitted, bundle: Path) -> None:
    model, loaded = fitted.model, Model.load(bundle)
    for name in ("classes", "extractors", "temperature", "threshold", "modality", "task"):
        assert getattr(loaded, name) == getattr(model, name)
    assert loaded.record == json.loads(json.dumps(model.record))


def test_the_same_model_makes_the_same_file_again(bundle: Path, tmp_path: Path) -> None:
    again = Model.load(bundle).save(tmp_path / "again.regraft")
    assert again.read_bytes() == bundle.read_bytes()


def test_an_infinite_threshold_is_kept(fitted: Fitted, tmp_path: Path) -> None:
    """Too few examples: every class is in every set, after a load as well."""
    model = replace(fitted.model, threshold=float("inf"))
    loaded = Model.load(model.save(tmp_path / "few.regraft"))
    assert loaded.threshold == float("inf")
    width = sum(model.head.scaling.widths)
    assert loaded.answer(np.zeros((2, width), np.float32)).sets.all()


def test_nothing_of_this_machines_folders_is_told_by_the_network(bundle: Path) -> None:
    for network in read_bundle(bundle).document("model")["backbones"]:
        assert "/" not in network["row"]["weights"]["origin"]


def test_a_place_that_cannot_be_written_is_told(fitted: Fitted, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="nowhere"):
        fitted.model.save(tmp_path / "nowhere" / "model.regraft")


# --- predict equals evaluate ---------------------------------------------------------------------


def test_predict_gives_the_probabilities_that_were_evaluated(
    fitted: Fitted, bundle: Path, answers: list[Prediction]
) -> None:
    """Every metric of fit's report, and of evaluate's, from what predict says of the same files."""
    examples = fitted.data.held_out
    probabilities = table(answers, fitted.model)
    again = evaluate(bundle, fitted.data, split="test", resamples=200)
    expected = measure(examples.targets, probabilities)
    for report in (fitted.report, again):
        assert {name: told["value"] for name, told in report.metrics.items()} == expected


def test_the_mistakes_that_were_told_have_the_probabilities_of_predict(
    fitted: Fitted, answers: list[Prediction]
) -> None:
    by_file = {Path(p.file).relative_to(fitted.data.root).as_posix(): p for p in answers}
    mistakes = fitted.report.record["mistakes"]
    assert mistakes
    for told in mistakes:
        p = by_file[told["file"]]
        assert (told["predicted"], told["probability"]) == (p.label, p.probability)
        assert told["top"] == [list(pair) for pair in p.top]


def test_an_answer_does_not_depend_on_what_it_is_computed_beside(
    fitted: Fitted, held: list[str], answers: list[Prediction], tmp_path: Path
) -> None:
    """Alone, in another order, twice, with an empty store: the network runs anew each time."""
    model, expected = fitted.model, dict(zip(held, answers, strict=True))
    with Store(tmp_path / "alone.sqlite3") as store:
        for file in held[:4]:
            assert predict(model, file, top=3, store=store) == [expected[file]]
    mixed = [*held[::-1], held[3], *held[::2]]
    with Store(tmp_path / "mixed.sqlite3") as store:
        assert predict(model, mixed, top=3, store=store) == [expected[file] for file in mixed]


IN_A_FRESH_PROCESS = """
import json, sys
from regraft import Model, predict
bundle, *files = sys.argv[1:]
answers = predict(Model.load(bundle), files, top=3)
print(json.dumps([p.to_dict() for p in answers]))
"""


def test_a_fresh_process_says_the_same_from_the_bundle_alone(
    bundle: Path, held: list[str], answers: list[Prediction], tmp_path: Path
) -> None:
    """An empty cache, the training data moved away, the files in another order."""
    for i, file in enumerate(held):
        shutil.copy(file, tmp_path / f"{i}.png")
    shutil.copy(bundle, tmp_path / "model.regraft")
    order = list(range(len(held)))[::-1]
    run = subprocess.run(
        [sys.executable, "-c", IN_A_FRESH_PROCESS, "model.regraft", *(f"{i}.png" for i in order)],
        cwd=tmp_path,
        env={**os.environ, "REGRAFT_CACHE": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        check=True,
    )
    told = json.loads(run.stdout)
    expected = json.loads(json.dumps([answers[i].to_dict() for i in order]))
    assert [{**p, "file": ""} for p in told] == [{**p, "file": ""} for p in expected]


# --- a bundle's own network ----------------------------------------------------------------------


@pytest.fixture
def without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine where the network's package is not installed."""
    monkeypatch.setattr(carried, "available", lambda row: False)


def by_torch(model: Model) -> Model:
    """The same model on another engine, which needs no conversion."""
    return replace(
        model, extractors=tuple(replace(one, engine_name="torch") for one in model.extractors)
    )


@pytest.mark.usefixtures("without_the_package")
def test_the_bundles_own_weights_give_the_same_answers(
    fitted: Fitted, bundle: Path, held: list[str], tmp_path: Path
) -> None:
    loaded = Model.load(bundle)
    assert loaded.extractors[0].row.weights.kind == "folder"
    with Store(tmp_path / "own.sqlite3") as store:
        own = predict(by_torch(loaded), held[:9], top=3, store=store)
        assert own == predict(by_torch(fitted.model), held[:9], top=3, store=store)


@pytest.mark.usefixtures("without_the_package")
def test_the_bundles_own_weights_share_no_features_with_the_catalogs(
    fitted: Fitted, bundle: Path
) -> None:
    (own,), (known,) = Model.load(bundle).extractors, fitted.model.extractors
    assert own.fingerprint != known.fingerprint
    assert {own.space(v) for v in own.spec.views}.isdisjoint(
        known.space(v) for v in known.spec.views
    )


def forged_weights(file: Path, folder: Path) -> Path:
    """The same network with other numbers, in a valid file."""
    from safetensors import safe_open
    from safetensors.torch import save_file

    with safe_open(file, framework="pt") as stream:
        names, told = list(stream.keys()), stream.metadata()
        tensors = {name: stream.get_tensor(name) * 0.5 for name in names}
    save_file(tensors, folder / "forged.safetensors", metadata=told)
    return folder / "forged.safetensors"


@pytest.fixture(scope="module")
def forged(fitted: Fitted, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that says it holds the catalog's network, over weights of its own."""
    folder = tmp_path_factory.mktemp("forged")
    documents, tensors, files = packing.pack(fitted.model)
    documents["model"]["backbones"][0]["row"]["check"] = None  # the self-check would give it away
    files["backbone-0"] = forged_weights(files["backbone-0"], folder)
    write_bundle(folder / "forged.regraft", documents, tensors, files=files)
    return folder / "forged.regraft"


def test_a_forged_bundle_is_answered_by_the_network_that_it_names(
    forged: Path, held: list[str], answers: list[Prediction]
) -> None:
    """Its weights are never looked at where this machine has the very same network."""
    assert predict(forged, held, top=3) == answers


@pytest.mark.usefixtures("without_the_package")
def test_a_forged_bundle_cannot_poison_the_features_of_a_known_network(
    fitted: Fitted, forged: Path, held: list[str], answers: list[Prediction], tmp_path: Path
) -> None:
    """It claims the name and the fingerprint of the catalog's network; the store is shared."""
    liar, honest = by_torch(Model.load(forged)), by_torch(fitted.model)
    with Store(tmp_path / "shared.sqlite3") as store:
        forged_answers = predict(liar, held[:6], top=3, store=store)
        true_answers = predict(honest, held[:6], top=3, store=store)
    assert table(true_answers, honest) == pytest.approx(table(answers[:6], honest), abs=1e-3)
    assert np.abs(table(forged_answers, honest) - table(true_answers, honest)).max() > 0.01


@pytest.mark.usefixtures("without_the_package")
def test_weights_that_were_damaged_in_the_cache_are_taken_from_the_bundle_again(
    bundle: Path,
) -> None:
    weights = Model.load(bundle).extractors[0].row.weights
    kept = Path(weights.origin) / weights.file
    whole = kept.read_bytes()
    kept.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    Model.load(bundle)
    assert kept.read_bytes() == whole


def test_an_engine_that_is_not_installed_is_replaced_and_the_report_says_so(
    fitted: Fitted, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from regraft.backbones.engines import ENGINES

    kind = replace(ENGINES["openvino"], needs=("no-such-distribution",))
    monkeypatch.setattr(carried, "ENGINES", {**ENGINES, "openvino": kind})
    loaded = Model.load(bundle)
    assert [one.engine_name for one in loaded.extractors] == ["torch"]
    report = evaluate(loaded, fitted.data, split="test", resamples=100)
    assert [network["engine"] for network in report.record["backbones"]] == ["torch"]
    assert report.metrics["accuracy"]["value"] == fitted.report.metrics["accuracy"]["value"]


def test_a_head_for_other_networks_is_told(fitted: Fitted) -> None:
    with pytest.raises(BundleError, match=r"the head reads \d+ features and the networks give 7"):
        fitted.model.answer(np.zeros((1, 7), np.float32))


def test_networks_of_a_plugin_are_refused_before_a_bundle_is_written(
    fitted: Fitted, tmp_path: Path
) -> None:
    one = fitted.model.extractors[0]
    foreign = replace(one, row=replace(one.row, source="somewhere"))
    with pytest.raises(ValueError, match="'somewhere' cannot be kept in a bundle"):
        replace(fitted.model, extractors=(foreign,)).save(tmp_path / "model.regraft")
    assert not list(tmp_path.iterdir())


def not_a_model(path: Path) -> Any:
    write_bundle(path, {"note": {"nothing": "here"}}, {})
    return path


@pytest.mark.parametrize(
    "make", [not_a_model, lambda p: p.write_text("no bundle") and p, lambda p: p]
)
def test_what_is_no_bundle_of_a_model_is_named(make: Any, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"other\.regraft"):
        Model.load(make(tmp_path / "other.regraft"))
