# SPDX-License-Identifier: Apache-2.0
"""Clients that sign an assertion with a key of their own (RFC 7523, RFC 10070): who gets a token, and what attackers get."""

import base64
import concurrent.futures
import hashlib
import hmac
import json
import pathlib
import re
import subprocess
import time

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from assertions import JWT_BEARER, JWT_SPIFFE, Client, by_assertion, claims_for, key_set, make_key, pack
from foreign_jwts import Key, encode
from service import (
    ISSUER,
    REPOSITORY,
    TOKENS,
    Deployment,
    assert_oauth_error,
    assert_problem,
    form,
    grant,
    token_request,
)
from test_issuance import claims_of
from wire import FORM, JSON, post_bytes

ENDPOINT = ISSUER + "/oauth2/token"
LEEWAY = 60


def add_account(deployment, name, *rules, tenant="acme", **members):
    account = {"id": name, "name": f"The {name}", "authenticate": list(rules), **members}
    account["grants"] = [grant(["read:repo", "read:blob"], [REPOSITORY])]
    deployment.tenants[tenant]["accounts"].append(account)


def add_client(deployment, name, key, tenant="acme", rule=None, **members):
    """An account with that key in a file, and the client that it is for."""
    file = deployment.folder / f"{tenant}-{name}.jwks.json"
    deployment.write_file(file, key_set(key))
    rule = {"private_key_jwt": {"jwks_file": str(file), **(rule or {})}}
    add_account(deployment, name, rule, tenant=tenant, **members)
    return Client(f"{tenant}/{name}", key, ISSUER)


class Recipe:
    """docs/federation.md: how a client makes its key, and an assertion with it; but for the curl that asks the service."""

    def __init__(self, mint):
        text = (pathlib.Path(__file__).parents[2] / "docs/federation.md").read_text()
        section = text.split("## A client with a key of its own\n")[1].split("\n## ")[0]
        self.make_key, assertion = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
        assertion = assertion.replace("https://mint.acme.example", ISSUER).replace("acme/ci-build", "acme/jwt-by-hand")
        self.make_assertion = self.make_key.splitlines()[0] + "\n" + assertion[: assertion.index("curl ")]
        self.folder = mint.folder / "by-hand"
        self.folder.mkdir()
        self.run(self.make_key)
        add_account(mint, "jwt-by-hand", {"private_key_jwt": {"jwks_file": str(self.folder / "ci.json")}})

    def run(self, script):
        subprocess.run(["sh", "-euc", script], cwd=self.folder, check=True, capture_output=True, timeout=60)

    def assertion(self):
        self.run(self.make_assertion)
        return (self.folder / "assertion").read_text()


class Clients:
    def __init__(self, mint):
        self.recipe = Recipe(mint)
        self.ci = add_client(mint, "jwt-ci", make_key("ES256"))
        self.other = add_client(mint, "jwt-other", make_key("EdDSA"))
        self.rsa = add_client(mint, "jwt-rsa", make_key("RS256"))
        self.endpoint = add_client(mint, "jwt-old", make_key("ES256"), rule={"assertion_audience": "token_endpoint"})
        self.bound = add_client(mint, "jwt-bound", make_key("ES256"), certificate_bound="required")
        # The same id and the same key in another tenant: still another client.
        self.globex = add_client(mint, "jwt-ci", self.ci.key, tenant="globex")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    mint = Deployment(tmp_path_factory.mktemp("mint"))
    clients = Clients(mint)
    mint.create().start()
    yield mint, clients
    mint.ensure_stopped()


@pytest.fixture(scope="module")
def mint(place):
    return place[0]


@pytest.fixture(scope="module")
def clients(place):
    return place[1]


def ask(mint, assertion, credential=None, **fields):
    return mint.ask_oauth(credential, **by_assertion(assertion, **fields))


def look(mint, assertion, path="/oauth2/introspect"):
    """Ask about what is no token, or take it back: all that comes of it is that the assertion was used."""
    body = form(**by_assertion(assertion, grant_type=None, scope=None, token="none"))
    with mint.client(None) as client:
        return client.request("POST", path, body, {"Content-Type": FORM})


def ask_v1(mint, authorization, credential=None):
    headers = {"Content-Type": JSON, "Authorization": authorization}
    with mint.client(credential) as client:
        return client.request("POST", TOKENS, json.dumps(token_request()).encode(), headers)


def issued(reply):
    assert reply.status == 200, reply
    return claims_of(reply.json["access_token"])


def assert_refused(reply):
    """Whatever is wrong with an assertion, its sender is told the same."""
    body = assert_oauth_error(reply, 401, "invalid_client")
    assert body["error_description"] == "The JWT doesn't stand for that client."


# --- who gets a token


def test_an_assertion_brings_a_token(mint, clients):
    for client in (clients.ci, clients.other, clients.rsa):
        assert issued(ask(mint, client.assertion()))["sub"] == client.client_id


def test_a_key_and_assertions_are_made_as_the_documentation_has_it(mint, clients):
    for _ in range(2):
        assert issued(ask(mint, clients.recipe.assertion()))["sub"] == "acme/jwt-by-hand"


def test_the_newline_of_a_file_is_no_part_of_an_assertion(mint, clients):
    assert issued(ask(mint, clients.ci.assertion() + "\n"))["sub"] == "acme/jwt-ci"


def test_the_ledger_says_how_the_caller_proved_itself(mint, clients):
    claims = issued(ask(mint, clients.ci.assertion()))
    (entry,) = [e for e in mint.ledger() if e.get("jti") == claims["jti"]]
    assert (entry["credential"], entry["account"]) == ("private_key_jwt", "acme/jwt-ci")
    assert "certificate_sha256" not in entry


def used(mint):
    return mint.ledger("--type", "assertion.used")


def test_each_use_is_an_entry_whatever_came_of_it_and_no_other_request_writes_one(mint, clients):
    before = len(used(mint))
    assertion = clients.ci.assertion()
    assert issued(ask(mint, assertion))
    assert_oauth_error(ask(mint, clients.ci.assertion(), scope="write:repo"), 400, "invalid_scope")
    assert look(mint, clients.ci.assertion()).json == {"active": False}
    uses = used(mint)[before:]
    assert [use["account"] for use in uses] == ["acme/jwt-ci"] * 3
    assert all(set(use) == {"type", "time", "tenant", "account", "digest", "until", "sequence", "hash"} for use in uses)
    assert len({use["digest"] for use in uses}) == 3
    assert all(0 < use["until"] - use["time"] <= 300 + 2 * LEEWAY for use in uses)
    for refused in (assertion, attack_stranger(clients.ci), attack_none(clients.ci), clients.ci.assertion(aud="x"), "x"):
        assert_refused(ask(mint, refused))
        assert look(mint, refused).status == 401
    mint.issue()
    assert len(used(mint)) == before + 3


def test_a_use_is_in_the_ledger_before_what_came_of_it(mint, clients):
    claims = issued(ask(mint, clients.ci.assertion()))
    entries = mint.ledger("--account", "acme/jwt-ci")
    (place,) = [i for i, entry in enumerate(entries) if entry.get("jti") == claims["jti"]]
    assert entries[place - 1]["type"] == "assertion.used"


def test_the_client_is_named_by_its_identity_or_by_its_id_where_the_tenant_is_known(mint, clients):
    bare = Client("jwt-ci", clients.ci.key, ISSUER)
    for client, fields in [
        (clients.ci, {"tenant_id": None}),
        (clients.ci, {"tenant_id": None, "client_id": "acme/jwt-ci"}),
        (clients.ci, {"client_id": "jwt-ci"}),
        (bare, {}),
        (bare, {"client_id": "acme/jwt-ci", "tenant_id": None}),
    ]:
        assert issued(ask(mint, client.assertion(), **fields))["sub"] == "acme/jwt-ci"
    assert_oauth_error(ask(mint, bare.assertion(), tenant_id=None), 400, "invalid_request")


def test_v1_takes_an_assertion_as_a_bearer_token(mint, clients):
    reply = ask_v1(mint, f"Bearer {clients.ci.assertion()}")
    assert (reply.status, reply.json["account"]) == (201, "acme/jwt-ci")
    reply = ask_v1(mint, f"bearer {clients.ci.assertion(aud='https://other.example')}")
    assert_problem(reply, 401, "credential_invalid")
    assert reply.headers["www-authenticate"] == 'Bearer realm="mintmark", error="invalid_token"'


def test_times_may_differ_by_the_leeway_and_no_more(mint, clients):
    now = int(time.time())
    margin = 5
    for changes in (
        {"exp": now - LEEWAY + margin},
        {"exp": now + 300 + LEEWAY - margin},
        {"nbf": now + LEEWAY - margin, "iat": now + LEEWAY - margin},
        {"iat": None},
    ):
        assert issued(ask(mint, clients.ci.assertion(**changes)))
    for changes in (
        {"exp": now - LEEWAY - margin},
        {"exp": now + 300 + LEEWAY + margin},
        {"nbf": now + LEEWAY + margin},
        {"iat": now + LEEWAY + margin},
    ):
        assert_refused(ask(mint, clients.ci.assertion(**changes)))


@pytest.mark.parametrize("typ", [None, "JWT", "jwt", "client-authentication+jwt", "application/client-authentication+jwt"])
def test_a_type_that_says_what_it_is_is_taken(mint, clients, typ):
    assert issued(ask(mint, clients.ci.assertion(header={"typ": typ})))


def test_a_certificate_beside_an_assertion_is_what_the_token_is_bound_to(mint, clients):
    assert_oauth_error(ask(mint, clients.bound.assertion()), 401, "invalid_client")
    claims = issued(ask(mint, clients.bound.assertion(), "ci"))
    assert claims["sub"] == "acme/jwt-bound"
    thumbprint = encode(bytes.fromhex(mint.ci.fingerprint))
    assert claims["cnf"] == {"x5t#S256": thumbprint}
    # Who has none that must be bound isn't bound, whatever certificate there is, unless it asks for that.
    assert "cnf" not in issued(ask(mint, clients.ci.assertion(), "ci"))
    assert issued(ask(mint, clients.ci.assertion(), "ci", certificate_bound="true"))["cnf"] == claims["cnf"]
    assert_oauth_error(ask(mint, clients.ci.assertion(), certificate_bound="true"), 401, "invalid_client")


def test_an_account_may_name_the_token_endpoint_instead_but_not_as_well(mint, clients):
    client = clients.endpoint
    assert issued(ask(mint, client.assertion(aud=ENDPOINT)))
    assert_refused(ask(mint, client.assertion(aud=ISSUER)))
    assert_refused(ask(mint, clients.ci.assertion(aud=ENDPOINT)))


# --- once


def test_a_replayed_assertion_is_refused(mint, clients):
    assertion = clients.ci.assertion()
    assert issued(ask(mint, assertion))
    assert_refused(ask(mint, assertion))
    assert_refused(ask(mint, assertion, scope="read:blob"))


def test_a_jti_is_used_up_by_its_client_alone_and_however_that_is_spelled(mint, clients):
    jti = "j-" + encode(b"once")
    assert issued(ask(mint, clients.ci.assertion(jti=jti)))
    assert issued(ask(mint, clients.other.assertion(jti=jti)))
    assert issued(ask(mint, clients.globex.assertion(jti=jti), tenant_id="globex"))
    assert_refused(ask(mint, Client("jwt-ci", clients.ci.key, ISSUER).assertion(jti=jti)))


def test_an_assertion_whose_request_is_refused_is_used_up(mint, clients):
    assertion = clients.ci.assertion()
    assert_oauth_error(ask(mint, assertion, scope="write:repo"), 400, "invalid_scope")
    assert_refused(ask(mint, assertion))


def test_one_of_many_that_use_an_assertion_at_once_gets_a_token(mint, clients):
    for _ in range(3):
        assertion = clients.ci.assertion()
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            replies = list(pool.map(lambda _: ask(mint, assertion), range(8)))
        assert sorted(reply.status for reply in replies) == [200] + [401] * 7


def test_both_twins_of_an_ecdsa_signature_are_one_use(mint, clients):
    assertion = clients.ci.assertion()
    data, _, signature = assertion.rpartition(".")
    raw = base64.urlsafe_b64decode(signature + "==")
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    twin = raw[:32] + (order - int.from_bytes(raw[32:], "big")).to_bytes(32, "big")
    assert issued(ask(mint, assertion))
    assert_refused(ask(mint, f"{data}.{encode(twin)}"))


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_an_assertion_stays_used_across_a_restart(deployment, end):
    client = add_client(deployment, "jwt-ci", make_key())
    deployment.write()
    deployment.start()
    before = [client.assertion() for _ in range(5)]
    for assertion in before[:2]:
        assert issued(ask(deployment, assertion))
    # What it was used for doesn't matter: nothing, asking about a token, taking one back.
    assert_oauth_error(ask(deployment, before[2], scope="write:repo"), 400, "invalid_scope")
    assert look(deployment, before[3]).json == {"active": False}
    assert look(deployment, before[4], path="/oauth2/revoke").status == 200
    fresh = client.assertion()
    getattr(deployment, end)()
    deployment.start()
    for assertion in before:
        assert_refused(ask(deployment, assertion))
        assert look(deployment, assertion).status == 401
    assert issued(ask(deployment, fresh))


# --- attacks


def refused_claims():
    now = int(time.time())
    look_alike = ISSUER.replace("e", "\u0435", 1)
    return {
        "no aud": {"aud": None},
        "wrong aud": {"aud": "https://other.example"},
        "aud with a slash": {"aud": ISSUER + "/"},
        "aud look-alike": {"aud": look_alike},
        "aud of several": {"aud": [ISSUER, "https://other.example"]},
        "aud twice": {"aud": [ISSUER, ISSUER]},
        "aud empty": {"aud": []},
        "aud the endpoint and the issuer": {"aud": [ENDPOINT, ISSUER]},
        "no sub": {"sub": None},
        "another sub": {"sub": "acme/jwt-other"},
        "sub in another spelling": {"sub": "jwt-ci"},
        "sub a list": {"sub": ["acme/jwt-ci"]},
        "another iss": {"iss": "acme/jwt-other", "sub": "acme/jwt-other"},
        "iss of another tenant": {"iss": "globex/ci", "sub": "globex/ci"},
        "iss look-alike": {"iss": "acme/jwt-c\u0456", "sub": "acme/jwt-c\u0456"},
        "iss with a space": {"iss": "acme/jwt-ci ", "sub": "acme/jwt-ci "},
        "iss in capitals": {"iss": "ACME/JWT-CI", "sub": "ACME/JWT-CI"},
        "iss with a NUL": {"iss": "acme/jwt-ci\0", "sub": "acme/jwt-ci\0"},
        "iss ourselves": {"iss": ISSUER},
        "no iss": {"iss": None},
        "expired": {"exp": now - 3600},
        "no exp": {"exp": None},
        "a day ahead": {"exp": now + 86400},
        "exp a text": {"exp": str(now + 60)},
        "exp huge": {"exp": 10**40},
        "exp infinite": {"exp": 1e308 * 10},
        "from the future": {"iat": now + 3600},
        "not yet": {"nbf": now + 3600},
        "no jti": {"jti": None},
        "jti a number": {"jti": 7},
        "jti long": {"jti": "j" * 1025},
    }


@pytest.mark.parametrize("name", list(refused_claims()))
def test_claims_that_break_a_rule_are_refused(mint, clients, name):
    assert_refused(ask(mint, clients.ci.assertion(**refused_claims()[name])))


def payload_of(client):
    return json.dumps(claims_for(client.client_id, ISSUER))


def attack_none(client):
    return pack(client.header(alg="none"), payload_of(client), lambda data: b"")


def attack_none_with_a_signature(client):
    return pack(client.header(alg="nOnE"), payload_of(client), client.key.sign)


def attack_hmac_with_the_public_key(client):
    secret = client.key.pem()
    return pack(client.header(alg="HS256"), payload_of(client), lambda data: hmac.digest(secret, data, "sha256"))


def attack_hmac_with_the_jwk(client):
    secret = json.dumps(client.key.jwk).encode()
    return pack(client.header(alg="HS256"), payload_of(client), lambda data: hmac.new(secret, data, hashlib.sha256).digest())


def attack_stranger(client):
    return client.assertion(key=stranger(client))


def stranger(client):
    return Key(client.key.kid, "ES256", ec.generate_private_key(ec.SECP256R1()), alg="ES256")


def with_header(**header):
    def attack(client):
        key = stranger(client)
        members = {name: value(key) if callable(value) else value for name, value in header.items()}
        return client.assertion(header=members, key=key)

    return attack


def with_own_header(**header):
    return lambda client: client.assertion(header=header)


def with_payload(change):
    def attack(client):
        payload = change(payload_of(client))
        return pack(client.header(), payload, client.key.sign)

    return attack


def with_text(change):
    return lambda client: change(client.assertion())


ATTACKS = {
    "alg none": attack_none,
    "alg nOnE": attack_none_with_a_signature,
    "HS256 with the public key": attack_hmac_with_the_public_key,
    "HS256 with the JWK": attack_hmac_with_the_jwk,
    "another algorithm": with_own_header(alg="ES384"),
    "signed by a stranger": attack_stranger,
    "embedded jwk": with_header(jwk=lambda key: key.jwk),
    "jku": with_header(jku="https://127.0.0.1:1/jwks.json"),
    "x5u": with_header(x5u="https://127.0.0.1:1/cert.pem"),
    "x5c": with_header(x5c=["MIIB"]),
    "kid of a path": with_header(kid="../../../../dev/null"),
    "kid of SQL": with_header(kid="' OR 1=1 --"),
    "kid unknown": with_own_header(kid="nobody's"),
    "kid empty": with_own_header(kid=""),
    "kid a list": with_own_header(kid=["a"]),
    "kid long": with_own_header(kid="k" * 5000),
    "crit": with_own_header(crit=["exp"]),
    "b64 false": with_own_header(b64=False),
    "zip": with_own_header(zip="DEF"),
    "typ of an access token": with_own_header(typ="at+jwt"),
    "typ of a logout token": with_own_header(typ="logout+jwt"),
    "duplicate exp": with_payload(lambda text: text.replace("{", '{"exp": 1, ', 1)),
    "duplicate iss": with_payload(lambda text: text[:-1] + ', "iss": "acme/jwt-other"}'),
    "duplicate aud": with_payload(lambda text: text[:-1] + ', "aud": "https://other.example"}'),
    "huge number": with_payload(lambda text: text[:-1] + ', "x": 1' + "0" * 400 + "}"),
    "huge exponent": with_payload(lambda text: text[:-1] + ', "x": 1e999999}'),
    "deep nesting": with_payload(lambda text: text[:-1] + ', "x": ' + "[" * 2000 + "]" * 2000 + "}"),
    "a list for a payload": with_payload(lambda text: f"[{text}]"),
    "JWE": with_text(lambda text: ".".join([*text.split("."), "AAAA", "AAAA"])),
    "two parts": with_text(lambda text: text.rpartition(".")[0]),
    "no signature": with_text(lambda text: text.rpartition(".")[0] + "."),
    "padding": with_text(lambda text: text + "=="),
    "white space": with_text(lambda text: text + " "),
    "a line end within": with_text(lambda text: text.replace(".", ".\n", 1)),
    "JSON serialization": with_text(
        lambda text: json.dumps(dict(zip(("protected", "payload", "signature"), text.split("."), strict=True)))
    ),
    "cut": with_text(lambda text: text[:-3]),
    "garbage": with_text(lambda text: "x"),
    "long garbage": with_text(lambda text: "x" * 8000),
}


@pytest.mark.parametrize("name", list(ATTACKS))
def test_an_attack_on_assertions_is_refused(mint, clients, name):
    assert_refused(ask(mint, ATTACKS[name](clients.ci)))


def test_an_assertion_stands_for_its_own_client_alone(mint, clients):
    for fields in (
        {"client_id": "acme/jwt-other"},
        {"client_id": "jwt-other"},
        {"client_id": "ci-build"},
        {"client_id": "nobody"},
        {"tenant_id": "globex"},
        {"tenant_id": "globex", "client_id": "ci"},
        {"tenant_id": "nobody"},
        {"tenant_id": "x" * 100},
    ):
        assert_refused(ask(mint, clients.ci.assertion(), **fields))


def test_the_same_key_in_two_tenants_is_two_clients(mint, clients):
    assert issued(ask(mint, clients.globex.assertion(), tenant_id=None))["tenant_id"] == "globex"
    bare = Client("jwt-ci", clients.ci.key, ISSUER)
    assert issued(ask(mint, bare.assertion(), tenant_id="globex"))["sub"] == "globex/jwt-ci"
    assert_refused(ask(mint, clients.globex.assertion(), tenant_id="acme"))


def test_an_account_without_keys_takes_no_assertion(mint, clients):
    pretender = Client("acme/ci-build", clients.ci.key, ISSUER)
    assert_refused(ask(mint, pretender.assertion()))


def test_our_own_access_token_proves_nothing_to_us(mint, clients):
    token = ask(mint, clients.ci.assertion()).json["access_token"]
    assert_refused(ask(mint, token))
    assert_refused(ask(mint, token, "ci"))
    assert_refused(mint.ask_oauth(None, client_id="acme/jwt-ci", client_secret=token))


def test_an_assertion_is_no_secret(mint, clients):
    assertion = clients.ci.assertion()
    assert_refused(mint.ask_oauth(None, client_id="acme/jwt-ci", client_secret=assertion))
    assert issued(ask(mint, assertion))


@pytest.mark.parametrize("kind", [JWT_SPIFFE, JWT_BEARER.upper(), "urn:ietf:params:oauth:client-assertion-type:saml2-bearer", "x"])
def test_another_type_of_assertion_is_refused(mint, clients, kind):
    assert_oauth_error(ask(mint, clients.ci.assertion(), kind=kind), 401, "invalid_client")


def test_half_an_assertion_or_more_than_one_credential_is_no_request(mint, clients):
    assertion = clients.ci.assertion
    basic = {"Authorization": "Basic " + base64.b64encode(b"a:b").decode()}
    for headers, fields in [
        ({}, {"client_assertion": assertion()}),
        ({}, {"client_assertion_type": JWT_BEARER}),
        ({}, by_assertion(assertion(), client_secret="x")),
        (basic, by_assertion(assertion())),
        ({"Authorization": "Bearer x"}, by_assertion(assertion())),
        ({}, by_assertion([assertion(), assertion()])),
    ]:
        assert_oauth_error(mint.ask_oauth(None, headers, **fields), 400, "invalid_request")


def test_a_certificate_makes_up_for_nothing(mint, clients):
    """A JWT that is there is the credential: when it proves nothing, the certificate isn't asked."""
    assert_refused(ask(mint, clients.ci.assertion(aud="https://other.example"), "ci"))
    assert_refused(ask(mint, "x", "ci", client_id="acme/ci-build"))
    assert_problem(ask_v1(mint, "Bearer x", "ci"), 401, "credential_invalid")


def test_nothing_of_an_assertion_is_logged_or_recorded(mint, clients):
    assertion = clients.ci.assertion(jti="a-jti-to-look-for", x="a-claim-to-look-for")
    assert issued(ask(mint, assertion))
    assert_refused(ask(mint, assertion))
    assert_refused(ask(mint, clients.ci.assertion(jti="a-jti-to-look-for", sub="a-subject-to-look-for")))
    store = mint.store_file.read_bytes() + mint.log().encode()
    for part in [*assertion.split("."), "a-jti-to-look-for", "a-claim-to-look-for", "a-subject-to-look-for"]:
        assert part.encode() not in store


def test_keys_change_with_a_reload(deployment):
    old, new = make_key(), make_key()
    client = add_client(deployment, "jwt-ci", old)
    deployment.write()
    deployment.start()
    assert issued(ask(deployment, client.assertion()))
    deployment.write_file(deployment.folder / "acme-jwt-ci.jwks.json", key_set(new))
    deployment.reload()
    assert_refused(ask(deployment, client.assertion()))
    assert issued(ask(deployment, Client("acme/jwt-ci", new, ISSUER).assertion()))


def test_two_authorizations_are_no_request(mint, clients):
    body = json.dumps(token_request()).encode()
    fields = "".join(f"Authorization: Bearer {clients.ci.assertion()}\r\n" for _ in range(2))
    with mint.raw(None) as raw:
        raw.send(post_bytes(TOKENS, body, fields.encode()))
        assert_problem(raw.reply(), 400, "invalid_request")
