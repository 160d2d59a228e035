# SPDX-License-Identifier: Apache-2.0
"""Those who fail to authenticate: slowed down by their address, while whoever can prove who it is waits for nothing; and
what a flood of strangers may take: no memory, nothing of the ledger, little of the log."""

import base64
import concurrent.futures
import contextlib
import json
import pathlib
import secrets
import signal
import time

import pytest

from service import (
    AUDIENCE,
    IS_SANITIZED,
    ISSUER,
    OAUTH_TOKENS,
    TOKENS,
    Deployment,
    assert_oauth_error,
    assert_problem,
    form,
    grant,
    token_request,
    wait_until,
)
from wire import FORM, RawLocalConnection, post_bytes

JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
PER_MINUTE = 40
PER_ADDRESS = 20
HELD_OF_ADDRESS = PER_ADDRESS // 4


def strict(folder):
    """A service that holds failures back early."""
    made = Deployment(folder)
    made.config["limits"] = {"failures_per_address": PER_MINUTE, "connections_per_address": PER_ADDRESS}
    made.tenants["acme"]["exchange"] = {
        "subject_audiences": [AUDIENCE],
        "public_clients": ["lore-cli"],
        "rules": [{"subject": {"accounts": ["ci-build"]}, **grant(["read:repo"], ["urc-*"])}],
    }
    return made.create().start()


@pytest.fixture(scope="module")
def mint(tmp_path_factory):
    made = strict(tmp_path_factory.mktemp("mint"))
    yield made
    made.ensure_stopped()


def fail(mint, source, credential=None):
    """A request without (the right) certificate from an address: its reply, and how long it took."""
    with mint.raw(credential, source=source) as raw:
        start = time.monotonic()
        raw.send(post_bytes(TOKENS, json.dumps(token_request()).encode()))
        return raw.reply(), time.monotonic() - start


def exhaust(mint, source):
    """Fail until the next failure isn't answered at once."""
    with mint.raw(None, source=source) as raw:
        for _ in range(PER_MINUTE):
            raw.send(post_bytes(TOKENS, json.dumps(token_request()).encode()))
            assert raw.reply().status == 401


def test_failures_are_held_back_and_a_valid_caller_from_there_waits_for_nothing(mint):
    exhaust(mint, "127.0.3.1")
    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        waiting = threads.submit(fail, mint, "127.0.3.1")
        other = threads.submit(fail, mint, "127.0.3.1", "globex_ci")
        time.sleep(0.2)
        with mint.raw(source="127.0.3.1") as raw:
            for _ in range(5):
                start = time.monotonic()
                raw.send(post_bytes(TOKENS, json.dumps(token_request()).encode()))
                assert raw.reply().status == 201
                assert time.monotonic() - start < 0.7
        for reply, seconds in (waiting.result(), other.result()):
            assert reply.status in (401, 403)  # the same answer as ever, only later
            assert 0.9 < seconds < 4
    slowed = {one["address"]: one for one in json.loads(mint.cli("status", "--json"))["slowed"]}
    assert 1 <= slowed["127.0.3.1"]["failures"] <= 2
    assert "slowed    127.0.3.1: " in mint.cli("status")
    _, seconds = fail(mint, "127.0.3.2")
    assert seconds < 0.7, "another address waits"


def test_both_endpoints_count_what_fails_there(mint):
    with mint.raw(None, source="127.0.3.3") as raw:
        for i in range(PER_MINUTE):
            oauth = i % 2
            body = form() if oauth else json.dumps(token_request()).encode()
            media_type = FORM if oauth else "application/json"
            raw.send(post_bytes(OAUTH_TOKENS if oauth else TOKENS, body, content_type=media_type))
            assert raw.reply().status == 401
        start = time.monotonic()
        forged = jwt(iss="acme/ci-build", sub="acme/ci-build", aud=ISSUER, jti="x", exp=int(time.time()) + 200)
        raw.send(post_bytes(OAUTH_TOKENS, form(client_assertion_type=JWT_BEARER, client_assertion=forged), content_type=FORM))
        assert_oauth_error(raw.reply(), 401, "invalid_client")
        assert time.monotonic() - start > 0.9


def test_what_a_public_client_revokes_is_a_token_or_counts_as_a_failure(mint):
    """Its name proves nothing: whoever has signatures checked in it, over and over, is answered as ever, only later."""
    token = mint.issue()["service_token"]
    head, payload, signature = token.split(".")
    forged = form(grant_type=None, scope=None, client_id="acme/lore-cli", token=f"{head}.{payload}.{'A' * len(signature)}")
    with mint.raw(None, source="127.0.3.6") as raw:
        for _ in range(PER_MINUTE):
            raw.send(post_bytes("/oauth2/revoke", forged, content_type=FORM))
            assert raw.reply().status == 200
        start = time.monotonic()
        raw.send(post_bytes("/oauth2/revoke", forged, content_type=FORM))
        assert raw.reply().status == 200 and time.monotonic() - start > 0.9
    with mint.raw("ci", source="127.0.3.6") as raw:
        start = time.monotonic()
        raw.send(post_bytes("/oauth2/revoke", form(grant_type=None, scope=None, token="x"), content_type=FORM))
        assert raw.reply().status == 200 and time.monotonic() - start < 0.7


def test_what_is_no_failure_to_authenticate_is_never_held_back(mint):
    exhaust(mint, "127.0.3.4")
    with mint.raw("ci", source="127.0.3.4") as raw:
        start = time.monotonic()
        for body, status in ((b"{", 400), (json.dumps(token_request(scopes=["write:repo"])).encode(), 403)):
            raw.send(post_bytes(TOKENS, body))
            assert raw.reply().status == status
        assert time.monotonic() - start < 0.7


def test_only_so_many_wait_and_the_others_are_turned_away(mint):
    source = "127.0.3.5"
    exhaust(mint, source)
    n = HELD_OF_ADDRESS + 4
    with concurrent.futures.ThreadPoolExecutor(n) as threads:
        done = [future.result() for future in [threads.submit(fail, mint, source) for _ in range(n)]]
    held = [seconds for reply, seconds in done if reply.status == 401]
    away = [reply for reply, _ in done if reply.status == 429]
    assert len(held) == HELD_OF_ADDRESS and len(away) == n - HELD_OF_ADDRESS
    for reply in away:
        assert_problem(reply, 429, "rate_limited")
        assert reply.headers["connection"] == "close"
        assert int(reply.headers["retry-after"]) in (1, 2, 4, 8)
        assert "ratelimit" not in reply.headers
    with mint.raw(source=source) as raw:
        raw.send(post_bytes(TOKENS, json.dumps(token_request()).encode()))
        assert raw.reply().status == 201


def fail_through(proxy, client, path=TOKENS):
    """A failure of a proxy's client: its reply, and how long it took."""
    with RawLocalConnection(proxy) as raw:
        start = time.monotonic()
        raw.send(post_bytes(path, json.dumps(token_request()).encode(), f"X-Forwarded-For: {client}\r\n".encode()))
        return raw.reply(), time.monotonic() - start


def test_behind_a_proxy_it_is_the_clients_address_that_counts(tmp_path):
    mint = Deployment(tmp_path / "mint")
    mint.config["limits"] = {"failures_per_address": 3, "connections_per_address": 4}
    mint.config["listen"].insert(0, {"unix": "run/proxy.sock", "trust_client_cert_header": True})
    mint.create().start()
    try:
        proxy = mint.folder / "run" / "proxy.sock"
        for _ in range(3):
            assert fail_through(proxy, "2001:db8:1:2::1")[1] < 0.7
        with concurrent.futures.ThreadPoolExecutor(2) as threads:
            held = threads.submit(fail_through, proxy, "2001:db8:1:2::ffff")  # of the same /64
            time.sleep(0.3)
            away, _ = fail_through(proxy, "2001:db8:1:2::2")
            assert away.status == 429
            assert "connection" not in away.headers, "the proxy's connection is its other clients', too"
            _, seconds = fail_through(proxy, "2001:db8:1:3::1")
            assert seconds < 0.7, "another client waits for it"
            reply, seconds = held.result()
            assert reply.status == 401 and seconds > 0.9
    finally:
        mint.ensure_stopped()


def test_a_drain_waits_for_no_answer_that_is_held_back(tmp_path):
    mint = Deployment(tmp_path / "mint")
    mint.config["limits"] = {"failures_per_address": 1, "connections_per_address": 12}
    mint.create().start()
    with contextlib.ExitStack() as stack:
        raws = [stack.enter_context(mint.raw(None)) for _ in range(4)]
        for raw in raws[:3]:
            raw.send(post_bytes(TOKENS, json.dumps(token_request()).encode()))
            time.sleep(0.1)
        start = time.monotonic()
        mint.signal(signal.SIGTERM)  # while one waits for a second and one for eight
        with contextlib.suppress(OSError):  # it may be too late for another
            raws[3].send(post_bytes(TOKENS, json.dumps(token_request()).encode()))
        for raw in raws[:3]:
            assert raw.reply().status == 401
        assert mint.process.wait(60) == 0
        assert time.monotonic() - start < 4
    mint.check_remains()


# --- floods

ROUND = 1500
CONNECTIONS = 6
GARBAGE = base64.urlsafe_b64encode(secrets.token_bytes(600)).decode().rstrip("=")


def jwt(**claims):
    encode = lambda value: base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")
    return f"{encode({'alg': 'ES256', 'kid': secrets.token_hex(16)})}.{encode(claims)}.{GARBAGE[:86]}"


def request_of(i):
    """The i-th stranger's request: each has something that was never seen before."""
    random = secrets.token_hex(12)
    assertion = {
        "client_assertion_type": JWT_BEARER,
        "client_assertion": jwt(iss=f"acme/{random}", sub=f"acme/{random}", jti=random, exp=int(time.time()) + 200),
    }
    oauth = lambda **changes: post_bytes(OAUTH_TOKENS, form(**changes), content_type=FORM)
    makers = [
        lambda: post_bytes(TOKENS, json.dumps(token_request(tenant_id=f"t{random}")).encode()),
        lambda: oauth(client_id=f"{random}/x", tenant_id=None),
        lambda: oauth(**assertion),
        lambda: oauth(client_id="acme/ci-build", client_secret=GARBAGE),
        lambda: post_bytes(TOKENS, json.dumps(token_request()).encode(),
                           f"Authorization: Bearer {jwt(iss='https://' + random)}\r\n".encode()),
        lambda: oauth(**{f"p{random}{j}": "x" for j in range(40)}),
        lambda: post_bytes(OAUTH_TOKENS, b"a" * 17000, content_type=FORM),
        lambda: oauth(grant_type="urn:ietf:params:oauth:grant-type:token-exchange", subject_token=jwt(jti=random),
                      subject_token_type="urn:ietf:params:oauth:token-type:access_token"),
        lambda: post_bytes(f"/{random}", b"{}"),
    ]
    return makers[i % len(makers)]()


def flood(mint, n):
    """`n` requests over a few connections of a stranger's; none may succeed."""

    def run(worker):
        statuses = set()
        raw = mint.raw(None, source=f"127.0.4.{worker + 1}")
        for i in range(n // CONNECTIONS):
            raw.send(request_of(i))
            reply = raw.reply()
            statuses.add(reply.status)
            if reply.headers.get("connection") == "close":
                raw.socket.close()
                raw = mint.raw(None, source=f"127.0.4.{worker + 1}")
        raw.socket.close()
        return statuses

    with concurrent.futures.ThreadPoolExecutor(CONNECTIONS) as threads:
        seen = set().union(*threads.map(run, range(CONNECTIONS)))
    assert seen and all(400 <= status < 500 for status in seen), seen


def resident_kib(mint):
    lines = pathlib.Path(f"/proc/{mint.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))


def store_bytes(mint):
    return sum(file.stat().st_size for file in mint.store_file.parent.rglob("*") if file.is_file())


def test_a_flood_of_strangers_grows_neither_memory_nor_ledger_nor_log(tmp_path):
    mint = Deployment(tmp_path / "mint").create().start()  # failures aren't held back: it is as fast as it can be
    try:
        mint.issue()
        assert wait_until(lambda: len(mint.ledger("--type", "hsm.event")) == 2), "both workers' starts are recorded"
        entries, stored = mint.ledger(), store_bytes(mint)
        flood(mint, ROUND)
        first, log = resident_kib(mint), len(mint.log())
        flood(mint, ROUND)
        second = resident_kib(mint)
        flood(mint, ROUND)
        assert IS_SANITIZED or resident_kib(mint) - second < 1024, "memory grows with each round"
        assert IS_SANITIZED or second - first < 4096
        assert mint.ledger()[len(entries) :] == []
        assert store_bytes(mint) == stored
        assert len(mint.log()) - log < 250_000, "the log grows with each round"
        lines = len(mint.events("request_refused"))
        assert lines <= CONNECTIONS * 300 + 100
        mint.issue()
        mint.stop()
        left_out = mint.events("requests_not_logged")
        told = sum(int(event["requests"]) for event in left_out)
        assert told + len(mint.events("request_refused")) == 3 * (ROUND // CONNECTIONS * CONNECTIONS)
        assert left_out[-1]["address"].startswith("127.0.4.")
    finally:
        mint.ensure_stopped()


def test_a_refusal_is_logged_as_long_as_it_is_no_flood(mint):
    reply, _ = fail(mint, "127.0.3.9")
    request_id = reply.headers["x-request-id"]
    assert wait_until(lambda: any(e["request_id"] == request_id for e in mint.events("request_refused")))
