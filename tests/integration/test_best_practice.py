# SPDX-License-Identifier: Apache-2.0
"""RFC 9700 (BCP 240) and RFC 8725 (JWT best current practices), section by section, as far as an authorization server of this kind is
concerned. docs/security-checklist.md says what of them applies, and which other tests show it; that those exist is tested here, too.
"""

import base64
import hashlib
import hmac
import json
import pathlib
import re
import socket
import ssl
import time
import urllib.parse

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils

from service import (
    AUDIENCE,
    CACHE_AUDIENCE,
    ISSUER,
    OAUTH_TOKENS,
    OTHER_REPOSITORY,
    REPOSITORY,
    TOKENS,
    Deployment,
    assert_oauth_error,
    form,
    grant,
    token_request,
)
from test_issuance import claims_of, header_of
from wire import FORM

ROOT = pathlib.Path(__file__).parents[2]
AUTHORIZE = "/oauth2/authorize"
INTROSPECT = "/oauth2/introspect"
REVOKE = "/oauth2/revoke"
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
PARTITIONS = "https://lore.acme.example/partitions/"


@pytest.fixture(scope="module")
def mint(tmp_path_factory):
    made = Deployment(tmp_path_factory.mktemp("mint"))
    acme = made.tenants["acme"]
    made.bound = made.ca.issue("bound", dns=["bound.acme.example"])
    acme["accounts"].append(
        {
            "id": "bound",
            "name": "Bound",
            "certificate_bound": "required",
            "authenticate": [{"mtls": {"san_dns": "bound.acme.example"}}],
            "grants": [grant(["read:repo"], [REPOSITORY])],
        }
    )
    acme["resource_template"] = {"uri": PARTITIONS + "{id}", "resource": "urc-{id}"}
    acme["exchange"] = {
        "subject_audiences": [AUDIENCE],
        "public_clients": ["lore-cli"],
        "rules": [{"subject": {"accounts": ["ci-build", "bound"]}, **grant(["read:repo"], ["urc-*"], "5m", "10m")}],
    }
    made.create().start()
    yield made
    made.ensure_stopped()


def get(mint, path, **headers):
    with mint.client(None) as client:
        return client.request("GET", path, None, headers)


def metadata(mint):
    return get(mint, "/.well-known/oauth-authorization-server").json


def post(mint, path, credential="ci", **fields):
    with mint.client(credential) as client:
        return client.request("POST", path, urllib.parse.urlencode(fields), {"Content-Type": FORM})


def everything(mint):
    """A reply, good or bad, of each path that there is."""
    paths = [urllib.parse.urlsplit(url).path for name, url in metadata(mint).items() if name.endswith(("_endpoint", "_uri"))]
    for path in sorted({*paths, "/.well-known/openid-configuration", "/healthz", "/readyz", TOKENS, "/", "/nothing"}):
        for target in (path, path + "?redirect_uri=https%3A%2F%2Fevil.example%2F&response_type=code&client_id=acme%2Fci-build"):
            yield target, get(mint, target, Origin="https://evil.example")
            yield target, post(mint, target, None)


# --- RFC 9700, redirects and browsers


def test_rfc9700_2_1_and_4_11_nobody_is_ever_redirected(mint):
    """No open redirector, no 307 (4.12), no redirect URI that could be matched badly (4.1)."""
    for target, reply in everything(mint):
        assert not 300 <= reply.status < 400, target
        assert "location" not in reply.headers and "refresh" not in reply.headers, target
        assert b"evil.example" not in reply.body, target


@pytest.mark.parametrize("response_type", ["code", "token", "id_token", "code token", "none", None])
def test_rfc9700_2_1_1_and_2_1_2_no_response_type_exists_neither_code_nor_implicit(mint, response_type):
    query = {"response_type": response_type, "client_id": "acme/ci-build", "redirect_uri": "https://evil.example/"}
    asked = urllib.parse.urlencode({name: value for name, value in query.items() if value})
    reply = get(mint, f"{AUTHORIZE}?{asked}")
    assert_oauth_error(reply, 400, "unsupported_response_type")
    assert metadata(mint)["response_types_supported"] == []


def test_rfc9700_2_1_1_and_4_8_without_a_code_there_is_no_pkce_to_downgrade(mint):
    assert "code_challenge_methods_supported" not in metadata(mint)
    fields = {"grant_type": "authorization_code", "code": "x", "code_verifier": "y" * 43}
    assert_oauth_error(post(mint, OAUTH_TOKENS, **fields), 400, "unsupported_grant_type")


def test_rfc9700_2_6_no_page_may_read_an_answer_across_origins(mint):
    for target, reply in everything(mint):
        assert not [name for name in reply.headers if name.startswith("access-control-")], target


def test_rfc9700_4_2_and_4_16_there_is_no_page_to_leak_from_or_to_be_framed(mint):
    for target, reply in everything(mint):
        assert "html" not in reply.headers.get("content-type", ""), target
        assert reply.headers["x-content-type-options"] == "nosniff", target


# --- RFC 9700, tokens


def test_rfc9700_2_2_1_and_4_10_1_a_token_is_bound_to_its_callers_certificate(mint):
    token = mint.ask_oauth("bound").json["access_token"]
    der = x509.load_pem_x509_certificate(mint.bound.certificate_file.read_bytes()).public_bytes(serialization.Encoding.DER)
    expected = base64.urlsafe_b64encode(hashlib.sha256(der).digest()).rstrip(b"=").decode()
    assert claims_of(token)["cnf"] == {"x5t#S256": expected}
    assert metadata(mint)["tls_client_certificate_bound_access_tokens"] is True
    stolen = exchange(mint, token)  # by whoever has it, without the certificate
    assert_oauth_error(stolen, 400, "invalid_request")


def test_rfc9700_2_2_2_and_4_14_there_are_no_refresh_tokens(mint):
    assert "refresh_token" not in mint.ask_oauth().json
    assert "refresh_token" not in metadata(mint)["grant_types_supported"]
    assert_oauth_error(post(mint, OAUTH_TOKENS, grant_type="refresh_token", refresh_token="x"), 400, "unsupported_grant_type")


def test_rfc9700_2_3_and_4_10_2_a_token_says_no_more_than_was_asked_for(mint):
    claims = claims_of(mint.issue(audience=CACHE_AUDIENCE, scopes=["read:blob"])["service_token"])
    assert claims["aud"] == CACHE_AUDIENCE
    assert claims["resources"] == [{"resource_id": REPOSITORY, "permission": ["read"]}]
    assert claims["scope"] == "read:blob"
    assert mint.ask(resource_id=OTHER_REPOSITORY).status == 403
    assert mint.ask(audience="elsewhere.example").status == 403


def test_rfc9700_2_4_there_is_no_password_grant(mint):
    reply = post(mint, OAUTH_TOKENS, None, grant_type="password", username="acme/ci-build", password="x")
    assert_oauth_error(reply, 400, "unsupported_grant_type")


def test_rfc9700_2_5_clients_authenticate_by_what_they_hold_the_key_of(mint):
    methods = metadata(mint)["token_endpoint_auth_methods_supported"]
    assert methods and not {"client_secret_basic", "client_secret_post", "client_secret_jwt"} & set(methods)
    reply = post(mint, OAUTH_TOKENS, None, grant_type="client_credentials", client_id="acme/ci-build", client_secret="static")
    assert_oauth_error(reply, 401, "invalid_client")


def test_rfc9700_2_6_metadata_is_published_and_tells_the_issuer(mint):
    for name in ("oauth-authorization-server", "openid-configuration"):
        assert get(mint, f"/.well-known/{name}").json["issuer"] == ISSUER
    for name, url in metadata(mint).items():
        if name.endswith(("_endpoint", "_uri")):
            assert url.startswith(ISSUER + "/"), "one issuer's endpoints, or mix-ups (4.4) begin here"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_rfc9700_2_6_nothing_is_served_without_tls_or_by_an_old_one(mint):
    with socket.create_connection(("127.0.0.1", mint.port), timeout=20) as plain:
        plain.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b"HTTP/" not in plain.recv(4096)
    context = mint.tls()
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with socket.create_connection(("127.0.0.1", mint.port), timeout=20) as plain, pytest.raises((ssl.SSLError, OSError)):
        context.wrap_socket(plain, server_hostname="localhost")


@pytest.mark.parametrize("path", [OAUTH_TOKENS, INTROSPECT, REVOKE])
def test_rfc9700_4_3_2_a_token_in_a_uri_is_refused(mint, path):
    token = mint.issue()["service_token"]
    reply = post(mint, f"{path}?token={token}&subject_token={token}", token=token, grant_type="client_credentials")
    assert_oauth_error(reply, 400, "invalid_request")
    assert token not in mint.log()


def test_rfc9700_4_15_a_client_is_told_from_a_user(mint):
    """A client chooses nothing of its `sub`: what it is called stands in a reviewed file, behind its tenant's name."""
    claims = claims_of(mint.ask_oauth(client_id="acme/ci-build", sub="alice", username="alice").json["access_token"])
    assert (claims["sub"], claims["client_id"]) == ("acme/ci-build",) * 2


# --- RFC 8725: JWTs that come in; at introspection, which says whether they count, and as what is exchanged


def part(value):
    return base64.urlsafe_b64encode(json.dumps(value, separators=(",", ":")).encode()).rstrip(b"=").decode()


def encoded(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def exchange(mint, token, credential=None, **changes):
    fields = {
        "grant_type": EXCHANGE,
        "client_id": "acme/lore-cli" if credential is None else None,
        "subject_token": token,
        "subject_token_type": "urn:ietf:params:oauth:token-type:access_token",
        "resource": PARTITIONS + REPOSITORY.removeprefix("urc-"),
        "scope": None,
    }
    return mint.ask_oauth(credential, **{**fields, **changes})


def is_taken(mint, token):
    """Whether it counts anywhere; it must everywhere or nowhere."""
    active = post(mint, INTROSPECT, token=token, tenant_id="acme").json["active"]
    status = exchange(mint, token).status
    assert status == (200 if active else 400), "one of the two takes what the other doesn't"
    return active


@pytest.fixture(scope="module")
def token(mint):
    good = mint.ask_oauth(audience=AUDIENCE, ttl_seconds="600").json["access_token"]
    assert is_taken(mint, good)
    return good


def es256(key, header, claims):
    text = f"{part(header)}.{part(claims)}"
    r, s = utils.decode_dss_signature(key.sign(text.encode(), ec.ECDSA(hashes.SHA256())))
    return f"{text}.{encoded(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


def public_pem(mint):
    numbers = mint.jwks()["keys"][0]
    x, y = (int.from_bytes(base64.urlsafe_b64decode(numbers[name] + "=")) for name in ("x", "y"))
    key = ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.parametrize("alg", ["none", "None", "nOnE", ""])
def test_rfc8725_3_1_an_unsigned_token_is_refused(mint, token, alg):
    head, payload = part({**header_of(token), "alg": alg}), token.split(".")[1]
    assert not is_taken(mint, f"{head}.{payload}.")
    assert not is_taken(mint, f"{head}.{payload}.{token.split('.')[2]}")


def test_rfc8725_3_1_a_public_key_is_no_secret_of_an_hmac(mint, token):
    text = f"{part({**header_of(token), 'alg': 'HS256'})}.{token.split('.')[1]}"
    for secret in (public_pem(mint), public_pem(mint).strip(), json.dumps(mint.jwks()["keys"][0]).encode()):
        assert not is_taken(mint, f"{text}.{encoded(hmac.new(secret, text.encode(), hashlib.sha256).digest())}")


@pytest.mark.parametrize("alg", ["RS256", "PS256", "ES384", "EdDSA", "es256"])
def test_rfc8725_3_1_a_key_is_for_one_algorithm(mint, token, alg):
    _, payload, signature = token.split(".")
    assert not is_taken(mint, f"{part({**header_of(token), 'alg': alg})}.{payload}.{signature}")


def test_rfc8725_3_2_and_3_5_keys_are_of_sizes_that_hold(mint):
    for key in mint.jwks()["keys"]:
        assert (key["kty"], key["crv"], key["alg"]) == ("EC", "P-256", "ES256")
    taken = metadata(mint).get("token_endpoint_auth_signing_alg_values_supported", [])
    assert not {"none", "HS256", "HS384", "HS512", "RSA1_5"} & set(taken)


def test_rfc8725_3_3_a_token_with_any_part_changed_is_refused(mint, token):
    head, payload, signature = token.split(".")
    claims = claims_of(token)
    for altered in (
        f"{head}.{part({**claims, 'resources': [{'resource_id': OTHER_REPOSITORY, 'permission': ['read']}]})}.{signature}",
        f"{head}.{payload}.{'A' * len(signature)}",
        f"{head}.{payload}.{signature[:-4]}AAAA",
        f"{head}.{payload}",
        f"{head}.{payload}.{signature}.",
        f"{head}.{payload}.{signature}=",
        f"{head}.{payload}.\n{signature}",
    ):
        assert not is_taken(mint, altered)


@pytest.mark.parametrize("header", [{"zip": "DEF"}, {"crit": ["exp"]}, {"b64": False, "crit": ["b64"]}, {"enc": "A256GCM"}], ids=str)
def test_rfc8725_3_4_and_3_6_no_header_changes_what_the_parts_mean(mint, token, header):
    _, payload, signature = token.split(".")
    assert not is_taken(mint, f"{part({**header_of(token), **header})}.{payload}.{signature}")


def test_rfc8725_3_7_a_token_in_another_encoding_is_refused(mint, token):
    head, _, signature = token.split(".")
    for encoding in ("utf-16", "utf-16-le", "utf-8-sig", "utf-32"):
        assert not is_taken(mint, f"{head}.{encoded(json.dumps(claims_of(token)).encode(encoding))}.{signature}")
    assert not is_taken(mint, f"{head}.{encoded(json.dumps(claims_of(token)).encode() + bytes([0xff]))}.{signature}")


def test_rfc8725_3_8_another_issuers_token_is_refused_whoever_it_names(mint, token):
    key = ec.generate_private_key(ec.SECP256R1())
    for issuer in ("https://evil.example", ISSUER, ISSUER + "/", ISSUER.upper(), None):
        claims = {**claims_of(token), "iss": issuer}
        assert not is_taken(mint, es256(key, header_of(token), {name: value for name, value in claims.items() if value}))


def test_rfc8725_3_9_a_token_for_another_audience_is_no_subject(mint):
    """Every token has an `aud`, and only one for an audience that the tenant names is exchanged."""
    other = mint.ask_oauth(audience=CACHE_AUDIENCE).json["access_token"]
    assert claims_of(other)["aud"] == CACHE_AUDIENCE
    assert_oauth_error(exchange(mint, other), 400, "invalid_request")


def test_rfc8725_3_10_keys_are_found_nowhere_but_in_the_set(mint, token):
    """`kid` is compared and never looked up elsewhere; what points to keys, or brings one along, is not looked at."""
    key = ec.generate_private_key(ec.SECP256R1())
    numbers = key.public_key().public_numbers()
    jwk = {"kty": "EC", "crv": "P-256", "x": encoded(numbers.x.to_bytes(32, "big")), "y": encoded(numbers.y.to_bytes(32, "big"))}
    good = header_of(token)
    for header in (
        {**good, "jwk": jwk},
        {**good, "jku": "https://evil.example/jwks.json"},
        {**good, "x5u": "https://evil.example/chain.pem"},
        {**good, "x5c": ["MIIB"]},
        {**good, "kid": "../../etc/passwd"},
        {**good, "kid": "x' OR '1'='1"},
        {**good, "kid": ["a"]},
        {name: value for name, value in good.items() if name != "kid"},
    ):
        assert not is_taken(mint, es256(key, header, claims_of(token))), header


def test_rfc8725_3_11_a_token_says_what_it_is(mint, token):
    assert header_of(token)["typ"] == "at+jwt"
    _, payload, signature = token.split(".")
    for typ in ("JWT", "id+jwt", "logout+jwt", None):
        assert not is_taken(mint, f"{part({**header_of(token), 'typ': typ})}.{payload}.{signature}")


def test_rfc8725_3_12_an_access_token_is_no_proof_of_who_calls(mint, token):
    """Neither as a client's assertion nor as its secret nor as a bearer: what is issued never comes back as a credential."""
    assertion = {"client_assertion_type": JWT_BEARER, "client_assertion": token}
    for fields in (assertion, {"client_secret": token}):
        reply = mint.ask_oauth(None, client_id="acme/ci-build", tenant_id=None, **fields)
        assert_oauth_error(reply, 401, "invalid_client")
    with mint.client(None) as client:
        reply = client.request(
            "POST", TOKENS, json.dumps(token_request()), {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
        )
    assert reply.status in (401, 403)
    assert token not in mint.log()


def test_rfc8725_beyond_it_what_is_nested_or_huge_is_refused_at_once(mint, token):
    head, _, signature = token.split(".")
    deep = "[" * 5000 + "]" * 5000
    start = time.monotonic()
    for payload in (encoded(f'{{"a":{deep}}}'.encode()), encoded(b'{"iss":1e999999}'), encoded(b"{" * 9000), "A" * 12000):
        assert not is_taken(mint, f"{head}.{payload}.{signature}")
    assert not is_taken(mint, token + "." + token + ".")
    assert time.monotonic() - start < 10


# --- the page


def test_every_test_that_the_checklist_names_exists_and_every_section_is_there():
    page = (ROOT / "docs" / "security-checklist.md").read_text()
    named = set(re.findall(r"`((?:integration|unit|interop)/test_\w+\.(?:py|c))` `(\w+)`", page))
    assert len(named) > 30
    for file, name in named:
        text = (ROOT / "tests" / file).read_text()
        assert re.search(rf"\b{name}\(", text), f"{file} has no {name}"
    here = set(re.findall(r"^def (test_rfc\w+)", pathlib.Path(__file__).read_text(), re.M))
    assert here <= {name for _, name in named}, "not on the page"
    sections = re.findall(r"^\| (\d(?:\.\d+)*) \|", page, re.M)
    rfc9700 = ["2.1", "2.1.1", "2.1.2", "2.2.1", "2.2.2", "2.3", "2.4", "2.5", "2.6", *(f"4.{i}" for i in range(1, 18))]
    rfc8725 = [f"3.{i}" for i in range(1, 13)]
    assert sections == rfc9700 + rfc8725
