# SPDX-License-Identifier: Apache-2.0
"""POST /oauth2/introspect (RFC 7662): what it tells, to whom, and that it tells everybody else the same."""

import base64
import json
import urllib.parse

import pytest

from service import AUDIENCE, CACHE_AUDIENCE, REPOSITORY, Deployment, assert_oauth_error, wait_until
from test_issuance import claims_of
from wire import FORM

INTROSPECT = "/oauth2/introspect"
INACTIVE = (200, b'{"active":false}')


@pytest.fixture(scope="module")
def mint(tmp_path_factory):
    made = Deployment(tmp_path_factory.mktemp("mint"))
    made.lore = made.ca.issue("lore", dns=["lore.acme.example"])
    made.cache = made.ca.issue("cache", dns=["cache.acme.example"])
    made.globex_lore = made.globex_ca.issue("lore", dns=["lore.globex.example"])
    made.tenants["acme"]["resource_servers"] = [
        {"id": "lore", "audiences": [AUDIENCE], "authenticate": [{"mtls": {"san_dns": "lore.acme.example"}}]},
        {"id": "cache", "audiences": [CACHE_AUDIENCE], "authenticate": [{"mtls": {"san_dns": "cache.acme.example"}}]},
    ]
    # Where tenants share an audience, each asks about its own tokens alone.
    made.config["tenants"]["acme"]["shared_with"] = ["globex"]
    made.config["tenants"]["globex"]["shared_with"] = ["acme"]
    made.config["tenants"]["globex"]["audiences"].append(AUDIENCE)
    made.tenants["globex"]["resource_servers"] = [
        {"id": "lore", "audiences": [AUDIENCE], "authenticate": [{"mtls": {"san_dns": "lore.globex.example"}}]}
    ]
    made.create().start()
    yield made
    made.ensure_stopped()


def introspect(mint, token, credential="lore", tenant="acme", **more):
    fields = {"token": token, "tenant_id": tenant, **more}
    body = urllib.parse.urlencode({name: value for name, value in fields.items() if value is not None}).encode()
    with mint.client(credential) as client:
        return client.request("POST", INTROSPECT, body, {"Content-Type": FORM})


def told(reply):
    return reply.status, reply.body


def part(value):
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def test_a_resource_server_is_told_what_a_token_for_it_says(mint):
    token = mint.issue()["service_token"]
    reply = introspect(mint, token)
    claims = claims_of(token)
    assert (reply.status, reply.headers["content-type"]) == (200, "application/json")
    assert (reply.headers["cache-control"], reply.headers["pragma"]) == ("no-store", "no-cache")
    body = reply.json
    assert body.pop("active") is True
    assert body.pop("token_type") == "Bearer"
    assert body.pop("username") == claims["preferred_username"] == "acme/ci-build"
    assert {"scope", "client_id", "exp", "iat", "sub", "aud", "iss", "jti", "tenant_id", "resources"} == set(body)
    assert body == {name: claims[name] for name in body}
    assert told(introspect(mint, token, token_type_hint="refresh_token"))[0] == 200


def test_the_client_it_was_issued_to_may_ask_and_another_may_not(mint):
    token = mint.issue()["service_token"]
    assert introspect(mint, token, "ci").json["active"] is True
    assert told(introspect(mint, token, "named")) == INACTIVE
    assert told(introspect(mint, token, "pinned")) == INACTIVE


def test_a_resource_server_is_told_nothing_of_other_audiences_and_tenants(mint):
    for_lore = mint.issue(audience=AUDIENCE)["service_token"]
    for_cache = mint.issue(audience=CACHE_AUDIENCE)["service_token"]
    assert introspect(mint, for_lore).json["active"] is True
    assert introspect(mint, for_cache, "cache").json["active"] is True
    assert told(introspect(mint, for_lore, "cache")) == INACTIVE
    assert told(introspect(mint, for_cache)) == INACTIVE
    assert told(introspect(mint, for_lore, "globex_lore", "globex")) == INACTIVE  # the audience is its own, too


def test_whoever_does_not_prove_who_it_is_learns_nothing(mint):
    token = mint.issue()["service_token"]
    for credential, tenant in ((None, "acme"), ("globex_lore", "acme"), ("lore", "globex")):
        assert_oauth_error(introspect(mint, token, credential, tenant), 401, "invalid_client")
    stranger = mint.stranger_ca.issue("lore", dns=["lore.acme.example"])
    assert_oauth_error(introspect(mint, token, stranger), 401, "invalid_client")


def test_what_is_no_token_of_ours_is_inactive_and_nothing_more(mint):
    token = mint.issue()["service_token"]
    header, payload, signature = token.split(".")
    head = json.loads(base64.urlsafe_b64decode(header + "=="))
    claims = claims_of(token)
    forged = {
        "no JWT": "x",
        "a part more": token + ".x",
        "another signature": f"{header}.{payload}.{signature[:-8]}AAAAAAAA",
        "longer": f"{header}.{part({**claims, 'exp': claims['exp'] + 900})}.{signature}",
        "alg none": f"{part({**head, 'alg': 'none'})}.{payload}.",
        "HS256": f"{part({**head, 'alg': 'HS256'})}.{payload}.{signature}",
        "another kid": f"{part({**head, 'kid': 'x' * 43})}.{payload}.{signature}",
        "another type": f"{part({**head, 'typ': 'JWT'})}.{payload}.{signature}",
        "its own key": f"{part({**head, 'jwk': mint.jwks()['keys'][0]})}.{payload}.{signature}",
        "long": "a" * 12000,
        "ünïcode": "tökén.tökén.tökén",
    }
    for what, text in forged.items():
        assert told(introspect(mint, text)) == INACTIVE, what
    assert introspect(mint, token).json["active"] is True


def test_what_is_no_request_is_refused_as_oauth_has_it(mint):
    token = mint.issue()["service_token"]
    assert_oauth_error(introspect(mint, None), 400, "invalid_request")
    with mint.client("lore") as client:
        twice = f"token={token}&token={token}&tenant_id=acme".encode()
        assert_oauth_error(client.request("POST", INTROSPECT, twice, {"Content-Type": FORM}), 400, "invalid_request")
        in_uri = f"{INTROSPECT}?token={token}"
        assert_oauth_error(client.request("POST", in_uri, b"tenant_id=acme", {"Content-Type": FORM}), 400, "invalid_request")
        as_json = json.dumps({"token": token}).encode()
        reply = client.request("POST", INTROSPECT, as_json, {"Content-Type": "application/json"})
        assert_oauth_error(reply, 415, "invalid_request")
        assert client.get(INTROSPECT).status == 405


def test_an_expired_token_is_inactive(mint):
    token = mint.issue(ttl_seconds=1)["service_token"]
    assert wait_until(lambda: told(introspect(mint, token)) == INACTIVE, 4)


def test_a_resource_server_gets_no_token(mint):
    assert_oauth_error(mint.ask_oauth("lore"), 400, "invalid_scope")
    assert mint.ask("lore").status == 403


def test_introspection_writes_nothing(mint):
    token = mint.issue()["service_token"]
    n = len(mint.ledger())
    n_lines = len(mint.events())
    for _ in range(20):
        introspect(mint, token)
        introspect(mint, "x")
    assert len(mint.ledger()) == n
    assert len(mint.events()) == n_lines


def test_a_token_of_a_compromised_key_is_inactive_at_once(mint):
    """Though it was introspected, and is remembered, before."""
    token = mint.issue()["service_token"]
    assert introspect(mint, token).json["active"] is True
    kid = mint.jwks()["keys"][0]["kid"]
    mint.cli("key", "revoke", "--kid", kid, "--compromised", "--reason", "stolen")
    assert told(introspect(mint, token)) == INACTIVE


def test_resource_servers_are_not_counted_as_accounts(mint):
    acme = mint.tenants["acme"]
    n_accounts, n_servers = len(acme["accounts"]), len(acme["resource_servers"])
    (told_to_people,) = [line for line in mint.cli("check-config").splitlines() if line.startswith("  tenant   acme:")]
    assert f"acme: {n_accounts} account" in told_to_people and f", {n_servers} resource server" in told_to_people


def test_resource_servers_are_checked_at_load(tmp_path):
    made = Deployment(tmp_path)
    made.tenants["acme"]["resource_servers"] = [
        {"id": "ci-build", "audiences": [AUDIENCE], "authenticate": [{"mtls": {"san_dns": "a.example"}}]},
        {"id": "lore", "audiences": ["elsewhere.example"], "authenticate": [{"mtls": {"san_dns": "a.example"}}]},
        {"id": "lore", "audiences": [AUDIENCE], "authenticate": [{"mtls": {"fingerprint": made.pinned.fingerprint}}]},
        {"id": "none", "audiences": [], "authenticate": []},
    ]
    made.write()
    done = made.run_cli("check-config", "--json")
    assert done.returncode == 3
    pointers = {problem["path"] for problem in json.loads(done.stderr)["problems"]}
    assert "/resource_servers/0/id" in pointers and "/resource_servers/2/id" in pointers
    assert "/resource_servers/1/audiences/0" in pointers
    assert "/resource_servers/1/authenticate/0/mtls" in pointers  # the first one's as well
    assert "/resource_servers/2/authenticate/0/mtls" in pointers  # an account's as well
    assert "/resource_servers/3/audiences" in pointers and "/resource_servers/3/authenticate" in pointers
