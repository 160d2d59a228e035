# SPDX-License-Identifier: Apache-2.0
"""Bad input: a problem document with a stable code each time, and the service goes on."""

import json

import pytest

from service import TOKENS, assert_problem, token_request
from wire import post_bytes

GOOD = json.dumps(token_request())


@pytest.fixture(autouse=True)
def service_goes_on(mint):
    yield
    mint.issue()


def post(mint, body, content_type="application/json", path=TOKENS):
    with mint.client() as client:
        return client.post(path, body, content_type)


# --- not JSON


@pytest.mark.parametrize(
    "body",
    {
        "empty": b"",
        "white space": b"  \n",
        "not JSON": b"tenant_id=acme",
        "cut off": GOOD[:-1].encode(),
        "trailing garbage": GOOD.encode() + b"x",
        "two values": GOOD.encode() * 2,
        "single quotes": GOOD.replace('"', "'").encode(),
        "a comment": b"/* hi */" + GOOD.encode(),
        "a byte order mark": b"\xef\xbb\xbf" + GOOD.encode(),
        "invalid UTF-8": GOOD.replace("acme", "acm\udc80").encode("utf-8", "surrogateescape"),
        "an overlong encoding": GOOD.encode().replace(b"acme", b"acm\xc1\xa5"),
        "a lone surrogate": GOOD.replace("acme", "acme\\ud800").encode(),
        "a NUL in a string": GOOD.replace("acme", "acme\\u0000x").encode(),
        "a raw NUL": GOOD.encode() + b"\0",
        "UTF-16": GOOD.encode("utf-16"),
        "NaN": GOOD.replace("300", "NaN").encode(),
        "a duplicate member": GOOD.replace("{", '{"tenant_id": "globex", ', 1).encode(),
        "an integer beyond 64 bits": GOOD.replace("300", "18446744073709551617").encode(),
        "deep nesting": b"[" * 4000 + b"]" * 4000,
    }.items(),
    ids=lambda item: item[0],
)
def test_a_body_that_is_not_proper_json_is_refused(mint, body):
    assert_problem(post(mint, body[1]), 400, "invalid_json")


# --- JSON, but not a request


@pytest.mark.parametrize("body", ["null", "[]", '"acme"', "1", "true", "[" + GOOD + "]"])
def test_a_body_that_is_not_an_object_is_refused(mint, body):
    reply = post(mint, body.encode())
    assert reply.json["code"] in ("invalid_request", "invalid_json")
    assert reply.status == 400


@pytest.mark.parametrize(
    "change",
    [
        {"tenant_id": None},
        {"tenant_id": 7},
        {"tenant_id": ""},
        {"tenant_id": ["acme"]},
        {"tenant_id": "a" * 5000},
        {"scopes": "read:repo"},
        {"scopes": {"read:repo": True}},
        {"scopes": ["read:repo", 7]},
        {"scopes": ["read:repo", "read:repo"]},
        {"scopes": [""]},
        {"scopes": ["read:repo read:blob"]},
        {"scopes": [f"read:kind{i}" for i in range(33)]},
        {"resource_id": 7},
        {"resource_id": ""},
        {"resource_id": "urc-" + "0" * 1000},
        {"ttl_seconds": "300"},
        {"ttl_seconds": 300.0},
        {"ttl_seconds": 1e400},
        {"ttl_seconds": True},
        {"ttl_seconds": [300]},
        {"audience": 7},
        {"audience": ""},
        {"audience": ["lore.acme.example"]},
        {"comment": "unknown member"},
        {"Scopes": ["read:repo"]},
    ],
    ids=lambda change: json.dumps(change)[:40],
)
def test_a_wrong_type_a_missing_or_an_unknown_member_is_refused(mint, change):
    body = json.dumps(token_request(**change)).replace("Infinity", "1e300").encode()
    assert_problem(post(mint, body), 400, "invalid_request")


def test_null_is_not_a_way_to_leave_a_member_out(mint):
    body = GOOD.replace("300", "null").encode()
    assert_problem(post(mint, body), 400, "invalid_request")


@pytest.mark.parametrize("ttl", ["9223372036854775807", "2147483648", "-9223372036854775808"])
def test_integers_at_the_edges_are_refused_and_never_wrap(mint, ttl):
    reply = post(mint, GOOD.replace("300", ttl).encode())
    assert (reply.status, reply.json["code"]) in ((403, "ttl_too_long"), (400, "invalid_request"))


def test_a_problem_never_repeats_what_was_sent(mint):
    reply = post(mint, json.dumps(token_request(comment="<script>hunter2</script>")).encode())
    assert b"hunter2" not in reply.body


# --- not even that


def test_a_body_of_one_mebibyte_is_refused(mint):
    reply = post(mint, GOOD.encode() + b" " * 1024 * 1024)
    assert_problem(reply, 413, "body_too_large")


def test_a_body_of_one_mebibyte_in_chunks_is_refused(mint):
    chunk = b"4000\r\n" + b" " * 0x4000 + b"\r\n"
    head = f"POST {TOKENS} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    with mint.raw() as raw:
        try:
            raw.send(head.encode() + b"Transfer-Encoding: chunked\r\n\r\n" + chunk * 64 + b"0\r\n\r\n")
        except OSError:
            pass  # the service may close before it has seen it all
        reply = raw.reply()
        assert reply is None or assert_problem(reply, 413, "body_too_large")


def test_a_body_in_chunks_is_a_body(mint):
    head = f"POST {TOKENS} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    with mint.raw() as raw:
        raw.send(head.encode() + b"Transfer-Encoding: chunked\r\n\r\n")
        for part in (GOOD[:10], GOOD[10:]):
            raw.send(f"{len(part):x}\r\n{part}\r\n".encode())
        raw.send(b"0\r\n\r\n")
        assert raw.reply().status == 201


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", "json", None]
)
def test_a_body_that_does_not_say_json_is_refused(mint, content_type):
    assert_problem(post(mint, GOOD.encode(), content_type), 415, "unsupported_media_type")


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", "Application/JSON"])
def test_a_content_type_may_have_parameters_and_any_case(mint, content_type):
    assert post(mint, GOOD.encode(), content_type).status == 201


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "BREW"])
def test_another_method_is_refused_and_the_right_one_named(mint, method):
    with mint.client() as client:
        reply = client.request(method, TOKENS)
    assert reply.status == 405
    assert reply.headers["allow"] == "POST"
    if method != "HEAD":
        assert_problem(reply, 405, "method_not_allowed")


def test_documents_are_not_posted_to(mint):
    for path in ("/.well-known/jwks.json", "/healthz"):
        reply = post(mint, GOOD.encode(), path=path)
        assert_problem(reply, 405, "method_not_allowed")
        assert "GET" in reply.headers["allow"]


@pytest.mark.parametrize(
    "path", ["/", "/v1", TOKENS + "/", "/V1/service-tokens", "/v1//service-tokens", "/v1/%73ervice-tokens", "/v1/../healthz"]
)
def test_any_other_path_is_not_found(mint, path):
    reply = post(mint, GOOD.encode(), path=path)
    assert_problem(reply, 404, "not_found")


def test_a_refusal_leaves_a_keep_alive_connection_usable(mint):
    with mint.raw() as raw:
        raw.send(post_bytes(TOKENS, b"{"))
        assert raw.reply().status == 400
        raw.send(post_bytes(TOKENS, GOOD.encode()))
        assert raw.reply().status == 201


def test_every_reply_names_a_request_id_of_its_own(mint):
    ids = {post(mint, b"{").json["request_id"] for _ in range(5)}
    assert len(ids) == 5
