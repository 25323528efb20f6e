"""Random requests: never a 5xx, and every answer as the description of the API has it."""

import json
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import CHECKS, load_all_checks

load_all_checks()

SHORT = settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate],
)
LONG = settings(SHORT, max_examples=10_000)

NAMES = ("text", "base64", "texts", "examples", "model", "top", "path", "")
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary().map(str),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(NAMES), inner),
    max_leaves=8,
)
TYPES = st.sampled_from(
    ["application/json", "text/plain", "image/png", "application/octet-stream", "", "a/b;charset=x"]
)
HEADER = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30)
PATHS = ["/v1/predict", "/v1/models", "/v1/models/stand-in/card", "/metrics", "/openapi.json", "/"]


def check(server: Any, method: str, path: str, body: bytes, headers: dict[str, str]) -> None:
    found = server.ask(method, path, body, **headers)
    assert found.status < 500, found
    if found.status >= 400 and method != "HEAD":
        assert found.error


def requests(server: Any, how: settings) -> Any:
    @how
    @given(
        method=st.sampled_from(["GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD", "PATCH"]),
        path=st.sampled_from(PATHS),
        query=st.dictionaries(st.sampled_from(["top", "model", "x"]), HEADER, max_size=2),
        kind=TYPES,
        body=st.binary(max_size=300) | VALUES.map(lambda v: json.dumps(v).encode()),
        odd=st.dictionaries(st.sampled_from(["origin", "accept", "authorization"]), HEADER),
    )
    def ask(method: str, path: str, query: Any, kind: str, body: bytes, odd: Any) -> None:
        from urllib.parse import urlencode

        headers = {name: value.strip() for name, value in odd.items()} | {"content_type": kind}
        check(server, method, f"{path}?{urlencode(query)}", body, headers)

    return ask


def documents(server: Any, how: settings) -> Any:
    @how
    @given(st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=3))
    def ask(document: dict[str, Any]) -> None:
        body = json.dumps(document).encode()
        check(server, "POST", "/v1/predict", body, {"content_type": "application/json"})

    return ask


def pictures(server: Any, how: settings, whole: bytes) -> Any:
    """A picture with some bytes changed, or cut short."""

    @how
    @given(
        st.lists(st.tuples(st.integers(0, len(whole) - 1), st.integers(0, 255)), max_size=8),
        st.integers(0, len(whole)),
    )
    def ask(changes: Any, end: int) -> None:
        data = bytearray(whole)
        for place, value in changes:
            data[place] = value
        check(server, "POST", "/v1/predict", bytes(data[:end]), {"content_type": "image/png"})

    return ask


def test_random_requests_get_no_5xx(quick: Any) -> None:
    requests(quick, settings(SHORT, max_examples=150))()
    documents(quick, settings(SHORT, max_examples=150))()


def test_damaged_pictures_get_no_5xx(real: Any, photos: Any) -> None:
    whole = (photos / "disc" / "001.png").read_bytes()
    pictures(real, SHORT, whole)()


def described(server: Any, how: settings) -> None:
    """Requests as the API's own description has them, and answers held to it."""
    schema = schemathesis.openapi.from_url(f"{server.url}/openapi.json")
    names = ("not_a_server_error", "status_code_conformance", "response_schema_conformance")
    checks = [CHECKS.get_one(name) for name in (*names, "content_type_conformance")]
    for found in schema.get_all_operations():
        operation = found.ok()

        @how
        @given(case=operation.as_strategy())
        def ask(case: Any) -> None:
            case.call_and_validate(checks=checks)

        ask()


def test_the_api_is_as_it_is_described(quick: Any) -> None:
    described(quick, SHORT)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_10_000_requests_of_each_kind_get_no_5xx(quick: Any, real: Any, photos: Any) -> None:
    requests(quick, LONG)()
    documents(quick, LONG)()
    described(quick, settings(SHORT, max_examples=1000))
    pictures(real, settings(SHORT, max_examples=1000), (photos / "disc" / "001.png").read_bytes())()
