"""Progress as lines, what a page draws of it, and child processes that are stopped cleanly."""

import io
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regraft.progress import Lines
from regraft.ui import jobs
from regraft.ui.jobs import Job
from regraft.ui.watching import SAID, Watching

RUNG = {"told": "x", "kind": "probe", "backbone": "net", "detail": "64 px", "judged": "loo"}


def watched(text: str, *, piece: int = 7) -> dict[str, Any]:
    """What is drawn of a text that comes in small pieces."""
    watching, some = Watching(), text.encode()
    for place in range(0, len(some), piece):
        watching.read(some[place : place + piece])
    return watching.to_dict()


def test_what_is_told_arrives() -> None:
    out = io.StringIO()
    progress = Lines(out)
    with progress.stage("reading", 3) as advance:
        advance(1)
        time.sleep(1.1 * Lines.EVERY)
        advance(1)
        half = watched(out.getvalue())["stages"][0]
        advance(1)
    with pytest.raises(KeyboardInterrupt), progress.stage("training"):
        raise KeyboardInterrupt
    progress.say("Grüße <b>")
    progress.found("rung", RUNG | {"score": 0.5, "n": 4, "seconds": 1.0})
    events = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [event["complete"] for event in events if event["event"] == "end"] == [True, False]
    assert half["done"] == 2
    assert 0 < half["left"] < 2
    found = watched("a remark of a library\n" + out.getvalue() + '{"event": "say", "mess')
    first, second = found["stages"]
    assert (first["name"], first["total"], first["done"], first["left"]) == ("reading", 3, 3, None)
    assert second["total"] is None
    assert second["seconds"] is not None
    assert found["said"] == ["Grüße <b>"]
    assert found["rungs"][0]["score"] == 0.5


def test_a_reader_that_is_gone_stops_no_work(tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as pipe:
        progress = Lines(pipe)
        with progress.stage("reading", 1) as advance:
            advance(1)
        os.dup2(os.open(os.devnull, os.O_WRONLY), pipe.fileno())  # so that it can be closed


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)
EVENTS = st.fixed_dictionaries(
    {"event": st.sampled_from(["stage", "step", "end", "say", "found"])},
    optional={name: JSON for name in ("stage", "name", "total", "done", "at", "message", "what")},
)


@given(st.lists(EVENTS | JSON))
def test_no_line_is_too_odd(events: list[Any]) -> None:
    found = watched("".join(json.dumps(event) + "\n" for event in events), piece=100)
    assert len(found["said"]) <= SAID
    json.dumps(found)


# --- processes -----------------------------------------------------------------------------------

STUBBORN = """
import signal, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print('{"event": "say", "message": "%d"}' % child.pid, file=sys.stderr, flush=True)
try:
    time.sleep(60)
except KeyboardInterrupt:
    if "stubborn" in sys.argv:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        print('{"event": "say", "message": "no"}', file=sys.stderr, flush=True)
        time.sleep(60)
    print('{"error": {"kind": "interrupted", "messages": ["interrupted"]}}')
    sys.exit(130)
"""


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """(words) → a job whose program is a stand-in."""
    monkeypatch.setattr(jobs, "PROGRAM", (sys.executable, "-c", STUBBORN))
    begun: list[Job] = []

    def begin(*words: str) -> Job:
        begun.append(Job("fit", words, {"folder": "/x"}))
        return begun[-1]

    yield begin
    for one in begun:
        one.close(0.1)


def until(holds: Any, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


def alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_job_stops_as_ctrl_c_does_with_all_that_it_began(job: Any) -> None:
    one = job()
    until(lambda: one.to_dict()["said"])
    child = int(one.to_dict()["said"][0])
    assert one.state == "running"
    assert one.document() == {}
    one.stop()
    until(lambda: not one.running)
    told = one.to_dict()
    assert (told["state"], told["errors"]) == ("stopped", ["interrupted"])
    until(lambda: not alive(child))


def test_a_job_that_does_not_stop_is_killed(job: Any) -> None:
    one = job("stubborn")
    until(lambda: one.to_dict()["said"])
    child = int(one.to_dict()["said"][0])
    one.stop()
    until(lambda: "no" in one.to_dict()["said"])
    assert one.state == "stopping"
    one.stop()
    until(lambda: not one.running)
    assert one.state == "stopped"
    assert "by signal 9" in one.to_dict()["errors"][0]
    until(lambda: not alive(child))


def test_closing_leaves_nothing(job: Any) -> None:
    one = job("stubborn")
    until(lambda: one.to_dict()["said"])
    child = int(one.to_dict()["said"][0])
    one.close(0.2)
    assert not one.running
    until(lambda: not alive(child))


def test_what_dies_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import sys; print('out of luck', file=sys.stderr); sys.exit(3)"
    monkeypatch.setattr(jobs, "PROGRAM", (sys.executable, "-c", code))
    one = Job("fit", (), {})
    until(lambda: not one.running)
    assert one.state == "failed"
    assert one.to_dict()["errors"] == ["regraft fit ended with exit code 3", "out of luck"]
    one.close()
