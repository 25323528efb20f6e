"""Documents, arrays and pages come back as they went in, and what cannot is refused beforehand."""

import base64
import dataclasses
import hashlib
import io
import json
import os
import tempfile
import time
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

import regraft
from regraft.errors import BundleError, DataError, StorageError, UsageError
from regraft.export import archive, bundle
from regraft.export.bundle import Bundle, read_bundle, write_bundle

DOCUMENTS = {"classes": ["Katze", "犬"], "recipe": {"size": 224, "mean": [0.5, -0.0, 1e-300]}}
TENSORS: dict[str, dict[str, np.ndarray]] = {
    "head": {"weight": np.arange(6, dtype=np.float32).reshape(2, 3), "bias": np.ones(2)}
}
PAGES = {"card.md": "# Katze 犬\n", "report.html": "<!doctype html>", "curve.svg": "<svg/>"}

FORMAT_1 = (  # documents, arrays and a page, written by Regraft 0.1.0
    "c-nPR%W4!s6rDWOjf#tWfYwHkaj5rWT<A)WES&uqLOt#^Ey;{@cY-Di=r{NUf-4c+xO3xYsNmku@OEC~G+M=>Z&%"
    "$@=iaI_+1}XP8k~(ggHQL~eP5@j!!<&Vbr~I$y=t<O7CwJHzDZGs>s{J@Y#L}rFPiym$|4)GXNR1FW;?6ACtu$Go"
    "KV!^7GV!!88s21g;_JNn@8uFCoEO5VdE24+Sf0EjoD)*>C|Q~c7Id3Gh`*Uad(c`KueiZKJ+__#qF~}M?55aTUGz"
    "@VD00pwZWjn4O%&fvkIYUPs=`GFl*}yPF2s_?n083#!>|ywW4XQ_GnYE1$`(b1}?G@&L+X5EnWpHN>N$F?0qsJ$&"
    "!_HG3u`T>X@pRiy`~_!d6t23|a6Z5Q9O?2Bk7+0gU4UQ*x+Wun?S-Mp<p81`Em;l%R|j2`^QICYk>Iu1N8SB5UEK"
    "u)!JNK45Y}N`+`uwiu~TXPnb6#iBgVs6%o=q5>PdkC#%OFGvgL^+9au+!~(O5!?Iea8~w#vd$Me$&nawS~-Hcsk+"
    "X^VzRxqzP0gx2VRU1ZwE_1_DOv|E=hNL?(8%Bj$AT#|KZO*yYHwa`&ZvzlkF>4yRA){zv=si8hkpqxT~{A84Fo>u"
    "=LW!fCfT}8IsBo4R<aJN0Ih62rz}KTzryVrtA}Xz-Zkcp!evc"
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.regraft"


def bundle_of(path: Path, **content: Any) -> Bundle:
    write_bundle(path, **({"documents": {}, "tensors": {}} | content))
    return read_bundle(path)


def test_what_goes_in_comes_out(path: Path) -> None:
    sha256 = write_bundle(path, DOCUMENTS, TENSORS, PAGES)
    found = read_bundle(path)
    assert {name: found.document(name) for name in DOCUMENTS} == DOCUMENTS
    assert {name: found.page(name) for name in PAGES} == PAGES
    head = found.tensors("head")
    assert head.keys() == TENSORS["head"].keys()
    for name, array in head.items():
        np.testing.assert_array_equal(array, TENSORS["head"][name], strict=True)
    assert found.sha256 == sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert found.path == path
    assert os.listdir(path.parent) == [path.name]


def test_the_manifest_lists_every_entry_with_size_and_sha256(path: Path) -> None:
    write_bundle(path, DOCUMENTS, TENSORS, PAGES)
    found = read_bundle(path)
    with zipfile.ZipFile(path) as opened:
        listed = {name: opened.read(name) for name in opened.namelist()}
    assert list(listed)[-1] == "manifest.json"
    assert json.loads(listed.pop("manifest.json")) == found.manifest
    assert found.manifest == {
        "format": "regraft-bundle",
        "version": 1,
        "regraft": regraft.__version__,
        "entries": {
            name: {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            for name, content in listed.items()
        },
    }
    assert found.names == tuple(sorted(listed))


def test_any_archive_tool_opens_it_and_would_write_the_same_bytes(path: Path) -> None:
    write_bundle(path, DOCUMENTS, TENSORS, PAGES)
    again = io.BytesIO()
    with zipfile.ZipFile(path) as opened, zipfile.ZipFile(again, "w") as other:
        assert opened.testzip() is None
        other.comment = opened.comment
        for name in opened.namelist():
            entry = zipfile.ZipInfo(name)
            entry.create_system, entry.external_attr = 3, 0o100644 << 16
            other.writestr(entry, opened.read(name))
    assert again.getvalue() == path.read_bytes()


def test_the_seal_is_the_sha256_of_all_before_its_digits(path: Path) -> None:
    write_bundle(path, DOCUMENTS, TENSORS)
    content = path.read_bytes()
    assert content[-79:-64] == b"regraft-sha256:"
    assert content[-64:].decode() == hashlib.sha256(content[:-64]).hexdigest()


def test_the_same_content_gives_the_same_bytes_in_any_order_and_at_any_time(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = write_bundle(path, DOCUMENTS, TENSORS, PAGES)

    def reversed_(content: Any) -> Any:
        return dict(reversed(content.items()))

    monkeypatch.setattr(time, "time", lambda: 2e9)
    monkeypatch.chdir(tmp_path)
    other = Path("other")
    documents = reversed_(DOCUMENTS) | {"recipe": reversed_(DOCUMENTS["recipe"])}
    tensors = {"head": reversed_(TENSORS["head"])}
    assert write_bundle(other, documents, tensors, reversed_(PAGES)) == first
    assert other.read_bytes() == path.read_bytes()


def test_the_bytes_of_format_version_1_never_change(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundle, "__version__", "0.1.0")
    sha256 = write_bundle(path, {"classes": ["a", "ä"], "b": {"x": 0.5}}, {}, {"card.md": "hi"})
    assert sha256 == "39489ae770509b386885d4b6bf2942e7ec4ef80d408eff5e862eb7327427c924"


def test_a_bundle_of_format_version_1_can_always_be_read(path: Path) -> None:
    path.write_bytes(zlib.decompress(base64.b85decode(FORMAT_1)))
    found = read_bundle(path)
    assert found.manifest["regraft"] == "0.1.0"
    assert found.document("classes") == ["a", "ä"]
    assert found.page("card.md") == "hi"
    np.testing.assert_array_equal(
        found.tensors("head")["bias"], np.array([0.5, -2], np.float32), strict=True
    )


def test_a_bundle_may_hold_nothing(path: Path) -> None:
    assert bundle_of(path).names == ()


def test_a_bundle_outlives_its_file_and_cannot_be_changed(path: Path) -> None:
    found = bundle_of(path, documents=DOCUMENTS, tensors=TENSORS)
    path.unlink()
    found.document("recipe")["size"] = 1
    found.tensors("head")["bias"][:] = 7
    assert found.document("recipe")["size"] == 224
    assert found.tensors("head")["bias"].tolist() == [1, 1]
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.sha256 = ""  # type: ignore[misc]


def test_writing_fails_whole_and_leaves_the_previous_bundle(path: Path) -> None:
    write_bundle(path, DOCUMENTS, TENSORS)
    before = path.read_bytes()
    with pytest.raises(UsageError):
        write_bundle(path, {"recipe": float("nan")}, TENSORS)
    with pytest.raises(StorageError, match="create its folder first"):
        write_bundle(path.parent / "missing" / "model.regraft", DOCUMENTS, TENSORS)
    assert path.read_bytes() == before


# --- JSON

SCALARS = st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False)
FINITE = SCALARS.filter(lambda v: v not in (float("inf"), float("-inf")))
JSON = st.recursive(
    FINITE, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20
)


def same(a: Any, b: Any) -> bool:
    """Equal in value and type, and in the sign of zero."""
    return repr(a) == repr(b) if isinstance(a, float) else type(a) is type(b) and a == b


@settings(max_examples=25)
@given(st.dictionaries(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,30}", fullmatch=True), JSON))
def test_any_json_comes_back(documents: dict[str, Any]) -> None:
    documents.pop("manifest", None)
    with tempfile.TemporaryDirectory() as folder:
        found = bundle_of(Path(folder, "b"), documents=documents)
        again = write_bundle(Path(folder, "c"), dict(reversed(documents.items())), {})
    assert all(same(found.document(name), value) for name, value in documents.items())
    assert again == found.sha256


@pytest.mark.parametrize("value", [10**4000, -(2**64), 5e-324, 1.7976931348623157e308, -0.0, ""])
def test_extreme_values_come_back(path: Path, value: Any) -> None:
    assert same(bundle_of(path, documents={"d": value}).document("d"), value)


def test_text_that_utf8_cannot_say_comes_back_such_as_badly_named_files(path: Path) -> None:
    named = {"\udce4.jpg": "\ud800"}
    assert bundle_of(path, documents={"d": named}).document("d") == named


def test_tuples_come_back_as_lists(path: Path) -> None:
    assert bundle_of(path, documents={"d": {"mean": (1, (2,))}}).document("d") == {"mean": [1, [2]]}


def nested(depth: int) -> Any:
    value: Any = 0
    for level in range(depth):
        value = [value] if level % 2 else {"inner": value}
    return value


def test_depth_has_a_limit_that_writer_and_reader_share(path: Path) -> None:
    assert bundle_of(path, documents={"d": nested(64)}).document("d") == nested(64)
    for depth in (65, 500, 100_000):
        with pytest.raises(UsageError, match="documents\\['d'\\]"):
            write_bundle(path, {"d": nested(depth)}, {})


CIRCLE: list[Any] = []
CIRCLE.extend([CIRCLE, CIRCLE])


@pytest.mark.parametrize(
    "value",
    [
        float("nan"),
        [1, {"a": float("inf")}],
        {1: "a"},
        {"a": {None: 1}},
        {1.5: 1, "b": 2},
        {"set"},
        b"bytes",
        np.float32(1),
        np.ones(2),
        Path("x"),
        CIRCLE,
        10**5000,
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_json_cannot_say_is_refused_and_named(path: Path, value: Any) -> None:
    with pytest.raises(UsageError, match="documents\\['d'\\]"):
        write_bundle(path, {"d": value}, {})
    assert not path.exists()


# --- arrays

DTYPES = st.sampled_from(sorted(bundle.DTYPES)).map(np.dtype)
ANY_ORDER = DTYPES.flatmap(lambda d: st.sampled_from([d, d.newbyteorder(">")]))
ARRAYS = arrays_of.arrays(ANY_ORDER, arrays_of.array_shapes(min_dims=0, min_side=0, max_side=4))
LAYOUTS = st.sampled_from(
    [np.asarray, np.asfortranarray, np.transpose, np.flip, lambda a: a[..., ::2] if a.ndim else a]
)
LAID_OUT = st.builds(lambda array, layout: np.asarray(layout(array)), ARRAYS, LAYOUTS)
NAMES = st.text(st.characters(exclude_categories=["Cs"])).filter(lambda n: n != "__metadata__")


@settings(max_examples=80)
@given(
    st.dictionaries(NAMES, st.builds(lambda a, f: np.asarray(f(a)), ARRAYS, LAYOUTS), max_size=4)
)
def test_any_array_in_any_layout_comes_back(arrays: dict[str, np.ndarray]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        found = bundle_of(Path(folder, "b"), tensors={"t": arrays})
        again = write_bundle(Path(folder, "c"), {}, {"t": dict(reversed(arrays.items()))})
    read = found.tensors("t")
    assert read.keys() == arrays.keys()
    for name, array in arrays.items():
        assert read[name].dtype == array.dtype.newbyteorder("=")
        np.testing.assert_array_equal(read[name], array)
    assert again == found.sha256


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.array([None]), "is of object"),
        (np.array(["a"]), "is of <U1"),
        (np.ones(2, complex), "is of complex128"),
        (np.array(["2020-01-01"], "M8[D]"), "is of datetime64"),
        (np.ma.masked_array([1.0, 2.0], [True, False]), "is a MaskedArray"),
        ([1.0, 2.0], "is a list"),
        (np.float64(1), "is a float64"),
    ],
    ids=str,
)
def test_what_safetensors_cannot_say_is_refused_and_named(
    path: Path, array: Any, reason: str
) -> None:
    with pytest.raises(UsageError) as caught:
        write_bundle(path, {}, {"head": {"weight": array, "bias": np.ones(1)}})
    assert str(caught.value).startswith(f"tensors['head']: 'weight' {reason}")


@pytest.mark.parametrize("name", ["__metadata__", "\ud800", 3])
def test_a_name_that_safetensors_cannot_say_is_refused(path: Path, name: Any) -> None:
    with pytest.raises(UsageError, match="tensors\\['head'\\]"):
        write_bundle(path, {}, {"head": {name: np.ones(1)}})


# --- files and extraction


def weights(path: Path, **arrays: np.ndarray) -> Path:
    safetensors.numpy.save_file(arrays or {"w": np.ones((3, 4), np.float16)}, path)
    return path


def test_a_weight_file_is_copied_in_and_extracted_byte_for_byte(path: Path, tmp_path: Path) -> None:
    source = weights(tmp_path / "some.weights")
    found = bundle_of(path, files={"backbone": source})
    source.rename(tmp_path / "kept")
    (tmp_path / "out").mkdir()
    copy = found.extract("backbone", tmp_path / "out")
    assert copy == tmp_path / "out" / "backbone.safetensors"
    assert copy.read_bytes() == (tmp_path / "kept").read_bytes()
    assert os.listdir(tmp_path / "out") == ["backbone.safetensors"]
    assert found.tensors("backbone")["w"].shape == (3, 4)


def test_weights_that_numpy_cannot_read_can_be_extracted(path: Path, tmp_path: Path) -> None:
    header = b'{"w":{"dtype":"BF16","shape":[1],"data_offsets":[0,2]}}'
    content = len(header).to_bytes(8, "little") + header + b"\x80\x3f"
    (tmp_path / "bf16").write_bytes(content)
    found = bundle_of(path, files={"backbone": tmp_path / "bf16"})
    assert found.extract("backbone", tmp_path).read_bytes() == content
    with pytest.raises(BundleError, match=r"backbone\.safetensors cannot be read"):
        found.tensors("backbone")


def test_extraction_does_not_follow_a_link_out_of_the_folder(path: Path, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    canary.write_text("alive")
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "backbone.safetensors").symlink_to(canary)
    found = bundle_of(path, files={"backbone": weights(tmp_path / "w")})
    with pytest.raises(DataError, match="leads out of the folder"):
        found.extract("backbone", folder)
    with pytest.raises(StorageError, match="create its folder first"):
        found.extract("backbone", tmp_path / "missing")
    assert canary.read_text() == "alive"


def bad_files(folder: Path) -> dict[str, tuple[Path, str]]:
    (folder / "empty").touch()
    (folder / "pickle").write_bytes(b"\x80\x04.")
    (folder / "cut").write_bytes(weights(folder / "whole").read_bytes()[:-1])
    os.mkfifo(folder / "pipe")
    return {
        "missing": (folder / "missing", "No such file"),
        "folder": (folder, "Is a directory"),
        "pipe": (folder / "pipe", "not a regular file"),
        "device": (Path("/dev/zero"), "not a regular file"),
        "empty": (folder / "empty", "cannot be read as safetensors"),
        "pickle": (folder / "pickle", "cannot be read as safetensors"),
        "cut": (folder / "cut", "cannot be read as safetensors"),
    }


def test_every_bad_weight_file_is_named_and_told_together(path: Path, tmp_path: Path) -> None:
    files = bad_files(tmp_path)
    with pytest.raises(UsageError) as caught:
        write_bundle(path, {}, {}, files={name: file for name, (file, _) in files.items()})
    assert len(caught.value.mistakes) == len(files)
    for mistake, (name, (file, reason)) in zip(caught.value.mistakes, files.items(), strict=True):
        assert mistake.startswith(f"files[{name!r}]: {file}: ")
        assert reason in mistake


# --- names, pages and limits


def test_all_mistakes_of_a_call_are_told_together(path: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        write_bundle(
            path,
            {
                "manifest": 1,
                "../up": 2,
                "": 3,
                "a.b": 4,
                "x" * 64: 5,
                "fine": 6,
                "ä": 7,
                "nan": {8},
            },
            {"head": {"w": np.ones(2)}, "a/b": {}},
            {"card.txt": "", "recipe.json": "{}", "b.md": b"bytes", "half.md": "\ud800"},  # type: ignore[dict-item]
            {"head": weights(tmp_path / "w")},
        )
    named = [mistake.partition(":")[0] for mistake in caught.value.mistakes]
    assert named == [
        "documents['manifest']",
        "documents['../up']",
        "documents['']",
        "documents['a.b']",
        f"documents['{'x' * 64}']",
        "documents['ä']",
        "documents['nan']",
        "tensors['a/b']",
        "pages['card.txt']",
        "pages['recipe.json']",
        "pages['b.md']",
        "pages['half.md']",
        "files['head']",
    ]
    assert not path.exists()


def test_names_of_every_allowed_form_are_taken(path: Path) -> None:
    names = ["a", "Z9", "0", "x" * 63, "a-b_c-"]
    found = bundle_of(path, documents=dict.fromkeys(names, 1), pages={"README.md": "x"})
    assert found.names == tuple(sorted([*(f"{name}.json" for name in names), "README.md"]))


def test_what_is_not_there_is_answered_with_what_is(path: Path) -> None:
    found = bundle_of(path, documents=DOCUMENTS, pages=PAGES)
    for ask, name in (
        (found.document, "recipes"),
        (found.document, "manifest"),
        (found.document, "../recipe"),
        (found.tensors, "recipe"),
        (found.page, "card"),
        (lambda name: found.extract(name, path.parent), "recipe"),
    ):
        with pytest.raises(BundleError) as caught:
            ask(name)
        assert str(caught.value).startswith(f"{path}: has no '{name}")
        assert "it holds card.md, classes.json, curve.svg" in str(caught.value)


def test_limits_are_the_same_for_writer_and_reader(path: Path) -> None:
    most = {f"d{i}": i for i in range(63)}
    assert len(bundle_of(path, documents=most).names) == 63
    with pytest.raises(UsageError, match="at most 63 entries"):
        write_bundle(path, most | {"more": 1}, {})
    with pytest.raises(UsageError, match="at most 10,000,000 are expected"):
        write_bundle(path, {"d": "x" * 10_000_000}, {})


def test_content_beyond_the_size_of_an_archive_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundle, "MAX_CONTENT", 1000)
    with pytest.raises(UsageError, match="1,000 bytes"):
        write_bundle(path, {"a": "x" * 500, "b": "x" * 500}, {})
    write_bundle(path, DOCUMENTS, {})
    monkeypatch.setattr(archive, "MAX_ARCHIVE", path.stat().st_size)
    read_bundle(path)
    monkeypatch.setattr(archive, "MAX_ARCHIVE", path.stat().st_size - 1)
    with pytest.raises(BundleError, match="at most"):
        read_bundle(path)


def test_eighteen_megabytes_are_read_within_a_tenth_of_a_second(path: Path) -> None:
    weight = np.random.default_rng(0).normal(size=(1500, 1500)).astype(np.float32)
    write_bundle(path, DOCUMENTS, {"a": {"w": weight}, "b": {"w": weight}})
    assert path.stat().st_size > 18_000_000

    def seconds() -> float:
        start = time.perf_counter()
        found = read_bundle(path)
        assert found.tensors("a")["w"].shape == found.tensors("b")["w"].shape
        return time.perf_counter() - start

    assert min(seconds() for _ in range(5)) < 0.1
