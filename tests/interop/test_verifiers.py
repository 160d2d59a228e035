# SPDX-License-Identifier: Apache-2.0
"""Independent JOSE implementations verify what the service emits, for every algorithm, and refuse what was altered."""

import base64
import json
import os
import pathlib
import shutil
import subprocess

import jwt
import pytest

from service import AUDIENCE, BUILD, ISSUER, Deployment

MODULES = BUILD / "interop" / "node_modules"
HERE = pathlib.Path(__file__).parent


@pytest.fixture(scope="module", params=["ES256", "ES384", "RS256", "PS256", "EdDSA"])
def mint(request, tmp_path_factory):
    deployment = Deployment(tmp_path_factory.mktemp("mint"), request.param).create().start()
    deployment.token = deployment.issue(audience=AUDIENCE)["service_token"]
    yield deployment
    deployment.ensure_stopped()


def encode(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decode(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def altered(token):
    """The token with another subject, with one bit of its signature flipped, without a signature, and as `none`."""
    header, payload, signature = token.split(".")
    claims = dict(json.loads(decode(payload)), sub="acme/root")
    flipped = bytearray(decode(signature))
    flipped[-1] ^= 1
    unsigned = encode(json.dumps(dict(json.loads(decode(header)), alg="none")).encode())
    return [
        f"{header}.{encode(json.dumps(claims).encode())}.{signature}",
        f"{header}.{payload}.{encode(bytes(flipped))}",
        f"{header}.{payload}.",
        f"{unsigned}.{payload}.",
    ]


# --- npm jose


def jose_npm(mint, tokens, **changes):
    if not (MODULES / "jose").is_dir():
        pytest.fail(f"{MODULES}/jose is missing: scripts/test installs it")
    task = {
        "modules": str(MODULES),
        "jwks_uri": f"https://localhost:{mint.port}/.well-known/jwks.json",
        "issuer": ISSUER,
        "audience": AUDIENCE,
        "typ": "at+jwt",
        "tokens": tokens,
    }
    done = subprocess.run(
        ["node", str(HERE / "verify.cjs")],
        input=json.dumps(dict(task, **changes)),
        # Node.js 18 tries one address of localhost, by default the IPv6 one.
        env=dict(
            os.environ, NODE_EXTRA_CA_CERTS=str(mint.server_ca.file), NODE_OPTIONS="--dns-result-order=ipv4first"
        ),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_npm_jose_verifies_the_token(mint):
    (result,) = jose_npm(mint, [mint.token])
    assert result.get("claims", result)["sub"] == "acme/ci-build"


def test_npm_jose_refuses_altered_tokens(mint):
    results = jose_npm(mint, altered(mint.token))
    assert all("refused" in result for result in results), results


def test_npm_jose_refuses_the_token_elsewhere(mint):
    assert "refused" in jose_npm(mint, [mint.token], audience="elsewhere.example")[0]
    assert "refused" in jose_npm(mint, [mint.token], issuer="https://elsewhere.example")[0]


# --- PyJWT


def pyjwt(mint, token, audience=AUDIENCE, issuer=ISSUER):
    kid = jwt.get_unverified_header(token)["kid"]
    keys = jwt.PyJWKSet.from_dict(mint.jwks()).keys
    (key,) = [key for key in keys if key.key_id == kid]
    return jwt.decode(token, key.key, [mint.algorithm], audience=audience, issuer=issuer)


def test_pyjwt_verifies_the_token(mint):
    assert pyjwt(mint, mint.token)["client_id"] == "acme/ci-build"


def test_pyjwt_refuses_altered_tokens(mint):
    for token in altered(mint.token):
        with pytest.raises(jwt.InvalidTokenError):
            pyjwt(mint, token)


def test_pyjwt_refuses_the_token_elsewhere(mint):
    with pytest.raises(jwt.InvalidAudienceError):
        pyjwt(mint, mint.token, audience="elsewhere.example")
    with pytest.raises(jwt.InvalidIssuerError):
        pyjwt(mint, mint.token, issuer="https://elsewhere.example")


# --- latchset jose, which has no EdDSA


@pytest.fixture
def latchset(mint, tmp_path):
    if mint.algorithm == "EdDSA":
        pytest.skip("latchset jose has no EdDSA")
    assert shutil.which("jose"), "latchset's jose is missing: scripts/setup test installs it"
    (tmp_path / "jwks.json").write_text(json.dumps(mint.jwks()))

    def verify(token):
        (tmp_path / "token").write_text(token)
        command = ["jose", "jws", "ver", "-i", str(tmp_path / "token"), "-k", str(tmp_path / "jwks.json"), "-O-"]
        return subprocess.run(command, capture_output=True, timeout=60)

    return verify


def test_latchset_jose_verifies_the_token(mint, latchset):
    done = latchset(mint.token)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["sub"] == "acme/ci-build"


def test_latchset_jose_refuses_altered_tokens(mint, latchset):
    for token in altered(mint.token):
        assert latchset(token).returncode != 0


def test_latchset_jose_computes_the_same_thumbprint(mint, latchset):
    (key,) = mint.jwks()["keys"]
    done = subprocess.run(
        ["jose", "jwk", "thp", "-a", "S256", "-i-"], input=json.dumps(key), capture_output=True, text=True, timeout=60
    )
    assert done.stdout.strip() == key["kid"]
