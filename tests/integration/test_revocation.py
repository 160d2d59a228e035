# SPDX-License-Identifier: Apache-2.0
"""Tokens that are taken back: by the client they were issued to (RFC 7009), and by operators; and that they stay so."""

import json
import urllib.parse

import pytest

from service import AUDIENCE, Deployment, assert_oauth_error, assert_problem, wait_until
from test_introspection import told
from test_issuance import claims_of
from wire import FORM

REVOKE = "/oauth2/revoke"
INTROSPECT = "/oauth2/introspect"
INACTIVE = (200, b'{"active":false}')


def make(folder):
    made = Deployment(folder)
    made.lore = made.ca.issue("lore", dns=["lore.acme.example"])
    made.tenants["acme"]["resource_servers"] = [
        {"id": "lore", "audiences": [AUDIENCE], "authenticate": [{"mtls": {"san_dns": "lore.acme.example"}}]}
    ]
    return made.create().start()


@pytest.fixture(scope="module")
def mint(tmp_path_factory):
    made = make(tmp_path_factory.mktemp("mint"))
    yield made
    made.ensure_stopped()


@pytest.fixture
def own_mint(tmp_path):
    made = make(tmp_path)
    yield made
    made.ensure_stopped()


def post(mint, path, token, credential, tenant="acme", **more):
    body = urllib.parse.urlencode({"token": token, "tenant_id": tenant, **more}).encode()
    with mint.client(credential) as client:
        return client.request("POST", path, body, {"Content-Type": FORM})


def revoke(mint, token, credential="ci", **more):
    return post(mint, REVOKE, token, credential, **more)


def is_active(mint, token):
    return post(mint, INTROSPECT, token, "lore").json["active"]


def entries(mint):
    return mint.ledger("--type", "token.revoked")


# --- RFC 7009


def test_a_client_takes_its_token_back_and_whoever_asks_next_sees_it(mint):
    issued = mint.issue()
    token = issued["service_token"]
    assert is_active(mint, token)
    reply = revoke(mint, token)
    assert (reply.status, reply.body) == (200, b"")
    assert (reply.headers["cache-control"], reply.headers["pragma"]) == ("no-store", "no-cache")
    assert not is_active(mint, token)
    assert told(post(mint, INTROSPECT, token, "ci")) == INACTIVE
    entry = entries(mint)[-1]
    assert (entry["what"], entry["jti"], entry["account"]) == ("jti", issued["token_id"], "acme/ci-build")
    assert (entry["asked_by"], entry["by"], entry["tenant"]) == ("client", "acme/ci-build", "acme")
    assert entry["until"] == issued["expires_at"] and entry["stops_issuance"] is False
    assert is_active(mint, mint.issue()["service_token"])  # its next one is good


def test_a_token_is_written_of_once_however_often_it_is_revoked(mint):
    token = mint.issue()["service_token"]
    n = len(entries(mint))
    for _ in range(5):
        assert revoke(mint, token, token_type_hint="refresh_token").status == 200
    assert len(entries(mint)) == n + 1


def test_what_is_no_token_is_as_good_as_revoked_and_nothing_is_written(mint):
    token = mint.issue()["service_token"]
    header, payload, signature = token.split(".")
    expiring = mint.issue(ttl_seconds=1)["service_token"]
    n = len(entries(mint))
    assert wait_until(lambda: not is_active(mint, expiring), 4)
    for text in ("x", token + "x", f"{header}.{payload}.{signature[:-8]}AAAAAAAA", "a.b.c", "ä", expiring):
        reply = revoke(mint, text)
        assert (reply.status, reply.body) == (200, b""), text
    assert len(entries(mint)) == n
    assert is_active(mint, token)


def test_another_clients_token_is_refused_revoked_or_not(mint):
    """The same answer: who has a token that isn't his learns no more of it than the token says."""
    token = mint.issue()["service_token"]
    alive = revoke(mint, token, "pinned")
    assert_oauth_error(alive, 400, "invalid_grant")
    assert is_active(mint, token)
    globex = mint.issue("globex_ci", tenant_id="globex")["service_token"]
    assert_oauth_error(revoke(mint, globex), 400, "invalid_grant")
    assert_oauth_error(revoke(mint, token, "lore"), 400, "invalid_grant")
    assert revoke(mint, token).status == 200
    assert (revoke(mint, token, "pinned").status, revoke(mint, token, "pinned").body) == (alive.status, alive.body)


def test_whoever_does_not_prove_who_it_is_revokes_nothing(mint):
    token = mint.issue()["service_token"]
    stranger = mint.stranger_ca.issue("ci-build", uris=["spiffe://acme.example/ci/build"])
    for credential in (None, stranger):
        assert_oauth_error(revoke(mint, token, credential), 401, "invalid_client")
    assert_oauth_error(revoke(mint, token, client_id="acme/pinned"), 401, "invalid_client")
    with mint.client("ci") as client:
        reply = client.request("POST", REVOKE, b"tenant_id=acme", {"Content-Type": FORM})
    assert_oauth_error(reply, 400, "invalid_request")
    assert is_active(mint, token)


def test_a_revocation_that_was_acknowledged_outlives_a_crash(own_mint):
    token = own_mint.issue()["service_token"]
    other = own_mint.issue()["service_token"]
    assert revoke(own_mint, token).status == 200
    own_mint.kill()
    own_mint.start()
    assert not is_active(own_mint, token)
    assert is_active(own_mint, other)
    n = len(entries(own_mint))
    assert revoke(own_mint, token).status == 200
    assert len(entries(own_mint)) == n


def test_what_the_ledger_can_not_take_is_not_acknowledged(own_mint):
    """And not revoked: the client is told to come again."""
    import sqlite3

    token = own_mint.issue()["service_token"]
    other = sqlite3.connect(own_mint.folder / "state/mintmark.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    try:
        reply = revoke(own_mint, token)
        assert_oauth_error(reply, 503, "temporarily_unavailable")
        assert int(reply.headers["retry-after"]) > 0
    finally:
        other.execute("ROLLBACK")
        other.close()
    assert is_active(own_mint, token)
    assert revoke(own_mint, token).status == 200
    assert not is_active(own_mint, token)
