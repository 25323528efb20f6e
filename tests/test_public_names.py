"""The public names: exactly these, each one there, and none of them paid for before it is used."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import regraft
from regraft.backbones.catalog import CatalogRow

PUBLIC = {
    "Dataset": type,
    "Model": type,
    "Recipe": type,
    "Report": type,
    "__version__": str,
    "catalog": object,
    "compare": object,
    "demo": object,
    "distil": object,
    "doctor": object,
    "ensemble": object,
    "evaluate": object,
    "fit": object,
    "harden": object,
    "load": object,
    "predict": object,
    "predict_pretrained": object,
    "preview": object,
    "prune": object,
    "quantize": object,
    "rank": object,
}


def in_a_fresh_process(code: str) -> str:
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return run.stdout


def test_the_names_are_these_in_order() -> None:
    assert regraft.__all__ == sorted(PUBLIC)
    assert dir(regraft) == regraft.__all__


@pytest.mark.parametrize("name", PUBLIC)
def test_each_name_resolves_and_tells_what_it_is(name: str) -> None:
    found: Any = getattr(regraft, name)
    assert isinstance(found, PUBLIC[name])
    assert isinstance(found, str) or (callable(found) and found.__doc__)


def test_a_star_import_brings_them_all() -> None:
    code = "from regraft import *; print(*sorted(k for k in vars() if k in set(%r)))"
    told = in_a_fresh_process(code % regraft.__all__)
    assert set(told.split()) == set(regraft.__all__)


def test_a_name_is_found_at_once_whatever_was_imported_before() -> None:
    """A submodule of the same name (`regraft.verbs.fit`) must not get in the way."""
    code = "import regraft.verbs.fit as f, regraft; print(regraft.fit is f.fit)"
    assert in_a_fresh_process(code) == "True\n"


def test_no_name_is_that_of_a_folder_of_the_package() -> None:
    """The folder would take its place as soon as anything in it is imported."""
    folders = {path.stem for path in Path(str(regraft.__file__)).parent.iterdir()}
    assert not folders & set(regraft.__all__)


def test_the_catalog_is_there() -> None:
    assert isinstance(regraft.catalog()["efficientnet-lite0"], CatalogRow)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'regraft' has no attribute 'fitt'"):
        regraft.fitt


def test_importing_the_package_imports_nothing_of_others() -> None:
    """Beyond the standard library, and next to nothing of that."""
    code = (
        "import sys; before = set(sys.modules); import regraft; print(*set(sys.modules) - before)"
    )
    new = set(in_a_fresh_process(code).split())
    assert {name for name in new if name.partition(".")[0] not in sys.stdlib_module_names} == {
        "regraft"
    }
