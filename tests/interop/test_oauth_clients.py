# SPDX-License-Identifier: Apache-2.0
"""Independent OAuth clients find the token endpoint by discovery, get tokens with what they have, and understand refusals."""

import json
import pathlib
import subprocess
import time

import ci_tokens
import lore
import pytest
from assertions import key_set, make_key
from authlib.integrations.requests_client import OAuth2Session
from authlib.oauth2.rfc7523 import PrivateKeyJWT
from cryptography.hazmat.primitives import serialization
from foreign_jwts import number
from oidc_issuer import Issuer
from service import AUDIENCE, BUILD, ISSUER, OAUTH_TOKENS, REPOSITORY, Deployment, grant
from test_verifiers import pyjwt

MODULES = BUILD / "interop" / "node_modules"
SCRIPT = pathlib.Path(__file__).parent / "oauth.cjs"
LIBRARIES = ["openid-client", "oauth4webapi"]
PARTITIONS = "https://lore.acme.example/partitions/"
EXCHANGE = {
    "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
    "subject_token_type": "urn:ietf:params:oauth:token-type:access_token",
}


def ask(mint, requests, **changes):
    """library -> what it got for each request."""
    for library in LIBRARIES:
        if not (MODULES / library).is_dir():
            pytest.fail(f"{MODULES}/{library} is missing: scripts/test installs it")
    task = {
        "modules": str(MODULES),
        "issuer": ISSUER,
        "port": mint.port,
        "ca": str(mint.server_ca.file),
        "cert": str(mint.ci.certificate_file),
        "key": str(mint.ci.key_file),
        "client_id": "acme/ci-build",
        "requests": requests,
    }
    done = subprocess.run(
        ["node", str(SCRIPT)], input=json.dumps(dict(task, **changes)), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_each_client_discovers_the_endpoint_and_gets_a_token(mint):
    results = ask(mint, [{"scope": "read:repo read:blob", "audience": AUDIENCE}, {}])
    for library in LIBRARIES:
        asked, plain = results[library]
        assert asked["token"]["scope"] == "read:repo read:blob", library
        assert asked["token"]["token_type"].lower() == "bearer"
        assert pyjwt(mint, asked["token"]["access_token"])["sub"] == "acme/ci-build"
        assert plain["token"]["expires_in"] == 600


def test_each_client_understands_a_refusal(mint):
    requests = [{"scope": "write:repo"}, {"resource": "https://elsewhere.example/"}, {"ttl_seconds": "0"}]
    results = ask(mint, requests)
    for library in LIBRARIES:
        found = [(result.get("error"), result.get("status")) for result in results[library]]
        assert found == [("invalid_scope", 400), ("invalid_target", 400), ("invalid_request", 400)], library


def test_each_client_is_told_that_it_is_somebody_else(mint):
    """By the challenge, which both look at before the body."""
    for library, (result,) in ask(mint, [{}], client_id="acme/deploy").items():
        assert result["status"] == 401, library
        assert "WWWAuthenticateChallengeError" in result["error"]


def test_each_client_introspects_a_token_and_takes_it_back(mint):
    for library, (life,) in ask(mint, [], lives=True).items():
        assert life["before"]["active"] is True, library
        assert (life["before"]["sub"], life["before"]["token_type"]) == ("acme/ci-build", "Bearer")
        assert life["after"] == {"active": False}, library


# --- without a certificate


class Place:
    """Accounts with a key of their own, which Authlib can't tell the issuer's URL, and one of a platform's jobs."""

    def __init__(self, folder):
        self.key = make_key("ES256")
        self.platform = Issuer(folder / "platform")
        self.mint = mint = Deployment(folder / "mint")
        mint.config["fetch"] = {"hosts": [self.platform.host], "ca": str(self.platform.ca_file)}
        mint.config["tenants"]["acme"]["issuers"] = [self.platform.issuer]
        keys = mint.folder / "keys.json"
        mint.write_file(keys, key_set(self.key))
        rules = {
            "signer": {"private_key_jwt": {"jwks_file": str(keys)}},
            "authlib": {"private_key_jwt": {"jwks_file": str(keys), "assertion_audience": "token_endpoint"}},
            "job": {"oidc": {"issuer": self.platform.issuer, "claims": {"repository_owner_id": "65"}, "as_client_secret": True}},
        }
        for name, rule in rules.items():
            grants = [grant(["read:repo", "read:blob"], [REPOSITORY])]
            mint.tenants["acme"]["accounts"].append({"id": name, "name": name, "authenticate": [rule], "grants": grants})
        mint.tenants["acme"]["resource_template"] = {"uri": PARTITIONS + "{id}", "resource": "urc-{id}"}
        mint.tenants["acme"]["exchange"] = {
            "subject_audiences": ["https://lore.acme.example"],
            "public_clients": ["lore-cli"],
            "rules": [
                {"subject": {"issuer": self.platform.issuer, "claims": {"groups": ["staff"]}}, **grant(["read:repo"], ["urc-*"])},
            ],
        }
        mint.create().start()

    def user(self):
        """A user's access token (RFC 9068), from the same issuer."""
        claims = {"aud": "https://lore.acme.example", "sub": "ada", "jti": "1", "client_id": "login", "groups": ["staff"]}
        return self.platform.mint(claims, header={"typ": "at+jwt"})

    def assertion(self):
        scalar = number(self.key.private.private_numbers().private_value, 32)
        return {"key": {"d": scalar, **{name: self.key.jwk[name] for name in ("kty", "crv", "x", "y")}}, "kid": self.key.kid}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    made = Place(tmp_path_factory.mktemp("place"))
    yield made
    made.mint.ensure_stopped()
    made.platform.close()


def test_each_client_authenticates_by_private_key_jwt_each_time_anew(place):
    changes = {"client_id": "acme/signer", "assertion": place.assertion(), "cert": None, "lives": True}
    for library, (first, second, life) in ask(place.mint, [{}, {"scope": "read:repo"}], **changes).items():
        assert pyjwt(place.mint, first["token"]["access_token"])["sub"] == "acme/signer", library
        assert second["token"]["scope"] == "read:repo"
        assert (life["before"]["active"], life["after"]) == (True, {"active": False})


def test_each_client_may_send_its_jobs_token_as_a_secret(place):
    token = place.platform.mint(ci_tokens.github(audience=ISSUER))
    for library, (result,) in ask(place.mint, [{}], client_id="acme/job", secret=token, cert=None).items():
        assert pyjwt(place.mint, result["token"]["access_token"])["sub"] == "acme/job", library


def test_each_client_exchanges_a_users_token_for_one_that_lore_accepts(place):
    """As a public client, as Lore's library is: for a partition that nobody has told the mint of."""
    with place.mint.client(None) as client:
        jwks = client.get("/.well-known/jwks.json").body
    unseen = "7" * 32
    requests = [
        dict(EXCHANGE, subject_token=place.user(), resource=PARTITIONS + unseen),
        dict(EXCHANGE, subject_token=place.user(), scope=f"partition:{unseen}"),
        dict(EXCHANGE, subject_token=place.user(), resource="https://elsewhere.example/partitions/1"),
        dict(EXCHANGE, subject_token=place.user() + "x", resource=PARTITIONS + unseen),
    ]
    for library, results in ask(place.mint, requests, public=True, client_id="acme/lore-cli", cert=None).items():
        for result in results[:2]:
            claims = lore.verify(result["token"]["access_token"], jwks, ISSUER, [AUDIENCE], time.time())
            assert claims["resources"] == [{"resource_id": f"urc-{unseen}", "permission": ["read"]}], library
            assert result["token"]["issued_token_type"] == EXCHANGE["subject_token_type"]
        refused = [(result.get("error"), result.get("status")) for result in results[2:]]
        assert refused == [("invalid_target", 400), ("invalid_request", 400)], library


def test_authlib_authenticates_by_private_key_jwt_for_five_minutes_at_most(place):
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    pem = place.key.private.private_bytes(*form)
    url = f"https://localhost:{place.mint.port}{OAUTH_TOKENS}"

    def fetch(claims):
        session = OAuth2Session("acme/authlib", pem, token_endpoint_auth_method="private_key_jwt", scope="read:repo")
        session.register_client_auth_method(PrivateKeyJWT(ISSUER + OAUTH_TOKENS, claims=claims, alg="ES256"))
        return session.fetch_token(url, grant_type="client_credentials", verify=str(place.mint.server_ca.file))

    for _ in range(2):
        token = fetch({"exp": int(time.time()) + 240})
        assert pyjwt(place.mint, token["access_token"])["sub"] == "acme/authlib"
    with pytest.raises(Exception, match="invalid_client"):
        fetch(None)  # an hour, unless it is told
