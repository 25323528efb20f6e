"""The store keeps bits, survives kills, damage and full disks, and stays within its limit."""

import contextlib
import hashlib
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from regraft.backbones.store import Look, Store, Verdict
from regraft.errors import StorageError, UsageError
from regraft.modalities.facts import THUMB, Facts

Vectors = dict[str, npt.NDArray[np.float32]]


def sha(name: object) -> str:
    return hashlib.sha256(str(name).encode()).hexdigest()


def vectors(names: Any, width: int = 50) -> Vectors:
    """Vectors that can be told from their names: what is read back can be checked by anyone."""
    made = {}
    for name in names:
        rng = np.random.default_rng(list(sha(name).encode()))
        made[sha(name)] = rng.standard_normal(width, np.float32)
    return made


def facts(seed: int = 0) -> Facts:
    thumb = np.random.default_rng(seed).integers(0, 256, (THUMB, THUMB, 3), np.uint8)
    return Facts(640 + seed, 480, "RGB", "JPEG", 6, 1, thumb)


def equal(a: Look, b: Look) -> bool:
    if isinstance(a, Facts) and isinstance(b, Facts):
        return a.to_dict() == b.to_dict() and (a.thumb == b.thumb).all()
    return a == b


def same(found: Vectors, expected: Vectors) -> bool:
    """Bit for bit, NaN and the sign of zero among it."""
    return found.keys() == expected.keys() and all(
        found[name].tobytes() == expected[name].tobytes() for name in expected
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.sqlite3"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    with Store(path) as opened:
        yield opened


# --- round trips ---------------------------------------------------------------------------------


def test_features_come_back_bit_for_bit(path: Path) -> None:
    odd = np.array([0.0, -0.0, np.nan, np.inf, -np.inf, 1e-45, 3.4e38], np.float32)
    kept = vectors(range(1_300)) | {sha("odd"): odd}
    with Store(path) as store:
        store.keep_features("space", {"network": "n"}, kept)
        assert same(store.features("space", [*kept, sha("absent"), *kept]), kept)
    with Store(path) as again:
        assert same(again.features("space", list(kept)), kept)
        assert again.features("other space", list(kept)) == {}
        assert again.features("space", []) == {}


def test_looks_come_back(path: Path) -> None:
    kept: dict[str, Look] = {sha(i): facts(i) for i in range(3)}
    kept[sha("bad")] = Verdict("truncated", "the file ends too early: ‘ä’")
    with Store(path) as store:
        store.keep_looks(kept, "image 1")
    with Store(path) as again:
        found = again.looks([*kept, sha("absent")], "image 1")
        assert found.keys() == kept.keys()
        assert all(equal(found[name], kept[name]) for name in kept)
        assert again.looks(list(kept), "image 2") == {}


def test_a_look_by_another_version_stays_beside(store: Store) -> None:
    for version in ("1", "2"):
        store.keep_looks({sha("a"): Verdict("damaged", version)}, f"image {version}")
    found = [store.looks([sha("a")], f"image {v}")[sha("a")] for v in ("1", "2")]
    assert [look.reason for look in found if isinstance(look, Verdict)] == ["1", "2"]


def test_what_is_kept_again_replaces(store: Store) -> None:
    store.keep_features("space", {}, {sha("a"): np.zeros(3, np.float32)})
    store.keep_features("space", {}, {sha("a"): np.ones(4, np.float32)})
    assert store.features("space", [sha("a")])[sha("a")].tolist() == [1, 1, 1, 1]
    store.keep_looks({sha("a"): Verdict("empty", "x")}, "image")
    store.keep_looks({sha("a"): facts()}, "image")
    assert equal(store.looks([sha("a")], "image")[sha("a")], facts())


def test_a_changed_file_is_a_new_key(store: Store) -> None:
    store.keep_features("space", {}, vectors(["before"]))
    assert store.features("space", [sha("after")]) == {}


def test_spaces_remember_what_they_are(store: Store) -> None:
    assert store.space("a") is None
    store.keep_features("a", {"network": "n", "view": "centre"}, vectors(range(2)))
    store.keep_features("a", {"network": "other"}, vectors(range(2)))
    assert store.space("a") == {"network": "n", "view": "centre"}


@given(
    st.dictionaries(
        st.text("abc", max_size=3), st.binary(max_size=40).map(lambda b: b[: len(b) // 4 * 4])
    )
)
def test_any_vectors_come_back(kept: dict[str, bytes]) -> None:
    with Store(Path(":memory:")) as store:
        wanted = {name: np.frombuffer(bits, "<f4") for name, bits in kept.items()}
        store.keep_features("s", {}, wanted)
        assert same(store.features("s", list(kept)), wanted)


# --- damage --------------------------------------------------------------------------------------


def spoil(path: Path, statement: str, *values: Any) -> None:
    with contextlib.closing(sqlite3.connect(path)) as raw, raw:
        assert raw.execute(statement, values).rowcount > 0


@pytest.mark.parametrize(
    "change",
    [
        "vector = zeroblob(200)",
        "vector = zeroblob(0)",
        "vector = 'text'",
        "crc = crc + 1",
        "sha = replace(sha, substr(sha, 1, 8), '00000000')",
        "vector = (SELECT vector FROM features f WHERE f.sha != features.sha LIMIT 1)",
    ],
)
def test_a_spoiled_vector_is_absent_and_can_be_kept_anew(path: Path, change: str) -> None:
    kept = vectors(range(5))
    with Store(path) as store:
        store.keep_features("space", {}, kept)
    spoil(path, f"UPDATE features SET {change} WHERE sha = ?", sha(3))
    with Store(path) as store:
        whole = {name: v for name, v in kept.items() if name != sha(3)}
        assert same(store.features("space", [*kept, "00000000" + sha(3)[8:]]), whole)
        store.keep_features("space", {}, {sha(3): kept[sha(3)]})
        assert same(store.features("space", list(kept)), kept)


@pytest.mark.parametrize(
    "change", ["record = x'7b7d'", "thumb = x''", "thumb = 7", "record = '{}'"]
)
def test_a_spoiled_look_is_absent(path: Path, change: str) -> None:
    with Store(path) as store:
        store.keep_looks({sha(i): facts(i) for i in range(2)}, "image")
    spoil(path, f"UPDATE looks SET {change} WHERE sha = ?", sha(1))
    with Store(path) as store:
        assert store.looks([sha(0), sha(1)], "image").keys() == {sha(0)}


def filled(path: Path, count: int = 200) -> Vectors:
    kept = vectors(range(count), 500)
    with Store(path) as store:
        store.keep_features("space", {}, kept)
        store.keep_looks({name: facts() for name in list(kept)[:20]}, "image")
    return kept


@pytest.mark.parametrize(
    "content", [b"", b"not a database" * 99, b"SQLite format 3\0" + bytes(5_000)]
)
def test_a_file_that_is_no_database_is_set_aside(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with Store(path) as store:
        store.keep_features("space", {}, vectors(range(3)))
        assert same(store.features("space", list(vectors(range(3)))), vectors(range(3)))
        if content:
            assert store.damaged is not None
            assert store.damaged.read_bytes() == content
        else:  # an empty file is a new database
            assert store.damaged is None


def test_damage_found_late_is_set_aside_too(path: Path) -> None:
    kept = filled(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:32_768] + b"\xa5" * (len(whole) - 32_768))  # the schema is still there
    with Store(path) as store:
        assert store.damaged is None
        assert store.features("space", list(kept)) == {}
        assert store.damaged is not None
        store.keep_features("space", {}, kept)
        assert same(store.features("space", list(kept)), kept)


def test_damage_anywhere_costs_at_most_what_was_kept(path: Path) -> None:
    kept = filled(path, 60)
    whole = path.read_bytes()
    rng = np.random.default_rng(5)
    set_aside = 0
    for _ in range(150):
        broken = bytearray(whole)
        if rng.integers(3) == 0:
            del broken[rng.integers(len(broken)) :]
        else:
            start = int(rng.integers(len(broken)))
            broken[start : start + 300] = rng.bytes(len(broken[start : start + 300]))
        path.write_bytes(broken)
        with Store(path) as store:
            found = store.features("space", list(kept))
            assert all(v.tobytes() == kept[name].tobytes() for name, v in found.items())
            store.looks(list(kept), "image")
            store.keep_features("space", {}, kept)
            assert same(store.features("space", list(kept)), kept)
            set_aside += store.damaged is not None
        for left in path.parent.iterdir():
            left.unlink()
    assert 0 < set_aside < 150


def test_a_journal_of_a_damaged_file_is_not_read_into_the_new_one(path: Path) -> None:
    filled(path)
    journal = path.with_name(f"{path.name}-wal")
    path.write_bytes(b"not a database" * 99)
    journal.write_bytes(b"an old journal" * 99)
    with Store(path) as store:
        assert store.damaged is not None
        assert store.features("space", list(vectors(range(200)))) == {}


def test_a_second_damaged_file_replaces_the_first(path: Path) -> None:
    for content in (b"first" * 200, b"second" * 200):
        path.write_bytes(content)
        with Store(path) as store:
            assert store.damaged is not None
    assert store.damaged.read_bytes() == content
    assert len([p for p in path.parent.iterdir() if "damaged" in p.name]) == 1


def test_a_run_that_finds_the_file_already_mended_keeps_it(path: Path) -> None:
    path.write_bytes(b"not a database" * 99)
    with ThreadPoolExecutor(4) as pool:  # each thread is a run of its own
        list(pool.map(lambda i: _keep_one(path, i), range(8)))
    with Store(path) as store:
        assert same(store.features("space", list(vectors(range(8)))), vectors(range(8)))


def _keep_one(path: Path, name: int) -> None:
    with Store(path) as store:
        store.keep_features("space", {}, vectors([name]))


# --- several processes, kills --------------------------------------------------------------------

WRITER = """
import importlib.util, sys
from pathlib import Path
from regraft.backbones.store import Store
spec = importlib.util.spec_from_file_location("test_store", sys.argv[1])
shared = importlib.util.module_from_spec(spec); spec.loader.exec_module(shared)
first, last = int(sys.argv[3]), int(sys.argv[4])
with Store(Path(sys.argv[2])) as store:
    print("open", flush=True)
    for start in range(first, last, 10):
        made = shared.vectors(range(start, start + 10), 500)
        store.keep_features("space", {}, made)
        store.keep_looks({name: shared.facts() for name in made}, "image")
        print(start, flush=True)
"""


def writer(path: Path, first: int, last: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, __file__, str(path), str(first), str(last)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_several_processes_write_at_once(path: Path) -> None:
    children = [writer(path, start, start + 100) for start in (0, 100, 50)]
    with Store(path) as store:
        while any(child.poll() is None for child in children):
            some = vectors(range(0, 200, 9), 500)
            for name, vector in store.features("space", list(some)).items():
                assert vector.tobytes() == some[name].tobytes()
        assert [child.wait() for child in children] == [0, 0, 0]
        everything = vectors(range(200), 500)
        assert same(store.features("space", list(everything)), everything)
    for child in children:
        child.communicate()


def killed(path: Path, seconds: float) -> int:
    """Number of vectors whose writing a killed process had reported."""
    with writer(path, 0, 100_000) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "open\n"
        time.sleep(seconds)
        child.send_signal(signal.SIGKILL)
        reported = [int(line) for line in child.stdout]
        assert child.wait() == -signal.SIGKILL
    return max(reported, default=-10) + 10


@pytest.mark.parametrize(
    "count", [6, pytest.param(100, marks=[pytest.mark.slow, pytest.mark.timeout(900)])]
)
def test_a_kill_at_any_instant_leaves_a_whole_store(path: Path, count: int) -> None:
    rng = np.random.default_rng(count)
    for seconds in rng.uniform(0, 0.15, count):
        reported = killed(path, seconds)
        with Store(path) as store:
            assert store.damaged is None
            assert store._sql.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            expected = vectors(range(reported + 20), 500)
            found = store.features("space", list(expected))
            assert all(vector.tobytes() == expected[n].tobytes() for n, vector in found.items())
            assert len(found) >= reported  # nothing that was reported is lost
            assert len(found) % 10 == 0  # a transaction is there or not


# --- disks ---------------------------------------------------------------------------------------


def test_a_full_disk_is_a_named_error_and_loses_nothing(path: Path) -> None:
    kept = filled(path, 100)
    with Store(path) as store:
        pages = store._sql.execute("PRAGMA page_count").fetchone()[0]
        store._sql.execute(f"PRAGMA max_page_count = {pages + 20}")
        with pytest.raises(StorageError, match=r"store\.sqlite3.*full.*REGRAFT_CACHE"):
            store.keep_features("space", {}, vectors(range(1_000, 1_200), 500))
        assert same(store.features("space", list(kept)), kept)
        assert store.features("space", [sha(1_000)]) == {}
        store._sql.execute(f"PRAGMA max_page_count = {pages + 100_000}")  # space was freed
        store.keep_features("space", {}, vectors(range(1_000, 1_200), 500))
        assert len(store.features("space", list(vectors(range(1_000, 1_200))))) == 200


FILLER = """
import resource, sys
from pathlib import Path
import numpy as np
from regraft.backbones.store import Store
from regraft.errors import StorageError
resource.setrlimit(resource.RLIMIT_FSIZE, (3_000_000, 3_000_000))
with Store(Path(sys.argv[1])) as store:
    try:
        for i in range(10_000):
            some = {f"{i}-{k}": np.ones(500, np.float32) for k in range(10)}
            store.keep_features("other", {}, some)
    except StorageError as error:
        print(error)
"""


def test_a_disk_that_refuses_to_grow_the_file(path: Path) -> None:
    kept = filled(path, 100)
    run = subprocess.run(
        [sys.executable, "-c", FILLER, path], capture_output=True, text=True, check=True
    )
    assert "the feature store cannot be used" in run.stdout
    with Store(path) as store:
        assert store.damaged is None
        assert same(store.features("space", list(kept)), kept)
        store.keep_features("space", {}, vectors(["new"]))


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="mounting needs root")
@pytest.mark.slow
def test_a_small_disk(tmp_path: Path) -> None:
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", tmp_path],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip("no tmpfs can be mounted here")
    try:
        kept = filled(tmp_path / "s", 100)
        with Store(tmp_path / "s") as store:
            with pytest.raises(StorageError, match="cannot be used"):
                store.keep_features("space", {}, vectors(range(1_000, 2_000), 500))
            assert same(store.features("space", list(kept)), kept)
    finally:
        subprocess.run(["umount", tmp_path], check=True)


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a file where a folder is expected")
    with pytest.raises(StorageError, match="REGRAFT_CACHE to a folder that can be written"):
        Store(tmp_path / "file" / "store.sqlite3")
    with pytest.raises(StorageError, match="cannot be used"):
        Store(tmp_path)  # a folder where a file is expected


READER = """
import os, sys
from pathlib import Path
from regraft.backbones.store import Store
from regraft.errors import StorageError
if os.geteuid() == 0:
    os.setuid(65534)
try:
    Store(Path(sys.argv[1]))
except StorageError as error:
    print(error)
"""


def test_a_folder_that_may_only_be_read() -> None:
    with tempfile.TemporaryDirectory() as folder:  # not tmp_path: another user could not enter it
        Path(folder).chmod(0o555)
        command = [sys.executable, "-c", READER, f"{folder}/store.sqlite3"]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        if "ModuleNotFoundError" in run.stderr:
            pytest.skip("another user cannot read the sources")
        assert "store.sqlite3: the feature store cannot be used" in run.stdout, run.stderr
        assert not list(Path(folder).iterdir())


def test_the_usual_place_is_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGRAFT_CACHE", str(tmp_path / "cache"))
    with Store() as store:
        assert store.path.parent == tmp_path / "cache" / "features"
        assert store.path.exists()


# --- trim ----------------------------------------------------------------------------------------


def three_spaces(store: Store) -> None:
    for name in ("oldest", "middle", "newest"):
        store.keep_features(name, {}, vectors(range(100), 1_000))


def left(store: Store) -> list[str]:
    return [name for name in ("oldest", "middle", "newest") if store.space(name) is not None]


def test_trim_drops_the_spaces_used_longest_ago(store: Store) -> None:
    three_spaces(store)
    size = store._size()
    assert store.trim(size) == 0
    freed = store.trim(size - 1)
    assert freed > 300_000
    assert left(store) == ["middle", "newest"]
    assert store.path.stat().st_size < size - freed + 100_000
    assert store.features("oldest", list(vectors(range(100)))) == {}
    assert len(store.features("middle", list(vectors(range(100))))) == 100


def test_the_space_used_last_always_stays(store: Store) -> None:
    three_spaces(store)
    store.trim(0)
    assert left(store) == ["newest"]
    assert len(store.features("newest", list(vectors(range(100))))) == 100


def test_reading_counts_as_use(store: Store) -> None:
    three_spaces(store)
    store.features("oldest", [sha(1)])
    store.trim(0)
    assert left(store) == ["oldest"]


def test_trim_drops_looks_only_where_nothing_else_helps(store: Store) -> None:
    three_spaces(store)
    names = [*vectors(range(100)), *(sha(f"other {i}") for i in range(300))]
    store.keep_looks({name: facts() for name in names}, "image")
    store.trim(2_000_000)
    assert left(store) == ["newest"]
    assert len(store.looks(names, "image")) == 400
    store.trim(1_000_000)
    assert store.looks(names, "image").keys() == vectors(range(100)).keys()


def test_the_limit_of_the_environment(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGRAFT_CACHE_LIMIT", "1000")
    with Store(path) as store:
        three_spaces(store)
        assert store.trim() > 0
        assert left(store) == ["newest"]
    monkeypatch.setenv("REGRAFT_CACHE_LIMIT", "20GB")
    with pytest.raises(UsageError, match="REGRAFT_CACHE_LIMIT: '20GB' is not a number of bytes"):
        Store(path)
    with Store(path, limit=10**9) as store:
        assert store.trim() == 0


def test_nothing_is_trimmed_below_the_usual_limit(store: Store) -> None:
    three_spaces(store)
    assert store.trim() == 0
    assert len(left(store)) == 3
