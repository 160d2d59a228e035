# SPDX-License-Identifier: Apache-2.0
"""Lore's rules as vectors: what the service emits is accepted, and each rule broken on its own is refused.

The altered tokens are signed with a key of the test's own that stands in the JWK set beside the service's, so that only
the rule in question is what fails.
"""

import copy
import json
import time

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

import lore
from lore import Refused
from service import AUDIENCE, CACHE_AUDIENCE, ISSUER, REPOSITORY, Deployment

KEY = ec.generate_private_key(ec.SECP256R1())


@pytest.fixture(scope="module")
def emitted(mint):
    """What the service emits: a token, and the JWK set's bytes."""
    with mint.client(None) as client:
        jwks = client.get("/.well-known/jwks.json").body
    return mint.issue(scopes=["read:repo", "read:blob"])["service_token"], jwks


def accepted(token, jwks, audiences=(AUDIENCE,), issuer=ISSUER, now=None):
    return lore.verify(token, jwks, issuer, audiences, time.time() if now is None else now)


# --- what the service emits


def test_an_emitted_token_is_accepted(emitted):
    claims = accepted(*emitted)
    assert claims["resources"] == [{"resource_id": REPOSITORY, "permission": ["read"]}]
    assert claims["is_service_account"] is False


def test_either_audience_of_the_tenant_accepts_it(emitted):
    accepted(*emitted, audiences=[CACHE_AUDIENCE])


@pytest.mark.parametrize("algorithm", ["ES384", "RS256", "PS256", "EdDSA"])
def test_every_other_algorithm_is_accepted(tmp_path, algorithm):
    mint = Deployment(tmp_path / "mint", algorithm).create().start()
    try:
        accepted(mint.issue()["service_token"], json.dumps(mint.jwks()))
    finally:
        mint.ensure_stopped()


def test_a_token_for_all_of_a_grants_resources_is_accepted(mint, emitted):
    mirror = mint.ca.issue("mirror", dns=["mirror.acme.example"])
    claims = accepted(mint.issue(mirror, resource_id=None)["service_token"], emitted[1])
    assert claims["resources"][0]["resource_id"] == "urc-*"


def test_the_client_would_send_it_to_its_own_hosts_only(emitted):
    """Lore's client sends a token to hosts that `iss` and `aud` name."""
    claims = accepted(*emitted)
    assert claims["iss"].startswith("https://")
    audiences = [claims["aud"]] if isinstance(claims["aud"], str) else claims["aud"]
    assert all("." in one and " " not in one for one in audiences)


def test_another_servers_audience_or_issuer_refuses_it(emitted):
    with pytest.raises(Refused, match="another audience"):
        accepted(*emitted, audiences=["lore.globex.example"])
    with pytest.raises(Refused, match="another issuer"):
        accepted(*emitted, issuer=ISSUER + "/")


def test_it_expires_with_a_minute_of_grace(emitted):
    expires = accepted(*emitted)["exp"]
    accepted(*emitted, now=expires + 59)
    with pytest.raises(Refused, match="expired"):
        accepted(*emitted, now=expires + 60)


# --- each rule of the token broken


@pytest.fixture(scope="module")
def bench(emitted):
    """Make tokens like the emitted one, with changes, that fail for nothing but the change."""
    token, jwks = emitted
    own = dict(json.loads(ECAlgorithm.to_jwk(KEY.public_key())), kid="bench", alg="ES256", use="sig")
    both = json.dumps({"keys": json.loads(jwks)["keys"] + [own]})
    claims = jwt.decode(token, options={"verify_signature": False})

    def make(change=None, headers=None):
        changed = copy.deepcopy(claims)
        if change:
            change(changed)
        header = {"kid": "bench", "typ": "at+jwt", **(headers or {})}
        return jwt.encode(changed, KEY, "ES256", headers={k: v for k, v in header.items() if v is not None})

    return make, both


def test_the_bench_itself_is_accepted(bench):
    make, jwks = bench
    accepted(make(), jwks)


def without(name):
    return lambda claims: claims.pop(name)


def with_(name, value):
    return lambda claims: claims.update({name: value})


REQUIRED = ["sub", "iss", "iat", "exp", "aud", "env", "name", "preferred_username", "idp", "resources"]
MALFORMED = {
    "exp as a float": with_("exp", time.time() + 300.0),
    "exp as a string": with_("exp", "4102444800"),
    "iat as a float": with_("iat", 300.0),
    "iat as a boolean": with_("iat", True),
    "sub as a number": with_("sub", 7),
    "aud as an object": with_("aud", {"lore": True}),
    "resources as an object": with_("resources", {REPOSITORY: ["read"]}),
    "permission as a string": with_("resources", [{"resource_id": REPOSITORY, "permission": "read"}]),
    "permission missing": with_("resources", [{"resource_id": REPOSITORY}]),
    "an upper-case id": with_("resources", [{"resource_id": REPOSITORY.upper(), "permission": ["read"]}]),
    "a short id": with_("resources", [{"resource_id": REPOSITORY[:-1], "permission": ["read"]}]),
    "a wildcard within": with_("resources", [{"resource_id": "urc-0194*", "permission": ["read"]}]),
    "is_service_account as a string": with_("is_service_account", "false"),
}


@pytest.mark.parametrize("name", REQUIRED)
def test_a_token_without_a_required_claim_is_refused(bench, name):
    make, jwks = bench
    with pytest.raises(Refused, match=name.split("_")[0]):
        accepted(make(without(name)), jwks)


@pytest.mark.parametrize("change", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_claim_is_refused(bench, change):
    make, jwks = bench
    with pytest.raises(Refused):
        accepted(make(change), jwks)


def test_the_type_of_the_header_and_extra_claims_are_ignored(bench):
    make, jwks = bench
    accepted(make(with_("weather", "fine"), headers={"typ": "JWT"}), jwks)


@pytest.mark.parametrize("headers", [{"kid": None}, {"kid": "another"}], ids=["no kid", "unknown kid"])
def test_a_token_that_names_no_key_of_the_set_is_refused(bench, headers):
    make, jwks = bench
    with pytest.raises(Refused, match="kid"):
        accepted(make(headers=headers), jwks)


def test_a_token_signed_by_another_key_is_refused(bench):
    make, jwks = bench
    other = jwt.encode({"sub": "acme/ci-build"}, ec.generate_private_key(ec.SECP256R1()), "ES256", headers={"kid": "bench"})
    with pytest.raises(Refused, match="signature"):
        accepted(other, jwks)


# --- each rule of the JWK set broken


def test_the_emitted_set_loads_and_every_key_is_used(emitted):
    assert len(lore.load_jwks(emitted[1])) == len(json.loads(emitted[1])["keys"]) >= 1


BAD_KEYS = {
    "ES512": {"alg": "ES512"},
    "ES256K": {"alg": "ES256K"},
    "Ed25519 as RFC 9864 names it": {"alg": "Ed25519"},
    "ML-DSA": {"alg": "ML-DSA-65"},
    "kty AKP": {"kty": "AKP"},
    "crv secp256k1": {"crv": "secp256k1"},
    "crv Ed448": {"kty": "OKP", "crv": "Ed448"},
    "a numeric kid": {"kid": 7},
    "a string x5c": {"x5c": "MIIB"},
    "no y": {"y": None},
}


@pytest.mark.parametrize("change", BAD_KEYS.values(), ids=BAD_KEYS)
def test_one_bad_key_in_the_set_refuses_every_token(emitted, change):
    token, jwks = emitted
    keys = json.loads(jwks)["keys"]
    bad = {name: value for name, value in dict(keys[0], **change).items() if value is not None}
    with pytest.raises(Refused):
        accepted(token, json.dumps({"keys": keys + [bad]}))


def test_an_elliptic_key_without_alg_is_skipped(emitted):
    token, jwks = emitted
    keys = [{name: value for name, value in key.items() if name != "alg"} for key in json.loads(jwks)["keys"]]
    with pytest.raises(Refused, match="unknown kid"):
        accepted(token, json.dumps({"keys": keys}))
