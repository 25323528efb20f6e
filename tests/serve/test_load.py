"""Many at once: nothing mixed up, a bounded queue, deadlines; stops and reloads lose nothing."""

import hashlib
import http.client
import os
import random
import signal
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest


def sha(example: bytes) -> str:
    return hashlib.sha256(example).hexdigest()


def wait_for(what: Any, seconds: float = 15) -> None:
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.02)


def test_64_clients_get_their_own_answers(stand_in: Any, together: Any) -> None:
    server = stand_in("--seconds", 0.002)

    def client(number: int) -> int:
        connection = http.client.HTTPConnection(*server.address, timeout=30)
        for turn in range(10):
            example = f"{number}-{turn}-{'x' * random.randrange(3000)}".encode()
            found = server.on(connection, "POST", "/v1/predict", example, content_type="text/plain")
            assert found.status == 200, found
            assert found.json["label"] == sha(example)
        connection.close()
        return 10

    assert sum(together(client, range(64))) == 640
    text = server.ask("GET", "/metrics").body.decode()
    assert 'regraft_examples_total{model="stand-in"} 640.0' in text


def test_more_than_the_queue_holds_is_refused_at_once(stand_in: Any, together: Any) -> None:
    server = stand_in("--seconds", 0.4, "--waiting", 8)

    def client(number: int) -> tuple[int, float, Any]:
        example, start = f"{number}".encode(), time.perf_counter()
        found = server.predict(example)
        if found.status == 200:
            assert found.json["label"] == sha(example)
        return found.status, time.perf_counter() - start, found

    results = together(client, range(64))
    refused = [(seconds, found) for status, seconds, found in results if status == 503]
    answered = sum(status == 200 for status, *_ in results)
    assert answered + len(refused) == 64
    assert answered >= 8
    assert refused
    for _, found in refused:
        assert found.error["kind"] == "overloaded"
        assert int(found.headers["retry-after"]) >= 1
    assert sorted(seconds for seconds, _ in refused)[len(refused) // 2] < 0.3
    assert server.predict(b"after").status == 200


def test_a_list_that_does_not_fit_is_refused_as_a_whole(stand_in: Any) -> None:
    server = stand_in("--waiting", 4)
    found = server.post({"texts": ["a"] * 5})
    assert found.status == 503
    assert server.post({"texts": ["a"] * 4}).status == 200


def test_an_answer_that_is_late_is_refused_and_not_computed(stand_in: Any, together: Any) -> None:
    server = stand_in("--seconds", 0.6, "--deadline", 0.3)
    start = time.perf_counter()
    found = together(lambda k: server.predict(b"%d" % k), range(20))
    assert time.perf_counter() - start < 5
    assert {one.status for one in found} == {503}
    assert all("0.3 s" in one.error["messages"][0] for one in found)
    time.sleep(0.8)
    text = server.ask("GET", "/metrics").body.decode()
    (counted,) = [line for line in text.splitlines() if line.startswith("regraft_examples_total{")]
    assert float(counted.split()[-1]) <= 8  # what two workers took; not all 20


def test_a_body_that_comes_too_slowly_is_given_up(stand_in: Any) -> None:
    server = stand_in("--deadline", 0.3)
    with socket.create_connection(server.address, timeout=10) as raw:
        head = "POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nabc"
        raw.sendall(head.encode())
        assert raw.recv(100).startswith(b"HTTP/1.1 408")


def test_a_request_whose_head_does_not_come_is_given_up(stand_in: Any) -> None:
    server = stand_in("--idle", 0.5)
    with socket.create_connection(server.address, timeout=10) as raw:
        raw.sendall(b"GET /healthz HTTP/1.1\r\nHost: local")
        assert raw.recv(100) == b""
    connection = http.client.HTTPConnection(*server.address, timeout=10)
    until = time.monotonic() + 3
    while time.monotonic() < until:  # one that asks again and again stays
        assert server.on(connection, "GET", "/healthz").status == 200
        time.sleep(0.05)


def test_a_client_that_leaves_is_not_waited_for(stand_in: Any) -> None:
    server = stand_in("--seconds", 0.3)
    for _ in range(30):
        raw = socket.create_connection(server.address, timeout=10)
        head = "POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc"
        raw.sendall(head.encode())
        raw.close()
    start = time.perf_counter()
    assert server.predict(b"x").status == 200
    assert time.perf_counter() - start < 2  # 30 more would have taken 2.3 s on two workers


# --- a stop --------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_finishes_what_was_accepted(stand_in: Any, number: int) -> None:
    server = stand_in("--seconds", 0.5)
    found: dict[int, Any] = {}

    def client(k: int) -> None:
        found[k] = server.predict(b"%d" % k)

    clients = [threading.Thread(target=client, args=(k,)) for k in range(12)]
    for one in clients:
        one.start()
    waiting = "regraft_waiting"
    wait_for(lambda: _metric(server, waiting) >= 4)
    server.process.send_signal(number)
    for one in clients:
        one.join()
    assert server.process.wait(20) == 0
    assert {k: (one.status, one.json["label"]) for k, one in found.items()} == {
        k: (200, sha(b"%d" % k)) for k in range(12)
    }
    assert server.process.stdout.read().endswith(b"ended\n")
    assert "stopping" in server.stderr


def _metric(server: Any, name: str) -> float:
    lines = server.ask("GET", "/metrics").body.decode().splitlines()
    return float(next(line.split()[-1] for line in lines if line.startswith(f"{name} ")))


def test_a_second_stop_does_not_wait(stand_in: Any) -> None:
    server = stand_in("--seconds", 20)
    threading.Thread(target=lambda: _ignored(server), daemon=True).start()
    wait_for(lambda: 'status="200"' in server.ask("GET", "/metrics").body.decode())
    time.sleep(0.3)
    server.process.send_signal(signal.SIGTERM)
    wait_for(lambda: "stopping" in server.stderr)
    server.process.send_signal(signal.SIGTERM)
    server.process.wait(10)


def _ignored(server: Any) -> None:
    with suppress(OSError, http.client.HTTPException):
        server.predict(b"x")


# --- another file --------------------------------------------------------------------------------


def put(path: Path, text: str) -> None:
    """As a careful copy does: whole or not at all."""
    beside = path.with_suffix(".new")
    beside.write_text(text)
    os.replace(beside, path)


@pytest.mark.parametrize("how", ["signal", "change"])
def test_a_reload_loses_no_request(stand_in: Any, tmp_path: Path, how: str) -> None:
    model = tmp_path / "model.txt"
    model.write_text("version-0")
    server = stand_in("--seconds", 0.01, model=model)
    over, seen, wrong = threading.Event(), set(), []

    def client(k: int) -> None:
        connection = http.client.HTTPConnection(*server.address, timeout=30)
        while not over.is_set():
            found = server.on(
                connection, "POST", "/v1/predict", b"%d" % k, content_type="text/plain"
            )
            if found.status != 200 or found.json["label"] != sha(b"%d" % k):
                wrong.append(found)
            seen.add(found.json.get("version"))

    clients = [threading.Thread(target=client, args=(k,)) for k in range(8)]
    for one in clients:
        one.start()
    try:
        for turn in (0, 1, 2):
            if turn:
                put(model, f"version-{turn}")
            if turn and how == "signal":
                server.process.send_signal(signal.SIGHUP)
            wait_for(lambda turn=turn: f"version-{turn}" in seen)
    finally:
        over.set()
        for one in clients:
            one.join()
    assert not wrong
    assert seen == {"version-0", "version-1", "version-2"}


def test_a_damaged_file_changes_nothing_and_is_told(stand_in: Any, tmp_path: Path) -> None:
    model = tmp_path / "model.txt"
    model.write_text("whole")
    server = stand_in(model=model)
    put(model, "damaged")
    wait_for(lambda: "not read anew" in server.stderr)
    assert server.predict(b"x").json["version"] == "whole"
    (told,) = server.ask("GET", "/v1/models").json["models"]
    assert "is damaged" in told["trouble"]
    assert 'outcome="refused"' in server.ask("GET", "/metrics").body.decode()
    model.unlink()
    server.process.send_signal(signal.SIGHUP)
    time.sleep(0.3)
    assert server.predict(b"x").json["version"] == "whole"
    put(model, "mended")
    wait_for(lambda: server.predict(b"x").json["version"] == "mended")
