"""Bundles that lie: whatever they say, they are refused by name, and nothing else is touched."""

import copy
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from regraft.backbones import sources
from regraft.backbones.catalog import catalog, find
from regraft.backbones.extractor import Extractor
from regraft.errors import BundleError
from regraft.export.bundle import Bundle, read_bundle, write_bundle
from regraft.modalities.audio import MODALITY
from regraft.model.carried import refusals as carried_refusals
from regraft.model.carried import told_of
from regraft.model.model import Model
from regraft.model.packing import pack, unpack
from regraft.verbs.fitted import Fitted

Document = dict[str, Any]


@dataclass
class Parts:
    """What a bundle is written from; each test changes a copy."""

    documents: dict[str, Any]
    tensors: dict[str, dict[str, np.ndarray]]
    weights: Path

    @property
    def told(self) -> Document:
        return self.documents["model"]

    @property
    def network(self) -> Document:
        return self.told["backbones"][0]

    @property
    def row(self) -> Document:
        return self.network["row"]

    def write(self, path: Path) -> Path:
        files = {"backbone-0": self.weights}
        write_bundle(path, self.documents, self.tensors, files=files)
        return path


@pytest.fixture(scope="module")
def genuine(fitted: Fitted, tmp_path_factory: pytest.TempPathFactory) -> Parts:
    """The parts of a real bundle, over weights of a few bytes: loading does not look at them."""
    documents, tensors, _ = pack(fitted.model)
    small = tmp_path_factory.mktemp("small") / "weights.safetensors"
    save_file({"x": np.zeros(1, np.float32)}, small)
    return Parts(json.loads(json.dumps(documents)), tensors, small)


@pytest.fixture
def parts(genuine: Parts) -> Parts:
    return copy.deepcopy(genuine)


@pytest.fixture(scope="module")
def small(genuine: Parts, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return read_bundle(genuine.write(tmp_path_factory.mktemp("small") / "small.regraft"))


def refusal(path: Path) -> str:
    """Why a bundle is refused: a BundleError that names the file, and nothing else."""
    with pytest.raises(BundleError) as caught:
        Model.load(path)
    assert str(caught.value).startswith(str(path))
    return str(caught.value)


def with_document(bundle: Bundle, name: str, content: Any) -> Bundle:
    """The bundle with another document, without a way over the disk."""
    payload = json.dumps(content).encode()
    return replace(bundle, _payloads={**bundle._payloads, f"{name}.json": payload})


def test_the_parts_as_they_are_make_a_model(parts: Parts, tmp_path: Path) -> None:
    assert Model.load(parts.write(tmp_path / "good.regraft")).classes


# --- wrong types ---------------------------------------------------------------------------------

# What JSON has beside; of each field all those are tried that are of another kind.
OTHERS = (None, True, "text", 3.5, 7, [], ["a", 1], {}, {"a": 1})
MAY_BE_NONE = {"threshold", "gflops", "upstream_score", "check", "judged_by"}
MAY_BE_LONGER = {"options"}  # an object of anything


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths to everything in a document; of lists only the first item."""
    yield path
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value[:1] if isinstance(value, list) else ())
    )
    for key, item in items:
        yield from places(item, (*path, key))


def at(document: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        document = document[key]
    return document


def put(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    """A copy with another value at a path."""
    if not path:
        return value
    changed = copy.deepcopy(document)
    at(changed, path[:-1])[path[-1]] = value
    return changed


def is_another_kind(value: Any, other: Any, name: Any) -> bool:
    if other is None:
        return name not in MAY_BE_NONE and value is not None
    if isinstance(value, float):
        return type(other) not in (int, float)
    if value is None:  # a number or an object that may be absent
        return type(other) in (bool, str, list)
    return type(other) is not type(value) and name not in MAY_BE_LONGER


def test_a_wrong_type_in_any_field_is_refused(genuine: Parts, small: Bundle) -> None:
    tried = 0
    for path in places(genuine.told):
        value = at(genuine.told, path)
        name = path[-1] if path else ""
        for other in OTHERS:
            if not is_another_kind(value, other, name):
                continue
            changed = with_document(small, "model", put(genuine.told, path, other))
            with pytest.raises(BundleError, match=r"small\.regraft"):
                unpack(changed)
            tried += 1
    assert tried > 300


def test_every_field_that_is_needed_is_missed_and_none_may_be_added(
    genuine: Parts, small: Bundle
) -> None:
    for path in places(genuine.told):
        if not isinstance(at(genuine.told, path), dict) or path[-1:] == ("options",):
            continue
        more = put(genuine.told, (*path, "surprise"), 1)
        with pytest.raises(BundleError, match="surprise"):
            unpack(with_document(small, "model", more))
    for name in genuine.told.keys() - {"judged_by"}:
        fewer = {key: value for key, value in genuine.told.items() if key != name}
        with pytest.raises(BundleError, match=rf"model\.{name}: missing"):
            unpack(with_document(small, "model", fewer))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(data=st.data())
def test_anything_anywhere_is_a_model_or_a_refusal(
    data: st.DataObject, genuine: Parts, small: Bundle
) -> None:
    document = data.draw(st.sampled_from(["model", "record"]))
    content = genuine.documents[document]
    path = data.draw(st.sampled_from(list(places(content))))
    changed = with_document(small, document, put(content, path, data.draw(json_values)))
    told = ""
    try:
        assert len(unpack(changed)["classes"]) == len(genuine.told["classes"])
    except BundleError as error:
        told = str(error)
    assert not told or told.startswith(str(small.path))


# --- wrong values --------------------------------------------------------------------------------


def set_in(*path: Any) -> Callable[[Any], Callable[[Parts], None]]:
    """A place in model.json → value → what puts it there."""

    def setting(value: Any) -> Callable[[Parts], None]:
        def change(parts: Parts) -> None:
            at(parts.told, path[:-1])[path[-1]] = value

        return change

    return setting


NETWORK = ("backbones", 0)
ROW = (*NETWORK, "row")
VALUES: dict[tuple[Any, ...], list[Any]] = {
    ("task",): ["", "poetry", "__import__('os')"],
    ("modality",): ["", "video", "os", "../image"],
    ("classes",): [[], ["one"], ["a", "a", "b"], ["a", "b", ""]],
    ("temperature",): [0, 0.0, -1, -0.5],
    ("judged_by",): ["", "test"],
    ("threshold",): [-0.1, -1],
    ("backbones",): [[]],
    (*NETWORK, "engine"): ["", "tensorrt", "os.system"],
    (*NETWORK, "spec", "size"): [0, -64, 7, 10**6],
    (*NETWORK, "spec", "fit"): ["", "stretch"],
    (*NETWORK, "spec", "interpolation"): ["magic"],
    (*NETWORK, "spec", "crop_fraction"): [0, -1, 1.5],
    (*NETWORK, "spec", "std"): [[0, 1, 1], [-1, 1, 1]],
    (*NETWORK, "spec", "views"): [[], ["left"], ["centre", "centre"], ["centre", "__class__"]],
    (*ROW, "source"): ["", "evil", "os", "timm.models", "hf-hub"],
    (*ROW, "family"): ["", "unknown", "resnet", "timm-any"],
    (*ROW, "architecture"): ["", "os.system", "hf-hub:some/repository", "local-dir:/etc"],
    (*ROW, "size_multiple"): [0, -16],
    (*ROW, "min_size"): [0, -1],
    (*ROW, "spec", "size"): [0, 10**6],
    (*ROW, "options"): [
        {"pretrained": True},
        {"checkpoint_path": "/etc/passwd"},
        {"pretrained_cfg": {"file": "/etc/passwd"}},
        {"pretrained_cfg_overlay": {"url": "http://127.0.0.1:9/x"}},
        {"cache_dir": "/tmp"},
        {"features_only": True},
        {"model_name": "resnet18"},
    ],
}


@pytest.mark.parametrize(
    ("path", "value"), [(path, value) for path, values in VALUES.items() for value in values]
)
def test_a_value_that_cannot_be_is_refused(
    path: tuple[Any, ...], value: Any, parts: Parts, tmp_path: Path
) -> None:
    set_in(*path)(value)(parts)
    assert str(path[-1]) in refusal(parts.write(tmp_path / "bad.regraft"))


POINT = {
    **{"positive": "disc", "threshold": 0.3, "asked": "sensitivity>=0.9"},
    **{"chosen_on": "leave-one-out", "n": 30, "positives": 10, "sensitivity": None},
}


@pytest.mark.parametrize(
    ("name", "value"),
    [("positive", "cat"), ("threshold", 1.5), ("threshold", None), ("n", 0.5), ("ppv", "high")],
)
def test_an_operating_point_that_cannot_be_is_refused(
    name: str, value: Any, genuine: Parts, small: Bundle
) -> None:
    good = {**genuine.told, "operating": POINT | {"positive": genuine.told["classes"][0]}}
    assert unpack(with_document(small, "model", good))["operating"].threshold == 0.3
    bad = {**good, "operating": {**good["operating"], name: value}}
    with pytest.raises(BundleError, match=rf"model\.operating\.{name}"):
        unpack(with_document(small, "model", bad))


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
@pytest.mark.parametrize("name", ["temperature", "threshold"])
def test_numbers_that_are_none_are_refused(
    number: str, name: str, genuine: Parts, small: Bundle
) -> None:
    text = json.dumps({**genuine.told, name: "HERE"}).replace('"HERE"', number)
    payloads = {**small._payloads, "model.json": text.encode()}
    with pytest.raises(BundleError, match=r"small\.regraft"):
        unpack(replace(small, _payloads=payloads))


def test_all_mistakes_are_told_at_once(parts: Parts, tmp_path: Path) -> None:
    parts.told.update(task="poetry", classes=["a"], temperature=0)
    parts.network["engine"], parts.row["source"] = "abacus", "evil"
    told = refusal(parts.write(tmp_path / "bad.regraft"))
    for word in ("task", "classes", "temperature", "engine", "source", "coefficients"):
        assert word in told


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("recipe", []),
        ("split", "given"),
        ("tried", {}),
        ("tried", [1]),
        ("learned", [["0"]]),
        ("backbones", "none"),
        ("name", 3),
    ],
)
def test_a_record_of_other_kinds_is_refused(
    name: str, value: Any, parts: Parts, tmp_path: Path
) -> None:
    parts.documents["record"][name] = value
    assert f"record.{name}" in refusal(parts.write(tmp_path / "bad.regraft"))


def test_a_record_that_is_none_is_refused(parts: Parts, tmp_path: Path) -> None:
    parts.documents["record"] = [["name", "x"]]
    assert "record: expected an object" in refusal(parts.write(tmp_path / "bad.regraft"))


# --- arrays --------------------------------------------------------------------------------------


def spoiled(array: np.ndarray, value: float) -> np.ndarray:
    changed = array.copy()
    changed.flat[-1] = value
    return changed


BAD_ARRAYS: dict[str, Callable[[np.ndarray], np.ndarray | None]] = {
    "missing": lambda a: None,
    "empty": lambda a: a[:0],
    "longer": lambda a: np.concatenate([a, a[:1]]),
    "deeper": lambda a: a[None],
    "flat": lambda a: np.array(1.0),
    "of truth values": lambda a: np.ones(a.shape, bool),
    "of complex numbers": lambda a: a.astype(np.complex64),
    "of other numbers": lambda a: a.astype(np.float32 if a.dtype.kind == "i" else np.int64),
    "NaN": lambda a: spoiled(a.astype(np.float64), np.nan),
    "-inf": lambda a: spoiled(a.astype(np.float64), -np.inf),
}


@pytest.mark.parametrize("bad", BAD_ARRAYS)
@pytest.mark.parametrize("entry", ["head", "novelty", "judged"])
def test_arrays_that_cannot_be_are_refused(
    entry: str, bad: str, parts: Parts, tmp_path: Path
) -> None:
    for name, array in parts.tensors[entry].items():
        changed = copy.copy(parts)
        replaced = BAD_ARRAYS[bad](array)
        arrays = {**parts.tensors[entry], name: replaced}
        kept = {key: value for key, value in arrays.items() if value is not None}
        changed.tensors = {**parts.tensors, entry: kept}
        assert entry in refusal(changed.write(tmp_path / "bad.regraft")), name


@pytest.mark.parametrize("value", [np.inf, 0.0, -1.0])
def test_a_detector_that_gives_no_scores_is_refused(
    value: float, parts: Parts, tmp_path: Path
) -> None:
    limits = parts.tensors["novelty"]["limits"]
    parts.tensors["novelty"]["limits"] = np.full_like(limits, value)
    assert "novelty" in refusal(parts.write(tmp_path / "bad.regraft"))


def test_block_widths_that_lie_are_refused(parts: Parts, tmp_path: Path) -> None:
    widths = parts.tensors["head"]["widths"]
    for changed in (-widths, widths * 0, widths + 2**60, widths[::-1] + 1):
        parts.tensors["head"]["widths"] = np.ascontiguousarray(changed)
        assert "head" in refusal(parts.write(tmp_path / "bad.regraft"))


def test_an_array_too_many_is_refused(parts: Parts, tmp_path: Path) -> None:
    parts.tensors["head"]["surprise"] = np.zeros(1)
    assert "surprise" in refusal(parts.write(tmp_path / "bad.regraft"))


def test_a_network_without_weights_is_refused(parts: Parts, tmp_path: Path) -> None:
    parts.network["fingerprint"] = "not that of a known network"
    write_bundle(tmp_path / "bad.regraft", parts.documents, parts.tensors)
    assert "backbone-0.safetensors" in refusal(tmp_path / "bad.regraft")


# --- configurations of transformers --------------------------------------------------------------


@pytest.fixture
def vit(parts: Parts) -> Parts:
    """A bundle whose network comes with a configuration of its own."""
    parts.network["row"] = json.loads(json.dumps(catalog()["vit-base-transformers"].to_dict()))
    parts.network["fingerprint"] = "another"
    parts.documents["backbone-0-config"] = {
        "model_type": "vit",
        "architectures": ["ViTForImageClassification"],
    }
    return parts


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"auto_map": {"AutoModel": "evil.Model"}}, "auto_map"),
        ({"nested": {"auto_map": {"AutoConfig": "x--y.Z"}}}, "auto_map"),
        ({"custom_pipelines": {"x": "y"}}, "custom_pipelines"),
        ({"quantization_config": {"quant_method": "awq"}}, "quantization_config"),
        ({"_attn_implementation": "someone/kernel"}, "attn_implementation"),
        ({"backbone": "resnet18"}, "backbone"),
        ({"model_type": "timm_wrapper", "architecture": "hf-hub:a/b"}, "timm_wrapper"),
        ({"model_type": "bert"}, "bert"),
        ({"model_type": None}, "None"),
        ({"model_type": ["vit"]}, "vit"),
    ],
)
def test_a_configuration_that_could_reach_further_is_refused(
    changes: Document, word: str, vit: Parts, tmp_path: Path
) -> None:
    vit.documents["backbone-0-config"] |= changes
    assert word in refusal(vit.write(tmp_path / "bad.regraft"))


@pytest.mark.parametrize("config", [None, [], "vit", 3])
def test_a_configuration_that_is_no_object_is_refused(
    config: Any, vit: Parts, tmp_path: Path
) -> None:
    vit.documents["backbone-0-config"] = config
    assert "backbone-0-config" in refusal(vit.write(tmp_path / "bad.regraft"))


def test_a_missing_configuration_is_refused(vit: Parts, tmp_path: Path) -> None:
    del vit.documents["backbone-0-config"]
    assert "backbone-0-config" in refusal(vit.write(tmp_path / "bad.regraft"))


def test_two_bundles_with_the_same_weights_keep_their_own_configurations(
    vit: Parts, tmp_path: Path
) -> None:
    """Else the later would change what the earlier one's features are, under its fingerprint."""
    first = Model.load(vit.write(tmp_path / "first.regraft")).extractors[0]
    told = first.fingerprint
    vit.documents["backbone-0-config"]["num_hidden_layers"] = 1
    second = Model.load(vit.write(tmp_path / "second.regraft")).extractors[0]
    assert first.row.weights.origin != second.row.weights.origin
    assert second.fingerprint != told
    again = Model.load(tmp_path / "first.regraft").extractors[0]
    assert (again.row, again.fingerprint) == (first.row, told)


def test_a_bundle_cannot_have_a_plugin_imported(
    parts: Parts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even one that is installed: what it would do with a forged row is not known here."""
    info = tmp_path / "evil-1.0.dist-info"
    info.mkdir()
    (tmp_path / "evil.py").write_text("raise SystemExit('a plugin was imported')")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: evil\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[regraft.backbone_sources]\nevil = evil:SOURCE\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert "evil" in entry_points(group=sources.GROUP).names
    parts.row["source"] = "evil"
    assert "row.source" in refusal(parts.write(tmp_path / "bad.regraft"))


# --- canaries ------------------------------------------------------------------------------------

WATCHED = """
import json, sys
bundles, picture, allowed = json.loads(sys.argv[1])
import regraft, numpy, polars, timm, torch, torchvision, transformers  # what they open is theirs
import regraft.backbones.network, regraft.model.packing
from regraft.errors import RegraftError
torch.zeros(2) @ torch.zeros(2)

CONNECTIONS = ("socket.", "urllib.", "http.", "ftplib.", "smtplib.")
PROCESSES = ("subprocess.", "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.spawn")
FILES = {"open": 0, "os.listdir": 0, "os.scandir": 0, "os.mkdir": 0, "os.remove": 0, "os.rmdir": 0}
FILES |= {"os.rename": 1, "os.link": 1, "os.symlink": 1, "os.chmod": 0, "os.truncate": 0}
READ_ONLY = ("open", "os.listdir", "os.scandir")
seen, watching = [], True

def watch(event, args):
    if not watching:
        return
    if event.startswith(CONNECTIONS + PROCESSES):
        seen.append(f"{event} {args!r:.200}")
    elif event in FILES and isinstance(path := args[FILES[event]], (str, bytes)):
        path = path if isinstance(path, str) else path.decode()
        only_read = event in READ_ONLY and reads(event, args)
        free = allowed["write"] + (allowed["read"] if only_read else [])
        if not path.startswith(tuple(free)):
            seen.append(f"{event} {path}")

def reads(event, args):
    return event != "open" or (args[1] in (None, "r", "rb", "rt") if args[1] is not None
                               else not args[2] & 3)

sys.addaudithook(watch)
outcomes = {}
for name in bundles:
    try:
        (answer,) = regraft.predict(regraft.Model.load(name), picture, top=9)
        outcomes[name] = answer.to_dict()
    except RegraftError as error:
        outcomes[name] = f"{type(error).__name__}: {error}"
watching = False
print(json.dumps({"seen": seen, "outcomes": outcomes}))
"""


def elsewhere(**weights: str) -> Callable[[Parts], None]:
    def change(parts: Parts) -> None:
        parts.row["weights"] |= weights
        parts.row["check"] = None
        parts.network["fingerprint"] = "of nobody"

    return change


def named_after_a_hub(parts: Parts) -> None:
    """A row that would be downloaded if its name were looked up."""
    parts.row["name"] = "timm:resnet18.a1_in1k"
    parts.row["check"] = None


ANSWERED: dict[str, Callable[[Parts], None]] = {
    "etc": elsewhere(kind="folder", origin="/etc", file="passwd", sha256=""),
    "canary": elsewhere(kind="folder", origin="CANARY", file="model.safetensors"),
    "hub": elsewhere(kind="hub", origin="someone/network", file="model.safetensors"),
    "torchvision": elsewhere(kind="torchvision", origin="ResNet18_Weights.DEFAULT", file="x.pth"),
    "name": named_after_a_hub,
}
REFUSED: dict[str, Callable[[Parts], None]] = {
    "source": set_in(*ROW, "source")("evil"),
    "options": set_in(*ROW, "options")({"checkpoint_path": "CANARY/model.safetensors"}),
    "architecture": set_in(*ROW, "architecture")("hf-hub:someone/network"),
}


def put_canary(parts: Parts, canary: Path) -> Parts:
    text = json.dumps(parts.documents).replace("CANARY", str(canary))
    return replace(parts, documents=json.loads(text))


def test_nothing_outside_is_read_written_run_or_reached(
    fitted: Fitted, genuine: Parts, photos: Path, tmp_path: Path
) -> None:
    """Bundles that point elsewhere, in a process that is watched, with downloads allowed."""
    canary, cache = tmp_path / "canary", tmp_path / "cache"
    canary.mkdir()
    (canary / "model.safetensors").write_bytes(b"do not open")
    _, _, files = pack(fitted.model)
    paths = {}
    for name, change in (ANSWERED | REFUSED).items():
        parts = replace(copy.deepcopy(genuine), weights=files["backbone-0"])
        parts.network["engine"] = "torch"
        change(parts)
        paths[name] = put_canary(parts, canary).write(tmp_path / f"{name}.regraft")
    told = watched(paths, photos / "disc" / "000.png", cache, tmp_path)
    assert told["seen"] == []
    outcomes = {name: told["outcomes"][str(path)] for name, path in paths.items()}
    for name in REFUSED:
        assert outcomes[name].startswith(f"BundleError: {paths[name]}"), name
    expected = outcomes["etc"]
    assert expected["label"] in fitted.model.classes
    assert all(outcomes[name] == expected for name in ANSWERED)


def watched(paths: dict[str, Path], picture: Path, cache: Path, folder: Path) -> dict[str, Any]:
    from regraft.model import packing

    source = str(Path(packing.__file__).parents[2])
    libraries = [sys.prefix, sys.base_prefix, source, "/proc/", "/sys/", "/usr/", "/lib"]
    allowed = {
        "write": [str(cache), "/dev/null"],
        "read": [*libraries, str(picture), *map(str, paths.values())],
    }
    env = {k: v for k, v in os.environ.items() if not k.endswith("_OFFLINE")}
    env |= {"REGRAFT_CACHE": str(cache), "PYTHONPATH": source}
    told = json.dumps([[str(path) for path in paths.values()], str(picture), allowed])
    run = subprocess.run(
        [sys.executable, "-P", "-c", WATCHED, told],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


# --- a network whose configuration is in its row -------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model_type": "bert"}, "row.options.model_type: 'bert', and the network is WhisperModel"),
        ({}, "row.options.model_type: None"),
        ({"model_type": 3}, "row.options.model_type: 3"),
        ({"model_type": "whisper", "auto_map": {"AutoModel": "evil.Model"}}, "remote code"),
        ({"model_type": "whisper", "x": {"attn_implementation": "evil/kernels"}}, "eager, sdpa"),
    ],
)
def test_options_of_another_kind_are_refused(options: dict[str, Any], message: str) -> None:
    row = find("whisper-tiny-en")
    told = told_of(Extractor(row, row.spec, "torch"))
    views, inputs = MODALITY.views, MODALITY.inputs
    assert not list(carried_refusals(told, views, inputs))
    told["row"]["options"] = options
    assert any(message in reason for reason in carried_refusals(told, views, inputs))


def test_a_hearing_that_lies_is_refused() -> None:
    row = find("whisper-tiny-en")
    told = told_of(Extractor(row, row.spec, "torch"))
    told["spec"]["hears"] = {"front": "telepathy"}
    found = list(carried_refusals(told, MODALITY.views, MODALITY.inputs))
    assert any("spec.hears.front: 'telepathy'" in reason for reason in found)
    told["spec"] = {"size": 30, "reads": "sound"}
    found = list(carried_refusals(told, MODALITY.views, MODALITY.inputs))
    assert any("hears: goes with reads: sound" in reason for reason in found)
