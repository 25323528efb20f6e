"""A graph in place of weights: its file, and what is refused of a file of unknown origin."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper
from safetensors.numpy import load_file, save_file

from regraft.backbones.graphs import graph_widths, pack_graph, refuse_outside, unpack_graph
from regraft.errors import BackboneError

NAMES = ("graph.xml", "graph.bin")


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    (tmp_path / "graph.xml").write_text("<net/>" * 400)
    (tmp_path / "graph.bin").write_bytes(np.random.default_rng(0).bytes(5000))
    path = tmp_path / "graph.safetensors"
    path.write_bytes(pack_graph(tmp_path, NAMES, (16, 24)))
    return path


def test_files_come_back_as_they_were_and_no_others(packed: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    unpack_graph(packed, NAMES, out)
    assert {p.name for p in out.iterdir()} == set(NAMES)
    assert all((out / n).read_bytes() == (tmp_path / n).read_bytes() for n in NAMES)
    assert graph_widths(packed) == (16, 24)


@pytest.mark.parametrize("told", [0, 5, 2399, 2401, -1, 10**18])
def test_a_length_that_lies_is_refused(packed: Path, tmp_path: Path, told: int) -> None:
    """A small file must not become a large one."""
    arrays = load_file(packed)
    arrays["graph.xml:length"] = np.array([told], np.int64)
    save_file(arrays, packed)
    with pytest.raises(BackboneError, match=r"graph\.xml is not as long"):
        unpack_graph(packed, NAMES, tmp_path)


@pytest.mark.parametrize("name", ["graph.xml", "graph.bin:length", "widths"])
def test_what_is_missing_is_named(packed: Path, tmp_path: Path, name: str) -> None:
    arrays = load_file(packed)
    del arrays[name]
    save_file(arrays, packed)
    asked = graph_widths if name == "widths" else lambda p: unpack_graph(p, NAMES, tmp_path)
    with pytest.raises(BackboneError, match="holds no graph"):
        asked(packed)


@given(st.binary(max_size=200))
def test_damaged_bytes_are_an_error_in_words(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    one = {"graph.xml": np.frombuffer(data, np.uint8), "graph.xml:length": np.array([9], np.int64)}
    save_file(one, folder / "a.safetensors")
    with pytest.raises(BackboneError):
        unpack_graph(folder / "a.safetensors", ("graph.xml",), folder)
    (folder / "b.safetensors").write_bytes(data)
    with pytest.raises(BackboneError, match="not a safetensors file"):
        graph_widths(folder / "b.safetensors")


def test_an_onnx_graph_that_reads_other_files_is_refused(tmp_path: Path) -> None:
    """However deep the tensor lies: here in the body of a branch."""
    inside = helper.make_tensor("w", TensorProto.FLOAT, [1], [0.0])
    inside.ClearField("float_data")
    inside.data_location = TensorProto.EXTERNAL
    inside.external_data.add(key="location", value="../../etc/passwd")
    value = helper.make_tensor_value_info("w", TensorProto.FLOAT, [1])
    branch = helper.make_graph([], "branch", [], [value], initializer=[inside])
    node = helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("c", TensorProto.BOOL, [])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])],
    )
    path = tmp_path / "graph.onnx"
    path.write_bytes(helper.make_model(graph).SerializeToString())
    with pytest.raises(BackboneError, match="other files"):
        refuse_outside(path)
    path.write_bytes(b"\x08nothing of the kind")
    with pytest.raises(BackboneError, match="no ONNX graph"):
        refuse_outside(path)
    inside.data_location = TensorProto.DEFAULT
    plain = helper.make_graph([], "g", [], [value], initializer=[inside])
    onnx.save(helper.make_model(plain), str(path))
    refuse_outside(path)
