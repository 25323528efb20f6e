"""Damaged and hostile bundles: each refused with its reason, and nothing run, read or written."""

import gzip
import hashlib
import io
import json
import os
import pickle
import random
import socket
import stat
import struct
import subprocess
import sys
import tarfile
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from regraft.errors import BundleError
from regraft.export.bundle import Bundle, read_bundle, write_bundle

HEAD = safetensors.numpy.save({"weight": np.arange(6, dtype=np.float32)})
GOOD = {"card.md": b"# A cat", "classes.json": b'["cat","dog"]', "head.safetensors": HEAD}


# --- forging: what an attacker can build, with every digest as it should be


def compact(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def manifest_of(content: dict[str, bytes], **changes: Any) -> bytes:
    listed = {
        name: {"size": len(payload), "sha256": hashlib.sha256(payload).hexdigest()}
        for name, payload in content.items()
    }
    right = {"format": "regraft-bundle", "version": 1, "regraft": "0.1.0", "entries": listed}
    return compact(right | changes)


def zipped(rows: list[tuple[str, bytes]], **attributes: Any) -> bytes:
    """A sealed archive by Python's own library, with `attributes` for each entry but the last."""
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w") as opened, warnings.catch_warnings(action="ignore"):
        opened.comment = b"regraft-sha256:" + b"0" * 64
        for number, (name, content) in enumerate(rows):
            entry = zipfile.ZipInfo(name)
            changed = attributes if number < len(rows) - 1 else {}
            for key, value in (
                {"create_system": 3, "external_attr": 0o100644 << 16} | changed
            ).items():
                setattr(entry, key, value)
            opened.writestr(entry, content)
    return sealed(raw.getvalue())


def sealed(raw: bytes) -> bytes:
    """The bytes with the right digest in place of their last 64."""
    return raw[:-64] + hashlib.sha256(raw[:-64]).hexdigest().encode()


def forged(entries: dict[str, bytes], manifest: bytes | None = None, **attributes: Any) -> bytes:
    rows = [*sorted(entries.items()), ("manifest.json", manifest or manifest_of(entries))]
    return zipped(rows, **attributes)


def poked(fmt: str, value: int, position: int, after: bytes = b"", raw: bytes = b"") -> bytes:
    """A good bundle with one number changed, `position` bytes behind the last `after` in it."""
    changed = bytearray(raw or forged(GOOD))
    start = changed.rindex(after) + position if after else position
    struct.pack_into("<" + fmt, changed, start, value)
    return sealed(bytes(changed))


def with_entry(name: str, content: bytes = b"{}") -> bytes:
    return forged(GOOD | {name: content})


def tensors(header: Any, data: bytes = b"", size: int | None = None) -> bytes:
    """A bundle whose safetensors entry has the given header and data."""
    text = header if isinstance(header, bytes) else compact(header)
    length = len(text) if size is None else size
    return with_entry("head.safetensors", struct.pack("<Q", length) + text + data)


def one(dtype: str, shape: list[int], offsets: list[int]) -> dict[str, Any]:
    return {"w": {"dtype": dtype, "shape": shape, "data_offsets": offsets}}


class Runs:
    """Touches a file when it is unpickled."""

    def __init__(self, touched: str) -> None:
        self.touched = touched

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch '{self.touched}'",)


def torch_file(payload: bytes) -> bytes:
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w") as opened:
        opened.writestr("archive/data.pkl", payload)
        opened.writestr("archive/version", "3")
    return raw.getvalue()


def tar(name: str, content: bytes) -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as opened:
        entry = tarfile.TarInfo(name)
        entry.size = len(content)
        opened.addfile(entry, io.BytesIO(content))
    return raw.getvalue()


# A name, the content of the file or, where that is large, what makes it, and what is said.
Case = tuple[str, bytes | Callable[[], bytes], str]

# --- the cases: what the file holds, and what its refusal says

NAME, PLAIN, SEAL = "is no name of an entry", "is no plain archive", "does not end in a seal"
LISTED, ACCEPTABLE = "does not list the entries", "is not acceptable JSON"
TENSORS, HEADER = "cannot be read as safetensors", "is no safetensors file"
MANIFEST = b"manifest.json"
END = b"PK\x05\x06"

HOSTILE_NAMES = (
    "../evil.json",
    "../../../../tmp/evil.json",
    "/etc/evil.json",
    "//evil.json",
    "C:\\evil.json",
    "C:evil.json",
    "..\\evil.json",
    "a/b.json",
    "a/../b.json",
    "folder/",
    "./a.json",
    ".json",
    ".hidden.json",
    "a..json",
    "a.b.json",
    "é.json",
    "\u202enosj.json",
    "evil.pkl",
    "evil.pt",
    "evil.pt2",
    "evil.bin",
    "evil.py",
    "evil.so",
    "evil.npy",
    "evil.JSON",
    "json",
    "evil.json.",
    "evil.json~",
    "evil.json/",
    "%2e%2e.json",
    "~.json",
    "$HOME.json",
    "-rf.json",
    "CON.json:x",
    "__init__.py",
    "data.pkl",
    "a\nb.json",
    "a;b.json",
)


def names() -> Iterator[Case]:
    for name in HOSTILE_NAMES:
        yield f"entry {name!r}", with_entry(name), NAME
    yield "name with a blank", with_entry("a b.json"), NAME
    yield "name too long", with_entry("x" * 64 + ".json"), NAME
    yield "name far too long", with_entry("x" * 60_000 + ".json"), NAME
    nul = with_entry("a_b.json").replace(b"a_b.json", b"a\0b.json")
    yield "NUL in a name", sealed(nul), NAME
    yield "name that ends in a NUL", sealed(nul.replace(b"a\0b.json", b"ab.json\0")), NAME


def frames() -> Iterator[Case]:
    rows = [*GOOD.items(), ("manifest.json", manifest_of(GOOD))]
    raw = forged(GOOD)
    directory = struct.unpack_from("<L", raw, raw.rindex(END) + 16)[0]
    yield "symbolic link", forged(GOOD, external_attr=(stat.S_IFLNK | 0o777) << 16), PLAIN
    yield "folder by attribute", forged(GOOD, external_attr=0x10), PLAIN
    yield "device by attribute", forged(GOOD, external_attr=(stat.S_IFCHR | 0o666) << 16), PLAIN
    yield "set-uid", forged(GOOD, external_attr=0o104755 << 16), PLAIN
    for method in ("DEFLATED", "BZIP2", "LZMA"):
        compressed = forged(GOOD, compress_type=getattr(zipfile, f"ZIP_{method}"))
        yield f"compressed, {method}", compressed, PLAIN
    yield "compressed bomb", compressed_bomb, PLAIN
    yield "dated", forged(GOOD, date_time=(2024, 1, 1, 0, 0, 0)), PLAIN
    yield "extra field", forged(GOOD, extra=b"\x01\x00\x00\x00"), PLAIN
    yield "unknown method", poked("H", 99, -36, MANIFEST), PLAIN
    yield "encrypted", poked("H", 1, -38, MANIFEST), PLAIN
    yield "sizes follow the data", poked("H", 8, -38, MANIFEST), PLAIN
    yield "UTF-8 flag", poked("H", 0x800, -38, MANIFEST), PLAIN
    yield "comment of an entry", forged(GOOD, comment=b"hello"), PLAIN
    yield "an entry twice", zipped([rows[0], *rows]), PLAIN
    yield "an entry twice, differing", zipped([("card.md", b"other"), *rows]), PLAIN
    yield "two manifests", zipped([*rows, rows[-1]]), PLAIN
    yield "manifest first", zipped(rows[::-1]), PLAIN
    yield "unsorted", zipped([rows[1], rows[0], *rows[2:]]), PLAIN
    yield "no manifest", zipped(rows[:-1]), "has no manifest.json"
    yield "something in front", sealed(raw[:4] + raw), PLAIN
    yield "script in front", sealed(b"#!/bin/sh\ntouch owned\n" + raw), "is not a bundle"
    yield "garbage behind", raw + b"x", SEAL
    yield "sealed again behind", sealed(raw + raw[-79:]), "13105 entries"
    yield "two archives", sealed(raw + raw), PLAIN
    yield "gap before the directory", sealed(raw[:directory] + b"gap!" + raw[directory:]), PLAIN
    yield "no entries at all", zipped([]), "is not a bundle"
    yield "65 entries", with_many(64), "has 65 entries; at most 64"
    yield "2,000 entries", with_many(1999), "has 2000 entries; at most 64"
    yield "huge size in the directory", poked("L", 0xFFFFFFFE, -22, MANIFEST), "4,294,967,294 bytes"
    yield "huge size of weights", poked("L", 3_999_999_999, -22, b"head.safetensors"), PLAIN
    yield "size 0 in the directory", poked("L", 0, -22, MANIFEST), PLAIN
    yield "other name length", poked("H", 60_000, -18, MANIFEST), NAME
    yield "overlapping entries", poked("L", 0, -4, MANIFEST), PLAIN
    yield "entry beyond the file", poked("L", 0xFFFFFFF0, -4, MANIFEST), PLAIN
    yield "wrong CRC in the directory", poked("L", 1, -30, MANIFEST), PLAIN
    yield "wrong local name", poked("B", ord("C"), 30), PLAIN
    yield "wrong local size", poked("L", 1, 22), PLAIN
    yield "wrong local CRC", poked("L", 1, 14), PLAIN
    yield "wrong CRC in both", poked("L", 1, 14, raw=poked("L", 1, -30, b"card.md")), PLAIN
    yield "another disk", poked("H", 1, 4, END), PLAIN
    yield "fewer entries", poked("H", 3, 8, END), PLAIN
    yield "no entries in the end", poked("H", 0, 8, END), PLAIN
    yield "more entries", poked("H", 5, 8, END), PLAIN
    yield "65,535 entries", poked("H", 0xFFFF, 8, END), "has 65535 entries"
    yield "fewer entries in all", poked("H", 3, 10, END), PLAIN
    yield "more entries in all", poked("H", 0xFFFF, 10, END), PLAIN
    yield "directory beyond the file", poked("L", 0xFFFFFFFF, 16, END), PLAIN
    yield "directory at the start", poked("L", 0, 16, END), PLAIN
    yield "wrong size of the directory", poked("L", 1, 12, END), PLAIN
    yield "wrong comment length", poked("H", 78, 20, END), PLAIN


def compressed_bomb() -> bytes:
    bomb = GOOD | {"bomb.safetensors": bytes(100_000_000)}
    return forged(bomb, compress_type=zipfile.ZIP_DEFLATED)


def with_many(count: int) -> bytes:
    return forged({f"d{number}.json": b"1" for number in range(count)})


def manifests() -> Iterator[Case]:
    def case(**changes: Any) -> bytes:
        return forged(GOOD, manifest_of(GOOD, **changes))

    fewer = {name: GOOD[name] for name in ("card.md", "classes.json")}
    right = json.loads(manifest_of(GOOD))["entries"]
    wrong = {"size": 7, "sha256": "0" * 64}
    for format_ in ("regraft", "", None, ["regraft-bundle"]):
        yield f"format {format_!r}", case(format=format_), "is not that of a bundle"
    for version in (0, 2, 99, "1", None, [1], -1):
        yield f"version {version!r}", case(version=version), "install the Regraft for it"
    for same in (True, 1.0):
        yield f"version {same!r}", case(version=same), LISTED
    for regraft in (None, 1, ["0.1.0"]):
        yield f"regraft {regraft!r}", case(regraft=regraft), LISTED
    no_entries: tuple[Any, ...] = (None, [], {}, 3, "card.md")
    for listed in no_entries:
        yield f"entries {listed!r}", case(entries=listed), LISTED
    yield "an entry not listed", forged(GOOD, manifest_of(fewer)), LISTED
    yield "a listed entry missing", forged(fewer, manifest_of(GOOD)), LISTED
    yield "wrong digest", case(entries=right | {"card.md": wrong}), LISTED
    yield (
        "upper-case digest",
        case(
            entries=right
            | {"card.md": right["card.md"] | {"sha256": right["card.md"]["sha256"].upper()}}
        ),
        LISTED,
    )
    yield "wrong size", case(entries=right | {"card.md": right["card.md"] | {"size": 8}}), LISTED
    yield "changed content", forged(GOOD | {"card.md": b"# A dog"}, manifest_of(GOOD)), LISTED
    yield "more keys", case(more=1), LISTED
    yield "manifest with blanks", forged(GOOD, manifest_of(GOOD) + b" "), LISTED
    yield "manifest is a list", forged(GOOD, b"[]"), "is not that of a bundle"
    yield "manifest is a pickle", forged(GOOD, pickle.dumps({})), ACCEPTABLE
    yield "manifest is nothing", forged(GOOD, b" "), ACCEPTABLE
    twice = manifest_of(GOOD)[:-1] + b',"version":1}'
    yield "manifest with a key twice", forged(GOOD, twice), "a key twice"


def documents() -> Iterator[Case]:
    for what, text in {
        "nested lists": b"[" * 100_000,
        "nested and closed": b"[" * 100_000 + b"]" * 100_000,
        "nested objects": b'{"a":' * 100_000,
        "nested 66 deep": b"[" * 66 + b"]" * 66,
        "NaN": b"NaN",
        "infinity": b'{"a":[-Infinity]}',
        "infinity by overflow": b"[1e999]",
        "key twice": b'{"a":1,"b":{"a":1,"a":2}}',
        "not UTF-8": b'"\xff"',
        "UTF-16": '{"a":1}'.encode("utf-16"),
        "byte-order mark": b"\xef\xbb\xbf{}",
        "empty": b"",
        "two documents": b"{} {}",
        "comment": b"{} // x",
        "number of 100,000 digits": b"1" * 100_000,
        "cut off": b'{"a": "',
        "code": b"__import__('os').system('touch owned')",
        "YAML": b"!!python/object/apply:os.system ['touch owned']",
        "pickle": pickle.dumps(Runs("owned")),
    }.items():
        yield f"JSON: {what}", with_entry("recipe.json", text), ACCEPTABLE
    yield (
        "JSON: too large",
        lambda: with_entry("recipe.json", b" " * 10_000_001),
        "at most 10,000,000",
    )
    yield "page: not UTF-8", with_entry("card.md", b"\xff\xfe"), "is not UTF-8 text"
    yield "page: too large", lambda: with_entry("x.html", bytes(64_000_001)), "at most 64,000,000"


def weights() -> Iterator[Case]:
    large, owned = 2**62, pickle.dumps(Runs("owned"))
    for what, raw in {
        "nothing": with_entry("head.safetensors", b""),
        "a few zeros": with_entry("head.safetensors", bytes(7)),
        "header longer than the file": tensors(b"{}", size=1000),
        "header of another type": tensors([]),
        "header is no JSON": tensors(b"{}x"),
        "header not UTF-8": tensors(b'{"\xff":1}'),
        "nested header": tensors(b"[" * 1_000_000),
        "data without tensors": tensors({}, b"data"),
        "data missing": tensors(one("F32", [2], [0, 8]), b"1234"),
        "data too long": tensors(one("F32", [2], [0, 8]), b"123456789"),
        "shape larger than data": tensors(one("F32", [3], [0, 8]), bytes(8)),
        "shape overflows": tensors(one("F32", [large, large], [0, 8]), bytes(8)),
        "shape wraps to the right size": tensors(one("U8", [2**32, 2**32 + 1], [0, 0])),
        "negative shape": tensors(one("F32", [-2, -1], [0, 8]), bytes(8)),
        "offsets beyond the file": tensors(one("F32", [large // 4], [0, large])),
        "offsets backwards": tensors(one("F32", [2], [8, 0]), bytes(8)),
        "negative offsets": tensors(one("F32", [2], [-8, 0]), bytes(8)),
        "gap": tensors(one("U8", [4], [4, 8]), bytes(8)),
        "overlap": tensors(one("U8", [8], [0, 8]) | {"v": one("U8", [4], [4, 8])["w"]}, bytes(8)),
        "unknown dtype": tensors(one("O", [1], [0, 8]), bytes(8)),
        "dtype that NumPy lacks": tensors(one("BF16", [4], [0, 8]), bytes(8)),
        "more dimensions than NumPy has": tensors(one("U8", [1] * 100, [0, 1]), b"1"),
        "truth values of 7": tensors(one("BOOL", [2], [0, 2]), b"\x07\x01"),
        "metadata that is no text": tensors({"__metadata__": {"a": [1]}}),
    }.items():
        yield f"weights: {what}", raw, TENSORS
    for what, raw in {
        "largest header": tensors(b"{}", size=2**64 - 1),
        "header beyond 63 bits": tensors(b"{}", size=2**63),
        "seven bytes": with_entry("head.safetensors", b"1234567"),
        "pickle": with_entry("head.safetensors", owned),
        "torch file": with_entry("head.safetensors", torch_file(owned)),
    }.items():
        yield f"weights: {what}", raw, HEADER
    bomb = b"{" + b" " * 9_000_000 + b"}"
    yield "weights: header bomb", lambda: tensors(bomb), HEADER


def strangers() -> Iterator[Case]:
    owned = pickle.dumps(Runs("owned"))
    for what, raw in {
        "text": b"hello",
        "pickle": owned,
        "tar": tar("../evil.json", b"{}"),
        "gzip": gzip.compress(forged(GOOD)),
        "web page": b"<!doctype html><script>alert(1)</script>",
        "program": b"\x7fELF" + bytes(1000),
        "script": b"#!/bin/sh\ntouch owned\n",
        "zeros": bytes(10_000),
        "weights alone": HEAD,
        "Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n",
    }.items():
        yield f"stranger: {what}", raw, "is not a bundle"
    yield "stranger: nothing", b"", "is empty"
    yield "stranger: ZIP archive", torch_file(owned), SEAL
    yield "stranger: start of a ZIP archive", b"PK\x03\x04", SEAL
    yield "upper-case seal", forged(GOOD)[:-64] + forged(GOOD)[-64:].upper(), "does not match"
    yield "seal of zeros", forged(GOOD)[:-64] + b"0" * 64, "does not match"


CASES = {
    name: (raw, reason)
    for group in (names, frames, manifests, documents, weights, strangers)
    for name, raw, reason in group()
}


SPECIAL = {  # what is no file at all
    "a folder": "Is a directory",
    "a pipe": "is not a regular file",
    "a link to a device": "is not a regular file",
    "a link to a pipe": "is not a regular file",
    "a loop": "Too many levels",
    "a link to nothing": "No such file",
    "a socket": "cannot be read",
    "not there": "No such file",
}


def make_special_files(folder: Path) -> None:
    (folder / "a folder").mkdir()
    os.mkfifo(folder / "a pipe")
    (folder / "a link to a device").symlink_to("/dev/zero")
    (folder / "a link to a pipe").symlink_to("a pipe")
    (folder / "a loop").symlink_to("a loop")
    (folder / "a link to nothing").symlink_to("nowhere")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.relpath(folder / "a socket"))


# --- all of them, in a process that is watched

WATCHED = """
import json, os, sys, time
from pathlib import Path
from regraft.export.bundle import read_bundle

folder, out = Path(sys.argv[1]), Path(sys.argv[2])
ALLOWED = {"open", "os.rename", "os.remove"}  # inside the two folders
events = []

def watch(event, arguments):
    places = (str(a) for a in arguments[: 2 if event == "os.rename" else 1])
    inside = all(place.startswith((f"{folder}/", str(out))) for place in places)
    if not (event in ALLOWED and inside):
        events.append(f"{event} {arguments}"[:300])

def use(path):
    bundle = read_bundle(path)
    for entry in bundle.names:
        name, _, ending = entry.rpartition(".")
        if ending == "json":
            bundle.document(name)
        elif ending == "safetensors":
            bundle.extract(name, out)
            bundle.tensors(name)
        else:
            bundle.page(entry)

def outcome(path):
    events.clear()
    start = time.perf_counter()
    try:
        use(path)
        kind, message = "accepted", ""
    except BaseException as error:
        kind, message = type(error).__name__, str(error)
    return kind, message, time.perf_counter() - start, list(events)

use(folder / "good")  # what is imported late is imported before the watch begins
sys.addaudithook(watch)
found = {name: outcome(folder / name) for name in json.loads(sys.argv[3])}
with open("/dev/null"):
    watch_works = list(events)
events.clear()
# Not ru_maxrss: a child begins with that of the process that forked it.
status = Path("/proc/self/status").read_text()
peak = int(status.split("VmHWM:")[1].split()[0]) * 1024
sys.stdout.write(json.dumps([found, watch_works, peak]))
"""


class Watched:
    """What became of every case in one child process."""

    def __init__(self, place: Path) -> None:
        folder, self.out, self.canary = place / "bundles", place / "out", place / "canary"
        folder.mkdir()
        self.out.mkdir()
        self.canary.write_text("alive")
        make_special_files(folder)
        (folder / "good").write_bytes(forged(GOOD))
        self.file_of = {name: name for name in SPECIAL}
        for number, (name, (raw, _)) in enumerate(CASES.items()):
            self.file_of[name] = f"{number:03}"
            (folder / f"{number:03}").write_bytes(raw if isinstance(raw, bytes) else raw())
        self.folder, self.before = folder, listing(place)
        self.run(["good", *self.file_of.values()])
        self.after = listing(place)

    def run(self, names: list[str]) -> None:
        command = [sys.executable, "-c", WATCHED, str(self.folder), str(self.out)]
        run = subprocess.run(
            [*command, json.dumps(names)],
            capture_output=True,
            text=True,
            cwd=self.folder,
            timeout=100,
        )
        assert run.returncode == 0, run.stderr
        self.outcomes, self.watch_works, self.peak = json.loads(run.stdout)


def listing(place: Path) -> dict[str, tuple[int, int]]:
    """Every file below a place, with its size and time of change."""
    found = (path for path in place.rglob("*") if path.name != "out" and "out" not in path.parts)
    return {str(path): (path.lstat().st_size, path.lstat().st_mtime_ns) for path in found}


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Watched:
    return Watched(tmp_path_factory.mktemp("hostile"))


@pytest.mark.parametrize("case", [*CASES, *SPECIAL])
def test_a_hostile_file_is_refused_with_its_reason_and_does_nothing(
    watched: Watched, case: str
) -> None:
    file = watched.file_of[case]
    reason = SPECIAL[case] if case in SPECIAL else CASES[case][1]
    kind, message, seconds, events = watched.outcomes[file]
    assert kind == "BundleError", message
    assert message.startswith(f"{watched.folder / file}: ")
    assert reason in message
    assert len(message) < 700 + len(str(watched.folder))
    assert "; " in message  # and what to do
    assert events == []
    assert seconds < 5


def test_the_watch_sees_and_the_good_bundle_passes_it(watched: Watched) -> None:
    assert watched.outcomes["good"][:2] == ["accepted", ""]
    assert watched.outcomes["good"][3] == []
    assert any("/dev/null" in event for event in watched.watch_works)


def test_nothing_outside_was_touched_and_memory_stayed_small(watched: Watched) -> None:
    assert watched.canary.read_text() == "alive"
    assert watched.after == watched.before
    assert set(os.listdir(watched.out)) <= {"head.safetensors"}
    assert watched.peak < 2**30


def test_there_are_many_cases_and_the_forger_forges_well(tmp_path: Path) -> None:
    assert len(CASES) + len(SPECIAL) >= 200
    write_bundle(
        tmp_path / "ours",
        {"classes": ["cat", "dog"]},
        {"head": safetensors.numpy.load(HEAD)},
        {"card.md": "# A cat"},
    )
    assert forged(GOOD) == (tmp_path / "ours").read_bytes()


def test_weights_are_checked_before_they_are_extracted(tmp_path: Path) -> None:
    (tmp_path / "b").write_bytes(tensors(one("F32", [3], [0, 8]), bytes(8)))
    with pytest.raises(BundleError, match=TENSORS):
        read_bundle(tmp_path / "b").extract("head", tmp_path)
    assert os.listdir(tmp_path) == ["b"]


# --- damage


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """A small bundle, most of it frame, and a larger one, most of it weights."""
    path = tmp_path_factory.mktemp("damage") / "b"
    write_bundle(path, {"a": 1}, {})
    small = path.read_bytes()
    weight = np.random.default_rng(0).normal(size=(100, 100))
    write_bundle(path, {"classes": ["a", "b"]}, {"head": {"w": weight}}, {"card.md": "hi"})
    return [small, path.read_bytes()]


def refusals(damaged: Iterator[bytes], folder: Path) -> int:
    """How many of the files are refused."""
    count = 0
    for content in damaged:
        (folder / "b").write_bytes(content)
        try:
            read_bundle(folder / "b")
        except BundleError:
            count += 1
    return count


def flipped(bundles: list[bytes], seeds: range) -> Iterator[bytes]:
    for seed in seeds:
        chosen = random.Random(seed)
        content = bytearray(bundles[seed % 2])
        content[chosen.randrange(len(content))] ^= chosen.randrange(1, 256)
        yield bytes(content)


@pytest.mark.parametrize(
    "seeds", [range(150), pytest.param(range(150, 1150), marks=pytest.mark.slow)], ids=str
)
def test_every_flipped_byte_is_noticed(bundles: list[bytes], tmp_path: Path, seeds: range) -> None:
    assert refusals(flipped(bundles, seeds), tmp_path) == len(seeds)


@pytest.mark.slow
def test_every_flipped_bit_of_a_whole_bundle_is_noticed(
    bundles: list[bytes], tmp_path: Path
) -> None:
    small = bundles[0]
    bits = range(8 * len(small))
    whole = int.from_bytes(small, "big")
    damaged = ((whole ^ 1 << bit).to_bytes(len(small), "big") for bit in bits)
    assert refusals(damaged, tmp_path) == len(bits)


def test_every_truncation_and_extension_is_noticed(bundles: list[bytes], tmp_path: Path) -> None:
    for whole in bundles:
        (tmp_path / "b").write_bytes(whole)
        assert isinstance(read_bundle(tmp_path / "b"), Bundle)
        last = len(whole) - 1
        lengths = {*np.linspace(0, last, 100).astype(int), *range(last - 110, last + 1)}
        assert refusals((whole[:length] for length in lengths), tmp_path) == len(lengths)
        longer = [whole + tail for tail in (b"\0", b"\n", whole[-64:], whole[-79:], whole)]
        assert refusals(iter(longer), tmp_path) == len(longer)


# --- what no one thought of


def answer(raw: bytes, entry: str) -> None:
    """Read all of a bundle; every refusal is a BundleError, anything else fails the test."""
    name, _, ending = entry.rpartition(".")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "b").write_bytes(raw)
        found = read_bundle(Path(folder, "b"))
    with suppress(BundleError):
        {"json": found.document, "safetensors": found.tensors}[ending](name)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)
ROWS = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["F32", "BF16", "BOOL", "U8", "C64", "F4", "F8_E4M3", "I64"])
        | VALUES,
        "shape": st.lists(st.integers(0, 5) | st.integers(-(2**65), 2**65), max_size=4) | VALUES,
        "data_offsets": st.lists(st.integers(0, 20), min_size=2, max_size=2) | VALUES,
    }
)


@settings(max_examples=150)
@given(st.dictionaries(st.text(max_size=3), ROWS | VALUES, max_size=3), st.binary(max_size=20))
def test_any_header_of_weights_is_read_or_refused(header: dict[str, Any], data: bytes) -> None:
    answer(tensors(header, data), "head.safetensors")


@settings(max_examples=150)
@given(st.binary(max_size=200) | VALUES.map(lambda value: json.dumps(value).encode()))
def test_any_document_is_read_or_refused(content: bytes) -> None:
    answer(with_entry("recipe.json", content), "recipe.json")
