# SPDX-License-Identifier: Apache-2.0
"""Callers whom somebody else vouches for: CI platforms' identity tokens and JWT-SVIDs. Who gets a token for one, and what attackers get."""

import base64
import concurrent.futures
import contextlib
import hmac
import json
import select
import signal
import time
import urllib.parse

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

import ci_tokens
from assertions import JWT_SPIFFE, Client, by_assertion, make_key, pack
from foreign_jwts import Key
from oidc_issuer import Issuer
from service import AUDIENCE, IS_SANITIZED, ISSUER, REPOSITORY, Deployment, assert_oauth_error, assert_problem, form, grant, wait_until
from test_callers import resident_kib
from test_issuance import claims_of
from test_private_key_jwt import add_account, add_client, ask_v1
from wire import FORM, post_bytes

EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
JWT = "urn:ietf:params:oauth:token-type:jwt"
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"
SPIFFE_ID = "spiffe://acme.example/jobs/build"
GITHUB = {"repository_owner_id": "65", "repository_id": ["4711", "4712"], "ref": "refs/heads/*"}


def oidc(issuer, **members):
    return {"oidc": {"issuer": issuer.issuer, "claims": dict(GITHUB), **members}}


def bundle(key):
    return json.dumps({"keys": [{**key.jwk, "use": "jwt-svid"}], "spiffe_sequence": 1, "spiffe_refresh_hint": 300})


class Place:
    """acme trusts `platform`, `once` and two trust domains; globex trusts `theirs`."""

    def __init__(self, folder):
        self.mint = mint = Deployment(folder / "mint")
        self.platform = Issuer(folder / "platform")
        self.once = Issuer(None, authority=self.platform.authority)
        self.theirs = Issuer(None, authority=self.platform.authority)
        self.issuers = [self.platform, self.once, self.theirs]
        mint.config["fetch"] = {"hosts": [one.host for one in self.issuers], "ca": str(self.platform.ca_file)}
        mint.config["tenants"]["acme"]["issuers"] = [self.platform.issuer, self.once.issuer]
        mint.config["tenants"]["globex"]["issuers"] = [self.theirs.issuer]
        self.svids = {name: make_key("ES256") for name in ("acme.example", "other.example")}
        domains = {}
        for name, key in self.svids.items():
            mint.write_file(mint.folder / f"{name}.json", bundle(key))
            domains[name] = {"bundle_file": str(mint.folder / f"{name}.json")}
        mint.config["tenants"]["acme"]["trust_domains"] = domains
        add_account(mint, "widgets", oidc(self.platform))
        add_account(mint, "gadgets", oidc(self.platform, claims={**GITHUB, "repository_id": "9"}))
        add_account(mint, "stock", oidc(self.platform, claims={**GITHUB, "repository_id": "10"}, as_client_secret=True))
        add_account(mint, "elsewhere", oidc(self.platform, claims={**GITHUB, "repository_id": "11"}, audience="urn:mint"))
        add_account(mint, "single", oidc(self.once, single_use=True))
        add_account(mint, "tried", oidc(self.platform, claims={**GITHUB, "repository_id": "12"}, mode="audit"))
        add_account(mint, "bound", oidc(self.platform, claims={**GITHUB, "repository_id": "13"}), certificate_bound="required")
        add_account(mint, "workload", {"spiffe": {"trust_domain": "acme.example", "path": "/jobs/*"}})
        add_account(mint, "theirs", oidc(self.theirs), tenant="globex")
        mint.create().start()

    def token(self, issuer=None, audience=ISSUER, mint=None, **changes):
        return (issuer or self.platform).mint(ci_tokens.github(audience=audience, **changes), **(mint or {}))

    def svid(self, domain="acme.example", header=None, **changes):
        now = int(time.time())
        claims = {"sub": SPIFFE_ID, "aud": ISSUER, "exp": now + 300, "iat": now, **changes}
        kept = {name: value for name, value in claims.items() if value is not None}
        key = self.svids[domain]
        return pack({"alg": "ES256", "kid": key.kid, **(header or {})}, kept, key.sign)

    def close(self):
        self.mint.ensure_stopped()
        for issuer in self.issuers:
            issuer.close()


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    made = Place(tmp_path_factory.mktemp("place"))
    yield made
    made.close()


def ask(place, token, credential=None, headers=None, **fields):
    return place.mint.ask_oauth(credential, headers, **by_assertion(token, **fields))


def exchange(place, token, credential=None, **fields):
    changes = {"grant_type": EXCHANGE, "subject_token": token, "subject_token_type": JWT, **fields}
    return place.mint.ask_oauth(credential, **changes)


def issued(reply):
    assert reply.status == 200, reply
    return claims_of(reply.json["access_token"])


def assert_refused(reply):
    body = assert_oauth_error(reply, 401, "invalid_client")
    assert body["error_description"] == "The JWT doesn't stand for that client."


def basic(client_id, secret):
    return {"Authorization": "Basic " + base64.b64encode(f"{client_id}:{secret}".encode()).decode()}


# --- who gets a token


def test_a_platforms_token_stands_for_the_account_that_its_claims_match(place):
    for changes, account in [({}, "widgets"), ({"repository_id": "4712"}, "widgets"), ({"repository_id": "9"}, "gadgets")]:
        claims = issued(ask(place, place.token(**changes)))
        assert claims["sub"] == claims["client_id"] == f"acme/{account}"


@pytest.mark.parametrize("alg", ["RS256", "ES256", "PS256", "EdDSA"])
def test_the_issuers_keys_may_be_of_any_kind(place, alg):
    assert issued(ask(place, place.token(mint={"alg": alg})))["sub"] == "acme/widgets"


def test_it_may_come_as_assertion_bearer_token_or_subject_token(place):
    assert issued(ask(place, place.token()))["sub"] == "acme/widgets"
    assert issued(ask(place, place.token(), client_id="acme/widgets"))["sub"] == "acme/widgets"
    reply = ask_v1(place.mint, f"Bearer {place.token()}")
    assert (reply.status, reply.json["account"]) == (201, "acme/widgets")
    reply = exchange(place, place.token())
    assert issued(reply)["sub"] == "acme/widgets"
    assert reply.json["issued_token_type"] == ACCESS_TOKEN
    assert "act" not in issued(exchange(place, place.token(), client_id="widgets"))


def test_it_may_come_as_a_secret_for_accounts_that_allow_it(place):
    token = lambda: place.token(repository_id="10")
    assert issued(place.mint.ask_oauth(None, client_id="acme/stock", client_secret=token()))["sub"] == "acme/stock"
    for client_id in ("stock", "acme/stock", "acme%2Fstock"):
        assert issued(place.mint.ask_oauth(None, basic(client_id, token())))["sub"] == "acme/stock"
    assert issued(place.mint.ask_oauth(None, basic("acme/stock", token()), tenant_id=None))["sub"] == "acme/stock"
    assert issued(ask(place, token()))["sub"] == "acme/stock"


def test_an_issuer_of_one_tenant_alone_fixes_it_for_a_bare_account_id(place):
    for reply in (
        ask(place, place.token(), tenant_id=None, client_id="widgets"),
        exchange(place, place.token(), tenant_id=None, client_id="widgets"),
    ):
        assert issued(reply)["client_id"] == "acme/widgets"
    stock = place.mint.ask_oauth(None, tenant_id=None, client_id="stock", client_secret=place.token(repository_id="10"))
    assert issued(stock)["client_id"] == "acme/stock"
    assert issued(ask(place, place.token(place.theirs), tenant_id=None, client_id="theirs"))["client_id"] == "globex/theirs"
    assert issued(ask(place, place.svid(), tenant_id=None, client_id="workload"))["client_id"] == "acme/workload"
    for token, client_id in [
        (place.token(), "theirs"),
        (place.token(place.theirs), "widgets"),
        (place.token(), "nobody"),
        (forge(place, iss="https://evil.example"), "widgets"),
        (forge(place, key=stranger(place)), "widgets"),
    ]:
        assert_refused(ask(place, token, tenant_id=None, client_id=client_id))


def test_the_ledger_says_who_vouched_and_for_whom(place):
    token = place.token()
    claims = issued(ask(place, token))
    before, entry = place.mint.ledger()[-2:]
    assert before["type"] != "assertion.used", "it counts as often as it is valid"
    assert (entry["jti"], entry["credential"]) == (claims["jti"], "oidc")
    assert entry["federated"] == {"iss": place.platform.issuer, "sub": claims_of(token)["sub"]}
    assert "certificate_sha256" not in entry


def test_a_token_counts_as_often_as_it_is_valid_unless_its_rule_says_otherwise(place):
    token = place.token()
    for _ in range(3):
        assert issued(ask(place, token))["sub"] == "acme/widgets"


def test_a_rule_may_want_another_audience(place):
    assert issued(ask(place, place.token(audience="urn:mint", repository_id="11")))["sub"] == "acme/elsewhere"
    assert_refused(ask(place, place.token(repository_id="11")))
    assert_refused(ask(place, place.token(audience="urn:mint")))


def test_a_token_that_must_be_bound_needs_a_certificate_beside_it(place):
    token = place.token(repository_id="13")
    assert_oauth_error(ask(place, token), 401, "invalid_client")
    assert_problem(ask_v1(place.mint, f"Bearer {token}"), 401, "certificate_required")
    claims = issued(ask(place, token, "ci"))
    assert (claims["sub"], set(claims["cnf"])) == ("acme/bound", {"x5t#S256"})


def test_a_jwt_svid_stands_for_the_account_of_its_path(place):
    for svid, kind in [(place.svid(), {}), (place.svid(), {"kind": JWT_SPIFFE}), (place.svid(header={"typ": "JOSE"}), {})]:
        claims = issued(ask(place, svid, **kind))
        assert claims["sub"] == "acme/workload"
    (entry,) = [e for e in place.mint.ledger() if e.get("jti") == claims["jti"]]
    assert (entry["credential"], entry["federated"]) == ("jwt_svid", {"iss": "acme.example", "sub": SPIFFE_ID})
    assert issued(exchange(place, place.svid()))["sub"] == "acme/workload"
    # With an issuer it is one only if it is said to be.
    with_issuer = place.svid(iss="https://spire.acme.example")
    assert_refused(ask(place, with_issuer))
    assert issued(ask(place, with_issuer, kind=JWT_SPIFFE))["sub"] == "acme/workload"


def test_discovery_names_what_the_accounts_rules_switch_on(place):
    with place.mint.client(None) as client:
        metadata = client.get("/.well-known/oauth-authorization-server").json
    methods = ["tls_client_auth", "client_secret_basic", "client_secret_post"]
    assert metadata["token_endpoint_auth_methods_supported"] == methods
    assert metadata["introspection_endpoint_auth_methods_supported"] == methods
    assert "token_endpoint_auth_signing_alg_values_supported" not in metadata
    assert metadata["grant_types_supported"] == ["client_credentials", EXCHANGE]


# --- once


def test_a_token_that_counts_once_is_refused_the_second_time_however_it_comes(place):
    for first, second in [(ask, exchange), (exchange, ask), (ask, ask)]:
        token = place.token(place.once)
        assert issued(first(place, token))["sub"] == "acme/single"
        assert_refused(second(place, token))


def test_one_of_many_that_bring_it_at_once_gets_a_token(place):
    token = place.token(place.once)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda _: ask(place, token), range(8)))
    assert sorted(reply.status for reply in replies) == [200] + [401] * 7


def test_a_token_that_counts_once_needs_a_jti_and_a_short_life(place):
    assert_refused(ask(place, place.token(place.once, jti=None)))
    assert_refused(ask(place, place.token(place.once, mint={"exp": int(time.time()) + 86400})))


def test_a_token_that_counts_once_stays_used_across_a_kill(tmp_path):
    place = Place(tmp_path)
    try:
        token, in_vain = place.token(place.once), place.token(place.once)
        assert issued(ask(place, token))
        assert_oauth_error(ask(place, in_vain, scope="write:repo"), 400, "invalid_scope")
        place.mint.kill()
        place.mint.start()
        assert_refused(ask(place, token))
        assert_refused(ask(place, in_vain))
        assert issued(ask(place, place.token(place.once)))
    finally:
        place.close()


# --- audit


def test_a_rule_in_audit_mode_grants_nothing_and_is_logged(place):
    token = place.token(repository_id="12")
    assert_refused(ask(place, token))
    event = wait_until(lambda: place.mint.events("federation_audit"))[-1]
    assert (event["account"], event["decision"], event["issuer"]) == ("acme/tried", "would_match", place.platform.issuer)
    assert int(event["rule_line"]) > 0 and "reason" not in event
    assert not any(part in place.mint.log() for part in token.split("."))


def test_a_rule_in_audit_mode_says_what_it_would_refuse_and_why(place):
    """Of tokens with its most telling claim, or that come for its account; in the rule's own words."""
    for claims, fields, reason in (
        ({"repository_id": "12", "repository_owner_id": "666666"}, {}, f"repository_owner_id isn't {GITHUB['repository_owner_id']}"),
        ({"repository_id": "666666"}, {"client_id": "tried"}, "repository_id isn't 12"),
        ({"repository_id": "12", "audience": "urn:mint"}, {}, f"aud isn't {ISSUER}"),
    ):
        before = len(place.mint.events("federation_audit"))
        assert_refused(ask(place, place.token(**claims), **fields))
        (event,) = wait_until(lambda: place.mint.events("federation_audit")[before:])
        assert (event["account"], event["decision"], event["reason"]) == ("acme/tried", "would_refuse", reason)
        assert not any("666666" in str(value) for name, value in event.items() if name not in ("request_id", "time"))
    before = len(place.mint.events("federation_audit"))
    assert_refused(ask(place, place.token(repository_id="666666")))
    forged = place.token(repository_id="12", ref="refs/tags/1").rpartition(".")[0] + "." + place.token().rpartition(".")[2]
    assert_refused(ask(place, forged))
    assert len(place.mint.events("federation_audit")) == before


def test_rules_in_audit_mode_fill_no_log(tmp_path):
    """Whoever has an account at a shared issuer can bring tokens that a rule is tried on."""
    place = Place(tmp_path)
    try:
        nearly = {**GITHUB, "repository_id": "4711", "ref": "refs/tags/*"}
        add_account(place.mint, "nearly", oidc(place.platform, claims=nearly, mode="audit"))
        place.mint.write()
        place.mint.reload()
        token = place.token()
        body = form(**by_assertion(token))
        with place.mint.client(None) as client:
            for _ in range(400):
                assert client.request("POST", "/oauth2/token", body, {"Content-Type": FORM}).status == 200
        events = place.mint.events("federation_audit")
        assert {event["decision"] for event in events} == {"would_refuse"}
        assert 300 <= len(events) < 330
    finally:
        place.close()


# --- attacks


def github_claims(**changes):
    now = int(time.time())
    return {**ci_tokens.github(audience=ISSUER), "iat": now, "exp": now + 300, **changes}


def forge(place, sign=None, header=None, key=None, payload=None, **changes):
    key = key or place.platform.key("ES256")
    head = {"alg": key.alg, "kid": key.kid, "typ": "JWT", **(header or {})}
    claims = {"iss": place.platform.issuer, **github_claims(**changes)}
    kept = {name: value for name, value in claims.items() if value is not None}
    return pack(head, payload(json.dumps(kept)) if payload else kept, sign or key.sign)


def stranger(place):
    return Key(place.platform.key("ES256").kid, "ES256", ec.generate_private_key(ec.SECP256R1()), alg="ES256")


ATTACKS = {
    "alg none": lambda place: forge(place, lambda data: b"", {"alg": "none"}),
    "HS256 with the public key": lambda place: forge(
        place, lambda data: hmac.digest(place.platform.key("RS256").pem(), data, "sha256"), {"alg": "HS256"}
    ),
    "signed by a stranger": lambda place: forge(place, key=stranger(place)),
    "embedded jwk": lambda place: forge(place, key=stranger(place), header={"jwk": stranger(place).jwk}),
    "jku": lambda place: forge(place, key=stranger(place), header={"jku": place.theirs.jwks_uri}),
    "x5u": lambda place: forge(place, key=stranger(place), header={"x5u": place.theirs.jwks_uri}),
    "kid of a path": lambda place: forge(place, header={"kid": "../" + place.platform.key("ES256").kid}),
    "kid of another key": lambda place: forge(place, header={"kid": place.platform.key("EdDSA").kid}),
    "wrong aud": lambda place: forge(place, aud="https://other.example"),
    "ID token for another client": lambda place: forge(place, aud="lore-cli", nonce="n", azp="lore-cli"),
    "aud of several": lambda place: forge(place, aud=[ISSUER, "https://other.example"]),
    "aud with a slash": lambda place: forge(place, aud=ISSUER + "/"),
    "aud look-alike": lambda place: forge(place, aud=ISSUER.replace("a", "\u0430", 1)),
    "no aud": lambda place: forge(place, aud=None),
    "expired": lambda place: forge(place, exp=int(time.time()) - 120),
    "from the future": lambda place: forge(place, iat=int(time.time()) + 120),
    "no exp": lambda place: forge(place, exp=None),
    "exp huge": lambda place: forge(place, exp=10**30),
    "access token": lambda place: forge(place, header={"typ": "at+jwt"}),
    "logout token": lambda place: forge(place, header={"typ": "logout+jwt"}),
    "duplicate claim": lambda place: forge(place, payload=lambda text: text[:-1] + ', "repository_id": "9"}'),
    "huge number": lambda place: forge(place, payload=lambda text: text[:-1] + ', "x": 1' + "0" * 500 + "}"),
    "deep nesting": lambda place: forge(place, payload=lambda text: text[:-1] + ', "x": ' + "[" * 1500 + "]" * 1500 + "}"),
    "JWE": lambda place: forge(place) + ".AAAA.AAAA",
    "claims of nobody": lambda place: forge(place, repository_id="666"),
    "a claim in a list": lambda place: forge(place, ref=["refs/heads/main", "refs/heads/evil"]),
    "a claim look-alike": lambda place: forge(place, ref="refs/he\u0430ds/main"),
    "a ref beyond the pattern": lambda place: forge(place, ref="refs/heads/a/b"),
    "iss with a slash": lambda place: forge(place, iss=place.platform.issuer + "/"),
    "iss over http": lambda place: forge(place, iss=place.platform.issuer.replace("https", "http")),
    "iss look-alike": lambda place: forge(place, iss=place.platform.issuer.replace("o", "\u043e", 1)),
    "iss ourselves": lambda place: forge(place, iss=ISSUER),
    "iss a client of ours": lambda place: forge(place, iss="acme/widgets", sub="acme/widgets"),
    "another issuer's token with this iss": lambda place: forge(place, key=place.once.key("ES256")),
    "another tenant's issuer": lambda place: place.token(place.theirs),
    "nobody's issuer": lambda place: forge(place, iss="https://evil.example"),
}


@pytest.mark.parametrize("name", list(ATTACKS))
def test_an_attack_with_a_platforms_token_is_refused(place, name):
    assert_refused(ask(place, ATTACKS[name](place)))


def test_a_token_stands_for_its_own_account_alone(place):
    for fields in ({"client_id": "acme/gadgets"}, {"client_id": "ci-build"}, {"client_id": "nobody"}, {"tenant_id": "globex"}):
        assert_refused(ask(place, place.token(), **fields))
        assert_refused(exchange(place, place.token(), **fields))


def test_no_other_account_takes_it_as_a_secret(place):
    for client_id, repository in [("acme/widgets", "4711"), ("acme/stock", "4711"), ("acme/widgets", "10"), ("nobody", "10")]:
        token = place.token(repository_id=repository)
        assert_refused(place.mint.ask_oauth(None, client_id=client_id, client_secret=token))
        reply = place.mint.ask_oauth(None, basic(client_id, token))
        assert_refused(reply)
        assert reply.headers["www-authenticate"] == 'Basic realm="mintmark", charset="UTF-8"'
    assert_refused(place.mint.ask_oauth(None, client_id="acme/stock", client_secret="hunter2"))


def test_a_subject_token_beside_another_credential_is_no_request(place):
    assert_oauth_error(exchange(place, place.token(), **by_assertion(place.token())), 400, "invalid_request")
    assert_oauth_error(exchange(place, place.token(), client_secret=place.token()), 400, "invalid_request")
    assert_oauth_error(exchange(place, place.token(), actor_token=place.token()), 400, "invalid_request")


def test_a_clients_own_assertion_is_no_subject_token(place):
    assert_refused(exchange(place, Client("acme/widgets", make_key(), ISSUER).assertion()))


def test_our_own_access_token_is_no_subject_of_a_workload(place):
    token = ask(place, place.token()).json["access_token"]
    assert_refused(exchange(place, token))
    assert_refused(ask(place, token))


@pytest.mark.parametrize(
    "changes",
    [
        {"domain": "other.example"},  # its keys, acme.example's subject
        {"domain": "other.example", "sub": "spiffe://other.example/jobs/build"},  # no account's
        {"sub": "spiffe://acme.example/jobs"},
        {"sub": "spiffe://acme.example/jobs/build/deep"},
        {"sub": "spiffe://acme.example/jobs/"},
        {"sub": "spiffe://acme.example/jobs/../jobs/build"},
        {"sub": "spiffe://ACME.EXAMPLE/jobs/build"},
        {"sub": "spiffe://acme.example.evil.example/jobs/build"},
        {"sub": "spiffe://nobody.example/jobs/build"},
        {"sub": "spiffe://acme.ex\u0430mple/jobs/build"},
        {"sub": "spiffe:///jobs/build"},
        {"sub": "spiffe://"},
        {"sub": "acme/workload"},
        {"sub": None},
        {"aud": "https://other.example"},
        {"aud": [ISSUER, "https://other.example"]},
        {"exp": None},
        {"exp": 1},
    ],
    ids=str,
)
def test_an_attack_with_a_jwt_svid_is_refused(place, changes):
    assert_refused(ask(place, place.svid(**changes)))
    assert_refused(ask(place, place.svid(**changes), kind=JWT_SPIFFE))


# --- keys that have to be fetched


@pytest.fixture
def narrow(tmp_path):
    """narrow(mode): a mint whose only platform behaves like that from the start; another tenant has certificates."""
    places = []

    def make(*mode):
        made = Place.__new__(Place)
        made.mint = mint = Deployment(tmp_path / "mint")
        made.platform = Issuer(tmp_path / "platform")
        made.issuers = [made.platform]
        made.platform.mode = mode
        mint.config["fetch"] = {"hosts": [made.platform.host], "ca": str(made.platform.ca_file)}
        mint.config["tenants"]["acme"]["issuers"] = [made.platform.issuer]
        mint.config["limits"] = {"issue_timeout": "2s", "drain_timeout": "2s"}
        add_account(mint, "widgets", oidc(made.platform))
        made.signer = add_client(mint, "signer", make_key())
        subject = {"issuer": made.platform.issuer, "claims": {"groups": ["developers"]}}
        rule = {"subject": subject, **grant(["read:repo"], ["urc-*"], "5m", "10m")}
        mint.tenants["acme"]["resource_template"] = {"uri": "https://lore.acme.example/{id}", "resource": "urc-{id}"}
        mint.tenants["acme"]["exchange"] = {"subject_audiences": [AUDIENCE], "rules": [rule]}
        mint.create().start()
        places.append(made)
        return made

    yield make
    for made in places:
        made.close()


def test_requests_wait_for_keys_together_and_hold_nobody_up(narrow):
    place = narrow("slow", {"seconds": 0.5})
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        waiting = [pool.submit(ask, place, place.token()) for _ in range(4)]
        waiting += [pool.submit(exchange, place, place.token()) for _ in range(2)]
        waiting += [pool.submit(ask_v1, place.mint, f"Bearer {place.token()}") for _ in range(2)]
        with place.mint.client(None) as probe:
            while not all(one.done() for one in waiting):
                asked = time.monotonic()
                assert probe.get("/healthz").status == 200
                assert time.monotonic() - asked < 0.4
                time.sleep(0.02)
        assert sorted(one.result().status for one in waiting) == [200] * 6 + [201] * 2
    assert place.platform.n_requests() == 1


def test_an_assertion_is_used_once_by_a_request_that_waits_for_other_keys(narrow):
    """Its client is known before the keys of the subject token are: when they are there, it isn't asked for proof again."""
    place = narrow("slow", {"seconds": 0.5})
    user = {"sub": "ada", "aud": AUDIENCE, "groups": ["developers"], "jti": "1"}
    assertion = place.signer.assertion()
    fields = {"grant_type": EXCHANGE, "subject_token_type": ACCESS_TOKEN, "scope": f"read:repo partition:{REPOSITORY.removeprefix('urc-')}"}
    fields["subject_token"] = place.platform.mint(user, header={"typ": "at+jwt"}, client_id="lore")
    reply = place.mint.ask_oauth(None, **by_assertion(assertion, **fields))
    claims = issued(reply)
    assert (claims["sub"], claims["client_id"]) == (f"{place.platform.issuer}#ada", "acme/signer")
    assert_refused(place.mint.ask_oauth(None, **by_assertion(assertion, **fields)))
    (entry,) = [e for e in place.mint.ledger() if e.get("jti") == claims["jti"]]
    assert entry["credential"] == "private_key_jwt"
    (use,) = place.mint.ledger("--type", "assertion.used")
    assert (use["account"], use["sequence"]) == ("acme/signer", entry["sequence"] - 1)


@pytest.mark.skipif(IS_SANITIZED, reason="memory tells of the sanitizer")
def test_strangers_who_wait_take_no_more_memory_than_they_sent(narrow):
    """14 KB of a JWT, taken apart, would be 600 KiB, for each of hundreds who may wait."""
    place = narrow("silent", {})
    claims = {"iss": place.platform.issuer, "aud": ISSUER, "exp": int(time.time()) + 300, "x": [{}] * 3500}
    jwt = pack({"alg": "ES256", "kid": "x"}, json.dumps(claims, separators=(",", ":")), lambda _: b"x" * 64)
    fields = by_assertion(jwt, tenant_id="acme", grant_type="client_credentials", scope="read:repo")
    body = urllib.parse.urlencode(fields).encode()
    with contextlib.ExitStack() as stack:
        strangers = [stack.enter_context(place.mint.raw(None)) for _ in range(40)]
        before = most = resident_kib(place.mint)
        for stranger in strangers:
            stranger.send(post_bytes("/oauth2/token", body, content_type=FORM))
        while not select.select([strangers[-1].socket], [], [], 0.05)[0]:
            most = max(most, resident_kib(place.mint))
        assert strangers[-1].reply().status == 503
    assert most - before < 40 * 100


def test_a_request_waits_for_a_silent_issuer_no_longer_than_for_a_token(narrow):
    place = narrow("silent", {})
    start = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(ask, place, place.token()) for _ in range(4)]
        by_certificate = [place.mint.ask("globex_ci", tenant_id="globex").status for _ in range(5)]
        assert time.monotonic() - start < 1.5 and by_certificate == [201] * 5
        for one in waiting:
            reply = one.result()
            assert_oauth_error(reply, 503, "temporarily_unavailable")
            assert int(reply.headers["retry-after"]) > 0
    assert time.monotonic() - start < 4


def test_a_drain_outlasts_a_wait_for_keys(narrow):
    place = narrow("silent", {})
    with place.mint.raw(None) as waiting:
        body = urllib.parse.urlencode({**by_assertion(place.token()), "grant_type": "client_credentials", "tenant_id": "acme"})
        waiting.send(post_bytes("/oauth2/token", body.encode(), content_type=FORM))
        time.sleep(0.3)
        start = time.monotonic()
        place.mint.signal(signal.SIGTERM)
        assert waiting.reply().status == 503
        assert place.mint.process.wait(10) == 0
        assert time.monotonic() - start < 5
