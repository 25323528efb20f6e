"""Thousands of damaged DICOM and NIfTI files and series: each is decoded or refused by name, soon
and in little memory. As a script this module is the child that decodes them.
"""

import gzip
import io
import json
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest

from regraft.errors import Unreadable
from regraft.modalities.series import LENGTH, MAGIC
from regraft.modalities.spec import InputSpec
from regraft.modalities.volume import MODALITY

KINDS = {
    *("empty", "not-a-volume", "not-an-image", "truncated", "damaged", "too-large", "bomb"),
    *("unsupported", "odd-values", "odd-affine", "several-series", "no-memory"),
}
LONGEST, MOST_MEMORY = 10.0, 2**30  # seconds for one file; bytes of the process
MOST_SEED = 60_000  # bytes of a file of the library that is damaged
Rng = np.random.Generator


@cache
def seeds() -> tuple[bytes, ...]:
    """Whole volumes: NIfTI of both versions, packed and not, DICOM of many codings, series."""
    rng = np.random.default_rng(0)
    plain = []
    for make, dtype in ((nibabel.Nifti1Image, "i2"), (nibabel.Nifti2Image, "f4")):
        for shape in ((12, 10, 8), (6, 6, 4, 3)):
            values = rng.integers(0, 900, shape).astype(dtype)
            plain.append(make(values, np.diag([1, 2, 3, 1])).to_bytes())
    folder = Path(pydicom.data.__file__).parent / "test_files"
    files = [p.read_bytes() for p in sorted(folder.glob("*.dcm")) if p.stat().st_size < MOST_SEED]
    slices = [_slice(rng, z) for z in range(5)]
    series = MAGIC + b"".join(LENGTH.pack(len(one)) + one for one in slices)
    return (*plain, *map(gzip.compress, plain), *files, *[series] * 4)


def _slice(rng: Rng, z: int) -> bytes:
    path = Path(pydicom.data.__file__).parent / "test_files" / "MR_small.dcm"
    tags = pydicom.dcmread(path)
    tags.ImagePositionPatient = [0, 0, z]
    out = io.BytesIO()
    tags.save_as(out)
    return out.getvalue()


def damaged(data: bytes, other: bytes, way: int, rng: Rng) -> bytes:
    """One of six ways: bits, numbers in the header, an end, a splice, a blank, a repeat."""
    changed = bytearray(data)
    head = min(len(changed), 600)
    start, end = sorted(rng.integers(0, len(changed), 2).tolist())
    if way == 0:
        for _ in range(rng.integers(1, 20)):
            changed[rng.integers(len(changed))] ^= 1 << int(rng.integers(8))
    elif way == 1:
        for _ in range(rng.integers(1, 5)):
            place, number = int(rng.integers(head)), int(rng.choice([0, 1, 255, 32767, 2**31 - 1]))
            size = int(rng.choice([2, 4]))
            packed = (number & (2 ** (8 * size) - 1)).to_bytes(size, "little")
            changed[place : place + size] = packed
    elif way == 2:
        return data[:end]
    elif way == 3:
        return data[:end] + other[rng.integers(len(other)) :]
    elif way == 4:
        changed[start:end] = bytes([int(rng.choice([0, 255]))]) * (end - start)
    else:
        return data[:end] + data[start:end] * int(rng.integers(1, 20)) + data[end:]
    return bytes(changed)


def corpus(count: int) -> Iterator[bytes]:
    for i in range(count):
        rng = np.random.default_rng([count, i])
        first, second = (seeds()[k] for k in rng.integers(len(seeds()), size=2))
        if first.startswith(b"\x1f\x8b") and rng.random() < 0.7:  # damage what is packed
            plain = gzip.decompress(first)
            yield gzip.compress(damaged(plain, second, i % 6, rng), 1)
        else:
            yield damaged(first, second, i % 6, rng)


def decode_all(folder: Path) -> None:
    """One line of JSON a file, in the order of the names."""
    resource.setrlimit(resource.RLIMIT_AS, (8 * 2**30, 8 * 2**30))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    spec = InputSpec(size=32, views=("axial-3of5", "sagittal-1of5"))
    for path in sorted(folder.iterdir()):
        signal.alarm(60)
        start = time.process_time()
        try:
            raw = MODALITY.decode(path.read_bytes(), path.name, spec).raw
            sizes = [MODALITY.prepare(raw, spec, view).shape for view in spec.views]
            told: dict[str, Any] = {"kind": "decoded", "sizes": sizes}
        except Unreadable as error:
            told = {"kind": error.kind, "reason": error.reason, "file": error.file}
        status = Path("/proc/self/status").read_text()
        peak = 1024 * int(status.partition("VmHWM:")[2].split()[0])
        told |= {"name": path.name, "seconds": time.process_time() - start, "peak": peak}
        print(json.dumps(told), flush=True)


@pytest.mark.parametrize(
    "count", [300, pytest.param(10_000, marks=[pytest.mark.slow, pytest.mark.timeout(3_600)])]
)
def test_damaged_volumes(count: int, tmp_path: Path) -> None:
    for i, data in enumerate(corpus(count)):
        (tmp_path / f"{i:05}").write_bytes(data)
    command = [sys.executable, "-W", "ignore", __file__, str(tmp_path)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = [json.loads(line) for line in run.stdout.splitlines()]
    assert run.returncode == 0, f"died of {run.returncode} after {len(lines)}: {run.stderr[-2000:]}"
    assert len(lines) == count
    for line in lines:
        assert line["kind"] in KINDS | {"decoded"}, line
        assert line["seconds"] < LONGEST, line
        assert line["peak"] < MOST_MEMORY, line
        if line["kind"] != "decoded":
            assert line["file"].startswith(line["name"])
            assert len(line["reason"]) > 10, line
    kinds = [line["kind"] for line in lines]
    assert 0.05 < kinds.count("decoded") / count < 0.8
    assert {"truncated", "damaged", "not-a-volume"} <= set(kinds)


def test_the_whole_volumes_of_the_corpus_are_readable() -> None:
    read = 0
    for data in seeds():
        try:
            read += MODALITY.decode(data, "x").facts.medical
        except Unreadable as error:
            assert error.kind in KINDS  # noqa: PT017
    assert read > 30


if __name__ == "__main__":
    decode_all(Path(sys.argv[1]))
