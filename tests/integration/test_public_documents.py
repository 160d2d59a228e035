# SPDX-License-Identifier: Apache-2.0
"""What anyone may read: the JWKS, discovery, health."""

import base64
import hashlib
import json

import pytest

from service import ISSUER, assert_problem

JWKS = "/.well-known/jwks.json"
DISCOVERY = ["/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"]


def get(mint, path, headers=None):
    with mint.client(None) as client:
        return client.get(path, headers)


def thumbprint(jwk):
    """RFC 7638, written down once more so that it can disagree."""
    members = {"EC": ("crv", "kty", "x", "y"), "RSA": ("e", "kty", "n"), "OKP": ("crv", "kty", "x")}[jwk["kty"]]
    canonical = json.dumps({name: jwk[name] for name in sorted(members)}, separators=(",", ":"))
    return base64.urlsafe_b64encode(hashlib.sha256(canonical.encode()).digest()).rstrip(b"=").decode()


def test_the_jwks_has_the_public_key_and_nothing_private(mint):
    reply = get(mint, JWKS)
    assert reply.status == 200
    assert reply.headers["content-type"] in ("application/jwk-set+json", "application/json")
    (key,) = reply.json["keys"]
    assert set(key) == {"kty", "crv", "x", "y", "kid", "alg", "use"}
    assert (key["kty"], key["crv"], key["alg"], key["use"]) == ("EC", "P-256", "ES256", "sig")


def test_a_kid_is_the_thumbprint_of_its_key(mint):
    for key in get(mint, JWKS).json["keys"]:
        assert key["kid"] == thumbprint(key)


def test_the_jwks_may_be_cached_and_revalidated(mint):
    first = get(mint, JWKS)
    assert "max-age=" in first.headers["cache-control"]
    etag = first.headers["etag"]
    for value in (etag, f'"other", {etag}', f"W/{etag}", "*"):
        again = get(mint, JWKS, {"If-None-Match": value})
        assert (again.status, again.body, again.headers["etag"]) == (304, b"", etag), value


def test_another_etag_brings_the_whole_document(mint):
    assert get(mint, JWKS, {"If-None-Match": '"other"'}).status == 200


def test_head_answers_like_get_without_a_body(mint):
    with mint.client(None) as client:
        reply = client.request("HEAD", JWKS)
    assert (reply.status, reply.body) == (200, b"")


@pytest.mark.parametrize("path", DISCOVERY)
def test_discovery_names_the_configured_issuer_and_its_keys(mint, path):
    reply = get(mint, path)
    assert (reply.status, reply.headers["content-type"]) == (200, "application/json")
    assert reply.json["issuer"] == ISSUER
    assert reply.json["jwks_uri"] == ISSUER + JWKS


@pytest.mark.parametrize("path", DISCOVERY)
def test_discovery_lists_only_what_exists(mint, path):
    document = get(mint, path).json
    urls = {name: value for name, value in document.items() if isinstance(value, str) and value.startswith("http")}
    for name, url in urls.items():
        if name == "issuer":
            continue
        assert url.startswith(ISSUER + "/")
        with mint.client(None) as client:
            assert client.get(url[len(ISSUER) :]).status != 404, f"{name} says {url}"
    algorithms = document.get("id_token_signing_alg_values_supported", [])
    assert set(algorithms) <= {key["alg"] for key in get(mint, JWKS).json["keys"]}


def test_both_discovery_documents_agree(mint):
    first, second = (get(mint, path).json for path in DISCOVERY)
    common = set(first) & set(second)
    assert {name: first[name] for name in common} == {name: second[name] for name in common}


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_health_and_readiness_are_told_to_anyone_and_never_cached(mint, path):
    reply = get(mint, path)
    assert reply.status == 200
    assert reply.headers["cache-control"] == "no-store"


def test_readiness_says_what_is_ready(mint):
    reply = get(mint, "/readyz").json
    assert (reply["status"], reply["checks"]) == ("ready", {"hsm": "ok", "ledger": "ok", "clock": "ok"})


def test_a_document_that_is_not_there_is_a_problem_document(mint):
    assert_problem(get(mint, "/.well-known/nothing"), 404, "not_found")
