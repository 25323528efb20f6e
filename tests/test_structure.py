"""The structure of the package, read from its sources: arrows, sizes, banned calls, import cost."""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from graphlib import TopologicalSorter
from importlib.util import resolve_name
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src"

# Who may import whom, names below `regraft`. A row holds for a module or a folder and all that is
# in it, unless a longer name has a row of its own; inside a row everything may import everything.
# What has no row fails: a new folder states its arrows here first.
CORE = ("errors", "storage", "progress", "recipe", "modalities", "data", "backbones", "tasks")
MODELS = (*CORE, "evaluation", "transfer", "export", "model", "training")
VERBS = (*MODELS, "robustness", "compression")
MAY_IMPORT: dict[str, tuple[str, ...]] = {
    "errors": (),
    "storage": ("errors",),
    "progress": ("errors",),
    "modalities": ("errors",),
    "modalities.windows": (),
    "modalities.spec": ("errors", "modalities.windows"),
    "recipe": ("errors", "modalities.spec", "modalities.windows"),
    "data": ("errors", "storage", "modalities"),
    "data.findings": ("errors",),
    "data.paths": ("errors",),
    "data.inline": ("errors", "modalities"),
    "backbones": ("errors", "storage", "progress", "modalities", "data.paths", "data.inline"),
    "evaluation": ("errors", "storage", "modalities", "data.findings"),
    "tasks": ("errors", "modalities", "data", "backbones", "evaluation"),
    "transfer": (*CORE, "evaluation"),
    "robustness.attacks": ("errors",),
    "robustness": (*CORE, "evaluation", "transfer", "export", "model"),
    "export": ("errors", "storage", "modalities", "data.paths", "backbones"),
    "training": (*CORE, "evaluation", "transfer", "export", "robustness.attacks"),
    "model": (*CORE, "evaluation", "transfer", "export"),
    "compression": (*CORE, "evaluation", "transfer", "export", "training"),
    "verbs": VERBS,
    "serve": ("errors", "storage", "progress", "modalities", "data.paths", "backbones", "export"),
    "ui": ("errors", "recipe", "serve"),
    "": (*VERBS, "verbs"),  # the public names
    "__main__": ("cli",),
    "cli": (*VERBS, "verbs", "serve", "ui", ""),
}

HEAVY = {"torch", "timm", "transformers", "sklearn", "polars", "openvino", "scipy"}
LIGHT = ("regraft", "regraft.recipe", "regraft.backbones.catalog", "regraft.cli")

UNPICKLERS = {"pickle", "_pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib"}
BANNED_CALLS = {"eval", "exec", "os.system", "torch.hub.load", "torch.jit.load"}
BANNED_SWITCHES = {"allow_pickle", "trust_remote_code", "shell"}

PACKAGE_INDEX = re.compile(
    r"pypi[.]org|pythonhosted[.]org|download[.]pytorch[.]org|npmjs[.](?:com|org)|deb[.]debian[.]org"
    r"|--(?:extra-)?index-url|--find-link[s]|https?://\S*/simple\b",
    re.IGNORECASE,
)


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_name(path): path for path in sorted(SOURCE.rglob("*.py"))}
TREES = {name: ast.parse(path.read_bytes(), path) for name, path in MODULES.items()}


class Arrow(NamedTuple):
    """One import: the line, and the module of ours that is imported."""

    line: int
    target: str


def arrows(tree: ast.AST, name: str) -> Iterator[Arrow]:
    """Every import of ours: at the top, in functions, for types, or a module's name as text."""
    for node in ast.walk(tree):
        found: Iterable[str] = ()
        match node:
            case ast.Import():
                found = [alias.name for alias in node.names]
            case ast.ImportFrom():
                found = targets_of(node, name)
            case ast.Constant(value=str(text)) if text in MODULES and text != "regraft":
                found = [text]
        line = getattr(node, "lineno", 0)
        yield from (Arrow(line, t) for t in found if t.split(".")[0] == "regraft")


def targets_of(node: ast.ImportFrom, importer: str) -> Iterator[str]:
    base = resolve_name("." * node.level + (node.module or ""), package_of(importer))
    for alias in node.names:
        member = f"{base}.{alias.name}"
        if member != "regraft.__version__":  # a constant that every layer may read
            yield member if member in MODULES else base


def package_of(name: str) -> str:
    is_package = name in MODULES and MODULES[name].name == "__init__.py"
    return name if is_package else name.rpartition(".")[0]


def row_of(name: str) -> str | None:
    """The longest row that holds for a module, None without one."""
    name = name.removeprefix("regraft").removeprefix(".")
    if name == "":
        return ""
    rows = [row for row in MAY_IMPORT if row and within(name, row)]
    return max(rows, key=len, default=None)


def within(name: str, row: str) -> bool:
    return name == row or (row != "" and name.startswith(f"{row}."))


def wrong_arrows(tree: ast.AST, name: str) -> Iterator[str]:
    row = row_of(name)
    if row is None:
        yield f"{name} has no row in MAY_IMPORT"
        return
    for arrow in arrows(tree, name):
        target = arrow.target.removeprefix("regraft").removeprefix(".")
        if not any(within(target, allowed) for allowed in (row, *MAY_IMPORT[row])):
            yield f"{name}:{arrow.line} imports {arrow.target}; see row {row!r} of MAY_IMPORT"


def test_imports_point_one_way() -> None:
    wrong = [line for name, tree in TREES.items() for line in wrong_arrows(tree, name)]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    "source",
    [
        "import regraft.data.findings",
        "from regraft.data import findings",
        "from regraft.data.findings import Finding",
        "from ..data.findings import Finding",
        "def f():\n    from regraft.data.findings import Finding",
        "if TYPE_CHECKING:\n    from regraft.data.findings import Finding",
        "ROW = ('regraft.data.findings', 'Finding')",
        "import regraft",
        "from regraft import data",
    ],
)
def test_a_wrong_arrow_is_found(source: str) -> None:
    assert list(wrong_arrows(ast.parse(source), "regraft.modalities.image"))
    assert not list(wrong_arrows(ast.parse(source), "regraft.cli.fit"))


def test_relative_imports_are_resolved_from_modules_and_packages() -> None:
    tree = ast.parse("from .errors import UsageError")
    assert list(arrows(tree, "regraft")) == [Arrow(1, "regraft.errors")]
    assert list(arrows(tree, "regraft.recipe")) == [Arrow(1, "regraft.errors")]


def rows_below(row: str) -> set[str]:
    """The rows that a row may import directly, finer rows of its own folder among them."""
    allowed = (row, *MAY_IMPORT[row])
    return {r for r in MAY_IMPORT if r != row and any(within(r, name) for name in allowed)}


def test_the_table_has_no_cycle_and_serving_reaches_no_training() -> None:
    order = list(TopologicalSorter({row: rows_below(row) for row in MAY_IMPORT}).static_order())
    reach: dict[str, set[str]] = {}
    for row in order:
        below = rows_below(row)
        reach[row] = below.union(*(reach[r] for r in below))
    assert not reach["serve"] & {"transfer", "training", "model"}
    assert not any("cli" in below for row, below in reach.items() if row != "__main__")


def test_modules_stay_under_400_lines() -> None:
    lines = {name: len(path.read_text().splitlines()) for name, path in MODULES.items()}
    assert not {name: n for name, n in lines.items() if n >= 400}


def test_functions_stay_within_60_lines() -> None:
    long = [
        f"{name}:{node.lineno} {node.name}: {length} lines"
        for name, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (length := (node.end_lineno or 0) - node.lineno + 1) > 60
    ]
    assert not long, "\n".join(long)


def unsafe(tree: ast.AST) -> Iterator[str]:
    """What could run code from a file: unpickling, evaluation, remote code."""
    for node in ast.walk(tree):
        match node:
            case ast.Import():
                imported = [alias.name for alias in node.names]
            case ast.ImportFrom(module=str(module)):
                imported = [module, *(f"{module}.{alias.name}" for alias in node.names)]
            case ast.Call():
                yield from (f"line {node.lineno}: {what}" for what in unsafe_call(node))
                continue
            case _:
                continue
        banned = UNPICKLERS | BANNED_CALLS | {"torch.load"}
        yield from (f"line {node.lineno}: import {i}" for i in imported if i in banned)


def unsafe_call(call: ast.Call) -> Iterator[str]:
    function = ast.unparse(call.func)
    switches = {k.arg: ast.unparse(k.value) for k in call.keywords if k.arg}
    if function in BANNED_CALLS:
        yield function
    if function == "torch.load" and switches.get("weights_only") != "True":
        yield "torch.load without weights_only=True"
    yield from (
        f"{s}={switches[s]}" for s in BANNED_SWITCHES if switches.get(s, "False") != "False"
    )


def test_nothing_is_unpickled_or_evaluated() -> None:
    found = [f"{name} {what}" for name, tree in TREES.items() for what in unsafe(tree)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("source", "is_unsafe"),
    [
        ("import pickle", True),
        ("from joblib import load", True),
        ("from torch import load", True),
        ("torch.load(path)", True),
        ("torch.load(path, weights_only=False)", True),
        ("torch.load(path, weights_only=True)", False),
        ("np.load(path, allow_pickle=True)", True),
        ("np.load(path, allow_pickle=False)", False),
        ("network.eval()", False),
        ("eval(text)", True),
    ],
)
def test_an_unsafe_call_is_found(source: str, is_unsafe: bool) -> None:
    assert bool(list(unsafe(ast.parse(source)))) == is_unsafe


@pytest.mark.parametrize("name", [name for name in LIGHT if name in MODULES])
def test_light_modules_load_no_heavy_library(name: str) -> None:
    code = f"import sys, {name}; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not HEAVY & set(run.stdout.split())


def seconds(code: str) -> float:
    """Best of nine: seconds of a processor that a fresh interpreter takes for a piece of code.

    It waits for nobody, so these are the seconds on a clock where nothing else runs; beside other
    tests a clock would tell of them.
    """

    def once() -> float:
        before = os.times()
        subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
        after = os.times()
        own = after.children_user - before.children_user
        return own + after.children_system - before.children_system

    return min(once() for _ in range(9))


HELP = "import sys; sys.argv = ['regraft', '--help']; from regraft.cli import main; main()"


@pytest.mark.parametrize(
    ("code", "limit"),
    [
        pytest.param("import regraft", 0.2, id="import"),
        pytest.param(HELP, 0.3, id="help"),
    ],
)
def test_start_is_quick(code: str, limit: float) -> None:
    if "regraft.cli" in code and "regraft.cli" not in MODULES:
        pytest.skip("there is no command line yet")
    beside = 1.5 if "PYTEST_XDIST_WORKER" in os.environ else 1.0  # two threads may share a core
    assert seconds(code) - seconds("pass") < beside * limit


def tracked_files() -> list[Path]:
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listing.returncode != 0:
        pytest.skip("not a git checkout")
    paths = (ROOT / name for name in listing.stdout.decode().split("\0") if name)
    return [path for path in paths if path.is_file()]


def test_no_tracked_file_names_a_package_index() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {hit.group()}"
        for path in tracked_files()
        for hit in PACKAGE_INDEX.finditer(path.read_text(errors="replace"))
    ]
    assert not found, "\n".join(found)
