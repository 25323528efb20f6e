"""What a server answers to single requests: right ones, wrong ones, hostile ones."""

import base64
import hashlib
import http.client
import json
import socket
from typing import Any

import pytest

SAFE = ("content-security-policy", "x-content-type-options", "referrer-policy", "x-frame-options")


def sha(example: bytes) -> str:
    return hashlib.sha256(example).hexdigest()


# --- what is answered ----------------------------------------------------------------------------


def test_raw_bytes_are_answered(quick: Any) -> None:
    found = quick.predict(b"hello")
    assert found.status == 200
    label = sha(b"hello")
    top = [{"label": f"{label}-{k}", "probability": 0.5} for k in range(3)]
    assert found.json == {
        "label": label,
        "probability": 0.5,
        "top": top,
        "set": [label],
        "note": None,
        "model": "stand-in",
        "version": "one",
    }
    assert found.headers["server-timing"].startswith("answer;dur=")


@pytest.mark.parametrize("kind", ["text/plain", "text/plain; charset=UTF-8", "TEXT/Markdown"])
def test_content_types_of_the_modality_are_read(quick: Any, kind: str) -> None:
    assert quick.predict(b"x", content_type=kind).json["label"] == sha(b"x")


def test_every_form_of_json_is_answered(quick: Any) -> None:
    coded = base64.b64encode(b"\x00\xff").decode()
    assert quick.post({"text": "grün"}).json["label"] == sha("grün".encode())
    assert quick.post({"base64": coded}).json["label"] == sha(b"\x00\xff")
    texts = quick.post({"texts": ["a", "b", "a"], "top": 1}).json["predictions"]
    assert [one["label"] for one in texts] == [sha(b"a"), sha(b"b"), sha(b"a")]
    assert [len(one["top"]) for one in texts] == [1, 1, 1]
    mixed = quick.post({"examples": [{"text": "a"}, {"base64": coded}], "model": "stand-in"})
    assert [one["label"] for one in mixed.json["predictions"]] == [sha(b"a"), sha(b"\x00\xff")]


def test_one_that_cannot_be_read_does_not_spoil_the_others(quick: Any) -> None:
    found = quick.post({"texts": ["a", "unreadable", "b"]})
    assert found.status == 200
    first, wrong, last = found.json["predictions"]
    assert (first["label"], last["label"]) == (sha(b"a"), sha(b"b"))
    assert wrong == {"error": {"kind": "unreadable", "messages": ["this one cannot be read"]}}
    alone = quick.predict(b"unreadable")
    assert (alone.status, alone.error["kind"]) == (422, "unreadable")


def test_each_request_has_its_own_top(quick: Any, together: Any) -> None:
    found = together(lambda k: quick.predict(b"x", f"?top={k}").json["top"], [1, 2, 3] * 6)
    assert [len(top) for top in found] == [1, 2, 3] * 6


def test_the_models_and_their_cards_are_told(quick: Any) -> None:
    (model,) = quick.ask("GET", "/v1/models").json["models"]
    assert model["name"] == "stand-in"
    assert model["accepts"] == ["text/*", "application/octet-stream"]
    assert quick.ask("GET", "/v1/models/stand-in").json == model
    card = quick.ask("GET", "/v1/models/stand-in/card")
    assert card.body == b"# stand-in"
    assert card.headers["content-type"].startswith("text/markdown")


def test_it_tells_that_it_lives_and_is_ready_and_what_it_counted(quick: Any) -> None:
    quick.predict(b"x")
    quick.ask("GET", "/v1/nothing/of/the/kind")
    assert quick.ask("GET", "/healthz").json == {"alive": True}
    assert quick.ask("GET", "/readyz").json == {"ready": True, "models": ["stand-in"]}
    text = quick.ask("GET", "/metrics").body.decode()
    assert 'regraft_requests_total{method="POST",path="/v1/predict",status="200"}' in text
    assert 'path="other"' in text
    assert "nothing/of/the/kind" not in text  # else a client could fill the memory
    assert 'regraft_model_info{model="stand-in",version="one"} 1.0' in text
    assert "process_resident_memory_bytes" in text


# --- what is refused -----------------------------------------------------------------------------

WRONG_JSON: dict[str, tuple[bytes, int]] = {
    "no JSON": (b"{", 400),
    "not UTF-8": (b'{"text": "\xff"}', 400),
    "NaN": (b'{"text": NaN}', 400),
    "too deep": (b'{"text":' + b"[" * 100_000, 413),
    "deep": (b'{"text":' + b"[" * 50_000, 400),
    "many digits": (b'{"top":' + b"9" * 50_000 + b"}", 400),
    "a list": (b"[]", 422),
    "nothing": (b"{}", 422),
    "two": (b'{"text": "a", "texts": ["b"]}', 422),
    "unknown": (b'{"text": "a", "file": "/etc/passwd"}', 422),
    "a number": (b'{"text": 1}', 422),
    "no list": (b'{"texts": "a"}', 422),
    "empty": (b'{"texts": []}', 422),
    "null in it": (b'{"texts": ["a", null]}', 422),
    "no example": (b'{"examples": [{"path": "a"}]}', 422),
    "no base64": (b'{"base64": "%"}', 422),
    "half a character": (rb'{"text": "\ud800"}', 422),
    "top 0": (b'{"text": "a", "top": 0}', 400),
    "top true": (b'{"text": "a", "top": true}', 400),
    "no such model": (b'{"text": "a", "model": "../model"}', 404),
    "no model at all": (b'{"text": "a", "model": {}}', 404),
    "too many": (json.dumps({"texts": ["a"] * 17}).encode(), 413),
}


@pytest.mark.parametrize("name", WRONG_JSON)
def test_wrong_json_is_refused_in_plain_words(quick: Any, name: str) -> None:
    body, status = WRONG_JSON[name]
    found = quick.ask("POST", "/v1/predict", body, content_type="application/json")
    assert found.status == status
    assert found.error


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("?model=other", 404),
        ("?top=x", 400),
        ("?top=-1", 400),
        ("?top=%F0%9D%9F%9A", 400),  # a digit, but none of ours
        ("?path=/etc/passwd", 400),
    ],
)
def test_wrong_queries_are_refused(quick: Any, query: str, status: int) -> None:
    found = quick.predict(b"x", query)
    assert found.status == status
    assert found.error


@pytest.mark.parametrize(
    ("headers", "status", "words"),
    [
        ({"content_type": "image/jpeg"}, 415, "text/*"),
        ({"content_type": "application/x-www-form-urlencoded"}, 415, "application/json"),
        ({"content_type": "text/plain; charset=latin-1"}, 415, "UTF-8"),
        ({"host": "evil.example"}, 421, "evil.example"),
        ({"origin": "http://evil.example"}, 403, "evil.example"),
        ({"origin": "null"}, 403, "null"),
    ],
)
def test_wrong_headers_are_refused(
    quick: Any, headers: dict[str, str], status: int, words: str
) -> None:
    found = quick.predict(b"x", **headers)
    assert found.status == status
    assert words in found.error["messages"][0]


def test_a_page_of_its_own_may_ask(quick: Any) -> None:
    host, port = quick.address
    assert quick.predict(b"x", origin=f"http://{host}:{port}").status == 200


def test_an_empty_body_is_refused(quick: Any) -> None:
    assert quick.predict(b"").error["kind"] == "empty"


@pytest.mark.parametrize("size", [100_001, 400_000])
def test_a_body_too_large_is_refused_and_its_sender_hears_of_it(quick: Any, size: int) -> None:
    found = quick.predict(b"x" * size)
    assert found.status == 413
    assert "100,000" in found.error["messages"][0]


def test_a_body_without_a_length_is_bounded_as_well(quick: Any) -> None:
    connection = http.client.HTTPConnection(*quick.address, timeout=30)
    pieces = (b"x" * 10_000 for _ in range(11))
    connection.request("POST", "/v1/predict", pieces, encode_chunked=True)
    assert connection.getresponse().status == 413


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/predict", 405),
        ("PUT", "/healthz", 405),
        ("GET", "/v1", 404),
        ("GET", "/v1/models/", 404),
        ("GET", "/v1/models/other", 404),
        ("GET", "/page.py", 404),
        ("GET", "/../server.py", 404),
        ("GET", "/%2e%2e/server.py", 404),
        ("GET", "//page.css", 404),
        ("POST", "/v1/models", 405),
        ("POST", "/shutdown", 404),
    ],
)
def test_there_is_nothing_elsewhere(quick: Any, method: str, path: str, status: int) -> None:
    found = quick.ask(method, path)
    assert found.status == status
    assert found.error


def test_what_is_no_http_is_refused(quick: Any) -> None:
    for line in (
        b"\x16\x03\x01\x00\xff" * 20,
        b"GET\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"x" * 99_999,
    ):
        with socket.create_connection(quick.address, timeout=10) as raw:
            raw.sendall(line + b"\r\n\r\n")
            assert raw.recv(100).startswith(b"HTTP/1.1 400")
    assert quick.ask("GET", "/healthz").status == 200


def test_a_mistake_in_the_model_is_told_without_its_insides(stand_in: Any) -> None:
    server = stand_in()
    found = server.predict(b"broken")
    assert (found.status, found.error["kind"]) == (500, "internal")
    assert b"a mistake in the model" not in found.body
    assert server.predict(b"x").status == 200
    assert "a mistake in the model" in server.stderr


def test_every_answer_has_safe_headers(quick: Any) -> None:
    for method, path in [
        ("GET", "/"),
        ("GET", "/v1/models"),
        ("GET", "/no"),
        ("POST", "/v1/predict"),
    ]:
        headers = quick.ask(method, path).headers
        assert all(name in headers for name in SAFE), path
        assert "unsafe" not in headers["content-security-policy"]
        assert "server" not in headers
        assert not any(name.startswith("access-control-") for name in headers)


# --- the token -----------------------------------------------------------------------------------

TOKEN = "0123456789abcdef"


@pytest.fixture(scope="module")
def locked(stand_in: Any) -> Any:
    return stand_in("--token", TOKEN)


@pytest.mark.parametrize(
    "shown",
    [None, "", "Bearer", "Bearer ", f"Basic {TOKEN}", f"Bearer {TOKEN}x", f"Bearer {TOKEN[1:]}"],
)
@pytest.mark.parametrize("path", ["/v1/predict", "/v1/models", "/metrics", "/openapi.json", "/no"])
def test_a_wrong_token_is_always_401(locked: Any, path: str, shown: str | None) -> None:
    for method in ("GET", "POST"):
        found = locked.ask(method, path, b"x", authorization=shown)
        assert found.status == 401
        assert found.headers["www-authenticate"].startswith("Bearer")
        assert found.error["kind"] == "token"


def test_the_right_token_opens_and_some_need_none(locked: Any) -> None:
    shown = f"Bearer {TOKEN}"
    assert locked.predict(b"x", authorization=shown).status == 200
    assert locked.ask("GET", "/metrics", authorization=f"bearer {TOKEN}").status == 200
    for path in ("/", "/page.css", "/page.js", "/healthz", "/readyz"):
        assert locked.ask("GET", path).status == 200


# --- what an answer rests on ---------------------------------------------------------------------


def test_each_part_is_told_with_what_it_takes_away(quick: Any) -> None:
    found = quick.post({"text": "hello"}, path="/v1/explain")
    assert found.status == 200
    assert found.json["label"] == sha(b"hello")
    assert [part["place"] for part in found.json["parts"]] == [[0, 1], [1, 2], [2, 3]]
    assert (found.json["model"], found.json["version"]) == ("stand-in", "one")


@pytest.mark.parametrize(
    ("body", "status"),
    [({"text": "unreadable"}, 422), ({"texts": ["a", "b"]}, 422), ({"text": 1}, 422)],
)
def test_what_cannot_be_explained_is_told(quick: Any, body: dict[str, Any], status: int) -> None:
    found = quick.post(body, path="/v1/explain")
    assert (found.status, bool(found.json["error"]["messages"])) == (status, True)


def test_explaining_has_no_use_for_top(quick: Any) -> None:
    found = quick.post({"text": "hello", "top": 3}, path="/v1/explain")
    assert (found.status, found.error["messages"]) == (
        422,
        ["top: not known here; known: text, base64, model"],
    )
    found = quick.ask("POST", "/v1/explain?top=3", b"hello", content_type="text/plain")
    assert (found.status, found.error["messages"]) == (400, ["top: not known here; known: model"])
