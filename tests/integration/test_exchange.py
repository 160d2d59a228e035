# SPDX-License-Identifier: Apache-2.0
"""POST /oauth2/token by token exchange (RFC 8693): a token of our own, or a user's from an OIDC provider, for one of a single partition."""

import concurrent.futures
import hmac
import json
import time

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

import lore
import oidc_issuer
from assertions import pack
from foreign_jwts import Key
from oidc_issuer import Issuer
from openapi import Description
from service import (
    AUDIENCE,
    CACHE_AUDIENCE,
    ISSUER,
    OAUTH_TOKENS,
    OTHER_REPOSITORY,
    REPOSITORY,
    Deployment,
    assert_oauth_error,
    grant,
    wait_until,
)
from test_issuance import claims_of

GRANT_TYPE = "urn:ietf:params:oauth:grant-type:token-exchange"
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"
PARTITIONS = "https://lore.acme.example/partitions/"
PARTITION = PARTITIONS + REPOSITORY.removeprefix("urc-")
UNSEEN = "urc-" + "7" * 32


DESCRIPTION = Description()


def rule(subject, scopes, resources, default="5m", most="10m", **members):
    return {"subject": subject, **members, **grant(scopes, resources, default, most)}


@pytest.fixture(scope="module")
def mint(tmp_path_factory):
    made = Deployment(tmp_path_factory.mktemp("mint"))
    made.other = made.ca.issue("other", dns=["other.acme.example"])
    made.bound = made.ca.issue("bound", dns=["bound.acme.example"])
    read = ["read:repo", "read:blob"]
    made.tenants["acme"]["accounts"] += [
        {"id": name, "name": name, "authenticate": [{"mtls": {"san_dns": f"{name}.acme.example"}}], "grants": [grant(read, ["urc-*"])]}
        for name in ("other", "bound")
    ]
    made.account("bound")["certificate_bound"] = "required"
    made.tenants["acme"]["resource_template"] = {"uri": PARTITIONS + "{id}", "resource": "urc-{id}"}
    made.tenants["acme"]["root_domains"] = ["lore.acme.example"]
    made.tenants["acme"]["exchange"] = {
        "subject_audiences": [AUDIENCE],
        "public_clients": ["lore-cli"],
        "rules": [
            rule({"accounts": ["ci-build", "mirror", "bound"]}, read, ["urc-*"]),
        ],
    }
    made.tenants["globex"]["exchange"] = {
        "subject_audiences": ["lore.globex.example"],
        "public_clients": ["lore-cli"],
        "rules": [rule({"accounts": ["ci"]}, ["read:repo"], ["urc-*"])],
    }
    with Issuer(tmp_path_factory.mktemp("idp"), path="/realms/acme") as idp, Issuer(None, authority=idp.authority) as away:
        made.idp, made.away = idp, away
        away.mode = ("slow", {"seconds": 0.5})
        made.config["fetch"] = {"hosts": [idp.host, away.host], "ca": str(idp.ca_file)}
        made.config["tenants"]["acme"]["issuers"] = [idp.issuer, away.issuer]
        made.tenants["acme"]["exchange"]["rules"] += [
            rule({"issuer": idp.issuer, "claims": {"groups": ["developers"]}}, ["read:repo"], ["urc-*"], clients=["lore-cli", "other"]),
            rule({"issuer": idp.issuer, "claims": {"groups": ["auditors"]}}, ["read:blob"], [REPOSITORY]),
            rule({"issuer": away.issuer, "claims": {"groups": ["developers"]}}, ["read:repo"], ["urc-*"]),
        ]
        made.create().start()
        yield made
        made.ensure_stopped()


def own(mint, credential="ci", **changes):
    """An access token of the account that the credential stands for."""
    fields = {"scope": "read:repo read:blob", "ttl_seconds": "600", "audience": AUDIENCE, **changes}
    reply = mint.ask_oauth(credential, **fields)
    assert reply.status == 200, reply
    return reply.json["access_token"]


def test_who_comes_before_the_issuers_keys_are_there_waits_for_them(mint):
    """First of all tests: the other issuer is slow. Nobody else waits meanwhile."""
    with concurrent.futures.ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(exchange, mint, mint.away.mint(groups=["developers"], typ="Bearer", aud=AUDIENCE, sub="bob"))
        own(mint)
        assert waiting.result(20).status == 200


def exchange(mint, subject_token, credential=None, **changes):
    """Exchange it as the public client, or as who the credential stands for."""
    fields = {
        "grant_type": GRANT_TYPE,
        "client_id": "acme/lore-cli" if credential is None else None,
        "subject_token": subject_token,
        "subject_token_type": ACCESS_TOKEN,
        "resource": PARTITION,
        "scope": None,
    }
    reply = mint.ask_oauth(credential, **{**fields, **changes})
    DESCRIPTION.check("POST", OAUTH_TOKENS, reply)
    return reply


def exchanged(reply):
    """The claims of the token that the reply must hold."""
    assert reply.status == 200, reply
    return claims_of(reply.json["access_token"])


# --- what comes of it


def test_a_token_is_narrowed_to_a_partition_that_nobody_has_heard_of(mint):
    mirror = mint.ca.issue("mirror-x", dns=["mirror.acme.example"])
    subject = own(mint, mirror)
    assert claims_of(subject)["resources"] == [{"resource_id": "urc-*", "permission": ["read"]}]
    reply = exchange(mint, subject, resource=PARTITIONS + "7" * 32)
    claims = exchanged(reply)
    assert claims["resources"] == [{"resource_id": UNSEEN, "permission": ["read"]}]
    assert reply.json["resources"] == claims["resources"]
    assert reply.json["issued_token_type"] == ACCESS_TOKEN
    assert (reply.json["token_type"], reply.json["scope"]) == ("Bearer", "read:repo read:blob")
    assert (reply.headers["cache-control"], reply.headers["pragma"]) == ("no-store", "no-cache")
    assert (claims["sub"], claims["client_id"], claims["idp"]) == ("acme/mirror", "acme/lore-cli", "mintmark")
    assert claims["root_domains"] == ["lore.acme.example"]
    assert claims["is_service_account"] is False
    assert "act" not in claims


def test_the_newline_of_a_file_is_no_part_of_a_subject_token(mint):
    exchanged(exchange(mint, own(mint) + "\n"))


def test_a_scope_names_the_partition_as_well(mint):
    reply = exchange(mint, own(mint), resource=None, scope=f"partition:{REPOSITORY[4:]} read:blob")
    claims = exchanged(reply)
    assert claims["resources"] == [{"resource_id": REPOSITORY, "permission": ["read"]}]
    assert reply.json["scope"] == claims["scope"] == "read:blob"


def test_an_authenticated_client_acts_for_the_subject(mint):
    claims = exchanged(exchange(mint, own(mint), mint.other))
    assert (claims["sub"], claims["client_id"]) == ("acme/ci-build", "acme/other")
    assert claims["act"] == {"sub": "acme/other"}


def test_who_acted_before_is_told_within(mint):
    first = exchange(mint, own(mint), mint.other)
    again = exchanged(exchange(mint, first.json["access_token"], "ci"))
    assert again["act"] == {"sub": "acme/ci-build", "act": {"sub": "acme/other"}}
    third = exchanged(exchange(mint, first.json["access_token"]))
    assert (third["act"], third["client_id"]) == ({"sub": "acme/other"}, "acme/lore-cli")


def test_it_never_outlives_its_subject(mint):
    subject = own(mint, ttl_seconds="30")
    assert exchanged(exchange(mint, subject, ttl_seconds="600"))["exp"] == claims_of(subject)["exp"]


def test_the_ledger_names_whose_token_it_was_and_who_exchanged_it(mint):
    subject = own(mint)
    claims = exchanged(exchange(mint, subject))
    (entry,) = [e for e in mint.ledger() if e.get("jti") == claims["jti"]]
    assert (entry["type"], entry["account"], entry["client"]) == ("token.issued", "acme/ci-build", "acme/lore-cli")
    assert (entry["credential"], entry["rule"]["exchange"]) == ("none", 0)
    assert entry["subject"]["sub"] == "acme/ci-build"
    assert len(entry["subject"]["jti_sha256"]) == 64
    assert subject not in str(entry) and claims_of(subject)["jti"] not in str(entry)


# --- nothing is gained


def test_a_right_that_the_subject_lacks_is_not_given(mint):
    subject = own(mint, scope="read:repo")
    assert_oauth_error(exchange(mint, subject, scope="read:blob"), 400, "invalid_scope")
    assert_oauth_error(exchange(mint, subject, scope="read:repo write:repo"), 400, "invalid_scope")
    assert_oauth_error(exchange(mint, subject, resource=PARTITIONS + "7" * 32), 400, "invalid_target")
    assert exchanged(exchange(mint, subject))["scope"] == "read:repo"


def test_a_server_that_is_shown_a_token_makes_none_for_another_of_it(mint):
    """Whoever it is meant for could ask as the public client, too."""
    assert exchanged(exchange(mint, own(mint)))["aud"] == AUDIENCE
    assert_oauth_error(exchange(mint, own(mint), audience=CACHE_AUDIENCE), 400, "invalid_target")
    everywhere = own(mint, audience=None)
    assert exchanged(exchange(mint, everywhere))["aud"] == [AUDIENCE, CACHE_AUDIENCE]
    assert exchanged(exchange(mint, everywhere, audience=CACHE_AUDIENCE))["aud"] == CACHE_AUDIENCE


def test_the_subjects_own_rights_never_come_by_a_client(mint):
    """`other` may read everything, `ci-build` one repository: the token is ci-build's."""
    assert_oauth_error(exchange(mint, own(mint), mint.other, resource=PARTITIONS + "7" * 32), 400, "invalid_target")


def test_a_subject_that_no_rule_takes_is_refused(mint):
    assert_oauth_error(exchange(mint, own(mint, mint.other)), 400, "invalid_request")


def test_a_longer_life_than_the_rules_is_refused(mint):
    assert_oauth_error(exchange(mint, own(mint), ttl_seconds="601"), 400, "invalid_request")


# --- attacks


def test_a_token_for_another_audience_is_no_subject(mint):
    """The confused deputy: what was meant for the cache can't be made into something for Lore."""
    assert_oauth_error(exchange(mint, own(mint, audience=CACHE_AUDIENCE)), 400, "invalid_request")


def test_another_tenants_token_is_no_subject(mint):
    reply = mint.ask_oauth(mint.globex_ci, tenant_id="globex", scope="read:repo")
    assert reply.status == 200
    theirs = reply.json["access_token"]
    assert_oauth_error(exchange(mint, theirs), 400, "invalid_request")
    assert exchange(mint, theirs, tenant_id="globex", client_id="globex/lore-cli").status == 400  # it has no template
    assert_oauth_error(exchange(mint, own(mint), tenant_id="globex", client_id="globex/lore-cli"), 400, "invalid_request")


def test_a_subject_that_was_altered_is_refused(mint):
    head, payload, signature = own(mint).split(".")
    turned = ("A" if signature[0] != "A" else "B") + signature[1:]
    for text in (f"{head}.{payload}.{turned}", f"{head}.{payload}.", f"{head}.{payload}", "x", f"{head}.{payload}.{signature}.x"):
        assert_oauth_error(exchange(mint, text), 400, "invalid_request")


@pytest.mark.parametrize(
    "resource",
    [
        PARTITIONS,
        PARTITION + "/",
        PARTITION + "?x",
        PARTITION.replace("https", "http"),
        PARTITION.replace("lore.", "LORE."),
        PARTITIONS + "%30" + PARTITION[len(PARTITIONS) + 1 :],
        PARTITIONS + "%2e%2e",
        PARTITIONS + "..",
        PARTITIONS + "*",
        PARTITIONS + "0194\u0430",
        PARTITIONS + "a/b",
        "https://evil.example/partitions/" + REPOSITORY[4:],
        REPOSITORY,
        AUDIENCE,
    ],
)
def test_a_resource_outside_the_template_is_refused(mint, resource):
    assert_oauth_error(exchange(mint, own(mint), resource=resource), 400, "invalid_target")


def test_an_id_in_another_case_is_another_partition(mint):
    assert_oauth_error(exchange(mint, own(mint), resource=PARTITION.upper().replace("HTTPS://LORE.ACME.EXAMPLE/PARTITIONS/", PARTITIONS)), 400, "invalid_target")


@pytest.mark.parametrize("id", ["", "*", "..", "a/b", "%2e", "\u0430bc", "{id}"])
def test_a_partition_that_the_template_cannot_have_is_refused(mint, id):
    reply = exchange(mint, own(mint), resource=None, scope=f"partition:{id}")
    assert reply.status == 400 and reply.json["error"] in ("invalid_target", "invalid_scope")


def test_one_partition_is_named_in_one_way(mint):
    subject = own(mint)
    other = PARTITIONS + OTHER_REPOSITORY[4:]
    scope = f"partition:{REPOSITORY[4:]}"
    assert_oauth_error(exchange(mint, subject, resource=None), 400, "invalid_target")
    assert_oauth_error(exchange(mint, subject, resource=[PARTITION, other]), 400, "invalid_target")
    assert_oauth_error(exchange(mint, subject, resource=[PARTITION, PARTITION]), 400, "invalid_target")
    assert_oauth_error(exchange(mint, subject, scope=scope), 400, "invalid_target")
    assert_oauth_error(exchange(mint, subject, resource=None, scope=scope + f" partition:{OTHER_REPOSITORY[4:]}"), 400, "invalid_target")


@pytest.mark.parametrize(
    "changes",
    [
        {"subject_token": None},
        {"subject_token_type": None},
        {"subject_token_type": "urn:ietf:params:oauth:token-type:id_token"},
        {"subject_token_type": "urn:ietf:params:oauth:token-type:refresh_token"},
        {"subject_token_type": "urn:ietf:params:oauth:token-type:saml2"},
        {"subject_token_type": "urn:lore:params:oauth:token-type:api-key"},
        {"subject_token_type": "access_token"},
        {"actor_token": "x"},
        {"actor_token_type": ACCESS_TOKEN},
        {"requested_token_type": "urn:ietf:params:oauth:token-type:refresh_token"},
        {"requested_token_type": "urn:ietf:params:oauth:token-type:id_token"},
        {"subject_token_type": [ACCESS_TOKEN, ACCESS_TOKEN]},
    ],
    ids=str,
)
def test_what_is_not_supported_is_an_invalid_request(mint, changes):
    assert_oauth_error(exchange(mint, **{"subject_token": own(mint), **changes}), 400, "invalid_request")


def test_the_type_that_is_issued_may_be_asked_for(mint):
    assert exchange(mint, own(mint), requested_token_type=ACCESS_TOKEN).status == 200


# --- who asks


def test_a_client_that_is_not_public_must_authenticate(mint):
    subject = own(mint)
    for client_id in ("acme/ci-build", "acme/nobody", "globex/lore-cl", None):
        assert_oauth_error(exchange(mint, subject, client_id=client_id), 401, "invalid_client")
    assert exchange(mint, subject, client_id="lore-cli").status == 200


def test_a_public_client_has_nothing_but_the_exchange(mint):
    assert_oauth_error(mint.ask_oauth(None, client_id="acme/lore-cli"), 401, "invalid_client")


def test_a_public_client_gains_nothing_by_a_certificate(mint):
    """It has no secret to prove: who holds `other`'s certificate is still lore-cli, and acts for nobody."""
    claims = exchanged(exchange(mint, own(mint), mint.other, client_id="acme/lore-cli"))
    assert claims["client_id"] == "acme/lore-cli"
    assert "act" not in claims and "cnf" not in claims


def test_a_public_client_with_a_secret_is_refused(mint):
    subject = own(mint)
    assert_oauth_error(exchange(mint, subject, client_secret="x"), 401, "invalid_client")
    headers = {"Authorization": "Basic bG9yZS1jbGk6eA=="}
    assert_oauth_error(exchange(mint, subject, headers=headers), 401, "invalid_client")


# --- tokens that are bound to a certificate


def test_a_bound_token_is_exchanged_by_its_holder_alone_and_stays_bound(mint):
    subject = own(mint, mint.bound)
    cnf = claims_of(subject)["cnf"]
    assert_oauth_error(exchange(mint, subject), 400, "invalid_request")
    assert_oauth_error(exchange(mint, subject, mint.other), 400, "invalid_request")
    assert exchanged(exchange(mint, subject, mint.bound))["cnf"] == cnf
    assert exchanged(exchange(mint, subject, mint.bound, client_id="acme/lore-cli"))["cnf"] == cnf


# --- a user of somebody else's


def keycloak(mint, header=None, alg=None, **changes):
    """A user's access token as Keycloak makes it, with changes (None takes a claim away)."""
    claims = {
        "jti": "onrtac:2c5cbf8e-6f4c-4d0e-b6d5-0d7a3f1f4a3b",
        "aud": [AUDIENCE, "account"],
        "sub": "9bd11b1c-2e5e-4a43-8c73-7a9a6a0d2e1f",
        "typ": "Bearer",
        "azp": "lore-login",
        "sid": "e2a3b5f4-64ad-4b59-95d3-3f2d5a8a1b6e",
        "acr": "1",
        "realm_access": {"roles": ["offline_access", "default-roles-acme"]},
        "scope": "profile email",
        "email_verified": True,
        "name": "Ada Lovelace",
        "preferred_username": "ada",
        "groups": ["staff", "developers"],
    }
    return mint.idp.mint({**claims, **changes}, alg, header)


def rfc9068(mint, **changes):
    """The same as RFC 9068 has it."""
    claims = {"jti": "1", "aud": AUDIENCE, "sub": "ada", "client_id": "lore-login", "groups": ["developers"]}
    return mint.idp.mint({**claims, **changes}, header={"typ": "at+jwt"})


@pytest.fixture(scope="module")
def idp(mint):
    """Its keys have been fetched."""
    assert wait_until(lambda: exchange(mint, keycloak(mint)).status == 200)
    return mint.idp


def test_a_users_token_becomes_one_for_a_partition_nobody_has_heard_of(mint, idp):
    reply = exchange(mint, keycloak(mint), resource=PARTITIONS + "7" * 32)
    claims = exchanged(reply)
    assert claims["sub"] == f"{idp.issuer}#9bd11b1c-2e5e-4a43-8c73-7a9a6a0d2e1f"
    assert (claims["idp"], claims["name"], claims["preferred_username"]) == (idp.issuer, "Ada Lovelace", "ada")
    assert (claims["iss"], claims["client_id"], claims["tenant_id"]) == (ISSUER, "acme/lore-cli", "acme")
    assert claims["resources"] == [{"resource_id": UNSEEN, "permission": ["read"]}]
    assert claims["is_service_account"] is False and "act" not in claims
    assert claims["root_domains"] == ["lore.acme.example"]


def test_lores_servers_accept_it(mint, idp):
    token = exchange(mint, keycloak(mint)).json["access_token"]
    with mint.client(None) as client:
        jwks = client.get("/.well-known/jwks.json").body
    assert lore.verify(token, jwks, ISSUER, [AUDIENCE], time.time())["resources"][0]["resource_id"] == REPOSITORY


@pytest.mark.parametrize("alg", ["RS256", "ES256", "PS256", "EdDSA"])
def test_either_shape_is_taken_whatever_signed_it(mint, idp, alg):
    assert exchange(mint, keycloak(mint, alg=alg)).status == 200
    assert exchange(mint, rfc9068(mint)).status == 200


def test_groups_decide_what_a_user_may_where(mint, idp):
    auditor = keycloak(mint, groups=["auditors"])
    assert exchanged(exchange(mint, auditor))["scope"] == "read:blob"
    assert_oauth_error(exchange(mint, auditor, resource=PARTITIONS + "7" * 32), 400, "invalid_target")
    assert_oauth_error(exchange(mint, auditor, scope="read:repo"), 400, "invalid_scope")
    both = keycloak(mint, groups=["developers", "auditors"])
    assert exchanged(exchange(mint, both))["scope"] == "read:repo"
    assert exchanged(exchange(mint, both, scope="read:blob"))["scope"] == "read:blob"
    assert_oauth_error(exchange(mint, both, scope="read:repo read:blob"), 400, "invalid_scope")


@pytest.mark.parametrize("groups", [None, [], "developers", ["Developers"], ["developers "], ["devel\u043epers"], [["developers"]]])
def test_whoever_is_not_in_a_group_by_its_very_name_gets_nothing(mint, idp, groups):
    reply = exchange(mint, keycloak(mint, groups=groups))
    if groups == "developers":
        assert reply.status == 200
    else:
        assert_oauth_error(reply, 400, "invalid_request")


def test_a_rule_names_the_clients_that_may_ask(mint, idp):
    assert exchanged(exchange(mint, keycloak(mint), mint.other))["act"] == {"sub": "acme/other"}
    assert_oauth_error(exchange(mint, keycloak(mint), "ci"), 400, "invalid_request")


@pytest.mark.parametrize(
    "changes",
    [
        {"typ": "ID"},
        {"typ": "Refresh"},
        {"typ": None},
        {"nonce": "n-0S6_WzA2Mj"},
        {"at_hash": "77QmUPtjPfzWtF2AnpK9RQ"},
        {"aud": "lore-login"},
        {"aud": AUDIENCE, "azp": AUDIENCE},
        {"aud": ["account"]},
        {"aud": CACHE_AUDIENCE},
        {"aud": ISSUER},
        {"aud": None},
        {"sub": None},
        {"sub": "9bd11b1c 2e5e"},
        {"sub": "x" * 256},
        {"iss": "https://idp.evil.example"},
        {"iss": ISSUER},
        {"exp": 1},
        {"exp": None},
        {"nbf": 4102444800},
        {"iat": 4102444800},
        {"act": {"sub": "somebody"}},
        {"may_act": {"sub": "acme/lore-cli"}},
        {"cnf": {"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}},
        {"cnf": {"x5t#S256": "bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg4"}},
    ],
    ids=str,
)
def test_what_is_no_access_token_for_us_is_refused(mint, idp, changes):
    assert_oauth_error(exchange(mint, keycloak(mint, **changes)), 400, "invalid_request")


# --- attacks with a user's token: forged, mixed up, or written so that two readers read two things


def user_claims(mint, **changes):
    now = int(time.time())
    claims = {"iss": mint.idp.issuer, "aud": AUDIENCE, "sub": "ada", "groups": ["developers"], "iat": now, "exp": now + 300}
    return {name: value for name, value in {**claims, **changes}.items() if value is not None}


def forge(mint, sign=None, header=None, key=None, payload=None, **changes):
    """A user's access token as RFC 9068 has it, signed by the issuer's own key unless told."""
    key = key or mint.idp.key("ES256")
    claims = user_claims(mint, **changes)
    return pack({"alg": key.alg, "kid": key.kid, "typ": "at+jwt", **(header or {})}, payload(json.dumps(claims)) if payload else claims, sign or key.sign)


def by_stranger(name=None, value=None):
    """Signed by a key that only calls itself the issuer's, and that the header points to."""

    def attack(mint):
        key = mint.idp.key("ES256")
        stranger = Key(key.kid, "ES256", ec.generate_private_key(ec.SECP256R1()), alg="ES256")
        return forge(mint, key=stranger, header={name: stranger.jwk if value is None else value} if name else None)

    return attack


def hmac_with(secret):
    return lambda mint: forge(mint, lambda data: hmac.digest(secret(mint.idp.key("RS256")), data, "sha256"), {"alg": "HS256", "kid": mint.idp.key("RS256").kid})


def with_payload(change):
    return lambda mint: forge(mint, payload=change)


def with_claims(**changes):
    return lambda mint: forge(mint, **changes)


def with_header(**header):
    return lambda mint: forge(mint, header=header)


def look_alike(text):
    return text.replace("o", "\u043e", 1)


ATTACKS = {
    "alg none": lambda mint: forge(mint, lambda data: b"", {"alg": "none"}),
    "alg nOnE": with_header(alg="nOnE"),
    "HS256 with the public key": hmac_with(lambda key: key.pem()),
    "HS256 with the JWK": hmac_with(lambda key: json.dumps(key.jwk).encode()),
    "another algorithm": with_header(alg="ES384"),
    "signed by a stranger": by_stranger(),
    "embedded jwk": by_stranger("jwk"),
    "jku": by_stranger("jku", "https://127.0.0.1:1/jwks.json"),
    "x5u": by_stranger("x5u", "https://127.0.0.1:1/chain.pem"),
    "x5c": by_stranger("x5c", ["MIIB"]),
    "kid of a path": with_header(kid="../../../../dev/null"),
    "kid of SQL": with_header(kid="' OR 1=1 --"),
    "kid of another key": lambda mint: forge(mint, header={"kid": mint.idp.key("EdDSA").kid}),
    "kid a list": with_header(kid=["a"]),
    "kid long": with_header(kid="k" * 5000),
    "crit": with_header(crit=["exp"]),
    "zip": with_header(zip="DEF"),
    "wrong aud": with_claims(aud="https://other.example"),
    "aud with a slash": with_claims(aud=AUDIENCE + "/"),
    "aud of several, none ours": with_claims(aud=["account", "https://other.example"]),
    "aud look-alike": with_claims(aud=look_alike(AUDIENCE)),
    "aud in an object": with_claims(aud={"0": AUDIENCE}),
    "expired": with_claims(exp=int(time.time()) - 120),
    "exp huge": with_claims(exp=10**40),
    "exp a text": with_claims(exp="4102444800"),
    "from the future": with_claims(iat=4102444800),
    "not yet": with_claims(nbf=4102444800),
    "duplicate groups": with_payload(lambda text: text.replace("{", '{"groups": ["staff"], ', 1)),
    "duplicate sub": with_payload(lambda text: text[:-1] + ', "sub": "root"}'),
    "duplicate exp": with_payload(lambda text: text[:-1] + ', "exp": 4102444800}'),
    "huge number": with_payload(lambda text: text[:-1] + ', "x": 1' + "0" * 400 + "}"),
    "huge exponent": with_payload(lambda text: text[:-1] + ', "x": 1e999999}'),
    "deep nesting": with_payload(lambda text: text[:-1] + ', "x": ' + "[" * 1500 + "]" * 1500 + "}"),
    "a list for a payload": with_payload(lambda text: f"[{text}]"),
    "JWE": lambda mint: forge(mint) + ".AAAA.AAAA",
    "iss with a slash": lambda mint: forge(mint, iss=mint.idp.issuer + "/"),
    "iss over http": lambda mint: forge(mint, iss=mint.idp.issuer.replace("https", "http")),
    "iss look-alike": lambda mint: forge(mint, iss=look_alike(mint.idp.issuer)),
    "iss ourselves": with_claims(iss=ISSUER),
    "no iss": with_claims(iss=None),
    "another issuer's token with this iss": lambda mint: forge(mint, key=mint.away.key("ES256")),
    "this issuer's token with another's iss": lambda mint: forge(mint, iss=mint.away.issuer),
    "sub look-alike of an account": with_claims(sub="\u0430cme/ci-build"),
    "group look-alike": with_claims(groups=["devel\u043epers"]),
    "ID token by its header": with_header(typ="id+jwt"),
    "ID token by its audience": with_claims(azp=AUDIENCE),
    "logout token": with_header(typ="logout+jwt"),
    "a token that was issued to be exchanged elsewhere": with_claims(aud="https://sts.other.example", azp="acme/lore-cli"),
}


@pytest.mark.parametrize("name", list(ATTACKS))
def test_an_attack_with_a_users_token_is_refused(mint, idp, name):
    assert_oauth_error(exchange(mint, ATTACKS[name](mint)), 400, "invalid_request")


def test_what_those_attacks_change_is_good_without(mint, idp):
    """Each is one change away from a token that is taken, as often as it comes."""
    token = forge(mint)
    assert [exchange(mint, token).status for _ in range(2)] == [200, 200]
    assert exchange(mint, forge(mint, aud=["https://other.example", AUDIENCE])).status == 200
    assert exchange(mint, forge(mint, payload=lambda text: text[:-1] + ', "x": ' + "[" * 8 + "]" * 8 + "}")).status == 200


def test_an_expired_token_is_not_saved_by_the_leeway(mint, idp):
    """Nothing that came of it could live."""
    assert_oauth_error(exchange(mint, keycloak(mint, exp=int(time.time()) - 5)), 400, "invalid_request")


def test_a_users_token_ends_what_comes_of_it(mint, idp):
    ends = int(time.time()) + 20
    assert exchanged(exchange(mint, keycloak(mint, exp=ends), ttl_seconds="600"))["exp"] == ends


@pytest.mark.parametrize("header", [{"alg": "none"}, {"alg": "HS256"}, {"kid": "another"}, {"typ": "id+jwt"}, {"crit": ["x"], "x": 1}], ids=str)
def test_a_header_that_says_otherwise_is_refused(mint, idp, header):
    assert_oauth_error(exchange(mint, keycloak(mint, header=header)), 400, "invalid_request")


def test_may_act_lets_the_one_that_it_names(mint, idp):
    assert exchange(mint, keycloak(mint, may_act={"sub": "acme/other"}), mint.other).status == 200
    assert_oauth_error(exchange(mint, keycloak(mint, may_act={"sub": "acme/ci-build"}), mint.other), 400, "invalid_request")


def test_another_tenants_client_brings_nobody_of_this_issuer(mint, idp):
    """Its envelope doesn't have it, whatever acme's has."""
    assert_oauth_error(exchange(mint, keycloak(mint), client_id="globex/lore-cli", tenant_id="globex"), 400, "invalid_request")


def test_a_user_that_was_exchanged_is_not_exchanged_again(mint, idp):
    """To one partition is as far as it goes."""
    token = exchange(mint, keycloak(mint)).json["access_token"]
    assert_oauth_error(exchange(mint, token), 400, "invalid_request")


def test_the_ledger_names_the_user_and_nothing_of_the_token(mint, idp):
    subject = keycloak(mint)
    claims = exchanged(exchange(mint, subject))
    (entry,) = [e for e in mint.ledger() if e.get("jti") == claims["jti"]]
    assert (entry["account"], entry["client"]) == (claims["sub"], "acme/lore-cli")
    assert entry["subject"]["iss"] == idp.issuer
    assert entry["rule"]["exchange"] == 1
    assert "onrtac" not in str(entry) and "Ada" not in str(entry)


def test_inspect_says_who_may_do_what_through_whom(mint, idp):
    token = exchange(mint, keycloak(mint)).json["access_token"]
    said = mint.run_cli("inspect", "--no-verify", config=False, input=token).stdout
    user = f"user {idp.issuer}#9bd11b1c-2e5e-4a43-8c73-7a9a6a0d2e1f of tenant acme through acme/lore-cli may read repo on {REPOSITORY}"
    assert user in " ".join(said.split())
    assert "4 rules of exchange" in mint.run_cli("check-config").stdout


def test_an_issuer_whose_keys_cannot_be_had_is_no_fault_of_the_user(mint):
    """A key that nobody has seen, while the issuer is away: once it has been asked for in vain the answer is that it is unknown."""
    stranger = oidc_issuer.make_key("ES256")
    with mint.away.misbehaving("dead"):
        token = mint.away.mint(groups=["developers"], typ="Bearer", aud=AUDIENCE, sub="bob", key=stranger)
        assert exchange(mint, token).status in (400, 503)


# --- what is taken back


def test_a_revoked_token_is_no_subject(mint):
    subject = own(mint)
    assert exchange(mint, subject).status == 200
    with mint.client("ci") as client:
        body = f"token={subject}&tenant_id=acme".encode()
        assert client.request("POST", "/oauth2/revoke", body, {"Content-Type": "application/x-www-form-urlencoded"}).status == 200
    assert_oauth_error(exchange(mint, subject), 400, "invalid_request")


def test_a_public_client_takes_back_what_it_was_given_and_nothing_else(mint, idp):
    body = "client_id=acme/lore-cli&token="
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    given = exchange(mint, keycloak(mint)).json["access_token"]
    with mint.client(None) as client:
        assert client.request("POST", "/oauth2/revoke", (body + own(mint)).encode(), headers).status == 400
        assert client.request("POST", "/oauth2/revoke", (body + given).encode(), headers).status == 200
    revoked = [e for e in mint.ledger() if e["type"] == "token.revoked"]
    assert claims_of(given)["jti"] in str(revoked[-1])


def test_a_user_is_counted_and_stopped_by_name(mint, idp):
    exchanged(exchange(mint, keycloak(mint, sub="counted")))
    told = mint.cli("revoke", "--account", f"{idp.issuer}#counted", "--dry-run")
    assert "at most 1 live tokens" in told and "no such" not in told
    assert "no such" in mint.cli("revoke", "--account", "https://other.example#counted", "--dry-run")
    mint.cli("revoke", "--account", f"{idp.issuer}#counted", "--reason", "lost laptop", "--yes")
    assert exchange(mint, keycloak(mint, sub="counted")).status in (400, 401)
    exchanged(exchange(mint, keycloak(mint)))


def test_who_exchanges_nothing_that_is_valid_leaves_no_trace(mint, idp):
    """Anybody could: neither the ledger grows nor what is kept for it."""
    before = len(mint.ledger())
    for _ in range(5):
        exchange(mint, keycloak(mint, aud="elsewhere"))
        exchange(mint, "x.y.z")
    assert len(mint.ledger()) == before


def test_refusals_of_users_are_recorded_once_a_client_and_cause(mint, idp):
    before = len(mint.ledger())
    for number in range(5):
        assert_oauth_error(exchange(mint, keycloak(mint, sub=f"user-{number}"), scope="read:everything"), 400, "invalid_scope")
    new = mint.ledger()[before:]
    assert len([e for e in new if e["type"] == "token.refused"]) <= 1
    assert all(e["account"] == "acme/lore-cli" for e in new)


def test_discovery_says_that_tokens_are_exchanged(mint):
    with mint.client(None) as client:
        metadata = client.get("/.well-known/oauth-authorization-server").json
    assert GRANT_TYPE in metadata["grant_types_supported"]
    assert "none" in metadata["token_endpoint_auth_methods_supported"]
    assert "none" not in metadata["introspection_endpoint_auth_methods_supported"]


# --- last: the policy changes


def test_a_reload_without_an_exchange_ends_it_and_discovery_says_so(mint):
    subject = own(mint)
    for tenant in ("acme", "globex"):
        mint.tenants[tenant].pop("exchange")
    mint.write()
    mint.reload()
    with mint.client(None) as client:
        metadata = client.get("/.well-known/openid-configuration").json
    assert GRANT_TYPE not in metadata["grant_types_supported"]
    assert "none" not in metadata["token_endpoint_auth_methods_supported"]
    assert_oauth_error(exchange(mint, subject), 400, "unsupported_grant_type")
