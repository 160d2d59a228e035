# SPDX-License-Identifier: Apache-2.0
"""docs/openapi.yaml is a valid OpenAPI 3.1 description, says what the code says, and names every reply there is."""

import contextlib
import copy
import json
import os
import re
import signal
import sqlite3
import time

import jsonschema
import pytest

from assertions import Client, by_assertion, make_key
from custody import append_from_the_future
from openapi import (
    FORM,
    HTML,
    JSON,
    METHODS,
    OFFICIAL_SCHEMA,
    ROOT,
    Description,
    Undocumented,
    errors_of,
    inline,
    load,
    media_type_of,
    schemas_in,
)
from pki import HOUR, now
from service import (
    CACHE_AUDIENCE,
    CI_URI,
    ISSUER,
    OAUTH_TOKENS,
    OTHER_REPOSITORY,
    PATIENCE,
    TOKENS,
    Deployment,
    form,
    token_request,
    wait_until,
)
from wire import Reply, post_bytes

GOOD = json.dumps(token_request()).encode()
AUTHORIZE = "/oauth2/authorize"
INTROSPECT = "/oauth2/introspect"
REVOKE = "/oauth2/revoke"
PROBLEM = "application/problem+json"

# --- the description itself


@pytest.fixture(scope="module")
def description():
    return Description()


def problems_of(document):
    official = json.loads(OFFICIAL_SCHEMA.read_text())
    return [error.message for error in jsonschema.Draft202012Validator(official).iter_errors(document)]


def test_it_is_a_valid_openapi_3_1_description():
    document = load()
    assert document["openapi"].startswith("3.1.")
    assert problems_of(document) == []
    for schema in schemas_in(inline(document, document)):
        jsonschema.Draft202012Validator.check_schema(schema)


def test_a_wrong_description_would_be_found():
    document = load()
    for path, name in [(("paths", "/healthz"), "fetch"), (("components", "securitySchemes"), "other"), ((), "routes")]:
        broken = copy.deepcopy(document)
        node = broken
        for part in path:
            node = node[part]
        node[name] = {"type": "nothing"}
        assert problems_of(broken), name


def test_operations_have_ids_of_their_own(description):
    ids = [description.paths[path][method]["operationId"] for path, method in description.operations()]
    assert len(ids) == len(set(ids))


def test_components_are_all_used_and_examples_fit(description):
    text = (ROOT / "docs" / "openapi.yaml").read_text()
    for kind in ("parameters", "headers", "responses", "schemas"):
        for name in description.document["components"][kind]:
            is_general = name in ("NotFound", "MethodNotAllowed", "OauthMethodNotAllowed", "BadOauthHead")
            assert is_general or f"#/components/{kind}/{name}" in text, f"{kind}/{name} is used by nothing"
    body = description.paths[TOKENS]["post"]["requestBody"]["content"][JSON]
    assert description.request.is_valid(body["example"])
    body = description.paths[OAUTH_TOKENS]["post"]["requestBody"]["content"][FORM]
    assert description.form.is_valid(body["example"])


# --- against the code


def table(file, pattern):
    found = re.findall(pattern, (ROOT / file).read_text())
    assert found, f"{file} reads otherwise than this test expects"
    return found


def errors_of_the_code():
    """symbol -> (wire name, HTTP status) of include/mintmark/error.h."""
    rows = table("include/mintmark/error.h", r'X\((MM_\w+), \d+, "(\w+)", (\d+), MM_EXIT_\w+\)')
    return {symbol: (name, int(status)) for symbol, name, status in rows}


def sentences_of_the_code():
    """symbol -> Retry-After of src/http/reply.c: the errors that are told to callers, the others become the last of them."""
    return {symbol: int(retry) for symbol, retry in table("src/http/reply.c", r'\{(MM_\w+), (\d+),\s+"')}


# In no problem document.
OAUTHS_OWN = {
    "unsupported_grant_type",
    "unsupported_response_type",
    "invalid_scope",
    "invalid_target",
    "token_of_another",
    "subject_token_invalid",
}


def test_its_codes_are_those_that_the_service_can_send(description):
    errors = errors_of_the_code()
    told = dict(errors[symbol] for symbol in sentences_of_the_code())
    assert description.codes() == {code: status for code, status in told.items() if code not in OAUTHS_OWN}


def test_its_oauth_errors_are_those_of_the_code(description):
    constants = dict(table("src/http/reply.c", r'static const char (\w+)\[\] = "([a-z_]+)";'))
    source = (ROOT / "src/http/reply.c").read_text()
    rows = source[source.index("} SENTENCES[]") : source.index("/* Several codes share")]
    found = {value for name, value in constants.items() if name in rows}
    found |= set(re.findall(r'"([a-z]+_[a-z_]+)"', rows))
    assert description.oauth_errors() == found


def test_an_error_that_is_not_among_them_stays_inside(description):
    """Every other code of the table is one that no request can provoke: it belongs to a start, a command, an order or a file."""
    inside = {name for name, _ in errors_of_the_code().values()} - set(description.codes()) - description.oauth_errors()
    assert inside == {
        "ok",
        "usage",
        "config_invalid",
        "store_missing",
        "store_exists",
        "cannot_listen",
        "attestation_invalid",  # these four are the admin listener's
        "key_unknown",
        "key_state",
        "key_too_early",
        "key_limit",
        "revocation_unknown",  # as this one
        "token_of_another",  # told as OAuth's `invalid_grant`
        "subject_token_invalid",  # and this one as `invalid_request`
        "unreachable",
        "token_invalid",
    }


def test_its_retry_after_is_that_of_the_code(description):
    sentences = sentences_of_the_code()
    del sentences["MM_RATE_LIMITED"]  # its bucket says for how long
    waits = set(sentences.values()) - {0}
    assert waits == set(description.document["components"]["headers"]["RetryAfter"]["schema"]["enum"])


def test_its_paths_methods_and_allow_are_those_of_the_routes(description):
    routes = table("src/http/routes.c", r'\{"(/[^"]+)", "(\w+)", "([^"]+)", mm_serve')
    served = {(path, method.lower()) for path, method, _ in routes}
    served |= {(path, "head") for path, method, _ in routes if method == "GET"}
    assert description.operations() == served
    allowed = description.document["components"]["headers"]["Allow"]["schema"]["enum"]
    assert {allow for _, _, allow in routes} == set(allowed)


# --- against real replies

LONG_LINE = b"X-Long: " + b"a" * 9000 + b"\r\n"  # over limits.header_bytes, within the library's memory
HEADS = {  # bytes that any target can be asked with, and the reply's status and type
    "two hosts": (b"Host: elsewhere\r\n", 400, PROBLEM),
    "a line that is no field": (b"no field\r\n", 400, HTML),
    "a long line": (LONG_LINE, 431, PROBLEM),
    "a line beyond memory": (b"X-Huge: " + b"a" * 200_000 + b"\r\n", 431, HTML),
    "a large body": (b"Content-Length: 20000\r\n\r\n" + b" " * 20000, 413, PROBLEM),
    "a body beyond 64 bits": (b"Content-Length: 99999999999999999999999\r\n", 413, HTML),
}


@pytest.fixture(scope="module")
def operations(description):
    return [(method.upper(), path) for path, method in sorted(description.operations())]


def ask_raw(mint, description, method, target, rest=b"\r\n", version="1.1"):
    """Send those bytes and have the reply judged; returns it."""
    with mint.raw() as raw:
        try:
            raw.send(f"{method} {target} HTTP/{version}\r\nHost: localhost\r\n".encode() + rest)
        except OSError:
            pass  # refused while it was still being sent
        reply = raw.reply(method)
    description.check(method, target, reply)
    return reply


@pytest.mark.parametrize("case", HEADS)
def test_each_operation_answers_a_bad_head_as_described(mint, description, operations, case):
    lines, status, media_type = HEADS[case]
    for method, path in operations:
        reply = ask_raw(mint, description, method, path, lines if b"\r\n\r\n" in lines else lines + b"\r\n")
        expected = JSON if media_type == PROBLEM and description.is_oauth(path) else media_type
        assert (reply.status, media_type_of(reply)) == (status, expected), (method, path)


def test_each_operation_answers_what_the_library_refuses_as_described(mint, description, operations):
    for method, path in operations:
        assert ask_raw(mint, description, method, path + "?" + "a" * 100_000).status == 414
        assert ask_raw(mint, description, method, path, version="9.9").status == 505


def test_documents_and_health_are_as_described(mint, description, operations):
    for method, path in operations:
        if path == TOKENS or description.is_oauth(path):
            continue
        with mint.client(None) as client:
            reply = client.request(method, path)
            assert description.check(method, path, reply) or method == "HEAD"
            assert reply.status == 200
            if "etag" in reply.headers:
                again = client.request(method, path, headers={"If-None-Match": reply.headers["etag"]})
                description.check(method, path, again)
                assert again.status == 304


@pytest.mark.parametrize("algorithm", ["ES384", "RS256", "PS256", "EdDSA"])
def test_documents_for_other_keys_are_as_described(tmp_path, description, algorithm):
    mint = Deployment(tmp_path / "mint", algorithm).create().start()
    try:
        for path in ("/.well-known/jwks.json", "/.well-known/openid-configuration"):
            with mint.client(None) as client:
                assert algorithm in json.dumps(description.check("GET", path, client.get(path)))
    finally:
        mint.ensure_stopped()


def test_another_path_or_method_is_answered_as_described(mint, description):
    for path in [*description.paths, "/", "/nothing", TOKENS + "/"]:
        for method in [name.upper() for name in METHODS] + ["BREW"]:
            with mint.client() as client:
                description.check(method, path, client.request(method, path))


def ask(mint, description, credential="ci", **changes):
    request = token_request(**changes)
    assert description.request.is_valid(request), "the description doesn't allow what is asked for here"
    reply = mint.ask(credential, **changes)
    return reply.status, description.check("POST", TOKENS, reply)


def test_tokens_and_refusals_are_as_described(mint, description):
    two_grants = mint.ca.issue("two-grants", dns=["two-grants.acme.example"])
    both = mint.ca.issue("both", uris=[CI_URI], dns=["two-grants.acme.example"])
    expired = mint.ca.issue("expired", uris=[CI_URI], not_before=now() - 2 * HOUR, not_after=now() - HOUR)
    scopes = ["read:repo", "read:blob"]
    cases = [
        (201, None, "ci", {}),
        (201, None, "ci", {"resource_id": None, "ttl_seconds": None, "audience": CACHE_AUDIENCE, "scopes": scopes}),
        (401, "certificate_required", None, {}),
        (401, "certificate_invalid", expired, {}),
        (403, "access_denied", "globex_ci", {}),
        (403, "credential_ambiguous", both, {}),
        (403, "scope_not_granted", "ci", {"scopes": ["write:repo"]}),
        (403, "resource_not_granted", "ci", {"resource_id": OTHER_REPOSITORY}),
        (403, "audience_not_granted", "ci", {"audience": "elsewhere.example"}),
        (403, "ttl_too_long", "ci", {"ttl_seconds": 86400}),
        (403, "no_single_grant", two_grants, {"resource_id": None, "ttl_seconds": None, "scopes": scopes}),
    ]
    for status, code, credential, changes in cases:
        got, body = ask(mint, description, credential, **changes)
        assert (got, body.get("code")) == (status, code), (changes, body)


def test_a_jwt_that_proves_nothing_is_answered_as_described(mint, description):
    headers = {"Content-Type": JSON, "Authorization": "Bearer x"}
    with mint.client() as client:
        reply = client.request("POST", TOKENS, GOOD, headers)
    assert (reply.status, description.check("POST", TOKENS, reply)["code"]) == (401, "credential_invalid")


def test_bodies_that_are_no_request_are_answered_as_described(mint, description):
    cases = [
        (400, "invalid_json", b"{", JSON),
        (400, "invalid_request", b"{}", JSON),
        (415, "unsupported_media_type", GOOD, "text/plain"),
    ]
    for status, code, body, media_type in cases:
        with mint.client() as client:
            reply = client.post(TOKENS, body, media_type)
        assert (reply.status, description.check("POST", TOKENS, reply)["code"]) == (status, code)


def ask_oauth(mint, description, credential, headers, changes):
    reply = mint.ask_oauth(credential, headers, **changes)
    return reply.status, description.check("POST", OAUTH_TOKENS, reply).get("error")


def test_oauth_tokens_and_refusals_are_as_described(mint, description):
    basic = {"Authorization": "Basic YTpi"}
    cases = [
        (200, None, "ci", {}, {}),
        (200, None, "ci", {}, {"scope": None, "client_id": "acme/ci-build", "audience": CACHE_AUDIENCE}),
        (400, "invalid_request", "ci", {}, {"grant_type": None}),
        (400, "unsupported_grant_type", "ci", {}, {"grant_type": "password"}),
        (400, "invalid_scope", "ci", {}, {"scope": "write:repo"}),
        (400, "invalid_target", "ci", {}, {"resource": "https://elsewhere.example/"}),
        (401, "invalid_client", None, {}, {}),
        (401, "invalid_client", None, basic, {}),
        (401, "invalid_client", "globex_ci", {}, {}),
        (415, "invalid_request", "ci", {"Content-Type": JSON}, {}),
    ]
    for status, error, credential, headers, changes in cases:
        got = ask_oauth(mint, description, credential, headers, changes)
        assert got == (status, error), (changes, got)


@pytest.mark.parametrize("path", ["/oauth2/revoke", "/oauth2/introspect"])
def test_what_is_asked_about_tokens_is_answered_as_described(mint, description, path):
    token = mint.issue()["service_token"]
    cases = [
        ("ci", token, FORM, 200),
        ("ci", "x", FORM, 200),
        (None, token, FORM, 401),
        ("ci", "", FORM, 400),
        ("ci", token, JSON, 415),
        ("pinned", token, FORM, 400 if path.endswith("revoke") else 200),
    ]
    for credential, text, media_type, status in cases:
        with mint.client(credential) as client:
            reply = client.request("POST", path, f"tenant_id=acme&token={text}".encode(), {"Content-Type": media_type})
        description.check("POST", path, reply)
        assert status == reply.status, (credential, reply)


def test_a_limit_is_told_as_described(tmp_path, description):
    mint = Deployment(tmp_path / "mint")
    mint.account("ci-build")["rate_limit"] = {"per_minute": 1, "burst": 2}
    mint.create().start()
    try:
        assert ask(mint, description)[0] == 201
        assert ask_oauth(mint, description, "ci", {}, {}) == (200, None)
        status, body = ask(mint, description)
        assert (status, body["code"]) == (429, "rate_limited")
        assert ask_oauth(mint, description, "ci", {}, {}) == (429, "temporarily_unavailable")
    finally:
        mint.ensure_stopped()


def test_who_fails_too_often_is_turned_away_as_described(tmp_path, description):
    mint = Deployment(tmp_path / "mint")
    mint.config["limits"] = {"failures_per_address": 1, "connections_per_address": 7}  # one answer may be held back
    mint.create().start()
    try:
        with contextlib.ExitStack() as stack:  # all handshakes first: an answer is held back for a second only
            first, held, *others = [stack.enter_context(mint.raw(None)) for _ in range(6)]
            first.send(post_bytes(TOKENS, GOOD))
            assert first.reply().status == 401
            held.send(post_bytes(TOKENS, GOOD))
            assert wait_until(lambda: [each["held"] for each in json.loads(mint.cli("status", "--json"))["slowed"]] == [1])
            for path, raw in zip((TOKENS, OAUTH_TOKENS, "/oauth2/revoke", "/oauth2/introspect"), others, strict=True):
                body, media_type = (GOOD, JSON) if path == TOKENS else (form(token="x"), FORM)
                raw.send(post_bytes(path, body, content_type=media_type))
                reply = raw.reply()
                assert (reply.status, reply.headers["connection"]) == (429, "close")
                description.check("POST", path, reply)
            assert held.reply().status == 401
    finally:
        mint.ensure_stopped()


def test_the_authorization_endpoint_is_as_described(mint, description):
    with mint.client(None) as client:
        for method in ("GET", "HEAD"):
            reply = client.request(method, AUTHORIZE + "?response_type=code")
            assert reply.status == 400
            description.check(method, AUTHORIZE, reply)


# --- the 503s

ISSUE_TIMEOUT = 3


@pytest.fixture
def narrow(tmp_path):
    """A service that makes one token of a tenant at a time, and gives up on it before it gives up on its worker."""
    made = Deployment(tmp_path / "mint", workers=1)
    made.hsm_token["sign_timeout"] = "30s"
    made.config["limits"] = {"queue": 2, "issue_timeout": f"{ISSUE_TIMEOUT}s", "drain_timeout": f"{ISSUE_TIMEOUT}s"}
    made.create().start()
    yield made
    made.ensure_stopped()


def is_issuing(mint):
    """Whether a token was recorded, which is before it is signed."""
    with contextlib.closing(sqlite3.connect(mint.store_file)) as store:
        return store.execute("SELECT count(*) FROM entries WHERE type = 'token.issued'").fetchone() != (0,)


def code_of(description, reply):
    return reply.status, description.check("POST", TOKENS, reply).get("code")


def test_a_busy_a_late_and_a_stopping_service_answer_as_described(narrow, description):
    hung = narrow.workers()
    for pid in hung:
        os.kill(pid, signal.SIGSTOP)
    with narrow.raw() as first, narrow.raw() as unfinished, narrow.raw("globex_ci") as last, narrow.client(None) as probe:
        first.send(post_bytes(TOKENS, GOOD))
        assert wait_until(lambda: is_issuing(narrow), interval=0.005), "the first request never came to be signed"
        start = time.monotonic()
        assert wait_until(lambda: code_of(description, narrow.ask()) == (503, "overloaded"), ISSUE_TIMEOUT - 1)
        assert time.monotonic() - start > 0.9, "who asks again at once would be a flood"
        assert code_of(description, first.reply()) == (503, "deadline_exceeded")
        assert probe.get("/healthz").status == 200
        # The drain waits for a body that is under way, and gives up on a token that was asked for later.
        unfinished.send(post_bytes(TOKENS, GOOD)[:-1])
        narrow.signal(signal.SIGTERM)
        assert wait_until(lambda: narrow.events("draining"))
        time.sleep(ISSUE_TIMEOUT / 3)
        not_ready = probe.get("/readyz")
        assert description.check("GET", "/readyz", not_ready)["checks"] == {"hsm": "ok", "ledger": "ok", "clock": "ok"}
        last.send(post_bytes(TOKENS, json.dumps(token_request(tenant_id="globex")).encode()))
        assert code_of(description, last.reply()) == (503, "shutting_down")
    for pid in hung:
        os.kill(pid, signal.SIGCONT)
    assert narrow.process.wait(PATIENCE) == 0


def test_a_caller_whose_keys_are_out_of_reach_is_answered_as_described(deployment, description):
    away = "https://localhost:1"  # nobody listens there
    deployment.config["fetch"] = {"hosts": ["localhost:1"]}
    rule = {"private_key_jwt": {"jwks_uri": away + "/keys"}}
    deployment.account("ci-build")["authenticate"].append(rule)
    deployment.write()
    deployment.start()
    client = Client("acme/ci-build", make_key(), ISSUER)
    for path, body, headers in (
        (TOKENS, GOOD, {"Content-Type": JSON, "Authorization": "Bearer " + client.assertion()}),
        (INTROSPECT, form(**by_assertion(client.assertion(), token="x")), {"Content-Type": FORM}),
    ):
        with deployment.client(None) as connection:
            reply = connection.request("POST", path, body, headers)
        told = description.check("POST", path, reply)
        assert (reply.status, told.get("code", told.get("error"))) in ((503, "keys_unavailable"), (503, "temporarily_unavailable"))


def test_a_service_whose_clock_is_behind_answers_as_described(deployment, description):
    append_from_the_future(deployment, 3600)
    deployment.start()
    assert code_of(description, deployment.ask()) == (503, "clock_unsafe")
    assert ask_oauth(deployment, description, "ci", {}, {}) == (503, "temporarily_unavailable")
    with deployment.client(None) as client:
        not_ready = description.check("GET", "/readyz", client.get("/readyz"))
    assert not_ready["checks"] == {"hsm": "ok", "ledger": "ok", "clock": "unsafe"}


def test_a_service_without_hsm_or_ledger_answers_as_described(deployment, description):
    deployment.hsm_token["sign_timeout"] = "1s"
    deployment.start()
    lock = sqlite3.connect(deployment.store_file, isolation_level=None)
    try:
        token = deployment.issue()["service_token"]
        lock.execute("BEGIN EXCLUSIVE")
        assert wait_until(lambda: code_of(description, deployment.ask()) == (503, "ledger_unavailable"))
        with deployment.client() as client:
            reply = client.request("POST", REVOKE, f"tenant_id=acme&token={token}".encode(), {"Content-Type": FORM})
        assert (reply.status, description.check("POST", REVOKE, reply)["error"]) == (503, "temporarily_unavailable")
    finally:
        lock.close()
    assert wait_until(lambda: code_of(description, deployment.ask()) == (201, None))
    workers = deployment.serving_workers()
    deployment.write_file(deployment.pin_file, "not the PIN\n")
    for pid in workers:
        os.kill(pid, signal.SIGKILL)
    assert wait_until(lambda: code_of(description, deployment.ask()) == (503, "hsm_unavailable"))
    with deployment.client(None) as client:
        for method in ("GET", "HEAD"):
            reply = client.request(method, "/readyz")
            assert reply.status == 503
            description.check(method, "/readyz", reply)


# --- nothing is described that nobody has seen


def described(description):
    """(where, status, media type, code) of every reply that the description names."""
    general = [("no such path", "404", description.responses["NotFound"])]
    general += [("no such method", "405", description.responses["MethodNotAllowed"])]
    general += [("no such OAuth method", "405", description.responses["OauthMethodNotAllowed"])]
    operations = [
        (f"{method.upper()} {path}", status, response)
        for path, method in description.operations()
        for status, response in description.paths[path][method]["responses"].items()
    ]
    for where, status, response in general + operations:
        for media_type, content in response.get("content", {None: {}}).items():
            codes = [None]
            if media_type == PROBLEM and not where.startswith("HEAD "):
                codes = content["schema"]["allOf"][1]["properties"]["code"]["enum"]
            if media_type == JSON and not where.startswith("HEAD "):
                codes = errors_of(content["schema"]) or codes
            yield from ((where, int(status), media_type, code) for code in codes)


def test_every_reply_that_is_described_was_seen_here_but_internal_errors(description):
    """Only together with the tests above. A 500 is a fault of the service: nothing outside should be able to cause one."""
    seen = {(where, status, media, code) for where, status, media, code in description.seen if where != "no such method"}
    seen |= {one for one in description.seen if one[3] is not None}
    missing = {one for one in described(description) if one not in seen and one[1] != 500}
    assert not missing, sorted(missing, key=str)


@pytest.mark.parametrize(
    "change",
    [
        {"status": 418},
        {"headers": {"x-powered-by": "nothing"}},
        {"headers": {"content-type": "text/plain"}},
        {"body": b'{"status": "dead"}'},
        {"body": b'{"status": "alive", "since": 1}'},
    ],
    ids=str,
)
def test_a_reply_that_is_not_described_would_be_found(mint, description, change):
    with mint.client(None) as client:
        reply = client.get("/healthz")
    description.check("GET", "/healthz", reply)
    headers = {**reply.headers, **change.get("headers", {})}
    with pytest.raises(Undocumented):
        description.check("GET", "/healthz", Reply(change.get("status", 200), headers, change.get("body", reply.body)))
    headers.pop("x-request-id")
    with pytest.raises(Undocumented):
        description.check("GET", "/healthz", Reply(200, headers, reply.body))
